"""Networks that give images go the whole way, in 2-D and 3-D: real weights, the real library, clean processes."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import tiny_images
import yaml
from tiny_images import TinyImages

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.build_steps import KEPT
from zoowizard.jobs.folder import create
from zoowizard.jobs.steps import Steps
from zoowizard.library import clean
from zoowizard.packaging import build, compare, resume
from zoowizard.thumbnail import of_labels


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The server of clean processes is started once for all tests here, as it is once for a job."""
    before = os.environ.get(clean.CACHE)
    library = tmp_path_factory.mktemp("library") / "careamics" / "__init__.py"
    library.parent.mkdir()
    library.write_text(tiny_images.ARCHITECTURE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(library.parents[1]))
        clean.warm_up(tmp_path_factory.mktemp("clean") / "cache")
    yield
    clean._server.pop().close()
    os.environ.pop(clean.CACHE, None) if before is None else os.environ.update({clean.CACHE: before})


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> TinyImages:
    model = TinyImages()
    tiny_images.install(monkeypatch, model)
    return model


def built(model: TinyImages, tmp_path: Path, before: Path | None = None) -> tuple[dict[str, Any], Path]:
    """Outcome and folder of a build, which goes on with the one `before`."""
    work = {**tiny_images.work(tmp_path, model), **({"resume": str(before)} if before else {})}
    folder = create(tmp_path / "jobs", "build", "tiny", work)
    return build.run(work, folder, Steps(folder / "events.jsonl")), folder


