"""The worker's mouth: what it is doing, how far it is, how it went, as lines in `events.jsonl`."""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from zoowizard.atomic import NO_ROOM
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.events import Event, Note, Progress, StepDone, StepFailed, StepStarted, to_line

PROGRESS_EVERY_S = 0.1
_REFUSED_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "failed to allocate memory",
    "bad_alloc",
    "bad allocation",
)
"""What torch (on the CPU) and onnxruntime say where the system gives them no memory."""


class Step:
    """A step that is under way. Set `note` to its result in a few words, to be shown when it is done."""

    def __init__(self, name: str, steps: "Steps") -> None:
        """Made by `Steps.step`."""
        self.name = name
        self.note = ""
        self._steps = steps
        self._said = ("", -PROGRESS_EVERY_S)

    def progress(self, fraction: float, note: str = "") -> None:
        """Say how far the step is, `fraction` from 0 to 1. Said ten times a second at most, so call it freely."""
        now = time.monotonic()
        last_note, last_time = self._said
        if note == last_note and now - last_time < PROGRESS_EVERY_S:
            return
        self._said = (note, now)
        within = min(1.0, max(0.0, fraction)) if fraction == fraction else 0.0
        self._steps.say(Progress(self.name, round(within, 4), note))


class Steps:
    """Appends events to the file `events`, each line by one write, so that several processes may do so at once."""

    def __init__(self, events: Path) -> None:
        """Raises OSError where `events` cannot be written."""
        self.finished: list[tuple[str, float]] = []
        """The steps that went well: name, seconds."""
        self._descriptor = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._torn = False

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Do a step: `with steps.step("convert") as step`. An exception in it makes it failed, and goes on its way."""
        started = time.monotonic()
        self.say(StepStarted(name))
        step = Step(name, self)
        try:
            yield step
        except BaseException as problem:
            reason = in_a_sentence(problem) if isinstance(problem, Exception) else "it was stopped"
            with contextlib.suppress(OSError):  # on a full disk, the exception that is under way says more
                self.say(StepFailed(name, round(time.monotonic() - started, 3), reason))
            raise
        seconds = round(time.monotonic() - started, 3)
        self.finished.append((name, seconds))
        self.say(StepDone(name, seconds, step.note))

    def note(self, level: str, text: str) -> None:
        """Tell a person something: `level` is info or warning."""
        self.say(Note(level, text))

    def say(self, event: Event) -> None:
        """Append one event. Raises OSError where the disk is full."""
        line = ("\n" if self._torn else "") + to_line(event) + "\n"
        rest = line.encode()
        while rest:
            self._torn = True
            rest = rest[os.write(self._descriptor, rest) :]
        self._torn = False


def in_a_sentence(problem: BaseException) -> str:
    """Why something failed, for a person: a ZoowizardError in its own words, others by type and first line."""
    if isinstance(problem, OSError) and problem.errno in NO_ROOM:
        where = f": could not save {problem.filename}" if problem.filename else ""
        text = f"the disk is full{where}; free some space and try again"
    elif isinstance(problem, ZoowizardError):
        text = str(problem)
    elif is_want_of_memory(problem):
        text = "it ran out of memory; the log has the details"
    else:
        lines = str(problem).strip().splitlines()
        text = f"{type(problem).__name__}: {lines[0] if lines else 'no message'}; the log has the details"
    return text.encode("utf-8", "backslashreplace").decode()


def is_want_of_memory(problem: BaseException) -> bool:
    """Whether something failed because the system gave no more memory."""
    if isinstance(problem, OSError):
        return problem.errno == errno.ENOMEM
    return isinstance(problem, MemoryError) or any(sign in str(problem).lower() for sign in _REFUSED_MEMORY)
