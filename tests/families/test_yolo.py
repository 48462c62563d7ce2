"""What is read of a YOLO run, and what is found suspicious about it."""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from zoowizard.families import yolo
from zoowizard.families.family import Recognition


def recognised(path: Path) -> Recognition:
    found = yolo.recognise(path)
    assert found is not None
    assert found.family == "yolo"
    return found


def values(found: Recognition) -> dict[str, Any]:
    return {name: one.value for name, one in found.values.items()}


def codes(found: Recognition) -> list[str]:
    return [one.code for one in found.warnings]


def test_a_run_folder_tells_everything_but_what_must_be_asked(run_folder: Path) -> None:
    found = recognised(run_folder)
    told = values(found)
    assert found.checkpoint == run_folder / "weights" / "best.pt"
    assert any("last.pt" in sentence for sentence in found.evidence)
    assert told["parameters"] > 2_000_000
    expected = {
        "architecture": "YOLO11n-seg",
        "classes": ["nucleus", "cell/debris"],
        "input_channels": 3,
        "image_size": 704,
        "image_size_asked": 680,
        "epochs": 3,
        "epochs_done": 3,
        "batch": 4,
        "optimizer": "AdamW",
        "learning_rate": 0.002,
        "augmentation": {"hsv_h": 0.015, "fliplr": 0.5, "mosaic": 1.0},
        "seed": 7,
        "ultralytics_version": "8.4.190",
        "trained_on": "2026-05-04",
        "training_seconds": 4.5,
        "best_epoch": 2,
        "metrics": {"boxes": {"mAP50-95": 0.4}, "masks": {"mAP50": 0.6, "mAP50-95": 0.3}},
        "base_weights": "yolo11n-seg.pt",
        "license": "AGPL-3.0-only",
        "tags": ["instance-segmentation", "2d", "yolo", "nucleus", "cell-debris"],
    }
    assert {name: told.get(name) for name in expected} == expected
    assert told["curves"]["val/seg_loss"] == [4.0, 3.0, 3.1]
    assert found.values["image_size"].origin == "checkpoint"
    assert found.values["image_size_asked"].origin == "args.yaml"
    assert found.values["curves"].origin == "results.csv"
    assert codes(found) == ["image-size-rounded"]
    assert "680" in found.warnings[0].message
    assert "704" in found.warnings[0].message


def test_no_local_path_and_no_git_remote_is_among_the_values(run_folder: Path) -> None:
    found = recognised(run_folder)
    told = json.dumps([values(found), found.evidence, [one.message for one in found.warnings]])
    assert "secret" not in told
    assert "/home" not in told
    assert str(run_folder) not in told


@pytest.mark.parametrize(
    ("description", "architecture"),
    [
        ("yolov8n-seg.yaml", "YOLOv8n-seg"),
        ("yolo12n-seg.yaml", "YOLO12n-seg"),
        ("yolo26n-seg.yaml", "YOLO26n-seg"),
    ],
)
def test_each_architecture_by_its_name(description: str, architecture: str, saved: Callable[..., Path]) -> None:
    found = recognised(saved(description))
    assert values(found)["architecture"] == architecture
    assert not found.refused


def test_a_lone_checkpoint_holds_its_own_record(saved: Callable[..., Path]) -> None:
    record = {"epoch": [1, 2], "time": [1.0, 2.0], "metrics/mAP50-95(M)": [0.1, math.nan], "val/seg_loss": [2.0, 1.0]}
    found = recognised(saved(train_results=record))
    told = values(found)
    assert told["epochs_done"] == 2
    assert told["curves"]["metrics/mAP50-95(M)"] == [0.1, None]
    assert told["best_epoch"] == 1
    assert codes(found) == ["stopped-early"]
    json.dumps(told, allow_nan=False)


def test_an_interrupted_training_is_told(saved: Callable[..., Path], network: Callable[[str], Any]) -> None:
    found = recognised(saved(model=None, ema=network("yolo11n-seg.yaml"), epoch=4, updates=10))
    interrupted = next(one for one in found.warnings if one.code == "interrupted")
    assert "epoch 5 of 3" in interrupted.message
    assert values(found)["epochs_done"] == 5
    assert values(found)["classes"] == ["nucleus", "cell/debris"]


def test_old_versions_kept_both_networks_while_training(
    saved: Callable[..., Path], network: Callable[[str], Any]
) -> None:
    model = network("yolo11n-seg.yaml")
    assert "interrupted" in codes(recognised(saved(model=model, ema=model, epoch=0, version="8.0.200")))


@pytest.mark.parametrize("version", ["8.3.41", "8.3.42", "8.3.45", "8.3.46"])
def test_a_compromised_release_is_named(version: str, saved: Callable[..., Path]) -> None:
    found = recognised(saved(version=version))
    assert "compromised-release" in codes(found)
    assert "compromised-release" not in codes(recognised(saved(version="8.3.47")))


@pytest.mark.parametrize(("description", "task"), [("yolo11n.yaml", "detect"), ("yolo11n-pose.yaml", "pose")])
def test_other_tasks_are_recognised_and_declined(description: str, task: str, saved: Callable[..., Path]) -> None:
    found = recognised(saved(description, train_args={"task": task}))
    warning = next(one for one in found.warnings if one.code == "not-segmentation")
    assert f"`{task}`" in warning.message


