"""The supervisor: `python -m zoowizard.jobs.supervisor FOLDER` runs one job, detached, and records how it ended.

It holds the job's lock, starts the worker in a process group of its own, enforces the time limit, and cancels when it
gets SIGTERM or SIGINT. The worker inherits the lock: where only the supervisor was killed, the job still lives.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zoowizard.atomic import NO_ROOM
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.events import Admitted, Waiting
from zoowizard.jobs.locks import claim, require_private
from zoowizard.jobs.processes import (
    DEVICE,
    GPU_MEMORY,
    GRACE_S,
    NO_LAST_WORD,
    STOPPED,
    in_words,
    memory_kills,
    signal_group,
    whereabouts,
)
from zoowizard.jobs.slots import Place, Turn
from zoowizard.jobs.steps import Steps
from zoowizard.jobs.workers import Worker, start

if TYPE_CHECKING:  # pydantic takes a quarter of a second, so the worker is started before it is loaded
    from zoowizard.jobs.folder import Result

ROOM: Final = 4096
"""Bytes kept free in the lock file, so that the last word can be saved on a full disk."""
TOLD_WITHIN_S: Final = 1.0
"""A cluster tells supervisor and worker to stop at the same time; the worker may be gone first."""
EXACT: Final = {"NVIDIA_TF32_OVERRIDE": "0"}
"""A GPU then multiplies all of a 32-bit number, not 10 bits of its fraction: results are compared with the CPU's."""
CPU_INSTEAD: Final = "The memory of the GPU was too small: the work goes on on the CPU, which is slower."


def main(folder: Path, stopped: Callable[[Path], bool] | None = None) -> int:
    """Run the job in `folder` to its end. Gives the exit code 0, also where the job failed.

    On a cluster, where a SIGTERM can mean many things, `stopped` is asked when one came: whether the person cancelled
    the job. Where not, the last word is left to the cluster. Raises ZoowizardError where the folder is not private,
    FileExistsError where the job was started before.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    with contextlib.suppress(PermissionError):  # refused to the leader of a group, which a session's leader is
        os.setsid()
    require_private(folder)
    _talk_to(folder / "log.txt")
    wake = _wake_on_signals()
    record = {"pid": os.getpid(), "started": time.time(), "folder": folder.stat().st_ino, **whereabouts()}
    claim(folder / "supervisor", json.dumps(record))
    lock = claim(folder / ".lock", " " * ROOM)
    (folder / ".lock").rename(folder / "lock")  # seen only when it is held: no reader finds it free before the end

    turn = Turn(folder)
    try:
        code = _run(folder, lock, wake, turn, stopped)
    finally:
        turn.close()
    os.close(lock)  # nobody has to wait for the tidying
    _tidy(folder.parent)
    return code


def _tidy(parent: Path) -> None:
    """Bound what the jobs of one model hold, now that one more has ended."""
    from zoowizard.jobs.housekeeping import trim

    with contextlib.suppress(Exception):  # how this job ended is told already, and nothing may change that
        trim(parent)


def _run(folder: Path, lock: int, wake: int, turn: Turn, stopped: Callable[[Path], bool] | None) -> int:
    """Wait for the turn, let the worker work, and write down how it ended."""
    started = time.monotonic()
    try:
        place = _our_turn(folder, wake, turn)
        if place is None:
            _record(folder, lock, "cancelled", "it was cancelled before it started", None, time.monotonic())
            return 0
        started = time.monotonic()
        worker = _start(folder, place, lock)
        kills = memory_kills(worker.pid)
        kills_before = kills()
        limit = _time_limit(folder)
        by_person = None if stopped is None else lambda: stopped(folder)
        ending = _watch(worker, wake, started, limit, by_person)
        if worker.poll() == GPU_MEMORY and place.cpu is not None and not ending:
            Steps(folder / "events.jsonl").note("warning", CPU_INSTEAD)
            worker = _start(folder, place.cpu, lock)
            ending = _watch(worker, wake, started, limit, by_person)
    except OSError as problem:
        _record(folder, lock, "failed", _why_not_started(problem), None, started)
        return 0
    code = worker.poll() or 0
    reasons = {
        "cancelled": "it was cancelled",
        "timed-out": f"it was stopped at its time limit of {in_words(limit or 0)}",
    }
    killed = kills()
    memory_ran_out = None if killed is None or kills_before is None else killed > kills_before
    status, reason = _verdict(folder, code, memory_ran_out)
    if ending == "stopped" and status != "passed":
        (folder / "outcome.json").unlink(missing_ok=True)  # that its own children were told to stop is no failure
        return 0
    if ending in reasons and status != "passed":
        status, reason = ending, reasons[ending]
    _record(folder, lock, status, reason, code, started)
    return 0


def _our_turn(folder: Path, wake: int, turn: Turn) -> Place | None:
    """Wait for a place to work; None where the job was cancelled meanwhile."""
    steps, said = Steps(folder / "events.jsonl"), ""
    while (place := turn.take()) is None:
        if turn.reason != said:
            with contextlib.suppress(OSError):  # no room; it waits all the same
                steps.say(Waiting(turn.reason))
            said = turn.reason
        select.select([wake], [], [], turn.look_again_s)
        if _heard(wake) & {signal.SIGTERM, signal.SIGINT}:
            return None
    return place


def _start(folder: Path, place: Place, lock: int) -> Worker:
    steps = Steps(folder / "events.jsonl")
    with contextlib.suppress(OSError):  # no room; the worker will say so
        host = whereabouts()["host"]
        steps.say(Admitted(place.device, host))
        for note in place.notes:
            steps.note("warning", note)
        os.write(1, f"works on {place.device} of {host}\n".encode())
    environment = {**EXACT, **os.environ, **place.environment, DEVICE: place.device}
    return start(folder, environment, [lock, *place.descriptors])


def _talk_to(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    everything = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    for source, target in ((nothing, 0), (everything, 1), (everything, 2)):
        os.dup2(source, target)


def _wake_on_signals() -> int:
    """A descriptor that gives the number of each signal that comes, the one at the worker's end included."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    return reader


