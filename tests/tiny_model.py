"""A family of its own in a few lines: a network that draws flows towards the middle of what is bright.

Its package holds a state dict with an architecture file and the same network as TorchScript; labels are drawn by the
library's `cellpose_flow_dynamics`, so that nothing in it is as in the other families.
"""

import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from zoowizard.conversion.converted import Array, Converted, Difference, Native, NotMeasured, TensorDescription, Weights
from zoowizard.drafts.checks import check_number
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.images import MICROSCOPY, Accepts, check_test_image
from zoowizard.families import registry
from zoowizard.families.family import asks_no_more
from zoowizard.families.pickles import look
from zoowizard.library.archive import sha256

ARCHITECTURE = """
import torch


class Tiny(torch.nn.Module):
    def __init__(self, threshold: float = 9.0, slope_px: int = 1, upside_down: bool = True, weights: list = []):
        super().__init__()
        self.blur = torch.nn.Conv2d(1, 1, 9, padding=4, bias=False)
        self.threshold, self.slope_px, self.sign = threshold, slope_px, -1.0 if upside_down else 1.0

    def forward(self, image):
        bright = image[:, :1]
        smooth = self.blur(self.blur(bright))
        y = torch.roll(smooth, -1, 2) - torch.roll(smooth, 1, 2)
        x = torch.roll(smooth, -1, 3) - torch.roll(smooth, 1, 3)
        length = torch.sqrt(y * y + x * x) + 1e-6
        return torch.cat([self.sign * 5 * y / length, self.sign * 5 * x / length, 8 * (smooth - self.threshold)], 1)
"""
KWARGS: Mapping[str, Any] = {"threshold": 0.3, "slope_px": 0, "upside_down": False, "weights": []}
DYNAMICS = {"cellprob_threshold": 0.0, "flow_threshold": 0.0, "do_3D": False, "min_size": 15}
VALUES: Mapping[str, Any] = {
    "name": "Tiny blobs",
    "description": "Finds bright blobs, to be tested with.",
    "license": "MIT",
    "authors": [{"name": "Ada Lovelace", "github_user": "ada"}],
    "tags": ["blobs"],
    "sharpness": 0,
    "cellpose_version": "3.1.1.2",
}


