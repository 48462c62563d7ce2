"""What a package's description says of its inputs and outputs, as far as prediction is concerned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from zoowizard.errors import ZoowizardError
from zoowizard.prediction.blocks import AxisOutput, AxisRule
from zoowizard.prediction.pictures import IN_UM
from zoowizard.prediction.statistics import Wanted

MOST_TOGETHER: Final = 32
NEEDS_WHOLE: Final = {
    "cellpose_flow_dynamics": "labels that follow flows need the whole image",
    "stardist_postprocessing": "labels that are chosen among polygons need the whole image",
    "scale_mean_variance": "its values are scaled by the whole output",
    "custom": "its own processing may need the whole image",
}


@dataclass(frozen=True)
class Output:
    """An output tensor: `axes` by name without the batch, `channels` None where it has no such axis."""

    id: str
    axes: tuple[str, ...]
    spatial: Mapping[str, AxisOutput]
    channels: int | None
    dtype: np.dtype[Any]


def _require_alike(model: Any, name: str) -> None:
    """Raises ZoowizardError where not all inputs can be given as the channels of one image."""
    first, *others = model.inputs
    if any(one.optional for one in model.inputs):
        raise ZoowizardError(
            f"{name}: {first.id} is not its only input, and some may be left out; predict cannot do so"
        )
    sizes = {name: axis for name, axis in zip(names_of(first.axes), first.axes, strict=True) if axis.type != "channel"}
    for other in others:
        for axis_name, axis in zip(names_of(other.axes), other.axes, strict=True):
            if axis_name in ("batch", "channel"):
                continue
            same = sizes.get(axis_name)
            follows = same is not None and getattr(axis.size, "axis_id", None) == same.id and not axis.size.offset
            if same is None or axis.scale != same.scale or not (follows or axis.size == same.size):
                raise ZoowizardError(
                    f"{name} wants {len(model.inputs)} images at once, and {other.id} has another size along "
                    f"{axis_name} than {first.id}; predict gives images of one size"
                )
        if lacking := set(sizes) - {"batch", *names_of(other.axes)}:
            raise ZoowizardError(
                f"{name} wants {len(model.inputs)} images at once, and {other.id} lacks {', '.join(sorted(lacking))}, "
                f"which {first.id} has; predict gives images of one size"
            )


def channels_by_input(model: Any) -> dict[str, tuple[Any, slice]]:
    """The inputs by their ids, each with the channels of the image that are fed to it."""
    found: dict[str, tuple[Any, slice]] = {}
    last = 0
    for one in model.inputs:
        first, last = last, last + len(_channel_names(one))
        found[str(one.id)] = one, slice(first, last)
    return found


def _channel_names(described: Any, of_several: bool = False) -> tuple[str, ...]:
    """Those of an input, with its id where there are `of_several`; without an axis for them there is one channel."""
    named = next((map(str, axis.channel_names) for axis in described.axes if axis.type == "channel"), iter(("",)))
    return tuple(f"{described.id} {one}".strip() if of_several else one for one in named)


def facts_of(model: Any, name: str) -> dict[str, Any]:
    """What the description `model` says of a `Network`, by its fields; before any weights are loaded.

    Raises ZoowizardError, with a sentence, where it is no network that makes images of one image.
    """
    _require_alike(model, name)
    described, several = model.inputs[0], len(model.inputs) > 1
    names = [one for one in names_of(described.axes) if one != "batch"]
    axes = dict(zip(names_of(described.axes), described.axes, strict=True))
    if not {"y", "x"} <= axes.keys() or len(set(names)) != len(names) or not set(axes) <= {*_PLACES, "batch"}:
        raise ZoowizardError(f"{name}: its input has the axes {', '.join(names)}; predict knows time, channel, z, y, x")
    outputs = tuple(_output(one, described, name) for one in model.outputs)
    channels = {str(one.id): _channel_names(one, several) for one in model.inputs}
    measures = sorted(measures_of(model, after=False), key=repr)
    if not {str(one.member_id) for one in measures} <= channels.keys():
        raise ZoowizardError(f"{name}: its preprocessing needs values of another image")
    batches = [axis for one in model.inputs for axis in one.axes if axis.type == "batch"]
    one_by_one = len(batches) < len(model.inputs) or any(one.scope == "dataset" for one in measures)
    return {
        "name": str(model.name),
        "axes": tuple(names if "channel" in axes or not several else ["channel", *names]),
        "rules": tuple(_rule(one, axes[one], model, outputs, name) for one in names if one != "channel"),
        "channels": sum(map(len, channels.values())) if several or "channel" in axes else None,
        "channel_names": tuple(name for named in channels.values() for name in named if name),
        "dtype": np.result_type(*map(dtype_of, model.inputs)),
        "pixel_size_um": {
            one: float(axes[one].scale) * IN_UM[str(axes[one].unit)]
            for one in names
            if one in "zyx" and axes[one].unit in IN_UM
        },
        "outputs": outputs,
        "whole": _why_whole(model, measures),
        "together": 1 if one_by_one else min(batch.size or MOST_TOGETHER for batch in batches),
        "_measures": tuple(measures),
    }


_PLACES: Final = ("time", "channel", "z", "y", "x")


def names_of(axes: Sequence[Any]) -> list[str]:
    """The axes' names; `batch`, `channel` and `time` by their type, however they are called."""
    return [axis.type if axis.type in ("batch", "channel", "time") else str(axis.id) for axis in axes]


