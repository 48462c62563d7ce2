"""Inputs and outputs of Cellpose packages in the words of the bioimage.io format: CPnet and Cellpose-SAM alike.

Source of the format: `bioimageio.spec.model.v0_5`, `ScaleRangeKwargs` and `CellposeFlowDynamicsKwargs`. Source of the
normalisation: `normalize99` in `cellpose.transforms`, the same in cellpose 3.1.1.2 and 4.2.1.1.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch

from zoowizard.conversion.cellpose_network import resize
from zoowizard.conversion.converted import Array, TensorDescription
from zoowizard.drafts.pixels import parse_pixel_size

PERCENTILES: Final = (1.0, 99.0)
EPS: Final = 1e-6
"""What `scale_range` adds to the range. Cellpose adds nothing, but the library takes no other number than this."""
EMPTY: Final = 1e-3
"""A channel whose percentiles are not further apart is taken for empty by Cellpose, which then sees zeros in it."""
ONLY_2D: Final = (
    "Only for 2-D images; volumes were not measured. They would take the flows of the planes in all three directions, "
    "joined into one, and a following of flows in three dimensions, which the zoo's library does not do."
)
LARGE: Final = (
    "Above 11 megapixels Cellpose takes the percentiles by which it scales an image from a part of its pixels, and the "
    "package from all: there the flows can differ a little."
)
"""`normalize99(..., downsample=True)` with more than 224³ numbers, in cellpose 3.1.1.2 and 4.2.1.1 alike."""
FLOWS: Final = ("flow_y", "flow_x", "cell_probability")
SIDES: Final = (16, 24, 32, 48, 64)
"""Smallest sides that are tried, in pixels; a test image has 64 at least."""


def thresholds(values: Mapping[str, Any]) -> dict[str, float]:
    """The three answers that shape labels, by Cellpose's names."""
    return {
        "cellprob_threshold": float(values["cellprob_threshold"]),
        "flow_threshold": float(values["flow_threshold"]),
        "min_size": int(values["min_size"]),
    }


def normalised(tensor: Array) -> Array:
    """What the network is given for an input tensor (batch, channel, y, x) of any type: float32, as core makes it."""
    exact = tensor.astype(np.float32).astype(np.float64)
    low, high = (np.quantile(exact, one / 100, axis=(2, 3), keepdims=True) for one in PERCENTILES)
    scaled: Array = ((exact - low) / (high - low + EPS)).astype(np.float32)
    return scaled


def empty_channels(tensor: Array) -> list[int]:
    """The channels of an input tensor (1, channel, y, x) that Cellpose takes for empty, and `scale_range` blows up."""
    low, high = (np.percentile(tensor[0].astype(np.float32), one, axis=(1, 2)) for one in PERCENTILES)
    return [number for number in range(tensor.shape[1]) if not high[number] - low[number] > EMPTY]


def precision_at_90(truth: Array, found: Array) -> float:
    """Average precision at an IoU of 0.9 of two label images (y, x): matches / (matches + missed + invented)."""
    cells, inverse = np.unique(np.stack([truth.ravel(), found.ravel()]), axis=1, return_inverse=True)
    shared = np.bincount(inverse.ravel())
    of_truth, of_found = (np.bincount(one.ravel().astype(np.int64)) for one in (truth, found))
    both = (cells[0] > 0) & (cells[1] > 0)
    union = of_truth[cells[0][both]] + of_found[cells[1][both]] - shared[both]
    matches = int((shared[both] / union >= 0.9).sum())
    counted = np.count_nonzero(of_truth[1:]) + np.count_nonzero(of_found[1:]) - matches
    return matches / counted if counted else 1.0


def smallest_side(runs: Callable[[int, int], bool]) -> int:
    """The smallest of SIDES from which on images of all shapes that are tried go through the network; `runs` tries one.

    Tried are squares and oblongs, odd sizes too. The largest of SIDES is given untried.
    """
    for side in SIDES[:-1]:
        if all(runs(y, x) for y, x in ((side, side), (side, 3 * side + 1), (2 * side + 5, side), (side + 1, side + 7))):
            return side
    return SIDES[-1]


