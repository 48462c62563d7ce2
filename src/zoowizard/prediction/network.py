"""A package of the zoo as a network that predicts blocks: bioimageio.core does its pre- and postprocessing."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from zoowizard.errors import ZoowizardError
from zoowizard.library.archive import sha256, why_not_plain
from zoowizard.packaging.foreign import opened
from zoowizard.prediction.blocks import AxisOutput, AxisRule, Span
from zoowizard.prediction.pictures import IN_UM, Array
from zoowizard.prediction.statistics import Wanted

MOST_TOGETHER: Final = 32
MOST_SHOWN: Final = 200
"""Characters of what a package says, in a sentence."""
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


@dataclass
class Network:
    """A package that is ready to predict.

    `axes` are those of its input by name, without the batch; `pixel_size_um` what the package says of its images;
    `whole` a reason why images cannot be cut into blocks, or empty; `together` how many images it takes at once.
    """

    name: str
    identity: str
    axes: tuple[str, ...]
    rules: tuple[AxisRule, ...]
    channels: int | None
    channel_names: tuple[str, ...]
    dtype: np.dtype[Any]
    pixel_size_um: Mapping[str, float]
    outputs: tuple[Output, ...]
    whole: str
    together: int
    own_code: str
    _model: Any = field(repr=False)
    _adapter: Any = field(repr=False)
    _measures: Any = field(repr=False)
    _pipeline: Any = field(default=None, repr=False)

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """What the preprocessing wants to know of an image; places of axes are those of `axes`, without the batch."""
        described = self._model.inputs[0].axes
        names = {str(axis.id): name for axis, name in zip(described, _names(described), strict=True)}
        return tuple(_wanted(one, self.axes, names) for one in self._measures)

    @property
    def of_dataset(self) -> tuple[bool, ...]:
        """For each of `wanted`: whether it is of all images together, not of each."""
        return tuple(one.scope == "dataset" for one in self._measures)

    def predict(
        self, batch: Array, statistics: Sequence[Array], kept: Mapping[str, Mapping[str, Span]]
    ) -> dict[str, Array]:
        """Predict blocks together: (images, *axes) of the type `dtype`; gives (images, *axes of the output) by id.

        `statistics` are the values of `wanted` with an axis for the images before their own; `kept` says which pixels
        of each output are kept, by axis. Raises ZoowizardError where the output has another size than was described.
        """
        from bioimageio.core import Sample, Tensor, create_prediction_pipeline

        described = self._model.inputs[0]
        has_batch = any(axis.type == "batch" for axis in described.axes)
        dims = [str(axis.id) for axis in described.axes]
        names = _names(described.axes)
        arranged = batch.transpose([0, *(1 + self.axes.index(name) for name in names if name != "batch")])
        arranged = np.moveaxis(arranged, 0, names.index("batch")) if has_batch else arranged[0]
        values = {
            one: _value(one, value, described.axes) for one, value in zip(self._measures, statistics, strict=True)
        }
        if self._pipeline is None or any(self.of_dataset):
            self._pipeline = create_prediction_pipeline(
                self._model, model_adapter=self._adapter, fixed_dataset_statistics=values or {}
            )
        member = described.id
        sample = Sample(members={member: Tensor(np.ascontiguousarray(arranged), dims=dims)}, stat=dict(values), id=0)
        predicted = self._pipeline.predict_sample_without_blocking(
            sample, skip_postprocessing=True, skip_input_padding=True, skip_output_cropping=True
        )
        for output in self._model.outputs:
            predicted.members[output.id] = _cropped(predicted.members[output.id], output, kept[str(output.id)])
        for one in _measures(self._model.outputs, self._model, after=True):
            predicted.stat.setdefault(one, one.compute(predicted) if one.member_id != member else 0.0)
        self._pipeline.apply_postprocessing(predicted)
        return {one.id: self._taken(predicted, one, len(batch)) for one in self.outputs}

    def _taken(self, predicted: Any, output: Output, images: int) -> Array:
        tensor = next(tensor for name, tensor in predicted.members.items() if str(name) == output.id)
        described = next(one for one in self._model.outputs if str(one.id) == output.id)
        names = _names(described.axes)
        values: Array = tensor.transpose([axis.id for axis in described.axes]).data.to_numpy()
        values = np.moveaxis(values, names.index("batch"), 0) if "batch" in names else values[None]
        return values.astype(output.dtype, copy=False)


def open_package(package: Path, folder: Path, weights: str = "") -> Network:
    """Load a package (zip or description) for prediction; a zip is unpacked into `folder`.

    Its own code, where it has any, runs in this process: call it in a job only. Raises ZoowizardError, with a sentence,
    for what is no package, one that is damaged or dangerous, and one that cannot predict one image from another.
    """
    os.environ["BIOIMAGEIO_CACHE_PATH"] = str(folder / "bioimageio-cache")
    described, told = opened(package, folder / "contents")
    if not isinstance(told.get("weights"), dict):
        raise ZoowizardError(f"{package.name} is no bioimage.io model package: its description names no weights")
    entry = _check_weights(described.parent, told, package.name, weights)
    from bioimageio.core.backends import create_model_adapter
    from bioimageio.spec import load_model_description

    try:
        model = load_model_description(described, format_version="latest", perform_io_checks=False)
    except Exception as problem:
        raise ZoowizardError(f"{package.name} is no bioimage.io model package: {_in_short(problem)}") from problem
    facts = _facts(model, package.name)
    try:
        adapter = create_model_adapter(model, weight_format_priority_order=(weights,) if weights else None)
    except Exception as problem:
        causes = getattr(problem, "exceptions", (problem,))
        said = "; ".join(_in_short(one) for one in causes)
        raise ZoowizardError(f"{package.name}: its weights could not be loaded: {said}") from problem
    identity = json.dumps([sha256(described), entry, weights])
    architecture = model.weights.pytorch_state_dict and model.weights.pytorch_state_dict.architecture
    own_code = str(getattr(architecture, "source", "") or "") if weights in ("", "pytorch_state_dict") else ""
    return Network(identity=identity, own_code=Path(own_code).name, _model=model, _adapter=adapter, **facts)


def _facts(model: Any, name: str) -> dict[str, Any]:
    required = [one for one in model.inputs if not one.optional]
    if len(model.inputs) != 1 or len(required) != 1:
        wants = ", ".join(str(one.id) for one in model.inputs)
        raise ZoowizardError(f"{name} wants {len(model.inputs)} images at once ({wants}); predict gives one")
    described = model.inputs[0]
    names = [one for one in _names(described.axes) if one != "batch"]
    axes = dict(zip(_names(described.axes), described.axes, strict=True))
    if not {"y", "x"} <= axes.keys() or len(set(names)) != len(names) or not set(axes) <= {*_PLACES, "batch"}:
        raise ZoowizardError(f"{name}: its input has the axes {', '.join(names)}; predict knows time, channel, z, y, x")
    outputs = tuple(_output(one, described, name) for one in model.outputs)
    channel = axes.get("channel")
    measures = sorted(_measures([described], model, after=False), key=repr)
    if any(str(one.member_id) != str(described.id) for one in measures):
        raise ZoowizardError(f"{name}: its preprocessing needs values of another image")
    batch = axes.get("batch")
    return {
        "name": str(model.name),
        "axes": tuple(names),
        "rules": tuple(_rule(one, axes[one], model, outputs, name) for one in names if one != "channel"),
        "channels": None if channel is None else len(channel.channel_names),
        "channel_names": () if channel is None else tuple(str(one) for one in channel.channel_names),
        "dtype": _dtype(described),
        "pixel_size_um": {
            one: float(axes[one].scale) * IN_UM[str(axes[one].unit)]
            for one in names
            if one in "zyx" and axes[one].unit in IN_UM
        },
        "outputs": outputs,
        "whole": _why_whole(model, measures),
        "together": 1
        if batch is None or any(one.scope == "dataset" for one in measures)
        else batch.size or MOST_TOGETHER,
        "_measures": tuple(measures),
    }


_PLACES: Final = ("time", "channel", "z", "y", "x")


def _names(axes: Sequence[Any]) -> list[str]:
    """The axes' names; `batch`, `channel` and `time` by their type, however they are called."""
    return [axis.type if axis.type in ("batch", "channel", "time") else str(axis.id) for axis in axes]


