"""OME-Zarr volumes, block by block: equal to the whole, within bounded memory, and going on after any death."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from disks import may_mount
from predictions import cells, ome_zarr, predict
from small_packages import Small, make_package
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from zoowizard.errors import ZoowizardError
from zoowizard.prediction import job, omezarr, tasks, volume
from zoowizard.prediction.pictures import Hints
from zoowizard.prediction.record import Record

VOLUME = ["channel", "z", "y", "x"]
PERCENTILES = {"id": "scale_range", "kwargs": {"axes": VOLUME, "min_percentile": 1, "max_percentile": 99.8}}
HINTS = Hints(("y", "x"), 1)
ZSTD_HEAD = bytes.fromhex("28b52ffd 00 38")
"""A frame that does not tell its size, and a window of 128 KB."""


@pytest.fixture(scope="module")
def anisotropic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Small]:
    size = {"z": 0.2, "y": 0.05, "x": 0.05}
    small = Small(3, 1, 2, (1, 2, 2), 8, 24, processing=[PERCENTILES], pixel_size_um=size)
    return make_package(tmp_path_factory.mktemp("package") / "anisotropic", small), small


def whole(small: Small, volume: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    low, high = np.percentile(volume, (1, 99.8))
    return np.asarray(small.whole(((volume - low) / (high - low + 1e-6))[None]))


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(zarr.open_array(str(path / "0"), mode="r")[...])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_volume_comes_out_as_it_would_whole_with_its_voxel_size(
    anisotropic: tuple[Path, Small], tmp_path: Path, version: str
) -> None:
    package, small = anisotropic
    volume = cells(50, 66, 90)
    source = ome_zarr(tmp_path / "in.zarr", volume, "zyx", {"z": 200, "y": 50, "x": 50}, version)
    said = predict(package, source, tmp_path / "out.zarr", block=[48])
    assert said.warnings == []
    found = pixels(tmp_path / "out.zarr")
    expected = whole(small, volume)
    assert found.shape == (2, 50, 66, 90) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)
    if version == "0.4":
        [told] = json.loads((tmp_path / "out.zarr/.zattrs").read_text())["multiscales"]
    else:
        [told] = json.loads((tmp_path / "out.zarr/zarr.json").read_text())["attributes"]["ome"]["multiscales"]
    assert [axis["name"] for axis in told["axes"]] == list("czyx")
    [scale] = told["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == pytest.approx([1, 0.2, 0.05, 0.05])
    assert not (tmp_path / "out.zarr.part").exists()


def test_axes_are_mapped_by_name_and_another_resolution_can_be_chosen(
    anisotropic: tuple[Path, Small], tmp_path: Path
) -> None:
    package, small = anisotropic
    both = np.stack([np.stack([cells(30, 80, 84, seed=seed)] * 2) for seed in range(2)])
    source = ome_zarr(tmp_path / "in.zarr", both, "tczyx", {"z": 200, "y": 25, "x": 25})
    with pytest.raises(ZoowizardError, match="has 2 channels, and the package wants 1"):
        predict(package, source, tmp_path / "out.zarr")
    said = predict(package, source, tmp_path / "out.zarr", channel="1", scale="s1")
    assert said.warnings == [], "the second resolution has the voxel size of the package"
    found = pixels(tmp_path / "out.zarr")
    assert found.shape == (2, 2, 30, 40, 42)
    expected = whole(small, both[1, 1, :, ::2, ::2])
    np.testing.assert_allclose(found[1], expected, atol=2e-6)
    [told] = json.loads((tmp_path / "out.zarr/zarr.json").read_text())["attributes"]["ome"]["multiscales"]
    assert told["datasets"][0]["coordinateTransformations"][0]["scale"] == pytest.approx([1, 1, 0.2, 0.05, 0.05])
    assert [axis.get("unit") for axis in told["axes"]] == [None, None, *["micrometer"] * 3]
    said = predict(package, source, tmp_path / "full.zarr", channel="1", scale="0")
    assert "0.025 µm per pixel along y" in said.warnings[0]
    with pytest.raises(ZoowizardError, match=r"--scale 7: in.zarr has s0, s1"):
        predict(package, source, tmp_path / "no.zarr", scale="7")


def test_a_volume_without_a_scale_goes_on_and_that_is_told(anisotropic: tuple[Path, Small], tmp_path: Path) -> None:
    package, _ = anisotropic
    said = predict(package, ome_zarr(tmp_path / "in.zarr", cells(24, 30, 30), "zyx"), tmp_path / "out.zarr")
    assert said.warnings == ["in.zarr has no voxel size: whether it fits the package was not looked at"]


def test_a_stack_is_predicted_plane_by_plane_by_a_package_for_planes(tmp_path: Path) -> None:
    zero_mean = {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}}
    small = Small(processing=[zero_mean])
    package = make_package(tmp_path / "flat", small)
    volume = cells(4, 50, 60)
    predict(package, ome_zarr(tmp_path / "in.zarr", volume, "zyx"), tmp_path / "out.zarr", block=[40])
    plane = (volume[2] - volume[2].mean()) / (volume[2].std() + 1e-6)
    found = pixels(tmp_path / "out.zarr")[2]
    np.testing.assert_allclose(found, small.whole(plane[None])[0], atol=2e-6)


def test_a_prediction_goes_on_where_it_was_stopped(
    anisotropic: tuple[Path, Small], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, _ = anisotropic
    source = ome_zarr(tmp_path / "in.zarr", cells(50, 66, 90), "zyx", {"z": 200, "y": 50, "x": 50})
    predict(package, source, tmp_path / "at-once.zarr", block=[48])
    predicted: list[int] = []
    really = tasks.predict_block

    def until_the_fifth(*given: Any) -> None:
        if len(predicted) == 5:
            raise KeyboardInterrupt
        really(*given)
        predicted.append(1)

    monkeypatch.setattr(volume, "predict_block", until_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        predict(package, source, tmp_path / "out.zarr", block=[48])
    assert not (tmp_path / "out.zarr").exists(), "a part never passes for the whole"
    predicted.append(1)
    with (tmp_path / "out.zarr.part" / tasks.RECORD).open("ab") as file:
        file.write(b'{"do')  # a line that was torn
    with pytest.raises(ZoowizardError, match="beginning of another prediction"):
        predict(package, source, tmp_path / "out.zarr", block=[64])
    said = predict(package, source, tmp_path / "out.zarr", block=[48])
    assert said.notes[-1] == f"5 of {len(predicted) - 1} blocks were there already"
    np.testing.assert_array_equal(pixels(tmp_path / "out.zarr"), pixels(tmp_path / "at-once.zarr"))
    with pytest.raises(ZoowizardError, match="is there already; choose another place, or give --overwrite"):
        predict(package, source, tmp_path / "out.zarr", block=[48])


MEASURED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from predictions import predict
package, small, large, out = map(Path, sys.argv[2:])
def peak_kb():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
for number in range(2):  # a second package is loaded while the first is still there
    predict(package, small, out / f"small-{number}.zarr", block=[64])
before = peak_kb()
predict(package, large, out / "large.zarr", block=[64])
print("grew by", peak_kb() - before)
"""


