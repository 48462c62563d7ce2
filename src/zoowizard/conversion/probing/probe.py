"""Finding out what a network is: sizes, halo, outputs. To be called in a job; the network runs in a process beside it.

The findings, by name, each for the axes "z", "y", "x" or a part of them, and for outputs in their order:

- `spatial_axes` 2 or 3; `channels` of the input
- `deterministic` whether two runs are equal; `batch` whether a batch of two gives what two batches give
- `sizes` {axis: {"min", "step"}} in px; a step of 0: no other size than this (see `findings.declared_sizes`)
- `outputs` [{"shape": of one run, "dtype", "channel_axis": or null, "channels", "axes": {axis: axis of the output},
  "scale": {axis: number}, "offset": {axis: px}}]: the size of an output is scale · size + offset
- `margins` [{axis: [before, behind]}] px of the output that valid convolutions leave out (`padded_back`)
- `halo` {axis: px of the input}; times its scale, it is the halo of an output whose margins are padded back
- `tiling` {"exact", "error": {axis: number or null}, "whole_image": whether layers look at all of
  it, "layers": their names, "reach": {axis: px or null}}
- `perils` {sizes: what happened}, where the network ended its process, or had to be ended; missing where it never did
- `range` [[least, largest]] and `kind` (`outputs.Kind`) of each output
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from pydantic import JsonValue

from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing import geometry, runs
from zoowizard.conversion.probing.apart import USUAL, Apart, Limits, Refused, Spent
from zoowizard.conversion.probing.findings import Finding, Findings
from zoowizard.conversion.probing.networks import Network
from zoowizard.conversion.probing.outputs import kind_of, value_range
from zoowizard.conversion.probing.sizes import AxisSizes, Tried, is_like, only, scan
from zoowizard.conversion.probing.tiles import ROUNDING, Halo, Strips, margin, measure

AXES: Final = ("z", "y", "x")
LONGEST_PX: Final = {2: 2048, 3: 768}
_FAR_BEYOND: Final = 20.0
_ENOUGH_PX: Final = 256

_WHOLE_IMAGE_LAYERS: Final = (
    "InstanceNorm",
    "GroupNorm",
    "LayerNorm",
    "AdaptiveAvgPool",
    "AdaptiveMaxPool",
    "Attention",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "ReduceMean",
    "Softmax",
)


def probe(
    load: Callable[[], Network],
    spatial_axes: int | None = None,
    channels: int | None = None,
    image: Array | None = None,
    limits: Limits = USUAL,
    on_progress: Callable[[float, str], None] = lambda fraction, note: None,
    size: tuple[int, ...] | None = None,
) -> Findings:
    """What can be found out about a network by running it.

    `load` makes the network (`networks.of_module` and its neighbours); it is called in another process, so it must be
    picklable: a function of a module, or a partial of one. `spatial_axes` and `channels` are tried out where they are
    None. `image` (batch, channel, (z,) y, x) float32 is a test image as the network wants it, normalised, for what its
    outputs look like; where there is none, `size` are spatial sizes that it may take where it takes no usual ones.
    `on_progress` hears the part that is done and what comes next. What there was no time for, or what the network
    refused, is named in `missing`.

    Raises ZoowizardError where the network cannot be loaded, or takes no input that was tried.
    """
    with Apart(load, limits) as network:
        return _Probing(network, image, on_progress).findings(spatial_axes, channels, size)


class _Unknown(Exception):
    """Something that cannot be found out; the message says why."""


class _Probing:
    """What is known so far, each step with what the ones before have found."""

    def __init__(self, network: Apart, image: Array | None, on_progress: Callable[[float, str], None]) -> None:
        self.network, self.image, self.on_progress = network, image, on_progress
        self.found: dict[str, Finding] = {}
        self.missing: dict[str, str] = {}
        self.sizes: dict[int, AxisSizes] = {}
        self.thin: dict[int, tuple[int, ...]] = {}
        self.shapes: runs.Shapes = ()
        self.steady = True
        self.channel_axes: list[int | None] = []
        self.perils: dict[str, str] = {}
        self.on_noise: dict[int, list[Array]] = {}

    def findings(self, spatial_axes: int | None, channels: int | None, size: tuple[int, ...] | None = None) -> Findings:
        started = time.monotonic()
        self.on_progress(0.0, "its axes and channels")
        size = size if self.image is None else self.image.shape[2:]
        with self._part("spatial_axes", "channels"):
            self._geometry(geometry.find(self.network, spatial_axes, channels, size))
        if self.shapes:
            self._each()
        return Findings(self.found, self.missing, self.network.runs, round(time.monotonic() - started, 3))

    def _each(self) -> None:
        self.on_progress(0.1, "whether two runs are equal")
        with self._part("deterministic"):
            self._deterministic()
        with self._part("sizes"):
            for axis in range(self.axes):
                self.on_progress(0.15 + 0.4 * axis / self.axes, f"the sizes along {self._name(axis)}")
                self._sizes(axis)
            self._tell_sizes(self.sizes)
        with self._part("outputs", "margins"):
            self._outputs()
        self.on_progress(0.6, "its outputs")
        with self._part("range", "kind"):
            self._kinds()
        with self._part("batch"):
            self._batch()
        with self._part("halo", "tiling"):
            self._tiling()
        self.on_progress(1.0, "done")

    @contextlib.contextmanager
    def _part(self, *names: str) -> Iterator[None]:
        """One step; what keeps it from its end is why the findings `names` are missing."""
        try:
            yield
        except Spent:
            self.missing |= dict.fromkeys(names, f"the time of {self.network.limits.seconds:g} s was over before")
        except Refused as problem:
            self.missing |= dict.fromkeys(names, f"the network gave no answer: {problem}")
        except _Unknown as problem:
            self.missing |= dict.fromkeys(names, str(problem))

    def _name(self, axis: int) -> str:
        return AXES[axis + 3 - self.axes]

    def _geometry(self, geometry: geometry.Geometry) -> None:
        self.axes, self.channels, self.base = geometry.spatial_axes, geometry.channels, geometry.base
        self.found["spatial_axes"] = Finding(self.axes, geometry.axes_evidence, True)
        self.found["channels"] = Finding(self.channels, geometry.channels_evidence, geometry.certain)
        self.shapes = self.network.call(runs.shapes, (1, self.channels, *self.base))

    def _input(self, sizes: Sequence[int], batch: int = 1) -> tuple[int, ...]:
        return (batch, self.channels, *sizes)

    def _at(self, sizes: Sequence[int]) -> runs.Shapes | None:
        try:
            return self.network.call(runs.shapes, self._input(sizes))
        except Refused as problem:
            if problem.died:
                self.perils[" x ".join(map(str, sizes))] = str(problem)
                words = "; ".join(f"at {at} px {what}" for at, what in self.perils.items())
                self.found["perils"] = Finding({**self.perils}, words, True)
            return None

    def _noise_outputs(self, seed: int) -> list[Array]:
        if seed not in self.on_noise:
            self.on_noise[seed] = self.network.call(runs.outputs, runs.noise(self._input(self.base), seed))
        return self.on_noise[seed]

    def _deterministic(self) -> None:
        first, second = self._noise_outputs(0), self.network.call(runs.outputs, runs.noise(self._input(self.base)))
        apart = max(_apart(a, b) for a, b in zip(first, second, strict=True))
        self.steady = apart <= ROUNDING
        evidence = "two runs on the same input gave the same"
        if not self.steady:
            evidence = f"two runs on the same input differ by up to {apart:.2g} of the output's spread"
        self.found["deterministic"] = Finding(self.steady, evidence, True)

    def _sizes(self, axis: int) -> None:
        self.thin[axis] = geometry.thin(self.network, self.channels, self.base, axis)
        tried = Tried(lambda size: self._at(_with(self.thin[axis], axis, size)))
        alike = ((one, is_like(tried, one)) for one in self.sizes.values() if one.step)
        known = next(((one, lines) for one, lines in alike if lines), None)
        if known:
            one, lines = known
            self.sizes[axis] = AxisSizes(one.minimum, one.step, lines, one.minimum + 3 * one.step)
        else:
            found = scan(tried, self.base[axis])
            if found is None and any(shapes for size, shapes in tried.given.items() if size != self.base[axis]):
                raise _Unknown(f"its outputs do not follow the size of the input along {self._name(axis)}")
            self.sizes[axis] = found or only(self.base[axis], self.shapes, axis + 2)

    def _tell_sizes(self, fitting: dict[int, AxisSizes]) -> None:
        """Those of `fitting` are told, which may be coarser than those that the network takes."""
        told: dict[str, JsonValue] = {
            self._name(one): {"min": sizes.minimum, "step": sizes.step} for one, sizes in fitting.items()
        }
        words = _along((self._name(axis), _sizes_in_words(self.sizes[axis], sizes)) for axis, sizes in fitting.items())
        self.found["sizes"] = Finding(told, words, all(sizes.step for sizes in self.sizes.values()))

    def _outputs(self) -> None:
        if len(self.sizes) < self.axes:
            raise _Unknown("the sizes that it takes are not known")
        given = self._noise_outputs(0)
        told: list[JsonValue] = []
        margins: list[JsonValue] = []
        for index, output in enumerate(given):
            followed = {axis: self.sizes[axis].following(index) for axis in self.sizes}
            lines = {self._name(axis): one for axis, one in followed.items() if one is not None}
            taken = {one[0] for one in lines.values()}
            free = [axis for axis in range(1, output.ndim) if axis not in taken]
            whole = output.ndim == self.axes + 2
            channel_axis = 1 if whole else free[0] if len(free) == 1 else None
            self.channel_axes.append(channel_axis)
            told.append(
                {
                    "shape": list(output.shape),
                    "dtype": str(output.dtype),
                    "channel_axis": channel_axis,
                    "channels": 1 if channel_axis is None else output.shape[channel_axis],
                    "axes": {name: axis for name, (axis, _) in lines.items()},
                    "scale": {name: float(line.scale) for name, (_, line) in lines.items()},
                    "offset": {name: float(line.offset) for name, (_, line) in lines.items()},
                }
            )
            margins.append({name: list(margin(line.offset)) for name, (_, line) in lines.items()})
        count = "one output" if len(given) == 1 else f"{len(given)} outputs"
        shapes = " and ".join(" x ".join(map(str, output.shape)) for output in given)
        self.found["outputs"] = Finding(told, f"{count} of shape {shapes} for {self._input(self.base)}", True)
        self.found["margins"] = Finding(margins, self._margins_in_words(margins), True)

    def _margins_in_words(self, margins: Sequence[JsonValue]) -> str:
        if not any(pair != [0, 0] for one in margins if isinstance(one, dict) for pair in one.values()):
            return "outputs have the size of the input, up to their scale"
        return "outputs are smaller or larger than the input by the same number of px for every size"

    def _kinds(self) -> None:
        image = self._fitting_image()
        usual = runs.noise(self._input(self.base)) if image is None else image
        first = self._noise_outputs(0) if image is None else self.network.call(runs.outputs, image)
        given = [first, self._noise_outputs(1)]
        given += [self.network.call(runs.outputs, sign * _FAR_BEYOND * usual) for sign in (1, -1)]
        told: list[JsonValue] = []
        ranges: list[JsonValue] = []
        words, sure = [], True
        for index, outputs in enumerate(zip(*given, strict=True)):
            channel_axis = self.channel_axes[index] if self.channel_axes else 1
            kind = kind_of(outputs, image, channel_axis, self.axes)
            told.append(kind.value)
            ranges.append(list(value_range(outputs[:1])))
            words.append(kind.evidence if len(given[0]) == 1 else f"output {index + 1}: {kind.evidence}")
            sure = sure and kind.certain
        on = "noise" if image is None else "the test image"
        self.found["kind"] = Finding(told, "; ".join(words), sure)
        self.found["range"] = Finding(ranges, f"as seen on {on}", False)

    def _fitting_image(self) -> Array | None:
        """The middle of the test image, in a size that the network takes; None where there is none."""
        if self.image is None or self.image.shape[1] != self.channels or len(self.sizes) < self.axes:
            return None
        part: list[slice] = [slice(0, 1), slice(None)]
        for axis, size in enumerate(self.image.shape[2:]):
            wanted = fitting(self.sizes[axis], min(size, max(_ENOUGH_PX, self.base[axis])))
            if wanted is None:
                return None
            part.append(slice((size - wanted) // 2, (size - wanted) // 2 + wanted))
        return np.ascontiguousarray(self.image[tuple(part)], dtype=np.float32)

    def _batch(self) -> None:
        arrays = [runs.noise(self._input(self.base), seed) for seed in range(2)]
        try:
            together = self.network.call(runs.outputs, np.concatenate(arrays))
        except Refused as problem:
            self.found["batch"] = Finding(False, f"a batch of two is refused: {problem}", True)
            return
        apart = [self._noise_outputs(seed) for seed in range(2)]
        same = all(
            len(both) == 2 and _apart(both, np.concatenate([one[index] for one in apart])) <= ROUNDING
            for index, both in enumerate(together)
        )
        evidence = (
            "a batch of two gives what two batches of one give" if same else "in a batch, images change each other"
        )
        if not same and not self.steady:
            evidence = "a batch of two runs; whether images change each other cannot be seen, as no two runs are equal"
        self.found["batch"] = Finding(same or not self.steady, evidence, same)

    def _tiling(self) -> None:
        if len(self.sizes) < self.axes:
            raise _Unknown("the sizes that it takes are not known")
        following = {axis: self._lines_along(axis) for axis in self.sizes if self.sizes[axis].step}
        if not following:
            raise _Unknown("it takes one size only")
        _, layers, _, has_module = self.network.call(runs.facts)
        halos: dict[int, Halo] = {}
        for number, (axis, lines) in enumerate(following.items()):
            self.on_progress(0.7 + 0.3 * number / len(following), f"how far it looks along {self._name(axis)}")
            halos[axis] = measure(self._strips(axis, lines, has_module), self.steady)
        self._tell_tiling(halos, layers)
        self._tell_sizes({**self.sizes, **{axis: halo.sizes for axis, halo in halos.items()}})

    def _lines_along(self, axis: int) -> list[tuple[int, int]]:
        """The outputs that follow an axis of the input, each with which axis of its own does."""
        found = ((index, self.sizes[axis].following(index)) for index in range(len(self.shapes)))
        return [(index, one[0]) for index, one in found if one is not None]

    def _strips(self, axis: int, along: Sequence[tuple[int, int]], has_module: bool) -> Strips:
        lines = [one[1] for output, _ in along if (one := self.sizes[axis].following(output)) is not None]
        others = tuple(
            self.sizes[other].at_least(size) if other != axis and other in self.sizes else size
            for other, size in enumerate(self.thin[axis])
        )

        def shape(length: int) -> tuple[int, ...]:
            return self._input(_with(others, axis, length))

        def finite(length: int, start: int, stop: int, local: bool) -> list[Array]:
            return self.network.call(runs.finite, shape(length), axis + 2, start, stop, along, local)

        def errors(length: int, start: int, stop: int, starts: Sequence[int], seeds: int) -> list[Array]:
            return self.network.call(runs.tile_errors, shape(length), axis + 2, start, stop, along, starts, seeds)

        return Strips(finite, errors, self.sizes[axis], lines, LONGEST_PX[self.axes], has_module)

    def _tell_tiling(self, halos: dict[int, Halo], layers: Sequence[str]) -> None:
        exact = all(halo.exact for halo in halos.values())
        whole = any(halo.looks == "whole" for halo in halos.values())
        named = [layer for layer in layers if whole and any(part in layer for part in _WHOLE_IMAGE_LAYERS)]
        words = _along((self._name(axis), _halo_in_words(halo)) for axis, halo in halos.items())
        by_axis = {self._name(axis): halo for axis, halo in halos.items()}
        value: dict[str, JsonValue] = {
            "exact": exact,
            "error": {name: halo.error for name, halo in by_axis.items()},
            "whole_image": whole,
            "layers": list(named),
            "reach": {name: halo.reach_px for name, halo in by_axis.items()},
        }
        if named:
            words += f" (layers that may be why: {', '.join(named)})"
        traced = all(halo.looks == "surroundings" for halo in halos.values())
        self.found["halo"] = Finding({name: halo.halo_px for name, halo in by_axis.items()}, words, exact and traced)
        self.found["tiling"] = Finding(value, words, exact or whole)


def fitting(sizes: AxisSizes, most: int) -> int | None:
    """The largest size that works and is not above `most`; None where even the least is."""
    if sizes.minimum > most:
        return None
    return sizes.minimum + (most - sizes.minimum) // sizes.step * sizes.step if sizes.step else sizes.minimum


def _with(sizes: Sequence[int], axis: int, size: int) -> tuple[int, ...]:
    return tuple(size if one == axis else other for one, other in enumerate(sizes))


def _apart(a: Array, b: Array) -> float:
    """The largest difference, in standard deviations of the second."""
    if a.shape != b.shape:
        return float("inf")
    difference = np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0)
    return float(difference) / (float(b.astype(np.float64).std()) or 1.0)


def _along(told: Iterable[tuple[str, str]]) -> str:
    """What is told of each axis, once for those of which the same is told."""
    names: dict[str, list[str]] = {}
    for name, words in told:
        names.setdefault(words, []).append(name)
    return "; ".join(f"along {' and '.join(axes)} {words}" for words, axes in names.items())


def _sizes_in_words(sizes: AxisSizes, fitting: AxisSizes) -> str:
    if not sizes.step:
        return f"only {sizes.minimum} px is taken"
    line = next(line for one in sizes.lines for line in one if line.scale)
    given = f"{line.scale} · size" if line.scale != 1 else "size"
    if line.offset:
        given += f" {'+' if line.offset > 0 else '-'} {abs(line.offset)}"
    gives = "the same size" if given == "size" else f"{given} px"
    if sizes.step == 1:
        words = f"every size from {sizes.minimum} px gives {gives}"
    else:
        words = (
            f"sizes from {sizes.minimum} px in steps of {sizes.step} give {gives}, others are refused or lose pixels"
        )
    return words if fitting == sizes else f"{words}, but tiles fit together only in steps of {fitting.step}"


def _halo_in_words(halo: Halo) -> str:
    if halo.looks == "whole":
        looks = "every output depends on the whole image"
        looks += "" if halo.reach_px is None else f", and its convolutions look {halo.reach_px} px far"
    elif halo.looks == "no trace":
        looks = "how far it looks was measured with tiles only"
    else:
        looks = f"it looks {halo.reach_px} px far"
    if halo.error is None:
        return f"{looks}; tiles cannot be compared, as no two runs are equal"
    if halo.exact:
        return f"{looks}; with a halo of {halo.halo_px} px tiles give what the whole image gives"
    return f"{looks}; with a halo of {halo.halo_px} px tiles differ by up to {halo.error:.2g} of the output's spread"
