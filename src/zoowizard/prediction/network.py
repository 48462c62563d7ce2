"""A package of the zoo as a network that predicts blocks: bioimageio.core does its pre- and postprocessing."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from zoowizard.errors import ZoowizardError
from zoowizard.families.package_contents import why_not_inside
from zoowizard.library.archive import sha256
from zoowizard.packaging.foreign import opened
from zoowizard.prediction.blocks import AxisRule, Span
from zoowizard.prediction.described import (
    Output,
    channels_by_input,
    dtype_of,
    facts_of,
    ids_of,
    measures_of,
    names_of,
    wanted_of,
)
from zoowizard.prediction.pictures import Array, as_type
from zoowizard.prediction.statistics import Wanted

MOST_SHOWN: Final = 200
"""Characters of what a package says, in a sentence."""


@dataclass
class Network:
    """A package that is ready to predict.

    `axes` are those of its input by name, without the batch; several inputs are given as one image, whose channels are
    theirs, one input after the other. `pixel_size_um` what the package says of its images;
    `whole` a reason why images cannot be cut into blocks, or empty; `together` how many images it takes at once;
    `seams` how far blocks are from the whole image, empty where they join, None where that was not looked at yet.
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
    seams: str | None = None

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """What the preprocessing wants to know of an image; places of axes are those of `axes`, without the batch."""
        inputs, several = channels_by_input(self._model), len(self._model.inputs) > 1
        return tuple(wanted_of(one, self.axes, *inputs[str(one.member_id)], several) for one in self._measures)

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

        inputs = channels_by_input(self._model)
        members = {described.id: self._fed(batch, *inputs[str(described.id)]) for described in self._model.inputs}
        values = {
            one: _value(one, value, inputs[str(one.member_id)][0].axes)
            for one, value in zip(self._measures, statistics, strict=True)
        }
        if self._pipeline is None or any(self.of_dataset):
            self._pipeline = create_prediction_pipeline(
                self._model, model_adapter=self._adapter, fixed_dataset_statistics=values or {}
            )
        sample = Sample(
            members={name: Tensor(pixels, dims=dims) for name, (pixels, dims) in members.items()},
            stat=dict(values),
            id=0,
        )
        predicted = self._pipeline.predict_sample_without_blocking(
            sample, skip_postprocessing=True, skip_input_padding=True, skip_output_cropping=True
        )
        for output in self._model.outputs:
            predicted.members[output.id] = _cropped(predicted.members[output.id], output, kept[str(output.id)])
        for one in measures_of(self._model, after=True):
            predicted.stat.setdefault(one, 0.0 if one.member_id in members else one.compute(predicted))
        self._pipeline.apply_postprocessing(predicted)
        return {one.id: self._taken(predicted, one, len(batch)) for one in self.outputs}

    def _fed(self, batch: Array, described: Any, channels: slice) -> tuple[Array, list[str]]:
        """An input as the library wants it, and its axes."""
        names, there = names_of(described.axes), ["batch", *self.axes]
        if len(self._model.inputs) > 1:
            batch = batch[(slice(None),) * there.index("channel") + (channels,)]
        for name in {"batch", "channel"} & (set(there) - set(names)):
            batch = np.take(batch, 0, there.index(name))
            there.remove(name)
        pixels = as_type(batch.transpose([there.index(name) for name in names]), dtype_of(described), str(described.id))
        return np.ascontiguousarray(pixels), ids_of(described)

    def _taken(self, predicted: Any, output: Output, images: int) -> Array:
        tensor = next(tensor for name, tensor in predicted.members.items() if str(name) == output.id)
        described = next(one for one in self._model.outputs if str(one.id) == output.id)
        names = names_of(described.axes)
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
    facts = facts_of(model, package.name)
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
    names = dict(zip(names_of(described.axes), described.axes, strict=True))
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
        if reason := why_not_inside(source):
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