def _time_limit(folder: Path) -> float | None:
    from zoowizard.jobs.folder import read_spec

    try:
        return read_spec(folder).time_limit_s
    except ZoowizardError:  # the worker reads it too, and says what is wrong
        return None


def _watch(worker: Worker, wake: int, started: float, limit: float | None, by_person: Callable[[], bool] | None) -> str:
    """Wait for the worker's end; gives why we ended it: `cancelled`, `timed-out` or nothing. Its group is gone.

    With `by_person` there is also `stopped`: by the cluster, which tells all processes of a job to stop.
    """
    ending, act_at = "", None if limit is None else started + limit
    heard: set[int] = set()
    while worker.poll() is None:
        timeout = None if act_at is None else max(0.0, act_at - time.monotonic())
        told = worker.fileno()
        select.select([wake] if told is None else [wake, told], [], [], timeout)
        heard = _heard(wake)
        if worker.poll() is not None:
            break
        late = act_at is not None and time.monotonic() >= act_at
        if ending and late:
            signal_group(worker.pid, signal.SIGKILL)
            act_at = None
        elif not ending and (late or heard & {signal.SIGTERM, signal.SIGINT}):
            ending = "timed-out" if late else "cancelled"
            signal_group(worker.pid, signal.SIGTERM)
            act_at = time.monotonic() + GRACE_S
            if not late and by_person is not None and not by_person():
                ending = "stopped"
    signal_group(worker.pid, signal.SIGKILL)
    if not ending and worker.poll() == GPU_MEMORY and heard & {signal.SIGTERM, signal.SIGINT}:  # else it would go on
        ending = "cancelled" if by_person is None or by_person() else "stopped"
    if not ending and by_person is not None and worker.poll() in (STOPPED, -signal.SIGTERM, -signal.SIGKILL):
        heard |= _heard_within(wake, TOLD_WITHIN_S)
        if signal.SIGTERM in heard:
            ending = "cancelled" if by_person() else "stopped"
    return ending