def dtype_of(described: Any) -> np.dtype[Any]:
    """The type of a tensor's values; float32 where there are several, or wider floats."""
    data = described.data if isinstance(described.data, (list, tuple)) else [described.data]
    kinds = {str(one.type) for one in data}
    kind = np.dtype(kinds.pop() if len(kinds) == 1 else "float32")
    return np.dtype(np.float32) if kind == np.float64 else kind


def _output(described: Any, source: Any, name: str) -> Output:
    names = names_of(described.axes)
    spatial = {}
    for axis_name, axis in zip(names, described.axes, strict=True):
        if axis_name in ("batch", "channel"):
            continue
        read = next(
            (one for one, other in zip(source.axes, names_of(source.axes), strict=True) if other == axis_name), None
        )
        refers = getattr(axis.size, "axis_id", None)
        if read is None or not ((isinstance(axis.size, int) and isinstance(read.size, int)) or refers == read.id):
            raise ZoowizardError(f"{name}: the size of its output {described.id} does not follow from the image's size")
        if isinstance(axis.size, int):
            spatial[axis_name] = AxisOutput(Fraction(1), axis.size - read.size)
        else:
            ratio = Fraction(read.scale / axis.scale).limit_denominator(1000)
            spatial[axis_name] = AxisOutput(ratio, int(axis.size.offset))
        if spatial[axis_name].offset % 2:
            raise ZoowizardError(f"{name}: the offset of the output's axis {axis_name} is odd; it must be even")
    if not {"y", "x"} <= spatial.keys() or set(names) - {"batch", "channel", *spatial}:
        raise ZoowizardError(f"{name}: its output {described.id} is no image: its axes are {', '.join(names)}")
    channel = next((axis for one, axis in zip(names, described.axes, strict=True) if one == "channel"), None)
    return Output(
        str(described.id),
        tuple(one for one in names if one != "batch"),
        spatial,
        None if channel is None else len(channel.channel_names),
        dtype_of(described),
    )


def _rule(name: str, axis: Any, model: Any, outputs: Sequence[Output], package: str) -> AxisRule:
    size = axis.size
    if not isinstance(size, int) and not hasattr(size, "step"):
        raise ZoowizardError(
            f"{package}: its axis {name} must have the size of another axis; predict cannot keep to that"
        )
    minimum, step = (size, 0) if isinstance(size, int) else (int(size.min), int(size.step))
    halo = 0
    for described, output in zip(model.outputs, outputs, strict=True):
        for one, other in zip(names_of(described.axes), described.axes, strict=True):
            if one == name and getattr(other, "halo", None):
                halo = max(halo, math.ceil(int(other.halo) / output.spatial[name].scale))
    told = [one.spatial[name] for one in outputs if name in one.spatial]
    grid = math.lcm(max(1, step), *(one.scale.denominator for one in told))
    return AxisRule(name, minimum, step, halo, max((one.lost for one in told), default=0), grid)


def _why_whole(model: Any, measures: Sequence[Any]) -> str:
    before = [each for one in model.inputs for each in one.preprocessing]
    after = [each for one in model.outputs for each in one.postprocessing]
    for one in (*before, *after):
        if str(one.id) in NEEDS_WHOLE and (one.id != "scale_mean_variance" or one in after):
            return NEEDS_WHOLE[str(one.id)]
    inputs = {str(one.id): dict(zip(ids_of(one), names_of(one.axes), strict=True)) for one in model.inputs}
    if any(str(one.member_id) not in inputs for one in measures_of(model, after=True)):
        return "its values are scaled by the whole output"
    for one in measures:
        names = inputs[str(one.member_id)]
        if one.axes is not None and set(names.values()) - {names.get(str(a), "") for a in one.axes} - _NOT_SPATIAL:
            return "it is normalised plane by plane"
    halo = any(getattr(axis, "halo", None) for output in model.outputs for axis in output.axes)
    if not halo and any(dtype_of(output).kind in "iub" for output in model.outputs):
        return "it gives labels, which cannot be joined from blocks"
    return ""


_NOT_SPATIAL: Final = frozenset(("batch", "channel"))


def ids_of(described: Any) -> list[str]:
    """The axes' names as the description has them."""
    return [str(axis.id) for axis in described.axes]


def measures_of(model: Any, after: bool) -> set[Any]:
    """What processing wants to know: of the outputs, or of the inputs."""
    from bioimageio.core.proc_setup import get_requried_measures

    required = get_requried_measures(model)
    inputs = {str(one.id) for one in model.inputs}
    return (
        set(required.post)
        if after
        else set(required.pre) | {one for one in required.post if str(one.member_id) in inputs}
    )


def wanted_of(measure: Any, axes: Sequence[str], described: Any, channels: slice, several: bool) -> Wanted:
    """A measure of the input `described`, as one of an image with `axes`, of which it has the `channels`."""
    names = dict(zip(ids_of(described), names_of(described.axes), strict=True))
    given = set(axes) if measure.axes is None else {names[str(one)] for one in measure.axes}
    given |= set(axes) - set(names.values())  # channels, where this input has no axis for its one
    reduced = tuple(place for place, name in enumerate(axes) if name in given)
    part = (axes.index("channel"), channels.start, channels.stop) if several else None
    return Wanted(measure.name, reduced, getattr(measure, "q", 0.0), getattr(measure, "method", "linear"), part)
