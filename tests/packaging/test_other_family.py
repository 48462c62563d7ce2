"""A family that has nothing of the others goes the whole way: real weights, the real library, clean processes."""

import json
import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tiny_model
import yaml
from tiny_model import TinyModel

from zoowizard.conversion.converted import Difference
from zoowizard.drafts.images import EIGHT_BIT
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.build_steps import KEPT
from zoowizard.jobs.folder import create
from zoowizard.jobs.steps import Steps
from zoowizard.library import clean
from zoowizard.packaging import build, resume
from zoowizard.thumbnail import of_labels

NEAR = Difference("flows, largest difference", 2e-5, 1e-3)


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The server of clean processes is started once for all tests here, as it is once for a job."""
    before = os.environ.get(clean.CACHE)
    clean.warm_up(tmp_path_factory.mktemp("clean") / "cache")
    yield
    clean._server.pop().close()
    os.environ.pop(clean.CACHE, None) if before is None else os.environ.update({clean.CACHE: before})


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> TinyModel:
    model = TinyModel()
    tiny_model.install(monkeypatch, model)
    return model


def built(tmp_path: Path, before: Path | None = None) -> tuple[dict[str, Any], Path]:
    """Outcome and folder of a build, which goes on with the one `before`."""
    work = {**tiny_model.work(tmp_path), **({"resume": str(before)} if before else {})}
    folder = create(tmp_path / "jobs", "build", "tiny", work)
    return build.run(work, folder, Steps(folder / "events.jsonl")), folder


def test_labels_drawn_by_a_postprocessing_of_a_state_dict(model: TinyModel, tmp_path: Path) -> None:
    model.differences = lambda image: [NEAR, Difference("masks", float(image.shape[0] == 76), 1.0)]
    outcome, folder = built(tmp_path)
    assert outcome["parity"] == {"images": 2, "mean_iou": 1.0, "identical_pixels": 1.0}
    assert outcome["formats"] == ["pytorch_state_dict", "torchscript"]
    assert outcome["not_measured"] is None
    assert {one["what"]: one["value"] for one in outcome["differences"]} == {NEAR.what: 2e-5, "masks": 1.0}
    assert model.asked == ["predict", "predict", "close"]

    with zipfile.ZipFile(outcome["package"]) as package:
        names = set(package.namelist())
        card, described = package.read("README.md").decode(), yaml.safe_load(package.read("rdf.yaml"))
        package.extract("sample_image.tif", tmp_path)
        package.extract("cover.png", tmp_path)
    assert {"tiny.pt", "tiny_network.py", "tiny-torchscript.pt"} < names
    of_file = described["weights"]["pytorch_state_dict"]["architecture"]
    assert of_file["kwargs"] == {"threshold": 0.3, "slope_px": 0, "upside_down": False, "weights": []}
    assert described["outputs"][0]["postprocessing"][0]["kwargs"]["do_3D"] is False
    assert described["config"]["zoowizard"]["settings"] == {"sharpness": 0}
    sample = iio.imread(tmp_path / "sample_image.tif")
    assert np.array_equal(np.moveaxis(sample, 0, -1), tiny_model.blobs())
    assert iio.imread(tmp_path / "cover.png")[:, :, 0].max() > 200
    for words in (
        "**Sharpness of the blobs:** 0",
        "| Framework | cellpose 3.1.1.2 |",
        "| flows, largest difference | 2e-05 (allowed: 0.001) |",
        "AP at IoU 0.9",
        "It knows blobs only.",
        "| the zoo's runner | yes | pytorch_state_dict |",
        "does not know cellpose_flow_dynamics",
    ):
        assert words in card, words
    report = json.loads(Path(outcome["report"]).read_text())
    assert report["parity"]["ap90"] == 1
    assert [one["errors"] for one in report["formats"]] == [[], []]
    assert {one["tool"]: one["runs"] for one in report["tools"]}["the zoo's runner"] == "yes"
    assert NEAR.what in Path(outcome["report"]).with_suffix(".md").read_text()
    assert of_labels(folder / "contents", 40, 40)["max"] > 10


def test_a_test_tensor_that_is_none_of_the_compared_images_is_compared_with_itself(
    model: TinyModel, tmp_path: Path
) -> None:
    model.tested_px = 72
    outcome, _ = built(tmp_path)
    assert outcome["parity"] == {"images": 2, "mean_iou": 1.0, "identical_pixels": 1.0}
    report = json.loads(Path(outcome["report"]).read_text())
    for one in report["formats"]:
        assert one["drift"]["mismatched_per_million"] == 0
        assert one["sizes"] == [[96, 112], [76, 103]]


def test_flows_are_compared_by_the_labels_that_they_make(model: TinyModel, tmp_path: Path) -> None:
    model.flows_only = True
    outcome, folder = built(tmp_path)
    assert outcome["parity"]["mean_iou"] == 1
    assert iio.imread(folder / "contents" / "sample_flows.tif").shape == (3, 96, 112)
    assert of_labels(folder / "contents", 40, 40)["max"] > 10, "the kept labels are shown, the package has none"


def test_what_cannot_be_measured_is_said_and_not_made_up(model: TinyModel, tmp_path: Path) -> None:
    model.flows_only, model.refuses = True, "cellpose 3 cannot be had here."
    outcome, folder = built(tmp_path)
    assert outcome["parity"] is None
    assert outcome["not_measured"] == "cellpose 3 cannot be had here"
    with zipfile.ZipFile(outcome["package"]) as package:
        card = package.read("README.md").decode()
    told = Path(outcome["report"]).with_suffix(".md").read_text()
    for text in (card, told):
        assert "Not measured: cellpose 3 cannot be had here." in text
        assert "mean IoU" not in text
    assert {one["weight_format"] for one in json.loads(Path(outcome["report"]).read_text())["formats"]} == {
        "pytorch_state_dict",
        "torchscript",
    }
    (folder / resume.TESTED).unlink()
    again, _ = built(tmp_path, folder)
    assert (again["parity"], again["not_measured"]) == (None, outcome["not_measured"])
    assert model.asked == ["predict", "close"], "the comparison was kept with its reason"


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_a_package_that_is_too_far_away_is_not_written(model: TinyModel, tmp_path: Path, value: float) -> None:
    model.flows_only = True
    model.differences = lambda image: [NEAR, Difference("flows", value if image.shape[0] == 76 else 0.0, 1e-3)]
    said = rf"tiny 1\.0 predicts: flows: {value:.3g}, where 0\.001 or less would be right; it was not written"
    with pytest.raises(ZoowizardError, match=said):
        built(tmp_path)
    assert model.asked[-1] == "close"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["import torch\n", "bright = "])
def test_a_network_that_needs_the_framework_itself_proves_nothing(model: TinyModel, tmp_path: Path, place: str) -> None:
    indent = "" if place.startswith("import") else 8 * " "
    model.architecture = tiny_model.ARCHITECTURE.replace(place, f"import cellpose.version\n{indent}{place}", 1)
    with pytest.raises(ZoowizardError, match="pytorch_state_dict: cellpose was loaded during the test") as caught:
        built(tmp_path)
    assert "torchscript: cellpose" not in str(caught.value), "there the postprocessing loaded it"


def test_a_kept_conversion_is_compared_as_the_first_was(model: TinyModel, tmp_path: Path) -> None:
    model.flows_only, model.differences = True, lambda image: [NEAR]
    first, folder = built(tmp_path)
    for name in (resume.TESTED, resume.PACKAGED, resume.COMPARED):
        (folder / name).unlink()
    second, later = built(tmp_path, folder)
    assert second["parity"] == first["parity"]
    assert second["differences"] == first["differences"]
    assert model.asked == 2 * ["predict", "predict", "close"]
    assert (later / "weights" / "tiny_network.py").stat().st_nlink > 1
    steps = [json.loads(line) for line in (later / "events.jsonl").read_text().splitlines()]
    assert [one["step"] for one in steps if one.get("note") == KEPT] == ["convert"]

    for run in (folder, later):
        (run / resume.TESTED).unlink(missing_ok=True)
        (run / "weights" / "tiny_network.py").unlink()
        (run / "weights" / "tiny_network.py").write_text("changed")
    _, last = built(tmp_path, later)
    assert "weights/tiny_network.py of the run before is damaged" in (last / "events.jsonl").read_text()


def test_large_weights_are_run_one_after_another(
    model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.flows_only = True
    begun: list[Future[Any]] = []
    real = clean.in_clean_process

    def alone(*arguments: Any) -> Future[Any]:
        assert all(one.done() for one in begun), "another is at work"
        assert arguments[0] is not clean.test_format or model.asked[-1] == "close", "the framework is still loaded"
        assert arguments[0] is not clean.predict or not model.asked, "the framework works beside it"
        begun.append(real(*arguments))
        return begun[-1]

    monkeypatch.setattr(clean, "in_clean_process", alone)
    monkeypatch.setattr(clean, "MOST_BESIDE_BYTES", 1000)
    outcome, _ = built(tmp_path)
    assert outcome["parity"]["mean_iou"] == 1
    assert len(begun) == 4


def test_a_format_that_is_left_out_takes_only_its_own_files_with_it(
    model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.flows_only = True
    convert = model.convert

    def with_more(*arguments: Any) -> Any:
        converted = convert(*arguments)
        state, script = converted.weights
        table = state.path.with_name("table.json")
        table.write_text("{}")
        script.path.write_bytes(b"no weights")
        return replace(converted, weights=[state, replace(script, files=[*state.files, table])])

    monkeypatch.setattr(model, "convert", with_more)
    tiny_model.install(monkeypatch, model)
    outcome, _ = built(tmp_path)
    assert outcome["formats"] == ["pytorch_state_dict"]
    with zipfile.ZipFile(outcome["package"]) as package:
        names = set(package.namelist())
    assert "tiny_network.py" in names
    assert not {"table.json", "tiny-torchscript.pt"} & names


def test_an_image_that_the_family_does_not_take_is_refused_in_its_words(
    model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.accepts = EIGHT_BIT
    tiny_model.install(monkeypatch, model)
    with pytest.raises(ZoowizardError, match=r"blobs\.tif is 16-bit; save an 8-bit copy"):
        built(tmp_path)
