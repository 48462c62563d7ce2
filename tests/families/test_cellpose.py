"""What is told of a CPnet of Cellpose 1 to 3, and of what lies beside it."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cellpose_models
import numpy as np
import pytest
import tifffile
import torch
from cellpose_files import LOG, SMALL, cpnet_state, write

from zoowizard.errors import ZoowizardError
from zoowizard.families import cellpose, cellpose_sam
from zoowizard.families.family import Recognition
from zoowizard.families.identify import identify, obstacle
from zoowizard.workflow import choose_one, missing_from, open_draft


def recognised(path: Path) -> Recognition:
    found = cellpose.recognise(path)
    assert found is not None
    assert found.family == "cellpose"
    return found


def values(found: Recognition) -> dict[str, Any]:
    return {name: one.value for name, one in found.values.items()}


def codes(found: Recognition) -> list[str]:
    return [one.code for one in found.warnings]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A training of 12 epochs, every fifth saved: images and masks, models/, losses, run.log; gives the last model."""
    folder, test = tmp_path / "train", tmp_path / "test"
    model = write(folder / "models" / "my_cells", cpnet_state())
    for epoch in (5, 10):
        write(folder / "models" / f"my_cells_epoch_{epoch:04d}", cpnet_state())
    np.save(f"{model}_train_losses.npy", np.linspace(2, 0.9, 12))
    tested = np.zeros(12)
    tested[[0, 5, 10]] = (1.5714, 1.519, 1.1977)
    np.save(f"{model}_test_losses.npy", tested)
    Path(f"{model}_size.npy").write_bytes(pickle.dumps({"A": Evil()}))
    for place, name in ((folder, "a"), (folder, "b"), (test, "c")):
        place.mkdir(exist_ok=True)
        tifffile.imwrite(place / f"{name}.tif", np.arange(96 * 96, dtype=np.uint16).reshape(96, 96))
        tifffile.imwrite(place / f"{name}_masks.tif", np.ones((96, 96), np.uint16))
    tifffile.imwrite(test / "0_without_mask.tif", np.zeros((96, 96), np.uint16))
    (folder / "run.log").write_text(LOG.format(train=folder, test=test, saved=model, percentile="None"))
    return model


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a pickle was opened",)


def test_a_training_tells_everything_but_what_must_be_asked(trained: Path) -> None:
    [found] = identify(trained.parent.parent)
    told = values(found)
    assert found.checkpoint == trained
    assert found.warnings == ()
    expected = {
        "architecture": "Cellpose CPnet",
        "nbase": SMALL,
        "nout": 3,
        "style": True,
        "residual": True,
        "concatenation": False,
        "diam_mean": 30.0,
        "diam_labels": 23.878416,
        "diameter": 23.878416,
        "dtype": "float32",
        "cyto_channel": "green",
        "nuclei_channel": "red",
        "base_weights": "cyto3",
        "epochs": 12,
        "epochs_done": 12,
        "optimizer": "AdamW",
        "learning_rate": 0.005,
        "weight_decay": 1e-5,
        "training_images": 3,
        "training_seconds": 16.0,
        "trained_on": "2026-11-21",
        "cellpose_version": "3.1.1.2",
        "torch_version": "2.5.1+cu124",
        "license": "CC-BY-NC-4.0",
        "dimensions": "2-D images; not measured in 3-D",
        "test_image": str(trained.parent.parent.parent / "test" / "c.tif"),
        "tags": ["instance-segmentation", "2d", "cells", "cellpose"],
    }
    assert {name: told[name] for name in expected} == expected
    assert told["parameters"] == sum(
        one.numel() for name, one in cpnet_state().items() if "running" not in name and "num_batches" not in name
    )
    assert told["curves"]["train/loss"] == pytest.approx(np.linspace(2, 0.9, 12))
    assert told["curves"]["val/loss"] == [1.5714, *[None] * 4, 1.519, *[None] * 4, 1.1977, None]
    dois = [one["doi"] for one in told["citations"]]
    assert dois == ["10.1038/s41592-020-01018-x", "10.1038/s41592-022-01663-4", "10.1038/s41592-025-02595-5"]
    evidence = " ".join(found.evidence)
    for name in ("my_cells_epoch_0005, my_cells_epoch_0010", "my_cells_size.npy", "run.log"):
        assert name in evidence
    assert found.values["epochs"].origin == "run.log"
    assert found.values["diam_labels"].origin == "checkpoint"
    assert missing_from(found) == ["name", "description", "authors", "modality", "training_data_name"]
    assert json.dumps([one.value for one in found.values.values()], allow_nan=False)


