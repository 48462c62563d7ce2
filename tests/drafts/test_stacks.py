"""Images of any network: which axis is which, and what cannot be one."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from zoowizard.drafts.stacks import (
    axes_of,
    check_expected,
    check_stack,
    likely_axes,
    middle_plane,
    possible_axes,
    read_expected,
    read_stack,
    stack_facts,
)
from zoowizard.errors import ZoowizardError


def noise(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize(
    ("axes", "shape", "told"),
    [("ZYX", (9, 40, 50), "zyx"), ("CYX", (2, 40, 50), "cyx"), ("ZCYX", (9, 2, 40, 50), "zcyx"),
     ("TYX", (9, 40, 50), None), ("YX", (40, 50), "yx"), ("CZYX", (1, 9, 40, 50), "zyx")],
)  # fmt: skip
def test_a_tiff_tells_its_axes(tmp_path: Path, axes: str, shape: tuple[int, ...], told: str | None) -> None:
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(path, noise(*shape), metadata={"axes": axes}, ome=True)
    assert axes_of(path) == told
    assert stack_facts(path).dtype == "uint16"


def test_imagej_hyperstacks_and_colour_pictures_tell_theirs(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "ij.tif", noise(9, 2, 40, 50), imagej=True, metadata={"axes": "ZCYX"})
    Image.fromarray(noise(40, 50, 3, dtype="uint8")).save(tmp_path / "rgb.png")
    np.save(tmp_path / "plain.npy", noise(3, 40, 50))
    assert [axes_of(tmp_path / name) for name in ("ij.tif", "rgb.png", "plain.npy")] == ["zcyx", "yxc", None]


@pytest.mark.parametrize("axes", ["cyx", "yxc", "zyx", "czyx", "zcyx", "zyxc", "yx"])
def test_an_image_is_read_channels_first_whatever_the_order_in_the_file(tmp_path: Path, axes: str) -> None:
    sizes = {"z": 9, "y": 40, "x": 50, "c": 2}
    image = noise(*(sizes[axis] for axis in axes), dtype=">u2")
    np.save(tmp_path / "image.npy", image)
    read = read_stack(tmp_path / "image.npy", axes)
    assert read.shape == (sizes["c"] if "c" in axes else 1, *((9,) if "z" in axes else ()), 40, 50)
    assert read.dtype == np.uint16
    at = {"z": 4, "y": 7, "x": 11, "c": 1}
    there = (at["c"] if "c" in axes else 0, *((4,) if "z" in axes else ()), 7, 11)
    assert read[there] == image[tuple(at[axis] for axis in axes)]
    assert middle_plane(read).shape == ((40, 50, 2) if "c" in axes else (40, 50))


def test_the_network_tells_apart_what_the_file_leaves_open(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", noise(3, 40, 50))
    facts = stack_facts(tmp_path / "image.npy")
    assert possible_axes(facts, 2, 3) == (("cyx", "yxc", "zyx"), "cyx")
    assert possible_axes(facts, 3, 1)[1] == "zyx"
    assert possible_axes(facts, None, None)[1] is None  # nobody can say
    assert possible_axes(facts, 2, 5)[1] is None  # the image is not one for that network
    assert likely_axes(facts) == "cyx"


def test_what_the_file_says_stands_unless_the_network_cannot_take_it(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "z.tif", noise(9, 40, 50), imagej=True, metadata={"axes": "ZYX"})
    facts = stack_facts(tmp_path / "z.tif")
    assert possible_axes(facts, None, None)[1] == possible_axes(facts, 3, 1)[1] == "zyx"
    assert possible_axes(facts, 2, 9)[1] is None  # nine planes given as channels: to be asked
    assert possible_axes(facts, 2, 9)[0][0] == "cyx"


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("double.npy", np.ones((40, 50)), "holds float64 values; save it as uint8, uint16, int16 or float32"),
        ("flat.npy", np.ones((40, 50), np.uint8), "has the same value (1) everywhere"),
        ("small.npy", noise(20, 50), "is 20 x 50; use one of at least 32 pixels along y and x"),
        ("five.npy", noise(2, 2, 9, 40, 50), "has 5 axes (2 x 2 x 9 x 40 x 50); save one image of it"),
        ("one.npy", noise(4000), "has 1 axes (4000); save an image"),
    ],
)
def test_what_will_not_do_is_said_with_what_would(tmp_path: Path, name: str, image: np.ndarray, words: str) -> None:
    np.save(tmp_path / name, image)
    assert words in (check_stack(str(tmp_path / name)) or "")


def test_values_that_are_no_numbers_are_found(tmp_path: Path) -> None:
    image = noise(40, 50, dtype="float32")
    image[3, 3] = np.nan
    np.save(tmp_path / "nan.npy", image)
    assert "NaN" in (check_stack(str(tmp_path / "nan.npy")) or "")


def test_a_thin_stack_is_refused_when_its_axes_are_known(tmp_path: Path) -> None:
    np.save(tmp_path / "thin.npy", noise(4, 40, 50))
    assert check_stack(str(tmp_path / "thin.npy")) is None  # they could be channels
    with pytest.raises(ZoowizardError, match="8 along z"):
        read_stack(tmp_path / "thin.npy", "zyx")
    with pytest.raises(ZoowizardError, match="answer image_axes anew"):
        read_stack(tmp_path / "thin.npy", "yx")


def test_files_that_are_no_images_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "damaged.tif").write_bytes(b"II*\0" + b"\xff" * 40)
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (tmp_path / "empty.tif").touch()
    (tmp_path / "folder.tif").mkdir()
    np.save(tmp_path / "pickle.npy", np.array([{"run": "me"}], dtype=object))
    for name in ("notes.txt", "damaged.tif", "cut.npy", "empty.tif", "folder.tif", "pickle.npy", "missing.tif"):
        problem = check_stack(str(tmp_path / name))
        assert problem is not None and name in problem, name
        assert "Traceback" not in problem
    assert axes_of(tmp_path / "damaged.tif") is None


def test_what_unpacks_to_more_than_memory_is_refused_by_its_header(tmp_path: Path) -> None:
    header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (4000, 40000, 40000), }"
    header += b" " * (117 - len(header)) + b"\n"
    with (tmp_path / "bomb.npy").open("wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        file.truncate(4000 * 40000 * 40000 * 2 + 128)  # a hole: no disk is used
    assert "larger than 1 GB when unpacked" in (check_stack(str(tmp_path / "bomb.npy")) or "")
    tifffile.imwrite(tmp_path / "zeros.tif", shape=(70, 4000, 4000), dtype="uint8", metadata={"axes": "ZYX"})
    assert "larger than 1 GB when unpacked" in (check_stack(str(tmp_path / "zeros.tif")) or "")


def test_an_expected_output_is_numbers_or_labels_channels_first(tmp_path: Path) -> None:
    np.save(tmp_path / "given.npy", noise(1, 2, 40, 50, dtype="float64"))
    Image.fromarray(noise(40, 50, dtype="uint8")).save(tmp_path / "labels.png")
    assert check_expected(str(tmp_path / "given.npy")) is None
    assert read_expected(tmp_path / "given.npy").shape == (2, 40, 50)
    assert read_expected(tmp_path / "labels.png").shape == (40, 50)
