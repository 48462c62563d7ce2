"""The U-Net of CAREamics (N2V, N2V2, CARE, Noise2Noise) in plain PyTorch, with which its checkpoints are packaged.

CAREamics takes mean and spread from an image before its network, and gives them back to what the network predicts. The
second is done here, so that the output has the values of images, as that of `CAREamist.predict` has:

    network = UNet(conv_dims=2, depth=2, num_channels_init=32, output_mean=[1307.0], output_std=[459.0])
    network.load_state_dict(torch.load("weights.pt", weights_only=True))
    with torch.no_grad():
        denoised = network((image - 1307.0) / 459.0)

Layers, names and arguments are those of the checkpoints that CAREamics 0.3 writes (`careamics.models.unet.UNet`,
https://github.com/CAREamics/careamics); the last two arguments are added. Sources of the methods: N2V, Krull, Buchholz
and Jug, 2019, https://doi.org/10.1109/cvpr.2019.00223; N2V2, Höck and others, 2022,
https://doi.org/10.48550/arXiv.2211.08512; CARE, Weigert and others, 2018, https://doi.org/10.1038/s41592-018-0216-7.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "None": nn.Identity,
    "Sigmoid": nn.Sigmoid,
    "Softmax": lambda: nn.Softmax(dim=1),
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "ELU": nn.ELU,
}
_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class _Block(nn.Module):
    """Two convolutions. A checkpoint holds the tensors of their batch norms also where these are not used."""

    def __init__(self, dims: int, ins: int, between: int, outs: int, groups: int, norm: bool) -> None:
        super().__init__()
        self.conv1 = _CONVOLUTION[dims](ins, between, 3, padding=1, groups=groups)
        self.conv2 = _CONVOLUTION[dims](between, outs, 3, padding=1, groups=groups)
        self.batch_norm1 = _BATCH_NORM[dims](between)
        self.batch_norm2 = _BATCH_NORM[dims](outs)
        self.norm = norm

    def forward(self, image: Tensor) -> Tensor:
        image = self.conv1(image)
        image = torch.relu(self.batch_norm1(image) if self.norm else image)
        image = self.conv2(image)
        return torch.relu(self.batch_norm2(image) if self.norm else image)


class _BlurredPool(nn.Module):
    """The largest of each pixel and its next ones, blurred by 1-2-1 along each axis, and every second pixel of that."""

    def __init__(self, dims: int, size: int) -> None:
        super().__init__()
        self.size, self.dims = size, dims
        line = torch.tensor([0.25, 0.5, 0.25])
        blur = line[:, None] * line if dims == 2 else line[:, None, None] * line[:, None] * line
        self.register_buffer("blur", blur, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        channels = image.shape[1]
        blur = self.get_buffer("blur").to(image.dtype).repeat(channels, *[1] * (self.dims + 1))
        if self.dims == 2:
            return functional.conv2d(
                functional.max_pool2d(image, self.size, stride=1), blur, stride=2, padding=1, groups=channels
            )
        return functional.conv3d(
            functional.max_pool3d(image, self.size, stride=1), blur, stride=2, padding=1, groups=channels
        )


class _Encoder(nn.Module):
    def __init__(
        self, dims: int, ins: int, depth: int, width: int, groups: int, norm: bool, pool: int, n2v2: bool
    ) -> None:
        super().__init__()
        pooling = _BlurredPool(dims, pool) if n2v2 else _POOL[dims](pool)
        parts: list[nn.Module] = []
        for level in range(depth):
            outs = width * 2**level * groups
            parts += [_Block(dims, ins, outs, outs, groups, norm), pooling]
            ins = outs
        self.encoder_blocks = nn.ModuleList(parts)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The deepest level, and what every level had before it was pooled."""
        levels = []
        for block, pool in zip(self.encoder_blocks[::2], self.encoder_blocks[1::2], strict=True):
            image = block(image)
            levels.append(image)
            image = pool(image)
        return image, levels


class _Decoder(nn.Module):
    def __init__(self, dims: int, depth: int, width: int, groups: int, norm: bool, n2v2: bool) -> None:
        super().__init__()
        deepest = width * 2 ** (depth - 1) * groups
        self.bottleneck = _Block(dims, deepest, 2 * deepest, deepest, groups, norm)
        up = nn.Upsample(scale_factor=2, mode="bilinear" if dims == 2 else "trilinear")
        parts: list[nn.Module] = []
        for level in reversed(range(depth)):
            ins = width * 2**level * groups
            outs = ins // 2 if level else ins
            both = ins if n2v2 and level == 0 else 2 * ins
            parts += [up, _Block(dims, both, 2 * outs if level else outs, outs, groups, norm)]
        self.decoder_blocks = nn.ModuleList(parts)
        self.n2v2, self.groups = n2v2, groups

    def forward(self, image: Tensor, levels: list[Tensor]) -> Tensor:
        image = self.bottleneck(image)
        blocks = zip(self.decoder_blocks[::2], self.decoder_blocks[1::2], strict=True)
        for level, (up, block) in zip(reversed(range(len(levels))), blocks, strict=True):
            image = up(image)
            if level or not self.n2v2:
                image = self._joined(image, levels[level])
            image = block(image)
        return image

    def _joined(self, image: Tensor, level: Tensor) -> Tensor:
        """Channel groups are trained apart: each has its own channels of both, one after the other."""
        pairs = zip(image.chunk(self.groups, 1), level.chunk(self.groups, 1), strict=True)
        return torch.cat([part for pair in pairs for part in pair], 1)


class UNet(nn.Module):
    """The U-Net of CAREamics, whose output has the values of images again."""

    def __init__(
        self,
        conv_dims: int,
        num_classes: int = 1,
        in_channels: int = 1,
        depth: int = 3,
        num_channels_init: int = 64,
        use_batch_norm: bool = True,
        pool_kernel: int = 2,
        residual: bool = False,
        final_activation: Literal["None", "Sigmoid", "Softmax", "Tanh", "ReLU", "LeakyReLU", "ELU"] = "None",
        n2v2: bool = False,
        independent_channels: bool = True,
        output_mean: Sequence[float] = (0.0,),
        output_std: Sequence[float] = (1.0,),
    ) -> None:
        """As `careamics.models.unet.UNet`; `output_mean` and `output_std` are one number, or one a channel."""
        super().__init__()
        groups = in_channels if independent_channels else 1
        width, norm = num_channels_init, use_batch_norm
        self.encoder = _Encoder(conv_dims, in_channels, depth, width, groups, norm, pool_kernel, n2v2)
        self.decoder = _Decoder(conv_dims, depth, width, groups, norm, n2v2)
        self.final_conv = _CONVOLUTION[conv_dims](width * groups, num_classes, 1, groups=groups)
        self.final_activation = _ACTIVATIONS[final_activation]()
        self.residual = residual
        ones = [1] * conv_dims
        self.register_buffer("mean", torch.tensor(list(output_mean)).reshape(1, -1, *ones), persistent=False)
        self.register_buffer("std", torch.tensor(list(output_std)).reshape(1, -1, *ones), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """`image` (batch, channel, (z,) y, x), sides a multiple of 2 to the power of the depth."""
        deepest, levels = self.encoder(image)
        given = self.final_conv(self.decoder(deepest, levels))
        given = self.final_activation(given + image if self.residual else given)
        values: Tensor = given * self.get_buffer("std") + self.get_buffer("mean")
        return values
