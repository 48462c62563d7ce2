"""The normalisations that networks for microscopy are usually trained with, as bioimage.io says them, and done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from zoowizard.conversion.converted import Array

EPSILON: Final = 1e-6
"""`eps` of scale_range and zero_mean_unit_variance in bioimageio.core."""
_OF_IMAGENET: Final = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@dataclass(frozen=True)
class Normalisation:
    """One way to normalise: `name` for people, `steps` as entries of a bioimage.io input's `preprocessing`."""

    name: str
    steps: Sequence[Mapping[str, Any]]


def candidates(spatial_axes: int, channels: int, dtype: np.dtype[Any]) -> list[Normalisation]:
    """What networks for microscopy are usually trained with; axes are always written, and never hold the batch."""
    space = ["z", "y", "x"][-spatial_axes:]
    over: list[tuple[str, list[str]]] = [("", ["channel", *space])]
    if channels > 1:
        over = [("each channel by itself", space), ("all channels together", ["channel", *space])]
    found = [Normalisation("as it is", [])]
    found += [_scaled(largest) for largest in (255, 65535) if largest == 255 or dtype.itemsize > 1]
    for how, axes in over:
        extra = f", {how}" if how else ""
        for low, high in ((1.0, 99.8), (1.0, 99.0), (2.0, 98.0), (0.1, 99.9), (0.0, 100.0)):
            kwargs = {"axes": axes, "min_percentile": low, "max_percentile": high, "eps": EPSILON}
            name = "least to 0, largest to 1" if low == 0 else f"percentiles {low:g} to 0 and {high:g} to 1"
            found.append(Normalisation(name + extra, [{"id": "scale_range", "kwargs": kwargs}]))
        kwargs = {"axes": axes, "eps": EPSILON}
        found.append(Normalisation(f"mean 0, spread 1{extra}", [{"id": "zero_mean_unit_variance", "kwargs": kwargs}]))
    if channels == 3:
        found.append(_fixed("mean and spread of ImageNet", 255, *_OF_IMAGENET))
    found.append(_fixed("0 to 255 becomes -1 to 1", 255, [0.5] * channels, [0.5] * channels))
    return found


def fixed(mean: Sequence[float], std: Sequence[float]) -> Normalisation:
    """With a mean and spread for each channel, as a training may have written them down."""
    return _fixed("mean and spread of the training", 1, mean, std)


def _scaled(largest: int) -> Normalisation:
    return Normalisation(
        f"divided by {largest}", [{"id": "scale_linear", "kwargs": {"gain": 1 / largest, "offset": 0.0}}]
    )


def _fixed(name: str, largest: int, mean: Sequence[float], std: Sequence[float]) -> Normalisation:
    of_channels = len(mean) > 1
    kwargs: dict[str, Any] = {"mean": [largest * one for one in mean], "std": [largest * one for one in std]}
    kwargs = {**kwargs, "axis": "channel"} if of_channels else {name: one[0] for name, one in kwargs.items()}
    return Normalisation(name, [{"id": "fixed_zero_mean_unit_variance", "kwargs": kwargs}])


def normalised(image: Array, steps: Sequence[Mapping[str, Any]]) -> Array:
    """`image` (channel, (z,) y, x) after the steps, float32, as bioimageio.core does them."""
    array: Array = image.astype(np.float32)
    names = ["channel", "z", "y", "x"] if image.ndim == 4 else ["channel", "y", "x"]
    for step in steps:
        kwargs = step["kwargs"]
        axes = tuple(names.index(axis) for axis in kwargs.get("axes", ()))
        match step["id"]:
            case "scale_linear":
                array = array * kwargs["gain"] + kwargs["offset"]
            case "scale_range":
                low, high = (
                    np.percentile(array, kwargs[of], axis=axes, keepdims=True)
                    for of in ("min_percentile", "max_percentile")
                )
                array = (array - low) / (high - low + kwargs["eps"])
            case "zero_mean_unit_variance":
                mean, std = array.mean(axes, keepdims=True), array.std(axes, keepdims=True)
                array = (array - mean) / (std + kwargs["eps"])
            case "fixed_zero_mean_unit_variance":
                shape = (-1, *[1] * (image.ndim - 1))
                array = (array - np.reshape(kwargs["mean"], shape)) / np.reshape(kwargs["std"], shape)
            case other:
                raise ValueError(f"{other} is no step of a candidate")
    return array.astype(np.float32)