def notes_of(folder: Path) -> dict[str, str]:
    """What the steps of a job said at their end."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return {one["step"]: one["note"] for one in events if one.get("note")}


def test_a_package_that_gives_an_image_is_compared_by_its_values(model: TinyImages, tmp_path: Path) -> None:
    outcome, folder = built(model, tmp_path)
    assert outcome["formats"] == ["pytorch_state_dict", "torchscript"]
    assert (outcome["parity"], outcome["not_measured"]) == (None, None)
    agreement = outcome["agreement"]
    assert agreement["images"] == 2
    assert 0 <= agreement["apart"] == agreement["outputs"]["sharp"] < 1e-5
    [difference] = outcome["differences"]
    assert difference["what"] == "largest difference of the output “sharp”, of its spread"
    assert difference["allowed"] == 1e-3
    assert model.asked == ["convert", "outputs", "outputs", "close"]
    assert notes_of(folder)["compare"].endswith(", on 2 images")

    with zipfile.ZipFile(outcome["package"]) as package:
        package.extractall(tmp_path / "unpacked")
    unpacked = tmp_path / "unpacked"
    cover = iio.imread(unpacked / "cover.png")
    assert cover.shape[1] == 2 * cover.shape[0] and (unpacked / "cover.png").stat().st_size <= 500_000
    assert cover[:, : cover.shape[0]].std() > 20 and cover[:, cover.shape[0] :].std() > 20
    assert (unpacked / "tiny_images.py").is_file()
    assert tifffile.imread(unpacked / "sample_image.tif").dtype == np.uint16
    card, report = (unpacked / "README.md").read_text(), Path(outcome["report"])
    for told in (card, report.with_suffix(".md").read_text()):
        assert "Agreement with the native framework" in told
        assert "on 2 images" in " ".join(told.split())
        assert "mean IoU" not in told and "Parity" not in told
    assert "signal-to-noise ratio" in card and "Annotate" not in card
    assert json.loads(report.read_text())["agreement"] == agreement
    assert [one["sizes"] for one in json.loads(report.read_text())["formats"]] == 2 * [[[96, 112], [88, 96]]]

    shown = of_labels(folder / "contents", 56, 56)
    assert (shown["width"], shown["height"], shown["objects"]) == (56, 48, False)


def test_a_volume_with_two_outputs(model: TinyImages, tmp_path: Path) -> None:
    model.network, model.shows = "Split", False
    outcome, folder = built(model, tmp_path)
    assert set(outcome["agreement"]["outputs"]) == {"parts", "balance"}
    assert len(outcome["differences"]) == 2
    assert outcome["formats"] == ["pytorch_state_dict", "torchscript"]
    contents = folder / "contents"
    for name, axes, shape in (
        ("image", "ZYX", (10, 40, 56)),
        ("parts", "ZCYX", (10, 2, 40, 56)),
        ("balance", "ZYX", (10, 40, 56)),
    ):
        with tifffile.TiffFile(contents / f"sample_{name}.tif") as file:
            [series] = file.series
            assert (series.axes, series.shape, file.is_imagej) == (axes, shape, True)
            written = series.asarray()
        tensor = np.load(contents / f"test_{name}.npy")[0]
        assert np.array_equal(written, tensor.swapaxes(0, 1) if name == "parts" else tensor[0])
    cover = iio.imread(contents / "cover.png")
    assert cover.shape[1] == 2 * cover.shape[0], "the middle planes of both are shown"
    report = json.loads(Path(outcome["report"]).read_text())
    assert report["formats"][0]["sizes"] == [[10, 40, 56], [10, 32, 40]]
    assert "image sizes tested: 10 x 40 x 56, 10 x 32 x 40" in Path(outcome["report"]).with_suffix(".md").read_text()
    assert "| Outputs |" not in (contents / "README.md").read_text()
    assert "`balance`" in (contents / "README.md").read_text()
    assert of_labels(contents, 56, 56)["shape"] == [40, 56, 2]


def test_several_inputs_are_predicted_and_compared(model: TinyImages, tmp_path: Path) -> None:
    model.network = "Merge"
    outcome, folder = built(model, tmp_path)
    assert outcome["agreement"]["apart"] < 1e-5
    described = yaml.safe_load((folder / "contents" / "rdf.yaml").read_text())
    assert [one["id"] for one in described["inputs"]] == ["image", "mask"]


def test_the_weights_of_another_network_are_refused_with_the_number(model: TinyImages, tmp_path: Path) -> None:
    model.packaged = model.scripted = 1
    said = r"torch, eager predicts: largest difference of the output “sharp”, of its spread: \d.*, where 0\.001 or less"
    with pytest.raises(ZoowizardError, match=said + r" would be right; it was not written") as caught:
        built(model, tmp_path)
    assert float(str(caught.value).split("its spread: ")[1].split(",")[0]) > 0.5
    assert model.asked[-1] == "close"
    assert not (tmp_path / "out").exists()


def test_a_network_may_be_of_the_library_that_the_description_names(model: TinyImages, tmp_path: Path) -> None:
    model.library = "careamics"  # else, to find it loaded would prove that the package cannot stand alone
    outcome, folder = built(model, tmp_path)
    assert outcome["formats"] == ["pytorch_state_dict", "torchscript"]
    described = yaml.safe_load((folder / "contents" / "rdf.yaml").read_text())
    assert described["weights"]["pytorch_state_dict"]["architecture"]["import_from"] == "careamics"


def test_another_shape_than_the_frameworks_is_refused(model: TinyImages, tmp_path: Path) -> None:
    model.cut = 4
    said = "the output “sharp” is of 1 x 1 x 96 x 112, where 1 x 1 x 96 x 108 would be right"
    with pytest.raises(ZoowizardError, match=said):
        built(model, tmp_path)


def test_a_format_that_differs_is_left_out_with_its_number(model: TinyImages, tmp_path: Path) -> None:
    model.scripted = 1
    outcome, folder = built(model, tmp_path)
    assert outcome["formats"] == ["pytorch_state_dict"]
    assert outcome["agreement"]["apart"] < 1e-5
    said = "torchscript was left out: its output “sharp” differs by up to"
    card = (folder / "contents" / "README.md").read_text()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    log = "\n".join(one["text"] for one in events if one["event"] == "note")
    for told in (card, Path(outcome["report"]).with_suffix(".md").read_text(), log):
        assert said in " ".join(told.split())
    with zipfile.ZipFile(outcome["package"]) as package:
        assert "tiny-torchscript.pt" not in package.namelist()


def test_a_format_whose_parent_is_left_out_is_of_the_parent_before(model: TinyImages, tmp_path: Path) -> None:
    model.scripted, model.has_onnx = 1, True
    outcome, folder = built(model, tmp_path)
    assert outcome["formats"] == ["pytorch_state_dict", "onnx"]
    assert 0 < outcome["agreement"]["apart"] < 1e-5, "another engine rounds otherwise"
    (folder / resume.TESTED).unlink()
    (folder / resume.PACKAGED).unlink()
    _, later = built(model, tmp_path, folder)
    for run in (folder, later):
        weights = yaml.safe_load((run / "contents" / "rdf.yaml").read_text())["weights"]
        assert {name: one.get("parent") for name, one in weights.items()} == {
            "pytorch_state_dict": None,
            "onnx": "pytorch_state_dict",
        }
        events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        assert ["torchscript was left out" in one["text"] for one in events if one["event"] == "note"][-1:] == [True]


@pytest.mark.parametrize("asked", [True, False])
def test_what_cannot_be_measured_is_said(model: TinyImages, tmp_path: Path, asked: bool) -> None:
    model.refuses, model.has_outputs = "a GPU is needed to ask it.", asked
    outcome, folder = built(model, tmp_path)
    why = "a GPU is needed to ask it" if asked else compare.NOBODY
    assert (outcome["agreement"], outcome["not_measured"]) == (None, why)
    assert f"Not measured: {why}." in (folder / "contents" / "README.md").read_text()
    assert notes_of(folder)["compare"] == f"not measured: {why}"


def test_all_of_it_is_taken_over_by_the_next_run(model: TinyImages, tmp_path: Path) -> None:
    first, folder = built(model, tmp_path)
    (folder / resume.TESTED).unlink()
    (folder / resume.PACKAGED).unlink()
    second, later = built(model, tmp_path, folder)
    assert {name: second[name] for name in ("agreement", "differences", "formats")} == {
        name: first[name] for name in ("agreement", "differences", "formats")
    }
    assert (notes_of(later)["convert"], notes_of(later)["compare"]) == (KEPT, KEPT)
    assert model.asked.count("convert") == 1 and model.asked.count("outputs") == 2
    for name in ("cover.png", "sample_sharp.tif", "rdf.yaml"):
        mine, before = ((run / "contents" / name).read_bytes() for run in (later, folder))
        assert mine == before or name == "rdf.yaml"
    assert of_labels(later / "contents", 40, 40)["objects"] is False
    assert "signal-to-noise ratio" in (later / "contents" / "README.md").read_text()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pytest, tiny_images
from zoowizard.jobs.steps import Steps
from zoowizard.packaging import build

model = tiny_images.TinyImages("Split", shows=False, on_outputs=lambda: os.kill(os.getpid(), signal.SIGKILL))
tiny_images.install(pytest.MonkeyPatch(), model)
folder = Path(sys.argv[2])
build.run(tiny_images.work(folder.parents[1], model), folder, Steps(folder / "events.jsonl"))
"""


