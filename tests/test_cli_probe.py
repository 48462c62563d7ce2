"""The command `probe`: what a network is, and a picture of what it gives after each normalisation."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from commands import run_zoowizard
from network_files import Model, exported, pytorch_model, traced
from PIL import Image
from probed_networks import UNet, lively

from zoowizard.conversion import onnx, pytorch, torchscript
from zoowizard.conversion.probing.normalisation import named, normalised
from zoowizard.drafts.store import Workspace, load
from zoowizard.history import history, probe_of
from zoowizard.jobs.folder import WORKER
from zoowizard.jobs.probed import read_probed
from zoowizard.jobs.state import list_jobs, read_job
from zoowizard.workflow import probe_work

SLOW = """
import time
import torch


class UNet(torch.nn.Module):
    def __init__(self, depth: int = 1):
        super().__init__()
        print("it is made", flush=True)
        time.sleep(600)
"""


def until_true(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def make(kind: str, folder: Path) -> Model:
    match kind:
        case "pytorch":
            return pytorch_model(folder, "cyx", (2, 64, 72), depth=1, channels=2, outputs=4)
        case "torchscript":
            return traced(folder, lively(UNet(1)))
    return exported(folder, lively(UNet(1, valid=True)))


def asked(model: Model, **more: Any) -> list[str | Path]:
    """The arguments of a command for a model of which no normalisation is known."""
    values = {name: value for name, value in {**model.values, **more}.items() if name != "normalisation"}
    (model.folder / "answers.yaml").write_text(yaml.safe_dump(values))
    place = model.folder / "workspace"
    return [model.checkpoint, "--answers", model.folder / "answers.yaml", "--workspace", place]


def expected(model: Model) -> Path:
    """What the network gives after percentiles 2 and 98 of each channel."""
    conversion = {".pth": pytorch, ".pt": torchscript, ".onnx": onnx}[model.checkpoint.suffix]
    image = conversion.read_image(model.checkpoint, model.values)
    steps = named("percentile-2-98", 2, len(image), each_channel=True).steps
    with torch.inference_mode():
        given = model.network(torch.from_numpy(normalised(image, steps))[None])[0].numpy()
    np.save(model.folder / "expected.npy", given)
    return model.folder / "expected.npy"


def test_what_was_trained_with_is_found_and_every_result_is_drawn(tmp_path: Path) -> None:
    model = make("pytorch", tmp_path)
    arguments = asked(model, expected_output=str(expected(model)))
    ran = run_zoowizard(["probe", *arguments, "--output", tmp_path / "out", "--json"])
    assert ran.code == 0, ran.err
    told = ran.json()
    best, second = told["candidates"][:2]
    assert (best["normalisation"], best["over"]) == ("percentile-2-98", "each channel")
    assert best["difference"] < 1e-5 < second["difference"]
    assert "comes within" in told["sentence"]
    found = {one["name"]: one for one in told["findings"]}
    assert "2 channels" in found["channels"]["evidence"] or "x 2 x" in found["channels"]["evidence"]
    assert found["sizes"]["overruled_by"] == ["smallest_input", "input_step"]
    assert {"spatial_axes", "channels", "sizes", "halo", "outputs", "deterministic"} <= found.keys()
    for one in told["candidates"]:
        assert Path(one["picture"]).parent == tmp_path / "out"
        with Image.open(one["picture"]) as picture:
            assert (picture.mode, picture.size) == ("RGB", (72, 64)), "of four channels the first three"
            assert picture.getextrema()[0] == (0, 255), "stretched by itself"

    workspace = Workspace(tmp_path / "workspace")
    [job] = list_jobs(workspace.jobs("checkpoint"))
    assert not (job.folder / "weights").exists(), "nothing that is large is left"
    assert history(workspace, "checkpoint").newest is None, "it is no build"
    assert probe_of(workspace, "checkpoint", probe_work(load(workspace, "checkpoint"))) == job

    again = run_zoowizard(["probe", *arguments])
    assert again.code == 0
    assert "Halo: " in again.out and "[to overrule it: halo]" in again.out
    first = next(line for line in again.out.splitlines() if line.startswith("percentile-2-98, each channel"))
    assert first.split()[-1] == "percentile-2-98-each.png"
    newest, before = list_jobs(workspace.jobs("checkpoint"))
    assert not list(newest.folder.glob("findings-*.json")), "they were taken from the job before"
    assert read_probed(newest.folder) == read_probed(before.folder)


@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
def test_exported_networks(kind: str, tmp_path: Path) -> None:
    model = make(kind, tmp_path)
    ran = run_zoowizard(["probe", *asked(model, halo="y=40 x=40"), "--json"])
    assert ran.code == 0, ran.err
    told = ran.json()
    order = ["none", "divide-by-255", "divide-by-65535", "percentile-1-99.8", "percentile-1-99"]
    assert [one["normalisation"] for one in told["candidates"]][:5] == order
    assert all(one["difference"] is None and Path(one["picture"]).is_file() for one in told["candidates"])
    assert "nothing tells which normalisation is right" in told["sentence"]
    evidence = {one["name"]: one["evidence"] for one in told["findings"]}
    assert evidence["halo"] == "40 px along y, 40 px along x, said by you"


def test_what_is_missing_or_wrong_is_told_in_plain_words(tmp_path: Path, sample_run: Path) -> None:
    model = pytorch_model(tmp_path, depth=2)
    ran = run_zoowizard(["probe", *asked(model, argument_depth=3)])
    assert ran.code == 1
    assert "the checkpoint has 2 levels, the network was built with 3: try depth=2" in ran.out + ran.err
    assert "Traceback" not in ran.out + ran.err

    ran = run_zoowizard(["probe", model.checkpoint, "--workspace", tmp_path / "other", "--json"])
    assert ran.code == 3
    assert "test_image" in ran.json()["missing"] and "normalisation" not in ran.json()["missing"]
    ran = run_zoowizard(["probe", sample_run, "--workspace", tmp_path / "workspace"])
    assert ran.code == 2
    assert "asks for no normalisation, so there is nothing to be tried" in ran.err


def test_a_job_that_is_killed_leaves_nothing_that_would_be_shown(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, depth=1)
    (tmp_path / "unet.py").write_text(SLOW)
    started = run_zoowizard(["probe", *asked(model), "--detach", "--json"]).json()
    folder = Path(started["folder"])
    workspace = Workspace(tmp_path / "workspace")
    draft = load(workspace, started["model"])
    until_true(lambda: (folder / "log.txt").exists() and "it is made" in (folder / "log.txt").read_text())
    running = probe_of(workspace, draft.id, probe_work(draft))
    assert running is not None and running.folder == folder, "it is found while it runs"
    os.killpg(int((folder / WORKER).read_text()), signal.SIGKILL)
    until_true(lambda: read_job(folder).over)
    assert "killed from outside" in read_job(folder).reason
    assert probe_of(workspace, draft.id, probe_work(draft)) is None
