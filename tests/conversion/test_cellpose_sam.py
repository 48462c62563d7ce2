"""Cellpose-SAM, converted, draws what `CellposeModel.eval` of cellpose 4 draws: flows within 1e-3, the same cells.

The networks have random weights and a last layer that is solved so that they find cells (see `cellpose_sam_models`);
all but one are small. Cellpose itself runs in a process of its own, with an encoder of the same size.
"""

import importlib.util
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from cellpose_sam_models import (
    SMALL,
    TRUE_SIZE,
    Picture,
    cells,
    network_of,
    python_with_small_encoder,
    write_checkpoint,
)
from imageio import v3 as iio

from zoowizard.conversion import cellpose_sam
from zoowizard.conversion.cellpose_sam_views import blocks, comparison_views, liveliest
from zoowizard.conversion.cellpose_sam_weights import put_float32, read_state_dict
from zoowizard.conversion.converted import Converted
from zoowizard.environments import clean_variables, interpreter
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Steps
from zoowizard.library import clean
from zoowizard.packaging import describe
from zoowizard.packaging.matching import match

PEOPLE = {"name": "cells", "description": "finds cells", "license": "MIT", "authors": [{"name": "somebody"}]}


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("small") / "cpsam_细胞", SMALL)


@dataclass(frozen=True)
class Case:
    """A converted checkpoint, the image it was converted with, and the folder of its package."""

    converted: Converted
    image: Picture
    contents: Path

    def predicted(self, weight_format: str, picture: Picture) -> Mapping[str, Any]:
        """The outputs of the package for a picture, by the zoo's library."""
        source, answer = self.contents / "input.npy", self.contents / "answer.npz"
        np.save(source, self.converted.native.to_input(picture))
        clean.predict(self.contents / "rdf.yaml", weight_format, [source], [answer])
        return dict(np.load(answer))


def converted(checkpoint: Path, image: Picture, folder: Path, **values: Any) -> Converted:
    folder.mkdir(exist_ok=True)
    with Steps(folder / "events.jsonl").step("convert") as step:
        return cellpose_sam.convert(checkpoint, values, image, folder, step)


def packaged(checkpoint: Path, image: Picture, folder: Path, **values: Any) -> Case:
    """Converted and described, the weights beside the description."""
    made, contents = converted(checkpoint, image, folder / "weights", **values), folder / "contents"
    contents.mkdir()
    describe.write_tensors(made, contents)
    for one in made.weights:
        for path in (one.path, *one.files):
            (contents / path.name).hardlink_to(path)
    (contents / "README.md").write_text("# Validation")
    iio.imwrite(contents / "cover.png", np.zeros((8, 16, 3), np.uint8))
    provenance = describe.Provenance("cellpose_sam", "", {})
    allowed = describe.suggest_tolerances(made.elsewhere_per_million)
    tolerances = {one.weight_format: allowed for one in made.weights}
    described = describe.describe(PEOPLE, made, made.weights, provenance, tolerances, [])
    describe.write_description(described, contents)
    return Case(made, image, contents)


@pytest.fixture(scope="module", autouse=True)
def cellpose_with_small_encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = cellpose_sam.PYTHON
    cellpose_sam.PYTHON = python_with_small_encoder(tmp_path_factory.mktemp("python"))
    yield
    cellpose_sam.PYTHON = before


def of_16_bits(picture: Picture) -> Picture:
    return picture.astype(np.uint16) * 37 + 400


LABELS = {
    "gray": (cells((512, 640), 3), {}),
    "two channels of 16 bits, large cells": (
        of_16_bits(cells((420, 512), 4, channels=2, radius=(14, 22))),
        {"diameter": 50.0, "flow_threshold": 0.6, "cellprob_threshold": -0.5, "min_size": 40},
    ),
}


