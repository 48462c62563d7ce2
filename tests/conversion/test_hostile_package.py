"""Packages of strangers in the job: nothing is written to them, and none is called right that nothing tells."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from old_packages import old_package, zipped
from rebuilt import built, server
from small_packages import Small

from zoowizard.conversion.package_kept import Kept
from zoowizard.conversion.package_remote import fetch
from zoowizard.errors import ZoowizardError
from zoowizard.library.archive import sha256

__all__ = ["server"]


def hashes(folder: Path) -> dict[str, str]:
    return {one.name: sha256(one) for one in sorted(folder.iterdir())}


def test_a_folder_is_not_written_to_whatever_its_files_are_called(tmp_path: Path) -> None:
    """The job's own files must not land in the person's, which may have the same names."""
    names = ["weights-torchscript.pt", "weights.onnx", "network.py"]
    old = old_package(tmp_path / "old", attachments={"files": names})
    for name in names:
        (old.parent / name).write_text(f"own {name}")
    before = hashes(old.parent)
    new = built(old, tmp_path)
    assert hashes(old.parent) == before
    assert new.outcome["formats"] == ["pytorch_state_dict", "torchscript", "onnx"]
    assert {new.files[one["source"]] for one in new.told["attachments"]} >= {f"own {name}".encode() for name in names}


def test_names_that_the_job_itself_needs(tmp_path: Path) -> None:
    for number, name in enumerate(["zoowizard-original.yaml", "ZooWizard-run", "zoowizard-new/weights.pt"]):
        old = old_package(tmp_path / f"old{number}", attachments={"files": [name]})
        (old.parent / name).parent.mkdir(exist_ok=True)
        (old.parent / name).write_text("own")
        for package in (old, zipped(old.parent)):
            with pytest.raises(ZoowizardError, match=f"{name}.*other name"):
                built(package, tmp_path / f"place{number}")
        assert (old.parent / name).read_text() == "own"


def test_weights_that_predict_no_numbers_are_not_handed_out(tmp_path: Path) -> None:
    package = zipped(old_package(tmp_path / "old").parent)

    def saved(name: str, value: float) -> str:
        state = Small().network().state_dict()
        torch.save({key: torch.full_like(one, value) for key, one in state.items()}, tmp_path / name)
        return str(tmp_path / name)

    with pytest.raises(ZoowizardError, match="values that are no numbers"):
        built(package, tmp_path, new_weights=saved("nan.pth", float("nan")), name="Diverged", parent="none")
    with pytest.raises(ZoowizardError, match="the same value everywhere"):
        built(package, tmp_path, new_weights=saved("zero.pth", 0.0), name="Nothing", parent="none")


def test_new_weights_that_are_the_old_ones(tmp_path: Path) -> None:
    old = old_package(tmp_path / "old")
    shutil.copyfile(old.parent / "weights.pt", tmp_path / "same.pth")
    wrapped: dict[str, Any] = {f"module.{name}": one for name, one in Small().network().state_dict().items()}
    torch.save({"state_dict": wrapped}, tmp_path / "wrapped.ckpt")
    for name in ("same.pth", "wrapped.ckpt"):
        with pytest.raises(ZoowizardError, match=r"new_weights: .* the very same numbers"):
            built(old, tmp_path, new_weights=str(tmp_path / name), name="Fine-tuned", parent="none")


def test_keys_of_a_computer_in_a_cloud_are_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(ZoowizardError, match="no package may name this address"):
        fetch("http://169.254.169.254/latest/meta-data/iam/security-credentials/", tmp_path / "look.png")
    assert not (tmp_path / "look.png").exists()


@pytest.mark.parametrize("name", ["net.onnx", "README.md", "test_in.npy"])
def test_numbers_beside_an_onnx_file_do_not_take_the_place_of_others(name: str, tmp_path: Path) -> None:
    for path in (tmp_path / "net.onnx", tmp_path / "sub" / name):
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(path))
    (tmp_path / "kept").mkdir()
    kept = Kept(tmp_path / "kept")
    weights = kept.take(tmp_path / "net.onnx")
    with pytest.raises(ZoowizardError, match="has the name of another file"):
        kept.take(tmp_path / "sub" / name, same_name=True)
    assert weights.read_text() == str(tmp_path / "net.onnx")
