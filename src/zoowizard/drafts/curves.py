"""The curves of a training: which series belong together, and what a plot of so many columns shows of them."""

import math
from collections.abc import Mapping, Sequence

Curve = Sequence[float | None]
"""One number an epoch; None where none was recorded."""


def clean(curves: object) -> dict[str, Curve]:
    """The curves by name, with None for what is no finite number; {} where these are no curves."""
    if not isinstance(curves, Mapping):
        return {}
    return {
        str(name): [_finite(value) for value in curve]
        for name, curve in curves.items()
        if isinstance(curve, list | tuple)
    }


def losses(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """`training` and `validation`: the sums of the series `train/…` and `val/…`; those that were never recorded not."""
    sums = {
        "training": total([curve for name, curve in curves.items() if name.startswith("train/")]),
        "validation": total([curve for name, curve in curves.items() if name.startswith("val/")]),
    }
    return {name: curve for name, curve in sums.items() if any_known(curve)}


def metrics(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The series `metrics/…` without that word, only those of the masks, `…(M)`, where there are any."""
    known = {
        name.removeprefix("metrics/"): curve
        for name, curve in curves.items()
        if name.startswith("metrics/") and any_known(curve)
    }
    return {name: curve for name, curve in known.items() if name.endswith("(M)")} or known


def total(curves: Sequence[Curve]) -> Curve:
    """The sum of the curves; None where any of them has no number, for a smaller sum would look like progress."""
    sums: list[float | None] = []
    for values in zip(*curves, strict=False):
        known = [value for value in values if value is not None]
        sums.append(sum(known) if len(known) == len(values) else None)
    return sums


def any_known(curve: Curve) -> bool:
    """Whether the curve holds a number at all."""
    return any(value is not None for value in curve)


def columns(curve: Curve, width: int) -> Curve:
    """The curve in `width` columns: the mean of the epochs that share one, an epoch wider than one where few are."""
    count = len(curve)
    if not count:
        return [None] * width
    shown: list[float | None] = []
    for column in range(width):
        first = column * count // width
        known = [value for value in curve[first : max(first + 1, (column + 1) * count // width)] if value is not None]
        shown.append(sum(known) / len(known) if known else None)
    return shown


def column_of(epoch: int, count: int, width: int) -> int:
    """The column, from 0, in the middle of what `columns` shows of an epoch, from 1, of `count`."""
    return min(width - 1, int((epoch - 0.5) * width / count))


def _finite(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known and abs(value) < 1e30 else None  # type: ignore[arg-type]
