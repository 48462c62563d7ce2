"""Pictures: those on which a package is compared with the native framework, and those that show what it does."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from PIL import Image

from zoowizard.conversion.converted import Array, Converted, TensorDescription
from zoowizard.drafts.images import MICROSCOPY

SMALLEST_SIDE_PX: Final = 64
LARGEST_SIDE_PX: Final = 1536


def comparison_pictures(image: Array) -> Mapping[str, Array]:
    """Four views of the test image in four shapes, square and not, whole and cropped, smaller and larger.

    The network's input has another size for most of them: agreement on the test image's own size alone would not show
    that the package resizes as the framework does.
    """
    rows, columns = image.shape[:2]
    crop_rows, crop_columns = (max(SMALLEST_SIDE_PX, length) for length in (rows * 3 // 4, columns * 3 // 5))
    return {
        "as it is": image,
        "cropped, mirrored and turned": np.ascontiguousarray(np.rot90(image[-crop_rows:, crop_columns - 1 :: -1])),
        "larger": _resized(image, 1.3),
        "smaller": _resized(image, 0.7),
    }


def views_of(image: Array, converted: Converted) -> Mapping[str, Array]:
    """The image and a part of it, of another shape that the only input takes, for a package that gives no labels.

    Its last axes are those of space, as they are of the input; else, and of several inputs, it is the image alone.
    """
    whole = {"as it is": image}
    axes = converted.inputs[0].axes
    space = [one for one in axes if one["type"] == "space"]
    if len(converted.inputs) > 1 or not space or list(axes[-len(space) :]) != space:
        return whole
    sides = image.shape[-len(space) :]
    part: list[Any] = [slice(_smaller(side, one.get("size"))) for side, one in zip(sides, space, strict=True)]
    smaller = np.ascontiguousarray(image[(..., *part)])
    return whole if smaller.shape == image.shape else {**whole, "a part of it": smaller}


def _smaller(side: int, size: Any) -> int:
    """The largest size up to three quarters of a side that an axis takes; the side itself where it takes no other."""
    if not isinstance(size, Mapping) or not {"min", "step"} <= set(size):
        return side
    least, step = int(size["min"]), int(size["step"])
    steps = (side * 3 // 4 - least) // step
    return least + step * steps if steps >= 0 else min(side, least)


def _resized(image: Array, factor: float) -> Array:
    """Resized, of the same type, but within what the package takes and a test can afford."""
    within = max(SMALLEST_SIDE_PX / min(image.shape[:2]), min(factor, LARGEST_SIDE_PX / max(image.shape[:2])))
    rows, columns = (max(SMALLEST_SIDE_PX, round(length * within)) for length in image.shape[:2])
    if image.dtype == np.uint8 and image.shape[2:] in ((), (3,)):
        return np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC))
    channels = [image] if image.ndim == 2 else [image[..., number] for number in range(image.shape[2])]
    resized = [_resized_channel(channel, rows, columns) for channel in channels]
    return resized[0] if image.ndim == 2 else np.stack(resized, axis=-1)


def _resized_channel(channel: Array, rows: int, columns: int) -> Array:
    """Through float32, which holds every 16-bit value; what lies beyond the channel's own values is cut off."""
    plane = Image.fromarray(np.ascontiguousarray(channel, np.float32))
    resized = np.asarray(plane.resize((columns, rows), Image.Resampling.BICUBIC))
    within = np.clip(resized, channel.min(), channel.max())
    return np.asarray(np.rint(within) if channel.dtype.kind == "u" else within, channel.dtype)


def shown_of(converted: Converted) -> tuple[Array, Array] | None:
    """The pictures of input and output for the cover, (y, x) or (y, x, 2 to 3) of the types that MICROSCOPY names.

    Those that the conversion gives, else those of the first input and output; None for a package whose labels are
    shown.
    """
    if converted.shown is not None:
        left, right = converted.shown
        return _plain(left), _plain(right)
    if converted.labels is not None or converted.native.predict is not None:
        return None
    return picture_of(converted.inputs[0]), picture_of(converted.outputs[0])


def axes_of(tensor: TensorDescription) -> str:
    """The letters of a sample's axes, also where they are not named."""
    return tensor.sample_axes or "yxc"[: tensor.sample.ndim]


def picture_of(tensor: TensorDescription) -> Array:
    """The middle plane of a tensor's sample, (y, x) or (y, x, 2 to 3); of more than three channels the first three."""
    axes = axes_of(tensor)
    wanted = [axes.index(one) for one in "zyxc" if one in axes]
    sample = tensor.sample.transpose(wanted)
    plane = sample[len(sample) // 2] if "z" in axes else sample
    return _plain(plane[..., :3] if "c" in axes else plane)


def _plain(picture: Array) -> Array:
    """A picture of such a type that has a finite number everywhere; one channel has no axis."""
    flat = picture[..., 0] if picture.shape[2:] == (1,) else picture
    if flat.dtype == bool:
        return flat.astype(np.uint8)
    if str(flat.dtype) in MICROSCOPY.dtypes and flat.dtype.kind != "f":
        return np.ascontiguousarray(flat)
    finite = flat[np.isfinite(flat)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return np.ascontiguousarray(np.nan_to_num(flat, nan=low, posinf=high, neginf=low), np.float32)
