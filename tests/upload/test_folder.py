"""`zoowizard upload --to FOLDER`: a package saved in a folder, or as a zip of another name."""

import hashlib
import shutil
from pathlib import Path

import pytest
from commands import Demo, run_zoowizard
from hub_packages import a_hub_package

from zoowizard.drafts.store import Workspace
from zoowizard.upload.folder import FolderTarget
from zoowizard.upload.receipts import receipts
from zoowizard.upload.target import Parcel

DONE, FAILED, WRONG_USE = range(3)
MODEL = "nuclei-yolo11n"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOWIZARD_WORKSPACE", str(tmp_path / "workspace"))


def test_a_model_with_its_report(demo: Demo, tmp_path: Path) -> None:
    shutil.copytree(demo.workspace, tmp_path / "workspace")
    saved = run_zoowizard(["upload", "--to", tmp_path / "out", "--json"])
    assert saved.code == DONE, saved.err
    answer = saved.json()
    assert (answer["model"], answer["confirmed"], answer["where"]) == (
        MODEL,
        False,
        str(tmp_path / "out" / demo.package.name),
    )
    stem = demo.package.stem
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{stem}.zip",
        f"{stem}-report.json",
        f"{stem}-report.md",
    }
    assert Path(answer["where"]).read_bytes() == demo.package.read_bytes()
    [receipt] = receipts(Workspace(tmp_path / "workspace"), MODEL)
    assert receipt.kind == "folder" and receipt.sha256 == answer["sha256"]
    again = run_zoowizard(["upload", "--to", tmp_path / "out"])
    assert again.code == WRONG_USE and "there is no package that is not there yet" in again.err
    named = run_zoowizard(["upload", MODEL, "--to", tmp_path / "mine.zip"])
    assert (named.code, named.out) == (DONE, f"{tmp_path / 'mine.zip'}\n")
    assert (tmp_path / "mine-report.md").exists()


def test_what_did_not_pass_is_saved_only_where_one_insists(tmp_path: Path) -> None:
    package = a_hub_package(tmp_path, weights=1000)
    refused = run_zoowizard(["upload", package.archive, "--to", tmp_path / "out"])
    assert refused.code == WRONG_USE and "was not tested here" in refused.err
    assert not (tmp_path / "out").exists()
    saved = run_zoowizard(["upload", package.archive, "--to", tmp_path / "out", "--insist"])
    assert saved.code == DONE and "the folder will be made" in saved.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"nuclei.zip"}


def test_a_file_of_somebody_else_is_not_replaced_unasked(tmp_path: Path) -> None:
    package = a_hub_package(tmp_path, weights=1000)
    place = tmp_path / "cells.zip"
    place.write_bytes(b"another model")
    told = ["upload", package.archive, "--insist", "--to", place]
    refused = run_zoowizard(told)
    assert refused.code == WRONG_USE and "cells.zip is there already" in refused.err
    assert place.read_bytes() == b"another model"
    assert run_zoowizard([*told, "--overwrite"]).code == DONE
    assert place.read_bytes() == package.archive.read_bytes()
    assert run_zoowizard(told).code == DONE  # it is there already


def test_a_typing_error_in_a_place_makes_no_folder(tmp_path: Path) -> None:
    package = a_hub_package(tmp_path, weights=1000)
    refused = run_zoowizard(["upload", package.archive, "--insist", "--to", "hugingface:me/cells"])
    assert refused.code == WRONG_USE and "hugingface:me/cells is no place; write zoo, huggingface:" in refused.err
    refused = run_zoowizard(["upload", package.archive, "--insist", "--to", "zoo", "--overwrite"])
    assert refused.code == WRONG_USE and "--overwrite is only for" in refused.err


def test_a_folder_that_is_called_like_a_zip_is_a_folder(tmp_path: Path) -> None:
    package = a_hub_package(tmp_path, weights=1000)
    parcel = Parcel(package.archive, None, hashlib.sha256(package.archive.read_bytes()).hexdigest())
    (tmp_path / "old.zip").mkdir()
    FolderTarget(tmp_path / "old.zip").send(parcel, lambda fraction, words: None)
    FolderTarget(tmp_path / "new.zip").send(parcel, lambda fraction, words: None)
    assert (tmp_path / "old.zip" / "nuclei.zip").read_bytes() == (tmp_path / "new.zip").read_bytes()
