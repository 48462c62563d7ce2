"""Small networks of which all is known that probing shall find. The functions make them in a process of their own."""

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoowizard.conversion.probing.networks import Network, of_module

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOLING = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "group": lambda width: nn.GroupNorm(2, width)}


def cut_to(skip: Tensor, like: Tensor) -> Tensor:
    """The middle of `skip`, as large as `like`."""
    for axis in range(2, skip.ndim):
        skip = skip.narrow(axis, (skip.shape[axis] - like.shape[axis]) // 2, like.shape[axis])
    return skip


class UNet(nn.Module):
    """A U-Net as usual: two 3 x 3 convolutions a level, max pooling by `pools` (a step for each level and axis)."""

    def __init__(
        self,
        depth: int = 2,
        channels: int = 1,
        outputs: int = 1,
        width: int = 4,
        axes: int = 2,
        valid: bool = False,
        norm: str = "",
        pools: Sequence[Any] = (),
        kernels: Any = 3,
        resized: bool = False,
    ) -> None:
        super().__init__()
        pools = list(pools) or [2] * depth
        widths = [width * 2**level for level in range(depth + 1)]
        sides = kernels if isinstance(kernels, tuple) else (kernels,) * axes
        padding = tuple(0 if valid else side // 2 for side in sides)

        def block(before: int, after: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for one in (before, after):
                layers.append(CONVOLUTION[axes](one, after, sides, padding=padding))
                layers += [NORMS[norm](after)] if norm else []
                layers.append(nn.ReLU())
            return nn.Sequential(*layers)

        befores = [channels, *widths[:-1]]
        self.down = nn.ModuleList(block(a, b) for a, b in zip(befores, widths, strict=True))
        self.pool = nn.ModuleList(POOLING[axes](pool) for pool in pools)
        self.up = nn.ModuleList(
            TRANSPOSED[axes](widths[level + 1], widths[level], pools[level], stride=pools[level])
            for level in range(depth)
        )
        self.merge = nn.ModuleList(block(2 * widths[level], widths[level]) for level in range(depth))
        self.head = CONVOLUTION[axes](width, outputs, 1)
        self.depth, self.valid, self.resized = depth, valid, resized

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level in range(self.depth):
            x = self.down[level](x)
            skips.append(x)
            x = self.pool[level](x)
        x = self.down[self.depth](x)
        for level in reversed(range(self.depth)):
            x = self.up[level](x)
            skip = skips[level]
            if self.valid:
                skip = cut_to(skip, x)
            elif self.resized:
                x = functional.interpolate(x, size=skip.shape[2:])
            x = self.merge[level](torch.cat([skip, x], 1))
        return self.head(x)


class StarDist(nn.Module):
    """Pooling first, as StarDist with a grid of 2: half the size, a probability and 8 distances."""

    def __init__(self, pool_first: int = 2) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(pool_first))
        self.unet = UNet(3, channels=4, outputs=4)
        self.probability, self.distances = nn.Conv2d(4, 1, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.unet(self.first(x)).relu()
        return torch.cat([self.probability(x).sigmoid(), self.distances(x)], 1)


class Flooring(nn.Module):
    """Down and up by 16 without a skip: takes every size, and loses what pooling rounds down."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        small = functional.max_pool2d(self.into(x), 16)
        return self.out(functional.interpolate(small, scale_factor=16.0))


class Attention(nn.Module):
    """Patches of 8 px that all look at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 8, stride=8)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.back = nn.ConvTranspose2d(16, 1, 8, stride=8)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x)
        batch, width, rows, columns = patches.shape
        tokens = patches.reshape(batch, width, rows * columns).transpose(1, 2)
        seen = tokens + self.attention(tokens, tokens, tokens)[0]
        return self.back(seen.transpose(1, 2).reshape(batch, width, rows, columns))


class Dropping(nn.Module):
    """Dropout that was left on."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(functional.dropout(self.into(x), 0.3, training=True))


class Ending(nn.Module):
    """A U-Net and what comes after it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.unet, self.how = UNet(2, channels=1, outputs=2 if how == "two" else 4), how

    def forward(self, x: Tensor) -> Any:
        given = self.unet(x)
        if self.how == "sigmoid":
            return given.sigmoid()
        if self.how == "softmax":
            return given.softmax(1)
        if self.how == "argmax":
            return given.argmax(1)
        if self.how == "residual":
            return x + 0.05 * given[:, :1]
        if self.how == "two":
            return {"mask": given[:, :1].sigmoid(), "half": functional.avg_pool2d(given[:, 1:], 2)}
        return given


class Flows(nn.Module):
    """Vectors of length 5 that go up the blurred image, and whether it is bright: as Cellpose's."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = functional.avg_pool2d(functional.pad(x, [2] * 4), 5, 1)
        down, across = torch.gradient(x[:, 0], dim=(1, 2))
        length = 5 / (down**2 + across**2 + 1e-6).sqrt()
        return torch.stack([down * length, across * length, 8 * x[:, 0] - 4], 1)


class RayNetwork(nn.Module):
    """A probability and the distances of 8 rays, as StarDist without its grid."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet(1, outputs=9)

    def forward(self, x: Tensor) -> Tensor:
        given = self.unet(x)
        return torch.cat([given[:, :1].sigmoid(), given[:, 1:]], 1)


class OneSize(nn.Module):
    """Adds a learned picture to its input, so that it takes one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.places = nn.Conv2d(1, 1, 3, padding=1), nn.Parameter(torch.zeros(1, 1, 96, 96))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.places)


class Unfit(nn.Module):
    """Wants something that is no image."""

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("expected tokens")


class AsTuple(nn.Module):
    """A network that gives a dictionary, as one that gives a tuple."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(x).values())


class Perilous(nn.Module):
    """Ends, hangs or eats memory at a size that is no multiple of 4."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.unet, self.how = UNet(2), how

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 4 or x.shape[3] % 4:
            if self.how == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            elif self.how == "hang":
                time.sleep(3600)
            else:
                torch.ones(1 << 29)
        return self.unet(x)


def lively(module: nn.Module) -> nn.Module:
    """With weights that let every output see all that it can see, the same at each call."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                fan = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (2 / fan) ** 0.5)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return module.eval()


def unet(**settings: Any) -> Network:
    return of_module(lively(UNet(**settings)))


def made(name: str, *arguments: Any) -> Network:
    return of_module(lively(globals()[name](*arguments)))


def broken() -> Network:
    raise ImportError("No module named 'monai'")