def test_masks_of_the_gui_mark_an_image_and_are_never_opened(tmp_path: Path) -> None:
    model = write(tmp_path / "models" / "CP_20230101_120000", cpnet_state())
    tifffile.imwrite(tmp_path / "cells.tif", np.zeros((96, 96), np.uint8))
    np.save(tmp_path / "cells_seg.npy", np.array({"masks": Evil()}, dtype=object))
    found = recognised(model)
    assert found.values["test_image"].value == str(tmp_path / "cells.tif")
    assert found.values["test_image"].origin == "cells_seg.npy"


def test_a_file_that_the_real_cellpose_3_wrote() -> None:
    model = cellpose_models.trained("gray")
    found = recognised(model)
    state = torch.load(model, weights_only=True)
    assert values(found)["nbase"] == list(cellpose_models.MODELS["gray"].nbase)
    for name in ("diam_mean", "diam_labels"):
        assert np.float32(values(found)[name]) == state[name].item()
    assert obstacle(found) is None


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "name", ["CP_20230101_120000", "x.pt", "cellpose_residual_on_style_on_2023_05_02_10_11_12.123"]
)
def test_any_name_and_both_formats(name: str, zipped: bool, tmp_path: Path) -> None:
    path = write(tmp_path / name, cpnet_state(), zipped)
    for asked in (path, tmp_path):
        [found] = identify(asked)
        assert (found.family, found.checkpoint) == ("cellpose", path)
        assert values(found)["diam_labels"] == 23.878416
        assert obstacle(found) is None
    assert values(found).get("trained_on") == {"C": "2023-01-01", "x": None, "c": "2023-05-02"}[name[0]]


@pytest.mark.parametrize("options", [{"residual": False}, {"concatenation": True}, {"nbase": [3, 16, 24]}])
def test_other_networks_are_read_from_their_shapes(options: dict[str, Any], tmp_path: Path) -> None:
    found = recognised(write(tmp_path / "model", cpnet_state(**options)))
    told = values(found)
    wanted = {"residual": True, "concatenation": False, "nbase": SMALL, **options}
    assert {name: told[name] for name in wanted} == wanted
    assert obstacle(found) is None
    assert ("old-network" in codes(found)) is ("nbase" not in options)


def test_a_model_of_cellpose_1_holds_no_diameters(tmp_path: Path) -> None:
    state = {name: one for name, one in cpnet_state().items() if not name.startswith("diam")}
    told = recognised(write(tmp_path / "cytotorch_0", state))
    assert {name: values(told)[name] for name in ("diam_mean", "diam_labels", "diameter")} == {
        "diam_mean": 30.0,
        "diam_labels": 30.0,
        "diameter": 30.0,
    }
    assert told.values["diam_mean"].origin == "default"
    assert [one["doi"] for one in values(told)["citations"]] == ["10.1038/s41592-020-01018-x"]
    assert values(recognised(write(tmp_path / "nucleitorch_0", state)))["diam_mean"] == 17.0


@pytest.mark.parametrize("number", [float("nan"), 0.0, -3.0])
def test_a_diameter_that_is_none_is_not_taken(number: float, tmp_path: Path) -> None:
    found = recognised(write(tmp_path / "model", {**cpnet_state(), "diam_labels": torch.tensor([number])}))
    assert values(found)["diameter"] == 30.0
    assert "diam_labels is no diameter" in found.warnings[0].message


def test_half_precision_and_several_gpus(tmp_path: Path) -> None:
    state = {
        f"module.{name}": one.bfloat16() if one.is_floating_point() else one for name, one in cpnet_state().items()
    }
    found = recognised(write(tmp_path / "model", state))
    assert (values(found)["dtype"], values(found)["nbase"], values(found)["diam_mean"]) == ("bfloat16", SMALL, 30.0)
    assert "random weights without a word" in found.warnings[0].message
    assert obstacle(found) is None


