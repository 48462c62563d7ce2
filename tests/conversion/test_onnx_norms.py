"""Networks with norms over the whole image give the same in ONNX, also where most of the image is plain ground."""

import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from network_files import pytorch_model
from probed_networks import UNet, lively
from torch import nn

from zoowizard.conversion import onnx_norms, pytorch
from zoowizard.conversion.converted import Array


def cells_on_plain_ground() -> Array:
    """(1, 1, 256, 256), normalised: bright noise in a corner, and one value everywhere else."""
    image = np.full((256, 256), 100.0)
    image[20:40, 30:60] += np.random.default_rng(1).integers(0, 900, (20, 30))
    return ((image - image.mean()) / image.std()).astype(np.float32)[None, None]


def exported(network: nn.Module, dynamo: bool) -> onnx.ModelProto:
    if dynamo:
        free = dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)
        program = torch.onnx.export(network, (torch.randn(2, 1, 64, 64),), dynamo=True, opset_version=18,
                                    dynamic_shapes=(free,), verbose=False)  # fmt: skip
        assert program is not None
        return program.model_proto
    written = io.BytesIO()
    torch.onnx.export(network, (torch.randn(1, 1, 64, 64),), written, dynamo=False, opset_version=17,  # type: ignore[arg-type]
                      input_names=["image"], dynamic_axes={"image": {0: "batch", 2: "y", 3: "x"}})  # fmt: skip
    return onnx.load_model_from_string(written.getvalue())


def largest_difference(model: onnx.ModelProto, network: nn.Module, image: Array) -> float:
    """As a part of the output's spread."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {session.get_inputs()[0].name: image})
    with torch.inference_mode():
        wanted = network(torch.from_numpy(image)).numpy()
    return float(np.abs(np.asarray(found) - wanted).max() / wanted.std())


@pytest.mark.parametrize(("norm", "dynamo"), [("instance", False), ("instance", True), ("group", False)])
def test_plain_ground_does_not_change_what_it_gives(norm: str, dynamo: bool) -> None:
    network, image = lively(UNet(depth=2, norm=norm)), cells_on_plain_ground()
    with warnings.catch_warnings(action="ignore"):
        model = exported(network, dynamo)
    assert largest_difference(model, network, image) > 1e-3, "or else none of this is needed any more"
    assert onnx_norms.exact(model)
    onnx.checker.check_model(model, full_check=True)
    assert largest_difference(model, network, image) < 1e-4


def test_a_model_without_such_norms_stays_as_it_is() -> None:
    with warnings.catch_warnings(action="ignore"):
        model = exported(lively(UNet(depth=1, norm="batch")), False)
    before = model.SerializeToString()
    assert not onnx_norms.exact(model) and model.SerializeToString() == before


def test_the_onnx_of_a_package_has_them_so(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=2, norm="instance")
    onnx_weights = model.converted(pytorch).weights[-1]
    assert onnx_weights.weight_format == "onnx"
    assert largest_difference(onnx.load_model(str(onnx_weights.path)), model.network, cells_on_plain_ground()) < 1e-4
