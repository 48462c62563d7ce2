"""Packages that want several images at once: they are given as the channels of one."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from predictions import cells, predict
from small_packages import Small, make_package

from zoowizard.errors import ZoowizardError

MEMBRANES = {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"], "eps": 1e-6}}
NUCLEI = {"id": "scale_range", "kwargs": {"axes": ["y", "x"], "min_percentile": 1, "max_percentile": 99}}


class Both(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Conv2d(2, 2, 5, padding=2)

    def forward(self, membranes: torch.Tensor, nuclei: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.first(membranes)) - self.second(nuclei)


def a_package(folder: Path, nuclei_step: int = 2) -> Path:
    """One input of one channel and another of two, each normalised in its own way; an output of two channels."""
    described = make_package(folder, Small(outputs=2, processing=[MEMBRANES]), zipped=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Both().eval(), (torch.rand(1, 1, 64, 64), torch.rand(1, 2, 64, 64))).save(
            str(folder / "weights-ts.pt")
        )
    told = yaml.safe_load(described.read_text())
    del told["weights"]["torchscript"]["sha256"]
    [first] = told["inputs"]
    size = {"min": 32, "step": nuclei_step}
    second = {
        **first,
        "id": "nuclei",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": ["dapi", "gfp"]},
            *({"type": "space", "id": axis, "size": size} for axis in "yx"),
        ],
        "preprocessing": [NUCLEI],
    }
    told["inputs"].append(second)
    described.write_text(yaml.safe_dump(told))
    return described


def test_the_channels_of_one_image_are_those_of_all_inputs(tmp_path: Path) -> None:
    package = a_package(tmp_path / "package")
    stack = np.stack([cells(120, 90), cells(120, 90, seed=1) // 3, cells(120, 90, seed=2) * 2])
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "CYX"}, imagej=True)
    membranes = (stack[:1] - stack[0].mean()) / (stack[0].std() + 1e-6)
    low, high = np.percentile(stack[1:], (1, 99), axis=(1, 2))[:, :, None, None]
    nuclei = (stack[1:] - low) / (high - low + 1e-6)
    with torch.inference_mode():
        given: Any = (torch.from_numpy(one[None].astype(np.float32)) for one in (membranes, nuclei))
        whole = Both().eval()(*given)[0].numpy()
    for block in ([], [60]):
        said = predict(package, tmp_path / "a.tif", tmp_path / f"out{len(block)}.tif", block=block)
        assert said.warnings == []
        found = tifffile.imread(tmp_path / f"out{len(block)}.tif")
        np.testing.assert_allclose(found, whole, atol=1e-5 * whole.std())
    tifffile.imwrite(tmp_path / "b.tif", stack[:2], metadata={"axes": "CYX"}, imagej=True)
    with pytest.raises(
        ZoowizardError, match=r"has 2 channels, and the package wants 3 \(raw in0, nuclei dapi, nuclei g"
    ):
        predict(package, tmp_path / "b.tif", tmp_path / "no.tif")


def test_inputs_of_different_sizes_are_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = a_package(tmp_path / "package", nuclei_step=4)
    tifffile.imwrite(tmp_path / "a.tif", cells(40, 44))
    monkeypatch.setattr("bioimageio.core.backends.create_model_adapter", None)
    with pytest.raises(ZoowizardError, match=r"wants 2 images at once, and nuclei has another size along y than raw"):
        predict(package, tmp_path / "a.tif", tmp_path / "out.tif")
