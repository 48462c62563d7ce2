"""A prediction block by block, as tools without Python do it with a package of flows, and how far it is from Cellpose.

Cellpose averages tiles that overlap by half; a tool takes each block without its halo, so that seams differ.
"""

from collections.abc import Callable

import numpy as np

from zoowizard.conversion.cellpose_tensors import precision_at_90
from zoowizard.conversion.converted import Array


def in_blocks(predict: Callable[[Array], Array], image: Array, block_px: int, halo_px: int) -> Array:
    """The flows (1, 3, y, x) of a normalised image (1, channel, y, x), put together of blocks without their halo.

    `predict` gives the flows (1, 3, `block_px`, `block_px`) of one block.
    """
    rows, columns = image.shape[2:]
    flows = np.zeros((1, 3, rows, columns), np.float32)
    side = block_px - 2 * halo_px
    around = [(halo_px, halo_px + -size % side) for size in (rows, columns)]
    padded = np.pad(image, [(0, 0), (0, 0), *around], "reflect")
    for y in range(0, rows, side):
        for x in range(0, columns, side):
            block = predict(padded[:, :, y : y + block_px, x : x + block_px])
            place = flows[:, :, y : y + side, x : x + side]
            place[...] = block[:, :, halo_px:-halo_px, halo_px:-halo_px][:, :, : place.shape[2], : place.shape[3]]
    return flows


def other_package(truth: Array, found: Array) -> str:
    """What a package of labels says of one of flows: `truth` are Cellpose's labels (y, x), `found` those of blocks."""
    return (
        "For tools without Python, a package of flows can be built of the same model, as another model with the answer "
        f"`package_kind: flows`. Predicted in blocks, {precision_at_90(truth, found):.1%} of the test image's cells "
        "are the same there (average precision at an IoU of 0.9)."
    )
