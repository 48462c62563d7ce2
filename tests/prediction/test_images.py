"""One image and folders of them: what comes out is what the network says of the whole image."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from imageio import v3 as iio
from predictions import cells, predict
from small_packages import Small, make_package

from zoowizard.errors import ZoowizardError
from zoowizard.prediction.network import Network, open_package
from zoowizard.prediction.pictures import write_file
from zoowizard.prediction.tasks import tasks_of

PLANE = ["channel", "y", "x"]
ZERO_MEAN = {"id": "zero_mean_unit_variance", "kwargs": {"axes": PLANE, "eps": 1e-6}}
PERCENTILES = {"id": "scale_range", "kwargs": {"axes": ["y", "x"], "min_percentile": 1, "max_percentile": 99.8}}
FORMATS = ("pytorch_state_dict", "torchscript", "onnx")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Small]]:
    root = tmp_path_factory.mktemp("packages")
    kinds = {
        "zero mean": Small(processing=[ZERO_MEAN], formats=FORMATS),
        "percentiles": Small(inputs=3, outputs=2, processing=[PERCENTILES], pixel_size_um={"y": 0.5, "x": 0.5}),
        "8 bit": Small(dtype="uint8", processing=[{"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}]),
        "labels": Small(halo=0, after=[{"id": "binarize", "kwargs": {"threshold": 0.0}}], output_dtype="uint8"),
        "dataset": Small(processing=[{"id": "zero_mean_unit_variance", "kwargs": {"eps": 1e-6}}]),
        "valid": Small(valid=True, pool=(1, 1), halo=0, processing=[ZERO_MEAN]),
    }
    return {name: (make_package(root / name.replace(" ", "-"), one), one) for name, one in kinds.items()}


def zero_mean(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    values = image.astype(np.float64)
    return np.asarray((values - values.mean()) / (values.std() + 1e-6))


@pytest.mark.parametrize("weights", FORMATS)
def test_blocks_give_what_the_whole_image_gives(packages: Any, tmp_path: Path, weights: str) -> None:
    package, small = packages["zero mean"]
    image = cells(210, 178)
    tifffile.imwrite(
        tmp_path / "a.tif", image, imagej=True, resolution=(1 / 0.25, 1 / 0.25), metadata={"unit": "um", "axes": "YX"}
    )
    predict(package, tmp_path / "a.tif", tmp_path / "out.tif", block=[64], weights=weights)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        found = tiff.asarray()
        assert tiff.series[0].axes == "YX" and found.dtype == np.float32
        assert tiff.imagej_metadata is not None and tiff.imagej_metadata["unit"] == "um"
        wide, of = tiff.pages.first.tags["XResolution"].value
        assert of / wide == pytest.approx(0.25)
    np.testing.assert_allclose(found, small.whole(zero_mean(image)[None])[0], atol=2e-6)


def test_an_image_that_fits_is_predicted_as_it_is_also_at_its_edges(packages: Any, tmp_path: Path) -> None:
    package, small = packages["zero mean"]
    image = cells(96, 128)
    np.save(tmp_path / "a.npy", image)
    predict(package, tmp_path / "a.npy", tmp_path / "out.npy")
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), small.whole(zero_mean(image)[None])[0], atol=2e-6)


def test_channels_percentiles_and_pixel_sizes(packages: Any, tmp_path: Path) -> None:
    package, small = packages["percentiles"]
    image = np.stack([cells(90, 100, seed=seed) for seed in range(3)])
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        image,
        ome=True,
        metadata={"axes": "CYX", "PhysicalSizeX": 100, "PhysicalSizeXUnit": "nm"},
    )
    said = predict(package, tmp_path / "a.ome.tif", tmp_path / "out.tif", block=[48])
    low, high = np.percentile(image, (1, 99.8), axis=(1, 2))[:, :, None, None]
    whole = small.whole((image - low) / (high - low + 1e-6))
    found = tifffile.imread(tmp_path / "out.tif")
    assert found.shape == (2, 90, 100)
    np.testing.assert_allclose(found, whole, atol=2e-6)
    [warning] = said.warnings
    assert "0.1 µm per pixel along x" in warning and "made for 0.5 µm" in warning


def test_a_valid_convolution_gives_an_output_as_large_as_the_image(packages: Any, tmp_path: Path) -> None:
    package, small = packages["valid"]
    image = cells(120, 130)
    np.save(tmp_path / "a.npy", image)
    predict(package, tmp_path / "a.npy", tmp_path / "out.npy", block=[50])
    found = np.load(tmp_path / "out.npy")
    assert found.shape == image.shape
    np.testing.assert_allclose(found[2:-2, 2:-2], small.whole(zero_mean(image)[None])[0], atol=2e-6)


def test_axes_that_the_package_does_not_know_are_gone_through(packages: Any, tmp_path: Path) -> None:
    package, small = packages["zero mean"]
    image = np.stack([[cells(40, 44, seed=3 * time + channel) for channel in range(3)] for time in range(2)])
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(ZoowizardError, match=r"has 3 channels, and the package wants 1 .*--channel each"):
        predict(package, tmp_path / "a.tif", tmp_path / "out.tif")
    predict(package, tmp_path / "a.tif", tmp_path / "each.tif", channel="each")
    predict(package, tmp_path / "a.tif", tmp_path / "one.tif", channel="2")
    every, one = tifffile.imread(tmp_path / "each.tif"), tifffile.imread(tmp_path / "one.tif")
    assert every.shape == (2, 3, 40, 44) and one.shape == (2, 40, 44)
    np.testing.assert_array_equal(every[:, 2], one)
    np.testing.assert_allclose(one[1], small.whole(zero_mean(image[1, 2])[None])[0], atol=2e-6)


def test_a_small_image_is_padded_and_that_is_told(packages: Any, tmp_path: Path) -> None:
    package, _ = packages["zero mean"]
    iio.imwrite(tmp_path / "small.png", cells(9, 40).astype(np.uint8))
    said = predict(package, tmp_path / "small.png", tmp_path / "out.tif")
    assert tifffile.imread(tmp_path / "out.tif").shape == (9, 40)
    assert "smaller than the package takes: y 9 (at least 32)" in said.warnings[0]


def test_labels_are_whole_numbers_of_the_whole_image(packages: Any, tmp_path: Path) -> None:
    package, small = packages["labels"]
    image = cells(64, 70)
    tifffile.imwrite(tmp_path / "a.tif", image)
    predict(package, tmp_path / "a.tif", tmp_path / "out.png", block=[32])
    found = iio.imread(tmp_path / "out.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, small.whole(image[None])[0] > 0)


def test_values_that_the_package_does_not_hold_are_refused(packages: Any, tmp_path: Path) -> None:
    package, _ = packages["8 bit"]
    iio.imwrite(tmp_path / "a.png", cells(64, 70))
    with pytest.raises(
        ZoowizardError, match=r"holds uint16 values from .* takes uint8 \(whole numbers from 0 to 255\)"
    ):
        predict(package, tmp_path / "a.png", tmp_path / "out.tif")
    iio.imwrite(tmp_path / "b.png", cells(64, 70) // 40)
    predict(package, tmp_path / "b.png", tmp_path / "out.tif")


@pytest.mark.parametrize("kind", ["zero mean", "dataset"])
def test_an_image_of_a_folder_is_predicted_as_it_is_alone(packages: Any, tmp_path: Path, kind: str) -> None:
    package, _ = packages[kind]
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(5):
        shape = (40, 44) if number < 4 else (50, 44)
        tifffile.imwrite(folder / f"{number}.tif", cells(*shape, seed=number) // (1 + number))
    said = predict(package, folder, tmp_path / "out")
    assert said.notes[-1] == "5 of 5 images"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{number}.tif" for number in range(5)]
    for number in (0, 3, 4):
        predict(package, folder / f"{number}.tif", tmp_path / f"alone-{number}.tif")
        alone = tifffile.imread(tmp_path / f"alone-{number}.tif")
        np.testing.assert_allclose(tifffile.imread(tmp_path / f"out/{number}.tif"), alone, atol=1e-6)


def test_one_broken_image_does_not_stop_the_others_and_is_done_later(packages: Any, tmp_path: Path) -> None:
    package, _ = packages["zero mean"]
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for name in "abc":
        tifffile.imwrite(folder / f"{name}.tif", cells(40, 44))
    (folder / "b.tif").write_bytes((folder / "b.tif").read_bytes()[:900])
    with pytest.raises(ZoowizardError, match=r"1 of 3 images could not be predicted .*b.tif: b.tif cannot be read"):
        predict(package, folder, out)
    assert {path.name for path in out.glob("*.tif")} == {"a.tif", "c.tif"}
    before = (out / "a.tif").stat().st_mtime_ns
    shutil.copy(folder / "a.tif", folder / "b.tif")
    predict(package, folder, out)
    assert {path.name for path in out.iterdir()} == {"a.tif", "b.tif", "c.tif"}
    assert (out / "a.tif").stat().st_mtime_ns == before, "what was done is not done again"
    with pytest.raises(ZoowizardError, match=r"a.tif and 2 more: is there already"):
        predict(package, folder, out)
    predict(package, folder, out, overwrite=True)
    assert (out / "a.tif").stat().st_mtime_ns > before


def test_files_that_are_no_images_are_named(packages: Any, tmp_path: Path) -> None:
    package, _ = packages["zero mean"]
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ZoowizardError, match=r"notes.txt ends in none of"):
        predict(package, tmp_path / "notes.txt", tmp_path / "out.tif")
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ZoowizardError, match=r"evil.npy cannot be read as an image"):
        predict(package, tmp_path / "evil.npy", tmp_path / "out.tif")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZoowizardError, match="empty holds no image"):
        predict(package, tmp_path / "empty", tmp_path / "out")


def test_what_a_file_cannot_hold_is_told_before_it_is_computed(
    packages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*_: Any) -> None:
        raise AssertionError("it was computed")

    monkeypatch.setattr(Network, "predict", computed)
    tifffile.imwrite(tmp_path / "a.tif", cells(64, 70))
    with pytest.raises(
        ZoowizardError, match=r"out.png: a PNG cannot hold float32 values of 64 x 70; let it end in .ti"
    ):
        predict(packages["zero mean"][0], tmp_path / "a.tif", tmp_path / "out.png")
    np.save(tmp_path / "planes.npy", cells(3, 64, 70))
    with pytest.raises(ZoowizardError, match=r"out.png: a PNG cannot hold uint16 values of 3 x 64 x 70"):
        predict(packages["labels"][0], tmp_path / "planes.npy", tmp_path / "out.png", axes="zyx")
    assert not (tmp_path / "out.png").exists()


def test_an_output_that_ends_in_what_nothing_is_saved_as_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    folder, missing = tmp_path / "images", tmp_path / "no-package.zip"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", cells(40, 44))
    for name in ("out.jpg", "out.h5", "out.czi"):
        with pytest.raises(
            ZoowizardError, match=rf"{name}: predictions are saved as .tif, .tiff, .png, .npy, .zarr; le"
        ):
            predict(missing, folder / "a.tif", tmp_path / name)
        assert not (tmp_path / name).exists()
    for name in ("out.tif", "out.zarr", "out.jpg"):
        with pytest.raises(ZoowizardError, match=rf"{name}: images is a folder of images, and so is its prediction"):
            predict(missing, folder, tmp_path / name)
    (tmp_path / "run.first").mkdir()
    assert tasks_of(folder / "a.tif", tmp_path / "run.first")[0].destination == tmp_path / "run.first/a.tif"
    assert tasks_of(folder / "a.tif", tmp_path / "2026.11")[0].destination == tmp_path / "2026.11/a.tif"


def test_images_that_would_share_a_place_are_named(packages: Any, tmp_path: Path) -> None:
    package, _ = packages["zero mean"]
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.tif", "a.png", "a-tif.tif"):
        iio.imwrite(folder / name, cells(40, 44))
    with pytest.raises(ZoowizardError, match=r"a-tif.tif and a.tif would both be predicted into a-tif.tif"):
        predict(package, folder, tmp_path / "out")
    (folder / "a-tif.tif").unlink()
    predict(package, folder, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a-tif.tif", "a-png.tif"}


def test_an_image_that_came_since_a_death_is_not_replaced(packages: Any, tmp_path: Path) -> None:
    package, _ = packages["zero mean"]
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", cells(40, 44))
    (folder / "b.tif").write_bytes(b"broken")
    with pytest.raises(ZoowizardError, match="1 of 2 images"):
        predict(package, folder, out)
    tifffile.imwrite(folder / "b.tif", cells(40, 44))
    (out / "b.tif").write_bytes(b"of another tool")
    with pytest.raises(ZoowizardError, match=r"b.tif: is there already"):
        predict(package, folder, out)
    assert (out / "b.tif").read_bytes() == b"of another tool"
    predict(package, folder, out, overwrite=True)
    assert tifffile.imread(out / "b.tif").shape == (40, 44)


@pytest.mark.parametrize("ending", [".tif", ".npy", ".png"])
def test_a_link_that_lies_in_wait_is_not_followed(tmp_path: Path, ending: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / f".saving-out{ending}").symlink_to(precious)
    write_file(tmp_path / f"out{ending}", cells(8, 9), ("y", "x"), {})
    assert precious.read_text() == "mine" and (tmp_path / f"out{ending}").stat().st_size > 100


def test_a_source_that_is_no_text_is_refused(tmp_path: Path) -> None:
    bomb = "l0: &l0 [lol, lol]\n" + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 5))
    (tmp_path / "rdf.yaml").write_text(bomb + "weights: {onnx: {source: *l4}}\n")
    with pytest.raises(ZoowizardError, match=r"weights.onnx must name its source and sha256 as text"):
        open_package(tmp_path / "rdf.yaml", tmp_path / "unpacked")