def test_metadata_only(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "weights")
    found = recognised(run_folder)
    told = values(found)
    assert found.checkpoint is None
    assert not found.refused
    assert "no-weights" in codes(found)
    assert told["architecture"] == "YOLO11n-seg"
    assert told["image_size"] == 704
    assert told["image_size_asked"] == 680
    assert told["metrics"]["masks"] == {"mAP50": 0.6, "mAP50-95": 0.3}
    assert found.values["metrics"].origin == "results.csv"
    assert "learning_rate" not in told, "with `auto` the one in args.yaml was not used"
    assert "license" not in told


def test_the_checkpoint_beside_args_yaml(run_folder: Path) -> None:
    shutil.move(run_folder / "weights" / "best.pt", run_folder / "best.pt")
    shutil.rmtree(run_folder / "weights")
    for asked in (run_folder, run_folder / "best.pt"):
        found = recognised(asked)
        assert found.checkpoint == run_folder / "best.pt"
        assert values(found)["image_size_asked"] == 680


def test_an_unsafe_checkpoint_is_refused_and_its_run_still_told(run_folder: Path, tmp_path: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            import os

            return os.system, (f"touch {tmp_path / 'canary'}",)

    torch.save({"model": Evil()}, run_folder / "weights" / "best.pt")
    found = recognised(run_folder)
    assert found.unsafe
    assert found.refused is not None
    assert "posix.system" in found.refused
    assert values(found)["epochs"] == 3
    assert not (tmp_path / "canary").exists()


def curves(count: int, **series: Callable[[int], float]) -> dict[str, list[float]]:
    named = {name.replace("_", "/", 1): [make(epoch) for epoch in range(1, count + 1)] for name, make in series.items()}
    return {"epoch": list(range(1, count + 1)), "metrics/mAP50-95(M)": [0.5] * count, **named}


def test_failed_and_overfitted_trainings(saved: Callable[..., Path]) -> None:
    zero = {**curves(3), "metrics/mAP50-95(M)": [0.0, 0.0, 0.0]}
    rising = curves(40, val_seg_loss=lambda e: 1 + abs(e - 20) / 20, train_seg_loss=lambda e: 3 - e / 20)
    noisy = curves(40, val_seg_loss=lambda e: 1 + 0.03 * (e % 2), train_seg_loss=lambda e: 3 - e / 20)
    cases: Mapping[str, dict[str, list[float]]] = {"all-zero-metrics": zero, "overfitting": rising, "": noisy}
    for code, record in cases.items():
        count = len(record["epoch"])
        found = recognised(saved(train_results=record, train_args={"task": "segment", "epochs": count}))
        assert codes(found) == ([code] if code else [])
    assert "best_epoch" not in values(recognised(saved(train_results=zero)))
    assert "no-results" in codes(recognised(saved(train_results=None)))


def test_two_runs_mixed_up_in_one_folder(run_folder: Path) -> None:
    args = (run_folder / "args.yaml").read_text().replace("seed: 7", "seed: 8")
    (run_folder / "args.yaml").write_text(args)
    warning = next(one for one in recognised(run_folder).warnings if one.code == "args-disagree")
    assert "seed" in warning.message
    assert values(recognised(run_folder))["seed"] == 7


def test_tensorboard_events_where_there_is_no_csv(run_folder: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    (run_folder / "results.csv").unlink()
    writer = EventFileWriter(str(run_folder))
    points = [("train/seg_loss", step, 3.0 - step) for step in (1, 2)]
    points += [("metrics/mAP50-95(M)", step, step / 8) for step in (1, 2, 3)]
    for name, step, value in points:
        writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)])))
    writer.close()
    found = recognised(run_folder)
    assert values(found)["curves"] == {"train/seg_loss": [2.0, 1.0], "metrics/mAP50-95(M)": [0.125, 0.25]}
    assert found.values["curves"].origin == "tfevents"
    assert values(found)["best_epoch"] == 2


def test_hostile_text_does_not_become_a_value(saved: Callable[..., Path]) -> None:
    arguments = {
        "task": "segment", "imgsz": 10**40, "epochs": "rm -rf", "seed": True, "optimizer": "/etc/passwd",
        "model": "C:\\Users\\ada\\secret\\mine.pt", "batch": [[[[[[[[1]]]]]]]], "lr0": math.inf,
    }  # fmt: skip
    odd: dict[str, Any] = {"epoch": "x", "metrics/mAP50(M)": ["a", None, 10**30]}
    found = recognised(saved(train_args=arguments, version="/home/ada", date=5, train_results=odd, train_metrics=[1]))
    told = values(found)
    assert told["base_weights"] == "mine.pt"
    absent = {"image_size", "epochs", "seed", "optimizer", "batch", "learning_rate", "ultralytics_version", "metrics"}
    assert not absent & told.keys()
    json.dumps(told, allow_nan=False)


def test_what_is_not_a_yolo(tmp_path: Path) -> None:
    import torch

    torch.save({"model": torch.nn.Conv2d(1, 1, 1)}, tmp_path / "net.pt")
    assert yolo.recognise(tmp_path / "net.pt") is None
    assert yolo.recognise(tmp_path) is None


def test_each_answer_of_the_questions_is_checked_in_words() -> None:
    right = {"bit_depth": "8", "colour": "rgb", "confidence": 0.3, "overlap_iou": 0.5, "max_objects": 2000}
    wrong = {"bit_depth": "12", "colour": "cmyk", "confidence": 3, "overlap_iou": "much", "max_objects": 2.5}
    fields = {field.name: field for field in yolo.FIELDS}
    assert set(fields) == set(right)
    for name, field in fields.items():
        assert field.check(right[name]) is None
        assert field.check(wrong[name])
        assert field.check(field.parse(field.example)) is None
        assert field.default is None or field.check(field.default) is None
    assert fields["bit_depth"].hint("16")
