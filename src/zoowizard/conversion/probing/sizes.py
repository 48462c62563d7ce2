"""Which sizes a network takes along one axis, and which it gives for them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from zoowizard.conversion.probing.runs import Shapes

WIDEST_STEP: Final = 64


@dataclass(frozen=True)
class Line:
    """A size of an output by that of the input: scale · size + offset."""

    scale: Fraction
    offset: Fraction

    def at(self, size: int) -> Fraction:
        """The output's size."""
        return self.scale * size + self.offset


Lines = tuple[tuple[Line, ...], ...]
"""For each output, for each of its axes; the scale is 0 where the axis does not follow."""


@dataclass(frozen=True)
class AxisSizes:
    """Sizes `minimum` + n · `step` work, and were tried up to `tried_to`; a step of 0: only `minimum` works."""

    minimum: int
    step: int
    lines: Lines
    tried_to: int

    def following(self, output: int) -> tuple[int, Line] | None:
        """The axis of an output that follows this axis of the input, and how; None where none does."""
        return next(((axis, line) for axis, line in enumerate(self.lines[output]) if line.scale), None)

    def at_least(self, size: int) -> int:
        """The smallest size that works and is not below `size`."""
        if not self.step:
            return self.minimum
        return self.minimum + max(0, -(-(size - self.minimum) // self.step)) * self.step


class Tried:
    """The sizes along one axis that were run, each once; what was refused gives None."""

    def __init__(self, run: Callable[[int], Shapes | None]) -> None:
        self._run = run
        self.given: dict[int, Shapes | None] = {}

    def __call__(self, size: int) -> Shapes | None:
        """The shapes of the outputs."""
        if size not in self.given:
            self.given[size] = self._run(size) if size > 0 else None
        return self.given[size]


def scan(tried: Tried, base: int) -> AxisSizes | None:
    """The smallest step for which sizes work without a gap and the outputs grow in a line, and the least size.

    `base` is a size that works. The sizes behind it are run in windows that double, until a step explains them: every
    size of a class of remainders must work. A network whose pooling rounds down has several such classes: that counts
    whose output has lost least. None where only `base` works, or no step up to `WIDEST_STEP` explains the outputs.
    """
    window = 2
    while window <= 2 * WIDEST_STEP:
        for size in range(base, base + window):
            tried(size)
        for step, first, lines in _classes(tried.given, base, window):
            if _continues(tried, lines, (first + 2 * step, first + 3 * step)):
                least = _least(tried, lines, first, step)
                return AxisSizes(least, step, lines, first + 3 * step)
        window *= 2
    return None


def only(size: int, shapes: Shapes, axis: int) -> AxisSizes:
    """For a network that takes no other size along `axis` of its input than this one."""
    lines = tuple(
        tuple(
            Line(Fraction(one, size), Fraction(0))
            if number == axis and len(output) > axis
            else Line(Fraction(0), Fraction(one))
            for number, one in enumerate(output)
        )
        for output in shapes
    )
    return AxisSizes(size, 0, lines, size)


def is_like(tried: Tried, other: AxisSizes) -> Lines | None:
    """The lines of this axis where its sizes work as those of the `other`, known from a few; else None."""
    first, step = other.minimum, other.step
    members = [(size, tried(size)) for size in (first, first + step, first + 3 * step)]
    working = [(size, shapes) for size, shapes in members if shapes]
    lines = _lines(working) if len(working) == len(members) else None
    if lines is None:
        return None
    for one, theirs in zip(lines, other.lines, strict=True):
        if len(one) != len(theirs) or [line for line in one if line.scale] != [line for line in theirs if line.scale]:
            return None
    smaller = [first + step + step // prime for prime in (2, 3, 5, 7) if step % prime == 0]
    return None if any(_continues(tried, lines, (size,)) for size in (first - step, *smaller)) else lines


def _classes(given: Mapping[int, Shapes | None], base: int, window: int) -> Iterator[tuple[int, int, Lines]]:
    """Steps with the first member of the class that loses least, and its lines; the smallest step first."""
    for step in range(1, min(window // 2, WIDEST_STEP) + 1):
        found = []
        for first in range(base, base + step):
            members = [(size, given[size]) for size in range(first, base + window, step)]
            working = [(size, shapes) for size, shapes in members if shapes]
            lines = _lines(working) if len(working) == len(members) else None
            if lines is not None:
                found.append((sum(abs(line.offset) for one in lines for line in one if line.scale), first, lines))
        if found:
            _, first, lines = min(found, key=lambda one: one[:2])
            yield step, first, lines


def _lines(members: list[tuple[int, Shapes]]) -> Lines | None:
    """The lines through all members, two or more; None where there are none, or where no output grows."""
    (size, shapes), (next_size, next_shapes) = members[0], members[1]
    if len({tuple(map(len, one)) for _, one in members}) > 1:
        return None
    lines = []
    for output, next_output in zip(shapes, next_shapes, strict=True):
        scales = [Fraction(b - a, next_size - size) for a, b in zip(output, next_output, strict=True)]
        lines.append(tuple(Line(scale, a - scale * size) for scale, a in zip(scales, output, strict=True)))
    every = [line.scale for one in lines for line in one]
    plain = all(scale >= 0 and 1 in (scale.numerator, scale.denominator) for scale in every)
    holds = any(every) and all(_on(tuple(lines), size, shapes) for size, shapes in members)
    return tuple(lines) if plain and holds else None


def _on(lines: Lines, size: int, shapes: Shapes | None) -> bool:
    return shapes is not None and tuple(tuple(line.at(size) for line in one) for one in lines) == shapes


def _continues(tried: Tried, lines: Lines, sizes: tuple[int, ...]) -> bool:
    return all(size > 0 and _on(lines, size, tried(size)) for size in sizes)


def _least(tried: Tried, lines: Lines, first: int, step: int) -> int:
    """The least size of the class of `first` that still works; by halves, as what is too small stays too small."""
    works, fails = 0, (first - 1) // step + 1
    while fails - works > 1:
        # the smallest is tried first: it often works, and where it does nothing else is to be found
        middle = fails - 1 if fails == (first - 1) // step + 1 and works == 0 else (works + fails) // 2
        if _continues(tried, lines, (first - middle * step,)):
            works = middle
        else:
            fails = middle
    return first - works * step
