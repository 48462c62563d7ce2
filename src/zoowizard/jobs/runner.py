"""The worker: `python -m zoowizard.jobs.runner FOLDER` does the work of one job in this process, and says how it went.

The one place that imports the heavy rooms.
"""

import contextlib
import faulthandler
import importlib
import os
import signal
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

from zoowizard.atomic import write_json
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.folder import EVENTS, KINDS, OUTCOME, WORKER, Result, read_spec
from zoowizard.jobs.gpus import VISIBLE, is_want_of_gpu_memory
from zoowizard.jobs.processes import GPU_MEMORY, GRACE_S, NO_LAST_WORD, STOPPED, in_words
from zoowizard.jobs.states import Ending
from zoowizard.jobs.steps import Steps, in_a_sentence, is_want_of_memory

OVERDUE_S: Final = 2 * GRACE_S
"""The supervisor keeps the time limit; so much later the worker keeps it itself, in case that one was killed."""
LONGEST_S: Final = 1e8
"""More than three years: the system's timers take no number that is much larger."""


def main(folder: Path) -> int:
    """Do the job in `folder`. Gives the exit code: 0 passed, 1 failed, NO_LAST_WORD where that could not be saved.

    GPU_MEMORY where the memory of the GPU was too small, so that it should be done without one.
    """
    signal.signal(signal.SIGTERM, _stop)
    faulthandler.enable()
    started = time.monotonic()
    may_use_gpu = os.environ.get(VISIBLE) != ""  # asked first: frameworks have been seen to change it
    try:
        (folder / WORKER).write_text(f"{os.getpgrp()}\n")
        spec = read_spec(folder)
        if spec.time_limit_s is not None:
            _end_after(spec.time_limit_s, folder, started)
        work = importlib.import_module(KINDS[spec.kind])
        outcome = work.run(spec.work, folder, Steps(folder / EVENTS))
        _say_last(folder, started, "passed", outcome=outcome)
        return 0
    except Exception as problem:
        if not isinstance(problem, ZoowizardError):
            with contextlib.suppress(OSError):  # no room in the log
                traceback.print_exc()
        if may_use_gpu and is_want_of_gpu_memory(problem):
            return GPU_MEMORY  # no last word: the supervisor lets the CPU do it
        reason = in_a_sentence(problem)
        status: Ending = "out-of-memory" if is_want_of_memory(problem) else "failed"
    try:
        _say_last(folder, started, status, reason=reason)
    except ZoowizardError:
        return NO_LAST_WORD
    return 1


def _say_last(
    folder: Path,
    started: float,
    status: Ending,
    reason: str = "",
    outcome: dict[str, Any] | None = None,
) -> None:
    seconds = round(time.monotonic() - started, 3)
    word = Result(status=status, reason=reason, seconds=seconds, ended=datetime.now(UTC), outcome=outcome)
    write_json(folder / OUTCOME, word.model_dump(mode="json"))


def _end_after(limit_s: float, folder: Path, started: float) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        reason = f"it was stopped at its time limit of {in_words(limit_s)}"
        with contextlib.suppress(ZoowizardError):
            _say_last(folder, started, "timed-out", reason=reason)
        os.killpg(0, signal.SIGKILL)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, min(limit_s + OVERDUE_S, LONGEST_S))


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(STOPPED)  # unwinds, so that half-written files are removed by those who write them


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # all is said and saved; taking torch and the frameworks down in order would take seconds
