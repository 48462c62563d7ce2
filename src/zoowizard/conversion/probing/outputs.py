"""What the outputs of a network look like: probabilities, logits, flows, labels, or an image."""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing.findings import Finding

Kind = Literal["labels", "mask", "softmax", "probabilities", "stardist", "flows", "logits", "image", "values"]
_SUM_ERROR: Final = 1e-3
_ALIKE: Final = 0.8
_EQUALLY_LONG: Final = 1.25
_UNRELATED: Final = 0.5


def value_range(outputs: Sequence[Array]) -> tuple[float, float]:
    """The least and the largest value of several outputs."""
    return min(float(one.min()) for one in outputs), max(float(one.max()) for one in outputs)


def kind_of(outputs: Sequence[Array], image: Array | None, channel_axis: int | None, spatial_axes: int) -> Finding:
    """What an output is, told by its values for several inputs, the last of them far beyond usual ones.

    `image` (batch, channel, (z,) y, x) is the picture that gave the first one, None where that was noise.
    """
    if not np.isfinite(outputs[0]).all():
        return Finding("values", "some values are infinite or no numbers", False)
    outputs = [one for one in outputs if np.isfinite(one).all()]
    least, largest = value_range(outputs)
    told = f"values from {least:.3g} to {largest:.3g}"
    channels = [np.moveaxis(one, channel_axis, 0) if channel_axis is not None else one[None] for one in outputs]
    count = len(channels[0])
    if least == largest:
        return Finding("values", f"every value was {least:.3g}, whatever the input", False)
    if all((one == np.round(one)).all() for one in outputs):
        if outputs[0].dtype == np.bool_ or {least, largest} <= {0.0, 1.0}:
            return Finding("mask", "only 0 and 1 were seen", True)
        return Finding("labels", f"whole numbers only, {told}: a label image or classes", True)
    if least >= 0 and largest <= 1 + 1e-6:
        if count > 1 and all(np.abs(one.sum(axis=0, dtype=np.float64) - 1).max() < _SUM_ERROR for one in channels):
            return Finding("softmax", f"{count} channels that add up to 1 at every pixel, {told}", True)
        return Finding("probabilities", f"{told}, also for inputs 20 times as bright", True)
    first = _range_of(channels, 0)
    if count > 3 and first[0] >= 0 and first[1] <= 1 + 1e-6:
        rest = f"the other {count - 1} channels from {_range_of(channels, slice(1, None))[0]:.3g}"
        return Finding("stardist", f"channel 0 stays between 0 and 1, {rest}: a probability and distances", False)
    if spatial_axes <= count <= spatial_axes + 1 and _as_flows(channels[0], spatial_axes):
        more = ", and one more channel" if count > spatial_axes else ""
        return Finding("flows", f"{spatial_axes} channels around 0 with one bound to all{more}; {told}", False)
    if image is not None and (alike := _likeness(channels[0], image, channel_axis)) > _ALIKE:
        return Finding("image", f"as the input image (correlation {alike:.2f}), {told}", False)
    if least < 0 < largest:
        return Finding("logits", f"{told}, above and below 0 and without a bound", False)
    return Finding("values", told, False)


def _range_of(channels: Sequence[Array], which: int | slice) -> tuple[float, float]:
    return value_range([one[which] for one in channels])


def _likeness(channels: Array, image: Array, channel_axis: int | None) -> float:
    """The best correlation of a channel of the output with one of the image, where their sizes are equal."""
    found = 0.0
    for channel in channels:
        for one in np.moveaxis(image, 1, 0):
            if channel.shape == one.shape and channel.std() > 0 and one.std() > 0:
                found = max(found, float(np.corrcoef(channel.ravel(), one.ravel())[0, 1]))
    return found


def _as_flows(channels: Array, spatial_axes: int) -> bool:
    """Whether the first channels are parts of vectors: of both signs, about as long in each axis, and independent."""
    parts = channels[:spatial_axes].reshape(spatial_axes, -1)
    longest = np.abs(parts).max(axis=1)
    if not all(one.min() < 0 < one.max() for one in parts) or longest.max() > _EQUALLY_LONG * longest.min():
        return False
    related = np.abs(np.corrcoef(parts) - np.eye(spatial_axes)).max()
    return bool(related < _UNRELATED)
