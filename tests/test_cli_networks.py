"""Networks of any kind, from the file to the tested package, as a person builds them."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import run_zoowizard
from network_files import ABOUT, Model, exported, pytorch_model, traced
from probed_networks import UNet, lively


def built(model: Model, **more: Any) -> tuple[dict[str, Any], dict[str, Any], zipfile.ZipFile]:
    """What `build --json` says of the package, its description, and the package."""
    folder = model.folder
    (folder / "answers.yaml").write_text(yaml.safe_dump({**ABOUT, **model.values, **more}))
    arguments = [model.checkpoint, "--answers", folder / "answers.yaml", "--output", folder, "--json"]
    ran = run_zoowizard(["build", *arguments, "--workspace", folder / "workspace"])
    assert ran.code == 0, ran.err + ran.out
    outcome = ran.json()
    package = zipfile.ZipFile(outcome["package"])
    return outcome, yaml.safe_load(package.read("rdf.yaml")), package


def make(kind: str, folder: Path) -> tuple[Model, dict[str, Any], list[str]]:
    match kind:
        case "pytorch":  # a volume, with planes that are farther apart
            model = pytorch_model(folder, "zyx", (20, 60, 72), depth=2, axes=3, width=2, pools=[[1, 2, 2], [2, 2, 2]])
            more = {"activation": "sigmoid", "pixel_size": "2 x 0.5 x 0.5 micrometer"}
            return model, more, ["pytorch_state_dict", "torchscript", "onnx"]
        case "torchscript":
            return traced(folder, lively(UNet(2, valid=True))), {}, ["torchscript", "onnx"]
    return exported(folder, lively(UNet(2, norm="batch")), beside=True), {}, ["onnx"]


@pytest.mark.parametrize("kind", ["pytorch", "torchscript", "onnx"])
def test_from_the_file_to_the_tested_package(kind: str, tmp_path: Path) -> None:
    model, more, formats = make(kind, tmp_path)
    outcome, described, package = built(model, **more)
    assert outcome["status"] == "passed"
    assert outcome["formats"] == formats == list(described["weights"])
    assert described["config"]["zoowizard"]["family"] == kind
    assert all(one["value"] < 1e-4 for one in outcome["differences"]) and outcome["differences"]
    with package.open("test_output.npy") as file:
        tensor = np.load(file)
    if kind == "pytorch":
        assert tensor.shape == (1, 1, 20, 60, 72) and 0 <= tensor.min() < tensor.max() <= 1
        assert described["inputs"][0]["axes"][2]["scale"] == 2.0
        settings = described["config"]["zoowizard"]["settings"]
        assert settings["argument_depth"] == 2 and settings["activation"] == "sigmoid"
    else:
        assert tensor.shape == (1, 1, 100, 132)
    assert "looks" in package.read("README.md").decode()  # how wide the halo is, and why


def test_a_wrong_argument_is_told_with_the_right_one(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=2)
    (tmp_path / "answers.yaml").write_text(yaml.safe_dump({**ABOUT, **model.values, "argument_depth": 3}))
    arguments = [model.checkpoint, "--answers", tmp_path / "answers.yaml", "--output", tmp_path]
    ran = run_zoowizard(["build", *arguments, "--workspace", tmp_path / "workspace"])
    assert ran.code != 0
    assert "the checkpoint has 2 levels, the network was built with 3: try depth=2" in ran.out + ran.err
    assert "Traceback" not in ran.out + ran.err