def blobs(shape: tuple[int, int] = (96, 112), step: int = 24) -> Array:
    """Bright discs in the first of two channels, 16-bit, (y, x, 2); hardly anything in the second."""
    yy, xx = np.indices(shape)
    image = np.zeros((*shape, 2), np.uint16)
    for y in range(step // 2, shape[0], step):
        for x in range(step // 2, shape[1], step):
            image[(yy - y) ** 2 + (xx - x) ** 2 <= 36, 0] = 40_000
    image[..., 1] = (yy + xx) % 7
    return image


@dataclass
class TinyModel:
    """What the conversion says, to be changed by a test, and what was asked of the framework, to be looked at."""

    architecture: str = ARCHITECTURE
    accepts: Accepts = MICROSCOPY
    differences: Callable[[Array], Sequence[Difference]] | None = None
    refuses: str = ""
    flows_only: bool = False
    tested_px: int | None = None
    """So many pixels of the image, from its corner, are the test tensor; all of it where None."""
    asked: list[str] = field(default_factory=list)

    def convert(self, checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Any) -> Converted:
        source = folder / "tiny_network.py"
        source.write_text(self.architecture)
        scope: dict[str, Any] = {}
        exec(ARCHITECTURE, scope)
        network = scope["Tiny"](**KWARGS).eval()
        with torch.no_grad():
            network.blur.weight.fill_(1 / 81)
        state, script = folder / "tiny.pt", folder / "tiny-torchscript.pt"
        torch.save(network.state_dict(), state)
        torch.jit.trace(network, torch.rand(1, 2, 64, 64)).save(str(script))
        part = image[: self.tested_px, : self.tested_px]
        tensor = _to_input(part)
        flows = network(torch.from_numpy(tensor)).detach().numpy()
        labels = _labels(flows)
        version = {"pytorch_version": torch.__version__.split("+")[0]}
        of_file = {"callable": "Tiny", "source": source.name, "sha256": sha256(source), "kwargs": dict(KWARGS)}
        size = {"min": 64, "step": 1}
        axes = [{"type": "space", "id": name, "size": size} for name in "yx"]
        referred = [{**axis, "size": {"tensor_id": "image", "axis_id": axis["id"], "offset": 0}} for axis in axes]
        channels = ["y", "x", "probability"] if self.flows_only else ["label"]
        return Converted(
            inputs=[
                TensorDescription(
                    id="image",
                    description="two channels",
                    axes=[{"type": "batch"}, {"type": "channel", "channel_names": ["red", "green"]}, *axes],
                    data={"type": "float32"},
                    test_tensor=tensor,
                    sample=part,
                )
            ],
            outputs=[
                TensorDescription(
                    id="flows" if self.flows_only else "labels",
                    description="what it draws",
                    axes=[{"type": "batch"}, {"type": "channel", "channel_names": channels}, *referred],
                    data={"type": "float32" if self.flows_only else "uint16"},
                    test_tensor=flows if self.flows_only else labels[None, None],
                    sample=np.moveaxis(flows[0], 0, -1) if self.flows_only else labels,
                    processing=() if self.flows_only else [{"id": "cellpose_flow_dynamics", "kwargs": DYNAMICS}],
                )
            ],
            weights=[
                Weights("pytorch_state_dict", state, {**version, "architecture": of_file}, files=[source]),
                Weights("torchscript", script, version, parent="pytorch_state_dict"),
            ],
            native=self.native(checkpoint, values, {}, folder),
            framework="tiny 1.0",
            notes=["It knows blobs only."],
            labels=labels if self.flows_only else None,
        )

    def native(self, checkpoint: Path, values: Mapping[str, Any], facts: Mapping[str, Any], folder: Path) -> Native:
        def predict(picture: Array) -> Array:
            self.asked.append("predict")
            if self.refuses:
                raise NotMeasured(self.refuses)
            scope: dict[str, Any] = {}
            exec(ARCHITECTURE, scope)
            network = scope["Tiny"](**KWARGS)
            network.load_state_dict(torch.load(checkpoint, weights_only=True))
            with torch.inference_mode():
                return _labels(network(torch.from_numpy(_to_input(picture))).numpy())

        return Native(
            to_input=_to_input,
            predict=predict,
            to_labels=(lambda outputs: _labels(outputs["flows"])) if self.flows_only else None,
            differences=self.differences,
            pictures=lambda image: {"as it is": image, "less of it": np.ascontiguousarray(image[:-20, 9:])},
            close=lambda: self.asked.append("close"),
        )


def _to_input(picture: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(picture, -1, 0)[None].astype(np.float32) / 40_000)


def _labels(flows: Array) -> Array:
    from cellpose.dynamics import compute_masks
    from cellpose.utils import fill_holes_and_remove_small_masks

    masks = compute_masks(flows[0, :2], flows[0, 2], cellprob_threshold=0.0, flow_threshold=0.0, do_3D=False)
    labels: Array = fill_holes_and_remove_small_masks(masks, min_size=15).astype(np.uint16)
    return labels


SHARPNESS = Field(
    "sharpness", "Sharpness of the blobs", "How sharp.", "0", Need.OPTIONAL, "Network", "number", check_number(0, 9),
    "weights: built into the network",
)  # fmt: skip
TEST_IMAGE = Field(
    "test_image", "Test image", "An image of blobs. Any.", "a.tif", Need.REQUIRED, "Test image", "path",
    lambda answer: check_test_image(answer, MICROSCOPY), "inputs: test and sample tensor, cover",
)  # fmt: skip


def install(monkeypatch: pytest.MonkeyPatch, model: TinyModel) -> None:
    """Let the family `tiny` be there, with `model` as its conversion."""
    module = types.ModuleType("zoowizard.conversion.tiny")
    vars(module).update(USES=("test_image",), ACCEPTS=model.accepts, convert=model.convert, native=model.native)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    family = types.SimpleNamespace(
        NAME="tiny",
        FIELDS=(SHARPNESS, TEST_IMAGE),
        LABELS={},
        recognise=lambda path: None,
        look=look,
        asks=asks_no_more,
    )
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, family))


def work(folder: Path, **more: Any) -> dict[str, Any]:
    """What the job is told: a checkpoint and a test image in `folder`, and the package goes there."""
    checkpoint, image = folder / "tiny-checkpoint.pt", folder / "blobs.tif"
    torch.save({"blur.weight": torch.full((1, 1, 9, 9), 1 / 81)}, checkpoint)
    tifffile.imwrite(image, np.moveaxis(blobs(), -1, 0), imagej=True, metadata={"axes": "CYX"})
    return {
        "family": "tiny",
        "checkpoint": str(checkpoint),
        "values": {**VALUES, "test_image": str(image), **more},
        "name": "tiny",
        "output": str(folder / "out"),
        "umask": 0o022,
    }
