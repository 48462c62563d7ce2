"""Who may look into a job's folder, and whether somebody holds a lock there: liveness without process numbers."""

import errno
import fcntl
import os
import stat
from pathlib import Path

from zoowizard.errors import ZoowizardError


def require_private(folder: Path) -> None:
    """Refuse a job folder that is not ours alone (our user, mode 0700, no link). Raises ZoowizardError."""
    try:
        found = folder.lstat()
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise ZoowizardError(f"there is no job at {folder}") from problem
    except OSError as problem:
        raise ZoowizardError(f"could not look at {folder}: {os.strerror(problem.errno or 0).lower()}") from problem
    if not stat.S_ISDIR(found.st_mode):
        raise ZoowizardError(f"{folder} is not a folder, so it cannot be a job")
    if found.st_uid != os.geteuid():
        raise ZoowizardError(f"{folder} belongs to somebody else (user {found.st_uid}): a job must be your own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ZoowizardError(f"{folder} is open to others: if all in it is yours, close it with `chmod 700` first")


def claim(path: Path, content: str) -> int:
    """Make the file `path`, locked for ourselves and filled. Gives the descriptor: the lock lasts as long as that.

    No reader ever finds it free before we let go, nor half filled. Where the disk is full, it is there and empty, and
    free. Raises FileExistsError where somebody claimed it before, OSError where the disk is full or knows no locks.
    """
    beside = path.with_name(f".{path.name}-{os.urandom(8).hex()}")
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            os.write(descriptor, content.encode())
            os.fsync(descriptor)
        finally:
            _name(beside, path)
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        beside.unlink(missing_ok=True)
    return descriptor


def _name(beside: Path, path: Path) -> None:
    """Let the file `beside` be seen as `path` too. Raises FileExistsError where that is there already."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a disk without links: claimed, and for a moment not held yet
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        beside.rename(path)


def is_held(path: Path) -> bool | None:
    """Whether a living process holds the lock `path`; None where there is no such file. Told by one look.

    Needs no right to write, so it works on a read-only disk. Raises ZoowizardError where it cannot be told.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        why = "it is a link" if problem.errno == errno.ELOOP else os.strerror(problem.errno or 0).lower()
        raise ZoowizardError(f"could not look at the lock {path}: {why}") from problem
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as problem:
        raise ZoowizardError(f"file locks do not work at {path}: choose a workspace on another disk") from problem
    finally:
        os.close(descriptor)
    return False
