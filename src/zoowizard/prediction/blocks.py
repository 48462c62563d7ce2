"""Cutting an image into blocks so that the network sees in each what it would see in the whole image.

A network that halves its input gives the same values for a shifted image only where it is shifted by whole steps. So
every block begins at a multiple of the step, counted from the image's first pixel, and is fed with a margin (halo) that
is cut off afterwards. At the image's border it has none: there a block ends where the whole image would, and the
network pads it with what it pads the whole image with. Only what no network of such sizes takes is padded, at the far
end, and so is what valid convolutions lose, at both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from zoowizard.errors import ZoowizardError

Span = tuple[int, int]
"""First pixel, and the one after the last."""

VOXELS_A_BLOCK: Final = 1 << 21
BYTES_A_VOXEL: Final = 1024
"""What a network of the usual width holds of each voxel while it works: 64 channels, several layers at once."""


@dataclass(frozen=True)
class AxisOutput:
    """What the network makes of an axis: `scale` x size + `offset` pixels, the offset the same at both ends."""

    scale: Fraction = Fraction(1)
    offset: int = 0

    @property
    def lost(self) -> int:
        """Input pixels at each end for which a valid convolution gives no output."""
        return max(0, math.ceil(Fraction(-self.offset, 2) / self.scale))


@dataclass(frozen=True)
class AxisRule:
    """Which sizes the network takes along one axis, in pixels.

    It takes `minimum` + n x `step` (`minimum` alone where the step is 0). Of the outermost `halo` pixels the output is
    not to be trusted, for the outermost `lost` there is none. Blocks begin at multiples of `grid`, so that the grid of
    the network and those of its outputs fall together.
    """

    name: str
    minimum: int
    step: int
    halo: int = 0
    lost: int = 0
    grid: int = 1

    @property
    def margin(self) -> int:
        """Pixels at an end of a block, inside the image, that do not give what the whole image gives."""
        return max(self.halo, self.lost)

    def fitting(self, size: int) -> int:
        """The smallest size that the network takes and that holds `size` pixels; the only one where there is one."""
        if not self.step:
            return self.minimum
        return self.minimum + self.step * max(0, -(-(size - self.minimum) // self.step))

    def whole(self, size: int) -> Span:
        """What is fed of an image of `size` pixels in all: more than it has where the network takes or loses more.

        Where the network takes one size only, and that is too small: as much as blocks of it can cover.
        """
        first = -_up(self.lost, self.grid)
        needed = size + self.lost - first
        if self.step or needed <= self.minimum:
            return first, first + self.fitting(needed)
        return first, first + self.minimum + _up(needed - self.minimum, self.grid)


@dataclass(frozen=True)
class AxisPlan:
    """How one axis of `size` pixels is cut: each block gives `tile` pixels that are new."""

    rule: AxisRule
    size: int
    tile: int

    @property
    def count(self) -> int:
        """The number of blocks along this axis."""
        return -(-self.size // self.tile)

    @property
    def block(self) -> int:
        """Pixels of the largest block. Those at the ends may be smaller, all others are alike."""
        near = min(self.count, self.rule.margin // self.tile + 3)
        spans = map(self.read, (*range(near), *range(self.count - near, self.count)))
        return max(last - first for first, last in spans)

    def read(self, number: int) -> Span:
        """What is fed as the block `number`, counted from 0; beyond the image only where the whole would be, too."""
        rule, (begin, end) = self.rule, self.rule.whole(self.size)
        first = max(begin, _down(number * self.tile - rule.margin, rule.grid))
        last = first + rule.fitting((number + 1) * self.tile + rule.margin - first)
        if last < end:
            return first, last
        return max(begin, min(first, _down(end - rule.minimum, rule.grid))), end

    def output_size(self, output: AxisOutput) -> int:
        """Pixels of the whole output along this axis."""
        return max(1, math.floor(self.size * output.scale))

    def output_tile(self, output: AxisOutput) -> int:
        """Pixels of the output that one block gives."""
        return min(self.output_size(output), int(self.tile * output.scale))

    def written(self, number: int, output: AxisOutput) -> Span:
        """Where the output of the block `number` goes."""
        tile = self.output_tile(output)
        return number * tile, min((number + 1) * tile, self.output_size(output))

    def kept(self, number: int, output: AxisOutput) -> Span:
        """Which part of what the network gave for the block `number` goes there."""
        first, last = self.written(number, output)
        skipped = int((number * self.tile - self.read(number)[0]) * output.scale) + output.offset // 2
        return skipped, skipped + last - first


def plan_axis(rule: AxisRule, size: int, wanted: int | None) -> AxisPlan:
    """Cut an axis of `size` pixels into blocks of about `wanted` pixels; None: predict it whole.

    Blocks are made as even as they can be, so that little is predicted that nobody wants. Raises ZoowizardError where
    the network takes one size only that is too small.
    """
    first, last = rule.whole(size)
    fits = rule.step > 0 or last - first <= rule.minimum
    if wanted is None and not fits:
        raise ZoowizardError(
            f"the package takes exactly {rule.minimum} pixels along {rule.name} and must see the whole image, "
            f"which has {size}; resize it"
        )
    around = _up(rule.margin, rule.grid) + rule.margin
    block = rule.fitting(around + rule.grid)
    if wanted is not None and rule.step and block < wanted:
        block += (wanted - block) // rule.step * rule.step
    if wanted is None or (fits and last - first <= max(block, wanted)):
        return AxisPlan(rule, size, _up(size, rule.grid))
    tile = (block - around) // rule.grid * rule.grid
    if tile <= 0:
        raise ZoowizardError(
            f"the package takes exactly {rule.minimum} pixels along {rule.name}, and of {rule.margin} at each end "
            "nothing is left: its halo is too large"
        )
    if not rule.step:
        return AxisPlan(rule, size, tile)
    halves = AxisPlan(rule, size, _up(-(-size // 2), rule.grid))  # each has one end at the image's border
    return halves if halves.block <= block else AxisPlan(rule, size, _up(-(-size // -(-size // tile)), rule.grid))


def plan_axes(
    rules: Sequence[AxisRule],
    sizes: Mapping[str, int],
    memory_bytes: int,
    wanted: Mapping[str, int] | None = None,
    whole: bool = False,
) -> list[AxisPlan]:
    """Cut all axes; the blocks are as large as `wanted`, or else so large that a network of usual width fits.

    Three times the halo at least, so that a third of what is computed is new along each axis. `whole`: not at all.
    Raises ZoowizardError where a block would not fit into the memory.
    """
    if whole:
        return [plan_axis(rule, sizes[rule.name], None) for rule in rules]
    voxels = max(1, min(VOXELS_A_BLOCK, memory_bytes // 8 // BYTES_A_VOXEL))
    sides = _sides({rule.name: _length(rule.whole(sizes[rule.name])) for rule in rules}, voxels)
    chosen = {
        rule.name: (wanted or {}).get(rule.name) or max(sides[rule.name], rule.fitting(3 * rule.margin))
        for rule in rules
    }
    cut = [plan_axis(rule, sizes[rule.name], chosen[rule.name]) for rule in rules]
    if math.prod(axis.block for axis in cut) * BYTES_A_VOXEL > memory_bytes:
        block = " x ".join(str(axis.block) for axis in cut)
        raise ZoowizardError(
            f"a block of {block} pixels ({', '.join(rule.name for rule in rules)}) is too large for the memory, "
            f"{memory_bytes / 1e9:.1f} GB; choose smaller ones with --block, unless the package takes none smaller"
        )
    return cut


def _sides(needed: Mapping[str, int], voxels: int) -> dict[str, int]:
    """Sides of a block of about so many voxels, as equal as can be, none longer than what is needed."""
    sides: dict[str, int] = {}
    left = float(voxels)
    for number, (name, most) in enumerate(sorted(needed.items(), key=lambda one: one[1])):
        sides[name] = max(1, min(most, math.floor(left ** (1 / (len(needed) - number)) + 1e-9)))
        left = max(1.0, left / sides[name])
    return sides


def _length(span: Span) -> int:
    return span[1] - span[0]


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _down(number: int, step: int) -> int:
    return number // step * step
