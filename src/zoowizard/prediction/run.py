"""Predicting one image: its axes are matched to the package's by name, it is cut, predicted and put together."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from zoowizard.errors import ZoowizardError
from zoowizard.prediction.blocks import AxisPlan, Span, plan_axes
from zoowizard.prediction.described import Output
from zoowizard.prediction.network import Network
from zoowizard.prediction.pictures import NAMES, Array, Picture, as_type
from zoowizard.prediction.statistics import measure

VOXEL_SIZES_DIFFER: Final = 1.25
"""From this ratio on a person is told."""
MEASURED_VALUES: Final = 1 << 20
"""So many values of an image are looked at at once for its statistics, unless a chunk has more."""
BYTES_A_WHOLE_VOXEL: Final = 64
"""What a voxel of an image needs at least that must be predicted whole."""
MOST_BLOCKS: Final = 10_000_000
"""At some hundred blocks a second they take a day."""


@dataclass(frozen=True)
class Plan:
    """How an image is predicted: `loops` are axes that the network does not know, each place predicted by itself.

    `places` are those along each of `loops`.
    `channels` are the places of the image's channels that are fed, None where the network has no such axis or the image
    has none.
    """

    picture: Picture
    loops: tuple[str, ...]
    places: tuple[Sequence[int], ...]
    channels: tuple[int, ...] | None
    axes: tuple[AxisPlan, ...]

    @property
    def frames(self) -> Iterator[tuple[int, ...]]:
        """A place for each of `loops`, all of them; the last changes fastest."""
        return itertools.product(*self.places)

    @property
    def blocks_a_frame(self) -> int:
        """Blocks of each frame."""
        return math.prod(axis.count for axis in self.axes)

    @property
    def blocks(self) -> int:
        """All blocks."""
        return math.prod(map(len, self.places)) * self.blocks_a_frame

    def output_axes(self, output: Output) -> tuple[str, ...]:
        """The axes of the whole output by name; a single channel is none."""
        has_channel = "channel" in self.loops or (output.channels or 1) > 1
        own = {*self.loops, *output.spatial, *(["channel"] if has_channel else [])}
        return tuple(name for name in NAMES if name in own)

    def output_shape(self, output: Output) -> tuple[int, ...]:
        """The shape of the whole output, in the order of its axes."""
        sizes = {name: len(set(places)) for name, places in zip(self.loops, self.places, strict=True)}
        if "channel" not in sizes:
            sizes["channel"] = output.channels or 1
        sizes |= {axis.rule.name: axis.output_size(output.spatial[axis.rule.name]) for axis in self._of(output)}
        return tuple(sizes[name] for name in self.output_axes(output))

    def chunks(self, output: Output, longest: int) -> tuple[int, ...]:
        """Chunks for the output: what one block gives, so that each is written once; shorter where that is all."""
        tiles = dict.fromkeys(self.loops, 1)
        for axis in self._of(output):
            tile = axis.output_tile(output.spatial[axis.rule.name])
            tiles[axis.rule.name] = tile if axis.count > 1 else min(tile, longest)
        shape = dict(zip(self.output_axes(output), self.output_shape(output), strict=True))
        return tuple(min(tiles.get(name, shape[name]), shape[name]) for name in shape)

    def _of(self, output: Output) -> list[AxisPlan]:
        return [axis for axis in self.axes if axis.rule.name in output.spatial]

    def pixel_size(self, output: Output) -> dict[str, float]:
        """Micrometers per pixel of the output, as far as they are known."""
        size = dict(self.picture.pixel_size)
        for name, given in output.spatial.items():
            if name in size:
                size[name] = size[name] / float(given.scale)
        return {name: one for name, one in size.items() if name in self.output_axes(output)}


def plan(
    picture: Picture,
    network: Network,
    memory_bytes: int,
    block: Mapping[str, int] | None = None,
    channel: str = "",
    whole: bool = False,
) -> Plan:
    """Match an image to the network, and cut it into blocks, unless it must or shall be seen `whole`.

    `block` are wanted sides in pixels by axis, `channel` the places of channels, such as `0` or `0,2`, or `each`.
    Raises ZoowizardError where the image does not fit, saying what would.
    """
    sizes = picture.sizes
    loops = [name for name in picture.axes if name not in network.axes and name != "channel"]
    if lacking := [name for name in network.axes if name not in sizes and name != "channel"]:
        raise ZoowizardError(
            f"{picture.name} has the axes {', '.join(picture.axes)}, and the package wants {', '.join(lacking)} too"
        )
    channels, each = _channels(picture, network, channel)
    if each:
        loops.append("channel")
    for output in network.outputs:
        if each and (output.channels or 1) > 1:
            raise ZoowizardError(f"{picture.name} has {sizes['channel']} channels; choose one with --channel 0")
    axes = plan_axes(network.rules, sizes, memory_bytes, block, whole=whole or bool(network.whole))
    if network.whole:
        voxels = math.prod(axis.block for axis in axes) * (network.channels or 1)
        if voxels * BYTES_A_WHOLE_VOXEL > memory_bytes:
            raise ZoowizardError(
                f"{picture.name} has {voxels / 1e6:.0f} million values, too many for the memory at once, and it "
                f"cannot be predicted in blocks: {network.whole}; give a smaller piece of it"
            )
    places = [channels if channels is not None and each and name == "channel" else range(sizes[name]) for name in loops]
    made = Plan(picture, tuple(loops), tuple(places), None if each else channels, tuple(axes))
    if made.blocks > MOST_BLOCKS:
        raise ZoowizardError(
            f"{picture.name} would be predicted in {made.blocks:.1g} blocks ({_sides(picture)}), more than the "
            f"{MOST_BLOCKS:.0e} that are predicted at once; give a smaller piece of it"
        )
    return made


def _sides(picture: Picture) -> str:
    return ", ".join(f"{name} {size:.3g}" for name, size in picture.sizes.items())


def _channels(picture: Picture, network: Network, asked: str) -> tuple[tuple[int, ...] | None, bool]:
    """The places of channels that are used, and whether each is predicted by itself."""
    there = picture.sizes.get("channel")
    wants = network.channels or 1
    if there is None:
        if wants != 1:
            raise ZoowizardError(
                f"{picture.name} has one channel, and the package wants {wants} ({', '.join(network.channel_names)})"
            )
        return None, False
    every = tuple(range(there))
    if asked == "each":
        if wants != 1:
            raise ZoowizardError(f"--channel each: the package wants {wants} channels at once; name so many")
        return every, True
    chosen = tuple(int(one) for one in asked.split(",")) if asked else every
    if outside := [one for one in chosen if one >= there]:
        raise ZoowizardError(f"--channel {asked}: {picture.name} has {there} channels, from 0, and no {outside[0]}")
    if len(chosen) != wants:
        named = f" ({', '.join(network.channel_names)})" if network.channel_names else ""
        raise ZoowizardError(
            f"{picture.name} has {len(chosen)} channels, and the package wants {wants}{named}; choose with --channel, "
            f"such as --channel {','.join(map(str, range(wants)))}{' or --channel each' if wants == 1 else ''}"
        )
    return chosen, network.channels is None


def warnings(picture: Picture, network: Network, made: Plan) -> list[str]:
    """What a person should know before the result is used."""
    said = list(picture.notes)
    for name, size in network.pixel_size_um.items():
        own = picture.pixel_size.get(name)
        if own and max(own / size, size / own) > VOXEL_SIZES_DIFFER:
            said.append(
                f"{picture.name} has {own:.3g} µm per pixel along {name}, and the package was made for {size:.3g} µm: "
                "resize the image, or look closely at the result"
            )
    if small := [axis for axis in made.axes if axis.size < axis.rule.minimum]:
        sides = ", ".join(f"{axis.rule.name} {axis.size} (at least {axis.rule.minimum})" for axis in small)
        said.append(f"{picture.name} is smaller than the package takes: {sides}; it was padded with its own reflection")
    if made.blocks_a_frame > 1 and network.seams:
        said.append(
            f"{picture.name} is predicted in {made.blocks_a_frame} blocks, and they do not join exactly: cut "
            f"otherwise, they differ {network.seams}, as the network looks at the whole image, or farther than its "
            "package says; larger blocks (--block) differ less, and one that holds the image does not"
        )
    return said


def read_block(made: Plan, network: Network, frame: Sequence[int], number: Sequence[int]) -> Array:
    """One block as the network takes it: its axes without the batch, padded by reflection beyond the image.

    Raises ZoowizardError where the image holds values that the network's type does not.
    """
    spans = {axis.rule.name: axis.read(one) for axis, one in zip(made.axes, number, strict=True)}
    return _read(made, network, frame, spans)


def _read(made: Plan, network: Network, frame: Sequence[int], spans: Mapping[str, Span]) -> Array:
    picture, sizes = made.picture, made.picture.sizes
    at = dict(zip(made.loops, frame, strict=True))
    inside = {name: (_within(first, sizes[name]), _within(last, sizes[name])) for name, (first, last) in spans.items()}
    wider = {name: _reflected_from(spans[name], inside[name], sizes[name]) for name in spans}
    index: list[Any] = []
    for name in picture.axes:
        if name in at:
            index.append(at[name])
        elif name == "channel":
            index.append(slice(None))
        else:
            index.append(slice(*wider[name]))
    pixels = np.asarray(picture.pixels[tuple(index)])
    there = [name for name in picture.axes if name not in at]
    if made.channels is not None and "channel" in there:
        pixels = np.take(pixels, made.channels, there.index("channel"))
    if "channel" in network.axes and "channel" not in there:
        pixels, there = pixels[None], ["channel", *there]
    pixels = pixels.transpose([there.index(name) for name in network.axes])
    for place, name in enumerate(network.axes):
        if name in spans:
            first, last = spans[name]
            if (first, last) != wider[name]:
                pixels = np.take(pixels, _mirrored(first, last, sizes[name]) - wider[name][0], place)
    return as_type(pixels, network.dtype, picture.name)


def _within(place: int, size: int) -> int:
    return min(max(0, place), size)


def _mirrored(first: int, last: int, size: int) -> Array:
    """Where the pixels from `first` to `last` are found, the image being reflected at its edges (edge pixels twice)."""
    places = np.arange(first, last) % (2 * size)
    return np.where(places < size, places, 2 * size - 1 - places)


def _reflected_from(span: Span, inside: Span, size: int) -> Span:
    """The part of the image that holds `span` and its reflections."""
    if inside == span:
        return span
    places = _mirrored(*span, size)
    return int(places.min()), int(places.max()) + 1


def statistics(made: Plan, network: Network, frame: Sequence[int]) -> list[Array]:
    """What the network wants to know of one frame, or of the whole image where that is what it was made with.

    Each value with a first axis of 1, for the batch.
    """
    wanted = network.wanted
    found: list[Array] = [np.zeros(())] * len(wanted)
    for of_dataset in (False, True):
        places = [place for place, one in enumerate(network.of_dataset) if one is of_dataset]
        if not places:
            continue

        def parts(of_dataset: bool = of_dataset) -> Iterator[Array]:
            for one in made.frames if of_dataset else (frame,):
                yield from _parts(made, network, one)

        for place, value in zip(places, measure([wanted[place] for place in places], parts), strict=True):
            found[place] = value[None]
    return found


def _parts(made: Plan, network: Network, frame: Sequence[int]) -> Iterator[Array]:
    """A frame in boxes of whole chunks, small enough to be looked at; in one where it must be predicted whole."""
    names = [name for name in network.axes if name != "channel"]
    sizes = {name: made.picture.sizes[name] for name in names}
    sides = dict(sizes)
    if not network.whole:
        chunks = dict(zip(made.picture.axes, made.picture.chunks or made.picture.pixels.shape, strict=True))
        sides = {name: min(chunks[name], size) if made.picture.chunks else 1 for name, size in sizes.items()}
        for name in reversed(names):  # the last axis first: its pixels lie side by side
            more = MEASURED_VALUES // (math.prod(sides.values()) * (network.channels or 1))
            sides[name] = min(sizes[name], sides[name] * max(1, more))
    for place in np.ndindex(*(-(-sizes[name] // sides[name]) for name in names)):
        corner = {name: number * sides[name] for name, number in zip(names, place, strict=True)}
        yield _read(
            made, network, frame, {name: (at, min(at + sides[name], sizes[name])) for name, at in corner.items()}
        )


def kept(made: Plan, network: Network, number: Sequence[int]) -> dict[str, dict[str, Span]]:
    """Which pixels of each output are kept of a block."""
    return {
        output.id: {
            axis.rule.name: axis.kept(one, output.spatial[axis.rule.name])
            for axis, one in zip(made.axes, number, strict=True)
            if axis.rule.name in output.spatial
        }
        for output in network.outputs
    }


def put(
    targets: Mapping[str, Any],
    made: Plan,
    network: Network,
    frame: Sequence[int],
    number: Sequence[int],
    predicted: Mapping[str, Array],
) -> None:
    """Write what was predicted of one block (its axes without the batch) to its places in the whole outputs."""
    at = dict(zip(made.loops, frame, strict=True))
    if "channel" in at:
        at["channel"] = sorted(set(made.places[made.loops.index("channel")])).index(at["channel"])
    for output in network.outputs:
        axes = made.output_axes(output)
        where: dict[str, Any] = {**at}
        for axis, one in zip(made.axes, number, strict=True):
            if axis.rule.name in output.spatial:
                where[axis.rule.name] = slice(*axis.written(one, output.spatial[axis.rule.name]))
        values = predicted[output.id]
        there = list(output.axes)
        if "channel" in there and ("channel" not in axes or "channel" in at):
            if values.shape[there.index("channel")] != 1:
                raise ZoowizardError(f"the network gave several channels in {output.id}, and its package describes one")
            values = np.take(values, 0, there.index("channel"))
            there.remove("channel")
        left = [name for name in axes if name in there]
        targets[output.id][tuple(where.get(name, slice(None)) for name in axes)] = values.transpose(
            [there.index(name) for name in left]
        )