def resized(picture: Array, factor: float) -> Array:
    """A picture (y, x) or (y, x, channel) at another size, of the same type, its values within those that it has."""
    rows, columns = (max(1, int(side * factor)) for side in picture.shape[:2])
    planes = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(picture).transpose(2, 0, 1), np.float32))
    scaled = resize(planes[None], rows, columns, False)[0].numpy().transpose(1, 2, 0)
    within = np.clip(scaled, picture.min(), picture.max())
    typed: Array = (np.rint(within) if picture.dtype.kind == "u" else within).astype(picture.dtype)
    return typed if picture.ndim == 3 else typed[..., 0]


def input_tensor(
    tensor: Array,
    sample: Array,
    channel_names: Sequence[str],
    size: Mapping[str, int] | int,
    description: str,
    values: Mapping[str, Any],
) -> TensorDescription:
    """The tensor `image`. `size` is the `min` and `step` of its sides in pixels, or the one that they have to have."""
    scale = {"axes": ["y", "x"], "min_percentile": PERCENTILES[0], "max_percentile": PERCENTILES[1]}
    return TensorDescription(
        id="image",
        description=description,
        axes=[
            {"type": "batch"},
            {"type": "channel", "channel_names": list(channel_names)},
            *(
                _space_axis(name, values, {"size": size if isinstance(size, int) else dict(size)})
                for name in ("y", "x")
            ),
        ],
        data={"type": str(tensor.dtype)},
        test_tensor=tensor,
        sample=sample,
        # the last one, too: without it the library casts back to the type of the image
        processing=[_float32(), {"id": "scale_range", "kwargs": scale}, _float32()],
    )


def labels_tensor(labels: Array, values: Mapping[str, Any]) -> TensorDescription:
    """The tensor `labels` (1, 1, y, x) uint16, made of what the network says by cellpose_flow_dynamics.

    `labels` are those of the test tensor, (y, x).
    """
    dynamics = {**thresholds(values), "do_3D": False}
    return TensorDescription(
        id="labels",
        description="label image: one number a cell, 0 is background",
        axes=[
            {"type": "batch"},
            {"type": "channel", "channel_names": ["label"]},
            *(_space_axis(name, values, {"size": _as_image(name)}) for name in ("y", "x")),
        ],
        data={"type": "uint16"},
        test_tensor=labels.astype(np.uint16)[None, None],
        sample=labels.astype(np.uint16),
        processing=[{"id": "cellpose_flow_dynamics", "kwargs": dynamics}],
    )


def flows_tensor(flows: Array, halo: int, values: Mapping[str, Any]) -> TensorDescription:
    """The tensor `flows` (1, 3, y, x) float32; `halo` px of each block are not to be used."""
    return TensorDescription(
        id="flows",
        description="flow down and flow right, both times 5, and the logit of the cell probability",
        axes=[
            {"type": "batch"},
            {"type": "channel", "channel_names": list(FLOWS)},
            *(_space_axis(name, values, {"size": _as_image(name), "halo": halo}) for name in ("y", "x")),
        ],
        data={"type": "float32"},
        test_tensor=flows,
        sample=flows[0].transpose(1, 2, 0),
    )


def _float32() -> dict[str, Any]:
    return {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}


def _as_image(name: str) -> dict[str, Any]:
    return {"tensor_id": "image", "axis_id": name}


def _space_axis(name: str, values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    axis: dict[str, Any] = {"type": "space", "id": name, **more}
    if values.get("pixel_size"):
        size_of_pixel = parse_pixel_size(values["pixel_size"])
        axis |= {"scale": size_of_pixel.y if name == "y" else size_of_pixel.x, "unit": size_of_pixel.unit}
    return axis