def _dtype(described: Any) -> np.dtype[Any]:
    data = described.data if isinstance(described.data, (list, tuple)) else [described.data]
    kinds = {str(one.type) for one in data}
    kind = np.dtype(kinds.pop() if len(kinds) == 1 else "float32")
    return np.dtype(np.float32) if kind == np.float64 else kind


def _output(described: Any, source: Any, name: str) -> Output:
    names = _names(described.axes)
    spatial = {}
    for axis_name, axis in zip(names, described.axes, strict=True):
        if axis_name in ("batch", "channel"):
            continue
        read = next(
            (one for one, other in zip(source.axes, _names(source.axes), strict=True) if other == axis_name), None
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
        _dtype(described),
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
        for one, other in zip(_names(described.axes), described.axes, strict=True):
            if one == name and getattr(other, "halo", None):
                halo = max(halo, math.ceil(int(other.halo) / output.spatial[name].scale))
    told = [one.spatial[name] for one in outputs if name in one.spatial]
    grid = math.lcm(max(1, step), *(one.scale.denominator for one in told))
    return AxisRule(name, minimum, step, halo, max((one.lost for one in told), default=0), grid)


def _why_whole(model: Any, measures: Sequence[Any]) -> str:
    for one in (*model.inputs[0].preprocessing, *(each for output in model.outputs for each in output.postprocessing)):
        if str(one.id) in NEEDS_WHOLE and (one.id != "scale_mean_variance" or one not in model.inputs[0].preprocessing):
            return NEEDS_WHOLE[str(one.id)]
    if any(str(one.member_id) != str(model.inputs[0].id) for one in _measures(model.outputs, model, after=True)):
        return "its values are scaled by the whole output"
    kept = {"channel", "batch"}
    names = {str(axis.id): name for axis, name in zip(model.inputs[0].axes, _names(model.inputs[0].axes), strict=True)}
    if any(
        one.axes is not None and set(names.values()) - {names.get(str(a), "") for a in one.axes} - kept
        for one in measures
    ):
        return "it is normalised plane by plane"
    halo = any(getattr(axis, "halo", None) for output in model.outputs for axis in output.axes)
    if not halo and any(_dtype(output).kind in "iub" for output in model.outputs):
        return "it gives labels, which cannot be joined from blocks"
    return ""


def _measures(described: Sequence[Any], model: Any, after: bool) -> set[Any]:
    from bioimageio.core.proc_setup import get_requried_measures

    required = get_requried_measures(model)
    return (
        set(required.post)
        if after
        else set(required.pre) | {one for one in required.post if str(one.member_id) == str(model.inputs[0].id)}
    )


def _wanted(measure: Any, axes: Sequence[str], names: Mapping[str, str]) -> Wanted:
    given = axes if measure.axes is None else [names[str(one)] for one in measure.axes]
    reduced = tuple(axes.index(one) for one in given if one != "batch")
    return Wanted(measure.name, reduced, getattr(measure, "q", 0.0), getattr(measure, "method", "linear"))


def _value(measure: Any, value: Array, axes: Sequence[Any]) -> Any:
    """As the library wants it: a number for all, or a tensor with the axes that were kept."""
    from bioimageio.core import Tensor

    if measure.scope == "dataset" and value[0].ndim == 0:
        return float(value[0])
    reduced = (
        {str(one) for one in measure.axes} if measure.axes is not None else {str(axis.id) for axis in axes} - {"batch"}
    )
    kept = [str(axis.id) for axis in axes if str(axis.id) not in reduced and axis.type != "batch"]
    if measure.scope == "dataset":
        return Tensor(value[0], dims=kept)
    if not any(axis.type == "batch" for axis in axes):
        return Tensor(value[0], dims=kept) if kept else float(value[0])
    return Tensor(value, dims=["batch", *kept])


def _cropped(tensor: Any, described: Any, kept: Mapping[str, Span]) -> Any:
    names = dict(zip(_names(described.axes), described.axes, strict=True))
    sizes = {str(name): size for name, size in tensor.sizes.items()}
    for name, (_, last) in kept.items():
        if sizes[str(names[name].id)] < last:
            raise ZoowizardError(
                f"the network gave {sizes[str(names[name].id)]} pixels along {name} of {described.id}, fewer than its "
                "package describes"
            )
    return tensor[{names[name].id: slice(*span) for name, span in kept.items()}]


def _check_weights(folder: Path, told: Mapping[str, Any], name: str, weights: str) -> dict[str, str]:
    """Each weights file must be here and be the one that is described; gives their hashes by format."""
    found = {}
    entries = {key: one for key, one in told["weights"].items() if isinstance(one, dict)}
    if weights and weights not in entries:
        raise ZoowizardError(f"--weights {weights}: {name} has {', '.join(entries) or 'none'}")
    for key, entry in entries.items():
        if weights and key != weights:
            continue
        source, digest = entry.get("source"), entry.get("sha256")
        if not isinstance(source, str) or not isinstance(digest, str | None):
            raise ZoowizardError(f"{name}: weights.{key} must name its source and sha256 as text")
        if source.startswith(("http://", "https://")):
            raise ZoowizardError(
                f"{name}: weights.{key}.source is {source[:MOST_SHOWN]}; download the package as a zip"
            )
        if reason := why_not_plain(source):
            raise ZoowizardError(f"{name}: weights.{key}.source is `{source[:MOST_SHOWN]}`, and {reason}")
        if not (folder / source).is_file():
            raise ZoowizardError(f"{name}: there is no {source}, which weights.{key}.source names")
        found[key] = sha256(folder / source)
        if digest and found[key] != digest.lower():
            raise ZoowizardError(
                f"{name}: {source} is not the file that weights.{key}.sha256 tells: it is damaged or was changed"
            )
    return found


def _in_short(problem: BaseException) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return "; ".join(lines[:3]) or type(problem).__name__