def test_memory_does_not_grow_with_the_volume(tmp_path: Path) -> None:
    small = Small(3, pool=(1, 1, 1), halo=0, minimum=24, valid=True, processing=[PERCENTILES])
    package = make_package(tmp_path / "valid", small)
    for name, side in (("little", 112), ("big", 390)):  # both are cut into blocks of the same size
        shape = (100, side, side)
        array = zarr.create_array(
            str(tmp_path / f"{name}.zarr"),
            shape=shape,
            chunks=(65, 65, 65),
            dtype="uint16",
            dimension_names=list("zyx"),
        )
        array[...] = np.tile(cells(100, 65, 65), (1, 6, 6))[:, :side, :side]
    command = [sys.executable, "-c", MEASURED, str(Path(__file__).parents[1])]
    places = [package, tmp_path / "little.zarr", tmp_path / "big.zarr", tmp_path]
    done = subprocess.run([*command, *places], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split("grew by")[1]) * 1024 < 40e6, "the volume and its output have 81 MB more"
    assert pixels(tmp_path / "large.zarr").shape == (100, 390, 390)


def test_labels_of_a_volume_are_not_joined_from_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Small(
        3, pool=(1, 2, 2), halo=0, after=[{"id": "binarize", "kwargs": {"threshold": 0}}], output_dtype="uint8"
    )
    package = make_package(tmp_path / "labels", small)
    source = ome_zarr(tmp_path / "in.zarr", cells(34, 40, 40), "zyx")
    monkeypatch.setattr(job, "memory_bytes", lambda: 1_000_000)
    with pytest.raises(ZoowizardError, match="cannot be predicted in blocks: it gives labels"):
        predict(package, source, tmp_path / "out.zarr", block=[32])
    monkeypatch.undo()
    predict(package, source, tmp_path / "out.zarr", block=[32])
    np.testing.assert_array_equal(pixels(tmp_path / "out.zarr"), small.whole(cells(34, 40, 40)[None])[0] > 0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"codecs": [{"name": "pickle"}]}, "packed with pickle, which is not to be trusted"),
        ({"data_type": "object"}, "holds object values"),
        (
            {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [9000, 9000, 9000]}}},
            "one chunk has 1458.0 GB",
        ),
        ({"shape": "much"}, "cannot be opened as a zarr array"),
    ],
)
def test_a_zarr_that_could_do_harm_is_refused(
    anisotropic: tuple[Path, Small], tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    source = ome_zarr(tmp_path / "in.zarr", cells(24, 30, 30), "zyx")
    told = json.loads((source / "s0/zarr.json").read_text())
    (source / "s0/zarr.json").write_text(json.dumps({**told, **change}))
    with pytest.raises(ZoowizardError, match=sentence):
        predict(anisotropic[0], source, tmp_path / "out.zarr")


def test_a_zarr_whose_metadata_leads_elsewhere_is_refused(anisotropic: tuple[Path, Small], tmp_path: Path) -> None:
    source = ome_zarr(tmp_path / "in.zarr", cells(24, 30, 30), "zyx")
    told = json.loads((source / "zarr.json").read_text())
    told["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = "../other.zarr/0"
    (source / "zarr.json").write_text(json.dumps(told))
    with pytest.raises(ZoowizardError, match="is not to be trusted"):
        predict(anisotropic[0], source, tmp_path / "out.zarr")
    (source / "zarr.json").write_text("{")
    with pytest.raises(ZoowizardError, match="is no metadata of a zarr"):
        predict(anisotropic[0], source, tmp_path / "out.zarr")


def zarr_of_version_2(path: Path, **change: Any) -> Path:
    """A zarr array of 64 x 64 pixels and one chunk, which is not there yet."""
    path.mkdir(parents=True)
    told = {"zarr_format": 2, "shape": [64, 64], "chunks": [64, 64], "dtype": "|u1", "order": "C", "fill_value": 0}
    (path / ".zarray").write_text(json.dumps({**told, "compressor": None, "filters": None, **change}))
    return path


def read(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(omezarr.open_picture(path, HINTS, "").pixels[:4, :4])


@pytest.mark.parametrize(
    ("decoy", "change", "sentence"),
    [
        ({"dtype": "<f4"}, {"dtype": "|O", "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}]}, "a zarr.json and a"),
        (None, {"dtype": "|O", "data_type": "uint8", "filters": [{"id": "pickle"}]}, "packed with pickle"),
        (None, {"compressor": {"id": "pickle", "name": "zlib"}}, "packed with pickle"),
        (None, {"zarr_format": 3}, "metadata are of something else"),
        (None, {"filters": [{"id": "delta", "dtype": "|V9000", "astype": "|u1"}]}, "holds |V9000 values"),
    ],
)
def test_what_is_looked_at_is_what_zarr_follows(
    tmp_path: Path, decoy: dict[str, Any] | None, change: dict[str, Any], sentence: str
) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "was run",)

    source = zarr_of_version_2(tmp_path / "in.zarr", **change)
    (source / "0.0").write_bytes(pickle.dumps(Harm()))
    if decoy is not None:
        (source / "zarr.json").write_text(json.dumps(decoy))
    with pytest.raises(ZoowizardError, match=re.escape(sentence)):
        read(source)
    assert not (tmp_path / "was run").exists()


BOMB = bytes(1 << 24)


@pytest.mark.parametrize(
    ("codec", "chunk"),
    [
        ({"id": "bz2", "level": 9}, b""),
        ({"id": "lzma"}, b""),
        ({"id": "zlib", "level": 9}, numcodecs.Zlib(9).encode(BOMB)),
        ({"id": "gzip", "level": 9}, numcodecs.GZip(9).encode(BOMB)),
        ({"id": "lz4", "acceleration": 1}, numcodecs.LZ4().encode(BOMB)),
        ({"id": "zstd", "level": 1}, numcodecs.Zstd(1).encode(BOMB)),
        ({"id": "zstd", "level": 1}, ZSTD_HEAD + 128 * bytes((2, 0, 16, 0)) + bytes((3, 0, 16, 0))),
        ({"id": "blosc", "cname": "zstd", "clevel": 9}, numcodecs.Blosc("zstd", 9).encode(BOMB)),
        (None, BOMB),
    ],
    ids=["bz2", "lzma", "zlib", "gzip", "lz4", "zstd", "zstd without its size", "blosc", "not packed"],
)
def test_a_chunk_that_would_fill_the_memory_is_refused(
    tmp_path: Path, codec: dict[str, Any] | None, chunk: bytes
) -> None:
    source = zarr_of_version_2(tmp_path / "in.zarr", compressor=codec)
    (source / "0.0").write_bytes(bytes(chunk))
    with pytest.raises(ZoowizardError, match=r"is not to be trusted|larger than the metadata"):
        read(source)


def test_images_as_others_pack_them_are_read(tmp_path: Path) -> None:
    image = cells(64, 64)
    blosc, zlib = numcodecs.Blosc("zstd", 5), numcodecs.Zlib(1)
    for number, more in enumerate(
        (
            *(
                {"compressors": one, "zarr_format": 2}
                for one in (blosc, zlib, numcodecs.GZip(1), numcodecs.LZ4(), None)
            ),
            {"compressors": numcodecs.Zstd(1), "filters": [numcodecs.Delta(dtype="<u2")], "zarr_format": 2},
            *({"compressors": one} for one in (GzipCodec(), [BloscCodec(), Crc32cCodec()], ZstdCodec(checksum=True))),
            {"shards": (64, 64)},
        )
    ):
        path = tmp_path / f"{number}.zarr"
        zarr.create_array(str(path), shape=image.shape, chunks=(32, 32), dtype="<u2", **more)[...] = image
        np.testing.assert_array_equal(omezarr.open_picture(path, HINTS, "").pixels[...], image)
    unsized = zarr_of_version_2(tmp_path / "unsized.zarr", compressor={"id": "zstd", "level": 1})
    (unsized / "0.0").write_bytes(ZSTD_HEAD + bytes((3, 128, 0, 7)))  # one block: 4096 times a 7
    np.testing.assert_array_equal(read(unsized), 7)


@pytest.mark.parametrize("name", [".zattrs", "0.0"])
def test_a_pipe_in_a_zarr_is_not_waited_for(tmp_path: Path, name: str) -> None:
    source = zarr_of_version_2(tmp_path / "in.zarr")
    (source / ".zgroup").write_text('{"zarr_format": 2}')
    (source / name).unlink(missing_ok=True)
    os.mkfifo(source / name)
    with pytest.raises(ZoowizardError, match="is no plain file"):
        read(source)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"datasets": 5}, "`datasets` in its multiscales is no list"),
        ({"axes": {"y": 1, "x": 2}}, "`axes` in its multiscales is no list"),
        ({"coordinateTransformations": 7}, "`coordinateTransformations` in its multiscales is no list"),
        (
            {
                "axes": [{"name": "y", "unit": []}, {"name": "x", "unit": []}],
                "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}],
            },
            "",
        ),
        ({"coordinateTransformations": [{"type": "scale", "scale": [10**400, 1]}]}, ""),
    ],
)
def test_metadata_of_a_wrong_kind_is_named(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    zarr_of_version_2(tmp_path / "in.zarr/0")
    told = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}], **change}
    (tmp_path / "in.zarr/.zattrs").write_text(json.dumps({"multiscales": [told]}))
    if sentence:
        with pytest.raises(ZoowizardError, match=re.escape(sentence)):
            read(tmp_path / "in.zarr")
    else:
        assert omezarr.open_picture(tmp_path / "in.zarr", HINTS, "").pixel_size == {}


