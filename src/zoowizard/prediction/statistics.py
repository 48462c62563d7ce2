"""What a normalisation wants to know of a whole image (means, deviations, percentiles), told block by block.

The values are those of numpy on the whole: means and deviations merged block by block (Chan, Golub, LeVeque 1979),
percentiles by counting the upper and then the lower 16 bits of each value, in bounded memory.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Blocks = Callable[[], Iterable[Array]]
"""Gives the image in pieces, from the beginning, as often as it is called; each has all axes of the image."""
WIDE: Final = 1 << 16
PIECE: Final = 1 << 18


@dataclass(frozen=True)
class Wanted:
    """One number, or one for each place along the axes that are kept: `name` is mean, std, var or quantile.

    `reduced` are places of axes; the others are kept. `q` and `method` are those of `numpy.quantile`. `part` is what of
    the image is looked at: the place of an axis, its first pixel, and the one after its last; None: all of it.
    """

    name: str
    reduced: tuple[int, ...]
    q: float = 0.0
    method: str = "linear"
    part: tuple[int, int, int] | None = None


def measure(wanted: Sequence[Wanted], blocks: Blocks) -> list[Array]:
    """The values in their order, each float64 with the kept axes. Axes that are kept must be whole in every block."""
    found: dict[Wanted, Array] = {}
    for reduced, part in dict.fromkeys((one.reduced, one.part) for one in wanted):
        own = [one for one in wanted if (one.reduced, one.part) == (reduced, part)]
        looked_at = partial(_only, part, blocks)
        if moments := [one for one in own if one.name != "quantile"]:
            mean, variance = _moments(reduced, looked_at)
            values = {"mean": mean, "var": variance, "std": np.sqrt(variance)}
            found.update({one: values[one.name] for one in moments})
        if quantiles := [one for one in own if one.name == "quantile"]:
            found.update(_quantiles(quantiles, reduced, looked_at))
    return [found[one] for one in wanted]


def _only(part: tuple[int, int, int] | None, blocks: Blocks) -> Iterator[Array]:
    index = () if part is None else (*(slice(None) for _ in range(part[0])), slice(part[1], part[2]))
    for block in blocks():
        yield block[index]


def _moments(reduced: tuple[int, ...], blocks: Blocks) -> tuple[Array, Array]:
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for block in blocks():
        values = block.astype(np.float64)
        number = math.prod(block.shape[axis] for axis in reduced)
        own = values.mean(axis=reduced)
        away = own - mean
        total = count + number
        squares = squares + values.var(axis=reduced) * number + away**2 * (count * number / total)
        mean = mean + away * (number / total)
        count = total
    return mean, squares / count


def _quantiles(wanted: Sequence[Wanted], reduced: tuple[int, ...], blocks: Blocks) -> dict[Wanted, Array]:
    upper: Array | None = None
    kept: tuple[int, ...] = ()
    short, signed = False, False
    for block in blocks():
        rows, kept = _rows(block, reduced)
        short, signed = block.dtype.itemsize <= 2 and block.dtype.kind != "f", block.dtype.kind == "i"
        upper = np.zeros((len(rows), WIDE), np.int64) if upper is None else upper
        for row, piece in _pieces(rows):
            keys = _keys(piece, short, signed)
            upper[row] += np.bincount(keys if short else keys >> 16, minlength=WIDE)
    assert upper is not None
    total = int(upper[0].sum())
    ranks = sorted({rank for one in wanted for rank in _ranks(one, total)[:2]})
    before = np.cumsum(upper, axis=1)
    places = {
        (row, rank): int(np.searchsorted(before[row], rank, "right")) for row in range(len(upper)) for rank in ranks
    }
    if short:
        exact = {key: _value(np.uint32(place), True, signed) for key, place in places.items()}
    else:
        exact = _lower(places, before, upper, reduced, blocks)
    found = {}
    for one in wanted:
        low, high, part = _ranks(one, total)
        values = [exact[row, low] + (exact[row, high] - exact[row, low]) * part for row in range(len(upper))]
        found[one] = np.array(values, np.float64).reshape(kept)
    return found


def _lower(
    places: dict[tuple[int, int], int], before: Array, upper: Array, reduced: tuple[int, ...], blocks: Blocks
) -> dict[tuple[int, int], float]:
    """The values at the ranks, of which the upper 16 bits are known."""
    counts = {(row, place): np.zeros(WIDE, np.int64) for (row, _), place in places.items()}
    for block in blocks():
        for row, piece in _pieces(_rows(block, reduced)[0]):
            keys = _keys(piece, False, False)
            for (of, place), counted in counts.items():
                if of == row:
                    counted += np.bincount(keys[keys >> 16 == place] & (WIDE - 1), minlength=WIDE)
    exact = {}
    for (row, rank), place in places.items():
        within = rank - int(before[row, place] - upper[row, place])
        low = int(np.searchsorted(np.cumsum(counts[row, place]), within, "right"))
        exact[row, rank] = _value(np.uint32(place * WIDE + low), False, False)
    return exact


def _ranks(one: Wanted, total: int) -> tuple[int, int, float]:
    """Two ranks, counted from 0, and how far the wanted value is between theirs."""
    if one.method == "inverted_cdf":
        rank = max(0, math.ceil(one.q * total) - 1)
        return rank, rank, 0.0
    at = one.q * (total - 1)
    return math.floor(at), min(math.floor(at) + 1, total - 1), at - math.floor(at)


def _rows(block: Array, reduced: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """One row for each place along the kept axes, and the shape of those axes."""
    kept = tuple(axis for axis in range(block.ndim) if axis not in reduced)
    shape = tuple(block.shape[axis] for axis in kept)
    return block.transpose(*kept, *reduced).reshape(math.prod(shape), -1), shape


def _pieces(rows: Array) -> Iterator[tuple[int, Array]]:
    """The rows in short pieces: counting needs many times the memory of what is counted."""
    for row in range(len(rows)):
        for start in range(0, rows.shape[1], PIECE):
            yield row, rows[row, start : start + PIECE]


def _keys(rows: Array, short: bool, signed: bool) -> Array:
    """Whole numbers in the order of the values: 16 bits for short integers, else those of a 32-bit float."""
    if short:
        return rows.astype(np.int64) + (WIDE // 2 if signed else 0)
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    turned: Array = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))
    return turned


def _value(key: Any, short: bool, signed: bool) -> float:
    if short:
        return float(int(key) - (WIDE // 2 if signed else 0))
    bits = np.uint32(key) & np.uint32((1 << 31) - 1) if int(key) >> 31 else ~np.uint32(key)
    return float(np.array(bits, np.uint32).view(np.float32))
