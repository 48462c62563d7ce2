"""What a job's events tell, folded as they come, so that looking again costs only what was said since."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from zoowizard.jobs.events import (
    Admitted,
    Ended,
    Event,
    Note,
    Progress,
    StepDone,
    StepFailed,
    StepStarted,
    Waiting,
    from_line,
)


@dataclass(frozen=True)
class StepState:
    """One step: `state` is running, done, failed, or stopped where the job ended in the middle of it.

    `fraction` goes from 0 to 1, None where the step never said; `note` is what it is at, its result, or why it failed.
    """

    name: str
    state: str
    seconds: float
    fraction: float | None = None
    note: str = ""


class History:
    """The events in the file `path` as far as they were read: steps, notes, and how many lines were none."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._file: tuple[int, int] | None = None
        self._offset = 0
        self._steps: list[StepState] = []
        self._begun: list[float] = []
        self.notes: list[Note] = []
        self.last: float | None = None
        """The time of the last event, in seconds since 1970."""
        self.broken_lines = 0
        self.waiting = ""
        """Why it waits for its turn; empty where it does not wait."""
        self.admitted: Admitted | None = None
        """Where it works, once its turn has come."""

    def read_on(self) -> None:
        """Read the whole lines that came since; from the beginning where it is another file, or was cut short."""
        try:
            there = self._path.stat()
        except OSError:
            self._begin()
            return
        if self._file != (there.st_dev, there.st_ino) or there.st_size < self._offset:
            self._begin()
            self._file = (there.st_dev, there.st_ino)
        if there.st_size == self._offset:
            return
        for line in whole_lines(self._path, self._offset):
            self._offset += len(line)
            try:
                stamp, event = from_line(line)
            except ValueError:
                self.broken_lines += 1
                continue
            self.last = stamp
            self._add(stamp, event)

    def _add(self, stamp: float, event: Event) -> None:
        if isinstance(event, StepStarted):
            self._steps.append(StepState(event.step, "running", 0.0))
            self._begun.append(stamp)
        elif isinstance(event, Note):
            self.notes.append(event)
        elif isinstance(event, Waiting):
            self.waiting = event.reason
        elif isinstance(event, Admitted):
            self.waiting, self.admitted = "", event
            self._steps, self._begun = [], []  # it begins, or begins again elsewhere, and tells again what is done
        elif not isinstance(event, Ended):
            numbers = reversed(range(len(self._steps)))
            place = next((number for number in numbers if self._steps[number].name == event.step), None)
            if place is not None:
                self._steps[place] = _after(self._steps[place], event)

    def steps(self, over: bool) -> tuple[StepState, ...]:
        """The steps in their order, with the time of those not done; `over` says whether the job has ended."""
        until = (self.last or 0.0) if over else time.time()
        unfinished = "stopped" if over else "running"
        return tuple(
            replace(step, state=unfinished, seconds=max(0.0, round(until - begun, 3)))
            if step.state == "running"
            else step
            for step, begun in zip(self._steps, self._begun, strict=True)
        )


def whole_lines(path: Path, offset: int) -> list[bytes]:
    """The lines of the file from the byte `offset` on; not the last one where its end is not written yet."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            new = file.read()
    except OSError:
        return []
    return [line + b"\n" for line in new.split(b"\n")[:-1]]


def _after(step: StepState, event: Progress | StepDone | StepFailed) -> StepState:
    match event:
        case Progress():
            return replace(step, fraction=event.fraction, note=event.note)
        case StepDone():
            return replace(step, state="done", seconds=event.seconds, fraction=1.0, note=event.note)
        case StepFailed():
            return replace(step, state="failed", seconds=event.seconds, note=event.reason)
