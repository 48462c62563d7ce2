"""Any network of PyTorch: what its checkpoint tells, what is asked, and what cannot be packaged."""

import argparse
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors_files import safetensors
from torch import nn

from zoowizard.conversion.pytorch_architecture import Architecture
from zoowizard.conversion.pytorch_fit import fitted
from zoowizard.conversion.pytorch_state import tensors
from zoowizard.drafts.draft import Draft
from zoowizard.drafts.fields import Field, Need
from zoowizard.errors import ZoowizardError
from zoowizard.families import pytorch
from zoowizard.families.arguments import arguments
from zoowizard.families.family import Recognition
from zoowizard.families.identify import identify, obstacle
from zoowizard.families.nearby import in_short
from zoowizard.families.state_dicts import state_dicts
from zoowizard.workflow import answered, draft_in_memory, questions_for, read_all, unready

UNET = "class UNet(nn.Module):\n    def __init__(self, in_channels: int, depth=3): ...\n    def forward(self, x): ...\n"


class Custom(nn.Module):
    """A network of which a checkpoint names the class."""


@pytest.fixture
def state() -> dict[str, Any]:
    return nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU(), nn.Conv3d(4, 1, 1)).state_dict()


def one(path: Path) -> Recognition:
    [found] = identify(path)
    return found


def told(recognition: Recognition) -> dict[str, Any]:
    return {name: known.value for name, known in recognition.values.items()}


def test_a_state_dict_is_recognised_and_tells_what_its_weights_let_guess(tmp_path: Path, state: dict[str, Any]) -> None:
    torch.save(state, tmp_path / "mito_unet.pth")
    found = one(tmp_path / "mito_unet.pth")
    assert found.family == "pytorch" and found.checkpoint == found.path and obstacle(found) is None
    values = told(found)
    assert values["architecture"] == "PyTorch network, 3-D, 2 input channels"
    assert (values["spatial_axes_found"], values["input_channels"], values["parameters"]) == (3, 2, 225)
    assert values["name"] == "mito unet" and values["tags"] == ["pytorch", "3d"]
    assert any("guessed" in sentence for sentence in found.evidence)
    assert in_short(found).startswith("PyTorch network, 3-D, 2 input channels")


def test_a_lightning_checkpoint_tells_of_its_training(tmp_path: Path, state: dict[str, Any]) -> None:
    contents = {
        "state_dict": {f"net.{name}": tensor for name, tensor in state.items()}, "epoch": 9, "global_step": 500,
        "pytorch-lightning_version": "2.4.0", "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(4)}}}],
        "hyper_parameters": {"lr": 0.001, "net": {"depth": 4}, "loss": {"dice": 1.0}},
    }  # fmt: skip
    torch.save(contents, tmp_path / "last.ckpt")
    values = told(one(tmp_path / "last.ckpt"))
    assert (values["epochs_done"], values["training_steps"], values["lightning_version"]) == (10, 500, "2.4.0")
    assert values["state_dict_key"] == "state_dict"
    assert values["hyper_parameters"] == {"lr": 0.001, "depth": 4}


def test_hparams_of_a_version_folder_are_read(tmp_path: Path, state: dict[str, Any]) -> None:
    folder = tmp_path / "version_0" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / "epoch=3-step=40.ckpt")
    (folder.parent / "hparams.yaml").write_text("depth: 5\nworse: !!python/object/apply:os.system ['true']\n")
    assert "hyper_parameters" not in told(one(folder / "epoch=3-step=40.ckpt"))  # who runs code is believed nothing
    (folder.parent / "hparams.yaml").write_text("depth: 5\n")
    assert told(one(folder / "epoch=3-step=40.ckpt"))["hyper_parameters"] == {"depth": 5}


