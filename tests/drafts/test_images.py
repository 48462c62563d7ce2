import struct
import zlib
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from zoowizard.drafts.images import EIGHT_BIT, MICROSCOPY, check_test_image, describe_image, read_image, why_unfit
from zoowizard.errors import ZoowizardError

GREY = (np.indices((80, 96)).sum(axis=0) % 251).astype(np.uint8)
RGB = np.stack([GREY, GREY // 2, GREY // 3], axis=-1)


@pytest.mark.parametrize("name", ["grey.png", "grey.tif", "grey.bmp"])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_good_images(tmp_path: Path, name: str, pixels: np.ndarray) -> None:
    imageio.imwrite(tmp_path / name, pixels)
    assert check_test_image(str(tmp_path / name)) is None
    assert np.array_equal(read_image(tmp_path / name), pixels)
    facts = describe_image(tmp_path / name)
    assert (facts.shape, facts.dtype, facts.minimum, facts.maximum) == (pixels.shape, "uint8", 0, GREY.max())


def test_planes_of_colour_are_read_as_an_rgb_image(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_image(tmp_path / "planes.tif"), RGB)


def _bad(folder: Path) -> dict[str, str]:
    alpha = np.dstack([RGB, GREY])
    imageio.imwrite(folder / "alpha.png", alpha)
    imageio.imwrite(folder / "small.png", GREY[:40])
    imageio.imwrite(folder / "constant.png", np.full_like(GREY, 7))
    imageio.imwrite(folder / "deep.png", GREY.astype(np.uint16) * 200)
    tifffile.imwrite(folder / "deep.tif", GREY.astype(np.uint16) * 200)
    tifffile.imwrite(folder / "float.tif", GREY.astype(np.float32))
    tifffile.imwrite(folder / "volume.tif", np.stack([GREY] * 5))
    tifffile.imwrite(folder / "pages.tif", np.stack([RGB] * 3), photometric="rgb")
    tifffile.imwrite(folder / "alpha.tif", alpha, photometric="rgb", extrasamples=["unassalpha"])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not an image")
    (folder / "notes.pdf").write_text("not an image")
    (folder / "cut.tif").write_bytes((folder / "deep.tif").read_bytes()[:100])
    imageio.imwrite(folder / "whole.png", np.random.default_rng(0).integers(0, 255, (99, 99), dtype=np.uint8))
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:2000])
    (folder / "folder.png").mkdir()
    return {
        "alpha.png": "alpha channel",
        "alpha.tif": "alpha channel",
        "small.png": "at least 64 x 64",
        "constant.png": "same value (7) everywhere",
        "deep.png": "is 16-bit; save an 8-bit copy, scaled as your training images were",
        "deep.tif": "is 16-bit",
        "float.tif": "float32",
        "volume.tif": "stack",
        "pages.tif": "stack",
        "empty.png": "empty (0 bytes)",
        "text.png": "cannot be read as an image",
        "cut.tif": "cannot be read as an image",
        "cut.png": "cannot be read as an image",
        "notes.pdf": "save it as PNG or TIFF",
        "folder.png": "is no file",
        "absent.png": "does not exist",
    }


