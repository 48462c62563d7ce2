"""What the jobs of a workspace hold on its disk, and letting go of what nobody needs any more.

With them the trash: models that were deleted long enough ago, see `zoowizard.deletion`.

Needed is every job that has not ended and what it goes on with; of each model's builds the newest that ended, since it
can be retried, with those before it that got further; and the newest that passed, since it tells what the package was
made from. What is removed gets another name first: a job is seen whole or not at all.
"""

import contextlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from zoowizard.drafts.workspace import TRASH
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.build_steps import RECORDS
from zoowizard.jobs.folder import EVENTS, ID, JOB, LOG, RESULT, SUPERVISOR, runs_before
from zoowizard.jobs.locks import claim, require_private
from zoowizard.jobs.state import Job, list_jobs, read_job

KEEP_DAYS: Final = 30.0
DAY_S: Final = 86_400.0
BULKY: Final = 1 << 20
"""Bytes; a file of an ended job that has more goes with its bulky parts, if it is none of the `_TOLD`."""
SAVES_WITHIN_S: Final = 3600.0
SCRATCH: Final = ("comparison", "bioimageio-cache")
CONTENTS: Final = "contents"
"""The unpacked package; of the newest one that passed, the screens show the label image in it."""
WEIGHTS: Final = "weights"
REMOVED: Final = ".removed-"
LEFT_OVER: Final = (REMOVED, ".new-")
"""How the names begin of what was left where somebody was killed who made or removed a job."""
_TOLD: Final = (JOB, EVENTS, LOG)
_DELETED: Final = re.compile(r".+-(\d{8}-\d{6})(-\d+)?")
"""The name of a model in the trash ends with when it was deleted, in UTC."""


@dataclass(frozen=True)
class Removal:
    """What can go of the job in `folder`: all of it, or the `parts` of it."""

    folder: Path
    whole: bool
    parts: tuple[Path, ...]


@dataclass(frozen=True)
class Use:
    """What jobs hold: how many they are and their bytes on the disk, how much of it can go, and what stays unknown.

    What lies in the trash is held, too. Files with several names are counted once; of `freeable` are only the bytes
    that no other name holds.
    """

    jobs: int
    held: int
    freeable: int
    removals: tuple[Removal, ...]
    problems: tuple[str, ...] = ()


def job_parents(root: Path) -> list[Path]:
    """The folders in the workspace `root` in which jobs lie; none that is a link."""
    models = [Path(entry.path, "jobs") for entry in _entries(root / "models") if entry.is_dir(follow_symlinks=False)]
    return [folder for folder in (root / "jobs", *sorted(models)) if folder.is_dir() and not folder.is_symlink()]


def disk_use(
    parents: Iterable[Path], keep_days: float = KEEP_DAYS, everything: bool = False, trash: Path | None = None
) -> Use:
    """What the jobs in these folders hold, and the `trash` of the workspace, and what of it nobody needs.

    Of jobs that ended less than `keep_days` ago log, events, results and reports stay, and so do models that were
    deleted less than that ago; `everything` takes all that nothing needs. Raises ZoowizardError where a folder cannot
    be listed.
    """
    jobs, removals, problems, left_over = 0, list[Removal](), list[str](), list[Path]()
    folders: list[Path] = []
    for parent in parents:
        found = list_jobs(parent)
        jobs += len(found)
        folders.append(parent)
        problems += [f"{job.id}: left alone: {job.reason}" for job in found if job.state == "unreadable"]
        removals += _removals(found, keep_days, everything)
        left_over += _left_over(parent)
    if trash is not None:
        folders.append(trash)
        left_over += _deleted(trash, 0.0 if everything else keep_days)
    removals += [Removal(path, True, (path,)) for path in left_over]
    sizes: dict[tuple[int, int], int] = {}
    for folder in folders:
        sizes |= {key: size for key, size, _ in _files(folder)}
    return Use(jobs, sum(sizes.values()), _freed(removals), tuple(removals), tuple(problems))


