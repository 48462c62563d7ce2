"""From what CAREamics and BiaPy themselves wrote to tested packages, and to what the tools themselves predict."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from commands import run_zoowizard

from zoowizard.conversion.careamics_network import UNet

ORIGINS = Path(__file__).parents[1] / "origins"
CAREAMICS, BIAPY = ORIGINS / "careamics-0.3.5", ORIGINS / "biapy-3.7.1"
FORMATS = ["pytorch_state_dict", "torchscript", "onnx"]
ABOUT: dict[str, Any] = {
    "description": "A small network, trained for seconds.",
    "license": "MIT",
    "authors": [{"name": "Ada Lovelace"}],
    "citations": [{"text": "Notes", "doi": "10.1000/xyz123"}],
    "modality": "fluorescence microscopy",
    "training_data_name": "drawn",
}


def built(given: Path, folder: Path, **answers: Any) -> Path:
    """The package that `build` makes of a file, which has passed in all weight formats."""
    (folder / "answers.yaml").write_text(yaml.safe_dump({**ABOUT, **answers}))
    arguments = ["build", given, "--answers", folder / "answers.yaml", "--output", folder, "--json"]
    ran = run_zoowizard([*arguments, "--workspace", folder / "workspace"])
    assert ran.code == 0, ran.err + ran.out
    outcome = ran.json()
    assert outcome["status"] == "passed" and outcome["formats"] == FORMATS, ran.out + ran.err
    assert all(one["value"] < 1e-4 for one in outcome["differences"]) and outcome["differences"]
    return Path(outcome["package"])


def predicted(package: Path, image: Path, folder: Path) -> np.ndarray[Any, Any]:
    target = folder / "predicted.tif"
    ran = run_zoowizard(["predict", package, image, target, "--workspace", folder / "workspace"])
    assert ran.code == 0, ran.err
    return np.squeeze(tifffile.imread(target)).astype(np.float64)


def described(package: Path) -> dict[str, Any]:
    with zipfile.ZipFile(package) as archive:
        told: dict[str, Any] = yaml.safe_load(archive.read("rdf.yaml"))
    return told


def test_a_checkpoint_of_careamics_predicts_what_careamics_predicts(tmp_path: Path) -> None:
    image = CAREAMICS / "image.tif"
    package = built(CAREAMICS / "waves_00_step_3_0.7504.ckpt", tmp_path, name="CARE of waves", test_image=str(image))
    expected = np.load(CAREAMICS / "predicted.npy")
    given = predicted(package, image, tmp_path)
    assert given.shape == expected.shape
    assert np.abs(given - expected).max() < 1e-4 * expected.std()
    network = described(package)["weights"]["pytorch_state_dict"]["architecture"]
    assert network["source"] == "network.py" and network["callable"] == "UNet"  # no library is needed


def test_a_package_of_careamics(tmp_path: Path) -> None:
    package = built(CAREAMICS / "n2v2.zip", tmp_path)
    told = described(package)
    network = told["weights"]["pytorch_state_dict"]["architecture"]
    assert network["source"] == "careamics_network.py" and network["kwargs"]["n2v2"] is True
    assert "dependencies" not in told["weights"]["pytorch_state_dict"]
    with zipfile.ZipFile(CAREAMICS / "n2v2.zip") as archive:
        original = np.load(io.BytesIO(archive.read("outputs.npy")))
    with zipfile.ZipFile(package) as archive:
        assert np.allclose(np.load(io.BytesIO(archive.read("test_prediction.npy"))), original, rtol=1e-5)


def test_a_checkpoint_of_biapy_predicts_what_biapy_predicts(tmp_path: Path) -> None:
    with zipfile.ZipFile(BIAPY / "spots.zip") as archive:
        archive.extract("model.py", tmp_path)
        given, expected = (np.load(io.BytesIO(archive.read(f"test-{one}.npy"))) for one in ("input", "output"))
    package = built(
        BIAPY / "spots_1-checkpoint-best.pth",
        tmp_path,
        name="BiaPy of spots",
        test_image=str(BIAPY / "image.tif"),
        architecture_file=str(tmp_path / "model.py"),
        network="U_Net",
    )
    tifffile.imwrite(tmp_path / "given.tif", given.squeeze())
    assert np.abs(predicted(package, tmp_path / "given.tif", tmp_path) - expected.squeeze()).max() < 1e-5


def test_a_package_of_biapy(tmp_path: Path) -> None:
    told = described(built(BIAPY / "spots.zip", tmp_path))
    assert told["weights"]["pytorch_state_dict"]["architecture"]["callable"] == "U_Net"


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("n2v2", [False, True])
def test_channels_that_were_trained_apart_stay_apart(dims: int, n2v2: bool) -> None:
    torch.manual_seed(0)
    network = UNet(dims, 2, 2, depth=2, num_channels_init=8, n2v2=n2v2, output_mean=[5.0, 7.0]).eval()
    image = torch.randn(1, 2, *[16] * dims)
    other = image.clone()
    other[:, 1] += 1
    with torch.no_grad():
        before, after = network(image), network(other)
    assert torch.equal(before[:, 0], after[:, 0]) and not torch.allclose(before[:, 1], after[:, 1])
    assert "blur" not in "".join(network.state_dict())  # CAREamics does not save it
