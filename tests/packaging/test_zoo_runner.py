"""The versions of the zoo's runner, for real: what runs there, what runs otherwise, what does not, and without them."""

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zoo_packages
from commands import run_zoowizard

from zoowizard.environments import interpreter
from zoowizard.jobs.steps import Steps
from zoowizard.packaging.report import ZooRun
from zoowizard.packaging.zoo_runner import format_report, run


def ran_there(description: Path, *formats: str) -> ZooRun:
    folder = description.parent
    with Steps(folder / "events.jsonl").step("test") as step:
        return run(interpreter("zoo"), description, formats, folder, step)


def zipped(description: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(description.parent.iterdir()):
            archive.write(file, file.name)
    return target


def test_what_passes_here_is_told_apart_there(tmp_path: Path) -> None:
    """Of one package: one format predicts otherwise, one cannot run, one passes; all three pass here."""
    described = zoo_packages.package(tmp_path / "in", zoo_packages.OTHERWISE_THERE, opset=23)
    package = zipped(described, tmp_path / "doubling.zip")
    told = ["--workspace", tmp_path / "ws", "--output", tmp_path / "out", "--in", "both", "--json"]
    ran = run_zoowizard(["test", package, *told])
    assert ran.code == 1, ran.err
    reason = ran.json()["reason"]
    assert "in the zoo's versions: pytorch_state_dict: runs, but predicts something else: the largest" in reason
    assert "onnx: cannot run: " in reason and "up to opset 21; export it with that or an older one" in reason

    report: dict[str, Any] = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {one["weight_format"]: one["status"] for one in report["formats"]} == dict.fromkeys(
        ("pytorch_state_dict", "torchscript", "onnx"), "passed"
    )
    there = {one["weight_format"]: one for one in report["zoo"]["formats"]}
    assert {name: one["status"] for name, one in there.items()} == {
        "pytorch_state_dict": "failed",
        "torchscript": "passed",
        "onnx": "failed",
    }
    assert there["pytorch_state_dict"]["drift"]["max_abs"] == pytest.approx(4.5, abs=0.01)
    assert there["pytorch_state_dict"]["drift"]["mismatched_per_million"] == 1e6
    assert there["torchscript"]["drift"] == {"max_abs": 0, "mismatched_per_million": 0}
    assert there["onnx"]["drift"] is None
    versions = report["zoo"]["environment"]
    assert (versions["bioimageio.core"], versions["bioimageio.spec"]) == ("0.10.4", "0.5.10.2")
    assert (versions["torch"], versions["onnxruntime"], versions["numpy"]) == ("2.5.1", "1.20.1", "1.26.4")
    runner = next(one for one in report["tools"] if one["tool"] == "the zoo's runner")
    assert runner["runs"] == "no" and "predicts something else" in runner["why"]
    shown = (tmp_path / "out" / "report.md").read_text()
    assert "## In the versions of the zoo's runner" in shown
    assert "not tried but where that is said" in shown


def test_a_network_that_needs_a_newer_torch(tmp_path: Path) -> None:
    found = ran_there(zoo_packages.package(tmp_path, zoo_packages.NEWER_TORCH), "pytorch_state_dict", "keras_v3")
    assert found.failed.startswith("pytorch_state_dict: cannot run: AttributeError: module 'torch' has no attribute")
    assert "the runner's versions lack something that it uses" in found.failed
    assert found.formats[1].status is None and "TensorFlow is left out" in found.formats[1].warnings[0]
    assert not found.passed


STARDIST = """
import sys
import numpy as np
from stardist import non_maximum_suppression, polygons_to_label
prob = np.zeros((64, 64), np.float32)
prob[20, 20], prob[45, 40] = 0.9, 0.8
far = np.full((64, 64, 32), 8, np.float32)
found = non_maximum_suppression(far, prob, grid=(1, 1), prob_thresh=0.5, nms_thresh=0.3)
print(polygons_to_label(found[2], found[0], prob=found[1], shape=(64, 64)).max(), "tensorflow" in sys.modules)
"""


def test_stardist_draws_labels_without_tensorflow() -> None:
    """As the library's `stardist_postprocessing` calls it."""
    said = subprocess.check_output([interpreter("zoo"), "-I", "-W", "ignore", "-c", STARDIST], text=True)
    assert said.split() == ["2", "False"]


def test_where_the_versions_cannot_be_had_the_rest_goes_on(tmp_path: Path) -> None:
    described = zoo_packages.package(tmp_path / "in")
    told = ["--workspace", tmp_path / "ws", "--output", tmp_path / "out", "--json"]
    both = run_zoowizard(["test", described, *told, "--in", "both"], ZOOWIZARD_ENVIRONMENTS="0")
    assert both.code == 0, both.err
    assert both.json()["zoo"]["passed"] is None
    assert "Not tested in the zoo's versions: ZOOWIZARD_ENVIRONMENTS=0 forbids environments" in both.err
    shown = (tmp_path / "out" / "report.md").read_text()
    assert "Not tested in the zoo's versions: ZOOWIZARD_ENVIRONMENTS=0 forbids environments beside this one." in shown

    alone = run_zoowizard(
        ["test", described, *told, "--in", "zoo"], PATH="/nowhere", ZOOWIZARD_ENVIRONMENTS=str(tmp_path)
    )
    assert alone.code == 1
    assert alone.json()["reason"].startswith("not tested in the zoo's versions: uv is not installed")


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("its process was killed, which is what happens when memory runs out", "could not be tested: its process was"),
        ("its process ended (exit code 1)", "the log has the details"),
    ],
)
def test_a_process_that_died(ending: str, said: str) -> None:
    report = format_report("onnx", {}, ending)
    assert report.status == "failed"
    assert said in report.errors[0]