def clean(use: Use, keep_days: float = KEEP_DAYS, everything: bool = False) -> tuple[int, list[str]]:
    """Remove what `disk_use` found, as far as nobody has come to need it since.

    Gives the bytes that became free, and a sentence for each that could not be removed.
    """
    freed, problems = 0, []
    seen: dict[Path, set[str]] = {}
    now: dict[Path, Removal] = {}
    for removal in use.removals:
        parent = removal.folder.parent
        try:
            if removal.folder.name.startswith(LEFT_OVER) or parent.name == TRASH:
                freed += _remove([removal.folder])
                continue
            names = {entry.name for entry in _entries(parent) if ID.fullmatch(entry.name)}
            if not names <= seen.get(parent, set()):  # a new job may need an old one
                seen[parent] = names
                kept = {folder: one for folder, one in now.items() if folder.parent != parent}
                now = kept | {one.folder: one for one in _removals(list_jobs(parent), keep_days, everything)}
            if (still := now.get(removal.folder)) is not None:
                freed += _remove_job(still) if still.whole else _remove(still.parts)
        except (OSError, ZoowizardError) as problem:
            reason = (problem.strerror or str(problem)).lower() if isinstance(problem, OSError) else str(problem)
            problems.append(f"{removal.folder.name}: could not be removed: {reason}")
    return freed, problems


def use_in_words(use: Use) -> str:
    """A line for a person."""
    jobs = "1 job" if use.jobs == 1 else f"{use.jobs} jobs"
    more = f"; `zoowizard jobs clean` would free {readable(use.freeable)}" if use.freeable else ""
    return f"{jobs}, {readable(use.held)}{more}"


