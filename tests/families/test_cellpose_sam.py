"""What is told of a checkpoint of Cellpose 4."""

from pathlib import Path
from typing import Any

import cellpose_sam_models
import pytest
import torch
from cellpose_files import cpsam_state, write

from zoowizard.families import cellpose, cellpose_sam
from zoowizard.families.family import Recognition
from zoowizard.families.identify import identify, obstacle

LOG = """\
2026-11-21 19:28:50,009 [io INFO] WRITING LOG OUTPUT TO /home/ada/.cellpose/run.log
cellpose version: \t4.2.1.1
2026-11-21 19:28:50,030 [models INFO] >>>> loading model /home/ada/.cellpose/models/cpsam
2026-11-21 19:28:50,144 [train INFO] >>> n_epochs=100, n_train=9, n_test=None, bsize=256, batch_size=4, nimg_per_epoch=9
2026-11-21 19:28:50,144 [train INFO] >>> AdamW, learning_rate=0.00001, weight_decay=0.10000
2026-11-21 19:28:56,398 [train INFO] >>> saving model to /data/models/cpsam_20261121_192856
2026-11-21 19:28:57,526 [train INFO] 0, train_loss=0.9305, test_loss=0.0000, LR=0.000000, time 1.13s
2026-11-21 20:08:57,526 [train INFO] 90, train_loss=0.1305, test_loss=0.0000, LR=0.000000, time 2401.13s
2026-11-21 20:12:56,398 [train INFO] saving network parameters to /data/models/cpsam_20261121_192856
"""


def recognised(path: Path) -> Recognition:
    found = cellpose_sam.recognise(path)
    assert found is not None
    assert found.family == "cellpose_sam"
    assert cellpose.recognise(path) is None
    return found


def values(found: Recognition) -> dict[str, Any]:
    return {name: one.value for name, one in found.values.items()}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fine_tuned_model_with_its_log(dtype: Any, prefix: str, tmp_path: Path) -> None:
    state = {f"{prefix}{name}": one for name, one in cpsam_state(dtype=dtype).items()}
    write(tmp_path / "models" / "cpsam_20261121_192856", state)
    (tmp_path / "train.log").write_text(LOG)
    [found] = identify(tmp_path)
    told = values(found)
    expected = {
        "architecture": "Cellpose-SAM (ViT-L)",
        "patch_px": 8,
        "nout": 3,
        "diam_labels": 30.0,
        "dtype": str(dtype).removeprefix("torch."),
        "base_weights": "cpsam",
        "epochs": 100,
        "epochs_done": 100,
        "batch": 4,
        "learning_rate": 1e-5,
        "training_seconds": 2646.0,
        "cellpose_version": "4.2.1.1",
        "license": "CC-BY-NC-4.0",
    }
    assert {name: told[name] for name in expected} == expected
    assert "val/loss" not in told["curves"], "there were no test images"
    assert told["curves"]["train/loss"][90] == 0.1305
    assert [one["doi"] for one in told["citations"]] == ["10.1101/2025.04.28.651001"]
    assert "diameter" not in told, "Cellpose-SAM scales nothing by itself"
    assert obstacle(found) is None


def test_a_file_that_the_real_cellpose_4_wrote(tmp_path: Path) -> None:
    path = cellpose_sam_models.write_checkpoint(tmp_path / "small", cellpose_sam_models.SMALL, torch.bfloat16)
    found = recognised(path)
    assert values(found)["architecture"] == "Cellpose-SAM (ViT, 96 wide, 3 deep)"
    assert (values(found)["dtype"], values(found)["diam_labels"]) == ("bfloat16", 30.0)
    assert [one.code for one in found.warnings] == ["unusual-network", "half-precision"]
    state = torch.load(path, weights_only=True)
    assert values(found)["parameters"] == sum(one.numel() for one in state.values())


def test_what_is_not_as_it_should_be(tmp_path: Path) -> None:
    short = recognised(write(tmp_path / "short", cpsam_state(depth=23)))
    assert "23 of the 24 blocks" in (obstacle(short) or "")
    classes = recognised(write(tmp_path / "classes", cpsam_state(nout=7)))
    assert obstacle(classes) is None
    assert "4 classes" in classes.warnings[0].message
    assert "instead of two flows" in (obstacle(recognised(write(tmp_path / "one", cpsam_state(nout=1)))) or "")


def test_cpdino_is_named_and_said_why_not(tmp_path: Path) -> None:
    state = {"encoder.cls_token": torch.ones(1, 1, 1024), "W2": torch.ones(192, 3, 8, 8), "out.weight": torch.ones(1)}
    found = recognised(write(tmp_path / "cpdino", state))
    assert values(found)["architecture"] == "Cellpose CPDINO (DINOv3)"
    assert "dinov3" in (obstacle(found) or "")