@pytest.mark.parametrize("there", ["pipe", "nested"])
def test_a_record_that_is_none_is_told_or_begun_anew(tmp_path: Path, there: str) -> None:
    path = tmp_path / "record"
    if there == "pipe":
        os.mkfifo(path)
        with pytest.raises(ZoowizardError, match="is no plain file"):
            Record(path, {}, overwrite=False)
    else:
        path.write_bytes(b"[" * 100_000 + b"\n")
        assert not Record(path, {}, overwrite=False).resumed


def test_an_image_of_absurdly_many_places_is_refused(anisotropic: tuple[Path, Small], tmp_path: Path) -> None:
    chunks = {"name": "regular", "configuration": {"chunk_shape": [1, 1, 8, 8]}}
    source = ome_zarr(tmp_path / "in.zarr", cells(1, 1, 8, 8), "tzyx")
    told = json.loads((source / "s0/zarr.json").read_text())
    changed = {**told, "shape": [30_000_000, 1, 8, 8], "chunk_grid": chunks}
    (source / "s0/zarr.json").write_text(json.dumps(changed))
    with pytest.raises(ZoowizardError, match=r"in 3e\+07 blocks .*give a smaller piece"):
        predict(anisotropic[0], source, tmp_path / "out.zarr")


def test_what_others_put_there_is_not_removed(
    anisotropic: tuple[Path, Small], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, _ = anisotropic
    source = ome_zarr(tmp_path / "in.zarr", cells(24, 30, 30), "zyx")
    out, part = tmp_path / "out.zarr", tmp_path / "out.zarr.part"
    part.mkdir()
    (part / "thesis.txt").write_text("years")
    for overwrite in (False, True):
        with pytest.raises(ZoowizardError, match="no prediction began it"):
            predict(package, source, out, overwrite=overwrite)
    assert (part / "thesis.txt").read_text() == "years"
    (part / "thesis.txt").unlink()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(volume, "predict_block", killed)
        predict(package, source, out)
    (part / "thesis.txt").write_text("years")
    out.mkdir()
    (out / "other").write_text("of another tool")
    with pytest.raises(ZoowizardError, match="is there already; choose another place, or give --overwrite"):
        predict(package, source, out)
    assert (out / "other").read_text() == "of another tool"
    predict(package, source, out, overwrite=True)
    assert pixels(out).shape == (2, 24, 30, 30) and (part / "thesis.txt").read_text() == "years"


ON_A_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
import zarr
from predictions import predict
from zoowizard.jobs.steps import in_a_sentence
from zoowizard.prediction import tasks, volume
package, source, root = map(Path, sys.argv[2:])
disk = root / "disk"
disk.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk)], check=True)
really, predicted = tasks.predict_block, []
def filled_by_others(*given):
    predicted.append(1)
    if len(predicted) == 5:
        with (disk / "hog").open("wb", buffering=0) as hog:
            try:
                while True:
                    hog.write(bytes(4096))
            except OSError:
                pass
    really(*given)
