"""Small networks, and the files that torch exports them to."""

import warnings
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn


class Block(nn.Module):
    def __init__(self, channels: int, out: int, volume: bool) -> None:
        super().__init__()
        convolution, norm = (nn.Conv3d, nn.BatchNorm3d) if volume else (nn.Conv2d, nn.BatchNorm2d)
        self.conv = convolution(channels, out, 3, padding=1)
        self.norm = norm(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Net(nn.Module):
    """Two blocks with a dropout between them."""

    def __init__(self, channels: int = 2, volume: bool = False) -> None:
        super().__init__()
        self.first = Block(channels, 4, volume)
        self.drop = nn.Dropout(0.5)
        self.last = Block(4, 3, volume)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(self.first(x)))


class TwoImages(Net):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        return self.first(x), self.first(y)


class OneOfTwo(Net):
    def forward(  # type: ignore[override]
        self, x: torch.Tensor, y: torch.Tensor | None = None, flag: bool = False
    ) -> dict[str, torch.Tensor]:
        return {"a": self.first(x)}


class ListOfImages(nn.Module):
    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        return x[0]


class Boxes(nn.Module):
    """Ends in torchvision's non-maximum suppression."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        boxes = self.conv(x).flatten(2)[0].T
        return torchvision.ops.nms(boxes, boxes[:, 0], 0.5)


class Writes(nn.Module):
    """Makes a file when it predicts."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file("canary", shared=True, size=4)


class OnGpu(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.zeros(3, device="cuda:0")


def image(channels: int = 2, volume: bool = False) -> torch.Tensor:
    """A random one, (batch, channel, (z,) y, x)."""
    return torch.rand(1, channels, *((8,) if volume else ()), 16, 16)


def traced(path: Path, network: nn.Module, *images: torch.Tensor) -> Path:
    """Trace the network as it stands, in training or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, images or image(), strict=False, check_trace=False), path)
    return path


def scripted(path: Path, network: nn.Module, frozen: bool = False, **more: Any) -> Path:
    """Compile the network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.jit.script(network)
        torch.jit.save(torch.jit.freeze(program) if frozen else program, path, **more)
    return path


def exported_to_onnx(path: Path, network: nn.Module, dynamo: bool, given: torch.Tensor, **more: Any) -> Path:
    """With names for input and output, and free axes where `more` does not say otherwise."""
    free = {0: "batch", 2: "height", 3: "width"}
    axes = {"dynamic_shapes": {"x": free}} if dynamo else {"dynamic_axes": {"image": free, "probability": free}}
    names = {"input_names": ["image"], "output_names": ["probability"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (given,), str(path), dynamo=dynamo, verbose=False, **{**names, **axes, **more})
    return path