def test_several_state_dicts_are_a_question_and_the_averaged_one_its_answer(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    torch.save({"params": state, "params_ema": dict(state)}, tmp_path / "gan.pth")
    found = one(tmp_path / "gan.pth")
    assert any("`params_ema` is taken, the averaged weights (EMA)" in sentence for sentence in found.evidence)
    draft = draft_in_memory(found)
    assert draft.get("state_dict_key") == "params_ema"
    question = asked(draft)["state_dict_key"]
    assert question.choices == ("params_ema", "params") and question.check("optimizer") is not None


def test_of_a_training_only_the_one_to_package_is_listed(tmp_path: Path, state: dict[str, Any]) -> None:
    for name in ("unet_epoch_2.pth", "unet_epoch_10.pth", "fold_0.pth", "fold_1.pth", "best_gan.pth", "gan_last.pth"):
        torch.save(state, tmp_path / name)
    (tmp_path / "checkpoints").mkdir()
    for name in ("mito_2.pth", "mito_10.pth", "er_1.pth", "split_0.pth", "split_1.pth"):
        torch.save(state, tmp_path / "checkpoints" / name)
    assert [str(found.path.relative_to(tmp_path)) for found in identify(tmp_path)] == [
        "best_gan.pth", "checkpoints/er_1.pth", "checkpoints/mito_10.pth", "checkpoints/split_0.pth",
        "checkpoints/split_1.pth", "fold_0.pth", "fold_1.pth", "unet_epoch_10.pth",
    ]  # fmt: skip
    early = one(tmp_path / "unet_epoch_2.pth")
    assert [warning.code for warning in early.warnings] == ["not-the-last"]
    assert "unet_epoch_10.pth" in early.warnings[0].message


def test_tensors_are_counted_as_the_build_counts_them(tmp_path: Path) -> None:
    normed = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)).state_dict()
    torch.save({"model": normed}, tmp_path / "net.pth")
    counted = "it holds a state dict of 8 tensors (not counting 1 num_batches_tracked) under `model`"
    assert one(tmp_path / "net.pth").evidence[0].startswith(counted)
    other = Architecture("torch.nn.Conv2d", {"in_channels": 1, "out_channels": 1, "kernel_size": 1})
    with pytest.raises(ZoowizardError, match="of its 8 tensors"):
        fitted(other, {f"net.{name}": tensor for name, tensor in normed.items()}, ["net."])


def test_safetensors_are_found_in_a_folder(tmp_path: Path) -> None:
    tensors = {"a.weight": ("F32", [4, 1, 3, 3])}
    # 128 bytes of header begin as a pickle does.
    for padding in range(80):
        path = safetensors(tmp_path / "net.safetensors", tensors, __metadata__={"origin": "x" * padding})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    [found] = identify(tmp_path)
    assert found.family == "pytorch" and told(found)["input_channels"] == 1
    assert any("its metadata says origin" in sentence for sentence in found.evidence)
    empty = safetensors(tmp_path / "net.safetensors", {})
    assert "holds no weights of a network" in (one(empty).refused or "")


def test_a_network_that_was_saved_as_a_whole_is_explained(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(1, 1, 3)), tmp_path / "plain.pth")
    found = one(tmp_path / "plain.pth")
    assert "torch.save(model.state_dict(), …)" in (obstacle(found) or "") and not found.unsafe
    torch.save(Custom(), tmp_path / "custom.pth")
    refused = one(tmp_path / "custom.pth")
    assert refused.unsafe and "torch.save(model.state_dict(), …)" in (refused.refused or "")


def test_settings_of_a_class_are_refused_with_a_way_out(tmp_path: Path, state: dict[str, Any]) -> None:
    torch.save({"model": state, "args": Custom()}, tmp_path / "run.pth")
    found = one(tmp_path / "run.pth")
    assert found.unsafe and "Custom" in (found.refused or "")
    assert "save its weights alone" in (found.refused or "")


def test_settings_as_trainings_usually_keep_them_do_no_harm(
    tmp_path: Path, state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    yacs = types.ModuleType("yacs.config")
    yacs.CfgNode = type("CfgNode", (dict,), {"__module__": "yacs.config"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", yacs)
    contents = {"model_state_dict": state, "args": argparse.Namespace(depth=3, data="x"), "num_epochs": 12}
    contents |= {"cfg": yacs.CfgNode(depth=4), "best_eval_score": np.float64(0.9)}  # type: ignore[attr-defined]
    torch.save(contents, tmp_path / "best_checkpoint.pytorch")
    torch.save(contents, tmp_path / "last_checkpoint.pytorch")
    monkeypatch.undo()
    [found] = identify(tmp_path)
    values = told(found)
    assert found.path.name == "best_checkpoint.pytorch"
    assert values["hyper_parameters"] == {"depth": 3, "data": "x"} and values["epochs_done"] == 12
    [weights] = state_dicts(found.path)
    loaded = tensors(found.path, weights)  # by torch's own safe loading, without yacs
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_what_holds_no_weights_is_of_no_family(tmp_path: Path) -> None:
    torch.save({"images": torch.zeros(3, 3)}, tmp_path / "data.pt")
    assert one(tmp_path / "data.pt").family is None
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 4, 4, 8), "a.weight": torch.zeros(2, 2)}, tmp_path / "sam.pt")
    assert "Segment Anything" in " ".join(one(tmp_path / "sam.pt").evidence)
    assert one(tmp_path / "sam.pt").family is None


# What is asked


def asked(draft: Draft) -> dict[str, Field]:
    return {field.name: field for field in questions_for(draft)}


@pytest.fixture
def draft(tmp_path: Path, state: dict[str, Any]) -> Iterator[Draft]:
    torch.save(state, tmp_path / "weights.pth")
    yield draft_in_memory(one(tmp_path / "weights.pth"))


