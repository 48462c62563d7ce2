"""Cellpose and Cellpose-SAM as networks that take a whole image of any size, in plain PyTorch.

Cellpose cuts an image into overlapping tiles, runs its network on each, and averages what overlaps; before and after,
it resizes image and flows by the diameter of the cells. All of that happens in `forward` here, so that the flows are
those of Cellpose itself (`CellposeModel.eval` of cellpose 3.1.1.2 and 4.2.1.1, to about 1e-5):

    network = Cellpose(nbase=[2, 32, 64, 128, 256], diameter=17.0)
    network.load_state_dict(torch.load("weights.pt", weights_only=True))
    with torch.no_grad():
        flows = network(image)

Cellpose normalises an image before anything else: each channel so that its 1st percentile is 0 and its 99th is 1. That
is not done here, `image` has to come like that. Nor is the last step, from flows to labels.

Sources. Cellpose: Stringer, Wang, Michaelos and Pachitariu, 2021, https://doi.org/10.1038/s41592-020-01018-x, and
Stringer and Pachitariu, 2025, https://doi.org/10.1038/s41592-025-02595-5. Cellpose-SAM: Pachitariu, Rariden and
Stringer, 2025, https://doi.org/10.1101/2025.04.28.651001; its image encoder is that of Segment Anything, Kirillov and
others, 2023, https://arxiv.org/abs/2304.02643. The credit for both methods is theirs.
"""

