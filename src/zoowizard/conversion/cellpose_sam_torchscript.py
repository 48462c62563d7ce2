"""Cellpose-SAM as TorchScript: the network traced for a tile, what Cellpose does around it scripted.

The tiles of an image are as many as its size asks for, which a trace cannot say; the network itself is the same for
every tile, and a trace of it runs in older versions of PyTorch, too.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoowizard.conversion.cellpose_network import CellposeSAM, padding_px, resize, tile_starts, tile_weights

TILE_PX = 256


class Tiled(nn.Module):
    """What `CellposeSAM` does around its network, for TorchScript: (batch, channel, y, x) → (batch, 3, y, x)."""

    def __init__(self, network: nn.Module, rescale: float, rounded: bool) -> None:
        super().__init__()
        self.network = network
        self.rescale = rescale
        self.rounded = rounded
        self.tile_px = TILE_PX  # TorchScript sees no globals

    def averaged(self, image: Tensor) -> Tensor:
        """The flows at the scale of the image."""
        padding_y, padding_x = padding_px(image.shape[2], self.tile_px), padding_px(image.shape[3], self.tile_px)
        above, before = padding_y // 2, padding_x // 2
        padded = functional.pad(image, [before, padding_x - before, above, padding_y - above])
        tops, lefts = tile_starts(padded.shape[2], self.tile_px), tile_starts(padded.shape[3], self.tile_px)
        down = tile_weights(padded.shape[2], self.tile_px, tops).to(image.device)
        across = tile_weights(padded.shape[3], self.tile_px, lefts).to(image.device)
        flows = torch.zeros(image.shape[0], 3, padded.shape[2], padded.shape[3], device=image.device)
        for b in range(image.shape[0]):
            for row, y in enumerate(tops):
                for column, x in enumerate(lefts):
                    answer = self.network(padded[b : b + 1, :, y : y + self.tile_px, x : x + self.tile_px])[0]
                    flows[b, :, y : y + self.tile_px, x : x + self.tile_px] += (
                        answer * down[row][:, None] * across[column]
                    )
        return flows[:, :, above : above + image.shape[2], before : before + image.shape[3]]

    def forward(self, image: Tensor) -> Tensor:
        """As `CellposeSAM.forward`."""
        if self.rescale == 1.0:
            return self.averaged(image)
        height, width = int(image.shape[2] * self.rescale), int(image.shape[3] * self.rescale)
        flows = self.averaged(resize(image, height, width, self.rounded))
        return resize(flows, image.shape[2], image.shape[3], False)


class Block(nn.Module):
    """The network on one block, for tools that cut the image themselves: (batch, channel, 256, 256) → (batch, 3, …).

    The zoo's library adds the halo to a whole image before, and takes it away after: then the middle of what comes is
    the block.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.tile_px = TILE_PX

    def forward(self, image: Tensor) -> Tensor:
        """The flows of the middle 256 x 256 pixels; zeros around."""
        above, before = (image.shape[2] - self.tile_px) // 2, (image.shape[3] - self.tile_px) // 2
        block = image[:, :, above : above + self.tile_px, before : before + self.tile_px]
        below, behind = image.shape[2] - self.tile_px - above, image.shape[3] - self.tile_px - before
        return functional.pad(self.network(block), [before, behind, above, below])


class OfTiles(nn.Module):
    """The bare network of `CellposeSAM` as a module of its own."""

    def __init__(self, network: CellposeSAM) -> None:
        super().__init__()
        self.network = network
        self.missing_channels = network.missing_channels

    def forward(self, tiles: Tensor) -> Tensor:
        """(tile, 1 to 3 channels, 256, 256) → (tile, 3, 256, 256)."""
        return self.network.network(functional.pad(tiles, [0, 0, 0, 0, 0, self.missing_channels]))


def traced(network: CellposeSAM) -> Any:
    """The bare network as a trace, (tile, 1 to 3 channels, 256, 256) → (tile, 3, 256, 256), traced with one."""
    example = torch.rand(1, 3 - network.missing_channels, TILE_PX, TILE_PX)
    with torch.inference_mode(False), torch.no_grad():
        return torch.jit.trace(OfTiles(network).eval(), example, check_trace=False)  # type: ignore[no-untyped-call]


def scripted(network: CellposeSAM, blocks: bool) -> Any:
    """The whole of it, ready to be saved: one block at a time, or an image of any size."""
    inner = traced(network)
    return torch.jit.script((Block(inner) if blocks else Tiled(inner, network.rescale, network.rounded)).eval())
