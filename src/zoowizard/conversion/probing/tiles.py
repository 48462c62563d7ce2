"""The halo: how far a network looks, so that what is predicted tile by tile is what is predicted at once.

A pixel of the input that is not a number makes every output that depends on it not a number, whatever the weights are:
outside a tile everything is made so, and what stays finite inside has not looked out of it. The tile then is predicted
on its own and compared with the whole. Both are done on a strip along one axis that is as thin as the network takes.

Tiles are laid as bioimageio.core 0.11 does it: a tile of a valid size, its halo cut off, the next one beside what is
left. They begin at multiples of (size - 2 halo); where that is no multiple of the pooling, no halo makes tiles equal to
the whole. So the halo is rounded up until it is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Literal

import numpy as np

from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing.apart import Refused
from zoowizard.conversion.probing.sizes import AxisSizes, Line

EXACT: Final = 1e-5
"""Of the standard deviation of the output: what is no more than this is the same."""
ROUNDING: Final = 1e-4
"""The same, where nothing outside the tile is looked at: what else differs is rounding, or much larger."""
COARSEST_PX: Final = 64
_FIRST_PX: Final = 64
Looks = Literal["surroundings", "whole", "no trace"]
_SMALLEST_GAIN: Final = 1.5
_SEEDS_WITHOUT_TRACE: Final = 8
_WINDOW_PX: Final = 16


@dataclass(frozen=True)
class Strips:
    """Runs of a network on strips along one axis, whose `sizes` are known; `lines` are those of the outputs there.

    `finite` (length, start, stop, local) and `errors` (length, start, stop, where the tile begins in each output,
    seeds) are `runs.finite` and `runs.tile_errors`, for the outputs of `lines` only. No strip is longer than
    `longest_px`. `local` runs are those that pass by layers that look at the whole image, which needs a module.
    """

    finite: Callable[[int, int, int, bool], list[Array]]
    errors: Callable[[int, int, int, Sequence[int], int], list[Array]]
    sizes: AxisSizes
    lines: Sequence[Line]
    longest_px: int
    can_run_local: bool

    def tile(self, period: int, at_least: int) -> int:
        """A size that works, by whole periods above the minimum."""
        return self.sizes.minimum + max(0, -(-(at_least - self.sizes.minimum) // period)) * period


@dataclass(frozen=True)
class Halo:
    """What tiles along one axis need, in px of the input.

    With `halo_px`, tiles of such `sizes` differ from the whole by `error`: in standard
    deviations of the output, the worst of all outputs; None where two runs differ anyway. The network looks at its
    `surroundings`, at the `whole` image, or leaves `no trace` of what it looks at (labels); `reach_px` is how far its
    convolutions look, None where that is not known. `errors` are those of other halos.
    """

    halo_px: int
    sizes: AxisSizes
    error: float | None
    looks: Looks
    reach_px: int | None
    errors: dict[int, float]

    @property
    def exact(self) -> bool:
        """Whether tiles are what the whole is."""
        return self.error is not None and self.error <= _allowed(self.looks)


def margin(offset: Fraction) -> tuple[int, int]:
    """What a valid convolution cuts off before and behind, in px of the output; below 0 where it adds."""
    missing = -math.floor(offset)
    return missing // 2, missing - missing // 2


def measure(strips: Strips, steady: bool) -> Halo:
    """The halo along one axis. `steady`: two runs are equal; where they are not, tiles cannot be compared.

    Where tiles do not fit though all that is looked at lies within the halo, something hidden counts the pixels of the
    image (pooling that rounds down, and a resize to the old size): coarser periods are tried. Raises Refused where the
    network takes no strip.
    """
    finest = None
    while True:
        period = strips.sizes.step
        reach = _reach(strips, period, False)
        looks: Looks = "surroundings"
        if reach is None:
            looks, reach = "whole", _local_reach(strips, period)
        elif reach < 0:
            looks, reach = "no trace", None
        halo = _compared(strips, period, looks, reach, steady)
        finest = finest or halo
        if halo.exact:
            return halo
        if not steady or looks == "whole" or 2 * period > COARSEST_PX:
            return finest
        strips = replace(strips, sizes=_coarser(strips.sizes))


def rounded_up(reach_px: int, minimum: int, period: int, lines: Sequence[Line]) -> int:
    """The least halo (px of the input) of at least `reach_px` with which tiles begin at multiples of `period`.

    It is a whole number of px in the outputs, too. Where no halo does all that, the least that suits the outputs.
    """
    coarsest = math.lcm(*(line.scale.denominator for line in lines))
    whole = range(-(-reach_px // coarsest) * coarsest, reach_px + 2 * period * coarsest + 1, coarsest)
    return next((halo for halo in whole if (minimum - 2 * halo) % period == 0), whole[0])


def _coarser(sizes: AxisSizes) -> AxisSizes:
    """Of these sizes, those in steps twice as wide; multiples of the step where there are such."""
    members = (sizes.minimum, sizes.minimum + sizes.step)
    least = min(members, key=lambda size: (size % (2 * sizes.step), size))
    return replace(sizes, minimum=least, step=2 * sizes.step)


def _local_reach(strips: Strips, period: int) -> int | None:
    if not strips.can_run_local:
        return None
    try:
        reach = _reach(strips, period, True)
    except Refused:  # without these layers, the rest does not fit together
        return None
    return None if reach is None or reach < 0 else reach


def _reach(strips: Strips, period: int, local: bool) -> int | None:
    """How far the farthest output looks, px of the input; None where as far as could be tried, -1 for no trace."""
    start = period * -(-8 // period)
    tile = strips.tile(period, max(_FIRST_PX, 4 * period))
    while (length := strips.sizes.at_least(tile + 2 * start)) <= max(strips.longest_px, _FIRST_PX):
        finite = strips.finite(length, start, start + tile, local)
        reaches = [_reach_of(one, line, start, start + tile) for one, line in zip(finite, strips.lines, strict=True)]
        known = [reach for reach in reaches if reach is not None]
        if len(known) == len(reaches):
            return max(known)
        tile = strips.tile(period, 2 * tile)
    return None


def _reach_of(finite: Array, line: Line, start: int, stop: int) -> int | None:
    if finite.all():
        return -1
    if not finite.any():
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[0], finite.astype(np.int8), [0]])))
    longest = int(np.argmax(edges[1::2] - edges[::2]))
    before = margin(line.offset)[0]
    first, last = int(edges[2 * longest]) + before, int(edges[2 * longest + 1]) + before
    return max(0, math.ceil(max(first - line.scale * start, line.scale * stop - last) / line.scale))


def _compared(
    strips: Strips,
    period: int,
    looks: Looks,
    reach: int | None,
    steady: bool,
) -> Halo:
    """The halo for that reach, and how well tiles then fit; without a reach, the one beyond which little is gained."""

    def rounded(px: int) -> int:
        return rounded_up(px, strips.sizes.minimum, period, strips.lines)

    if reach is None:
        tile = strips.tile(period, strips.longest_px // 4)
        halo, context = rounded(tile // 4), period * -(-tile // 2 // period)
    else:
        halo = rounded(reach)
        tile = strips.tile(period, 2 * halo + max(2 * period, 8))
        context = period * -(-max(reach, 8) // period)
    if not steady:
        return Halo(halo, strips.sizes, None, looks, reach, {})
    context += (strips.sizes.minimum - 2 * halo) % period  # where no halo is right, tiles begin beside the multiples
    length, starts = strips.sizes.at_least(tile + 2 * context), [int(context * line.scale) for line in strips.lines]
    seeds = _SEEDS_WITHOUT_TRACE if looks == "no trace" else 1
    lines = [
        _by_input(of_output, line, tile)
        for of_output, line in zip(
            strips.errors(length, context, context + tile, starts, seeds), strips.lines, strict=True
        )
    ]
    worst = np.max([of_output[0] for of_output in lines], axis=0)
    tried = {rounded(px) for px in range(0, (tile - period) // 2, max(1, tile // 64))} | {halo}
    errors = {px: float(worst[px : tile - px].max()) for px in sorted(tried) if 2 * px < tile}
    enough = next((px for px, error in errors.items() if error <= _allowed(looks)), None)
    if reach is None or (errors[halo] > _allowed(looks) and enough is not None):
        settled = rounded(_settled(np.max([of_output[1] for of_output in lines], axis=0)))
        halo = enough if enough is not None else min(settled, max(errors))
        errors.setdefault(halo, float(worst[halo : tile - halo].max()))
    return Halo(halo, strips.sizes, errors[halo], looks, reach, errors)


def _allowed(looks: Looks) -> float:
    return ROUNDING if looks == "surroundings" else EXACT


def _by_input(errors: Array, line: Line, tile: int) -> Array:
    """The errors (2, size) of an output by the px of the input; 0 where valid convolutions give nothing."""
    place = np.floor(np.arange(tile) * float(line.scale)).astype(int) - margin(line.offset)[0]
    inside = (place >= 0) & (place < errors.shape[1])
    return np.where(inside, errors[:, np.clip(place, 0, errors.shape[1] - 1)], 0.0)


def _settled(errors: Array) -> int:
    """How far from its ends a tile's errors have come down to about those of its middle, in windows of some px."""
    squares = (np.maximum(errors, errors[::-1])[: len(errors) // 2 // _WINDOW_PX * _WINDOW_PX] ** 2).reshape(
        -1, _WINDOW_PX
    )
    windows = np.sqrt(squares.mean(axis=1))
    return int(np.argmax(windows <= _SMALLEST_GAIN * np.median(windows))) * _WINDOW_PX