def _heard_within(wake: int, seconds: float) -> set[int]:
    """The signals that come until SIGTERM does, or so many seconds have passed."""
    until, heard = time.monotonic() + seconds, _heard(wake)
    while signal.SIGTERM not in heard and (left := until - time.monotonic()) > 0:
        select.select([wake], [], [], left)
        heard |= _heard(wake)
    return heard


def _heard(wake: int) -> set[int]:
    try:
        return set(os.read(wake, 4096))
    except BlockingIOError:
        return set()


def _why_not_started(problem: OSError) -> str:
    if problem.errno in NO_ROOM:
        return "the disk is full: it could not start; free some space and try again"
    return f"its process could not be started: {(problem.strerror or str(problem)).lower()}"


def _verdict(folder: Path, code: int, memory_ran_out: bool | None) -> tuple[str, str]:
    """The job's status, and in one sentence why: from the worker's last word and its exit code.

    `memory_ran_out` is None where the system does not tell.
    """
    from zoowizard.jobs.folder import OUTCOME

    word = _last_word(folder / OUTCOME)
    if word is not None and word.status == "failed" and memory_ran_out and "memory" in word.reason:
        return "out-of-memory", word.reason  # one of the worker's own children was killed
    if word is not None:
        return word.status, word.reason
    if code == NO_LAST_WORD:
        return "failed", "the disk is full, or cannot be written: free some space and try again"
    if code == -signal.SIGKILL and memory_ran_out:
        return "out-of-memory", "it ran out of memory, so the system killed it"
    if code == -signal.SIGKILL:
        guess = "most often because the memory ran out" if memory_ran_out is None else "but not for want of memory"
        return "died", f"it was killed from outside (SIGKILL), {guess}"
    if code < 0:
        return "died", f"it crashed: {(signal.strsignal(-code) or 'signal').lower()} ({_name(-code)}); see the log"
    if code == STOPPED:
        return "died", "it was told to stop (SIGTERM) from outside"
    if code == 0:
        return "died", "it ended without leaving a result; the log may say why"
    return "failed", f"it ended with exit code {code} and did not say why; the log may"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_word(path: Path) -> "Result | None":
    from zoowizard.jobs.folder import read_result

    try:
        return read_result(path)
    except ZoowizardError:
        return None


def _record(folder: Path, lock: int, status: str, reason: str, code: int | None, started: float) -> None:
    """Write down how the job ended: `result.json`, then the event, so that whoever sees the event finds the result."""
    from datetime import UTC, datetime

    from zoowizard.atomic import write_json
    from zoowizard.jobs.events import Ended, to_line
    from zoowizard.jobs.folder import EVENTS, OUTCOME, RESULT

    word = _last_word(folder / OUTCOME)
    result = {
        "status": status,
        "reason": reason,
        "exit_code": code,
        "seconds": round(time.monotonic() - started, 3),
        "ended": datetime.now(UTC).isoformat(),
    }
    try:
        write_json(folder / RESULT, {**result, "outcome": word.outcome if word else None})
    except ZoowizardError:
        text = json.dumps({**result, "reason": reason[:500]}, ensure_ascii=False)  # escapes could be longer than ROOM
        os.pwrite(lock, text.encode("utf-8", "backslashreplace").ljust(ROOM), 0)
    with contextlib.suppress(OSError):
        events = os.open(folder / EVENTS, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        size = os.fstat(events).st_size
        torn = size > 0 and os.pread(events, 1, size - 1) != b"\n"
        os.write(events, (b"\n" if torn else b"") + to_line(Ended(status, reason)).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
