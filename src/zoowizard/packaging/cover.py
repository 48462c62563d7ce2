"""The cover: what goes into the model beside what comes out, as one small picture."""

import heapq
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from zoowizard.drafts.images import MICROSCOPY, in_8_bits

Pixels = NDArray[np.uint8]
"""Colours for display, (y, x, 3)."""

MAX_BYTES: Final = 500_000
"""The zoo asks for covers of at most 500 KB and 2:1 or 1:1."""

SIDES_PX: Final = (512, 448, 384, 320, 256, 192, 128)
"""Heights to try until the cover is small enough; at the last one even pure noise is."""

PALETTE: Final[Pixels] = np.array(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)],
    np.uint8,
)
"""Colours that people of any colour vision can tell apart: Okabe and Ito, https://jfly.uni-koeln.de/color/."""

FILL: Final = 0.4
DIM: Final = 170
NEAR_PX: Final = 12


def write_cover(image: NDArray[Any], labels: NDArray[Any], path: Path) -> None:
    """Write the cover as a PNG of exactly 2:1 and at most 500 KB; the same image gives the same bytes.

    On the left the central square of `image` ((y, x) or (y, x, 1 to 3), of any type that `images.MICROSCOPY` names;
    stretched where it is dim), on the right the same with the instances of `labels` ((y, x), 0 is background) in
    colours, neighbours in different ones. Raises ValueError for another shape or data type.
    """
    _require_picture(image)
    if labels.shape != image.shape[:2]:
        raise ValueError(f"image and labels of different shapes: {image.shape[:2]} and {labels.shape}")
    square, instances = _square_of(image), _central_square(labels)

    def drawn(side_px: int) -> Pixels:
        shown = _scaled(square, side_px)
        return np.concatenate([shown, _coloured(shown, _numbered(instances, side_px))], axis=1)

    _write(drawn, path)


def write_cover_of_pictures(left: NDArray[Any], right: NDArray[Any], path: Path) -> None:
    """Write a cover of the central squares of two pictures, as `write_cover` does it with its image.

    Raises ValueError as that does.
    """
    for picture in (left, right):
        _require_picture(picture)
    squares = (_square_of(left), _square_of(right))
    _write(lambda side_px: np.concatenate([_scaled(one, side_px) for one in squares], axis=1), path)


def _write(drawn: Callable[[int], Pixels], path: Path) -> None:
    """Of the sides in pixels that `drawn` is asked for the first one that is small enough as a PNG."""
    for side_px in SIDES_PX:
        content = _png(drawn(side_px))
        if len(content) <= MAX_BYTES:
            break
    path.write_bytes(content)


def _require_picture(image: NDArray[Any]) -> None:
    is_image = image.ndim in (2, 3) and image.shape[2:] in ((), (1,), (2,), (3,)) and 0 not in image.shape
    if not is_image or str(image.dtype) not in MICROSCOPY.dtypes:
        types = ", ".join(MICROSCOPY.dtypes)
        raise ValueError(f"a cover needs an image (y, x) or (y, x, 1 to 3) of {types}, not {image.dtype} {image.shape}")


def _square_of(image: NDArray[Any]) -> Pixels:
    return _visible(np.ascontiguousarray(in_8_bits(_central_square(image))))


def _central_square(pixels: NDArray[Any]) -> NDArray[Any]:
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def _visible(image: Pixels) -> Pixels:
    """The image, stretched where its bright parts would look dark; the colours keep their ratios."""
    low, high = np.percentile(image, (1, 99.7))
    if high >= DIM or high <= low:
        return image
    stretched = (np.arange(256) - low) * (255 / (high - low))
    table: Pixels = np.clip(np.rint(stretched), 0, 255).astype(np.uint8)
    return np.asarray(table[image])


def _scaled(square: Pixels, side_px: int) -> Pixels:
    scaled = Image.fromarray(square).convert("RGB").resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.asarray(scaled)


def _numbered(instances: NDArray[Any], side_px: int) -> NDArray[np.int32]:
    """The labels at that size, numbered anew from 1; background stays 0."""
    nearest = ((np.arange(side_px) + 0.5) * instances.shape[0] / side_px).astype(np.intp)
    numbers, places = np.unique(instances[np.ix_(nearest, nearest)], return_inverse=True)
    return np.asarray(places.reshape(side_px, side_px).astype(np.int32) + int(numbers[0] != 0))


def _coloured(shown: Pixels, labels: NDArray[np.int32]) -> Pixels:
    """`shown` with each instance filled lightly and outlined fully in its colour."""
    colours = PALETTE[_colour_numbers(labels)][labels]
    inside = labels > 0
    outline = _edge(labels)
    outline |= _edge(np.where(outline, 0, labels))
    strength = np.where(outline, 1.0, np.where(inside, FILL, 0.0))[..., None]
    return np.asarray(np.rint(shown * (1 - strength) + colours * strength)).astype(np.uint8)


def _edge(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """The pixels of instances that have a pixel of something else above, below, left or right."""
    edge = np.zeros(labels.shape, np.bool_)
    across, down = labels[:, :-1] != labels[:, 1:], labels[:-1] != labels[1:]
    edge[:, :-1] |= across
    edge[:, 1:] |= across
    edge[:-1] |= down
    edge[1:] |= down
    return edge & (labels > 0)


def _colour_numbers(labels: NDArray[np.int32]) -> NDArray[np.intp]:
    """A colour for each label 0, 1, … so that instances near each other differ.

    The last in an order in which each has the fewest neighbours among those before it (at most five in a planar map)
    always finds one of seven colours free: Matula and Beck 1983, doi 10.1145/2402.322385.
    """
    neighbours = _neighbours(labels)
    left = {label: len(others) for label, others in neighbours.items()}
    waiting = [(degree, label) for label, degree in left.items()]
    heapq.heapify(waiting)
    order: list[int] = []
    while waiting:
        degree, label = heapq.heappop(waiting)
        if left.get(label) != degree:
            continue
        del left[label]
        order.append(label)
        for other in neighbours[label] & left.keys():
            left[other] -= 1
            heapq.heappush(waiting, (left[other], other))
    chosen: dict[int, int] = {}
    used = [0] * len(PALETTE)
    for label in reversed(order):
        taken = [chosen[other] for other in neighbours[label] if other in chosen]
        chosen[label] = min(range(len(PALETTE)), key=lambda number: (taken.count(number), used[number], number))
        used[chosen[label]] += 1
    numbers = np.zeros(int(labels.max()) + 1, np.intp)
    numbers[list(chosen)] = list(chosen.values())
    return numbers


def _neighbours(labels: NDArray[np.int32]) -> dict[int, set[int]]:
    """Which instances lie near which, closer than about `2 * NEAR_PX` pixels with nothing between them."""
    distance_px, nearest = distance_transform_edt(labels == 0, return_indices=True)
    grown = np.where(distance_px <= NEAR_PX, labels[tuple(nearest)], 0)
    near: dict[int, set[int]] = {int(label): set() for label in np.unique(labels) if label}
    sides = (
        (grown[:, :-1], grown[:, 1:]),
        (grown[:-1], grown[1:]),
        (grown[:-1, :-1], grown[1:, 1:]),
        (grown[:-1, 1:], grown[1:, :-1]),
    )
    for one, other in sides:
        touching = (one != other) & (one > 0) & (other > 0)
        for pair in np.unique(one[touching].astype(np.int64) << 32 | other[touching]).tolist():
            first, second = pair >> 32, pair & 0xFFFFFFFF
            near[first].add(second)
            near[second].add(first)
    return near


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
