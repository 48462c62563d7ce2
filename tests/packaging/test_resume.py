"""What an earlier build left is taken over only where all that it depends on is as it was."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import Demo

from zoowizard.library.archive import sha256
from zoowizard.packaging import resume
from zoowizard.packaging.origin import Origin, origin
from zoowizard.packaging.resume import NotKept


@pytest.fixture
def earlier(demo: Demo, tmp_path: Path) -> Path:
    """The folder of the sample's build, to be damaged."""
    [built] = (demo.workspace / "models").glob("*/jobs/*")
    copy = tmp_path / "earlier"
    shutil.copytree(built, copy, ignore=shutil.ignore_patterns("bioimageio-cache", "contents", "comparison"))
    copy.chmod(0o700)
    return copy


@pytest.fixture
def now(earlier: Path) -> Origin:
    return Origin.model_validate(json.loads((earlier / resume.CONVERSION).read_text())["origin"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "later").mkdir(mode=0o700)
    return tmp_path / "later"


def test_the_ruins_of_a_package_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ruins-1.0.dist-info").mkdir()  # as pip leaves it where it was interrupted
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "model.pt").write_text("weights")
    made_from = origin("yolo", tmp_path / "model.pt", np.zeros((2, 2)), {})
    assert all(made_from.versions.values()) and "numpy" in made_from.versions


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_conversion_that_holds_is_the_same_again(earlier: Path, folder: Path, now: Origin) -> None:
    kept = resume.conversion_of(earlier, folder, now)
    assert [one.weight_format for one in kept.weights] == ["torchscript", "onnx"]
    assert [one.parent for one in kept.weights] == [None, "torchscript"]
    for one in kept.weights:
        assert one.path.parent == folder / "weights"
        assert sha256(one.path) == sha256(earlier / "weights" / one.path.name)
    [labels] = kept.outputs
    assert labels.test_tensor.shape == (1, 1, 512, 512)
    assert labels.test_tensor.max() > 20
    assert (labels.sample == labels.test_tensor[0, 0]).all()
    assert kept.facts == {"classes": ["nucleus"], "colour": "grayscale", "image_size": 512}
    third = earlier.parent / "third"
    third.mkdir()
    again = resume.conversion_of(folder, third, now)  # a retry of the retry
    assert np.array_equal(again.outputs[0].test_tensor, labels.test_tensor)


def test_the_run_before_may_lie_on_another_disk(
    earlier: Path, folder: Path, now: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object, **more: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    kept = resume.conversion_of(earlier, folder, now)
    assert kept.weights[0].path.stat().st_nlink == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"checkpoint": "0" * 64}, "the checkpoint was changed"),
        ({"image": "0" * 64}, "the test image was changed"),
        ({"values": {"confidence": 0.9}}, "answers were changed: .*confidence"),
        ({"versions": {"torch": "1"}}, "other versions are installed now: .* and \\d+ more"),
        ({"family": "other"}, "the checkpoint was changed"),
    ],
)
def test_what_was_made_from_something_else_is_not_taken(
    earlier: Path, folder: Path, now: Origin, change: dict[str, object], why: str
) -> None:
    with pytest.raises(NotKept, match=why):
        resume.conversion_of(earlier, folder, now.model_copy(update=change))
    assert files(folder) == set()


def test_one_other_version_is_named(earlier: Path, folder: Path, now: Origin) -> None:
    with pytest.raises(NotKept, match=r"^other versions are installed now: zoowizard$"):
        resume.conversion_of(earlier, folder, now.model_copy(update={"versions": {**now.versions, "zoowizard": "99"}}))


