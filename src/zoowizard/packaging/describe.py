"""The description of a package: a draft's values and a converted model, in the words of the bioimage.io format.

Written as format version 0.5.10, which the zoo's own runner (bioimageio.spec 0.5.10.2) and today's library both load.
Source of the layout: `bioimageio.spec.model.v0_5.ModelDescr`.
"""

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
from zoowizard.conversion.converted import Converted, TensorDescription, Weights
from zoowizard.packaging.archive import sha256
from zoowizard.packaging.card import TensorNote
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
    """Save the test tensors as `.npy` and the sample tensors as pictures beside the description."""
    for tensor in (*converted.inputs, *converted.outputs):
        np.save(folder / _test_file(tensor), tensor.test_tensor)
        sample = folder / _sample_file(tensor)
        if sample.suffix == ".png":
            iio.imwrite(sample, tensor.sample)
        elif tensor.sample.ndim == 2:
            tifffile.imwrite(sample, tensor.sample)
        else:  # by the names of its axes Fiji shows channels where others would show pages
            planes = np.ascontiguousarray(np.moveaxis(tensor.sample, -1, 0))
            fiji = tensor.sample.dtype in (np.uint8, np.uint16, np.float32)
            tifffile.imwrite(sample, planes, imagej=fiji, photometric="minisblack", metadata={"axes": "CYX"})


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
                    "reproducibility_tolerance": _tolerance_entries(tolerances),
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
    return _filled(described)


def write_description(described: Mapping[str, Any], folder: Path) -> Path:
    """Save the description as YAML in the package's folder."""
    path = folder / DESCRIPTION_FILE
    path.write_text(yaml.safe_dump(dict(described), sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
    return path


def suggest_tolerances(mismatched_per_million: float) -> Tolerances:
    """Ten times the drift that was measured between implementations, but never beyond what the format allows."""
    wanted = max(DEFAULT_TOLERANCES.mismatched_elements_per_million, math.ceil(10 * mismatched_per_million))
    return Tolerances(
        DEFAULT_TOLERANCES.relative, DEFAULT_TOLERANCES.absolute, min(wanted, MOST_MISMATCHED_PER_MILLION)
    )


def tensor_notes(tensors: Iterable[TensorDescription]) -> list[TensorNote]:
    """The tensors in words, for the card."""
    return [
        TensorNote(
            tensor.id,
            {axis.get("id", axis["type"]): _size_in_words(axis) for axis in tensor.axes},
            str(tensor.data["type"]),
            tensor.description,
        )
        for tensor in tensors
    ]


def _size_in_words(axis: Mapping[str, Any]) -> str:
    if axis["type"] == "channel":
        return ", ".join(axis["channel_names"])
    size = axis.get("size")
    words = "any" if size is None else str(size) if isinstance(size, int) else _range_in_words(size)
    return f"{words}; the outermost {axis['halo']} at each end are cut off (halo)" if axis.get("halo") else words


def _range_in_words(size: Mapping[str, Any]) -> str:
    """A size that refers to another axis, that has a step, or that depends on the data."""
    if "tensor_id" in size:
        offset = size.get("offset", 0)
        more = f" {'+' if offset > 0 else '-'} {abs(offset)}" if offset else ""
        return f"as {size['axis_id']} of {size['tensor_id']}{more}"
    if "step" in size:
        return f"{size['min']} or more" if size["step"] == 1 else f"{size['min']} + n x {size['step']}"
    most = f" to {size['max']}" if size.get("max") else " or more"
    return f"{size.get('min', 1)}{most}, as many as there are"


def _test_file(tensor: TensorDescription) -> str:
    return f"test_{tensor.id}.npy"


def _sample_file(tensor: TensorDescription) -> str:
    """PNG where that holds the values and the channels as they are, else TIFF (16-bit, float, two channels)."""
    sample = tensor.sample
    return f"sample_{tensor.id}.{'png' if sample.dtype == np.uint8 and sample.shape[2:] in ((), (3,)) else 'tif'}"


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


def _tolerance_entries(tolerances: Mapping[str, Tolerances]) -> list[dict[str, Any]]:
    return [
        {
            "relative_tolerance": one.relative,
            "absolute_tolerance": one.absolute,
            "mismatched_elements_per_million": int(one.mismatched_elements_per_million),
            "weights_formats": [weight_format],
        }
        for weight_format, one in tolerances.items()
    ]


def _filled(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known: the format distinguishes an empty value from none."""
    return {key: value for key, value in entries.items() if value not in (None, "", [], {})}