# mypy: disable-error-code="no-any-return"
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def _taps(size_in: int, size_out: int, rounded: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each new pixel: the two old ones that it lies between, and how much it has of the second."""
    # on the CPU, because not every device knows double precision
    position = (torch.arange(size_out, dtype=torch.float64) + 0.5) * (float(size_in) / float(size_out)) - 0.5
    position = (position.float() if rounded else position).clamp(0.0, float(size_in - 1))
    first = position.floor()
    second = (first + 1).clamp(max=float(size_in - 1))
    return first.long().to(device), second.long().to(device), (position - first).float().to(device)


def resize(image: Tensor, height: int, width: int, rounded: bool) -> Tensor:
    """Bilinear resize without smoothing, as `cv2.resize` (INTER_LINEAR) does it for float32.

    `image` is (batch, channel, y, x), the result (batch, channel, `height`, `width`). OpenCV rounds the positions of
    pixels to single precision where an image has two channels (`rounded`), but not where it has one or three, and
    `interpolate` of PyTorch rounds otherwise: in an image of 2000 pixels both are seen in the third or fourth digit.
    """
    left, right, across = _taps(image.shape[3], width, rounded, image.device)
    top, bottom, down = _taps(image.shape[2], height, rounded, image.device)
    columns = image.index_select(3, left) * (1 - across) + image.index_select(3, right) * across
    return columns.index_select(2, top) * (1 - down[:, None]) + columns.index_select(2, bottom) * down[:, None]


def padding_px(size: int, smallest: int) -> int:
    """How much Cellpose adds along an axis: to a multiple of 16 and 16 more, or, if below, up to `smallest`."""
    return max(0, smallest - size - 16) + 16 if size < smallest else -size % 16 + 16


def tile_starts(size: int, tile: int) -> list[int]:
    """Where the tiles begin along an axis: evenly spread, with an overlap of at least a tenth of a tile."""
    if size <= tile:
        return [0]
    count = math.ceil(1.2 * size / tile)
    step = float(size - tile) / float(count - 1)
    return [int(index * step) for index in range(count - 1)] + [size - tile]


def tile_weights(size: int, tile: int, starts: list[int]) -> Tensor:
    """What each tile counts for along an axis, (tile number, `tile`) float32; at every pixel they add up to 1.

    A tile fades towards its border: its weight falls to a half at 20 pixels from the border of a tile of full size. In
    two dimensions the weight is the product of those of both axes, because the tiles lie on a grid.
    """
    full = max(224, tile)
    distance = (torch.arange(full, dtype=torch.float64) - (full - 1) / 2.0).abs()
    fading = torch.sigmoid((full / 2.0 - 20.0 - distance) / 7.5)[full // 2 - tile // 2 :][:tile]
    total = torch.zeros(size, dtype=torch.float64)
    for start in starts:
        total[start : start + tile] += fading
    return torch.stack([fading / total[start : start + tile] for start in starts]).float()


class TiledNetwork(nn.Module):
    """What Cellpose does around its network, whichever it is: resizing, padding, tiles and their average.

    `rescale` is the factor by which an image is resized first, `rounded` as for `resize`. `missing` channels are taken
    by the network but not in the image: they are zero. Without `tiled` the image goes into the network as it is.
    """

    def __init__(
        self, rescale: float, rounded: bool, tile_px: int, smallest_px: int, missing: int, tiled: bool, batch_size: int
    ) -> None:
        super().__init__()
        self.rescale, self.rounded = rescale, rounded
        self.tile_px, self.smallest_px, self.missing_channels = tile_px, smallest_px, missing
        self.tiled, self.batch_size = tiled, batch_size

    def network(self, tiles: Tensor) -> Tensor:
        """The bare network: (tile, channel, y, x) → (tile, 3, y, x)."""
        raise NotImplementedError

    def averaged(self, image: Tensor) -> Tensor:
        """The flows of `image` (batch, channel, y, x) at its own scale, (batch, 3, y, x), tile by tile."""
        more_y, more_x = padding_px(image.shape[2], self.smallest_px), padding_px(image.shape[3], self.smallest_px)
        above, before = more_y // 2, more_x // 2
        padded = functional.pad(image, [before, more_x - before, above, more_y - above, 0, self.missing_channels])
        height, width = min(self.tile_px, padded.shape[2]), min(self.tile_px, padded.shape[3])
        tops, lefts = tile_starts(padded.shape[2], height), tile_starts(padded.shape[3], width)
        down = tile_weights(padded.shape[2], height, tops).to(image.device)
        across = tile_weights(padded.shape[3], width, lefts).to(image.device)
        of_one = len(tops) * len(lefts)
        every = [(n // of_one, n % of_one // len(lefts), n % len(lefts)) for n in range(len(image) * of_one)]

        flows = torch.zeros(len(image), 3, padded.shape[2], padded.shape[3], device=image.device)
        for first in range(0, len(every), self.batch_size):
            now = every[first : first + self.batch_size]
            tiles = [padded[b, :, tops[r] : tops[r] + height, lefts[c] : lefts[c] + width] for b, r, c in now]
            answers = self.network(torch.stack(tiles))
            for index, (b, r, c) in enumerate(now):
                place = flows[b, :, tops[r] : tops[r] + height, lefts[c] : lefts[c] + width]
                place += answers[index] * down[r][:, None] * across[c]
        return flows[:, :, above : above + image.shape[2], before : before + image.shape[3]]

    def forward(self, image: Tensor) -> Tensor:
        """`image` (batch, channel, y, x) float32, normalised → flows (batch, 3, y, x) float32.

        The channels of the result are the flow along y, the flow along x, both 5 times what a step of one pixel would
        be, and the logit of the probability to be in a cell: `flows[1]` and `flows[2]` of Cellpose's `eval`.
        """
        if not self.tiled:
            return self.network(functional.pad(image, [0, 0, 0, 0, 0, self.missing_channels]))
        if self.rescale == 1.0:
            return self.averaged(image)
        height, width = int(image.shape[2] * self.rescale), int(image.shape[3] * self.rescale)
        flows = self.averaged(resize(image, height, width, self.rounded))
        return resize(flows, image.shape[2], image.shape[3], False)


def _convolution(channels_in: int, channels_out: int, size: int = 3, relu: bool = True) -> nn.Sequential:
    before = [nn.BatchNorm2d(channels_in), nn.ReLU(inplace=True)] if relu else [nn.BatchNorm2d(channels_in)]
    return nn.Sequential(*before, nn.Conv2d(channels_in, channels_out, size, padding=size // 2))


def _named(name: str, modules: Sequence[nn.Module]) -> nn.ModuleDict:
    return nn.ModuleDict({f"{name}_{index}": module for index, module in enumerate(modules)})


class _DownBlock(nn.Module):
    """The convolutions at one scale on the way down: four with two ways around them, or, not `residual`, two."""

    def __init__(self, channels_in: int, channels_out: int, residual: bool) -> None:
        super().__init__()
        widths = [channels_in, *[channels_out] * (3 if residual else 1)]
        self.conv = _named("conv", [_convolution(width, channels_out) for width in widths])
        self.proj = _convolution(channels_in, channels_out, 1, relu=False) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv["conv_1"](self.conv["conv_0"](x))
        if self.proj is None:
            return inner
        x = self.proj(x) + inner
        return x + self.conv["conv_3"](self.conv["conv_2"](x))


class _StyledConvolution(nn.Module):
    """A convolution of an image to which a number for each channel is added, which is made of the style."""

    def __init__(self, channels_in: int, channels_out: int, style: int) -> None:
        super().__init__()
        self.conv = _convolution(channels_in, channels_out)
        self.full = nn.Linear(style, channels_in)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return self.conv(x + self.full(style)[:, :, None, None])


class _UpBlock(nn.Module):
    """The convolutions at one scale on the way up: four with two ways around them, or, not `residual`, two."""

    def __init__(self, channels_in: int, channels_out: int, style: int, residual: bool, concatenation: bool) -> None:
        super().__init__()
        widths = [channels_out * (2 if concatenation else 1), *[channels_out] * (2 if residual else 0)]
        styled = [_StyledConvolution(width, channels_out, style) for width in widths]
        self.conv = _named("conv", [_convolution(channels_in, channels_out), *styled])
        self.proj = _convolution(channels_in, channels_out, 1, relu=False) if residual else None
        self.concatenation = concatenation

    def forward(self, x: Tensor, skipped: Tensor, style: Tensor) -> Tensor:
        inner = self.conv["conv_0"](x)
        inner = torch.cat((skipped, inner), 1) if self.concatenation else inner + skipped
        inner = self.conv["conv_1"](inner, style)
        if self.proj is None:
            return inner
        x = self.proj(x) + inner
        return x + self.conv["conv_3"](self.conv["conv_2"](x, style), style)


class _Down(nn.Module):
    """The way down: (tile, nbase[0], y, x) → for each scale n (tile, nbase[n + 1], y / 2**n, x / 2**n)."""

    def __init__(self, nbase: Sequence[int], residual: bool) -> None:
        super().__init__()
        blocks = [_DownBlock(channels_in, channels_out, residual) for channels_in, channels_out in pairwise(nbase)]
        self.down = _named("res_down" if residual else "conv_down", blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        scales: list[Tensor] = []
        for block in self.down.values():
            x = block(x if len(scales) == 0 else functional.max_pool2d(x, 2))
            scales.append(x)
        return scales


class _Up(nn.Module):
    """The way up: what the way down gave, and the style (tile, nbase[-1]) → (tile, nbase[1], y, x)."""

    def __init__(self, nbase: Sequence[int], residual: bool, concatenation: bool) -> None:
        super().__init__()
        widths, name = [*nbase[1:], nbase[-1]], "res_up" if residual else "conv_up"
        self.up = nn.ModuleDict()
        for n in reversed(range(len(nbase) - 1)):
            self.up[f"{name}_{n}"] = _UpBlock(widths[n + 1], widths[n], nbase[-1], residual, concatenation)

    def forward(self, scales: list[Tensor], style: Tensor) -> Tensor:
        x = scales[-1]
        for index, block in enumerate(self.up.values()):
            if index > 0:
                x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(x, scales[-1 - index], style)
        return x


class Cellpose(TiledNetwork):
    """The network of Cellpose 1, 2 and 3 (`CPnet`), with all that Cellpose 3 does around it.

    It takes an image (batch, `channels`, y, x) of any size, normalised as the text of this file says, with the channel
    to segment first and the nuclei second, and gives (batch, 3, y, x): flow along y, flow along x, and the logit of the
    cell probability. Its state dict has the names of a file that Cellpose trained. It is made for inference.

    `nbase` are the numbers of channels, of the input first and then of each scale. `diam_mean` is the diameter of cells
    in pixels that the network knows, `diameter` that of the cells in the image; the image is resized by their ratio.
    Channels that the network takes but the image lacks are zero. `style`, `residual` and `concatenation` are those of
    Cellpose 2, which could train networks without the first two and with the third. `batch_size` tiles are held at
    a time. Without `tiled` the bare network runs on the whole image, whose sides then are multiples of 16.
    """

    def __init__(
        self,
        nbase: Sequence[int] = (2, 32, 64, 128, 256),
        nout: int = 3,
        diam_mean: float = 30.0,
        diameter: float = 30.0,
        channels: int = 1,
        tiled: bool = True,
        style: bool = True,
        residual: bool = True,
        concatenation: bool = False,
        batch_size: int = 8,
    ) -> None:
        super().__init__(diam_mean / diameter, nbase[0] == 2, 224, 0, nbase[0] - channels, tiled, batch_size)
        self.style = style
        self.downsample = _Down(nbase, residual)
        self.upsample = _Up(nbase, residual, concatenation)
        self.output = _convolution(nbase[1], nout, 1)
        # they are in the file; what the image is resized by is the choice of whoever runs the network
        self.diam_mean = nn.Parameter(torch.full((1,), diam_mean, dtype=torch.float32), requires_grad=False)
        self.diam_labels = nn.Parameter(torch.full((1,), diam_mean, dtype=torch.float32), requires_grad=False)
        self.eval()

    def network(self, tiles: Tensor) -> Tensor:
        """The bare network: (tile, nbase[0], y, x) → (tile, 3, y, x); y and x are multiples of 16."""
        # about twice as fast on a CPU, and the same result
        scales = self.downsample(tiles.contiguous(memory_format=torch.channels_last))
        style = scales[-1].mean((2, 3))
        style = style / (style * style).sum(1, keepdim=True).sqrt()
        style = style if self.style else torch.zeros_like(style)
        return self.output(self.upsample(scales, style))[:, :3]


class _Attention(nn.Module):
    """Attention of all tokens to all, (tile, side, side, width), with relative positions along y and along x."""

    def __init__(self, width: int, heads: int, positions: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(positions, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(positions, width // heads))

    def of_distances(self, positions: Tensor, side: int) -> Tensor:
        # from a token (first) to another (last) along an axis: (side, width / heads, side)
        positions = functional.interpolate(positions.t()[None], size=[2 * side - 1], mode="linear")[0].t()
        places = torch.arange(side, device=positions.device)
        return positions[places[:, None] - places[None, :] + side - 1].transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        tiles, side, width = x.shape[0], x.shape[1], x.shape[3]
        qkv = self.qkv(x).reshape(tiles, side * side, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        on_grid = query.reshape(tiles, self.heads, side, side, width // self.heads)
        by_row = on_grid @ self.of_distances(self.rel_pos_h, side)
        by_column = (on_grid.transpose(2, 3) @ self.of_distances(self.rel_pos_w, side)).transpose(2, 3)
        bias = by_row[:, :, :, :, :, None] + by_column.contiguous()[:, :, :, :, None, :]
        bias = bias.view(tiles, self.heads, side * side, side * side)
        x = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(x.transpose(1, 2).reshape(tiles, side, side, width))


class _TransformerBlock(nn.Module):
    """Attention and perceptron, each with a way around it."""

    def __init__(self, width: int, heads: int, positions: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads, positions)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"lin1": nn.Linear(width, 4 * width), "lin2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["lin2"](functional.gelu(self.mlp["lin1"](self.norm2(x))))


class _ChannelNorm(nn.LayerNorm):
    """Normalises the channels of each pixel, (tile, channel, y, x)."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class _ImageEncoder(nn.Module):
    """The image encoder of Segment Anything for `side` by `side` patches: (tile, 3, y, x) → (tile, 256, side, side)."""

    def __init__(self, patch_px: int, side: int, width: int, depth: int, heads: int, wide: Sequence[int]) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch_px, stride=patch_px)})
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, width))
        # Segment Anything looked at windows of 14 tokens but in a few blocks, and at images of 64: the sizes remained
        spans = [64 if index in wide else 14 for index in range(depth)]
        self.blocks = nn.ModuleList(_TransformerBlock(width, heads, 2 * span - 1) for span in spans)
        first, second = nn.Conv2d(width, 256, 1, bias=False), nn.Conv2d(256, 256, 3, padding=1, bias=False)
        self.neck = nn.Sequential(first, _ChannelNorm(256, eps=1e-6), second, _ChannelNorm(256, eps=1e-6))

    def forward(self, tiles: Tensor) -> Tensor:
        x = self.patch_embed["proj"](tiles).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))


