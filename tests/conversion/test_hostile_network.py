"""Code and weights of strangers in the job: what nothing tells, or tells something else, is not handed out."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_files import Model, answers
from torch import nn

from zoowizard.conversion import pytorch
from zoowizard.conversion.telling import require_following, without_folders
from zoowizard.errors import ZoowizardError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(1, 1, 3, padding=1)


IMPORTS = "import os, sys, torch\nfrom torch import nn\n"
MADE = """class Net(nn.Module):
    def __init__(self):
        super().__init__(); self.c = nn.Conv2d(1, 1, 3, padding=1)
"""
FORWARD = "    def forward(self, x):\n        return {}\n"
GOOD = MADE + FORWARD.format("self.c(x)")


def model(folder: Path, source: str, factor: float = 1.0) -> Model:
    torch.manual_seed(0)
    network = Net()
    torch.save({name: one * factor for name, one in network.state_dict().items()}, folder / "c.pth")
    (folder / "net.py").write_text(IMPORTS + source)
    values = {**answers(folder), "architecture_file": str(folder / "net.py"), "network": "Net"}
    return Model(folder / "c.pth", values, network, folder)


@pytest.mark.parametrize(
    ("source", "factor", "says"),
    [
        (MADE + FORWARD.format("torch.ones_like(x) * 3"), 1.0, "the same value everywhere (3)"),
        (GOOD, float("nan"), "it gives values that are no numbers (NaN)"),
        (MADE + FORWARD.format("sys.exit(3)"), 1.0, "it ends its process when it predicts"),
        ("class Ends(BaseException): pass\nraise Ends('now')\n" + GOOD, 1.0, "fails when it is loaded: Ends: now"),
        ("raise ValueError('\\x1b[31mred')\n" + GOOD, 1.0, "ValueError: \\x1b[31mred"),
        ("open(__file__, 'a').write('#')\n" + GOOD, 1.0, "changes its own file when it is loaded"),
        (
            GOOD.replace("super().__init__()", "super().__init__(); torch.manual_seed(5)")
            + "    def load_state_dict(self, *given, **more): pass\n",
            1.0,
            "c.weight is not what the checkpoint holds",
        ),
    ],
)
def test_networks_that_are_refused(source: str, factor: float, says: str, tmp_path: Path) -> None:
    with pytest.raises(ZoowizardError) as told:
        model(tmp_path, source, factor).converted(pytorch)
    assert says in str(told.value)


def test_running_means_that_the_code_changes_while_it_loads(tmp_path: Path) -> None:
    source = (
        "class Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__(); self.c = nn.Conv2d(1, 1, 3, padding=1); self.n = nn.BatchNorm2d(1)\n"
        + FORWARD.format("self.n(self.c(x))")
    )
    changing = (
        "    def load_state_dict(self, *given, **more):\n"
        "        super().load_state_dict(*given, **more); self.n.running_mean.zero_()\n"
    )
    known = model(tmp_path, source)
    norm = {"weight": 1.0, "bias": 0.0, "running_mean": 2.0, "running_var": 1.0}
    state = {**known.network.state_dict(), **{f"n.{name}": torch.full((1,), one) for name, one in norm.items()}}
    torch.save(state, known.checkpoint)
    assert len(known.converted(pytorch).weights) == 3, "what counts batches may be missing"
    (tmp_path / "net.py").write_text(IMPORTS + source + changing)
    with pytest.raises(ZoowizardError, match=r"after loading, n\.running_mean is not what the checkpoint holds"):
        known.converted(pytorch)


@pytest.mark.parametrize(
    ("value", "says"), [(np.nan, "values that are no numbers"), (0.0, "the same value everywhere")]
)
def test_an_expected_output_that_tells_nothing(value: float, says: str, tmp_path: Path) -> None:
    np.save(tmp_path / "expected.npy", np.full((100, 132), value, np.float32))
    expected = {"expected_output": str(tmp_path / "expected.npy"), "normalisation": "find"}
    with pytest.raises(ZoowizardError, match=f"expected_output: it h.* {says}"):
        model(tmp_path, GOOD).converted(pytorch, **expected)


def test_a_network_that_does_not_use_its_image(tmp_path: Path) -> None:
    def given(source: str) -> tuple[list[Any], list[Any]]:
        native = model(tmp_path, source).converted(pytorch).native
        assert native.pictures is not None and native.outputs is not None
        image = np.load(tmp_path / "image.npy")[None]
        pictures = list(native.pictures(image).values())
        return pictures, [native.outputs(one) for one in pictures]

    require_following(*given(GOOD))
    with pytest.raises(ZoowizardError, match="whatever the image, the network gives the same"):
        require_following(*given(MADE + FORWARD.format("0 * x + torch.arange(x.shape[-1])")))


def test_code_that_forks_does_nothing_twice(tmp_path: Path) -> None:
    """The fork would convert, write and, in a job, end the job as well."""
    forking = "if sys.argv[0] != 'forked':\n    sys.argv[0] = 'forked'\n    os.fork()\n"
    before = sys.argv[0]
    try:
        converted = model(tmp_path, forking + GOOD).converted(pytorch)
    finally:
        sys.argv[0] = before
    (tmp_path / f"converted-by-{os.getpid()}").touch()
    assert len(list(tmp_path.glob("converted-by-*"))) == 1
    assert len(converted.weights) == 3


def test_sentences_of_a_package_name_no_folders() -> None:
    told = "cannot run it (/home/ada/zoo/net.py, see https://example.org/a/b and 1/2 of it)"
    assert without_folders(told) == "cannot run it (…/net.py, see https://example.org/a/b and 1/2 of it)"
