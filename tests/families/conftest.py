"""Real checkpoints in the layout of the real trainer, made once."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

RESULTS = """epoch,time,train/seg_loss,metrics/mAP50-95(B),metrics/mAP50(M),metrics/mAP50-95(M),val/seg_loss
1,1.5,4.0,0.1,0.2,0.1,4.0
2,3.0,3.0,0.4,0.6,0.3,3.0
3,4.5,2.0,0.3,0.5,0.2,3.1
"""


@pytest.fixture(scope="session")
def ultralytics_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Ultralytics, offline and with its settings in a private folder."""
    home = tmp_path_factory.mktemp("ultralytics")
    quiet = {"YOLO_CONFIG_DIR": str(home), "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0", "YOLO_VERBOSE": "false"}
    before = {name: os.environ.get(name) for name in quiet}
    os.environ.update(quiet)
    yield home
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def network(ultralytics_home: Path) -> Callable[[str], Any]:
    """Makes a network with random weights by its description's name, each once."""
    from ultralytics import YOLO

    made: dict[str, Any] = {}

    def make(description: str) -> Any:
        if description not in made:
            model = YOLO(description, verbose=False).model
            model.names = {0: "nucleus", 1: "cell/debris"}
            made[description] = model.half()
        return made[description]

    return make


def contents(model: Any, **changes: Any) -> dict[str, Any]:
    """What ultralytics 8.4 saves at the end of a training (`strip_optimizer`)."""
    arguments = {
        "task": "segment", "mode": "train", "model": "/home/ada/secret/yolo11n-seg.pt", "pretrained": True,
        "data": "/home/ada/secret/data.yaml", "epochs": 3, "imgsz": 704, "batch": 4, "optimizer": "AdamW",
        "lr0": 0.002, "seed": 7, "patience": 100, "project": "/home/ada/secret", "save_dir": "/home/ada/secret/run",
        "fliplr": 0.5, "mosaic": 1.0, "mixup": 0.0, "hsv_h": 0.015,
    }  # fmt: skip
    made = {
        "date": "2026-05-04T03:02:01+00:00",
        "version": "8.4.190",
        "license": "AGPL-3.0 (https://ultralytics.com/license)",
        "epoch": -1,
        "ema": None,
        "model": model,
        "optimizer": None,
        "train_args": arguments,
        "train_metrics": {"metrics/mAP50-95(B)": 0.4, "metrics/mAP50(M)": 0.6, "metrics/mAP50-95(M)": 0.3},
        "train_results": {},
        "git": {"root": "/home/ada/secret", "origin": "git@example.org:ada/secret.git"},
    }
    return {**made, **changes}


@pytest.fixture(scope="session")
def made_once(network: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: weights/best.pt and last.pt, args.yaml that asked for 680 pixels, results.csv."""
    import torch

    folder = tmp_path_factory.mktemp("run") / "train"
    (folder / "weights").mkdir(parents=True)
    saved = contents(network("yolo11n-seg.yaml"))
    torch.save(saved, folder / "weights" / "best.pt")
    shutil.copy(folder / "weights" / "best.pt", folder / "weights" / "last.pt")
    asked = {**saved["train_args"], "imgsz": 680, "optimizer": "auto", "lr0": 0.01}
    (folder / "args.yaml").write_text("".join(f"{name}: {value}\n" for name, value in asked.items()))
    (folder / "results.csv").write_text(RESULTS)
    return folder


@pytest.fixture
def run_folder(made_once: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(made_once, tmp_path / "train"))


@pytest.fixture
def saved(network: Callable[[str], Any], tmp_path: Path) -> Callable[..., Path]:
    """Saves a checkpoint of another description, or with other contents."""
    import torch

    def save(description: str = "yolo11n-seg.yaml", name: str = "best.pt", **changes: Any) -> Path:
        torch.save(contents(**{"model": network(description), **changes}), tmp_path / name)
        return tmp_path / name

    return save
