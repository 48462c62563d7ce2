"""The images of a comparison are of the type that the test image has."""

from typing import Any

import numpy as np
import pytest

from zoowizard.conversion.converted import Array, Converted, Native, TensorDescription
from zoowizard.packaging.pictures import comparison_pictures, shown_of, views_of


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [(), (2,), (3,)])
def test_views_keep_type_channels_and_values(dtype: str, channels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 200, (20, 25, *channels)), np.ones((8, 8, *[1] * len(channels)), int))
    image = (coarse / 300 if dtype == "float32" else coarse * (300 if dtype == "uint16" else 1)).astype(dtype)
    views = comparison_pictures(image)
    assert len({view.shape for view in views.values()}) == 4
    for view in views.values():
        assert view.dtype == image.dtype
        assert view.shape[2:] == channels
        assert dtype == "uint8" or (image.min() <= view.min() and view.max() <= image.max())
        assert view.mean() == pytest.approx(image.mean(), rel=0.1)
    larger, smaller = views["larger"], views["smaller"]
    if dtype == "uint16":
        assert len(np.unique(larger)) > 1000, "no 8-bit step lies between"
    for number in range(channels[0] if channels else 1):
        of = (..., number) if channels else ...
        row = image[of][::10, ::10][: smaller.shape[0] // 7, : smaller.shape[1] // 7].astype(float)
        same = smaller[of][::7, ::7][: row.shape[0], : row.shape[1]].astype(float)
        assert np.corrcoef(row.ravel(), same.ravel())[0, 1] > 0.8, "each channel is itself"


def of_one_input(sample: Array, axes: str, *sizes: Any) -> Converted:
    space = [
        {"type": "space", "id": name, "size": size} for name, size in zip("zyx"[-len(sizes) :], sizes, strict=True)
    ]
    tensor = TensorDescription(
        "image", "", [{"type": "batch"}, {"type": "channel"}, *space], {}, sample, sample, (), axes
    )
    return Converted([tensor], [tensor], [], Native(lambda one: one), "x")


def test_the_middle_planes_of_input_and_output_are_shown() -> None:
    volume = np.arange(5 * 6 * 7).reshape(5, 6, 7).astype(np.float64)
    volume[2, 0, 0], volume[2, 0, 1] = np.nan, np.inf
    shown = shown_of(of_one_input(volume, "zyx", 6, 7))
    assert shown is not None
    left, _ = shown
    assert (left.shape, left.dtype) == ((6, 7), np.float32)
    assert np.isfinite(left).all() and left[1, 1] == volume[2, 1, 1]

    for axes, shape, expected in (
        ("cyx", (5, 6, 7), (6, 7, 3)),
        ("cyx", (1, 6, 7), (6, 7)),
        ("czyx", (2, 4, 6, 7), (6, 7, 2)),
        ("", (6, 7, 3), (6, 7, 3)),
    ):
        shown = shown_of(of_one_input(np.ones(shape, bool), axes, 6, 7))
        assert shown is not None
        assert shown[1].shape == expected and shown[1].dtype == np.uint8


def test_a_package_of_labels_shows_these() -> None:
    converted = of_one_input(np.zeros((6, 7)), "yx", 6, 7)
    labels = Converted(converted.inputs, converted.outputs, [], Native(lambda one: one, lambda one: one), "x")
    assert shown_of(labels) is None


@pytest.mark.parametrize(
    ("sizes", "part"),
    [
        (({"min": 16, "step": 16}, {"min": 32, "step": 1}), (1, 48, 60)),
        (({"min": 64, "step": 16}, {"min": 8, "step": 8}), (1, 64, 56)),
        ((64, {"min": 70, "step": 2}), (1, 64, 70)),
    ],
)
def test_a_part_that_the_network_takes(sizes: tuple[Any, Any], part: tuple[int, ...]) -> None:
    image = np.zeros((1, 64, 80), np.uint16)
    views = views_of(image, of_one_input(image[0], "yx", *sizes))
    assert [one.shape for one in views.values()] == [image.shape, part]


def test_no_part_of_an_image_of_a_fixed_size() -> None:
    image = np.zeros((1, 8, 64, 80), np.uint16)
    assert list(views_of(image, of_one_input(image[0], "zyx", 8, 64, 80))) == ["as it is"]
