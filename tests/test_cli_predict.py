"""`zoowizard predict` as a person uses it: in a process of its own, with a job that can be killed."""

import json
import os
import signal
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from commands import run_zoowizard
from predictions import cells, ome_zarr
from small_packages import Small, make_package

from zoowizard.jobs.state import read_job

PERCENTILES = {
    "id": "scale_range",
    "kwargs": {"axes": ["channel", "z", "y", "x"], "min_percentile": 1, "max_percentile": 99},
}


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("flat") / "flat-unet", Small(formats=("pytorch_state_dict",)))


def test_a_folder_with_a_broken_image_is_predicted_and_the_exit_code_tells(flat: Path, tmp_path: Path) -> None:
    folder, workspace = tmp_path / "images", tmp_path / "w"
    folder.mkdir()
    for name in "ab":
        tifffile.imwrite(folder / f"{name}.tif", cells(40, 44))
    (folder / "c.png").write_bytes(b"no picture")
    ran = run_zoowizard(["predict", flat, folder, tmp_path / "out", "--workspace", workspace])
    assert ran.code == 1 and ran.out == ""
    assert "! c.png: c.png cannot be read as an image" in ran.err
    assert "1 of 3 images could not be predicted (the others are in" in ran.err
    assert "the package's own code (small_unet.py) was run in this job" in ran.err
    (folder / "c.png").unlink()
    ran = run_zoowizard(["predict", flat, folder, tmp_path / "out2", "--workspace", workspace, "--json"])
    assert ran.code == 0
    assert [Path(path).name for path in ran.json()["outputs"]] == ["a.tif", "b.tif"]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/a.tif"), tifffile.imread(tmp_path / "out2/a.tif"))
    assert tifffile.imread(tmp_path / "out/b.tif").dtype == np.float32


def test_a_volume_goes_on_after_a_kill_and_comes_out_the_same(tmp_path: Path) -> None:
    package = make_package(tmp_path / "deep-unet", Small(3, 1, 1, (1, 2, 2), 8, 24, processing=[PERCENTILES]))
    source = ome_zarr(tmp_path / "in.zarr", cells(60, 120, 120), "zyx", {"z": 200, "y": 50, "x": 50})
    workspace, out = tmp_path / "w", tmp_path / "out.zarr"
    call: list[str | Path] = ["predict", package, source, out, "--block", "48", "--workspace", workspace]
    started = run_zoowizard([*call, "--detach", "--json"])
    job = Path(started.json()["folder"])
    record = tmp_path / "out.zarr.part/.zoowizard-predict.jsonl"
    _until(lambda: record.exists() and record.read_bytes().count(b'"done"') >= 3)
    os.killpg(int((job / "worker").read_text()), signal.SIGKILL)
    _until(lambda: read_job(job).over)
    assert read_job(job).state != "passed" and not out.exists()
    finished = [json.loads(line).get("done") for line in record.read_bytes().splitlines()[:-1]]
    chunks = _written(tmp_path / "out.zarr.part/prediction.zarr")
    ran = run_zoowizard(call)
    assert ran.code == 0, ran.err
    done = len([one for one in finished if one is not None])
    [there] = [line for line in ran.err.splitlines() if "blocks were there already" in line]
    assert done <= int(there.split(" of ")[0].split()[-1]) <= done + 1
    after = _written(out)
    kept = [name for name, when in chunks.items() if after.get(name) == when and "/c/" in name]
    assert len(kept) >= done, "what was done is not done again"
    alone = run_zoowizard([*call[:3], tmp_path / "at-once.zarr", *call[4:]])
    assert alone.out == f"prediction: {tmp_path / 'at-once.zarr'}\n"
    found, expected = (zarr.open_array(str(one / "0"), mode="r")[...] for one in (out, tmp_path / "at-once.zarr"))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def _until(condition: Any) -> None:
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def _written(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("harm", ["climbs", "changed", "elsewhere", "none"])
def test_a_package_that_could_do_harm_is_refused(flat: Path, tmp_path: Path, harm: str) -> None:
    package = tmp_path / "bad.zip"
    with zipfile.ZipFile(flat) as good, zipfile.ZipFile(package, "w") as bad:
        for name in good.namelist() if harm != "none" else ():
            content = good.read(name)
            if name == "rdf.yaml" and harm == "elsewhere":
                content = content.replace(b"source: weights.pt", b"source: ../weights.pt")
            if name == "weights.pt" and harm == "changed":
                content = content[:-1] + b"!"
            bad.writestr(f"../{name}" if harm == "climbs" else name, content)
    tifffile.imwrite(tmp_path / "a.tif", cells(40, 44))
    ran = run_zoowizard(["predict", package, tmp_path / "a.tif", tmp_path / "out.tif", "--workspace", tmp_path / "w"])
    assert ran.code == 1
    sentence = {
        "climbs": "was not unpacked",
        "changed": "it is damaged or was changed",
        "elsewhere": "weights.pytorch_state_dict.source is `../weights.pt`",
        "none": "it has no rdf.yaml at its top",
    }[harm]
    assert sentence in " ".join(ran.err.split())
    assert "Traceback" not in ran.err and not (tmp_path / "out.tif").exists()


def test_wrong_use_is_told_before_a_job_is_started(flat: Path, tmp_path: Path) -> None:
    there = tmp_path / "a.tif"
    tifffile.imwrite(there, cells(40, 44))
    for more, sentence in (
        ([flat, tmp_path / "none.tif", tmp_path / "out.tif"], "there is no such file; give an image"),
        ([flat, there, there], "is the input, too"),
        ([flat, there, tmp_path / "out.tif", "--axes", "qq"], "names no axes"),
        ([flat, there, tmp_path / "out.tif", "--block", "0"], "is no size"),
    ):
        ran = run_zoowizard(["predict", *more, "--workspace", tmp_path / "w"])
        assert ran.code == 2 and sentence in ran.err
    assert not list((tmp_path / "w").rglob("job.json"))
