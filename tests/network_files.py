"""Checkpoints of small networks with their architecture, and images for them, as a person has them."""

import inspect
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import probed_networks
import torch
from probed_networks import UNet, lively
from torch import nn

from zoowizard.conversion.converted import Array, Converted
from zoowizard.jobs.steps import Steps

ABOUT: dict[str, Any] = {
    "name": "Small network",
    "description": "A small network with random weights, to be tested with.",
    "license": "MIT",
    "authors": [{"name": "Ada Lovelace", "affiliation": "Analytical Engine", "github_user": "ada"}],
    "citations": [{"text": "Notes", "doi": "10.1000/xyz123"}],
    "modality": "fluorescence microscopy",
    "tags": ["unet"],
    "training_data_name": "none",
}
"""What is answered about every model."""
MORE = '''

class Two(UNet):
    """A U-Net that gives a second output of half the size."""

    def forward(self, x):
        mask = super().forward(x)
        return {"mask": mask, "half": functional.avg_pool2d(mask, 2)}


class OnGpu(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(1, 1, 1).cuda()


class GpuInside(UNet):
    def forward(self, x):
        return super().forward(x.cuda())


class OneNumber(UNet):
    def forward(self, x):
        return super().forward(x).mean((2, 3))


class ByItsSize(UNet):
    """Does something else with large images, which no trace sees."""

    def forward(self, x):
        given = super().forward(x)
        if x.shape[2] > 70:
            given = given * 2
        return given


class Picky(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        if width % 8:
            raise ValueError("width must be a multiple of 8")


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Conv2d(1, 1, 1)

    def forward(self, image):
        return self.layers(image)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 1, 1)

    def forward(self, image, mask):
        return self.down(image) * mask


def options():
    return {}
'''


def architecture(folder: Path) -> Path:
    """A self-contained file with `UNet` of `probed_networks`, and others."""
    source = inspect.getsource(probed_networks).partition("class StarDist")[0]
    path = folder / "unet.py"
    path.write_text(source.replace("from zoowizard.conversion.probing.networks import Network, of_module\n", "") + MORE)
    return path


@dataclass(frozen=True)
class Model:
    """What a person has: a checkpoint, and the answers about it; `network` is what was trained."""

    checkpoint: Path
    values: Mapping[str, Any]
    network: nn.Module
    folder: Path

    def converted(self, conversion: Any, **more: Any) -> Converted:
        """By the conversion of a family, in a job's folder of its own."""
        values = {**self.values, **more}
        job = self.folder / f"job{len(list(self.folder.glob('job*')))}"
        (job / "weights").mkdir(parents=True)
        image = conversion.read_image(self.checkpoint, values)
        with Steps(job / "events.jsonl").step("convert") as step:
            converted: Converted = conversion.convert(self.checkpoint, values, image, job / "weights", step)
        return converted


def saved_image(folder: Path, shape: tuple[int, ...] = (100, 132)) -> Path:
    """16-bit noise with bright squares in it, as `.npy`."""
    image = np.random.default_rng(1).integers(200, 900, shape).astype(np.uint16)
    image[..., 20:40, 30:60] += 3000
    path = folder / "image.npy"
    np.save(path, image)
    return path


def answers(folder: Path, axes: str = "yx", shape: tuple[int, ...] = (100, 132)) -> dict[str, Any]:
    """What is answered about any network."""
    return {
        "test_image": str(saved_image(folder, shape)),
        "image_axes": axes,
        "normalisation": "percentile-1-99.8",
        "activation": "none",
    }


def pytorch_model(folder: Path, image_axes: str = "yx", shape: tuple[int, ...] = (100, 132), **arguments: Any) -> Model:
    """A training checkpoint of a U-Net made with `arguments`, as DataParallel and an optimizer leave it."""
    network = lively(UNet(**arguments))
    checkpoint = folder / "checkpoint.pth"
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 7, "state_dict": state, "optimizer": {"lr": 0.1}}, checkpoint)
    values = {
        **answers(folder, image_axes, shape),
        "architecture_file": str(architecture(folder)),
        "network": "UNet",
        **{f"argument_{name}": _answer(value) for name, value in arguments.items()},
    }
    return Model(checkpoint, values, network, folder)


def _answer(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value)
    return json.dumps(value) if isinstance(value, list | tuple) else value


def traced(folder: Path, network: nn.Module, channels: int = 1) -> Model:
    """The same as TorchScript."""
    path = folder / "network.pt"
    with warnings.catch_warnings(action="ignore"):
        torch.jit.trace(network, torch.randn(1, channels, 64, 64), check_trace=False).save(str(path))  # type: ignore[no-untyped-call]
    return Model(path, answers(folder), network, folder)


def exported(folder: Path, network: nn.Module, beside: bool = False) -> Model:
    """The same as ONNX; `beside` has its weights in a second file."""
    path = folder / "network.onnx"
    image = torch.randn(2, 1, 64, 64)
    with warnings.catch_warnings(action="ignore"):
        if beside:
            free = dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)
            torch.onnx.export(network, (image,), path, dynamo=True, dynamic_shapes=(free,), external_data=True)
        else:
            free_axes = {"image": {0: "batch", 2: "y", 3: "x"}}
            torch.onnx.export(network, (image,), path, dynamo=False, input_names=["image"], dynamic_axes=free_axes)
    return Model(path, answers(folder), network, folder)


def by_hand(model: Model, tensor: Array) -> Array:
    """What the network gives for a test tensor that is scaled as `percentile-1-99.8` says."""
    image = tensor.astype(np.float64)
    low, high = np.percentile(image, [1, 99.8])
    with torch.inference_mode():
        given: Array = model.network(torch.from_numpy(((image - low) / (high - low + 1e-6)).astype(np.float32))).numpy()
    return given
