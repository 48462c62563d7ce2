"""Inputs and outputs of any network in the words of the bioimage.io format.

Source of the format: `bioimageio.spec.model.v0_5`. A size that refers to another is `size · scale / own scale +
offset`, so that an output of half the size has twice the scale.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from zoowizard.conversion.any_network.findings import value
from zoowizard.conversion.any_network.original import Around, Input
from zoowizard.conversion.any_network.sizes import axes_of
from zoowizard.conversion.converted import Array, TensorDescription
from zoowizard.conversion.probing.findings import Findings, declared_sizes
from zoowizard.conversion.telling import require_telling
from zoowizard.drafts.pixels import parse_voxel_size
from zoowizard.errors import ZoowizardError
from zoowizard.families.further_inputs import FIRST, tidy_names

NEARLY_NOTHING: Final = 1e-4
"""The zoo's library refuses a test tensor without a larger value."""
LONGEST_DESCRIPTION: Final = 128
_KINDS: Final = {
    "labels": "whole numbers: a label image or classes",
    "mask": "0 and 1: a mask",
    "softmax": "probabilities: the channels of a pixel add up to 1",
    "probabilities": "values from 0 to 1, as probabilities",
    "stardist": "a probability, and distances to the edge of the object",
    "flows": "flows: how far and where to",
    "logits": "values above and below 0",
    "image": "an image like the input",
    "values": "values as the network gives them",
}
_BOUND: Final = ("softmax", "probabilities")


def input_tensors(
    stack: Array, findings: Findings, around: Around, values: Mapping[str, Any], dtypes: Sequence[str]
) -> list[TensorDescription]:
    """The inputs; `stack` (channel, (z,) y, x) holds the test tensors of all, `dtypes` are what the network takes."""
    if stack.ndim == 3 and values.get("pixel_size") and parse_voxel_size(values["pixel_size"]).z is not None:
        raise ZoowizardError("pixel_size: it has three sizes, and the network takes 2-D images; write height x width")
    coloured = str(values.get("image_axes") or "").endswith("c")
    told = zip(around.inputs, around.parts(stack), dtypes, strict=True)
    return [
        _input(one, image, findings, values, dtype, coloured and len(image) == 3 and number == 0)
        for number, (one, image, dtype) in enumerate(told)
    ]


def _input(
    one: Input, image: Array, findings: Findings, values: Mapping[str, Any], dtype: str, coloured: bool
) -> TensorDescription:
    ensured = ["float32", *([dtype] if one.steps or dtype != "float32" else [])]
    casts = [{"id": "ensure_dtype", "kwargs": {"dtype": each}} for each in ensured]
    inside = f"; normalised inside ({one.normalised_by})" if one.steps else ""
    return TensorDescription(
        id=one.name,
        description=f"image as it was recorded{inside}"[:LONGEST_DESCRIPTION],
        axes=[
            _batch(findings),
            {
                "type": "channel",
                "channel_names": ["red", "green", "blue"] if coloured else _numbered(len(image), "intensity"),
            },
            *(_space(axis, values, {"size": _size(one.name, axis, findings)}) for axis in axes_of(image)),
        ],
        data={"type": str(image.dtype)},
        test_tensor=image[None],
        processing=[casts[0], *one.steps, *casts[1:]],
        **_sample(image, axes_of(image), coloured),
    )


def _size(name: str, axis: str, findings: Findings) -> dict[str, Any] | int:
    """Of an axis of an input: further ones are as large as the first."""
    known = declared_sizes(findings)[axis]
    if not known["step"]:
        return known["min"]
    return dict(known) if name == FIRST else {"tensor_id": FIRST, "axis_id": axis}


def output_tensors(
    outputs: Mapping[str, Array],
    kinds: Sequence[str],
    findings: Findings,
    around: Around,
    values: Mapping[str, Any],
) -> list[TensorDescription]:
    """The outputs for the test tensor, as the package gives them. Raises ZoowizardError where one fits no "
    "description."""
    told = value(findings, "outputs")
    described = [
        _output(output, kinds[index], told[index], name, findings, around if index == 0 else None, values)
        for index, (name, output) in enumerate(outputs.items())
    ]
    require_telling(outputs)
    return described


def output_ids(values: Mapping[str, Any], count: int, inputs: Sequence[Input], told: Sequence[str] = ()) -> list[str]:
    """What the outputs are called: as a person says, or else as the network's file has it (`told`).

    Raises ZoowizardError where the names that were given are not as many.
    """
    names, taken = [str(one) for one in values.get("output_names") or ()], [one.name for one in inputs]
    if names and (len(names) != count or len({*names, *taken}) < count + len(taken)):
        outputs = "1 output" if count == 1 else f"{count} outputs"
        raise ZoowizardError(
            f"output_names: the network has {outputs}; give each a name of its own, other than {' and '.join(taken)}, "
            "or none at all"
        )
    numbered = ["output"] if count == 1 else [f"output_{number}" for number in range(1, count + 1)]
    return names or tidy_names(told if len(told) == count else numbered, numbered, taken)


