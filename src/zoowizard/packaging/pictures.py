"""The images on which a package is compared with the native framework, made from the test image."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from PIL import Image

from zoowizard.conversion.converted import Array

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