@pytest.fixture(scope="module", params=LABELS.items(), ids=lambda item: item[0])
def labels_case(
    request: pytest.FixtureRequest, small: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    image, values = request.param[1]
    case = packaged(small, image, tmp_path_factory.mktemp("labels"), package_kind="labels", **values)
    yield case
    case.converted.native.close()


def test_the_package_draws_the_cells_that_cellpose_draws(labels_case: Case) -> None:
    native = labels_case.converted.native
    assert native.pictures is not None
    assert native.differences is not None
    found = 0
    for picture in native.pictures(labels_case.image).values():
        truth = native.predict(picture)
        [apart] = native.differences(picture)
        assert apart.value <= apart.allowed == 1e-3
        for weights in labels_case.converted.weights:
            agreement = match(truth, labels_case.predicted(weights.weight_format, picture)["labels"][0, 0])
            assert agreement.mean_iou is not None
            assert agreement.mean_iou >= 0.99
            assert agreement.n_true == agreement.n_pred == agreement.n_matched
        found += agreement.n_true
    assert [one.weight_format for one in labels_case.converted.weights] == ["pytorch_state_dict", "torchscript"]
    assert found > 40


def test_the_zoo_passes_it(labels_case: Case) -> None:
    for weights in labels_case.converted.weights:
        said = clean.test_format(labels_case.contents / "rdf.yaml", weights.weight_format)
        assert said["status"] == "passed", said["errors"]


ZOO = """
import sys
from bioimageio.core import test_description
found = test_description(sys.argv[1], weight_format=sys.argv[2], expected_type="model")
print(found.status, [error.msg for detail in found.details for error in detail.errors])
"""


def test_the_zoos_own_runner_passes_it_or_it_is_said_why_not(labels_case: Case, tmp_path: Path) -> None:
    """PyTorch 2.5, cellpose 3, the library before today's; it has no cellpose 4 and no Segment Anything."""
    variables = clean_variables() | {"BIOIMAGEIO_CACHE_PATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    notes = " ".join(labels_case.converted.notes)
    for weights in labels_case.converted.weights:
        arguments = [labels_case.contents / "rdf.yaml", weights.weight_format]
        command = [interpreter("zoo"), "-I", "-c", ZOO, *arguments]
        ran = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        passed = ran.stdout.split()[:1] == ["passed"]
        assert passed or "elements disagree" in ran.stdout, ran.stdout + ran.stderr
        assert passed != ("fails with cellpose 3" in notes)
    assert passed or labels_case.image.ndim == 3


def test_the_test_tensor_is_a_part_that_shows_cells(labels_case: Case) -> None:
    [given], [drawn] = labels_case.converted.inputs, labels_case.converted.outputs
    assert given.test_tensor.dtype == labels_case.image.dtype
    assert given.test_tensor.shape[2] <= 400 < labels_case.image.shape[0]
    assert len(np.unique(drawn.test_tensor)) > 3
    assert any(f"{given.test_tensor.shape[2]} x" in note for note in labels_case.converted.notes)


def test_it_says_how_far_a_package_of_flows_would_be(labels_case: Case) -> None:
    told = [note for note in labels_case.converted.notes if "`package_kind: flows`" in note]
    assert bool(told) == (labels_case.image.ndim == 2)  # the other one is resized inside, which blocks are not
    assert all(0 <= float(note.split("blocks, ")[1].split("%")[0]) <= 100 for note in told)


def test_the_architecture_needs_nothing_of_cellpose(labels_case: Case) -> None:
    described = yaml.safe_load((labels_case.contents / "rdf.yaml").read_text())
    source = described["weights"]["pytorch_state_dict"]["architecture"]["source"]
    code = (labels_case.contents / source).read_text()
    assert not any(f"import {name}" in code for name in ("cellpose", "segment_anything", "zoowizard"))
    assert not any(f"from {name}" in code for name in ("cellpose", "segment_anything", "zoowizard"))


def test_flows_of_blocks_are_those_of_the_bare_network(small: Path, tmp_path: Path) -> None:
    """TorchScript and ONNX say the same, with and without a halo, and the library runs both."""
    case = packaged(small, cells((300, 600), 5), tmp_path, package_kind="flows")
    by_format = {one.weight_format: one for one in case.converted.weights}
    assert list(by_format) == ["torchscript", "onnx"]
    network = torch.jit.load(str(by_format["torchscript"].path))
    session = onnxruntime.InferenceSession(by_format["onnx"].path, providers=["CPUExecutionProvider"])
    tile = torch.rand(2, 1, 256, 256)
    with torch.no_grad():
        truth = network_of(SMALL)(tile)[0].numpy()
        padded = torch.nn.functional.pad(tile, [24] * 4)
        for given, halo in ((tile, 0), (padded, 24)):
            inner = np.s_[:, :, halo : halo + 256, halo : halo + 256]
            assert np.abs(network(given).numpy()[inner] - truth).max() < 1e-3
            assert np.abs(session.run(None, {"image": given.numpy()})[0][inner] - truth).max() < 1e-3
    for weight_format in by_format:
        said = clean.test_format(case.contents / "rdf.yaml", weight_format)
        assert said["status"] == "passed", said["errors"]
    native = case.converted.native
    assert native.pictures is not None
    assert native.to_labels is not None
    for picture in native.pictures(case.image).values():
        agreement = match(native.predict(picture), native.to_labels(case.predicted("onnx", picture)))
        assert (agreement.mean_iou or 0) >= native.lowest_mean_iou
    native.close()


def test_plain_float32_weights_are_not_copied(small: Path, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in torch.load(small, weights_only=True).items()}
    torch.save(state, tmp_path / "cpsam")
    put_float32(tmp_path / "cpsam", read_state_dict(tmp_path / "cpsam"), tmp_path / "weights.pt")
    assert (tmp_path / "weights.pt").samefile(tmp_path / "cpsam")


@pytest.mark.parametrize("kind", ["bfloat16", "several GPUs", "old format", "views of larger tensors"])
def test_other_weights_are_written_as_plain_float32(kind: str, small: Path, tmp_path: Path) -> None:
    checkpoint, weights = tmp_path / "cpsam", tmp_path / "weights.pt"
    state: Mapping[str, torch.Tensor] = torch.load(small, weights_only=True)
    if kind == "bfloat16":
        state = {name: tensor.bfloat16() for name, tensor in state.items()}
    elif kind == "several GPUs":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save(state, checkpoint, _use_new_zipfile_serialization=kind != "old format")
    put_float32(checkpoint, read_state_dict(checkpoint), weights)
    written = torch.load(weights, weights_only=True)
    assert list(written) == [name.removeprefix("module.") for name in state]
    for one, other in zip(written.values(), state.values(), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other.float())
    assert weights.stat().st_size < sum(one.nbytes for one in written.values()) + 200_000
    with zipfile.ZipFile(weights) as archive:
        assert archive.testzip() is None
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_bfloat16_is_told(small: Path, tmp_path: Path) -> None:
    state = {name: tensor.bfloat16() for name, tensor in torch.load(small, weights_only=True).items()}
    torch.save(state, tmp_path / "cpsam")
    image = cells((200, 220), 2)
    made = converted(tmp_path / "cpsam", image, tmp_path / "weights")
    assert any("bfloat16" in note and "same numbers in float32" in note for note in made.notes)
    assert made.labels is not None
    assert match(made.native.predict(image), made.labels).identical_pixels == 1
    made.native.close()


def spoiled(small: Path, path: Path, how: str) -> Path:
    state = dict(torch.load(small, weights_only=True))
    if how == "cellpose 3":
        state = {"downsample.down.res_down_0.conv.conv_0.0.weight": torch.ones(2)}
    elif how == "another block":
        state["encoder.blocks.7.norm1.weight"] = torch.ones(96)
    elif how == "lost":
        del state["encoder.neck.0.weight"]
    elif how == "classes":
        state["W2"] = torch.zeros(6 * 64, 6, 8, 8)
    torch.save({"model": state, "epoch": 3} if how == "nested" else state, path)
    if how == "shortened":
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
    return path


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cellpose 3", "Cellpose 1, 2 or 3"),
        ("another block", "encoder.blocks.7.norm1.weight is unknown"),
        ("lost", "encoder.neck.0.weight is missing"),
        ("classes", "it gives 6 outputs"),
        ("nested", "more than the weights"),
        ("shortened", "damaged or shortened"),
    ],
)
def test_what_is_no_whole_cellpose_sam_is_named(how: str, said: str, small: Path, tmp_path: Path) -> None:
    checkpoint = spoiled(small, tmp_path / "cpsam_mine", how)
    with pytest.raises(ZoowizardError, match=said) as raised:
        converted(checkpoint, cells((200, 200)), tmp_path / "weights")
    assert str(raised.value).startswith("cpsam_mine: ")


