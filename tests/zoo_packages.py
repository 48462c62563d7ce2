"""A package of a network that doubles its image, small enough to be made anew for each test, with what may go wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from onnx import TensorProto, helper

ARCHITECTURE = """
import torch


class Doubling(torch.nn.Module):
    def __init__(self, out_channels: int = 1):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor([2.0]))

    def forward(self, image):
        return image * self.factor
"""
NEWER_TORCH = ARCHITECTURE.replace("super()", "torch.accelerator.is_available()\n        super()")
"""Needs what torch has from 2.6 on."""
OTHERWISE_THERE = ARCHITECTURE.replace(
    "* self.factor", '* (self.factor + (0 if hasattr(torch, "accelerator") else 0.5))'
)
"""Predicts something else with an older torch."""


class _Doubling(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor([2.0]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * self.factor


def package(folder: Path, architecture: str = ARCHITECTURE, opset: int = 17, **more: Any) -> Path:
    """Write the package into `folder`; gives the path of its description, in which `more` is."""
    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).uniform(1, 9, (1, 1, 32, 32)).astype(np.float32)
    np.save(folder / "test_in.npy", image)
    np.save(folder / "test_out.npy", 2 * image)
    (folder / "net.py").write_text(architecture)
    (folder / "README.md").write_text("# Doubling\n\n## Validation\n\nNone.\n")
    network = _Doubling().eval()
    torch.save(network.state_dict(), folder / "state.pt")
    torch.jit.trace(network, torch.from_numpy(image)).save(str(folder / "script.pt"))
    _write_onnx(folder / "net.onnx", opset)
    described = description(opset) | more
    (folder / "rdf.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return folder / "rdf.yaml"


def _write_onnx(path: Path, opset: int) -> None:
    shape = ["batch", 1, "y", "x"]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("raw", "doubled")]
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["raw", "two"], ["doubled"])], "g", tensors[:1], tensors[1:], [two]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(path))


def description(opset: int = 17) -> dict[str, Any]:
    """As data, in format 0.5.10."""
    size = {"min": 32, "step": 16}
    channel = {"type": "channel", "channel_names": ["intensity"]}
    axes = [{"type": "batch"}, channel, *({"type": "space", "id": one, "size": size} for one in "yx")]
    referred = [{"type": "space", "id": one, "size": {"tensor_id": "raw", "axis_id": one}} for one in "yx"]
    version = {"pytorch_version": "2.5"}
    network = {"callable": "Doubling", "source": "net.py", "kwargs": {"out_channels": 1}}
    return {
        "format_version": "0.5.10",
        "type": "model",
        "name": "Doubling of images",
        "description": "Doubles every value of an image.",
        "license": "MIT",
        "authors": [{"name": "Ada Lovelace", "github_user": "a-user-that-nobody-has"}],
        "cite": [{"text": "Nobody", "doi": "10.1234/none"}],
        "tags": ["semantic-segmentation"],
        "documentation": "README.md",
        "inputs": [{"id": "raw", "axes": axes, "data": {"type": "float32"}, "test_tensor": {"source": "test_in.npy"}}],
        "outputs": [
            {
                "id": "doubled",
                "axes": [{"type": "batch"}, channel, *referred],
                "data": {"type": "float32"},
                "test_tensor": {"source": "test_out.npy"},
            }
        ],
        "weights": {
            "pytorch_state_dict": {"source": "state.pt", "architecture": network, **version},
            "torchscript": {"source": "script.pt", "parent": "pytorch_state_dict", **version},
            "onnx": {"source": "net.onnx", "parent": "pytorch_state_dict", "opset_version": opset},
        },
    }