def readable(size_bytes: float) -> str:
    """Bytes in words: 1.4 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"


def trim(parent: Path) -> None:
    """Remove the bulky parts that nobody needs of the ended jobs in `parent`; no job goes. What fails, stays."""
    with contextlib.suppress(OSError, ZoowizardError):
        for removal in _removals(list_jobs(parent), float("inf"), everything=False):
            with contextlib.suppress(OSError):
                _remove(removal.parts)


def _removals(jobs: Sequence[Job], keep_days: float, everything: bool) -> list[Removal]:
    """What can go of these jobs, all those of one folder."""
    ended = [job for job in jobs if job.over and job.state != "unreadable"]
    builds = [job for job in ended if job.kind == "build"]
    builds.sort(key=_created, reverse=True)  # the names tell no more than the second
    passed = next((job.folder for job in builds if job.state == "passed"), None)
    resumable = {folder for job in builds[:1] for folder in _lineage(job.folder)}
    for job in jobs:
        if not job.over:
            resumable |= set(_lineage(job.folder))
    found = []
    for job in ended:
        is_needed = job.folder in resumable or job.folder == passed
        if not is_needed and (everything or _age_days(job) > keep_days):
            found.append(Removal(job.folder, True, (job.folder,)))
        elif parts := _bulk(job.folder, job.folder in resumable, job.folder == passed):
            found.append(Removal(job.folder, False, tuple(parts)))
    return found


def _created(job: Job) -> float:
    return 0.0 if job.created is None else job.created.timestamp()


def _lineage(folder: Path) -> Iterator[Path]:
    """The job, and of those that it goes on with each that has a record that none after it has."""
    records: set[str] = set()
    for number, run in enumerate(runs_before(folder)):
        has = {name for name in RECORDS if (run / name).is_file()}
        if number == 0 or not has <= records:
            yield run
        records |= has


def _bulk(folder: Path, resumable: bool, passed: bool) -> list[Path]:
    """What is big in the folder of an ended job and not needed."""
    weights = {entry.name for entry in _entries(folder / WEIGHTS)}
    found = []
    for entry in _entries(folder):
        path = Path(entry.path)
        if entry.name == CONTENTS and passed:
            found += [Path(one.path) for one in _entries(path) if one.name in weights]
        elif resumable:
            found += [path] if entry.name in (*SCRATCH, CONTENTS) or entry.name.startswith(REMOVED) else []
        elif _is_bulky(entry):
            found.append(path)
    return found


def _is_bulky(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith("."):  # of one that was killed while it saved, or saves this moment
        with contextlib.suppress(FileNotFoundError):  # it was saved meanwhile
            return time.time() - entry.stat(follow_symlinks=False).st_mtime > SAVES_WITHIN_S
        return False
    if entry.is_dir(follow_symlinks=False) or entry.name.endswith(".zip"):
        return True
    return entry.name not in _TOLD and _size(Path(entry.path)) > BULKY


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _age_days(job: Job) -> float:
    """How long ago it ended; a clock that was put back makes it young, never old."""
    moment = job.ended or job.created
    return 0.0 if moment is None else (time.time() - moment.timestamp()) / DAY_S


def _left_over(parent: Path) -> list[Path]:
    """What a killed process left half made or half removed here: ours alone, and a day old where it is a new job."""
    found = []
    for entry in _entries(parent):
        if not (entry.name.startswith(LEFT_OVER) and entry.is_dir(follow_symlinks=False)):
            continue
        with contextlib.suppress(FileNotFoundError):  # a new job that is whole by now, or somebody else cleans too
            there = entry.stat(follow_symlinks=False)
            is_done = entry.name.startswith(REMOVED) or time.time() - there.st_mtime > DAY_S
            if there.st_uid == os.geteuid() and is_done:
                found.append(Path(entry.path))
    return found


def _deleted(trash: Path, keep_days: float) -> list[Path]:
    """The models in the trash that were deleted so long ago, and what a killed process left half removed there."""
    found = []
    for entry in _entries(trash):
        if (name := _DELETED.fullmatch(entry.name)) is not None and keep_days > 0:
            with contextlib.suppress(ValueError):  # no day of any year
                deleted = datetime.strptime(name[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
                if time.time() - deleted.timestamp() > keep_days * DAY_S:
                    found.append(Path(entry.path))
        elif name is not None or entry.name.startswith(REMOVED):
            found.append(Path(entry.path))
    return found


def _remove_job(removal: Removal) -> int:
    """Remove a job. One that never started is claimed before, so that it never will; one that did since stays."""
    require_private(removal.folder)
    if not (removal.folder / SUPERVISOR).exists() and not (removal.folder / RESULT).exists():
        try:
            os.close(claim(removal.folder / SUPERVISOR, "{}"))
        except FileExistsError:
            return 0  # it starts this moment
    elif not read_job(removal.folder).over:
        return 0
    return _remove([removal.folder])


def _remove(paths: Iterable[Path]) -> int:
    """Rename, then remove; gives the bytes that became free."""
    renamed = []
    for path in paths:
        beside = path if path.name.startswith(REMOVED) else path.with_name(f"{REMOVED}{secrets.token_hex(8)}")
        with contextlib.suppress(FileNotFoundError):  # somebody else cleans too
            path.rename(beside)
            renamed.append(beside)
    freed = _freed([Removal(path, True, (path,)) for path in renamed])
    for path in renamed:
        with contextlib.suppress(FileNotFoundError):  # what was left over before, too
            if stat.S_ISDIR(path.lstat().st_mode):
                shutil.rmtree(path)
            else:
                path.unlink()
    return freed


def _freed(removals: Iterable[Removal]) -> int:
    """Bytes of the files all of whose names would go."""
    names: dict[tuple[int, int], int] = {}
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for removal in removals:
        for part in removal.parts:
            for key, size, links in _files(part):
                names[key] = names.get(key, 0) + 1
                found[key] = size, links
    return sum(size for key, (size, links) in found.items() if names[key] >= links)


def _files(path: Path) -> Iterator[tuple[tuple[int, int], int, int]]:
    """The files at and below `path`, folders too: which file it is, its bytes on the disk, how many names it has."""
    try:
        there = path.lstat()
    except OSError:
        return
    is_folder = stat.S_ISDIR(there.st_mode)
    yield (there.st_dev, there.st_ino), there.st_blocks * 512, 1 if is_folder else there.st_nlink
    if is_folder:
        for entry in _entries(path):
            yield from _files(Path(entry.path))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder; nothing where it is none, or a link, or may not be read."""
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return []
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []
