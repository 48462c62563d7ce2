"""Small packages of the zoo, as a lab makes them: a U-Net in two or three dimensions, with chosen weight formats."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from zoowizard.library.archive import sha256

Array = NDArray[Any]
ARCHITECTURE = """
import torch


class SmallUNet(torch.nn.Module):
    def __init__(self, dims: int = 2, inputs: int = 1, outputs: int = 1, pool: list = [2, 2], valid: bool = False):
        super().__init__()
        conv = torch.nn.Conv2d if dims == 2 else torch.nn.Conv3d
        pooling = torch.nn.MaxPool2d if dims == 2 else torch.nn.MaxPool3d
        same = 0 if valid else 1
        self.valid = valid
        self.first = conv(inputs, 4, 3, padding=same)
        self.pool = pooling(tuple(pool))
        self.deep = conv(4, 4, 3, padding=1)
        self.up = torch.nn.Upsample(scale_factor=tuple(float(one) for one in pool), mode="nearest")
        self.last = conv(4 if valid else 8, outputs, 3, padding=same)

    def forward(self, image):
        fine = torch.relu(self.first(image))
        if self.valid:
            return self.last(fine)
        coarse = self.up(torch.relu(self.deep(self.pool(fine))))
        return self.last(torch.cat([fine, coarse], 1))
"""


@dataclass(frozen=True)
class Small:
    """How the package is: `pool` is the step of each spatial axis (0: only `minimum`); `processing` goes before it."""

    dims: int = 2
    inputs: int = 1
    outputs: int = 1
    pool: Sequence[int] = (2, 2)
    halo: int = 8
    minimum: int = 32
    processing: Sequence[Mapping[str, Any]] = ()
    after: Sequence[Mapping[str, Any]] = ()
    formats: Sequence[str] = ("torchscript",)
    dtype: str = "float32"
    output_dtype: str = "float32"
    pixel_size_um: Mapping[str, float] = field(default_factory=dict)
    valid: bool = False
    name: str = "Small U-Net"
    own: torch.nn.Module | None = None
    """Another network, in place of the small U-Net; not as a state dict."""

    @property
    def axes(self) -> str:
        return "zyx"[3 - self.dims :]

    def network(self) -> torch.nn.Module:
        if self.own is not None:
            return self.own.eval()
        scope: dict[str, Any] = {}
        exec(ARCHITECTURE, scope)
        torch.manual_seed(0)
        network: torch.nn.Module = scope["SmallUNet"](self.dims, self.inputs, self.outputs, list(self.pool), self.valid)
        return network.eval()

    def whole(self, image: Array) -> Array:
        """What the network itself says of a whole image, (channel, …) to (channel, …)."""
        with torch.inference_mode():
            return self.network()(torch.from_numpy(image[None].astype(np.float32)))[0].numpy()

    def padded(self, image: Array) -> Array:
        """What it says of an image (channel, …) of any size, which is reflected at its far ends until it fits."""
        sides = image.shape[1:]
        more = [
            (0, max(0, self.minimum - side) if side < self.minimum else (self.minimum - side) % step)
            for side, step in zip(sides, self.pool, strict=True)
        ]
        whole = self.whole(np.pad(image, [(0, 0), *more], mode="symmetric"))
        return whole[(slice(None), *map(slice, sides))]


def make_package(folder: Path, small: Small, zipped: bool = True) -> Path:
    """Write the package into `folder` (made); gives its zip, or its description."""
    folder.mkdir(parents=True, exist_ok=True)
    network = small.network()
    example = torch.rand(1, small.inputs, *(small.minimum * (2 if step else 1) for step in small.pool))
    with torch.inference_mode():
        predicted = network(example).numpy()
    np.save(folder / "test_in.npy", example.numpy())
    np.save(folder / "test_out.npy", predicted)
    source = folder / "small_unet.py"
    source.write_text(ARCHITECTURE)
    weights: dict[str, Any] = {}
    version = torch.__version__.split("+")[0]
    for one in small.formats:
        if one == "pytorch_state_dict":
            torch.save(network.state_dict(), folder / "weights.pt")
            kwargs = {"dims": small.dims, "inputs": small.inputs, "outputs": small.outputs, "pool": list(small.pool)}
            weights[one] = {
                "source": "weights.pt",
                "pytorch_version": version,
                "architecture": {
                    "callable": "SmallUNet",
                    "source": source.name,
                    "sha256": sha256(source),
                    "kwargs": {**kwargs, "valid": small.valid},
                },
            }
        elif one == "torchscript":
            torch.jit.trace(network, example).save(str(folder / "weights-ts.pt"))
            weights[one] = {"source": "weights-ts.pt", "pytorch_version": version}
        else:
            free = {0: "batch", **{2 + place: axis for place, axis in enumerate(small.axes)}}
            torch.onnx.export(
                network, (example,), folder / "weights.onnx", opset_version=17, dynamo=False,
                input_names=["raw"], output_names=["prediction"], dynamic_axes={"raw": free, "prediction": free},
            )  # fmt: skip
            weights[one] = {"source": "weights.onnx", "opset_version": 17}
        weights[one]["sha256"] = sha256(folder / weights[one]["source"])
        if len(weights) > 1:
            weights[one]["parent"] = next(iter(weights))
    (folder / "rdf.yaml").write_text(yaml.safe_dump(_described(small, weights)))
    if not zipped:
        return folder / "rdf.yaml"
    package = folder.parent / f"{folder.name}.zip"
    with zipfile.ZipFile(package, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return package


def _described(small: Small, weights: Mapping[str, Any]) -> dict[str, Any]:
    unit = {axis: {"scale": size, "unit": "micrometer"} for axis, size in small.pixel_size_um.items()}
    space = [
        {
            "type": "space",
            "id": axis,
            "size": {"min": small.minimum, "step": step} if step else small.minimum,
            **unit.get(axis, {}),
        }
        for axis, step in zip(small.axes, small.pool, strict=True)
    ]
    halo = {} if not small.halo else {"halo": small.halo}
    offset = -4 if small.valid else 0
    referred = [
        {**axis, **halo, "size": {"tensor_id": "raw", "axis_id": axis["id"], "offset": offset}} for axis in space
    ]
    return {
        "format_version": "0.5.10",
        "type": "model",
        "name": small.name,
        "description": "A small network to be tested with.",
        "license": "MIT",
        "authors": [{"name": "Ada Lovelace"}],
        "cite": [{"text": "none", "url": "https://example.org"}],
        "inputs": [
            {
                "id": "raw",
                "axes": [
                    {"type": "batch"},
                    {"type": "channel", "channel_names": [f"in{one}" for one in range(small.inputs)]},
                    *space,
                ],
                "data": {"type": small.dtype},
                "test_tensor": {"source": "test_in.npy"},
                "preprocessing": [dict(one) for one in small.processing],
            }
        ],
        "outputs": [
            {
                "id": "prediction",
                "axes": [
                    {"type": "batch"},
                    {"type": "channel", "channel_names": [f"out{one}" for one in range(small.outputs)]},
                    *referred,
                ],
                "data": {"type": small.output_dtype},
                "test_tensor": {"source": "test_out.npy"},
                "postprocessing": [dict(one) for one in small.after],
            }
        ],
        "weights": dict(weights),
    }