def test_each_bad_image_gets_one_sentence_with_its_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, says in _bad(tmp_path).items():
        answer = check_test_image(str(tmp_path / name))
        assert answer is not None and says in answer and name in answer, (name, answer)
        assert "\n" not in answer
        with pytest.raises(ZoowizardError, match=name):
            read_image(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_16_bit_colour_is_noticed(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + bytes(96 * 6) for _ in range(80))
    _write_png(tmp_path / "deep-rgb.png", 96, 80, 16, 2, rows)
    assert "16-bit" in str(check_test_image(str(tmp_path / "deep-rgb.png")))


STACK = np.stack([GREY, GREY // 2])
THREE = np.stack([GREY, GREY // 2, GREY // 3])
IMAGEJ = {"imagej": True, "metadata": {"axes": "CYX"}}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    ("pixels", "how"),
    [
        (GREY, {}),
        (STACK, {}),
        (STACK, IMAGEJ),
        (STACK, {"photometric": "minisblack", "planarconfig": "separate"}),
        (THREE, {"photometric": "minisblack"}),
        (THREE, IMAGEJ),
        (THREE, {"ome": True, "metadata": {"axes": "CYX"}}),
        (np.moveaxis(STACK, 0, -1), {}),
        (np.moveaxis(STACK, 0, -1), {"photometric": "minisblack", "planarconfig": "contig"}),
        (np.moveaxis(THREE, 0, -1), {"photometric": "rgb"}),
    ],
    ids=["grey", "plain", "imagej", "planes", "plain3", "imagej3", "ome3", "last", "contig", "rgb"],
)
def test_images_of_microscopes_are_read_as_rows_columns_and_channels(
    tmp_path: Path, dtype: str, pixels: np.ndarray, how: dict[str, object]
) -> None:
    written = (pixels * (0.5 if dtype == "float32" else 200 if dtype == "uint16" else 1)).astype(dtype)
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, written, **how)
    assert check_test_image(str(path), MICROSCOPY) is None
    read = read_image(path, MICROSCOPY)
    expected = written if pixels.ndim == 2 or pixels.shape[-1] < 4 else np.moveaxis(written, 0, -1)
    assert read.dtype == dtype
    assert np.array_equal(read, expected)
    assert read.flags.c_contiguous


def test_other_files_of_microscopes(tmp_path: Path) -> None:
    imageio.imwrite(tmp_path / "deep.png", GREY.astype(np.uint16) * 200)
    assert np.array_equal(read_image(tmp_path / "deep.png", MICROSCOPY), GREY.astype(np.uint16) * 200)
    tifffile.imwrite(tmp_path / "big-endian.tif", GREY.astype(">u2"), byteorder=">")
    assert read_image(tmp_path / "big-endian.tif", MICROSCOPY).dtype == np.uint16
    with tifffile.TiffWriter(tmp_path / "pages.tif") as pages:
        for plane in STACK:
            pages.write(plane, metadata=None)
    assert np.array_equal(read_image(tmp_path / "pages.tif", MICROSCOPY), np.moveaxis(STACK, 0, -1))
    imageio.imwrite(tmp_path / "rgb.jpg", RGB)
    assert read_image(tmp_path / "rgb.jpg", MICROSCOPY).shape == RGB.shape


def test_what_no_microscopys_image_is_gets_one_sentence_too(tmp_path: Path) -> None:
    holes = GREY.astype(np.float32)
    holes[3, 3] = np.nan
    endless = GREY.astype(np.float32)
    endless[3, 3] = np.inf
    tifffile.imwrite(tmp_path / "holes.tif", holes)
    tifffile.imwrite(tmp_path / "endless.tif", endless)
    tifffile.imwrite(tmp_path / "double.tif", GREY.astype(np.float64))
    tifffile.imwrite(tmp_path / "signed.tif", GREY.astype(np.int16))
    tifffile.imwrite(tmp_path / "z.tif", THREE, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "many.tif", np.stack([GREY] * 5))
    tifffile.imwrite(tmp_path / "four.tif", np.stack([GREY] * 4), **IMAGEJ)
    tifffile.imwrite(tmp_path / "zc.tif", np.stack([STACK] * 3), imagej=True, metadata={"axes": "ZCYX"})
    tifffile.imwrite(tmp_path / "alpha.tif", np.dstack([RGB, GREY]), photometric="rgb", extrasamples=["unassalpha"])
    tifffile.imwrite(tmp_path / "constant.tif", np.full((80, 80), 900, np.uint16))
    tifffile.imwrite(tmp_path / "small.tif", STACK[:, :40])
    _write_png(tmp_path / "deep-rgb.png", 96, 80, 16, 2, b"".join(b"\0" + bytes(range(192)) * 3 for _ in range(80)))
    for name, says in {
        "holes.tif": "holds values that are no finite numbers (NaN or infinity)",
        "endless.tif": "holds values that are no finite numbers",
        "double.tif": "holds float64 values; save it as uint8, uint16 or float32",
        "signed.tif": "holds int16 values; save it as uint8",
        "z.tif": "is a stack (3 x 80 x 96); save one plane of it as a picture of its own, with its channels in",
        "many.tif": "is a stack (5 x 80 x 96)",
        "four.tif": "has 4 channels; save it with one (grey), two or three (RGB)",
        "zc.tif": "is a stack (3 x 2 x 80 x 96)",
        "alpha.tif": "alpha channel",
        "constant.tif": "same value (900) everywhere",
        "small.tif": "is 40 x 96 x 2 pixels; use one of at least 64 x 64",
        "deep-rgb.png": "16-bit PNG in colour, of which only 8 bits can be read; save it as TIFF",
    }.items():
        answer = check_test_image(str(tmp_path / name), MICROSCOPY)
        assert answer is not None and says in answer and name in answer, (name, answer)
        with pytest.raises(ZoowizardError, match=name):
            read_image(tmp_path / name, MICROSCOPY)


def test_an_image_that_was_read_for_another_family() -> None:
    deep = GREY.astype(np.uint16)
    assert why_unfit(deep, MICROSCOPY) is why_unfit(RGB, EIGHT_BIT) is None
    assert str(why_unfit(deep, EIGHT_BIT)).startswith("is 16-bit; save an 8-bit copy")
    assert "has 2 channels" in str(why_unfit(np.moveaxis(STACK, 0, -1), EIGHT_BIT))


def test_bombs_are_refused_by_their_header(tmp_path: Path) -> None:
    _write_png(tmp_path / "bomb.png", 60_000, 60_000, 8, 0, b"")
    assert "megapixels" in str(check_test_image(str(tmp_path / "bomb.png")))
    tifffile.imwrite(tmp_path / "bomb.tif", shape=(60_000, 60_000), dtype=np.uint8, data=None, compression=None)
    assert "3600 megapixels" in str(check_test_image(str(tmp_path / "bomb.tif")))


@pytest.mark.parametrize("answer", [None, 5, "", ["a.png"]])
def test_what_is_no_path(answer: object) -> None:
    assert "no path" in str(check_test_image(answer))


def test_a_name_that_no_file_can_have() -> None:
    assert "\n" not in str(check_test_image("a\0b.png"))


def _write_png(path: Path, width: int, height: int, bits: int, colour: int, rows: bytes) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
