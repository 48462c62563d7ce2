"""The line before the places of this computer: files in a folder that all people who work on it share.

A place is a file that is locked by the job that works there. A ticket is a file as well, one for each job that waits or
works, locked as long as the job lives. So all is free again when its holder is killed, and nobody has to keep watch.
What others wrote is never believed further than to count it.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zoowizard.atomic import NO_ROOM

SHARED: Final = Path("/tmp/zoowizard-slots")
"""Not below TMPDIR, which differs from person to person."""
LARGEST_TICKET: Final = 1 << 17
"""Bytes."""
MOST_PLACES: Final = 2000
PRIORITIES: Final = range(-1000, 1001)
CLOCK_S: Final = 5.0
"""A ticket that is further in the future is from before the clock was put back."""
LEFT_AFTER_S: Final = 60.0
_TICKET: Final = re.compile(r"ticket-[0-9a-f]{16}")
_UNFINISHED: Final = ".new-"
_PLACE: Final = re.compile(r"(gpu|cpu)-[A-Za-z0-9-]{1,80}")
_JOB: Final = re.compile(r"[0-9a-z-]{0,40}")
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Unfit(Exception):
    """The folder cannot be used for the line; the message names it and says why."""


@dataclass(frozen=True)
class Ticket:
    """A job that waits for one of the places `wants`, or works `at` one (empty while it waits).

    `owner` is the number of the user, `created` is seconds since 1970; a higher `priority` goes before a lower one.
    `job` is the job's id, which says nothing to others; empty where the ticket does not tell.
    """

    name: str
    owner: int
    created: float
    priority: int
    wants: tuple[str, ...]
    at: str = ""
    job: str = ""


def new_ticket(created: float, priority: int, job: str = "") -> Ticket:
    """A ticket of ours that stands nowhere yet; one that says it was made in the future was made now."""
    return Ticket(f"ticket-{secrets.token_hex(8)}", os.geteuid(), min(created, time.time()), priority, (), job=job)


def open_shared() -> int:
    """A descriptor of the folder that the people of this computer share, made where it is missing.

    Raises Unfit where it cannot be trusted or used.
    """
    named = os.environ.get("ZOOWIZARD_SLOTS")
    folder = Path(named) if named else SHARED
    if not folder.is_absolute():
        raise Unfit(f"ZOOWIZARD_SLOTS: {named} does not begin with /")
    _make(folder, 0o1777)
    descriptor = _open_folder(folder)
    found = os.fstat(descriptor)
    ours_alone = found.st_uid == os.geteuid() and not found.st_mode & 0o022
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=descriptor):
        why = "you may not make files there"
    elif not (found.st_mode & stat.S_ISVTX or ours_alone):
        why = "others may remove your files there"
    else:
        return descriptor
    os.close(descriptor)
    raise Unfit(f"{folder}: {why}; it must have the permissions of /tmp, which are 1777")


def open_private() -> int:
    """A descriptor of a folder for our own jobs alone. Raises Unfit where there is none that is ours."""
    folder = Path(f"{SHARED}-{os.geteuid()}")
    _make(folder, 0o700)
    descriptor = _open_folder(folder)
    found = os.fstat(descriptor)
    if found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return descriptor
    os.close(descriptor)
    raise Unfit(f"{folder}: it is not yours alone")


def put(folder: int, ticket: Ticket) -> int:
    """Let the ticket stand in the folder, instead of an earlier one of its name, and locked from its first moment.

    Gives the descriptor that holds it. Raises OSError where the disk is full or the folder is gone, Unfit where locks
    do not work there.
    """
    content = {name: getattr(ticket, name) for name in ("created", "priority", "wants", "at", "job")}
    beside = f"{_UNFINISHED}{secrets.token_hex(8)}"
    with _for_all_to_read():
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=folder)
    try:
        _lock(descriptor, fcntl.LOCK_EX)
        written = json.dumps({"pid": os.getpid(), **content}).encode()
        if os.write(descriptor, written) < len(written):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.rename(beside, ticket.name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        remove(folder, beside)
        os.close(descriptor)
        raise
    return descriptor


def remove(folder: int, name: str) -> None:
    """Remove a file of ours, if it is there."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)


def tickets(folder: int) -> list[Ticket]:
    """The tickets of the jobs that live. Dead ones of our own are removed. Raises OSError where the folder is gone."""
    names = os.listdir(folder)
    for name in names:
        if name.startswith(_UNFINISHED):
            _remove_left(folder, name)
    return [ticket for name in names if _TICKET.fullmatch(name) if (ticket := _living(folder, name))]