def _output(
    output: Array,
    kind: str,
    told: Mapping[str, Any],
    name: str,
    findings: Findings,
    first: Around | None,
    values: Mapping[str, Any],
) -> TensorDescription:
    if output.dtype not in (np.bool_, np.float32, np.float64) and output.dtype.kind not in "iu":
        raise ZoowizardError(f"the output {name} is of the type {output.dtype}, which the zoo's format does not know")
    if (np.abs(output.astype(np.float64)) <= NEARLY_NOTHING).all():
        raise ZoowizardError(
            f"test_image: the network gives nothing but zeros for it (output {name}), by which nothing can be tested; "
            "give an image of what it was trained on, or another `normalisation`"
        )
    sizes, halos = declared_sizes(findings), findings.found["halo"].value if "halo" in findings.found else {}
    followed = {place: axis for axis, place in told["axes"].items()}
    axes: list[dict[str, Any]] = [_batch(findings)]
    letters = ""
    for place in range(1, output.ndim):
        if place in followed:
            axis = followed[place]
            letters += axis
            axes.append(_output_space(axis, told["scale"][axis], sizes[axis], halos, output.shape[place], values))
        elif place == told["channel_axis"]:
            letters += "c"
            axes.append({"type": "channel", "channel_names": _channel_names(output.shape[place], kind, first, values)})
        else:
            raise ZoowizardError(
                f"the output {name} has the shape {' x '.join(map(str, output.shape))}; what its axis {place + 1} "
                "stands for is not known, so it cannot be described"
            )
    activation = first.activation if first else "none"
    if activation == "softmax" and (told["channel_axis"] is None or output.shape[told["channel_axis"]] < 2):
        raise ZoowizardError(
            "activation: a softmax is over the channels, and the first output has one; choose sigmoid or none"
        )
    data: dict[str, Any] = {"type": str(output.dtype)}
    if kind in _BOUND:
        data["range"] = [0.0, 1.0]
    if output.dtype == np.bool_:
        data = {"type": "bool", "values": [False, True]}
    processing: dict[str, list[dict[str, Any]]] = {
        "none": [],
        "sigmoid": [{"id": "sigmoid"}],
        "softmax": [{"id": "softmax", "kwargs": {"axis": "channel"}}],
    }
    return TensorDescription(
        id=name,
        description=_KINDS[kind],
        axes=axes,
        data=data,
        test_tensor=output,
        processing=processing[activation],
        **_sample_of(output[0], letters),
    )


def _output_space(
    axis: str, ratio: float, size: Mapping[str, int], halos: Any, found_px: int, values: Mapping[str, Any]
) -> dict[str, Any]:
    if not size["step"]:
        return _space(axis, values, {"size": found_px}, ratio)
    halo = round(halos.get(axis, 0) * ratio)
    more = {"halo": halo} if halo else {}
    return _space(axis, values, {"size": {"tensor_id": FIRST, "axis_id": axis}, **more}, ratio)


def sides_of(values: Mapping[str, Any]) -> dict[str, float]:
    """The sides of a pixel or voxel by axis, in the unit of the answer, as far as they are known."""
    size = parse_voxel_size(values["pixel_size"]) if values.get("pixel_size") else None
    told = {axis: getattr(size, axis, None) for axis in "zyx"}
    return {axis: side for axis, side in told.items() if side is not None}


def _space(axis: str, values: Mapping[str, Any], more: Mapping[str, Any], ratio: float = 1.0) -> dict[str, Any]:
    """A spatial axis; `ratio` px of it are one of the input."""
    described: dict[str, Any] = {"type": "space", "id": axis, **more}
    side = sides_of(values).get(axis)
    if side is not None:
        described |= {"scale": side / ratio, "unit": parse_voxel_size(values["pixel_size"]).unit}
    elif ratio != 1.0:
        described["scale"] = 1 / ratio
    return described


def _batch(findings: Findings) -> dict[str, Any]:
    batch = findings.found.get("batch")
    return {"type": "batch"} if batch is None or batch.value else {"type": "batch", "size": 1}


def _channel_names(count: int, kind: str, first: Around | None, values: Mapping[str, Any]) -> list[str]:
    names = [str(one) for one in values.get("output_channels") or ()] if first else []
    if names and len(names) != count:
        has = "1 channel" if count == 1 else f"{count} channels"
        raise ZoowizardError(
            f"output_channels: the first output has {has}, and there are {len(names)} names; name each"
        )
    one = {"labels": "label", "mask": "mask", "probabilities": "probability", "image": "intensity"}.get(kind, "value")
    return names or _numbered(count, one)


def _numbered(count: int, only: str) -> list[str]:
    return [only] if count == 1 else [f"channel{number}" for number in range(count)]


def _sample(image: Array, axes: Sequence[str], coloured: bool) -> dict[str, Any]:
    """The sample of an image (channel, (z,) y, x) as keywords of a description."""
    if coloured and len(axes) == 2:
        return {"sample": np.ascontiguousarray(np.moveaxis(image, 0, -1))}
    return _sample_of(image, "c" + "".join(axes))


def _sample_of(array: Array, letters: str) -> dict[str, Any]:
    """The sample of an array whose axes are `letters`: without an axis of one channel, z before c, as Fiji has them."""
    picture = plain(array)
    if "c" in letters and array.shape[letters.index("c")] == 1 and len(letters) > 2:
        picture, letters = np.take(picture, 0, letters.index("c")), letters.replace("c", "")
    if letters == "czyx":
        picture, letters = np.moveaxis(picture, 0, 1), "zcyx"
    if picture.ndim < 2:  # no image: a row of numbers
        picture, letters = np.atleast_2d(picture), ""
    return {"sample": np.ascontiguousarray(picture), "sample_axes": "" if letters == "yx" else letters}


def plain(array: Array) -> Array:
    """The same values in a type that image files have."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.itemsize > 2:
        fits = array.min(initial=0) >= 0 and array.max(initial=0) <= np.iinfo(np.uint16).max
        return array.astype(np.uint16 if fits else np.float32)
    return array