volume.predict_block = filled_by_others
try:
    predict(package, source, disk / "out.zarr", block=[48])
except Exception as problem:
    print(in_a_sentence(problem))
print("whole" if (disk / "out.zarr").exists() else "no whole")
(disk / "hog").unlink()
volume.predict_block = really
print(predict(package, source, disk / "out.zarr", block=[48]).notes[-1])
predict(package, source, disk / "at-once.zarr", block=[48])
one, other = (zarr.open_array(str(disk / name / "0"), mode="r")[...] for name in ("out.zarr", "at-once.zarr"))
print(np.array_equal(one, other))
"""


@pytest.mark.parametrize("disk", ["small"] if may_mount() else [])
def test_a_disk_that_others_fill_is_told_and_the_prediction_goes_on_later(
    anisotropic: tuple[Path, Small], tmp_path: Path, disk: str
) -> None:
    source = ome_zarr(tmp_path / "in.zarr", cells(50, 66, 90), "zyx", {"z": 200, "y": 50, "x": 50})
    command = ["unshare", "-m", sys.executable, "-c", ON_A_SMALL_DISK, str(Path(__file__).parents[1])]
    done = subprocess.run([*command, anisotropic[0], source, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, whole, went_on, same = done.stdout.splitlines()
    assert told.startswith("the disk is full") and told.endswith("free some space and try again")
    assert whole == "no whole", "a part never passes for the whole"
    assert went_on.startswith("4 of ") and went_on.endswith("blocks were there already")
    assert same == "True"