@pytest.mark.parametrize("name", ["weights/weights.onnx", "weights/weights-torchscript.pt", "tensors/sample_image.npy"])
def test_a_damaged_file_is_not_taken(earlier: Path, folder: Path, now: Origin, name: str) -> None:
    content = bytearray((earlier / name).read_bytes())
    content[len(content) // 2] ^= 1
    (earlier / name).write_bytes(content)
    with pytest.raises(NotKept, match=f"{name} of the run before is damaged"):
        resume.conversion_of(earlier, folder, now)
    assert files(folder) == set()


def test_a_missing_file_or_record(earlier: Path, folder: Path, now: Origin) -> None:
    (earlier / "weights" / "weights.onnx").unlink()
    with pytest.raises(NotKept, match="files of the run before are missing"):
        resume.conversion_of(earlier, folder, now)
    (earlier / resume.CONVERSION).write_text('{"version": 1')
    with pytest.raises(NotKept, match=r"conversion\.json of the run before is damaged"):
        resume.conversion_of(earlier, folder, now)
    (earlier / resume.CONVERSION).unlink()
    with pytest.raises(NotKept, match="did not come so far") as caught:
        resume.conversion_of(earlier, folder, now)
    assert not caught.value.begun
    assert files(folder) == set()


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "weights/../../outside"])
def test_a_record_reaches_nothing_outside(earlier: Path, folder: Path, now: Origin, name: str) -> None:
    record = json.loads((earlier / resume.CONVERSION).read_text())
    record["files"][name] = "0" * 64
    (earlier / resume.CONVERSION).write_text(json.dumps(record))
    with pytest.raises(NotKept, match="names a file"):
        resume.conversion_of(earlier, folder, now)


def test_a_link_in_the_run_before_is_not_followed(earlier: Path, folder: Path, now: Origin, tmp_path: Path) -> None:
    weights = earlier / "weights" / "weights.onnx"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotKept, match="is damaged"):
        resume.conversion_of(earlier, folder, now)
    assert files(folder) == set()


def test_a_comparison_holds_for_its_own_conversion_only(earlier: Path, folder: Path, now: Origin) -> None:
    answers = Origin.model_validate(json.loads((earlier / resume.COMPARED).read_text())["origin"])
    kept = resume.conversion_of(earlier, folder, now)
    comparison = resume.comparison_of(earlier, folder, kept, answers)
    assert comparison.parity is not None
    assert comparison.parity["mean_iou"] == 1
    assert [one.path for one in comparison.kept] == [one.path for one in kept.weights]
    assert {name for name, drift in comparison.drift.items() if drift.mismatched_per_million < 1000} == {
        "torchscript",
        "onnx",
    }
    assert len(comparison.sizes) == 4

    archive = folder / "nuclei.zip"
    archive.write_bytes(b"a package")
    resume.keep_packaged(folder, archive, answers)
    later = folder.parent / "latest"
    later.mkdir(mode=0o700)
    resume.conversion_of(folder, later, now)
    assert resume.packaged_of(folder, later, answers).read_bytes() == b"a package"
    archive.write_bytes(b"another one")
    with pytest.raises(NotKept, match=r"nuclei\.zip of the run before is damaged"):
        resume.packaged_of(folder, later, answers)
    with pytest.raises(NotKept, match="answers were changed: confidence"):
        resume.comparison_of(
            folder, later, kept, answers.model_copy(update={"values": {**answers.values, "confidence": 0}})
        )

    record = json.loads((later / resume.CONVERSION).read_text())
    (later / resume.CONVERSION).write_text(json.dumps({**record, "notes": ["converted anew"]}))
    for take in (
        lambda: resume.comparison_of(folder, later, kept, answers),
        lambda: resume.packaged_of(folder, later, answers),
    ):
        with pytest.raises(NotKept, match="another conversion"):
            take()


def test_what_is_taken_over_comes_from_the_first_run_that_has_it(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("newest", "before", "first")]

    def take(run: Path) -> str:
        if run.name == "first":
            return "taken"
        raise NotKept(f"{run.name} is damaged", begun=run.name == "before")

    assert resume.of_first(runs, take) == "taken"
    with pytest.raises(NotKept, match="before is damaged") as why:
        resume.of_first(runs[:2], take)
    assert why.value.begun
    with pytest.raises(NotKept) as why:
        resume.of_first([], take)
    assert not why.value.begun


def test_a_job_may_go_on_with_what_it_did_itself(earlier: Path, now: Origin) -> None:
    before = sha256(earlier / "weights" / "weights.onnx")
    kept = resume.conversion_of(earlier, earlier, now)
    assert sha256(kept.weights[1].path) == before
