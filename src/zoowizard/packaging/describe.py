"""The description of a package: a draft's values and a converted model, in the words of the bioimage.io format.

Written as format version 0.5.10, which the zoo's own runner (bioimageio.spec 0.5.10.2) and today's library both load.
Source of the layout: `bioimageio.spec.model.v0_5.ModelDescr`.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
import yaml
from imageio import v3 as iio

import zoowizard
from zoowizard.conversion.converted import Array, Converted, TensorDescription, Weights
from zoowizard.library.archive import sha256
from zoowizard.packaging.card import TensorNote
from zoowizard.packaging.pictures import axes_of
from zoowizard.packaging.report import Tolerances

FORMAT_VERSION: Final = "0.5.10"
DESCRIPTION_FILE: Final = "rdf.yaml"
DEFAULT_TOLERANCES: Final = Tolerances(relative=1e-3, absolute=1e-3, mismatched_elements_per_million=100)
MOST_MISMATCHED_PER_MILLION: Final = 5000
"""Defaults and bound of `ReproducibilityTolerance` in bioimageio.spec.model.v0_5."""


@dataclass(frozen=True)
class Provenance:
    """Where a package is from: written under `config.zoowizard`, so that it can be built again."""

    family: str
    checkpoint_sha256: str
    settings: Mapping[str, Any]


def write_tensors(converted: Converted, folder: Path) -> None:
    """Save the test tensors as `.npy` and the sample tensors as images beside the description."""
    for tensor in (*converted.inputs, *converted.outputs):
        np.save(folder / _test_file(tensor), tensor.test_tensor)
        path, (planes, axes) = folder / _sample_file(tensor), _planes(tensor)
        if path.suffix == ".png":
            iio.imwrite(path, np.moveaxis(planes, 0, -1) if axes == "CYX" else planes)
        elif axes == "YX":
            tifffile.imwrite(path, planes)
        else:  # by the names of its axes Fiji shows channels and slices where others would show pages
            fiji = planes.dtype in (np.uint8, np.uint16, np.float32)
            tifffile.imwrite(path, planes, imagej=fiji, photometric="minisblack", metadata={"axes": axes})


def _planes(tensor: TensorDescription) -> tuple[Array, str]:
    """The sample with its axes in the order in which Fiji wants them, Z, C, Y, X, and those that it has of them."""
    sample = tensor.sample.astype(np.uint8) if tensor.sample.dtype == bool else tensor.sample
    axes = axes_of(tensor)
    wanted = [axes.index(one) for one in "zcyx" if one in axes]
    return np.ascontiguousarray(sample.transpose(wanted)), "".join(axes[place] for place in wanted).upper()


def describe(
    values: Mapping[str, Any],
    converted: Converted,
    weights: Sequence[Weights],
    provenance: Provenance,
    tolerances: Mapping[str, Tolerances],
    attachments: Sequence[str],
) -> dict[str, Any]:
    """The description as plain data, ready for `write_description`.

    `values` are a draft's bare values by name; `tolerances` hold one entry a weight format; `attachments` are names of
    further files in the package.
    """
    described: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "type": "model",
        "name": values["name"],
        "description": values["description"],
        "version": values.get("version") or "0.1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "license": values["license"],
        "authors": [_person(person) for person in values["authors"]],
        "maintainers": _maintainers(values),
        "cite": [_filled(citation) for citation in values.get("citations") or ()],
        "tags": list(values.get("tags") or ()),
        "git_repo": values.get("git_repo"),
        "documentation": "README.md",
        "covers": ["cover.png"],
        "attachments": [{"source": name} for name in attachments],
        "inputs": [_tensor(tensor, "preprocessing") for tensor in converted.inputs],
        "outputs": [_tensor(tensor, "postprocessing") for tensor in converted.outputs],
        "weights": {one.weight_format: _weights(one) for one in weights},
        "config": {
            "bioimageio": _filled(
                {
                    "reproducibility_tolerance": _tolerance_entries(tolerances, converted.outputs),
                    "modality": values.get("modality"),
                    "funded_by": values.get("funding"),
                    "model_parameter_count": values.get("parameters"),
                    "target_structure": list(values.get("classes") or ()),
                    "bias_risks_limitations": _filled({"limitations": values.get("limitations")}),
                }
            ),
            "zoowizard": {
                "version": zoowizard.__version__,
                "family": provenance.family,
                "framework": converted.framework,
                "checkpoint_sha256": provenance.checkpoint_sha256,
                "settings": dict(provenance.settings),
            },
        },
    }
    if values.get("training_data_id"):
        described["training_data"] = {"id": values["training_data_id"]}
    return _with_further(_filled(described), converted.described)


def _with_further(own: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """What a conversion keeps of an original, see `Converted.described`."""
    listed = {
        name: [*further.get(name, ()), *own.get(name, ())]
        for name in ("covers", "attachments")
        if name in own or name in further
    }
    config = {**own["config"], **further.get("config", {})}
    for name, entries in own["config"].items():
        config[name] = {**further.get("config", {}).get(name, {}), **entries}
    return {**own, **{name: one for name, one in further.items() if name not in own}, **listed, "config": config}


def write_description(described: Mapping[str, Any], folder: Path) -> Path:
    """Save the description as YAML in the package's folder."""
    path = folder / DESCRIPTION_FILE
    plain = json.loads(json.dumps(described))  # parts that are the same object would be written as aliases
    path.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
    return path


