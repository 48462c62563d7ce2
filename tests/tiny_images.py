"""Families of their own in a few lines whose packages give images: a 2-D network, and a 3-D one with two outputs.

The packages hold a state dict with an architecture file, and TorchScript.
"""

import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from zoowizard.conversion.converted import Array, Converted, Native, NotMeasured, TensorDescription, Weights
from zoowizard.drafts.fields import Field, Need
from zoowizard.families import registry
from zoowizard.families.family import asks_no_more
from zoowizard.families.pickles import look
from zoowizard.library.archive import sha256

ARCHITECTURE = """
import torch


class Sharpen(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.last = torch.nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, image):
        return self.last(torch.relu(self.first(image)))


class Split(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv3d(1, 3, (1, 3, 3), padding=(0, 1, 1))
        self.last = torch.nn.Conv3d(3, 2, 3, padding=1)

    def forward(self, image):
        parts = torch.sigmoid(self.last(torch.relu(self.first(image))))
        return parts, 100 * (parts[:, :1] - parts[:, 1:])


class Merge(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.both = torch.nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, image, mask):
        return self.both(torch.cat([image, mask], 1))
"""
OUTPUTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Sharpen": {"sharp": ("sharp",)},
    "Split": {"parts": ("left", "right"), "balance": ("balance",)},
    "Merge": {"merged": ("merged",)},
}
FLOAT32 = {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}
VALUES: Mapping[str, Any] = {
    "name": "Tiny images",
    "description": "Gives images, to be tested with.",
    "license": "MIT",
    "authors": [{"name": "Ada Lovelace", "github_user": "ada"}],
    "tags": ["denoising"],
}


def network(name: str, seed: int = 0) -> torch.nn.Module:
    """One of the networks of the architecture file, with weights by chance."""
    scope: dict[str, Any] = {}
    exec(ARCHITECTURE, scope)
    torch.manual_seed(seed)
    made: torch.nn.Module = scope[name]().eval()
    return made


