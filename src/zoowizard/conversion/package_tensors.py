"""The tensors of a package as packaging wants them: axes, data and processing as they are, with other test tensors."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from zoowizard.conversion.converted import Array, TensorDescription
from zoowizard.drafts.pixels import parse_voxel_size
from zoowizard.errors import ZoowizardError

_UNSAID: Final[Mapping[str, Any]] = {
    "description": "",
    "concatenable": False,
    "scale": 1.0,
    "offset": 0,
    "unit": "arbitrary unit",
    "range": [None, None],
}
"""What the library writes where nothing was said."""
_SAMPLED: Final = {"batch": "", "channel": "c", "z": "z", "y": "y", "x": "x"}


def tensor(described: Mapping[str, Any], key: str, test_tensor: Array) -> TensorDescription:
    """One tensor of a description in the layout 0.5; its processing stands under `key`."""
    axes = [_axis(one) for one in described["axes"]]
    sample, letters = _sample(axes, test_tensor)
    data = described["data"]
    return TensorDescription(
        id=str(described["id"]),
        description=str(described.get("description") or ""),
        axes=axes,
        data=_said(data[0] if isinstance(data, list) else data),
        test_tensor=test_tensor,
        sample=sample,
        processing=[_without_nothing(one) for one in described.get(key) or ()],
        sample_axes=letters,
    )


def simplified(told: Mapping[str, Any]) -> list[str]:
    """Sentences about what is said of tensors and not taken over."""
    sentences = []
    for side in ("inputs", "outputs"):
        for one in told[side]:
            if isinstance(one["data"], list) and any(other != one["data"][0] for other in one["data"]):
                sentences.append(f"The values of “{one['id']}” are described as those of its first channel.")
            if one.get("optional") or one.get("pad"):
                what = "it may be left out" if one.get("optional") else "how it is padded"
                sentences.append(f"Of the input “{one['id']}” the original says {what}; that was not taken over.")
    return sentences


def _axis(axis: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one for key, one in _said(axis).items() if key != "id" or one != axis["type"]}


def _said(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in entries.items()
        if value is not None and not (key in _UNSAID and value == _UNSAID[key])
    }


def _without_nothing(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nothing(one) for key, one in value.items() if one is not None}
    return [_without_nothing(one) for one in value] if isinstance(value, list) else value


def _sample(axes: Sequence[Mapping[str, Any]], test_tensor: Array) -> tuple[Array, str]:
    """The first of the batch: its axes z, y, x and c, in this order; one without space is a picture of one row."""
    letters = [_SAMPLED.get(one.get("id", one["type"]), "") for one in axes]
    first = test_tensor[tuple(slice(None) if letter else 0 for letter in letters)]
    named = "".join(letters)
    if "c" in named and first.shape[named.index("c")] == 1 and len(named) > 1:
        first, named = first.take(0, axis=named.index("c")), named.replace("c", "")
    for missing in ("x", "y"):
        if missing not in named:
            first, named = first[..., None], named + missing
    wanted = "".join(one for one in "zyxc" if one in named)
    return np.ascontiguousarray(first.transpose([named.index(one) for one in wanted])), wanted


def with_pixel_size(told: Mapping[str, Any], pixel_size: str) -> dict[str, Any]:
    """Inputs and outputs whose axes y and x, and z where three are told, have this size.

    Sizes of outputs are told by the ratio of the scales (`SizeReference` of bioimageio.spec.model.v0_5): those that
    refer to such an axis are scaled alike. Raises ZoowizardError where three are told and the first input has no z.
    """
    size = parse_voxel_size(pixel_size)
    wanted = {"y": size.y, "x": size.x, **({} if size.z is None else {"z": size.z})}
    if "z" in wanted and all(axis.get("id") != "z" for axis in told["inputs"][0]["axes"]):
        raise ZoowizardError("pixel_size: it has three sizes, and the package takes 2-D images; write height x width")
    factors: dict[tuple[str, str], float] = {}
    sides: dict[str, list[Any]] = {}
    for side in ("inputs", "outputs"):
        sides[side] = [{**one, "axes": [dict(axis) for axis in one["axes"]]} for one in told[side]]
        for one in sides[side]:
            for axis in one["axes"]:
                refers = axis.get("size")
                refers = (refers["tensor_id"], refers["axis_id"]) if _is_reference(refers) else None
                factor = factors.get(refers) if refers else None
                if factor is None and side == "inputs" and axis.get("id") in wanted and axis["type"] == "space":
                    factor = wanted[axis["id"]] / float(axis.get("scale") or 1)
                if factor is not None:
                    axis.update(scale=float(axis.get("scale") or 1) * factor, unit=size.unit)
                    factors[one["id"], axis["id"]] = factor
    return {**told, **sides}


def _is_reference(size: Any) -> bool:
    return isinstance(size, Mapping) and "tensor_id" in size


def on_one_grid(inputs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether inputs differ in their channels only: batch and channel first, then axes of the same sizes."""
    first, *others = inputs
    kinds = [one["type"] for one in first["axes"]]
    return not others or (
        kinds[:2] == ["batch", "channel"]
        and all(kinds == [one["type"] for one in other["axes"]] for other in others)
        and all(_are_alike(first, *pair) for other in others for pair in zip(first["axes"], other["axes"], strict=True))
    )


def _are_alike(first: Mapping[str, Any], axis: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if axis["type"] != "space":
        return True
    size = other.get("size")
    if isinstance(size, Mapping) and "tensor_id" in size:
        is_same = (size["tensor_id"], size["axis_id"]) == (first["id"], axis["id"])
        scales = [float(one.get("scale") or 1) for one in (axis, other)]
        return is_same and not size.get("offset") and scales[0] == scales[1]
    return axis["id"] == other["id"] and axis.get("size") == size


def other_size(axes: Sequence[Mapping[str, Any]], image: Array) -> Array | None:
    """The image in another size that the axes allow, smaller where that goes; None where they allow one size only."""
    if any(_is_reference(axis.get("size")) for axis in axes):
        return None
    changed = image
    for place, axis in enumerate(axes):
        size = axis.get("size")
        if axis["type"] != "space" or not isinstance(size, Mapping) or not size.get("step"):
            continue
        low, step, side = int(size["min"]), int(size["step"]), image.shape[place]
        smaller = low + max(0, side * 3 // 4 - low) // step * step
        if smaller < side:
            changed = changed.take(range(smaller), axis=place)
        elif side >= 2 and side + step <= 2 * side - 1:
            more = [(0, step if one == place else 0) for one in range(image.ndim)]
            changed = np.pad(changed, more, mode="reflect")
    return None if changed is image else np.ascontiguousarray(changed)


def mirrored(axes: Sequence[Mapping[str, Any]], image: Array) -> Array:
    """The image turned over along y and x, or the axes of space that it has."""
    places = tuple(place for place, axis in enumerate(axes) if axis["type"] == "space")
    return np.ascontiguousarray(np.flip(image, places)) if places else image