def test_the_conversion_of_a_build_that_was_killed_is_taken_over(model: TinyImages, tmp_path: Path) -> None:
    model.network = "Split"
    folder = create(tmp_path / "jobs", "build", "tiny", tiny_images.work(tmp_path, model))
    command = [sys.executable, "-c", KILLED, str(Path(tiny_images.__file__).parent), str(folder)]
    assert subprocess.run(command, timeout=300, check=False, capture_output=True).returncode == -signal.SIGKILL
    outcome, later = built(model, tmp_path, folder)
    assert "convert" not in model.asked and notes_of(later)["convert"] == KEPT
    assert outcome["agreement"]["apart"] < 1e-5 and notes_of(later)["compare"] != KEPT
    for name, axes in (("sample_image.tif", "ZYX"), ("sample_parts.tif", "ZCYX")):
        with tifffile.TiffFile(later / "contents" / name) as file:
            assert file.series[0].axes == axes
    assert of_labels(later / "contents", 40, 40)["shape"] == [40, 56, 2]


@pytest.mark.parametrize(
    ("name", "told"),
    [("mine.py", "files were changed: architecture_file"), ("tiny.data", "files were changed: beside the checkpoint")],
)
def test_a_file_that_changed_is_converted_anew(model: TinyImages, tmp_path: Path, name: str, told: str) -> None:
    _, folder = built(model, tmp_path)
    (tmp_path / name).write_text("something else")
    _, later = built(model, tmp_path, folder)
    assert model.asked.count("convert") == 2
    assert told in (later / "events.jsonl").read_text()


def test_a_file_that_is_gone_is_named(model: TinyImages, tmp_path: Path) -> None:
    work = tiny_images.work(tmp_path, model)
    (tmp_path / "mine.py").unlink()
    folder = create(tmp_path / "jobs", "build", "tiny", work)
    with pytest.raises(ZoowizardError, match=r"mine\.py cannot be read: no such file"):
        build.run(work, folder, Steps(folder / "events.jsonl"))
