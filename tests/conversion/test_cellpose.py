"""Cellpose 3's models, converted, draw what `CellposeModel.eval` of cellpose 3.1.1.2 draws: flows within 1e-3, the same
cells, in today's library and in the versions of the zoo's runner.

The checkpoints are trained for seconds by the real cellpose 3 (see `cellpose_models`), which is asked, too.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from cellpose_models import MODELS, Picture, cellpose3, cells, trained
from imageio import v3 as iio

from zoowizard.conversion import cellpose
from zoowizard.conversion.cellpose_native import Cellpose
from zoowizard.conversion.converted import Converted, NotMeasured
from zoowizard.environments import clean_variables
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Steps
from zoowizard.library import clean
from zoowizard.packaging import describe
from zoowizard.packaging.matching import match

PEOPLE = {"name": "cells", "description": "finds cells", "license": "MIT", "authors": [{"name": "somebody"}]}
TEST = """
import json, sys
from bioimageio.core import test_description
for description, weight_format in json.loads(sys.argv[1]):
    found = test_description(description, weight_format=weight_format, expected_type="model")
    print(json.dumps([found.status, [str(error) for detail in found.details for error in detail.errors]]))
"""


def values(name: str, **answers: Any) -> dict[str, Any]:
    """What is read from a checkpoint and what is answered."""
    read = {"nbase": list(MODELS[name].nbase), "nout": 3, "diam_mean": 30.0, "diam_labels": 25.310928}
    shape = {"style": True, "residual": True, "concatenation": False}
    thresholds = {"flow_threshold": 0.4, "cellprob_threshold": 0.0, "min_size": 15}
    colours = ("red", "green") if MODELS[name].channels == 2 else ("gray", "none")
    channels = dict(zip(("cyto_channel", "nuclei_channel"), colours, strict=True))
    return {**read, **shape, **thresholds, **channels, "diameter": 30.0, "package_kind": "labels", **answers}


def converted(checkpoint: Path, answers: dict[str, Any], image: Picture, folder: Path) -> Converted:
    folder.mkdir(exist_ok=True)
    with Steps(folder / "events.jsonl").step("convert") as step:
        return cellpose.convert(checkpoint, answers, image, folder, step)


@dataclass(frozen=True)
class Case:
    """A converted checkpoint, the image it was converted with, and the folder of its package."""

    converted: Converted
    image: Picture
    contents: Path

    @property
    def description(self) -> Path:
        return self.contents / "rdf.yaml"

    @property
    def formats(self) -> list[str]:
        return [one.weight_format for one in self.converted.weights]

    def predicted(self, weight_format: str, picture: Picture) -> Picture:
        """The only output of the package for a picture, by the zoo's library."""
        source, answer = self.contents / "input.npy", self.contents / "answer.npz"
        np.save(source, self.converted.native.to_input(picture))
        clean.predict(self.description, weight_format, [source], [answer])
        [output] = np.load(answer).values()
        return np.asarray(output)


def packaged(name: str, image: Picture, folder: Path, **answers: Any) -> Case:
    """Converted and described, the weights beside the description."""
    made, contents = converted(trained(name), values(name, **answers), image, folder / "weights"), folder / "contents"
    contents.mkdir()
    describe.write_tensors(made, contents)
    for one in made.weights:
        for path in (one.path, *one.files):
            (contents / path.name).hardlink_to(path)
    (contents / "README.md").write_text("# Validation")
    iio.imwrite(contents / "cover.png", np.zeros((8, 16, 3), np.uint8))
    described = describe.describe(PEOPLE, made, made.weights, describe.Provenance("cellpose", "", {}), {}, [])
    describe.write_description(described, contents)
    return Case(made, image, contents)


def of_16_bits(picture: Picture) -> Picture:
    return picture.astype(np.uint16) * 37 + 400


def touching() -> Picture:
    """Round cells of 30 px, each of which touches its four neighbours: (180, 240) uint8."""
    y, x = np.indices((30, 30)) - 14.5
    cell = 20 + 200 * np.clip(1.2 - np.hypot(y, x) / 15, 0, 1)
    return np.tile(cell, (6, 8)).astype(np.uint8) + np.random.default_rng(36).integers(0, 6, (180, 240), np.uint8)


