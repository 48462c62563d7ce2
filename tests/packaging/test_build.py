"""Handing over what a build made."""

import shutil
from pathlib import Path

import pytest

from zoowizard.packaging import build


def test_two_jobs_that_save_in_one_folder_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for job in (first, second):
        job.mkdir()
        (job / "nuclei.zip").write_text(job.name)
    target = tmp_path / "nuclei.zip"
    copy = shutil.copy

    def copy_while_another_does(source: Path, beside: Path) -> None:
        copy(source, beside)
        if source.parent == first:
            build._put(second / "nuclei.zip", target)

    def no_links(self: Path, other: Path) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    monkeypatch.setattr(shutil, "copy", copy_while_another_does)
    build._put(first / "nuclei.zip", target)
    assert target.read_text() == "first"
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second", "nuclei.zip"}
