"""Whether what is joined from blocks is what the network would say of the whole image: one place, predicted twice.

A network that looks at the whole image (InstanceNorm, attention), or farther than its package says, gives other values
where its block is another one, whatever the blocks' margins are. So one block is predicted, and once more as a part of
blocks that are cut otherwise. That tells it of any weight format, and in the units of the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from zoowizard.prediction.blocks import AxisPlan
from zoowizard.prediction.described import Output
from zoowizard.prediction.network import Network
from zoowizard.prediction.pictures import Array
from zoowizard.prediction.run import Plan, kept, read_block
from zoowizard.prediction.statistics import measure

VISIBLE: Final = 0.01
"""Of the result's standard deviation, or of its pixels where it is whole numbers; less is nobody told of."""
ROUNDING: Final = 1e-4
"""Of the largest value."""


def in_words(made: Plan, network: Network) -> str:
    """How far blocks differ where they are cut otherwise; empty where nobody would see it, or where it cannot be told.

    It takes as long as predicting two blocks.
    """
    others = tuple(_cut_otherwise(axis) if axis.count > 1 else axis for axis in made.axes)
    if others == made.axes:
        return ""
    place = tuple((axis.count - 1) // 2 for axis in made.axes)
    there = tuple(
        min(number * axis.tile + axis.tile // 2, axis.size - 1) // other.tile
        for number, axis, other in zip(place, made.axes, others, strict=True)
    )
    fed = read_block(made, network, next(made.frames), place)
    # of this block alone: a normalisation that is a bit another one does not change how blocks join
    values = [one[None] for one in measure(network.wanted, lambda: [fed])]
    other = replace(made, axes=others)
    first = network.predict(fed[None], values, kept(made, network, place))
    fed = read_block(other, network, next(made.frames), there)
    second = network.predict(fed[None], values, kept(other, network, there))
    several = len(network.outputs) > 1
    for output in network.outputs:
        here, at = _common(output, made.axes, others, place, there)
        ours, theirs = first[output.id][0][_index(output, here)], second[output.id][0][_index(output, at)]
        if said := _told(ours, theirs, f" of {output.id}" if several else ""):
            return said
    return ""


def _cut_otherwise(axis: AxisPlan) -> AxisPlan:
    """Blocks half as large, or laid elsewhere where the network takes no smaller ones."""
    grid = axis.rule.grid
    return replace(axis, tile=max(grid, axis.tile // 2 // grid * grid))


def _common(
    output: Output, axes: Sequence[AxisPlan], others: Sequence[AxisPlan], place: Sequence[int], there: Sequence[int]
) -> tuple[dict[str, slice], dict[str, slice]]:
    """The pixels of an output that both blocks give, by axis: where they are in the one and in the other."""
    here: dict[str, slice] = {}
    at: dict[str, slice] = {}
    for axis, other, one, two in zip(axes, others, place, there, strict=True):
        name = axis.rule.name
        if name in output.spatial:
            ours, theirs = axis.written(one, output.spatial[name]), other.written(two, output.spatial[name])
            first, last = max(ours[0], theirs[0]), min(ours[1], theirs[1])
            here[name], at[name] = slice(first - ours[0], last - ours[0]), slice(first - theirs[0], last - theirs[0])
    return here, at


def _index(output: Output, parts: Mapping[str, slice]) -> tuple[slice, ...]:
    return tuple(parts.get(name, slice(None)) for name in output.axes)


def _told(ours: Array, theirs: Array, of: str) -> str:
    if not ours.size:
        return ""
    if ours.dtype.kind != "f":
        share = float(np.mean(ours != theirs))
        return f"in {share:.0%} of the pixels{of}" if share > VISIBLE else ""
    apart, spread = float(np.max(np.abs(ours - theirs))), float(np.std(ours))
    if not apart > max(VISIBLE * spread, ROUNDING * float(np.max(np.abs(ours)))):
        return ""
    return f"by up to {apart:.2g}{of} (its standard deviation is {spread:.2g})"