LABELS = {
    "all cells touch": ("gray", touching(), {"diameter": 30.0}),
    "gray, small cells": ("gray", cells((120, 97), 18, 12, seed=31), {"diameter": 18.0}),
    "gray of 16 bits, large cells": ("gray", of_16_bits(cells((300, 420), 45, 22, seed=32)), {"diameter": 45.0}),
    "cells and nuclei": ("two-channel", cells((200, 256), 30, 22, 2, seed=33), {"min_size": 30}),
    "true size, many tiles": (
        "true-size",
        cells((330, 300), 24, 60, seed=34).astype(np.float32) / 255,
        {"diameter": 24},
    ),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    """All packages of labels, and one of flows."""
    made: dict[str, Case] = {}
    try:
        for case, (name, image, answers) in LABELS.items():
            made[case] = packaged(name, image, tmp_path_factory.mktemp("labels"), **answers)
        blocks, flows = cells((300, 260), 45, 14, seed=35), {"diameter": 45.0, "package_kind": "flows"}
        made["flows"] = packaged("gray", blocks, tmp_path_factory.mktemp("flows"), **flows)
        yield made
    finally:
        for one in made.values():
            one.converted.native.close()


@pytest.mark.parametrize("name", LABELS)
def test_the_package_draws_the_cells_that_cellpose_draws(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    native = case.converted.native
    truth = native.predict(case.image)
    assert native.differences is not None
    [apart] = native.differences(case.image)
    assert apart.value <= apart.allowed == 1e-3
    agreement = match(truth, case.predicted("pytorch_state_dict", case.image)[0, 0])
    assert agreement.n_true >= 8
    assert agreement.ap90 is not None
    assert agreement.ap90 >= 0.99


def test_flows_for_tools_without_python(cases: dict[str, Case]) -> None:
    """TorchScript and ONNX give the same, and the card says how far they are from Cellpose."""
    case = cases["flows"]
    assert case.formats == ["torchscript", "onnx"]
    tile = torch.rand(2, 1, 80, 112)
    session = onnxruntime.InferenceSession(case.contents / "weights.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        traced = torch.jit.load(case.contents / "weights-torchscript.pt")(tile).numpy()
    assert np.abs(session.run(None, {"image": tile.numpy()})[0] - traced).max() < 1e-4
    native = case.converted.native
    assert native.pictures is not None
    assert native.to_labels is not None
    assert native.differences is not None
    for picture in native.pictures(case.image).values():
        agreement = match(native.predict(picture), native.to_labels({"flows": case.predicted("onnx", picture)}))
        assert (agreement.mean_iou or 0) >= native.lowest_mean_iou
        assert all(one.value <= one.allowed for one in native.differences(picture))
    assert any("differ from Cellpose's by" in note for note in case.converted.notes)


def test_a_package_of_labels_says_how_far_one_of_flows_would_be(cases: dict[str, Case]) -> None:
    for name in LABELS:
        [share] = [
            float(told[1])
            for note in cases[name].converted.notes
            if (told := re.search(r"`package_kind: flows`\. .* ([\d.]+)% of the test image's cells are the same", note))
        ]
        assert 50 < share <= 100


def test_todays_library_passes_all(cases: dict[str, Case]) -> None:
    for case in cases.values():
        for weight_format in case.formats:
            said = clean.test_format(case.description, weight_format)
            assert said["status"] == "passed", said["errors"]


def test_the_zoos_runner_passes_all(cases: dict[str, Case], tmp_path: Path) -> None:
    """With the versions that it has: core 0.10.4, torch 2.5.1, cellpose 3.1.1.2."""
    todo = [(str(case.description), weight_format) for case in cases.values() for weight_format in case.formats]
    cache = {"BIOIMAGEIO_CACHE_PATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [cellpose3(), "-I", "-c", TEST, json.dumps(todo)]
    ran = subprocess.run(command, env=clean_variables() | cache, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    said = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")]
    assert said == [["passed", []]] * len(todo)


def test_the_test_tensor_is_as_the_image(cases: dict[str, Case]) -> None:
    for case in cases.values():
        [given] = case.converted.inputs
        assert given.test_tensor.dtype == case.image.dtype
        assert case.converted.labels is not None
        assert case.converted.labels.shape == case.image.shape[:2]


def test_without_cellpose_3_nothing_is_measured_and_the_package_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = trained("gray")
    monkeypatch.setenv("ZOOWIZARD_ENVIRONMENTS", "0")
    made = converted(checkpoint, values("gray"), cells((200, 256), 30, 14, seed=7), tmp_path)
    with pytest.raises(NotMeasured, match=r"cellpose 3 is not installed here: ZOOWIZARD_ENVIRONMENTS=0 forbids"):
        made.native.predict(cells((200, 256), 30, 14, seed=7))
    made.native.close()
    assert made.outputs[0].test_tensor.max() > 5


def test_an_interrupted_build_goes_on_with_the_same_framework(tmp_path: Path) -> None:
    """What is kept of a conversion is enough to compare with Cellpose again."""
    image, answers = cells((160, 128), 30, 8, 2, seed=8), values("two-channel")
    made = converted(trained("two-channel"), answers, image, tmp_path)
    again = cellpose.native(trained("two-channel"), answers, json.loads(json.dumps(dict(made.facts))), tmp_path)
    assert np.array_equal(again.to_input(image), made.native.to_input(image))
    assert np.array_equal(again.predict(image), made.native.predict(image))
    made.native.close()
    again.close()


GRAY = cells((96, 96), 30, 3, seed=9)
BOTH = cells((96, 96), 30, 3, 2, seed=9)
WITHOUT_NUCLEI = np.stack([GRAY, np.full_like(GRAY, 7)], axis=-1)
BAD = {
    "no cells": ("gray", np.random.default_rng(0).integers(0, 40, (96, 96), np.uint8), {}, "finds no cells"),
    "grayscale for a model of two channels": (
        "two-channel",
        GRAY,
        {},
        "it is grayscale, but `nuclei_channel` is green",
    ),
    "nuclei beside gray": ("two-channel", BOTH, {"cyto_channel": "gray"}, "Cellpose ignores the nuclei"),
    "empty nuclei": ("two-channel", WITHOUT_NUCLEI, {}, "channel of the nuclei is empty"),
    "no third channel": ("two-channel", BOTH, {"cyto_channel": "blue"}, "blue, channel 3, but the test image has 2"),
    "three channels needed": (
        "gray",
        BOTH,
        {"nbase": [3, 8, 16, 32]},
        "has 2 channels, but the network was made for 3",
    ),
    "other tensors": ("gray", GRAY, {"nbase": [2, 8, 16, 64]}, "its tensors do not make a Cellpose network"),
    "too small for blocks": (
        "gray",
        cells((96, 96), 60, 2, seed=10),
        {"diameter": 60.0, "package_kind": "flows"},
        "at least 128 pixels a side",
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_what_cannot_be_packaged_is_told_in_a_sentence(
    case: tuple[str, Picture, dict[str, Any], str], tmp_path: Path
) -> None:
    name, image, answers, said = case
    with pytest.raises(ZoowizardError, match=said):
        converted(trained(name), values(name, **answers), image, tmp_path)


def test_a_checkpoint_saved_by_several_gpus_in_the_old_format(tmp_path: Path) -> None:
    state = torch.load(trained("gray"), weights_only=True)
    torch.save(
        {f"module.{name}": tensor.half() for name, tensor in state.items()},
        tmp_path / "old",
        _use_new_zipfile_serialization=False,
    )
    made = converted(tmp_path / "old", values("gray"), cells((160, 128), 30, 6, seed=11), tmp_path / "weights")
    written = torch.load(made.weights[0].path, weights_only=True)
    assert list(written) == list(state)
    assert {tensor.dtype for tensor in written.values()} == {torch.float32}
    assert made.native.predict(cells((160, 128), 30, 6, seed=11)).any()
    made.native.close()


def test_cellpose_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    framework = Cellpose(cellpose3(), tmp_path)
    try:
        with pytest.raises(ZoowizardError, match="does not exist"):
            framework.load({"checkpoint": str(tmp_path / "missing")})
        framework._process.kill()
        with pytest.raises(ZoowizardError, match="was killed"):
            framework.draw(np.zeros((3, 64, 64), np.float32), {})
    finally:
        framework.close()
