"""The normalisations that networks for microscopy are usually trained with, as bioimage.io says them, and done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from zoowizard.conversion.converted import Array
from zoowizard.families.normalisations import NORMALISATIONS

EPSILON: Final = 1e-6
"""`eps` of scale_range and zero_mean_unit_variance in bioimageio.core."""


@dataclass(frozen=True)
class Normalisation:
    """One way to normalise: `name` for people, `steps` as entries of a bioimage.io input's `preprocessing`.

    `id` is what `families.normalisations` calls it, empty for one of a training's own.
    """

    name: str
    steps: Sequence[Mapping[str, Any]]
    id: str = ""
    each_channel: bool = False


def candidates(spatial_axes: int, channels: int, dtype: np.dtype[Any]) -> list[Normalisation]:
    """What networks for microscopy are usually trained with; axes are always written, and never hold the batch."""
    found = []
    for name, one in NORMALISATIONS.items():
        if (one.kind == "divide" and one.numbers[0] > 255 and dtype.itemsize == 1) or not suits(name, channels):
            continue
        over = (True, False) if channels > 1 and one.kind in ("percentiles", "zero-mean") else (False,)
        found += [named(name, spatial_axes, channels, each_channel) for each_channel in over]
    return found


def suits(name: str, channels: int) -> bool:
    """Whether the normalisation that `families.normalisations` calls so is one for images of so many channels."""
    one = NORMALISATIONS[name]
    return one.kind != "fixed" or len(one.numbers) in (2, 2 * channels)


def named(name: str, spatial_axes: int, channels: int, each_channel: bool) -> Normalisation:
    """The normalisation that `families.normalisations` calls so, over all channels or `each_channel` by itself."""
    one = NORMALISATIONS[name]
    axes = ["z", "y", "x"][-spatial_axes:] if each_channel else ["channel", *["z", "y", "x"][-spatial_axes:]]
    how = "" if channels == 1 else ", each channel by itself" if each_channel else ", all channels together"
    match one.kind:
        case "none":
            return Normalisation("as it is", [], name)
        case "divide":
            kwargs: dict[str, Any] = {"gain": 1 / one.numbers[0], "offset": 0.0}
            return Normalisation(f"divided by {one.numbers[0]:g}", [{"id": "scale_linear", "kwargs": kwargs}], name)
        case "percentiles":
            low, high = one.numbers
            kwargs = {"axes": axes, "min_percentile": low, "max_percentile": high, "eps": EPSILON}
            words = (
                "the least becomes 0, the largest 1"
                if low == 0
                else f"percentile {low:g} becomes 0, percentile {high:g} becomes 1"
            )
            return Normalisation(words + how, [{"id": "scale_range", "kwargs": kwargs}], name, each_channel)
        case "zero-mean":
            kwargs = {"axes": axes, "eps": EPSILON}
            steps = [{"id": "zero_mean_unit_variance", "kwargs": kwargs}]
            return Normalisation(f"mean 0, spread 1{how}", steps, name, each_channel)
    half = len(one.numbers) // 2
    repeated = channels if half == 1 else 1
    words = "mean and spread of ImageNet" if half == 3 else "0 to 255 becomes -1 to 1"
    made = _fixed(words, list(one.numbers[:half]) * repeated, list(one.numbers[half:]) * repeated)
    return replace(made, id=name)


def fixed(mean: Sequence[float], std: Sequence[float]) -> Normalisation:
    """With a mean and spread for each channel, as a training may have written them down."""
    return _fixed("mean and spread of the training", mean, std)


def _fixed(name: str, mean: Sequence[float], std: Sequence[float]) -> Normalisation:
    kwargs: dict[str, Any] = {"mean": list(mean), "std": list(std)}
    kwargs = {**kwargs, "axis": "channel"} if len(mean) > 1 else {key: one[0] for key, one in kwargs.items()}
    return Normalisation(name, [{"id": "fixed_zero_mean_unit_variance", "kwargs": kwargs}])


def normalised(image: Array, steps: Sequence[Mapping[str, Any]]) -> Array:
    """`image` (channel, (z,) y, x) after the steps, float32, as the bioimage.io format defines them.

    In float64 until the end: in float32 the mean of an image with a large offset is rounded by more than its noise.
    bioimageio.core does so where the image has whole numbers, and rounds where it is float32.
    """
    array: Array = image.astype(np.float64)
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