def cut(state: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in state.items() if name != "upsample.up.res_up_1.conv.conv_2.full.weight"}


def volumetric(state: dict[str, Any]) -> dict[str, Any]:
    return {name: one[..., None] if one.ndim == 4 else one for name, one in state.items()}


def restoring(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "output.2.weight": state["output.2.weight"][:1], "output.2.bias": state["output.2.bias"][:1]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cut, "missing or of another shape .*res_up_1.conv.conv_2.full.weight"),
        (volumetric, "three-dimensional"),
        (restoring, "denoising"),
        (
            lambda state: {"net.encoder.patch_embed1.proj.weight": torch.ones(1), **state} | {"output.2.weight": 1},
            "MAnet",
        ),
    ],
)
def test_what_cannot_become_a_package_is_named_and_said_why(change: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model", change(cpnet_state()))
    [found] = identify(path)
    assert found.family == "cellpose"
    with pytest.raises(ZoowizardError, match=said):
        choose_one(path)


def test_a_u_net_of_cellpose_1_gives_no_flows(tmp_path: Path) -> None:
    path = write(tmp_path / "unet3_residual_off_style_off_concatenation_on_x", cpnet_state(residual=False))
    assert "U-Net" in (obstacle(recognised(path)) or "")


def test_other_files_are_not_taken_for_it(tmp_path: Path) -> None:
    others: dict[str, Any] = {
        "sam": {"image_encoder.pos_embed": torch.ones(1, 4, 4, 8), "W": torch.ones(1)},
        "sam2": {"model": {"image_encoder.trunk.pos_embed": torch.ones(1)}},
        "mobile": {"image_encoder.patch_embed.seq.0.c.weight": torch.ones(1)},
        "micro": {"model_state": {"sam.image_encoder.pos_embed": torch.ones(1)}, "decoder_state": {}},
        "nested": {"state_dict": cpnet_state()},
        "nothing": {},
        "a list": [torch.ones(2)],
        "names": {"output.2.weight": "3", "downsample.down.res_down_0.conv.conv_0.2.weight": 4},
    }
    said = {}
    for name, content in others.items():
        path = tmp_path / f"{name}.pt"
        torch.save(content, path)
        assert cellpose.recognise(path) is None
        assert cellpose_sam.recognise(path) is None
        said[name] = obstacle(identify(path)[0]) or ""
    assert "Segment Anything," in said["sam"]
    assert "Segment Anything 2" in said["sam2"]
    assert "MobileSAM" in said["mobile"]
    assert "micro-sam" in said["micro"]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_told_so_with_any_name(share: float, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", cpnet_state([2, 32, 64, 128])).read_bytes()
    path = tmp_path / "models" / "CP_20230101_120000"
    path.parent.mkdir()
    path.write_bytes(whole[: max(110_000, int(len(whole) * share))])
    for asked in (path, path.parent):
        [found] = identify(asked)
        assert "is cut short" in (found.refused or "")
        assert not found.unsafe


def test_an_epoch_that_is_asked_for_tells_of_the_later_ones(trained: Path) -> None:
    found = recognised(trained.with_name("my_cells_epoch_0005"))
    assert values(found)["epochs_done"] == 6
    assert "later epoch" in found.warnings[0].message
    assert values(found)["curves"]["val/loss"][5] == 1.519
    trained.unlink()
    [offered] = identify(trained.parent)
    assert offered.path.name == "my_cells_epoch_0010"
    assert "my_cells_epoch_0005" in " ".join(offered.evidence)
    assert codes(offered) == []


def test_two_trainings_in_one_folder_are_two_models(trained: Path) -> None:
    write(trained.with_name("other"), cpnet_state())
    found = {one.path.name: values(one) for one in identify(trained.parent)}
    assert set(found) == {"my_cells", "other"}
    assert found["my_cells"]["epochs"] == 12
    assert "epochs" not in found["other"], "the log is of my_cells"


def test_a_log_under_another_name_counts_where_there_is_one_model(trained: Path) -> None:
    for one in trained.parent.glob("my_cells?*"):
        one.unlink()
    found = recognised(trained.rename(trained.with_name("nuclei_of_ada")))
    assert values(found)["epochs_done"] == 12
    assert values(found)["curves"]["train/loss"] == [1.9305, *[None] * 4, 1.3717, *[None] * 4, 0.995]
    assert "under another name" in " ".join(found.evidence)


def test_cellposes_own_log_counts_where_it_names_the_file(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / ".cellpose").mkdir(parents=True)
    (trained.parent.parent / "run.log").rename(tmp_path / "home" / ".cellpose" / "run.log")
    assert values(recognised(trained))["base_weights"] == "cyto3"
    moved = trained.rename(tmp_path / "my_cells")
    assert "base_weights" not in values(recognised(moved))


def test_what_the_log_says_is_suspicious(trained: Path) -> None:
    log = trained.parent.parent / "run.log"
    told = LOG.format(train="/none", test="/none", saved=trained, percentile="[3, 98]")
    log.write_text(
        told[: told.index("2026-11-21 19:29:05")].replace(
            "loading model /home/ada/.cellpose/models/cyto3", "no model weights loaded"
        )
    )
    found = recognised(trained)
    assert codes(found) == ["interrupted", "normalisation"]
    assert "percentile [3, 98]" in found.warnings[1].message
    assert "license" not in values(found), "nothing hangs on weights trained from nothing"
    assert "base_weights" not in values(found)


def test_broken_files_beside_it_do_no_harm(trained: Path) -> None:
    np.save(f"{trained}_train_losses.npy", np.array([{"a": Evil()}], dtype=object))
    Path(f"{trained}_test_losses.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff{")
    (trained.parent.parent / "run.log").write_bytes(b"\0\xff n_epochs=99999999999 \n" * 1000)
    told = values(recognised(trained))
    assert "curves" not in told
    assert "epochs" not in told


def test_nothing_heavy_is_loaded_and_it_is_quick(tmp_path: Path) -> None:
    path = write(tmp_path / "model", cpnet_state([2, 32, 64, 128, 256]))
    code = (
        "import sys, time; from pathlib import Path; from zoowizard.families.identify import identify\n"
        "identify(Path(sys.argv[1])); started = time.process_time(); [found] = identify(Path(sys.argv[1]))\n"
        "spent = time.process_time() - started\n"
        "print(found.family, spent < 0.05, sorted({'torch', 'numpy', 'cellpose', 'tifffile'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "cellpose True []"


def test_the_questions_have_cellposes_own_defaults(trained: Path, tmp_path: Path) -> None:
    from zoowizard.drafts.store import open_workspace

    draft = open_draft(open_workspace(tmp_path / "kept"), recognised(trained.rename(tmp_path / "alone")))
    assert {name: draft.get(name) for name in ("flow_threshold", "cellprob_threshold", "min_size", "package_kind")} == {
        "flow_threshold": 0.4,
        "cellprob_threshold": 0.0,
        "min_size": 15,
        "package_kind": "labels",
    }
    assert (draft.get("cyto_channel"), draft.get("nuclei_channel")) == ("gray", "none")
    fields = {one.name: one for one in cellpose.FIELDS}
    assert "3-D is not measured" in fields["package_kind"].help
    assert "seams" in fields["package_kind"].help
    for name in ("cyto_channel", "nuclei_channel", "flow_threshold", "cellprob_threshold", "min_size"):
        assert "Cellpose's own is" in fields[name].help
    assert "you decide" in (fields["license"].hint("CC-BY-NC-4.0") or "")
    assert "non-commercial" in (fields["license"].hint("MIT") or "")
    assert fields["diameter"].check(0) == "is 0; write a number from 1 to 10000"


@pytest.mark.parametrize("family", [cellpose, cellpose_sam])
def test_the_test_image_may_be_as_microscopes_write_it(family: Any, tmp_path: Path) -> None:
    check = next(one for one in family.FIELDS if one.name == "test_image").check
    picture = np.arange(80 * 90, dtype=np.uint16).reshape(80, 90)
    for name, shown in {
        "deep": picture,
        "two": np.stack([picture, picture + 1]),
        "float": picture / np.float32(3),
    }.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", shown, photometric="minisblack")
        assert check(str(tmp_path / f"{name}.tif")) is None
