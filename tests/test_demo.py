"""The demo is the whole main job on a real model: what it leaves behind must hold."""

import json
import re
import subprocess
import sys
import zipfile
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import Demo, run_zoowizard
from imageio import v3 as iio
from PIL import Image


@pytest.fixture(scope="module")
def contents(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contents")
    with zipfile.ZipFile(demo.package) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def description(contents: Path) -> dict:
    return yaml.safe_load((contents / "rdf.yaml").read_text())


def in_fresh_process(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_json_is_what_programs_rely_on(demo: Demo) -> None:
    answer = demo.ran.json()
    assert answer["status"] == "passed"
    assert Path(answer["package"]).is_file()
    assert Path(answer["report"]).is_file()
    assert set(answer["parity"]) == {"images", "mean_iou", "identical_pixels"}
    assert [step["name"] for step in answer["steps"]] == ["convert", "describe", "compare", "package", "test", "save"]
    assert all(step["seconds"] >= 0 for step in answer["steps"])


def test_the_package_is_the_model(demo: Demo) -> None:
    parity = demo.ran.json()["parity"]
    assert parity["images"] >= 4
    assert parity["mean_iou"] == 1
    assert parity["identical_pixels"] == 1


PREDICT_BOTH = """
import os, sys
import numpy as np
from imageio import v3 as iio
description, checkpoint, picture, out, config = sys.argv[1:]
from bioimageio.core import predict
image = np.ascontiguousarray(iio.imread(picture)[40:340, 100:420])
labels = predict(model=description, inputs={"image": image[None, None]}).members["labels"].data.to_numpy()[0, 0]
assert "ultralytics" not in sys.modules
os.environ.update(YOLO_OFFLINE="1", YOLO_CONFIG_DIR=config, YOLO_AUTOINSTALL="0")
from ultralytics import YOLO
result = YOLO(checkpoint).predict(
    np.stack([image] * 3, axis=-1), conf=0.25, iou=0.4, max_det=1000, imgsz=512, retina_masks=True, verbose=False,
)[0]
native = np.zeros(image.shape, np.int32)
for number in range(len(result.masks.data), 0, -1):
    native[result.masks.data[number - 1].cpu().numpy() > 0] = number
np.savez(out, package=labels, native=native)
"""


def test_predicts_what_the_framework_predicts_on_an_image_it_was_not_built_with(
    contents: Path, sample_run: Path, nuclei: Path, tmp_path: Path
) -> None:
    """Asked of both libraries directly, without any of our code, on a crop that is not of the training size."""
    in_fresh_process(
        PREDICT_BOTH, contents / "rdf.yaml", sample_run / "weights/best.pt", nuclei, tmp_path / "both.npz", tmp_path
    )
    both = np.load(tmp_path / "both.npz")
    assert both["native"].max() > 20
    assert (both["package"] == both["native"]).all()


def test_weights_need_no_operator_of_torchvision(contents: Path) -> None:
    operators = in_fresh_process(
        "import sys, torch; m = torch.jit.load(sys.argv[1]); g = m.forward.graph; torch._C._jit_pass_inline(g);"
        "print('\\n'.join(sorted({n.kind() for n in g.findAllNodes('aten::add', True)} | set(str(g).split()))))",
        contents / "weights-torchscript.pt",
    )
    assert "aten::_convolution" in operators
    assert "torchvision" not in operators


def test_description_is_the_layout_that_the_zoos_runner_loads(description: dict) -> None:
    assert description["format_version"] == "0.5.10"
    assert description["covers"] == ["cover.png"]
    assert description["documentation"] == "README.md"
    assert datetime.fromisoformat(description["timestamp"]).tzinfo is not None
    assert "id" not in description
    weights = description["weights"]
    assert "parent" not in weights["torchscript"]
    assert weights["onnx"]["parent"] == "torchscript"
    assert all(re.fullmatch("[0-9a-f]{64}", entry["sha256"]) for entry in weights.values())


def test_report_says_which_tests_passed(demo: Demo) -> None:
    report = json.loads(Path(demo.ran.json()["report"]).read_text())
    assert report["status"] == "passed"
    assert {one["weight_format"]: one["status"] for one in report["formats"]} == {
        "torchscript": "passed",
        "onnx": "passed",
    }
    for one in report["formats"]:
        assert one["batches"] == [1, 2]
        assert len(one["sizes"]) >= 3
        assert one["drift"]["mismatched_per_million"] <= 5000
    assert report["tolerances"]["mismatched_elements_per_million"] <= 5000
    assert "passed" in (demo.output / "report.md").read_text()


def test_cover_and_samples_can_be_looked_at(contents: Path, nuclei: Path) -> None:
    cover = (contents / "cover.png").read_bytes()
    width, height = Image.open(BytesIO(cover)).size
    assert len(cover) <= 500_000
    assert width == 2 * height
    assert (iio.imread(contents / "sample_image.png") == iio.imread(nuclei)).all()
    assert iio.imread(contents / "sample_labels.tif").max() > 20


def test_card_holds_the_numbers(contents: Path) -> None:
    card = (contents / "README.md").read_text()
    assert "# Validation" in card
    assert "100 % of the pixels are identical" in card
    assert "mAP50" in card
    assert "![" in card and (contents / "curves.png").is_file()


def test_weights_are_stored_and_nothing_local_is_in_the_package(demo: Demo, tmp_path: Path) -> None:
    with zipfile.ZipFile(demo.package) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    packed = demo.package.read_bytes()
    for local in (str(demo.output), str(Path.home()), str(Path(__file__).parent.parent), "runs/nuclei-yolo11n"):
        assert local.encode() not in packed


def test_board_and_jobs_tell_the_same(demo: Demo) -> None:
    [row] = run_zoowizard(["board", "--json", "--workspace", demo.workspace]).json()
    assert list(row) == [
        "Model Name",
        "Category",
        "Description",
        "Status",
        "Meta-data Complete",
        "Exported",
        "Uploaded",
        "Notes",
    ]
    assert (row["Status"], row["Meta-data Complete"], row["Exported"], row["Uploaded"]) == (
        "Tested",
        "Yes",
        "Yes",
        "No",
    )
    [job] = run_zoowizard(["jobs", "--json", "--workspace", demo.workspace]).json()
    assert (job["state"], job["kind"]) == ("passed", "build")
    followed = run_zoowizard(["jobs", "follow", job["id"], "--workspace", demo.workspace])
    assert followed.code == 0
    assert "convert" in followed.err


def test_any_package_can_be_tested_again(demo: Demo, tmp_path: Path) -> None:
    ran = run_zoowizard(["test", demo.package, "--workspace", tmp_path, "--output", tmp_path / "again", "--json"])
    assert ran.code == 0, ran.err
    assert ran.json()["status"] == "passed"
    assert (tmp_path / "again" / "report.md").is_file()


def test_a_package_with_other_weights_fails_its_tests(demo: Demo, contents: Path, tmp_path: Path) -> None:
    """The tests can fail: the same package with a threshold that was changed inside its ONNX."""
    import hashlib

    import onnx

    broken = tmp_path / "broken"
    broken.mkdir()
    for path in contents.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    model = onnx.load(broken / "weights.onnx")
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim == 4:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.1), tensor.name))
    onnx.save(model, broken / "weights.onnx")
    described = yaml.safe_load((broken / "rdf.yaml").read_text())
    described["weights"]["onnx"]["sha256"] = hashlib.sha256((broken / "weights.onnx").read_bytes()).hexdigest()
    (broken / "rdf.yaml").write_text(yaml.safe_dump(described))
    ran = run_zoowizard(["test", broken, "--workspace", tmp_path / "ws", "--output", tmp_path / "out", "--json"])
    assert ran.code == 1
    assert ran.json()["status"] == "failed"
    assert "onnx" in ran.json()["reason"]
    formats = json.loads((tmp_path / "out" / "report.json").read_text())["formats"]
    assert {one["weight_format"]: one["status"] for one in formats} == {"torchscript": "passed", "onnx": "failed"}


def test_the_board_says_when_answers_were_changed_since_the_build(demo: Demo, tmp_path: Path) -> None:
    import shutil

    workspace = tmp_path / "workspace"
    shutil.copytree(demo.workspace, workspace)
    [path] = workspace.glob("models/*/draft.json")
    draft = json.loads(path.read_text())
    draft["given"]["description"]["value"] = "Finds something else than it was built for."
    path.write_text(json.dumps(draft))
    [row] = run_zoowizard(["board", "--json", "--workspace", workspace]).json()
    assert row["Exported"] == "Yes"
    assert "changed since" in row["Notes"]
