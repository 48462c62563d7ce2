"""The picture of the training curves."""

import math
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from zoowizard.packaging.curves import Curve, write_curves

FALLING = [1 / epoch for epoch in range(1, 301)]
RUN: dict[str, Curve] = {
    "train/box_loss": FALLING,
    "train/seg_loss": FALLING,
    "val/seg_loss": [2 * value for value in FALLING],
    "metrics/mAP50(B)": [1 - value for value in FALLING],
    "metrics/mAP50(M)": [0.9 - value / 2 for value in FALLING],
}


def test_a_small_picture_that_is_the_same_every_time(tmp_path: Path) -> None:
    assert write_curves(RUN, 120, tmp_path / "one.png")
    assert write_curves(RUN, 120, tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").stat().st_size < 100_000
    assert iio.imread(tmp_path / "one.png").shape[:2] == (360, 960)


def test_the_most_restless_run_is_a_small_picture_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = ("train/loss", "val/loss", *(f"metrics/m{number}(M)" for number in range(6)))
    write_curves({kind: rng.random(1000).tolist() for kind in kinds}, 1, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size < 100_000


def test_curves_and_best_epoch_can_be_seen(tmp_path: Path) -> None:
    pictures = []
    for number, (curves, best) in enumerate([(RUN, 120), (RUN, 20), ({**RUN, "val/seg_loss": FALLING}, 120)]):
        write_curves(curves, best, tmp_path / f"{number}.png")
        pictures.append(iio.imread(tmp_path / f"{number}.png", mode="RGB").astype(int))
    first, other_best, other_curve = pictures
    assert (first != other_best).any()
    changed = np.unique(np.nonzero((np.abs(first - other_curve) > 40).any(axis=2))[1])
    assert changed.size > 0
    assert changed.max() < 480, "the losses are in the left half"


@pytest.mark.parametrize(
    "curves",
    [
        {"train/loss": [None, math.nan, 2.0, None, 1.0, math.inf, 1e300]},
        {"metrics/mAP50(M)": [0.0]},
        {"metrics/mAP50(M)": [0.0] * 50},
        {"train/loss": [-3.0, -5.0], "metrics/quality of 漢字": [1e-9, 2e-9]},
        {f"metrics/m{number}": [number, 2 * number] for number in range(30)},
    ],
    ids=["gaps", "one epoch", "all zero", "negative and tiny", "many"],
)
def test_odd_runs_are_drawn_too(curves: dict[str, Curve], tmp_path: Path) -> None:
    assert write_curves(curves, None, tmp_path / "curves.png")
    assert iio.imread(tmp_path / "curves.png", mode="RGB").min() < 128


@pytest.mark.parametrize("curves", [{}, {"train/loss": []}, {"train/loss": [None, math.nan]}, {"lr/pg0": [1.0]}])
def test_nothing_to_draw(curves: dict[str, Curve], tmp_path: Path) -> None:
    assert not write_curves(curves, 1, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
