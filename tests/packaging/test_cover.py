"""The cover is what the zoo asks for, and shows the instances apart."""

from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from numpy.typing import NDArray

from zoowizard.packaging.cover import PALETTE, write_cover, write_cover_of_pictures

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (900, 1200, 3), dtype=np.uint8)


def discs(side: int = 256) -> NDArray[np.int32]:
    yy, xx = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.int32)
    for number, (y, x) in enumerate(np.ndindex(8, 8), start=1):
        labels[(yy - 32 * y - 16) ** 2 + (xx - 32 * x - 16) ** 2 < 15**2] = number
    return labels


@pytest.mark.parametrize(
    "image",
    [
        np.full((512, 512), 7, np.uint8),
        RNG.integers(0, 256, (64, 64), dtype=np.uint8),
        RNG.integers(0, 40, (2000, 300), dtype=np.uint8),
        np.zeros((1, 1), np.uint8),
        NOISE,
    ],
    ids=["constant", "small", "narrow", "one pixel", "noise"],
)
def test_two_to_one_small_and_the_same_every_time(image: NDArray[np.uint8], tmp_path: Path) -> None:
    labels = np.arange(image.shape[0] * image.shape[1]).reshape(image.shape[:2]) // 997
    for name in ("one.png", "two.png"):
        write_cover(image, labels.astype(np.float32), tmp_path / name)
    height, width, channels = iio.imread(tmp_path / "one.png").shape
    assert width == 2 * height
    assert channels == 3
    assert (tmp_path / "one.png").stat().st_size <= 500_000
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_left_is_the_image_and_right_shows_every_instance(tmp_path: Path) -> None:
    image = np.where(discs() > 0, 200, 20).astype(np.uint8)
    write_cover(image, discs(), tmp_path / "cover.png")
    cover = iio.imread(tmp_path / "cover.png").astype(int)
    assert cover.shape == (512, 1024, 3)
    left, right = cover[:, :512], cover[:, 512:]
    assert (np.ptp(left, axis=2) == 0).all(), "the input is gray, so its half must be"
    assert (right[0, 0] == left[0, 0]).all(), "the background stays as it is"
    coloured = np.ptp(right, axis=2) > 0
    large = np.kron(discs(), np.ones((2, 2), int))
    assert (coloured == (large > 0)).all()


def test_neighbours_have_different_colours_out_of_the_palette(tmp_path: Path) -> None:
    labels = np.kron(np.arange(1, 257).reshape(16, 16), np.ones((16, 16), np.int32))
    write_cover(np.zeros((256, 256), np.uint8), labels, tmp_path / "cover.png")
    right = iio.imread(tmp_path / "cover.png")[:, 512:]
    middles = right[16::32, 16::32].astype(int)
    shown = np.rint(PALETTE * (middles.max() / PALETTE.max())).astype(int)
    colours = np.abs(middles[:, :, None] - shown).sum(axis=-1).argmin(axis=-1)
    assert np.abs(middles - shown[colours]).max() <= 2, "only the palette's colours are used"
    for one, other in (
        (colours[:, 1:], colours[:, :-1]),
        (colours[1:], colours[:-1]),
        (colours[1:, 1:], colours[:-1, :-1]),
        (colours[1:, :-1], colours[:-1, 1:]),
    ):
        assert (one != other).all()


def test_a_dim_image_is_stretched_and_a_bright_one_is_not(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    for name, image in (("dim.png", ramp // 8), ("bright.png", ramp)):
        write_cover(image, np.zeros_like(image), tmp_path / name)
    assert iio.imread(tmp_path / "dim.png")[:, :512].max() > 245
    assert abs(int(iio.imread(tmp_path / "bright.png")[256, 256, 0]) - 128) <= 2


def test_colours_of_a_dim_colour_image_keep_their_order(tmp_path: Path) -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, 64:] = (60, 30, 10)
    write_cover(image, np.zeros((128, 128)), tmp_path / "cover.png")
    red, green, blue = iio.imread(tmp_path / "cover.png")[256, 400].astype(float)
    assert red > 240
    assert green / red == pytest.approx(0.5, abs=0.02)
    assert blue / red == pytest.approx(1 / 6, abs=0.02)


def test_the_centre_of_a_long_image_is_shown(tmp_path: Path) -> None:
    image = np.zeros((100, 300), np.uint8)
    image[:, 100:200] = 200
    write_cover(image, np.zeros_like(image), tmp_path / "cover.png")
    assert (iio.imread(tmp_path / "cover.png") == 200).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_image_of_a_microscope_can_be_seen(dtype: str, channels: int, tmp_path: Path) -> None:
    bright = (discs() > 0) * (0.01 if dtype == "float32" else 50)
    first = np.stack([bright, *[np.zeros_like(bright)] * (channels - 1)], axis=-1).astype(dtype)
    write_cover(first[..., 0] if channels == 1 else first, discs(), tmp_path / "cover.png")
    left = iio.imread(tmp_path / "cover.png")[:, :512]
    assert left[..., 0].max() > 200, "it is stretched"
    assert left[..., 1].max() == (left[..., 0].max() if channels == 1 else 0), "the first channel is red"


@pytest.mark.parametrize(
    ("image", "labels", "says"),
    [
        (np.zeros((8, 8), np.int32), np.zeros((8, 8)), "of uint8, uint16, float32, not int32"),
        (np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8)), r"\(8, 8, 4\)"),
        (np.zeros((8, 8), np.uint8), np.zeros((8, 9)), r"\(8, 8\) and \(8, 9\)"),
    ],
)
def test_what_cannot_be_a_cover(image: NDArray[Any], labels: NDArray[Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        write_cover(image, labels, tmp_path / "cover.png")
    assert not (tmp_path / "cover.png").exists()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [(), (2,), (3,)])
def test_two_pictures_stand_side_by_side(dtype: str, channels: tuple[int, ...], tmp_path: Path) -> None:
    noise = (RNG.random((700, 900, *channels)) * (0.01 if dtype == "float32" else 200)).astype(dtype)
    spot = np.zeros((64, 100), np.float32)
    spot[:, 34:66] = 3
    write_cover_of_pictures(noise, spot, tmp_path / "cover.png")
    cover = iio.imread(tmp_path / "cover.png").astype(int)
    side = cover.shape[0]
    assert cover.shape == (side, 2 * side, 3)
    assert (tmp_path / "cover.png").stat().st_size <= 500_000
    left, right = cover[:, :side], cover[:, side:]
    assert left[..., 0].max() > 200 and left[..., 0].min() < 50, "it can be seen"
    assert (left[..., 0] == left[..., 1]).all() == (channels == ())
    assert right[side // 2, side // 2].tolist() == [255, 255, 255]
    assert right[side // 2, 1].tolist() == [0, 0, 0]


def test_what_cannot_be_one_of_two_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not float64 \(3, 8, 8\)"):
        write_cover_of_pictures(np.zeros((8, 8), np.uint8), np.zeros((3, 8, 8)), tmp_path / "cover.png")
    assert not (tmp_path / "cover.png").exists()
