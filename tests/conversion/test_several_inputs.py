"""Networks that take several images at once, on one grid: each becomes an input of the package, with its own image."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from commands import run_zoowizard
from network_files import ABOUT, Model
from numpy.testing import assert_allclose

from zoowizard.conversion import onnx as of_onnx
from zoowizard.conversion import pytorch, torchscript
from zoowizard.conversion.converted import Array
from zoowizard.errors import ZoowizardError
from zoowizard.families.further_inputs import FURTHER, MOST_INPUTS, names_for, parts
from zoowizard.families.registry import questions

SOURCE = '''
import torch
from torch import nn


class Joined(nn.Module):
    """Two stains and a mask of where to look."""

    def __init__(self, axes: int = 2, kernel: int = 3):
        super().__init__()
        conv = nn.Conv2d if axes == 2 else nn.Conv3d
        self.stains, self.mask = conv(2, 6, kernel), conv(1, 6, kernel)
        self.last, self.second = conv(12, 2, 1), conv(12, 1, 1)

    def forward(self, stains, Mask, strength: float = 1.0):
        both = torch.relu(torch.cat([self.stains(stains), self.mask(Mask)], 1))
        return torch.sigmoid(self.last(both)), self.second(both)


def joined(axes: int = 2):
    network = Joined(axes)
    return network
'''

FIRST_FORMAT = {"pytorch": "pytorch_state_dict", "torchscript": "torchscript", "onnx": "onnx"}


def network(**arguments: Any) -> torch.nn.Module:
    names: dict[str, Any] = {}
    exec(SOURCE, names)  # the code above
    torch.manual_seed(0)
    made: torch.nn.Module = names["Joined"](**arguments).eval()
    return made


def answers(folder: Path, shape: tuple[int, ...] = (100, 132)) -> dict[str, Any]:
    random = np.random.default_rng(2)
    stains = random.integers(200, 900, (2, *shape)).astype(np.uint16)
    stains[..., 20:40, 30:60] += 3000
    mask = np.zeros(shape, np.uint8)
    mask[..., 10:70, 20:90] = 1
    np.save(folder / "stains.npy", stains)
    np.save(folder / "mask.npy", mask)
    return {
        "test_image": str(folder / "stains.npy"),
        "image_axes": "c" + "zyx"[3 - len(shape) :],
        "normalisation": "zero-mean",
        "activation": "none",
        "image_of_mask": str(folder / "mask.npy"),
        "normalisation_of_mask": "none",
    }


def model(family_name: str, folder: Path) -> tuple[Model, Any]:
    """The network as a checkpoint of a family."""
    made, example = network(), (torch.randn(1, 2, 64, 64), torch.randn(1, 1, 64, 64))
    path = folder / {"pytorch": "net.pth", "torchscript": "net.pt", "onnx": "net.onnx"}[family_name]
    values = answers(folder)
    with warnings.catch_warnings(action="ignore"):
        match family_name:
            case "pytorch":
                torch.save(made.state_dict(), path)
                (folder / "joined.py").write_text(SOURCE)
                values |= {"architecture_file": str(folder / "joined.py"), "network": "Joined"}
                return Model(path, values, made, folder), pytorch
            case "torchscript":
                torch.jit.trace(made, example).save(str(path))  # type: ignore[no-untyped-call]
                return Model(path, values | {FURTHER: ["mask"]}, made, folder), torchscript
        free = {0: "batch", 2: "y", 3: "x"}
        names, given = ["stains", "Mask"], ["edges", "far away"]
        torch.onnx.export(
            made, example, path, dynamo=False, input_names=names, output_names=given,
            dynamic_axes=dict.fromkeys([*names, *given], free),
        )  # fmt: skip
    return Model(path, values | {FURTHER: ["mask"]}, made, folder), of_onnx


def normal(stains: Array) -> Array:
    exact = stains.astype(np.float64)
    return np.asarray((exact - exact.mean()) / exact.std(), np.float32)


def by_hand(made: torch.nn.Module, stains: Array, mask: Array) -> list[Array]:
    with torch.inference_mode():
        given = made(torch.from_numpy(normal(stains)), torch.from_numpy(mask.astype(np.float32)))
    return [one.numpy() for one in given]


@pytest.mark.parametrize("family_name", ["pytorch", "torchscript", "onnx"])
def test_each_input_goes_in_as_it_was_recorded(family_name: str, tmp_path: Path) -> None:
    given, conversion = model(family_name, tmp_path)
    converted = given.converted(conversion)
    stains, mask = converted.inputs
    assert [stains.id, mask.id] == ["image", "mask"]
    assert (stains.test_tensor.dtype, mask.test_tensor.dtype) == (np.uint16, np.uint8)
    assert stains.test_tensor.shape == (1, 2, 100, 132) and mask.test_tensor.shape == (1, 1, 100, 132)
    assert [one["id"] for one in mask.processing] == ["ensure_dtype"], "its values are taken as they are"
    assert mask.axes[2]["size"] == {"tensor_id": "image", "axis_id": "y"}, "it is as large as the first one"
    wanted = by_hand(given.network, stains.test_tensor, mask.test_tensor)
    for output, whole in zip(converted.outputs, wanted, strict=True):  # the network leaves out a pixel at each side
        assert_allclose(output.test_tensor[..., 1:-1, 1:-1], whole, atol=1e-5)
    formats = ["pytorch_state_dict", "torchscript", "onnx"]
    assert [one.weight_format for one in converted.weights] == formats[formats.index(FIRST_FORMAT[family_name]) :]
    session = onnxruntime.InferenceSession(str(converted.weights[-1].path))
    names = [one.name for one in session.get_inputs()]
    small = [normal(stains.test_tensor)[..., :66, :80], mask.test_tensor[..., :66, :80].astype(np.float32)]
    found = session.run(None, dict(zip(names, small, strict=True)))
    with torch.inference_mode():
        direct = given.network(*map(torch.from_numpy, small))
    for one, other in zip(found, direct, strict=True):
        assert_allclose(np.asarray(one)[..., 1:-1, 1:-1], other.numpy(), atol=1e-5)
    again = conversion.native(given.checkpoint, given.values, dict(converted.facts), tmp_path)
    stack = conversion.read_image(given.checkpoint, given.values)
    tensors = again.to_input(stack)
    assert tensors["mask"].dtype == np.uint8 and np.array_equal(tensors["image"], stains.test_tensor)
    for output, (name, value) in zip(converted.outputs, again.outputs(stack).items(), strict=True):
        assert name == output.id and np.array_equal(value, output.test_tensor)
    if family_name == "onnx":
        assert [one.id for one in converted.outputs] == ["edges", "far_away"], "as the file calls them"


def test_a_volume_from_the_checkpoint_to_the_tested_package(tmp_path: Path) -> None:
    torch.save(network(axes=3).state_dict(), tmp_path / "net.pth")
    (tmp_path / "joined.py").write_text(SOURCE)
    told = {**ABOUT, **answers(tmp_path, (20, 60, 72)), "architecture_file": str(tmp_path / "joined.py")}
    told |= {"network": "joined", FURTHER: ["mask"], "argument_axes": 3}
    (tmp_path / "answers.yaml").write_text(yaml.safe_dump(told))
    arguments = [tmp_path / "net.pth", "--answers", tmp_path / "answers.yaml", "--output", tmp_path, "--json"]
    ran = run_zoowizard(["build", *arguments, "--workspace", tmp_path / "workspace"])
    assert ran.code == 0, ran.err + ran.out
    outcome = ran.json()
    assert outcome["status"] == "passed"
    assert outcome["formats"] == ["pytorch_state_dict", "torchscript", "onnx"]
    assert all(one["value"] < 1e-4 for one in outcome["differences"]) and len(outcome["differences"]) == 2
    with zipfile.ZipFile(outcome["package"]) as package:
        described = yaml.safe_load(package.read("rdf.yaml"))
        assert "mask" in package.read("README.md").decode()
    assert [one["id"] for one in described["inputs"]] == ["image", "mask"]


def test_the_normalisation_of_the_first_is_found_with_the_others_beside_it(tmp_path: Path) -> None:
    given, conversion = model("pytorch", tmp_path)
    stains, mask = (np.load(tmp_path / f"{name}.npy")[None] for name in ("stains", "mask"))
    np.save(tmp_path / "expected.npy", by_hand(given.network, stains, mask[None])[0][0])
    more = {"expected_output": str(tmp_path / "expected.npy"), "normalisation": "find"}
    converted = given.converted(conversion, **more)
    assert converted.facts["normalisation"] == "zero-mean"


def asked(values: dict[str, Any]) -> dict[str, Any]:
    return {one.name: one for one in questions("pytorch", values)}


def test_what_is_asked_of_them_is_told_by_the_code(tmp_path: Path) -> None:
    given, _ = model("pytorch", tmp_path)
    fields = asked(dict(given.values))
    assert FURTHER not in fields, "its code tells the names"
    assert fields["image_of_mask"].kind == "path" and fields["normalisation_of_mask"].choices
    assert fields["image_of_mask"].check(str(tmp_path / "mask.npy")) is None
    np.save(tmp_path / "other.npy", np.random.default_rng(0).random((50, 132)).astype(np.float32))
    assert "give one of the same size" in fields["image_of_mask"].check(str(tmp_path / "other.npy"))
    one_only = asked({**given.values, "network": "nn.Identity", "architecture_file": ""})
    assert not any(name.startswith("image_of_") for name in one_only)
    unknown = asked({**given.values, "network": "joined", FURTHER: []})
    assert FURTHER in unknown and "image_of_mask" not in unknown
    assert "image_of_second" in asked({**given.values, "network": "joined", FURTHER: ["second"]})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"image_of_mask": ""}, "image_of_mask: the network has the input mask as well; give an image for it"),
        ({"image_of_mask": "stains.npy"}, "expected input"),
        ({"input_channels_asked": 3}, "input_channels_asked: you said 3, and the test image has 2"),
        ({"normalisation_of_mask": "imagenet"}, "normalisation_of_mask: imagenet is for images of 3 channels"),
        ({"output_names": ["mask", "edges"]}, "output_names: the network has 2 outputs; give each a name of its own"),
        ({"network": "joined"}, "write what the others are called (Mask), and give an image for each"),
        ({"network": "joined", FURTHER: ["mask", "a", "b"]}, "image_of_a: the network has the input a as well"),
    ],
)
def test_bad_answers_are_told_in_plain_words(more: dict[str, Any], says: str, tmp_path: Path) -> None:
    given, conversion = model("pytorch", tmp_path)
    if more.get("image_of_mask"):
        more = {"image_of_mask": str(tmp_path / more["image_of_mask"])}
    with pytest.raises(ZoowizardError) as told:
        given.converted(conversion, **more)
    assert says in str(told.value)


def test_names_and_grids(tmp_path: Path) -> None:
    assert names_for(["Mask.1", "image", "7", "class", "mask_1"]) == [
        "mask_1",
        "input_3",
        "input_4",
        "input_5",
        "input_6",
    ]
    assert len(names_for([f"a{number}_b" for number in range(100_000)])) == MOST_INPUTS - 1
    values = {**answers(tmp_path), FURTHER: ["mask"]}
    colour = np.random.default_rng(0).integers(0, 255, (100, 132, 3), np.uint8)
    np.save(tmp_path / "mask.npy", colour)
    first, second = parts(values)
    assert (first.channels, second.channels, second.axes) == (2, 3, "yxc"), "told by the sides of the test image"
