"""How far values are apart, as a part of their spread: what images are compared by, where there are no labels."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from zoowizard.agreement import Agreement
from zoowizard.conversion.converted import Array

Outputs = Mapping[str, Array]
"""The output tensors of one prediction by id."""


def spreads(native: Sequence[Outputs]) -> dict[str, float]:
    """The standard deviation of each output over all images, in its own unit.

    Of an output that is the same everywhere it is the size of that value, and 1 where that is 0.
    """
    return {name: _spread([one[name] for one in native]) for name in (native[0] if native else ())}


def _spread(tensors: Iterable[Array]) -> float:
    values = np.concatenate([one.astype(np.float64).ravel() for one in tensors])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 1.0
    size = float(np.abs(values).max())
    deviation = float(values.std())
    return deviation if deviation > 1e-12 * size else size or 1.0  # less is what adding rounds off


def apart(native: Sequence[Outputs], found: Sequence[Outputs]) -> dict[str, float]:
    """The largest difference of each output over all images, as a part of its spread; of the same shapes.

    Values that are no finite number on both sides alike are the same; on one side only, it is infinite.
    """
    pairs = list(zip(native, found, strict=True))
    return {
        name: max(_largest(one[name], other[name]) for one, other in pairs) / spread
        for name, spread in spreads(native).items()
    }


def _largest(native: Array, found: Array) -> float:
    expected, given = native.astype(np.float64), found.astype(np.float64)
    same = (expected == given) | (np.isnan(expected) & np.isnan(given))
    with np.errstate(invalid="ignore"):
        differences = np.where(same, 0.0, np.abs(given - expected))
    return float(np.where(np.isnan(differences), np.inf, differences).max(initial=0.0))


def other_shape(native: Sequence[Outputs], found: Sequence[Outputs]) -> str:
    """What is said of the first output that has another shape than it should have; empty where none has."""
    for one, other in zip(native, found, strict=True):
        for name, tensor in one.items():
            if name not in other:
                return f"there is no output “{name}”"
            if other[name].shape != tensor.shape:
                sizes = (" x ".join(map(str, shape)) for shape in (other[name].shape, tensor.shape))
                return "the output “{}” is of {}, where {} would be right".format(name, *sizes)
    return ""


def agreement(images: int, outputs: Mapping[str, float]) -> Agreement:
    """The agreement on so many images, from how far each output is apart."""
    return Agreement(images=images, apart=max(outputs.values()), outputs=dict(outputs))