def suggest_tolerances(mismatched_per_million: float) -> Tolerances:
    """Ten times the drift that was measured between implementations, but never beyond what the format allows."""
    wanted = max(DEFAULT_TOLERANCES.mismatched_elements_per_million, math.ceil(10 * mismatched_per_million))
    return Tolerances(
        DEFAULT_TOLERANCES.relative, DEFAULT_TOLERANCES.absolute, min(wanted, MOST_MISMATCHED_PER_MILLION)
    )


def tensor_notes(tensors: Iterable[TensorDescription], referred: Iterable[TensorDescription] = ()) -> list[TensorNote]:
    """The tensors in words, for the card; `referred` are those whose axes the sizes of theirs may refer to."""
    scales = {
        (tensor.id, axis.get("id", axis["type"])): float(axis.get("scale", 1))
        for tensor in referred
        for axis in tensor.axes
    }
    return [
        TensorNote(
            tensor.id,
            {axis.get("id", axis["type"]): _size_in_words(axis, scales) for axis in tensor.axes},
            str(tensor.data["type"]),
            tensor.description,
        )
        for tensor in tensors
    ]


def _size_in_words(axis: Mapping[str, Any], scales: Mapping[tuple[str, str], float]) -> str:
    if axis["type"] == "channel":
        return ", ".join(axis["channel_names"])
    size = axis.get("size")
    words = "any" if size is None else str(size) if isinstance(size, int) else _range_in_words(size, axis, scales)
    return f"{words}; the outermost {axis['halo']} at each end are cut off (halo)" if axis.get("halo") else words


def _range_in_words(size: Mapping[str, Any], axis: Mapping[str, Any], scales: Mapping[tuple[str, str], float]) -> str:
    """A size that refers to another axis, that has a step, or that depends on the data.

    Of `SizeReference` in bioimageio.spec.model.v0_5: size of the other axis x its scale / the scale of this axis +
    offset.
    """
    if "tensor_id" in size:
        offset = size.get("offset", 0)
        own = float(axis.get("scale", 1))
        factor = scales.get((size["tensor_id"], size["axis_id"]), own) / own
        times = "" if math.isclose(factor, 1) else f" x {factor:.4g}"
        more = f" {'+' if offset > 0 else '-'} {abs(offset)}" if offset else ""
        return f"as {size['axis_id']} of {size['tensor_id']}{times}{more}"
    if "step" in size:
        return f"{size['min']} or more" if size["step"] == 1 else f"{size['min']} + n x {size['step']}"
    most = f" to {size['max']}" if size.get("max") else " or more"
    return f"{size.get('min', 1)}{most}, as many as there are"


def _test_file(tensor: TensorDescription) -> str:
    return f"test_{tensor.id}.npy"


def _sample_file(tensor: TensorDescription) -> str:
    """PNG where that holds the values and the channels as they are, else TIFF (16-bit, float, volumes)."""
    planes, axes = _planes(tensor)
    picture = planes.dtype == np.uint8 and (axes == "YX" or (axes == "CYX" and len(planes) == 3))
    return f"sample_{tensor.id}.{'png' if picture else 'tif'}"


def _tensor(tensor: TensorDescription, key: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": tensor.id,
        "description": tensor.description,
        "axes": [dict(axis) for axis in tensor.axes],
        "data": dict(tensor.data),
        "test_tensor": {"source": _test_file(tensor)},
        "sample_tensor": {"source": _sample_file(tensor)},
    }
    if tensor.processing:
        entry[key] = [dict(step) for step in tensor.processing]
    return entry


def _weights(weights: Weights) -> dict[str, Any]:
    return _filled(
        {"source": weights.path.name, "sha256": sha256(weights.path), **weights.entry, "parent": weights.parent}
    )


def _maintainers(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The maintainers, or else the authors who have a GitHub user."""
    named = values.get("maintainers") or [person for person in values["authors"] if person.get("github_user")]
    return [_person(person) for person in named]


def _person(person: Mapping[str, Any]) -> dict[str, Any]:
    return _filled(person)


def _tolerance_entries(
    tolerances: Mapping[str, Tolerances], outputs: Sequence[TensorDescription]
) -> list[dict[str, Any]]:
    """The library refuses an absolute tolerance of more than a hundredth of the largest value of a test output,
    reckoned in the output's precision; where that is none above 0, only what it does without an entry is right."""
    most = 0.01 * (1 - 1e-6) * min(float(one.test_tensor.max()) for one in outputs)
    if most <= 0:
        return []
    return [
        {
            "relative_tolerance": one.relative,
            "absolute_tolerance": min(one.absolute, most),
            "mismatched_elements_per_million": int(one.mismatched_elements_per_million),
            "weights_formats": [weight_format],
        }
        for weight_format, one in tolerances.items()
    ]


def _filled(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known: the format distinguishes an empty value from none."""
    return {key: value for key, value in entries.items() if value not in (None, "", [], {})}
