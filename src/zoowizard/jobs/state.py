"""What became of a job, told from its folder alone: any process, at any time, on any computer, sees the same."""

import contextlib
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoowizard.atomic import write_json
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.events import Ended, Event, Note, Waiting, from_line
from zoowizard.jobs.folder import (
    EVENTS,
    ID,
    JOB,
    LOCK,
    OUTCOME,
    RESULT,
    SUPERVISOR,
    WORKER,
    Result,
    read_result,
    read_spec,
)
from zoowizard.jobs.history import History, StepState, whole_lines
from zoowizard.jobs.locks import claim, is_held, require_private
from zoowizard.jobs.processes import GRACE_S, signal_group, whereabouts
from zoowizard.jobs.states import UNDERWAY
from zoowizard.terminal import printable

if TYPE_CHECKING:
    from zoowizard.jobs.slurm_state import Told

STARTS_WITHIN_S = 60.0
POLL_S = 0.05
CLUSTER_POLL_S = 0.25
LEAST_ROOM = 1 << 16
"""Bytes; a disk that has less free is full."""


@dataclass(frozen=True)
class Job:
    """A job as its folder shows it.

    `state` is starting, queued, running, or unknown (the cluster does not answer), or one of `states.Ending`, or
    unreadable (from `list_jobs` only); `reason` says in one sentence why it did not pass, what it waits for, or why
    nothing is known. `outcome` is what the work gave back. `device` and `host` say where it works, once it does.
    `broken_lines` counts lines of the event file that are no events.
    """

    id: str
    kind: str
    model: str
    state: str
    folder: Path
    reason: str = ""
    steps: tuple[StepState, ...] = ()
    notes: tuple[Note, ...] = ()
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    seconds: float | None = None
    outcome: dict[str, Any] | None = None
    device: str = ""
    host: str = ""
    broken_lines: int = 0

    @property
    def over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state not in UNDERWAY


def is_alive(folder: Path) -> bool:
    """Whether a process of the job lives. Raises ZoowizardError where it cannot be told."""
    return bool(is_held(folder / LOCK))


def read_job(folder: Path) -> Job:
    """The job in `folder` as it is now. Raises ZoowizardError where the folder or a record in it is wrong."""
    return look(folder, History(folder / EVENTS))


def look(folder: Path, history: History) -> Job:
    """The job in `folder` as it is now; `history` is what was read of its events before, and is read on."""
    spec = read_spec(folder)
    held = is_held(folder / LOCK)  # asked first: a job writes its result before it lets go of the lock
    result = read_result(folder / RESULT) or _result_left_behind(folder, bool(held))
    told: Told | None = None
    if result is None and spec.slurm is not None:  # the lock of another computer may not be seen: the cluster tells
        from zoowizard.jobs import slurm_state

        answer = slurm_state.told(folder)
        if isinstance(answer, Result):
            result = answer
        else:
            told = answer
    supervisor = _supervisor(folder)
    history.read_on()
    job = Job(
        id=spec.id,
        kind=spec.kind,
        model=spec.model,
        state="running",
        folder=folder,
        steps=history.steps(over=told.state not in UNDERWAY if told else result is not None or not held),
        notes=tuple(history.notes),
        created=spec.created,
        started=_moment(supervisor.get("started")),
        device=history.admitted.device if history.admitted else "",
        host=history.admitted.host if history.admitted else "",
        broken_lines=history.broken_lines,
    )
    if result is not None:
        outcome = result.outcome
        return replace(
            job, state=result.status, reason=result.reason, ended=result.ended, seconds=result.seconds, outcome=outcome
        )
    if told is not None:
        return replace(job, state=told.state, reason=told.reason, ended=told.ended)
    if held and history.waiting:
        return replace(job, state="queued", reason=history.waiting)
    if held:
        return job if history.admitted or job.steps else replace(job, state="starting")
    if held is None:
        if _may_still_start(folder):
            return replace(job, state="starting")
        if (folder / LOCK).exists():  # it started since that was asked
            return look(folder, history)
        return replace(job, state="died", reason=_why_it_never_started(folder))
    reason = _why_it_died(folder, supervisor, waited=bool(history.waiting))
    return replace(job, state="died", reason=reason, ended=_moment(history.last))