def in_order(waiting: Iterable[Ticket], now: float) -> list[Ticket]:
    """The line: who came first goes first. A person's own tickets change places among each other by their priority.

    So nobody gets before others by a high priority, and a low one lets nobody but oneself wait.
    """
    by_time = sorted(waiting, key=lambda one: (one.created <= now + CLOCK_S, one.created, one.name))
    of_owner = {one.owner: [other for other in by_time if other.owner == one.owner] for one in by_time}
    next_of = {owner: iter(sorted(own, key=lambda one: -one.priority)) for owner, own in of_owner.items()}
    return [next(next_of[one.owner]) for one in by_time]


def is_free(folder: int, place: str) -> bool:
    """Whether nobody works at the place. Raises Unfit where that cannot be told."""
    descriptor = _open_place(folder, place)
    try:
        return _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def take(folder: int, place: str) -> int | None:
    """The descriptor that holds the place for us; None where it is taken. Raises Unfit where that cannot be told."""
    descriptor = _open_place(folder, place)
    try:
        # where it was removed meanwhile, as by whoever tidies /tmp up, others would lock another file
        if _lock(descriptor, fcntl.LOCK_EX) and _is_same(folder, place, descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _make(folder: Path, mode: int) -> None:
    with contextlib.suppress(OSError), _for_all_to_read(0):
        folder.mkdir(mode)


def _open_folder(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as problem:
        no_folder = problem.errno in (errno.ELOOP, errno.ENOTDIR)
        why = "it is no folder, or a link" if no_folder else (problem.strerror or str(problem)).lower()
        raise Unfit(f"{folder}: {why}") from problem


def _open_place(folder: int, place: str) -> int:
    """Of others it can only be opened for reading, which is enough for a lock."""
    try:
        while True:
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(place, _READ, dir_fd=folder)
                break
            with contextlib.suppress(FileExistsError), _for_all_to_read():
                descriptor = os.open(place, _READ | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
                break
    except OSError as problem:
        if problem.errno in NO_ROOM or not os.fstat(folder).st_nlink:
            raise
        raise Unfit(f"{place}: {(problem.strerror or str(problem)).lower()}") from problem
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unfit(f"{place}: it is no file")
    return descriptor


def _lock(descriptor: int, kind: int) -> bool:
    """Whether we have the lock now. Raises Unfit where the disk knows no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as problem:
        raise Unfit(f"file locks do not work there ({(problem.strerror or str(problem)).lower()})") from problem
    return True


@contextlib.contextmanager
def _for_all_to_read(umask: int = 0o022) -> Iterator[None]:
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


def _is_same(folder: int, name: str, descriptor: int) -> bool:
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _living(folder: int, name: str) -> Ticket | None:
    """The ticket, where it is one and somebody holds it."""
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        if not _lock(descriptor, fcntl.LOCK_SH):
            return _read(name, found.st_uid, os.read(descriptor, LARGEST_TICKET + 1))
        # a ticket is let go only after another one took its name, so this one is dead, or no longer the one of its name
        if found.st_uid != os.geteuid():
            return None
        if _is_same(folder, name, descriptor):
            remove(folder, name)
            return None
    except (OSError, Unfit):
        return None
    finally:
        os.close(descriptor)
    return _living(folder, name)


def _read(name: str, owner: int, content: bytes) -> Ticket | None:
    """What a ticket says; None where it is no ticket."""
    if len(content) > LARGEST_TICKET:
        return None
    try:
        said: dict[str, Any] = json.loads(content)
        created, priority, wants, at = (said[key] for key in ("created", "priority", "wants", "at"))
        ticket = Ticket(name, owner, float(created), priority, tuple(wants), at, said.get("job", ""))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    places = [*ticket.wants, *([at] if at else [])]
    is_right = (
        math.isfinite(ticket.created)
        and isinstance(at, str)
        and isinstance(ticket.job, str)
        and _JOB.fullmatch(ticket.job)
        and isinstance(priority, int)
        and priority in PRIORITIES
        and len(places) <= MOST_PLACES
        and all(isinstance(place, str) and _PLACE.fullmatch(place) for place in places)
    )
    return ticket if is_right else None


def _remove_left(folder: int, name: str) -> None:
    """Remove what one of us left behind who was killed while making a ticket."""
    with contextlib.suppress(OSError):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if found.st_uid == os.geteuid() and abs(time.time() - found.st_mtime) > LEFT_AFTER_S:
            os.unlink(name, dir_fd=folder)
