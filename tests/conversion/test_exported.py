"""Networks in TorchScript and ONNX: the file goes into the package as it is, or with its outputs padded back."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from network_files import Model, answers, by_hand, exported, traced
from numpy.testing import assert_allclose
from probed_networks import AsTuple, Ending, OneSize, UNet, lively

from zoowizard.conversion import onnx as of_onnx
from zoowizard.conversion import torchscript
from zoowizard.conversion.converted import Array, Converted
from zoowizard.errors import ZoowizardError


def run(converted: Converted, index: int, tensor: Array) -> list[Array]:
    weights = converted.weights[index]
    if weights.weight_format == "onnx":
        session = onnxruntime.InferenceSession(str(weights.path))
        return [np.asarray(one) for one in session.run(None, {session.get_inputs()[0].name: tensor})]
    with warnings.catch_warnings(action="ignore"), torch.inference_mode():
        given = torch.jit.load(str(weights.path)).eval()(torch.from_numpy(tensor))  # type: ignore[no-untyped-call]
    return [one.numpy() for one in (given if isinstance(given, tuple) else (given,))]


NOISE = np.random.default_rng(0).standard_normal((2, 1, 64, 80), dtype=np.float32)


def test_torchscript_goes_in_as_it_is_without_what_it_remembers(tmp_path: Path) -> None:
    model = traced(tmp_path, lively(UNet(2, norm="batch")))
    converted = model.converted(torchscript)
    assert [(one.weight_format, one.parent) for one in converted.weights] == [
        ("torchscript", None),
        ("onnx", "torchscript"),
    ]
    assert_allclose(converted.outputs[0].test_tensor, by_hand(model, converted.inputs[0].test_tensor), atol=1e-4)
    assert_allclose(run(converted, 1, NOISE)[0], run(converted, 0, NOISE)[0], atol=1e-4)
    with zipfile.ZipFile(model.checkpoint) as given, zipfile.ZipFile(converted.weights[0].path) as packaged:
        code = [[one.read(name) for name in one.namelist() if name.endswith(".py")] for one in (given, packaged)]
        assert code[0] == code[1]
        assert not any(name.endswith(".debug_pkl") for name in packaged.namelist())
    assert converted.native.outputs is not None
    again = torchscript.native(model.checkpoint, model.values, dict(converted.facts), tmp_path)
    assert again.outputs is not None
    image = torchscript.read_image(model.checkpoint, model.values)
    assert np.array_equal(again.outputs(image)["output"], converted.native.outputs(image)["output"])


@pytest.mark.parametrize("form", ["torchscript", "onnx"])
def test_valid_convolutions_are_padded_back(form: str, tmp_path: Path) -> None:
    network = lively(UNet(2, valid=True))
    conversion: Any = torchscript if form == "torchscript" else of_onnx
    model = traced(tmp_path, network) if form == "torchscript" else exported(tmp_path, network)
    converted = model.converted(conversion)
    wanted = by_hand(model, converted.inputs[0].test_tensor)
    given = converted.outputs[0].test_tensor
    assert_allclose(given[:, :, 20:-20, 20:-20], wanted, atol=1e-4)
    for index in range(len(converted.weights)):
        one = run(converted, index, NOISE)[0]
        assert one.shape == NOISE.shape and not one[:, :, :20].any() and one[:, :, 20:-20, 20:-20].all()
    assert len(converted.weights) == (2 if form == "torchscript" else 1)


def test_onnx_goes_in_as_it_is(tmp_path: Path) -> None:
    model = exported(tmp_path, lively(UNet(2, norm="batch")))
    converted = model.converted(of_onnx)
    (weights,) = converted.weights
    assert weights.path.read_bytes() == model.checkpoint.read_bytes()
    assert weights.entry == {"opset_version": onnx.load(str(weights.path)).opset_import[0].version}
    assert_allclose(converted.outputs[0].test_tensor, by_hand(model, converted.inputs[0].test_tensor), atol=1e-4)
    assert converted.framework.startswith("onnxruntime ")
    again = of_onnx.native(model.checkpoint, model.values, dict(converted.facts), tmp_path)
    assert again.outputs is not None
    image = of_onnx.read_image(model.checkpoint, model.values)
    assert again.outputs(image)["output"].shape == (1, *image.shape)


def test_external_data_is_joined(tmp_path: Path) -> None:
    model = exported(tmp_path, lively(UNet(1)), beside=True)
    data = tmp_path / "network.onnx.data"
    assert data.exists() and list(of_onnx.reads(model.checkpoint, model.values)) == [data]
    converted = model.converted(of_onnx)
    before = [run(converted, 0, NOISE)[0], converted.outputs[0].test_tensor]
    assert any("joined into one file" in one for one in converted.notes)
    here = b"probed_networks.py"
    assert here in model.checkpoint.read_bytes(), "the exporter notes at every node where its code lies"
    assert here not in converted.weights[0].path.read_bytes()
    data.rename(tmp_path / "elsewhere.data")
    assert_allclose(run(converted, 0, NOISE)[0], before[0])
    assert_allclose(before[1], by_hand(model, converted.inputs[0].test_tensor), atol=1e-4)
    with pytest.raises(ZoowizardError, match=r"network\.onnx\.data, which is missing"):
        model.converted(of_onnx)


@pytest.mark.parametrize("form", ["torchscript", "onnx"])
def test_two_outputs_and_labels(form: str, tmp_path: Path) -> None:
    two, labels = lively(AsTuple(Ending("two"))), lively(Ending("argmax"))
    conversion: Any = torchscript if form == "torchscript" else of_onnx
    make = traced if form == "torchscript" else exported
    converted = make(tmp_path, two).converted(conversion)
    assert [one.id for one in converted.outputs] == ["output_1", "output_2"]
    assert converted.outputs[1].test_tensor.shape[2] * 2 == converted.outputs[0].test_tensor.shape[2]
    converted = make(tmp_path, labels).converted(conversion)
    (output,) = converted.outputs
    assert [one["type"] for one in output.axes] == ["batch", "space", "space"]
    assert output.data == {"type": "int64"} and output.sample.ndim == 2


def test_an_onnx_file_for_one_size_and_whole_numbers(tmp_path: Path) -> None:
    class OfBytes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = lively(OneSize())

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            given: torch.Tensor = self.network(image.float() / 255)
            return given

    path = tmp_path / "network.onnx"
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(OfBytes(), (torch.zeros(1, 1, 96, 96, dtype=torch.uint8),), path, dynamo=False)
    values = answers(tmp_path) | {"normalisation": "none"}
    converted = Model(path, values, OfBytes(), tmp_path).converted(of_onnx)
    sizes = {one["id"]: one.get("size") for one in converted.inputs[0].axes if one["type"] == "space"}
    assert sizes == {"y": 96, "x": 96}
    assert converted.inputs[0].axes[0] == {"type": "batch", "size": 1}
    assert [one["kwargs"]["dtype"] for one in converted.inputs[0].processing] == ["float32", "uint8"]
    assert [one.get("size") for one in converted.outputs[0].axes[2:]] == [96, 96]


def test_a_network_of_two_inputs_wants_two_images(tmp_path: Path) -> None:
    class Sum(torch.nn.Module):
        def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return image + mask

    image = torch.zeros(1, 1, 64, 64)
    with warnings.catch_warnings(action="ignore"):
        torch.jit.trace(Sum(), (image, image)).save(str(tmp_path / "sum.pt"))  # type: ignore[no-untyped-call]
        names = ["image", "mask"]
        torch.onnx.export(Sum(), (image, image), tmp_path / "sum.onnx", dynamo=False, input_names=names)
    for file, conversion in (("sum.pt", torchscript), ("sum.onnx", of_onnx)):
        model = Model(tmp_path / file, answers(tmp_path), Sum(), tmp_path)
        with pytest.raises(ZoowizardError, match=rf"{file}: its network takes 2 inputs \(image, mask\), and 1"):
            model.converted(conversion)
