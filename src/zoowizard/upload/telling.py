"""Saying how far an upload is: its steps, how much has gone out, how fast, and how long the rest may take."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from zoowizard.upload.target import Progress

REMEMBERS_S: Final = 10.0
"""The speed is that of the last seconds."""


class StepLike(Protocol):
    """A step that is under way, see `zoowizard.jobs.steps`."""

    note: str

    def progress(self, fraction: float, note: str = "") -> None:
        """How far it is, from 0 to 1."""
        ...


class StepsLike(Protocol):
    """Is told what is done, see `zoowizard.jobs.steps`."""

    def step(self, name: str) -> AbstractContextManager[StepLike]:
        """A step begins."""
        ...

    def note(self, level: str, text: str) -> None:
        """Something that a person should know: `level` is info or warning."""
        ...


class Bar:
    """Tells the steps to who wants to hear only a fraction and words, as `Target.send` does."""

    def __init__(self, progress: Progress, words: dict[str, str], longest: str) -> None:
        """`words`: step → what it does; `longest`: the step that takes nearly all of the time."""
        self._progress, self._words, self._longest = progress, words, longest
        self._from = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[StepLike]:
        """A step begins."""
        size = 0.9 if name == self._longest else 0.1 / len(self._words)
        yield _BarStep(self._progress, self._words.get(name, name), self._from, size)
        self._from = min(1.0, self._from + size)
        self._progress(self._from, self._words.get(name, name))

    def note(self, level: str, text: str) -> None:
        """Something that a person should know."""
        self._progress(self._from, text)


class _BarStep:
    def __init__(self, progress: Progress, words: str, start: float, size: float) -> None:
        self.note = ""
        self._progress, self._words, self._start, self._size = progress, words, start, size

    def progress(self, fraction: float, note: str = "") -> None:
        self._progress(self._start + fraction * self._size, note or self._words)


class Pace:
    """Tells how much has gone out, how fast, and how long the rest may take."""

    def __init__(self, total: int, step: StepLike) -> None:
        self._total, self._step = max(1, total), step
        self._seen: list[tuple[float, int]] = []

    def tell(self, sent: int) -> None:
        """So many bytes have gone out by now."""
        now = time.monotonic()
        self._seen = [*(one for one in self._seen if now - one[0] < REMEMBERS_S), (now, sent)]
        since, before = self._seen[0]
        speed = (sent - before) / (now - since) if now > since else 0.0
        words = f"{readable(sent)} of {readable(self._total)}"
        if speed > 0:
            words += f", {readable(int(speed))}/s, {_duration((self._total - sent) / speed)} left"
        self._step.progress(sent / self._total, words)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def readable(size_bytes: int) -> str:
    """A size for people."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} bytes"
