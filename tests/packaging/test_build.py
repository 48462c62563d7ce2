"""Handing over what a build made."""

import shutil
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from zoowizard.conversion.converted import Converted, Native, TensorDescription
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


@pytest.mark.parametrize("side", [64, 32])
def test_a_cover_of_labels_beside_an_image_with_axes_of_its_own(side: int, tmp_path: Path) -> None:
    image = np.zeros((1, 64, 64), np.uint16)
    image[:, 16:48, 16:48] = 1000
    labels = np.zeros((side, side), np.uint16)
    labels[side // 4 : side * 3 // 4, side // 4 : side * 3 // 4] = 1
    tensors = [
        TensorDescription(name, "", [], {}, one[None], one, (), axes)
        for name, one, axes in (("image", image, "cyx"), ("labels", labels, "yx"))
    ]
    build._write_cover(
        image, Converted(tensors[:1], tensors[1:], [], Native(lambda one: one), "x", labels=labels), tmp_path / "c.png"
    )
    cover = iio.imread(tmp_path / "c.png").astype(int)
    left, right = cover[:, : len(cover)], cover[:, len(cover) :]
    assert left[len(cover) // 2, len(cover) // 2].tolist() == [255, 255, 255]
    coloured = np.ptp(right[len(cover) // 2, len(cover) // 2]) > 0
    assert coloured == (side == 64), "of another size they are a picture of their own"
    assert right[0, 0].tolist() == [0, 0, 0]