@dataclass
class TinyImages:
    """What the conversion says, to be changed by a test, and what was asked of the framework, to be looked at.

    `packaged` and `scripted` are the seeds of the weights in the package; the checkpoint has 0.
    """

    network: str = "Sharpen"
    packaged: int = 0
    scripted: int = 0
    refuses: str = ""
    shows: bool = True
    has_outputs: bool = True
    has_onnx: bool = False
    """Made from the TorchScript, with the weights of the checkpoint; of `Sharpen` only."""
    cut: int = 0
    """So many pixels are missing at the end of what the framework gives."""
    library: str = ""
    """Where the package says that the network is from; its own file where empty."""
    on_outputs: Callable[[], object] = lambda: None
    asked: list[str] = field(default_factory=list)

    @property
    def space(self) -> str:
        return "zyx" if self.network == "Split" else "yx"

    def read_image(self, checkpoint: Path, values: Mapping[str, Any]) -> Array:
        image: Array = np.load(values["test_image"])
        return image

    def convert(self, checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Any) -> Converted:
        self.asked.append("convert")
        source, state, script = (folder / name for name in ("tiny_images.py", "tiny.pt", "tiny-torchscript.pt"))
        source.write_text(ARCHITECTURE)
        torch.save(network(self.network, self.packaged).state_dict(), state)
        tensors = self.to_input(image)
        floats = tuple(torch.from_numpy(one.astype(np.float32)) for one in tensors.values())
        torch.jit.trace(network(self.network, self.scripted), floats).save(str(script))
        version = {"pytorch_version": torch.__version__.split("+")[0]}
        place = {"import_from": self.library} if self.library else {"source": source.name, "sha256": sha256(source)}
        of_network = {"callable": self.network, **place, "kwargs": {}}
        first = next(iter(tensors))
        space = [{"type": "space", "id": name, "size": {"min": 8, "step": 1}} for name in self.space]
        referred = [{**one, "size": {"tensor_id": first, "axis_id": one["id"]}} for one in space]
        outputs = self.outputs(image, self.packaged)
        return Converted(
            inputs=[
                TensorDescription(
                    id=name,
                    description="what comes in",
                    axes=[
                        {"type": "batch"},
                        {"type": "channel", "channel_names": ["grey"]},
                        *(space if name == first else referred),
                    ],
                    data={"type": str(tensor.dtype)},
                    test_tensor=tensor,
                    sample=tensor[0, 0],
                    processing=[FLOAT32, {"id": "scale_linear", "kwargs": {"gain": 0.001, "offset": 0.0}}, FLOAT32],
                    sample_axes=self.space,
                )
                for name, tensor in tensors.items()
            ],
            outputs=[
                TensorDescription(
                    id=name,
                    description="what comes out",
                    axes=[
                        {"type": "batch"},
                        {"type": "channel", "channel_names": list(OUTPUTS[self.network][name])},
                        *referred,
                    ],
                    data={"type": "float32"},
                    test_tensor=tensor,
                    sample=tensor[0],
                    sample_axes="c" + self.space,
                )
                for name, tensor in outputs.items()
            ],
            weights=[
                Weights("pytorch_state_dict", state, {**version, "architecture": of_network}, files=[source]),
                Weights("torchscript", script, version, parent="pytorch_state_dict"),
                *([self._onnx(folder)] if self.has_onnx else []),
            ],
            native=self.native(checkpoint, values, {}, folder),
            framework="torch, eager",
            notes=["It was trained for nothing."],
            shown=(image[0], next(iter(outputs.values()))[0, 0].astype(np.float64)) if self.shows else None,
        )

    def _onnx(self, folder: Path) -> Weights:
        numbers = {name: one.detach().numpy() for name, one in network(self.network).named_parameters()}
        sides = ["batch", 1, "y", "x"]
        graph = onnx.helper.make_graph(
            [
                onnx.helper.make_node("Conv", ["image", "first.weight", "first.bias"], ["more"], pads=[1, 1, 1, 1]),
                onnx.helper.make_node("Relu", ["more"], ["bright"]),
                onnx.helper.make_node("Conv", ["bright", "last.weight", "last.bias"], ["sharp"], pads=[1, 1, 1, 1]),
            ],
            "sharpen",
            [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, sides)],
            [onnx.helper.make_tensor_value_info("sharp", onnx.TensorProto.FLOAT, sides)],
            [onnx.numpy_helper.from_array(one, name) for name, one in numbers.items()],
        )
        path = folder / "tiny.onnx"
        made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(made, str(path))
        return Weights("onnx", path, {"opset_version": 17}, parent="torchscript")

    def to_input(self, picture: Array) -> dict[str, Array]:
        """Of a picture (1, (z,) y, x) the only input, or of `Merge` both."""
        return {"image": picture[None], **({"mask": picture[None, :, ::-1]} if self.network == "Merge" else {})}

    def outputs(self, picture: Array, seed: int) -> dict[str, Array]:
        with torch.inference_mode():
            floats = [
                torch.from_numpy(one.astype(np.float32) * np.float32(0.001)) for one in self.to_input(picture).values()
            ]
            given = network(self.network, seed)(*floats)
        arrays = [one.numpy() for one in (given if isinstance(given, tuple) else (given,))]
        return dict(zip(OUTPUTS[self.network], arrays, strict=True))

    def native(self, checkpoint: Path, values: Mapping[str, Any], facts: Mapping[str, Any], folder: Path) -> Native:
        def outputs(picture: Array) -> Mapping[str, Array]:
            self.asked.append("outputs")
            self.on_outputs()
            if self.refuses:
                raise NotMeasured(self.refuses)
            return {name: one[..., : one.shape[-1] - self.cut] for name, one in self.outputs(picture, 0).items()}

        def to_input(picture: Array) -> Array | Mapping[str, Array]:
            tensors = self.to_input(picture)
            return tensors if len(tensors) > 1 else tensors["image"]

        return Native(
            to_input=to_input,
            outputs=outputs if self.has_outputs else None,
            pictures=lambda image: {"as it is": image, "less of it": np.ascontiguousarray(image[..., :-8, 16:])},
            close=lambda: self.asked.append("close"),
        )


def _path(name: str) -> Field:
    return Field(name, name, "A file.", "a.py", Need.OPTIONAL, "Network", "path", lambda answer: None, "weights")


def install(monkeypatch: pytest.MonkeyPatch, model: TinyImages) -> None:
    """Let the family `tiny_images` be there, with `model` as its conversion."""
    module = types.ModuleType("zoowizard.conversion.tiny_images")
    vars(module).update(
        USES=("test_image", "architecture_file"),
        convert=model.convert,
        native=model.native,
        read_image=model.read_image,
        reads=lambda checkpoint, values: [checkpoint.with_suffix(".data")],
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    family = types.SimpleNamespace(
        NAME="tiny_images",
        FIELDS=(_path("test_image"), _path("architecture_file"), _path("expected_output")),
        LABELS={},
        recognise=lambda path: None,
        look=look,
        asks=asks_no_more,
    )
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, family))


def work(folder: Path, model: TinyImages) -> dict[str, Any]:
    """What the job is told: a checkpoint and a test image in `folder`, and the package goes there."""
    checkpoint, image, source = folder / "tiny.pt", folder / "grey.npy", folder / "mine.py"
    if not checkpoint.exists():
        torch.save(network(model.network).state_dict(), checkpoint)
        checkpoint.with_suffix(".data").write_text("weights beside it")
        source.write_text(ARCHITECTURE)
        shape = (1, 10, 40, 56) if model.network == "Split" else (1, 96, 112)
        np.save(image, np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16))
    return {
        "family": "tiny_images",
        "checkpoint": str(checkpoint),
        "values": {**VALUES, "test_image": str(image), "architecture_file": str(source)},
        "name": "tiny-images",
        "output": str(folder / "out"),
        "umask": 0o022,
    }