def list_jobs(root: Path) -> list[Job]:
    """The jobs in the folder `root`, newest first. One that cannot be read is listed as such, with the reason."""
    try:
        folders = [folder for folder in root.iterdir() if ID.fullmatch(folder.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as problem:
        raise ZoowizardError(
            f"could not list the jobs in {root}: {os.strerror(problem.errno or 0).lower()}"
        ) from problem
    jobs = []
    for folder in sorted(folders, key=lambda folder: folder.name, reverse=True):
        try:
            jobs.append(read_job(folder))
        except ZoowizardError as problem:
            if folder.is_dir():  # else removed meanwhile
                jobs.append(Job(folder.name, "", "", "unreadable", folder, reason=str(problem)))
    return jobs


def follow(folder: Path, from_offset: int = 0) -> Iterator[tuple[int, float, Event]]:
    """The job's events from the byte `from_offset` on, as they come, until it has ended, however it ended.

    Gives (offset after the event, where a later follower goes on; seconds since 1970; event). When `Ended` comes,
    `read_job` says the same. A job that was killed with its supervisor ends without that event. Lines that are no
    events are passed over. Of one on a cluster, what the cluster says while it waits comes as events too. Raises
    ZoowizardError where the folder is not private.
    """
    require_private(folder)
    offset, on_cluster, said = from_offset, _is_on_cluster(folder), ""
    while True:
        job = read_job(folder) if on_cluster else None
        over = _is_over(folder) if job is None else job.over  # asked first: what is read below is all there is
        lines = whole_lines(folder / EVENTS, offset)
        for line in lines:
            offset += len(line)
            try:
                stamp, event = from_line(line)
            except ValueError:
                continue
            yield offset, stamp, event
            if isinstance(event, Ended):
                return
        if over:
            return
        if job is not None and job.reason != said:
            said = job.reason
            if said:
                yield offset, time.time(), Waiting(said) if job.state == "queued" else Note("warning", said)
        if not lines:
            time.sleep(POLL_S if job is None else CLUSTER_POLL_S)


def cancel(folder: Path) -> Job:
    """End the job, and give it as it is when it has ended, which may be well: it can finish first.

    One that has not started never will. Raises ZoowizardError where it runs on another computer, or does not end.
    """
    require_private(folder)
    if not (folder / LOCK).exists() and not _is_over(folder) and _forestall(folder):
        return read_job(folder)
    deadline, kill_at, asked = time.monotonic() + 2 * GRACE_S, math.inf, False
    while not _is_over(folder):
        now = time.monotonic()
        supervisor = _supervisor(folder)
        host = supervisor.get("host", "")
        if host and host != whereabouts()["host"]:
            raise ZoowizardError(f"the job {folder.name} runs on {host}: cancel it there")
        if now > deadline:
            raise ZoowizardError(f"the job {folder.name} does not end although it was told to; try again later")
        if not is_alive(folder):
            pass  # about to start
        elif is_held(folder / SUPERVISOR):
            if not asked:
                _ask_to_end(supervisor)
                asked = True
        elif group := _worker_group(folder):
            if kill_at == math.inf:
                signal_group(group, signal.SIGTERM)
                kill_at = now + GRACE_S
                deadline = kill_at + GRACE_S
            elif now >= kill_at:
                signal_group(group, signal.SIGKILL)
        time.sleep(POLL_S)
    if kill_at < math.inf and not (folder / OUTCOME).exists():  # no supervisor was left to write it down
        _write_cancelled(folder, "it was cancelled")
    return read_job(folder)


def _forestall(folder: Path) -> bool:
    """Take the supervisor's place in a job that has not started; False where it was taken."""
    try:
        place = claim(folder / SUPERVISOR, "{}")
    except FileExistsError:
        return False
    except OSError as problem:
        raise ZoowizardError(f"could not cancel {folder.name}: {os.strerror(problem.errno or 0).lower()}") from problem
    try:
        _write_cancelled(folder, "it was cancelled before it started")
    finally:
        os.close(place)
    return True


def _write_cancelled(folder: Path, reason: str) -> None:
    now = datetime.now(UTC)
    seconds = (now - (_moment(_supervisor(folder).get("started")) or now)).total_seconds()
    word = Result(status="cancelled", reason=reason, seconds=max(0.0, round(seconds, 3)), ended=now)
    write_json(folder / RESULT, word.model_dump(mode="json"))


def _ask_to_end(supervisor: dict[str, Any]) -> None:
    pid = supervisor.get("pid")
    if not isinstance(pid, int) or pid <= 1:  # others mean groups of processes, or all
        raise ZoowizardError(f"{SUPERVISOR}: pid is {pid}, but must be the number of a process")
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return  # gone this moment
    except PermissionError as problem:
        raise ZoowizardError("the supervisor of the job may not be ended by you") from problem


def _is_on_cluster(folder: Path) -> bool:
    try:
        return read_spec(folder).slurm is not None
    except ZoowizardError:
        return False


def _is_over(folder: Path) -> bool:
    held = is_held(folder / LOCK)
    if held is None:
        return (folder / RESULT).exists() or not (_may_still_start(folder) or (folder / LOCK).exists())
    return not held


def _may_still_start(folder: Path) -> bool:
    if (begun := is_held(folder / SUPERVISOR)) is not None:
        return begun
    try:
        age = time.time() - (folder / JOB).stat().st_mtime
    except OSError:
        return False
    return abs(age) < STARTS_WITHIN_S  # a clock that was put back must not make it wait for ever


def _result_left_behind(folder: Path, alive: bool) -> Result | None:
    """The last word of a supervisor that found no room for `result.json`, or else of a worker that outlived it."""
    room = read_result(folder / LOCK)
    word = None if alive and room is None else read_result(folder / OUTCOME)
    if room is not None:
        return room.model_copy(update={"outcome": word.outcome if word else None})
    return word


def _supervisor(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / SUPERVISOR).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _worker_group(folder: Path) -> int | None:
    try:
        group = int((folder / WORKER).read_text())
    except (OSError, ValueError):
        return None
    return group if group > 1 else None


def _why_it_never_started(folder: Path) -> str:
    with contextlib.suppress(OSError):
        record = folder / SUPERVISOR
        is_empty = record.exists() and record.stat().st_size == 0
        if is_empty or shutil.disk_usage(folder).free < LEAST_ROOM:
            return "it never started: the disk is full, or was; free some space and try again"
    return "it never started; the log may say why"


def _why_it_died(folder: Path, supervisor: dict[str, Any], waited: bool) -> str:
    here = whereabouts()
    is_here = supervisor.get("host", here["host"]) == here["host"]
    if is_here and here["boot"] and supervisor.get("boot", here["boot"]) != here["boot"]:
        return "the computer was restarted while it ran; start it again"
    with contextlib.suppress(OSError):
        if supervisor.get("folder", folder.stat().st_ino) != folder.stat().st_ino:
            return "this folder is a copy, made of a job before it had ended; start it again"
    if not is_here:
        return (
            f"it ran on {printable(str(supervisor['host']))}, and no process there holds its lock any more: it was "
            "killed, or that computer was restarted"
        )
    if waited:
        return "it was killed while it waited for its turn; start it again"
    return "it was killed together with its supervisor, before it could say why; the log may tell more"


def _moment(stamp: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(str(stamp)), UTC)
    except (ValueError, OverflowError, OSError):
        return None
