"""Which weights of a checkpoint are meant, and what they are called."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors_files import safetensors
from torch import nn

from zoowizard.errors import ZoowizardError
from zoowizard.families.state_dicts import state_dicts


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))


def saved(tmp_path: Path, contents: Any) -> Path:
    torch.save(contents, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def under(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + name: one for name, one in state.items()}


def test_a_plain_state_dict_is_taken_as_it_is(tmp_path: Path) -> None:
    model = small()
    [found] = state_dicts(saved(tmp_path, model.state_dict()))
    assert (found.key, found.path, found.prefix) == (".", (), "")
    assert found.shapes == {name: tuple(one.shape) for name, one in model.state_dict().items()}
    assert (found.dtypes["0.weight"], found.dtypes["1.num_batches_tracked"]) == ("float32", "int64")
    assert found.parameters == sum(one.numel() for one in model.parameters())


def test_parallel_and_compiled_training_leave_no_trace_in_the_names(tmp_path: Path) -> None:
    state = under("module._orig_mod.", small().state_dict())
    [found] = state_dicts(saved(tmp_path, {"model": state, "epoch": 3}))
    assert (found.key, found.prefix) == ("model", "module._orig_mod.")
    assert "0.weight" in found.shapes


def test_whether_a_network_calls_its_layers_model_is_left_open(tmp_path: Path) -> None:
    [found] = state_dicts(saved(tmp_path, under("model.", small().state_dict())))
    assert found.prefix == "" and found.prefixes == ("", "model.")


def test_lightning_holds_the_network_beside_its_loss(tmp_path: Path) -> None:
    state = {**under("unet.", small().state_dict()), "loss.weight": torch.ones(2)}
    [found] = state_dicts(saved(tmp_path, {"state_dict": state, "pytorch-lightning_version": "2.4.0"}))
    assert (found.key, found.prefix, found.left_out) == ("state_dict", "unet.", ("loss.weight",))
    assert set(found.shapes) == set(small().state_dict())


def test_a_lightning_module_that_is_the_network_keeps_its_names(tmp_path: Path) -> None:
    state = {**under("encoder.", small().state_dict()), **under("decoder.", small().state_dict())}
    [found] = state_dicts(saved(tmp_path, {"state_dict": state, "pytorch-lightning_version": "2.4.0"}))
    assert found.prefix == "" and "encoder.0.weight" in found.shapes


def test_optimisers_are_no_state_dicts_and_averaged_weights_come_first(tmp_path: Path) -> None:
    model = small()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 2, 9, 9)).sum().backward()
    optimizer.step()
    contents = {
        "model": model.state_dict(), "model_ema": under("module.", model.state_dict()),
        "optimizer": optimizer.state_dict(), "discriminator": nn.Conv2d(512, 512, 3).state_dict(), "epoch": 7,
    }  # fmt: skip
    found = state_dicts(saved(tmp_path, contents))
    assert [one.key for one in found] == ["model_ema", "model", "discriminator"]
    assert found[0].averaged and found[0].prefix == "module."


def test_of_an_averaged_model_its_counter_is_no_weight(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(small())
    [found] = state_dicts(saved(tmp_path, averaged.state_dict()))
    assert found.prefix == "module." and found.left_out == ("n_averaged",)


def test_tensors_that_are_no_weights_make_no_state_dict(tmp_path: Path) -> None:
    assert state_dicts(saved(tmp_path, {"images": torch.zeros(3, 3), "labels": torch.zeros(3)})) == []
    assert state_dicts(saved(tmp_path, torch.zeros(3))) == []
    looped: dict[str, Any] = {"a": {}}
    looped["a"]["b"] = looped
    assert state_dicts(saved(tmp_path, looped)) == []


def test_safetensors_are_read_by_their_header(tmp_path: Path) -> None:
    tensors = {"module.a.weight": ("F32", [4, 2, 3, 3]), "module.a.bias": ("F32", [4])}
    [found] = state_dicts(safetensors(tmp_path / "a.safetensors", tensors, __metadata__={"format": "pt"}))
    assert found.shapes == {"a.weight": (4, 2, 3, 3), "a.bias": (4,)}
    assert found.dtype == "float32" and found.prefix == "module."


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80\x02}",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 12) + b"{not json!!}",
        struct.pack("<Q", 8) + b"[" * 8,
        struct.pack("<Q", 71) + b'{"a.weight":{"dtype":"F32","shape":[4,4],"data_offsets":[0,9999999999]}}'[:71],
    ],
)
def test_damaged_safetensors_are_refused_in_a_sentence(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ZoowizardError, match=r"a\.safetensors"):
        state_dicts(path)
