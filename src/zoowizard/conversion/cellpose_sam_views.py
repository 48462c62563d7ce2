"""Which parts of a test image a large network is shown.

Cellpose-SAM takes one to ten seconds for a tile of 256 px, on a computer without a GPU. The zoo's test predicts the
test tensor and smaller ones many times over, so that tensor is a part of the image: one tile high and two wide, where
the image shows most.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from zoowizard.conversion.converted import Array

ONE_TILE_PX: Final = 240
"""The largest side that Cellpose does not cut: with the 16 px that it adds, this is a tile."""
TWO_TILES_PX: Final = 400
"""A side that Cellpose cuts into two tiles, which overlap by about a third."""
BLOCK_PX: Final = 256
HALO_PX: Final = 24
"""What a block loses at each border: there Cellpose's own tiles count for little."""
SMALLEST_SIDE_PX: Final = 64
_BLOCK_PX: Final = 4


def liveliest(image: Array, rescale: float, number: int) -> list[Array]:
    """Up to `number` parts of an image, (y, x) or (y, x, channel), that do not overlap, where it shows most first.

    Each is at most one tile by two at the scale that the network sees, which is `rescale` times that of the image. The
    image itself where it is no larger.
    """
    wide = image.shape[1] >= image.shape[0]
    sides = (ONE_TILE_PX, TWO_TILES_PX) if wide else (TWO_TILES_PX, ONE_TILE_PX)
    height, width = (min(side, _unscaled(px, rescale)) for side, px in zip(image.shape[:2], sides, strict=True))
    return _parts(image, height, width, number)


def blocks(image: Array, number: int) -> list[Array]:
    """Up to `number` blocks of 256 x 256 pixels that do not overlap, where the image shows most first."""
    return _parts(image, BLOCK_PX, BLOCK_PX, number)


def _parts(image: Array, height: int, width: int, number: int) -> list[Array]:
    shown = _structure(image)
    parts: list[Array] = []
    for _ in range(number):
        sums = _sums(shown, max(1, height // _BLOCK_PX), max(1, width // _BLOCK_PX))
        row, column = np.unravel_index(int(sums.argmax()), sums.shape)
        if parts and sums[row, column] <= 0:
            break
        y = min(int(row) * _BLOCK_PX, image.shape[0] - height)
        x = min(int(column) * _BLOCK_PX, image.shape[1] - width)
        parts.append(np.ascontiguousarray(image[y : y + height, x : x + width]))
        # whatever overlaps it is worth less than nothing from now on
        shown[
            y // _BLOCK_PX : -(-(y + height) // _BLOCK_PX), x // _BLOCK_PX : -(-(x + width) // _BLOCK_PX)
        ] = -shown.sum()
    return parts


def comparison_views(image: Array, rescale: float) -> Mapping[str, Array]:
    """Four images in four shapes to compare on, of one to four tiles: the part that shows most, and parts of others."""
    first, *others = liveliest(image, rescale, 2)
    other = others[0] if others else first
    high, narrow, square = (_unscaled(px, rescale) for px in (193, 171, 300))
    return {
        "where it shows most": first,
        "another part, mirrored and turned": np.ascontiguousarray(np.rot90(other[:, ::-1])),
        "a small part": np.ascontiguousarray(first[-high:, -narrow:]),
        "a part of four tiles": _around_middle(image, square),
    }


def _unscaled(px: int, rescale: float) -> int:
    return max(SMALLEST_SIDE_PX, round(px / rescale))


def _around_middle(image: Array, side: int) -> Array:
    y, x = (max(0, (length - side) // 2) for length in image.shape[:2])
    return np.ascontiguousarray(image[y : y + side, x : x + side])


def _structure(image: Array) -> Array:
    """How much the image changes at each block of pixels, (y, x) float64: what is even counts nothing."""
    channels = image[..., None] if image.ndim == 2 else image
    rows, columns = (max(1, side // _BLOCK_PX) for side in channels.shape[:2])
    total = np.zeros((rows, columns))
    for index in range(channels.shape[2]):
        channel = channels[: rows * _BLOCK_PX, : columns * _BLOCK_PX, index].astype(np.float64)
        low, high = np.percentile(channel, (1, 99))
        if high > low:
            blocks = np.clip((channel - low) / (high - low), 0, 1)
            blocks = blocks.reshape(rows, _BLOCK_PX, columns, _BLOCK_PX).mean((1, 3))
            total += np.hypot(*np.gradient(blocks)) if min(rows, columns) > 1 else 0
    return total


def _sums(values: Array, height: int, width: int) -> Array:
    """The sum over each window of this size, by its first row and column."""
    table = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    table[1:, 1:] = values.cumsum(0).cumsum(1)
    return np.asarray(
        table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    )
