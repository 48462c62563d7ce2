"""The questions about any network, and those that answers lead to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoowizard.drafts.fields import Field, Need
from zoowizard.families.network_answers import numbers_in, sizes_by_axis
from zoowizard.families.network_fields import NETWORK_FIELDS, asks
from zoowizard.families.normalisations import NORMALISATIONS

BY_NAME = {one.name: one for one in NETWORK_FIELDS}


def asked(**values: Any) -> dict[str, Field]:
    return {one.name: one for one in asks(values)}


@pytest.fixture
def volume(tmp_path: Path) -> str:
    np.save(tmp_path / "volume.npy", np.random.default_rng(1).integers(0, 99, (2, 9, 40, 50)).astype(np.uint16))
    return str(tmp_path / "volume.npy")


def test_every_example_is_a_right_answer(volume: str) -> None:
    for one in NETWORK_FIELDS:
        answer = one.parse(volume if one.kind == "path" else one.example)
        assert one.check(answer) is None, one.name
        assert one.default is None or one.check(one.default) is None, one.name


def test_the_axes_are_asked_when_the_image_is_known(volume: str) -> None:
    assert "image_axes" not in asked()
    open_one = asked(test_image=volume)["image_axes"]
    assert open_one.need is Need.REQUIRED and open_one.default is None
    assert set(open_one.choices) == {"czyx", "zcyx", "zyxc"}
    known = asked(test_image=volume, spatial_axes_found=3, input_channels=2)["image_axes"]
    assert known.default == "czyx"
    assert known.check("yx") is not None
    assert "2 input channel(s)" in (known.hint("zcyx") or "")
    assert known.hint("czyx") is None


def test_what_is_overruled_counts_before_what_was_guessed(volume: str) -> None:
    found = {"test_image": volume, "spatial_axes_found": 3, "input_channels": 2}
    assert asked(**found, input_channels_asked=9)["image_axes"].default == "zcyx"


def test_an_image_that_cannot_be_read_leads_to_no_question(tmp_path: Path) -> None:
    assert asked(test_image=str(tmp_path / "missing.tif")) == asked(test_image=7) == {}


def test_finding_the_normalisation_takes_an_expected_output(volume: str) -> None:
    plain = BY_NAME["normalisation"]
    assert plain.need is Need.REQUIRED and plain.default is None
    assert "expected_output" in (plain.check("find") or "")
    given = asked(expected_output=volume)["normalisation"]
    assert given.default == "find" and given.check("find") is None
    assert given.need is Need.REQUIRED


def test_a_fixed_mean_takes_the_place_of_the_normalisation(volume: str) -> None:
    one = asked(expected_output=volume, normalisation_mean=["0.5", "0.2"])
    assert one["normalisation"].need is Need.OPTIONAL and one["normalisation"].default is None
    assert one["normalisation_std"].need is Need.REQUIRED
    both = asked(normalisation_mean=["0.5", "0.2"], normalisation_std=["1"])
    assert "the mean has 2" in (both["normalisation_std"].check(["1"]) or "")
    assert both["normalisation_std"].check(["1", "2"]) is None
    assert asked(normalisation_std=["1"])["normalisation_mean"].need is Need.REQUIRED


def test_over_which_channels_is_asked_of_images_with_channels_only(volume: str, tmp_path: Path) -> None:
    np.save(tmp_path / "plane.npy", np.arange(1600.0, dtype=np.float32).reshape(40, 40))
    assert "normalisation_over" not in asked(test_image=str(tmp_path / "plane.npy"))
    assert asked(test_image=volume, image_axes="zcyx")["normalisation_over"].default == "all channels"


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("normalisation", "percentile", "none of the choices"),
        ("normalisation_mean", ["half"], "is no number"),
        ("normalisation_std", ["0"], "a spread is larger than 0"),
        ("output_names", ["Cell Probability"], "cell_probability"),
        ("output_names", ["a", "a"], "twice"),
        ("output_channels", ["1st"], "channel_1st"),
        ("output_names", ["class"], "output_class"),
        ("halo", "32 px", "y=32 x=32"),
        ("halo", "y=32 y=33", "names an axis twice"),
        ("smallest_input", "0", "from 1 to 100000"),
        ("spatial_axes", "4", "2, 3"),
        ("input_channels_asked", 1.5, "whole number"),
    ],
)
def test_a_wrong_answer_is_told_what_would_be_right(name: str, wrong: Any, words: str) -> None:
    assert words in (BY_NAME[name].check(wrong) or "")


def test_sizes_and_numbers_are_read_as_people_write_them() -> None:
    assert sizes_by_axis("32", ("y", "x")) == {"y": 32, "x": 32}
    assert sizes_by_axis("z=4, y=16 x = 8", ("z", "y", "x")) == {"z": 4, "y": 16, "x": 8}
    assert sizes_by_axis("y=32", ("z", "y", "x")) == {"y": 32}
    assert numbers_in(["0.5", 2]) == [0.5, 2.0] and numbers_in(3) == [3.0]


def test_every_normalisation_is_explained() -> None:
    for name, one in NORMALISATIONS.items():
        assert f"{name}: {one.told}" in BY_NAME["normalisation"].help
