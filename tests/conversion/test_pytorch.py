"""Networks of PyTorch with their code: what goes into a package, and that it gives what the network gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tifffile
import torch
from network_files import Model, by_hand, pytorch_model, traced
from numpy.testing import assert_allclose
from probed_networks import Dropping, lively

from zoowizard.conversion import pytorch, pytorch_state, torchscript
from zoowizard.conversion.any_network.original import activated
from zoowizard.conversion.converted import Array, Converted
from zoowizard.errors import ZoowizardError


def outputs_of(converted: Converted, weight_format: str, tensor: Array) -> list[Array]:
    """What a weight format of the package gives for what the network is given."""
    weights = next(one for one in converted.weights if one.weight_format == weight_format)
    if weight_format == "onnx":
        session = onnxruntime.InferenceSession(str(weights.path))
        return [np.asarray(one) for one in session.run(None, {"image": tensor})]
    if weight_format == "torchscript":
        module: Any = torch.jit.load(str(weights.path))  # type: ignore[no-untyped-call]
    else:
        module = _from_source(weights.entry["architecture"], weights.files[0])
        module.load_state_dict(torch.load(weights.path, weights_only=True), strict=True)
    with torch.inference_mode():
        given = module.eval()(torch.from_numpy(tensor))
    return [one.numpy() for one in (given if isinstance(given, tuple) else (given,))]


def _from_source(entry: dict[str, Any], source: Path) -> torch.nn.Module:
    space: dict[str, Any] = {"__name__": "package"}
    exec(compile(source.read_text(), source.name, "exec"), space)
    module: torch.nn.Module = space[entry["callable"]](**entry.get("kwargs", {}))
    return module


def space_of(axes: Any) -> dict[str, Any]:
    return {one["id"]: {key: one[key] for key in one if key not in ("type", "id")} for one in axes if "id" in one}


def test_a_unet_goes_into_all_formats(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=2, norm="batch")
    converted = model.converted(pytorch, pixel_size="0.5 x 0.25 micrometer")
    image, output = converted.inputs[0], converted.outputs[0]
    assert image.test_tensor.shape == (1, 1, 100, 132) and image.test_tensor.dtype == np.uint16
    sizes = {"min": 48, "step": 4}
    assert space_of(image.axes) == {
        "y": {"size": sizes, "scale": 0.5, "unit": "micrometer"},
        "x": {"size": sizes, "scale": 0.25, "unit": "micrometer"},
    }
    assert [one["id"] for one in image.processing] == ["ensure_dtype", "scale_range", "ensure_dtype"]
    assert image.processing[1]["kwargs"]["axes"] == ["channel", "y", "x"]
    assert space_of(output.axes)["x"] == {
        "size": {"tensor_id": "image", "axis_id": "x"},
        "halo": 22,
        "scale": 0.25,
        "unit": "micrometer",
    }
    wanted = by_hand(model, image.test_tensor)
    assert_allclose(output.test_tensor, wanted, atol=1e-4)
    assert [(one.weight_format, one.parent) for one in converted.weights] == [
        ("pytorch_state_dict", None),
        ("torchscript", "pytorch_state_dict"),
        ("onnx", "pytorch_state_dict"),
    ]
    for shape in ((1, 1, 48, 64), (2, 1, 64, 48)):
        noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        given = [outputs_of(converted, one.weight_format, noise)[0] for one in converted.weights]
        assert_allclose(given[1], given[0], atol=1e-4)
        assert_allclose(given[2], given[0], atol=1e-4)
    assert any("it looks 22 px far" in one for one in converted.notes)
    onnx = next(one for one in converted.weights if one.weight_format == "onnx").path.read_bytes()
    script = next(one for one in converted.weights if one.weight_format == "torchscript").path.read_bytes()
    for told in (str(tmp_path).encode(), b"site-packages"):
        assert told not in onnx and told not in script


def test_the_framework_is_asked_again_and_nothing_is_probed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pytorch_model(tmp_path, depth=1)
    first = model.converted(pytorch)
    monkeypatch.setattr("zoowizard.conversion.any_network.findings.probe", None)  # it would fail
    second = model.converted(pytorch, normalisation="zero-mean")
    assert second.facts["findings"] == first.facts["findings"]
    facts = json.loads(json.dumps(dict(first.facts)))
    again = pytorch.native(model.checkpoint, model.values, facts, tmp_path / "again")
    image = pytorch.read_image(model.checkpoint, model.values)
    assert again.pictures is not None and again.outputs is not None and first.native.outputs is not None
    pictures = again.pictures(image)
    assert np.array_equal(np.asarray(again.to_input(pictures["as it is"])), first.inputs[0].test_tensor)
    assert len({picture.shape for picture in pictures.values()}) >= 3
    for picture in pictures.values():
        assert np.array_equal(again.outputs(picture)["output"], first.native.outputs(picture)["output"])


def test_valid_convolutions_are_padded_back(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=2, valid=True)
    converted = model.converted(pytorch)
    given, wanted = converted.outputs[0].test_tensor, by_hand(model, converted.inputs[0].test_tensor)
    assert given.shape == converted.inputs[0].test_tensor.shape
    assert_allclose(given[:, :, 20:-20, 20:-20], wanted, atol=1e-4)
    assert not given[:, :, :20].any()
    assert space_of(converted.outputs[0].axes)["y"]["halo"] == 20
    noise = np.random.default_rng(0).standard_normal((1, 1, 64, 60), dtype=np.float32)
    results = [outputs_of(converted, one.weight_format, noise)[0] for one in converted.weights]
    assert len(results) == 3 and results[0].shape == noise.shape
    for result in results[1:]:
        assert_allclose(result, results[0], atol=1e-4)
    assert any("padded with zeros to the size of the image" in one for one in converted.notes)


def test_an_anisotropic_volume(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, "zyx", (20, 60, 72), depth=2, axes=3, width=2, pools=[[1, 2, 2], [2, 2, 2]])
    converted = model.converted(pytorch, pixel_size="2 x 0.5 x 0.5 micrometer")
    image, output = converted.inputs[0], converted.outputs[0]
    assert image.test_tensor.shape == output.test_tensor.shape == (1, 1, 20, 60, 72)
    assert space_of(image.axes)["z"] == {"size": {"min": 20, "step": 2}, "scale": 2.0, "unit": "micrometer"}
    assert (image.sample_axes, image.sample.shape) == ("zyx", (20, 60, 72))
    assert_allclose(output.test_tensor, by_hand(model, image.test_tensor), atol=1e-3)
    halos = {axis: one["halo"] for axis, one in space_of(output.axes).items()}
    assert halos == {"z": 9, "y": 22, "x": 22}  # as much as 20 planes leave room for
    assert any("9 px instead of the 12 px" in one for one in converted.notes)
    assert len(converted.weights) == 3


def test_two_outputs_with_names(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=1)
    converted = model.converted(pytorch, network="Two", output_names=["mask", "half"], pixel_size="0.5 micrometer")
    mask, half = converted.outputs
    assert (mask.id, half.id) == ("mask", "half")
    assert half.test_tensor.shape[2:] == tuple(size // 2 for size in mask.test_tensor.shape[2:])
    assert space_of(half.axes)["y"]["scale"] == 1.0 and space_of(mask.axes)["y"]["scale"] == 0.5
    assert space_of(half.axes)["y"]["halo"] * 2 == space_of(mask.axes)["y"]["halo"]
    noise = np.random.default_rng(0).standard_normal((1, 1, 32, 40), dtype=np.float32)
    for one in converted.weights:  # the network gives a dictionary, which no format holds
        first, second = outputs_of(converted, one.weight_format, noise)
        assert first.shape == (1, 1, 32, 40) and second.shape == (1, 1, 16, 20)


def test_logits_become_probabilities(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=1, outputs=3)
    converted = model.converted(pytorch, activation="softmax", output_channels=["background", "inside", "edge"])
    output = converted.outputs[0]
    assert output.processing == [{"id": "softmax", "kwargs": {"axis": "channel"}}]
    assert output.axes[1]["channel_names"] == ["background", "inside", "edge"]
    assert_allclose(output.test_tensor.sum(axis=1), 1, atol=1e-5)
    assert_allclose(
        output.test_tensor, activated(by_hand(model, converted.inputs[0].test_tensor), "softmax"), atol=1e-5
    )
    assert output.data["range"] == [0.0, 1.0]
    with pytest.raises(ZoowizardError, match="output_channels: the first output has 3 channels, and there are 2 names"):
        model.converted(pytorch, output_channels=["a", "b"])


def test_what_a_person_says_overrules_what_was_found(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=1)
    converted = model.converted(pytorch, halo="y=16 x=20", smallest_input="48", input_step="16")
    assert space_of(converted.inputs[0].axes)["y"]["size"] == {"min": 48, "step": 16}
    assert {axis: one["halo"] for axis, one in space_of(converted.outputs[0].axes).items()} == {"y": 16, "x": 20}
    assert "Halo: 16 px along y, 20 px along x, as its author says." in converted.notes
    assert any(one.startswith("Blocks: ") for one in converted.notes)


@pytest.mark.parametrize("side", [0.03, 0.1, 0.65])
def test_a_halo_is_whole_for_the_library_whatever_the_size_of_a_pixel(tmp_path: Path, side: float) -> None:
    model = pytorch_model(tmp_path, depth=1)
    for halo in (6, 7, 9):
        output = space_of(model.converted(pytorch, halo=f"{halo}", pixel_size=f"{side} micrometer").outputs[0].axes)
        for axis in "yx":  # as bioimageio.spec computes that of the input
            of_input = output[axis]["halo"] * output[axis]["scale"] / side
            assert of_input.is_integer() and halo <= of_input <= halo + 3


def test_a_network_that_was_a_part_of_another_module(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=1)
    state = {f"net._model.{name}": tensor for name, tensor in model.network.state_dict().items()}
    torch.save({"state_dict": {**state, "net.loss.weight": torch.ones(2)}}, model.checkpoint)
    converted = model.converted(pytorch, state_dict_key="state_dict")
    assert set(torch.load(converted.weights[0].path, weights_only=True)) == set(model.network.state_dict())


def test_large_images_are_cut_to_their_middle(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, shape=(600, 700), depth=1)
    converted = model.converted(pytorch)
    assert converted.inputs[0].test_tensor.shape == (1, 1, 512, 512)
    image = np.load(model.values["test_image"])
    assert np.array_equal(converted.inputs[0].test_tensor[0, 0], image[44:556, 94:606])


def test_the_normalisation_is_found_by_the_expected_output(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=1)
    image = np.load(model.values["test_image"]).astype(np.float32)
    with torch.inference_mode():
        expected = (
            model.network(torch.from_numpy((image - image.mean()) / image.std())[None, None])[0, 0].sigmoid().numpy()
        )
    np.save(tmp_path / "expected.npy", expected)
    asked = {"normalisation": "find", "expected_output": str(tmp_path / "expected.npy")}
    converted = model.converted(pytorch, activation="sigmoid", **asked)
    assert converted.facts["normalised_by"] == "mean 0, spread 1" and converted.facts["normalisation"] == "zero-mean"
    assert any("“mean 0, spread 1” comes within" in one for one in converted.notes)
    with pytest.raises(ZoowizardError, match=r"activation: the expected output is what comes after a sigmoid: with it"):
        model.converted(pytorch, **asked)
    np.save(tmp_path / "expected.npy", np.random.default_rng(0).random((100, 132), dtype=np.float32))
    with pytest.raises(ZoowizardError, match="normalisation: nothing that was tried comes near the expected output; “"):
        model.converted(pytorch, **asked)


def test_a_network_of_an_installed_library(tmp_path: Path) -> None:
    network = lively(torch.nn.Conv2d(1, 2, 3, padding=1))
    model = pytorch_model(tmp_path, depth=1)
    torch.save(network.state_dict(), model.checkpoint)
    values = {name: one for name, one in model.values.items() if name not in ("architecture_file", "argument_depth")}
    arguments = {"in_channels": 1, "out_channels": 2, "kernel_size": 3, "padding": 1}
    values |= {"network": "torch.nn.Conv2d", **{f"argument_{name}": one for name, one in arguments.items()}}
    converted = Model(model.checkpoint, values, network, tmp_path).converted(pytorch)
    described = {"import_from": "torch.nn", "callable": "Conv2d", "kwargs": arguments}
    assert converted.weights[0].entry["architecture"] == described
    assert len(converted.weights) == 3
    valid = Model(model.checkpoint, {**values, "argument_padding": 0}, network, tmp_path).converted(pytorch)
    noise = np.random.default_rng(0).standard_normal((1, 1, 32, 40), dtype=np.float32)
    assert outputs_of(valid, "pytorch_state_dict", noise)[0].shape == (1, 2, 32, 40)


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=2)
    state = torch.load(model.checkpoint, weights_only=True)["state_dict"]
    del state["module.head.weight"], state["module.head.bias"]
    state |= {"module.down.3.0.weight": torch.zeros(3, 3, 3, 3), "module.up.0.bias": torch.zeros(99)}
    torch.save(state, model.checkpoint)
    with pytest.raises(ZoowizardError) as told:
        model.converted(pytorch)
    assert str(told.value) == (
        "the checkpoint does not fit to UNet(depth=2), as it has 4 blocks down where the network has 3: of 26 "
        "tensors, 2 of the network are not in the checkpoint (first: head.weight, head.bias), 1 of the checkpoint are "
        "not in the network (first: down.3.0.weight), 1 have another shape (up.0.bias: 99 in the checkpoint, 4 in the "
        "network); correct the arguments, or give the architecture of the training"
    )


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (
            {"argument_depth": 3},
            "argument_depth: the checkpoint has 2 levels, the network was built with 3: try depth=2",
        ),
        (
            {"argument_width": 8, "argument_outputs": 2},
            "argument_outputs, argument_width: the checkpoint fits a network with outputs=1 and width=4, and it was "
            "built with outputs=2 and width=8: try outputs=1 and width=4",
        ),
        (
            {"argument_norm": "batch"},
            "argument_norm: the checkpoint fits a network with norm='', and it was built with norm='batch': try "
            "norm=''",
        ),
        (
            {"network": "Other"},
            "network: the checkpoint is of another architecture than Other: of its 26 tensors (first: down.0.0.weight",
        ),
        ({"network": "Pair"}, "image_of_mask: the network has the input mask as well; give an image for it"),
        ({"network": "OnGpu"}, "network: OnGpu() needs a GPU when it is made"),
        ({"network": "GpuInside"}, "network: it needs a GPU to run (the network took no input that was tried"),
        (
            {"network": "OneNumber"},
            "network: its sizes could not be found out: its outputs do not follow the size of the input along y; so "
            "far only networks that give images can be packaged",
        ),
        (
            {"network": "Picky"},
            "network: Picky() fails: ValueError: width must be a multiple of 8; check argument_width",
        ),
        ({"network": "options"}, "network: options() gives a dict, which is no network of PyTorch"),
        ({"state_dict_key": "ema"}, "state_dict_key: the checkpoint has no ema; it has state_dict"),
        ({"test_image": "volume"}, "test_image: it is a volume, and the network takes 2-D images (its first weight"),
        ({"test_image": "colour"}, "test_image: it has 3 channels, and the network takes 1 channel (its first weight"),
        (
            {"test_image": "small"},
            "test_image: it has 34 px along x, and the network takes 44 px at least; give a larger one",
        ),
        ({"pixel_size": "2 x 1 x 1 micrometer"}, "pixel_size: it has three sizes, and the network takes 2-D images"),
        ({"output_names": ["a", "b"]}, "output_names: the network has 1 output"),
        ({"activation": "softmax"}, "activation: a softmax is over the channels, and the first output has one"),
        ({"normalisation": "imagenet"}, "normalisation: imagenet is for images of 3 channels; the test image has 1"),
    ],
)
def test_bad_input_is_told_in_plain_words(answers: dict[str, Any], says: str, tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=2)
    kind = answers.get("test_image", "")
    if kind:
        shape = {"volume": (16, 64, 64), "colour": (3, 64, 64), "small": (64, 34)}[kind]
        np.save(tmp_path / "other.npy", np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8))
        axes = {"volume": "zyx", "colour": "cyx", "small": "yx"}[kind]
        answers = {"test_image": str(tmp_path / "other.npy"), "image_axes": axes}
    if kind == "small":
        model = pytorch_model(tmp_path, depth=2, valid=True)
    with pytest.raises(ZoowizardError) as told:
        model.converted(pytorch, **answers)
    assert says in str(told.value)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_library", "imports no_such_library, which is not installed here"),
        ("from .blocks import Block", "imports from files beside it, and a package holds one file"),
        ("raise SystemExit('not so')", "fails when it is loaded: SystemExit: not so"),
        ("UNet = None", "network: there is no class or function UNet in unet.py"),
    ],
)
def test_code_that_cannot_be_run(source: str, says: str, tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=1)
    Path(model.values["architecture_file"]).write_text(source)
    with pytest.raises(ZoowizardError) as told:
        model.converted(pytorch)
    assert says in str(told.value)


def test_a_format_that_does_not_reproduce_is_left_out(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=1)
    converted = model.converted(pytorch, network="ByItsSize")
    assert [one.weight_format for one in converted.weights] == ["pytorch_state_dict"]
    told = [one for one in converted.notes if "was left out" in one]
    assert len(told) == 2
    for one in told:
        assert "of the output's spread, where 0.001 or less would be right" in one


def test_a_network_that_is_never_twice_the_same(tmp_path: Path) -> None:
    network = lively(Dropping())
    model = traced(tmp_path, network)
    with pytest.raises(ZoowizardError, match=r"network: two runs on the same input differ by up to .* left on"):
        model.converted(torchscript)


def test_a_colour_image(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, "yxc", depth=1, channels=3, outputs=2)
    image = np.random.default_rng(0).integers(0, 255, (48, 60, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "colour.tif", image, photometric="rgb")
    converted = model.converted(pytorch, test_image=str(tmp_path / "colour.tif"), normalisation="imagenet")
    (described,) = converted.inputs
    assert described.axes[1]["channel_names"] == ["red", "green", "blue"]
    assert np.array_equal(described.sample, image) and described.sample_axes == ""
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    normalised = torch.from_numpy(((image - mean) / std).astype(np.float32).transpose(2, 0, 1)[None])
    with torch.inference_mode():
        wanted = model.network(normalised).numpy()
    assert_allclose(converted.outputs[0].test_tensor, wanted, atol=1e-4)
    assert converted.outputs[0].sample_axes == "cyx"
    over = model.converted(
        pytorch,
        test_image=str(tmp_path / "colour.tif"),
        normalisation_mean=["10", "20", "30"],
        normalisation_std=["2"],
    )
    fixed = {"mean": [10.0, 20.0, 30.0], "std": [2.0, 2.0, 2.0], "axis": "channel"}
    assert over.inputs[0].processing[1] == {"id": "fixed_zero_mean_unit_variance", "kwargs": fixed}


def test_a_checkpoint_of_lightning(tmp_path: Path) -> None:
    """With its prefix, what the loss holds, and settings that torch does not load by itself."""
    model = pytorch_model(tmp_path, depth=1)
    state = {f"net.{name}": tensor for name, tensor in model.network.state_dict().items()}
    beside = {"loss.weight": torch.ones(2), "metric.sum": torch.zeros(1)}
    settings = {"depth": 1, "rate": np.float64(0.1), "folder": tmp_path, "loss": torch.nn.MSELoss()}
    saved = {"pytorch-lightning_version": "2.4.0", "hyper_parameters": settings, "state_dict": {**state, **beside}}
    torch.save(saved, model.checkpoint)
    converted = model.converted(pytorch)
    assert_allclose(converted.outputs[0].test_tensor, by_hand(model, converted.inputs[0].test_tensor), atol=1e-4)


def test_safetensors_are_read(tmp_path: Path) -> None:
    state = {"head.weight": torch.randn(2, 3, 1, 1), "head.bias": torch.arange(2.0)}
    header: dict[str, Any] = {}
    raw = b""
    for name, tensor in state.items():
        numbers = tensor.numpy().tobytes()
        places = [len(raw), len(raw) + len(numbers)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": places}
        raw += numbers
    packed = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(packed).to_bytes(8, "little") + packed + raw)
    again = pytorch_state.tensors(path, pytorch_state.chosen(path, ""))
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


def test_a_depth_4_network_is_probed_in_a_few_runs(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=4, width=2, shape=(256, 256))
    converted = model.converted(pytorch)
    assert space_of(converted.outputs[0].axes)["y"]["halo"] == 96
    assert converted.facts["findings"]["runs"] < 300
