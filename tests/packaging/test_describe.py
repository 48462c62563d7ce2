"""Tensors in the words of the card, and as pictures that other programs open."""

from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from zoowizard.conversion.converted import Converted, Native, TensorDescription
from zoowizard.packaging.describe import Provenance, describe, tensor_notes, write_tensors
from zoowizard.packaging.report import Tolerances


def described(sample: Any, *axes: dict[str, Any]) -> TensorDescription:
    return TensorDescription("image", "", axes, {"type": str(sample.dtype)}, sample[None], sample)


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ({"type": "batch"}, "any"),
        ({"type": "batch", "size": 1}, "1"),
        ({"type": "channel", "channel_names": ["red", "green"]}, "red, green"),
        ({"type": "space", "id": "y", "size": 256}, "256"),
        ({"type": "space", "id": "y", "size": {"min": 64, "step": 1}}, "64 or more"),
        ({"type": "space", "id": "y", "size": {"min": 64, "step": 16}}, "64 + n x 16"),
        ({"type": "space", "id": "y", "size": {"tensor_id": "image", "axis_id": "y"}}, "as y of image"),
        ({"type": "space", "id": "y", "size": {"tensor_id": "image", "axis_id": "y", "offset": 0}}, "as y of image"),
        ({"type": "space", "id": "y", "size": {"tensor_id": "i", "axis_id": "x", "offset": -4}}, "as x of i - 4"),
        (
            {"type": "space", "id": "y", "size": {"tensor_id": "image", "axis_id": "y", "offset": 2}, "halo": 16},
            "as y of image + 2; the outermost 16 at each end are cut off (halo)",
        ),
        ({"type": "index", "size": {"min": 1, "max": 9}}, "1 to 9, as many as there are"),
        ({"type": "index", "size": {"min": 0}}, "0 or more, as many as there are"),
    ],
)
def test_the_sizes_of_every_axis_in_words(axis: dict[str, Any], words: str) -> None:
    [note] = tensor_notes([described(np.zeros((4, 4), np.uint8), axis)])
    assert list(note.axes.values()) == [words]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int32"])
@pytest.mark.parametrize("channels", [(), (2,), (3,)])
def test_samples_are_read_by_imageio_as_they_are(dtype: str, channels: tuple[int, ...], tmp_path: Path) -> None:
    sample = np.random.default_rng(0).integers(0, 200, (70, 80, *channels)).astype(dtype)
    converted = Converted([described(sample)], [], [], Native(lambda one: one, lambda one: one), "x")
    write_tensors(converted, tmp_path)
    [path] = tmp_path.glob("sample_image.*")
    read = iio.imread(path)
    assert read.dtype == dtype
    assert np.array_equal(read if read.shape == sample.shape else np.moveaxis(read, 0, -1), sample)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16", "float64", "bool"])
@pytest.mark.parametrize(
    ("axes", "in_file"),
    [("zyx", "ZYX"), ("cyx", "CYX"), ("czyx", "ZCYX"), ("zcyx", "ZCYX"), ("zyxc", "ZCYX"), ("yxc", "CYX")],
)
def test_samples_of_any_axes_are_read_by_fiji_and_tifffile(dtype: str, axes: str, in_file: str, tmp_path: Path) -> None:
    sides = {"z": 5, "c": 2, "y": 20, "x": 30}
    sample = np.random.default_rng(0).integers(0, 2, [sides[one] for one in axes]).astype(dtype)
    tensor = TensorDescription("image", "", [], {"type": dtype}, sample[None], sample, sample_axes=axes)
    write_tensors(Converted([tensor], [], [], Native(lambda one: one), "x"), tmp_path)
    with tifffile.TiffFile(tmp_path / "sample_image.tif") as file:
        [series] = file.series
        assert (series.axes, series.shape) == (in_file, tuple(sides[one.lower()] for one in in_file))
        assert file.is_imagej == (dtype in ("uint8", "uint16", "float32", "bool"))
        read = series.asarray()
    assert np.array_equal(read, sample.transpose([axes.index(one.lower()) for one in in_file]))
    assert iio.imread(tmp_path / "sample_image.tif").size == sample.size


@pytest.mark.parametrize(("axes", "shape"), [("yx", (20, 30)), ("cyx", (3, 20, 30)), ("yxc", (20, 30, 3))])
def test_8_bit_pictures_are_png(axes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    sample = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    tensor = TensorDescription("image", "", [], {"type": "uint8"}, sample[None], sample, sample_axes=axes)
    write_tensors(Converted([tensor], [], [], Native(lambda one: one), "x"), tmp_path)
    read = iio.imread(tmp_path / "sample_image.png")
    assert np.array_equal(read, np.moveaxis(sample, 0, -1) if axes == "cyx" else sample)


def test_a_size_at_another_scale_is_said_with_the_factor() -> None:
    image = described(np.zeros((8, 8), np.uint8), {"type": "space", "id": "y", "scale": 0.5, "size": 8})
    size = {"tensor_id": "image", "axis_id": "y", "offset": -1}
    half = described(np.zeros((4, 4), np.uint8), {"type": "space", "id": "y", "scale": 1.0, "size": size})
    [note] = tensor_notes([half], [image])
    assert note.axes == {"y": "as y of image x 0.5 - 1"}


def test_no_tolerance_is_more_than_the_library_allows() -> None:
    """It compares with a hundredth of the largest value in the precision of the tensor."""
    values = {"name": "x", "description": "x", "license": "MIT", "authors": [{"name": "x"}]}
    for largest in np.random.default_rng(0).random(200, np.float32) / 20:
        output = described(np.array([[largest, -1]], np.float32))
        converted = Converted([], [output], [], Native(lambda one: one), "x")
        told = describe(values, converted, [], Provenance("x", "x", {}), {"onnx": Tolerances(1e-3, 1e-3, 100)}, [])
        [one] = told["config"]["bioimageio"]["reproducibility_tolerance"]
        assert 0 < one["absolute_tolerance"] <= 0.01 * output.test_tensor.max()
