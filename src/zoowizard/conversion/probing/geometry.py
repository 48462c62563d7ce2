"""What goes in: two or three spatial axes, how many channels, and a first size that works."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from zoowizard.conversion.probing import runs
from zoowizard.conversion.probing.apart import Apart, Refused
from zoowizard.errors import ZoowizardError

_SIZES: Final[dict[int, Sequence[tuple[int, ...]]]] = {
    2: [(size, size) for size in (64, 128, 256, 96, 224, 512, 48, 100, 1024)],
    3: [
        *[(size,) * 3 for size in (32, 64, 16, 96)],
        (16, 64, 64),
        (20, 128, 128),
        *[(size,) * 3 for size in (128, 178)],
    ],
}
_USUAL_CHANNELS: Final = (1, 3, 2, 4, 5, 6, 7, 8)
_THIN: Final = (4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Geometry:
    """`spatial_axes` (2 or 3), input `channels`, and `base`, spatial sizes that work; the evidence in words.

    `certain` where the network refuses another number of channels.
    """

    spatial_axes: int
    channels: int
    base: tuple[int, ...]
    axes_evidence: str
    channels_evidence: str
    certain: bool


def find(network: Apart, spatial_axes: int | None, channels: int | None, size: tuple[int, ...] | None) -> Geometry:
    """Try what the weights suggest, then what is usual. `size` are spatial sizes to try in the end (of a test image).

    Raises ZoowizardError where nothing that was tried works, with what the network said first.
    """
    weights, _, declared, _ = network.call(runs.facts)
    first = next((shape for shape in weights if len(shape) in (4, 5)), None)
    said = ""
    refused_channels: set[tuple[int, int]] = set()
    for axes, count, sizes in _guesses(first, declared, spatial_axes, channels, size):
        try:
            network.call(runs.shapes, (1, count, *sizes))
        except Refused as problem:
            said = said or f"for {_product(sizes)} px in {_channels(count)}: {problem}"
            refused_channels.add((axes, count))
            continue
        return _told(network, axes, count, sizes, first, spatial_axes, channels)
    raise ZoowizardError(f"the network took no input that was tried; it says {said}")


def _guesses(
    first: tuple[int, ...] | None,
    declared: tuple[int | None, ...] | None,
    spatial_axes: int | None,
    channels: int | None,
    size: tuple[int, ...] | None,
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    if declared is not None and len(declared) in (4, 5) and spatial_axes in (None, len(declared) - 2):
        spatial_axes, channels = len(declared) - 2, channels or declared[1]
        if None not in declared[2:]:
            yield spatial_axes, channels or 1, tuple(one or 1 for one in declared[2:])
    guessed_axes = len(first) - 2 if first else 2
    every_axes = [spatial_axes] if spatial_axes else [guessed_axes, 5 - guessed_axes]
    likely = [channels] if channels else [*([first[1]] if first else []), *_USUAL_CHANNELS]
    counts = list(dict.fromkeys(likely))
    for axes in every_axes:
        for count in counts:
            yield axes, count, _SIZES[axes][0]
    for axes in every_axes[:1]:
        for count in counts[:2]:
            own = [size] if size and len(size) == axes else []
            for sizes in [*_SIZES[axes][1:], *own]:
                yield axes, count, tuple(sizes)


def _told(
    network: Apart,
    axes: int,
    count: int,
    sizes: tuple[int, ...],
    first: tuple[int, ...] | None,
    known_axes: int | None,
    known_channels: int | None,
) -> Geometry:
    kernel = f"its first weight has the shape {' x '.join(map(str, first))}" if first else "its weights do not tell it"
    ran = f"it runs on {_product(sizes)} px"
    of_axes = "given" if known_axes else f"{kernel}, and {ran}"
    if known_channels:
        return Geometry(axes, count, sizes, of_axes, "given", True)
    try:
        network.call(runs.shapes, (1, count + 1, *sizes))
    except Refused:
        return Geometry(axes, count, sizes, of_axes, f"{kernel}; {count + 1} channels are refused", True)
    evidence = f"{kernel}; but {_channels(count + 1)} work, too"
    return Geometry(axes, count, sizes, of_axes, evidence, False)


def thin(network: Apart, channels: int, base: tuple[int, ...], along: int) -> tuple[int, ...]:
    """`base` with all spatial axes but `along` as small as they can be, so that a run along that axis costs little."""
    for size in _THIN:
        sizes = tuple(full if axis == along else min(size, full) for axis, full in enumerate(base))
        try:
            network.call(runs.shapes, (1, channels, *sizes))
        except Refused:
            continue
        return sizes
    return base


def _product(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"