def test_an_image_without_cells_is_named(small: Path, tmp_path: Path) -> None:
    empty = np.random.default_rng(0).integers(20, 23, (220, 220)).astype(np.uint8)
    with pytest.raises(ZoowizardError, match=r"test_image: the model finds no cells in empty\.tif.*threshold of 90"):
        converted(small, empty, tmp_path / "weights", test_image="empty.tif", cellprob_threshold=90.0)


def test_an_image_smaller_than_a_block_is_named(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ZoowizardError, match=r"200 x 300 pixels.*256 x 256"):
        converted(small, cells((200, 300)), tmp_path / "weights", package_kind="flows")


def test_the_liveliest_part_is_found() -> None:
    image = np.full((2000, 1500), 30, np.uint8)
    image[1300:1700, 200:440] = cells((400, 240))
    image[100:180, 900:1000] = cells((80, 100), 1)
    first, second, *_ = liveliest(image, 1.0, 3)
    assert first.shape == second.shape == (400, 240)
    assert first.mean() > second.mean() > 30
    assert all(block.shape == (256, 256) for block in blocks(image, 4))


@pytest.mark.parametrize("rescale", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("shape", [(64, 64), (64, 2000), (300, 500), (1200, 900)])
def test_views_fit_into_the_image_and_are_large_enough(shape: tuple[int, int], rescale: float) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    for picture in comparison_views(image, rescale).values():
        assert min(picture.shape) >= 64
        assert max(picture.shape) <= max(shape)


ANSWERS = {
    "name": "Cells of Cellpose-SAM",
    "description": "Finds cells in drawn images and gives each a number of its own.",
    "category": "Community Interest Models",
    "authors": [{"name": "The zoowizard developers"}],
    "tags": ["fluorescence-light-microscopy", "2d", "cells"],
    "modality": "fluorescence microscopy",
    "license": "MIT",
    "training_data_name": "Drawn cells",
    "training_data_source": "Drawn by a test",
    "training_data_license": "CC0-1.0",
    "test_image": "cells.png",
    "intended_use": "Trying out what a test does.",
    "limitations": "It never saw a real image.",
}


def peak_memory_gb(arguments: list[str | Path]) -> float:
    """Of a command of zoowizard and all that it started, measured as by the benchmarks."""
    spec = importlib.util.spec_from_file_location("measure", Path(__file__).parents[2] / "benchmarks" / "measure.py")
    assert spec is not None
    assert spec.loader is not None
    measure = importlib.util.module_from_spec(spec)
    sys.modules["measure"] = measure
    spec.loader.exec_module(measure)
    peak: float = measure.peak_memory_of(measure.zoowizard(*arguments))
    return peak


@pytest.mark.slow
def test_a_network_of_the_true_size_is_built_in_little_memory(tmp_path: Path) -> None:
    """1.2 GB of weights, from the command to the package; at most 5.5 GB at one time, and no second copy of them."""
    checkpoint = write_checkpoint(tmp_path / "cpsam_mine", TRUE_SIZE)
    iio.imwrite(tmp_path / "cells.png", cells((512, 512), 3))
    (tmp_path / "answers.yaml").write_text(yaml.safe_dump(ANSWERS))
    places: list[str | Path] = ["--workspace", tmp_path / "workspace", "--output", tmp_path / "output", "--json"]
    peak = peak_memory_gb(["build", checkpoint, "--answers", tmp_path / "answers.yaml", *places])
    assert peak <= 5.5
    [as_json] = (tmp_path / "output").glob("*.json")
    report = json.loads(as_json.read_text())
    assert report["status"] == "passed"
    assert report["parity"]["mean_iou"] >= 0.99
    assert all(one["n_true"] == one["n_pred"] == one["n_matched"] > 10 for one in report["parity"]["per_image"])
    [apart] = report["differences"]
    assert apart["value"] <= 1e-3
    assert [one["weight_format"] for one in report["formats"]] == ["pytorch_state_dict", "torchscript"]
    [weights] = (tmp_path / "workspace").glob("models/*/jobs/*/weights/weights-pytorch.pt")
    assert weights.samefile(checkpoint)