def test_a_file_leads_to_its_network_and_that_to_its_arguments(tmp_path: Path, draft: Draft) -> None:
    (tmp_path / "unet.py").write_text(UNET)
    assert {"network", "normalisation"} <= set(unready(draft))
    draft = answered(draft, {"architecture_file": str(tmp_path / "unet.py")})
    assert draft.get("network") == "UNet"  # the only candidate
    assert (draft.get("argument_in_channels"), draft.get("argument_depth")) == (2, 3)
    assert "network" not in unready(draft)


def test_two_candidates_are_asked(tmp_path: Path, draft: Draft) -> None:
    (tmp_path / "nets.py").write_text(UNET + UNET.replace("UNet", "ResNet"))
    draft = answered(draft, {"architecture_file": str(tmp_path / "nets.py")})
    assert asked(draft)["network"].choices == ("UNet", "ResNet")
    assert draft.get("network") is None and "network" in unready(draft)


def test_defaults_of_another_network_do_not_stay(tmp_path: Path, draft: Draft) -> None:
    (tmp_path / "nets.py").write_text(UNET + "class Net(nn.Module):\n    def __init__(self, depth, width=2): ...\n")
    draft = answered(draft, {"architecture_file": str(tmp_path / "nets.py"), "network": "UNet"})
    assert draft.get("argument_depth") == 3
    draft = answered(draft, {"network": "Net"})
    assert draft.get("argument_depth") is None and "argument_depth" in unready(draft)
    assert draft.get("argument_in_channels") is None


def test_a_library_takes_the_place_of_the_file(draft: Draft) -> None:
    assert asked(draft)["architecture_file"].need is Need.RECOMMENDED
    draft = answered(draft, {"network": "torch.nn.Conv3d"})
    assert asked(draft)["architecture_file"].need is Need.OPTIONAL
    assert {"argument_kernel_size"} <= set(unready(draft))
    assert "torch.nn.Conv9d is not found" in (asked(draft)["network"].check("torch.nn.Conv9d") or "")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("net.py", "x = 1\n", "defines no class and no function"),
        ("net.py", "class UNet(:\n", "is no Python that can be read"),
        ("net.txt", UNET, "does not end in .py"),
        ("net.py", "import not_there\n" + UNET, "imports not_there, which is not installed here"),
        ("net.py", "from .blocks import Block\n" + UNET, "imports .blocks from files beside it"),
        ("net.py", "import helper\n" + UNET, "imports helper from files beside it"),
    ],
)
def test_a_file_that_will_not_do_is_told_what_would(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / "helper.py").write_text("")
    (tmp_path / name).write_text(text)
    [field] = [one for one in pytorch.FIELDS if one.name == "architecture_file"]
    assert words in (field.check(str(tmp_path / name)) or "")
    assert "does not exist" in (field.check(str(tmp_path / "missing.py")) or "")
    assert "folder" in (field.check(str(tmp_path)) or "")


def test_the_person_is_told_that_the_file_will_be_run(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(f"raise SystemExit\n{UNET}")
    [field] = [one for one in pytorch.FIELDS if one.name == "architecture_file"]
    assert field.check(str(tmp_path / "net.py")) is None
    assert "will be run when the package is built" in (field.hint(str(tmp_path / "net.py")) or "")


def test_no_framework_is_loaded_for_the_questions(tmp_path: Path, draft: Draft) -> None:
    import subprocess

    (tmp_path / "unet.py").write_text(UNET)
    code = (
        "import sys; from pathlib import Path; from zoowizard.families import pytorch\n"
        f"found = pytorch.recognise(Path({str(tmp_path / 'weights.pth')!r}))\n"
        f"pytorch.asks({{'architecture_file': {str(tmp_path / 'unet.py')!r}, 'network': 'UNet'}})\n"
        "pytorch.asks({'network': 'torchvision.models.resnet18'})\n"
        "assert found.family == 'pytorch' and not {'torch', 'torchvision', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cellmap_writes_beside_a_network_answers_questions(tmp_path: Path, state: dict[str, Any]) -> None:
    torch.save(state, tmp_path / "model.pth")
    metadata = {"model_name": "mito unet 8nm", "channels_names": ["mito"], "input_voxel_size": [8, 8, 8]}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    values = told(one(tmp_path / "model.pth"))
    assert (values["name"], values["output_channels"]) == ("mito unet 8nm", ["mito"])


def test_an_answers_file_gives_a_list_as_a_list(tmp_path: Path, draft: Draft) -> None:
    (tmp_path / "nets.py").write_text(
        UNET.split("class")[0] + "class Net(nn.Module):\n    def __init__(self, of): ...\n"
    )
    file = tmp_path / "answers.yaml"
    file.write_text(f"architecture_file: {tmp_path / 'nets.py'}\nargument_of: [8, 16]\n")
    assert read_all(file, draft)["argument_of"] == "[8, 16]"
    draft = answered(draft, read_all(file, draft))
    assert arguments({name: known.value for name, known in draft.values.items()}) == {"of": [8, 16]}
