"""Small pictures of test images and of predictions, made by a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import tiny_model
from commands import Demo
from PIL import Image

from zoowizard.drafts.images import MICROSCOPY, check_test_image
from zoowizard.thumbnail import COLOURS, check_of, coloured, of_image, of_labels


def pixels(answer: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(bytes.fromhex(answer["rgb"]), np.uint8).reshape(answer["height"], answer["width"], 3)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zoowizard.thumbnail", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_sample_image_in_a_process_of_its_own(nuclei: Path) -> None:
    done = run("image", nuclei, 60, 40)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["width"], answer["height"]) == (40, 40)
    assert (answer["shape"], answer["dtype"], answer["problem"]) == ([512, 512], "uint8", None)
    small = pixels(answer)[..., 0].astype(float)
    full = np.asarray(Image.open(nuclei)).astype(float)
    blocks = np.asarray(Image.fromarray(full).resize((40, 40), Image.Resampling.BOX))
    assert np.corrcoef(small.ravel(), blocks.ravel())[0, 1] > 0.95, "it shows that image"


def test_a_dim_image_can_be_seen_and_a_long_one_keeps_its_shape(tmp_path: Path) -> None:
    image = np.zeros((100, 400), np.uint8)
    image[20:60, 40:120] = 6
    Image.fromarray(image).save(tmp_path / "dim.png")
    answer = of_image(tmp_path / "dim.png", 80, 80)
    assert (answer["width"], answer["height"]) == (80, 20)
    assert pixels(answer).max() == 255
    assert pixels(answer)[0, 0].tolist() == [0, 0, 0]
    assert (answer["min"], answer["max"]) == (0, 6)


def test_colours_are_kept(tmp_path: Path) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:, 0] = 200
    tifffile.imwrite(tmp_path / "red.tif", image, photometric="rgb")
    answer = of_image(tmp_path / "red.tif", 8, 8)
    assert pixels(answer)[4, 6].tolist() == [255, 0, 0]


def test_what_cannot_be_the_test_image_is_said_as_everywhere(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "stack.tif", rng.integers(0, 255, (5, 80, 80), np.uint8), photometric="minisblack")
    Image.fromarray(rng.integers(0, 65535, (80, 80), np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.full((80, 80), 7, np.uint8)).save(tmp_path / "flat.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    for name in ("stack.tif", "deep.png", "flat.png", "text.png", "folder.png", "none.png"):
        answer = json.loads(run("image", tmp_path / name, 40, 40).stdout)
        assert answer["problem"] == check_test_image(tmp_path / name) is not None
        assert answer["rgb"] == ""


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_two_channels_are_red_and_green_and_each_is_stretched(tmp_path: Path, dtype: str) -> None:
    image = np.zeros((2, 100, 200), dtype)
    image[0, :, :100] = 200
    image[1, :50] = 3
    tifffile.imwrite(tmp_path / "two.tif", image)
    answer = of_image(tmp_path / "two.tif", 20, 10, lambda path: check_test_image(path, MICROSCOPY))
    assert (answer["shape"], answer["dtype"], answer["max"]) == ([100, 200, 2], dtype, 200)
    shown = pixels(answer)
    assert [shown[y, x].tolist() for y, x in ((2, 2), (2, 17), (7, 2), (7, 17))] == [
        [255, 255, 0],
        [0, 255, 0],
        [255, 0, 0],
        [0, 0, 0],
    ]


def test_the_problem_is_that_of_the_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model.install(monkeypatch, tiny_model.TinyModel())
    tifffile.imwrite(tmp_path / "deep.tif", tiny_model.blobs()[..., 0])
    assert check_of("tiny")(str(tmp_path / "deep.tif")) is None
    assert check_of("yolo") is check_test_image
    answer = json.loads(run("image", tmp_path / "deep.tif", 40, 40, "--family", "yolo").stdout)
    assert "is 16-bit; save an 8-bit copy" in answer["problem"]
    assert of_image(tmp_path / "deep.tif", 40, 40, check_of("tiny"))["problem"] is None
    unknown = run("image", tmp_path / "deep.tif", 40, 40, "--family", "nothing")
    assert (unknown.returncode, len(unknown.stderr.splitlines())) == (1, 1)


def test_the_prediction_of_a_built_package(demo: Demo) -> None:
    [contents] = demo.workspace.glob("models/*/jobs/*/contents")
    answer = of_labels(contents, 96, 96)
    shown = {tuple(colour) for colour in pixels(answer).reshape(-1, 3).tolist()}
    assert {(0, 0, 0), *COLOURS} >= shown
    assert len(shown) > 4
    labels = tifffile.imread(contents / "sample_labels.tif")
    assert answer["max"] == labels.max()
    assert pixels(answer)[:, :].any(axis=2).mean() == pytest.approx((labels > 0).mean(), abs=0.05)


def test_objects_that_touch_have_different_colours() -> None:
    tiles = np.kron(np.arange(1, 101).reshape(10, 10), np.ones((3, 3), int))
    numbers = np.array(coloured(tiles.tolist()))
    for one, other in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None),), (slice(None, -1),)),
    ):
        differ = tiles[one] != tiles[other]
        assert (numbers[one][differ] != numbers[other][differ]).all()
    assert numbers.min() >= 1
    assert coloured([[0, 0], [0, 5]])[0] == [0, 0]


@pytest.mark.parametrize("ending", [".npy", ".png", ".tif"])
def test_each_kind_of_label_file(ending: str, tmp_path: Path) -> None:
    labels = np.zeros((40, 50), np.uint8)
    labels[10:20, 10:30] = 1
    path = tmp_path / f"labels{ending}"
    if ending == ".npy":
        np.save(path, labels[None, None].astype(np.float32))
    elif ending == ".png":
        Image.fromarray(labels).save(path)
    else:
        tifffile.imwrite(path, labels.astype(np.float32))
    answer = of_labels(path, 100, 100)
    assert (answer["width"], answer["height"], answer["max"]) == (50, 40, 1)
    assert (pixels(answer).any(axis=2) == (labels > 0)).all()


def test_a_picture_of_a_result_is_shown_whatever_is_in_it(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 16), np.uint8)).save(tmp_path / "black.png")
    answer = json.loads(run("picture", tmp_path / "black.png", 10, 10).stdout)
    assert (answer["width"], answer["height"], answer["problem"]) == (8, 10, None)
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(np.zeros((20, 16), np.uint16)).save(tmp_path / "deep.png")
    for name in ("text.png", "deep.png", "none.png"):
        done = run("picture", tmp_path / name, 10, 10)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_what_is_no_label_image_is_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.save(tmp_path / "line.npy", np.zeros(5))
    (tmp_path / "text.tif").write_text("no picture")
    for name in ("objects.npy", "line.npy", "text.tif", "none.png", "."):
        done = run("labels", tmp_path / name, 40, 40)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "Traceback" not in done.stderr
