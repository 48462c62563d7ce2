"""Lists among a network's arguments: where the checkpoint does not fit, the list that fits is proposed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoowizard.conversion.pytorch_architecture import Architecture
from zoowizard.conversion.pytorch_fit import fitted
from zoowizard.errors import ZoowizardError

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self, features=(8, 16), strides=(2,), levels=(4, 8)):
        super().__init__()
        before, self.down = 1, nn.ModuleList()
        for number, width in enumerate(features):
            stride = strides[number] if number < len(features) - 1 else 1
            self.down.append(nn.Conv2d(before, width, 3, stride=stride))
            before = width
        self.out = nn.Conv2d(before, 1, 1)
"""


def architecture(folder: Path, **arguments: Any) -> Architecture:
    file = folder / "net.py"
    file.write_text(NETWORK)
    return Architecture("Net", arguments, file, file.name)


def checkpoint(folder: Path, *features: int) -> dict[str, Tensor]:
    names: dict[str, Any] = {}
    exec(NETWORK, names)
    torch.manual_seed(0)
    state: dict[str, Tensor] = names["Net"](features, (2,) * (len(features) - 1)).state_dict()
    return state


@pytest.mark.parametrize(
    ("trained", "said", "proposed"),
    [
        ((8, 12, 32), {"features": [8, 16, 32], "strides": [2, 2]}, "try features=[8, 12, 32]"),
        ((8, 16), {"features": [8, 16, 32], "strides": [2, 2]}, "try features=[8, 16]"),
        ((8, 16, 32), {"features": [8, 16]}, "try features=[8, 16, 32] and strides=[2, 2]"),
        ((32, 16, 16), {"features": [32, 16], "strides": [2, 2]}, "try features=[32, 16, 16]"),
    ],
)
def test_the_list_that_fits_is_proposed(
    trained: tuple[int, ...], said: dict[str, Any], proposed: str, tmp_path: Path
) -> None:
    with pytest.raises(ZoowizardError) as problem:
        fitted(architecture(tmp_path, **said), checkpoint(tmp_path, *trained), [""])
    assert proposed in str(problem.value)
    assert f"it was built with features={said['features']}" in str(problem.value)
