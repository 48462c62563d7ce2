"""Cutting an image into blocks so that the network sees in each what it would see in the whole image.

A network that halves its input gives the same values for a shifted image only where it is shifted by whole steps. So
every block begins at a multiple of the step, counted from the image's first pixel, and is fed with a margin (halo) that
is cut off afterwards. What lies beyond the image's edge is padded.
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

    def fitting(self, size: int) -> int:
        """The smallest size that the network takes and that holds `size` pixels; the only one where there is one."""
        if not self.step:
            return self.minimum
        return self.minimum + self.step * max(0, -(-(size - self.minimum) // self.step))


@dataclass(frozen=True)
class AxisPlan:
    """How one axis of `size` pixels is cut: blocks of `block` pixels are fed, `tile` of each are new.

    The new ones begin `lead` pixels after the block's first.
    """

    rule: AxisRule
    size: int
    block: int
    tile: int
    lead: int

    @property
    def count(self) -> int:
        """The number of blocks along this axis."""
        return -(-self.size // self.tile)

    def read(self, number: int) -> Span:
        """What is fed as the block `number`, counted from 0; it may reach beyond the image at both ends."""
        start = number * self.tile - self.lead
        return start, start + self.block

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
        skipped = int(self.lead * output.scale) + output.offset // 2
        return skipped, skipped + last - first

    def block_output(self, output: AxisOutput) -> int:
        """Pixels that the network gives for one block."""
        return math.floor(self.block * output.scale) + output.offset


def plan_axis(rule: AxisRule, size: int, wanted: int | None) -> AxisPlan:
    """Cut an axis of `size` pixels into blocks of about `wanted` pixels; None: predict it whole.

    What is predicted whole has no halo: so the network sees the image, and no reflection of it, as in a test. Blocks
    are made as even as they can be, so that little is predicted that nobody wants. Raises ZoowizardError where the
    network takes one size only that is too small.
    """
    lead = _up(rule.lost, rule.grid)
    whole = rule.fitting(lead + size + rule.lost)
    if wanted is None or (lead + size + rule.lost <= whole <= wanted):
        if whole < lead + size + rule.lost:
            raise ZoowizardError(
                f"the package takes exactly {rule.minimum} pixels along {rule.name} and must see the whole image, "
                f"which has {size}; resize it"
            )
        return AxisPlan(rule, size, whole, _up(size, rule.grid), lead)
    margin = max(rule.halo, rule.lost)
    lead = _up(margin, rule.grid)
    least = lead + rule.grid + margin
    block = rule.fitting(least)
    if rule.step and block < wanted:
        block += (wanted - block) // rule.step * rule.step
    tile = (block - lead - margin) // rule.grid * rule.grid
    if tile <= 0:
        raise ZoowizardError(
            f"the package takes exactly {rule.minimum} pixels along {rule.name}, and of {margin} at each end nothing "
            "is left: its halo is too large"
        )
    if rule.step:
        tile = _up(-(-size // -(-size // tile)), rule.grid)
        block = rule.fitting(lead + tile + margin)
    return AxisPlan(rule, size, block, tile, lead)


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
    sides = _sides({rule.name: _whole(rule, sizes[rule.name]) for rule in rules}, voxels)
    chosen = {
        rule.name: (wanted or {}).get(rule.name) or max(sides[rule.name], rule.fitting(3 * max(rule.halo, rule.lost)))
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


def _whole(rule: AxisRule, size: int) -> int:
    margin = max(rule.halo, rule.lost)
    return rule.fitting(_up(margin, rule.grid) + size + margin)


def _sides(needed: Mapping[str, int], voxels: int) -> dict[str, int]:
    """Sides of a block of about so many voxels, as equal as can be, none longer than what is needed."""
    sides: dict[str, int] = {}
    left = float(voxels)
    for number, (name, most) in enumerate(sorted(needed.items(), key=lambda one: one[1])):
        sides[name] = max(1, min(most, math.floor(left ** (1 / (len(needed) - number)) + 1e-9)))
        left = max(1.0, left / sides[name])
    return sides


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
