"""Saving a package in a folder."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoowizard.drafts.store import Workspace
from zoowizard.errors import ZoowizardError
from zoowizard.upload.folder import FolderTarget
from zoowizard.upload.receipts import receipts
from zoowizard.upload.target import Parcel

KILLED = """
import sys, time
from pathlib import Path
from zoowizard.upload.folder import FolderTarget
from zoowizard.upload.target import Parcel

def progress(fraction, words):
    print("half", flush=True)
    time.sleep(600)

FolderTarget(Path(sys.argv[2])).send(Parcel(Path(sys.argv[1]), None, sys.argv[3]), progress)
"""


@pytest.fixture
def parcel(tmp_path: Path) -> Parcel:
    built = tmp_path / "built"
    built.mkdir()
    archive = built / "nuclei.zip"
    archive.write_bytes(bytes(range(256)) * 40_000)
    (built / "report.json").write_text('{"status": "passed"}')
    (built / "report.md").write_text("# Test report")
    return Parcel(archive, built / "report.json", hashlib.sha256(archive.read_bytes()).hexdigest())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_zip_and_report_are_saved(parcel: Parcel, tmp_path: Path) -> None:
    said: list[float] = []
    target = FolderTarget(tmp_path / "new" / "folder")
    assert target.summary(parcel) == ["the folder will be made, and nuclei.zip saved in it"]
    receipt = target.send(parcel, lambda fraction, words: said.append(fraction))
    assert names(target.folder) == {"nuclei.zip", "nuclei-report.json", "nuclei-report.md"}
    assert (target.folder / "nuclei.zip").read_bytes() == parcel.archive.read_bytes()
    assert (receipt.where, receipt.confirmed, receipt.state) == (str(target.folder / "nuclei.zip"), False, "done")
    assert receipt.size == parcel.archive.stat().st_size
    assert 0 < min(said) <= max(said) == 1
    assert target.summary(parcel) == ["nuclei.zip is in this folder already and will be replaced"]


def test_an_older_one_is_replaced(parcel: Parcel, tmp_path: Path) -> None:
    target = FolderTarget(tmp_path)
    (tmp_path / "nuclei.zip").write_text("old")
    target.send(parcel, lambda fraction, words: None)
    assert (tmp_path / "nuclei.zip").read_bytes() == parcel.archive.read_bytes()


def test_two_at_once_do_not_write_into_the_same_file(parcel: Parcel, tmp_path: Path) -> None:
    other = tmp_path / "other" / "nuclei.zip"
    other.parent.mkdir()
    other.write_bytes(b"another package" * 1000)
    others = Parcel(other, None, hashlib.sha256(other.read_bytes()).hexdigest())
    target, ran = FolderTarget(tmp_path / "out"), []

    def meanwhile(fraction: float, words: str) -> None:
        if not ran:
            ran.append(target.send(others, lambda fraction, words: None))
            assert (tmp_path / "out" / "nuclei.zip").read_bytes() == other.read_bytes()

    target.send(parcel, meanwhile)
    assert (tmp_path / "out" / "nuclei.zip").read_bytes() == parcel.archive.read_bytes()
    assert names(target.folder) == {"nuclei.zip", "nuclei-report.json", "nuclei-report.md"}


def test_what_a_killed_one_left_is_removed_later(parcel: Parcel, tmp_path: Path) -> None:
    target = FolderTarget(tmp_path / "out")
    saving = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(parcel.archive), str(target.folder), parcel.sha256], stdout=subprocess.PIPE
    )
    assert saving.stdout is not None and saving.stdout.readline() == b"half\n"
    saving.kill()
    saving.communicate()
    [left] = target.folder.iterdir()
    target.send(parcel, lambda fraction, words: None)
    assert left.exists(), "somebody may be at it"
    os.utime(left, (time.time() - 4000, time.time() - 4000))
    target.send(parcel, lambda fraction, words: None)
    assert names(target.folder) == {"nuclei.zip", "nuclei-report.json", "nuclei-report.md"}


def test_where_it_lies_already_it_stays(parcel: Parcel) -> None:
    target = FolderTarget(parcel.archive.parent)
    assert target.summary(parcel) == ["nuclei.zip is in this folder already"]
    before = parcel.archive.stat()
    target.send(parcel, lambda fraction, words: None)
    assert parcel.archive.stat().st_ino == before.st_ino


def test_a_package_that_was_changed_since_its_tests_is_not_saved(parcel: Parcel, tmp_path: Path) -> None:
    with parcel.archive.open("r+b") as file:
        file.write(b"x")
    (tmp_path / "out").mkdir()
    with pytest.raises(ZoowizardError, match="changed since it passed its tests"):
        FolderTarget(tmp_path / "out").send(parcel, lambda fraction, words: None)
    assert names(tmp_path / "out") == set()


def test_a_package_that_is_gone(parcel: Parcel, tmp_path: Path) -> None:
    parcel.archive.unlink()
    with pytest.raises(ZoowizardError, match="not there any more"):
        FolderTarget(tmp_path).summary(parcel)


def test_places_where_nothing_can_be_saved(parcel: Parcel, tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "nuclei.zip").mkdir(parents=True)
    for folder, sentence in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "below", "is a file"),
        (tmp_path / "taken", "a folder called nuclei.zip"),
        (small_disk, "disk is full"),
    ):
        with pytest.raises(ZoowizardError, match=sentence):
            FolderTarget(folder).send(parcel, lambda fraction, words: None)
    assert names(small_disk) == set()


def test_a_disk_that_fills_up_meanwhile(parcel: Parcel, small_disk: Path) -> None:
    class Deceived(FolderTarget):
        def summary(self, parcel: Parcel) -> list[str]:
            return []

    with pytest.raises(ZoowizardError, match="disk is full: nothing was saved"):
        Deceived(small_disk).send(parcel, lambda fraction, words: None)
    assert names(small_disk) == set()


def test_in_a_process_of_its_own(parcel: Parcel, tmp_path: Path) -> None:
    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        told = (tmp_path / "ws", "nuclei", parcel.archive, parcel.report, parcel.sha256, folder)
        command = [sys.executable, "-m", "zoowizard.upload.folder", *map(str, told)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(tmp_path / "out")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert "fraction" in lines[0]
    [kept] = receipts(Workspace(tmp_path / "ws"), "nuclei")
    assert lines[-1]["receipt"]["sha256"] == kept.sha256 == parcel.sha256

    (tmp_path / "file").write_text("")
    refused = run(tmp_path / "file")
    assert refused.returncode != 0
    assert refused.stderr.count("\n") == 1
    assert "choose a folder" in refused.stderr
