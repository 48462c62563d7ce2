"""What a package of Cellpose-SAM is to give, as it was answered, and what follows from that."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from zoowizard.conversion.cellpose_sam_views import SMALLEST_SIDE_PX, blocks, comparison_views, liveliest
from zoowizard.conversion.cellpose_sam_work import labels_of
from zoowizard.conversion.cellpose_tensors import empty_channels
from zoowizard.conversion.converted import Array

CANDIDATES: Final = 3
"""So many parts of a large test image are looked at for cells."""
MOST_PIECES: Final = 10
TRAINED_DIAMETER_PX: Final = 30.0


def to_input(picture: Array) -> Array:
    """A picture (y, x) or (y, x, channel) as the tensor (1, channel, y, x) of the same type."""
    return np.ascontiguousarray(picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1))[None]


class Kind:
    """What the package is to give, and with which of Cellpose's thresholds; `diameter` in pixels, or None."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.labels = values.get("package_kind", "labels") != "flows"
        self.diameter = float(values["diameter"]) if values.get("diameter") else None
        self.flow_threshold = float(values.get("flow_threshold", 0.4))
        self.cellprob_threshold = float(values.get("cellprob_threshold", 0.0))
        self.min_size = int(values.get("min_size", 15))

    @property
    def thresholds(self) -> dict[str, Any]:
        """By their names in Cellpose, in the draft, and in the format."""
        return {
            "flow_threshold": self.flow_threshold,
            "cellprob_threshold": self.cellprob_threshold,
            "min_size": self.min_size,
        }

    @property
    def rescale(self) -> float:
        """By what an image is resized inside; blocks are taken as they are."""
        return TRAINED_DIAMETER_PX / self.diameter if self.diameter and self.labels else 1.0

    def parts(self, image: Array) -> list[Array]:
        """The parts of the test image that may become the test tensor, the first that has cells."""
        parts = liveliest(image, self.rescale, CANDIDATES) if self.labels else blocks(image, CANDIDATES)
        return [one for one in parts if not empty_channels(to_input(one))] or parts[:1]

    def pieces(self, part: Array) -> list[Array]:
        """Halves, quarters, eighths and sixteenths of a part, of at least 64 px a side."""
        pieces: list[Array] = []
        for rows, columns in ((1, 2), (2, 1), (2, 2), (2, 4), (4, 2), (4, 4)):
            height, width = part.shape[0] // rows, part.shape[1] // columns
            if min(height, width) >= SMALLEST_SIDE_PX:
                places = [(row * height, column * width) for row in range(rows) for column in range(columns)]
                pieces += [np.ascontiguousarray(part[y : y + height, x : x + width]) for y, x in places]
        return [one for one in pieces if not empty_channels(to_input(one))][:MOST_PIECES]

    def views(self, image: Array) -> Mapping[str, Array]:
        """The images to compare on, by name."""
        if self.labels:
            views = comparison_views(image, self.rescale)
        else:
            views = {f"block {number}": one for number, one in enumerate(blocks(image, 4), 1)}
        shown = {name: one for name, one in views.items() if not empty_channels(to_input(one))}
        return shown or dict(list(views.items())[:1])

    def arguments(self, picture: Array) -> dict[str, Any]:
        """What `CellposeModel.eval` is asked for, by its own names."""
        return {
            "batch_size": 1,
            "diameter": self.diameter if self.labels else None,
            "channel_axis": 2 if picture.ndim == 3 else None,
            **self.thresholds,
        }

    def labels_of(self, flows: Array) -> Array:
        """The label image (y, x) of flows (3, y, x)."""
        return labels_of(flows, **self.thresholds)