class CellposeSAM(TiledNetwork):
    """The network of Cellpose 4 (Cellpose-SAM, `CPSAM`), with all that Cellpose 4 does around it.

    It takes an image (batch, 1 to 3 channels, y, x) of any size, normalised as the text of this file says, the channels
    in any order, and gives (batch, 3, y, x): flow along y, flow along x, and the logit of the cell probability. Its
    state dict has the names of a file that Cellpose trained, and sets weights that hold nothing before.

    With a `diameter` in pixels the image is resized so that its cells have 30; without, it stays as it is. `nout` is
    the number of channels that were trained, of which the last three are given. `batch_size` tiles are held at a time.
    Without `tiled` the bare network runs on the image, which then has 256 times 256 pixels. `width`, `depth`, `heads`
    and `wide` (the blocks with relative positions of a whole image of Segment Anything) describe its ViT-L.
    """

    def __init__(
        self,
        patch_px: int = 8,
        nout: int = 3,
        diameter: float | None = None,
        channels: int = 3,
        tiled: bool = True,
        batch_size: int = 1,
        width: int = 1024,
        depth: int = 24,
        heads: int = 16,
        wide: Sequence[int] = (5, 11, 17, 23),
    ) -> None:
        super().__init__(30.0 / diameter if diameter else 1.0, channels == 2, 256, 256, 3 - channels, tiled, batch_size)
        self.patch_px = patch_px
        with torch.device("meta"):  # 300 million random numbers would take time and memory, to be replaced
            self.encoder = _ImageEncoder(patch_px, 256 // patch_px, width, depth, heads, wide)
            self.out = nn.Conv2d(256, nout * patch_px**2, 1)
            self.W2 = nn.Parameter(torch.zeros(nout * patch_px**2, nout, patch_px, patch_px), requires_grad=False)
            self.diam_mean = nn.Parameter(torch.zeros(1), requires_grad=False)
            self.diam_labels = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.to_empty(device=torch.get_default_device())
        self.eval()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = True) -> Any:
        """As in PyTorch, but the tensors become the weights themselves, in float32: 1.2 GB are not held twice."""
        device = None if self.W2.is_meta else self.W2.device
        tensors = {name: tensor.to(device=device, dtype=torch.float32) for name, tensor in state_dict.items()}
        return super().load_state_dict(tensors, strict, assign)

    def network(self, tiles: Tensor) -> Tensor:
        """The bare network: (tile, 3, 256, 256) → (tile, 3, 256, 256)."""
        return functional.conv_transpose2d(self.out(self.encoder(tiles)), self.W2, stride=self.patch_px)[:, -3:]
