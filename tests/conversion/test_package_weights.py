"""Weights of packages that exist: what is added to them, and what they tell of whoever made them."""

import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from old_packages import old_package, zipped
from probed_networks import UNet, lively
from rebuilt import built
from rebuilt import server as server
from small_packages import Small, make_package
from torch import nn

from zoowizard.conversion.package_paths import names_an_account
from zoowizard.errors import ZoowizardError

ELSEWHERE = """
import torch


class Elsewhere(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, image):
        return self.first(image) + 1
"""


def of_ada(weight: float = 0.1) -> nn.Module:
    """A network whose source lies in somebody's home."""
    scope: dict[str, type[nn.Module]] = {}
    exec(compile(ELSEWHERE, "/home/ada/nets/elsewhere.py", "exec"), scope)
    torch.manual_seed(0)
    network = scope["Elsewhere"]()
    with torch.no_grad():
        next(network.parameters()).add_(weight)
    return network.eval()


def traced(network: nn.Module, path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.trace(network, torch.rand(1, 1, 64, 64), check_trace=False).save(str(path))  # type: ignore[no-untyped-call]


def test_torchscript_of_an_old_package_gets_onnx(tmp_path: Path) -> None:
    description = old_package(tmp_path / "old")
    traced(Small().network(), description.parent / "script.pt")
    known = yaml.safe_load(description.read_text())
    description.write_text(yaml.safe_dump({**known, "weights": {"torchscript": {"source": "script.pt"}}}))
    new = built(zipped(description.parent), tmp_path)
    assert new.outcome["formats"] == ["torchscript", "onnx"]
    assert new.told["weights"]["onnx"]["parent"] == "torchscript"
    assert new.files["script.pt"] == (description.parent / "script.pt").read_bytes()


def test_a_norm_over_the_image_is_exact_in_onnx(tmp_path: Path) -> None:
    network = lively(UNet(depth=2, norm="instance"))
    description = make_package(tmp_path / "norm", Small(pool=(4, 4)), zipped=False)
    traced(network, description.parent / "weights-ts.pt")
    image = np.full((1, 1, 256, 256), -0.2, np.float32)
    image[..., 20:40, 30:60] += np.random.default_rng(1).random((20, 30), np.float32) * 20
    with torch.inference_mode():
        np.save(description.parent / "test_out.npy", network(torch.from_numpy(image)).numpy())
    np.save(description.parent / "test_in.npy", image)
    known = yaml.safe_load(description.read_text())
    del known["weights"]["torchscript"]["sha256"]
    description.write_text(yaml.safe_dump(known))
    new = built(description, tmp_path)
    assert new.outcome["formats"] == ["torchscript", "onnx"]
    assert new.outcome["agreement"]["apart"] < 2e-4


def test_folders_in_weights_are_told_and_the_weights_stay(tmp_path: Path) -> None:
    description = make_package(tmp_path / "small", Small(), zipped=False)
    network = of_ada()
    traced(network, description.parent / "weights-ts.pt")
    with torch.inference_mode():
        given = network(torch.from_numpy(np.load(description.parent / "test_in.npy")))
    np.save(description.parent / "test_out.npy", given.numpy())
    known = yaml.safe_load(description.read_text())
    del known["weights"]["torchscript"]["sha256"]
    description.write_text(yaml.safe_dump(known))
    new = built(description, tmp_path)
    assert new.files["weights-ts.pt"] == (description.parent / "weights-ts.pt").read_bytes()
    assert "weights-ts.pt names folders of the computer on which it was made" in new.card
    assert "ada" not in new.card

    traced(of_ada(0.2), tmp_path / "fine.pt")
    assert names_an_account(tmp_path / "fine.pt")
    new = built(description, tmp_path, new_weights=str(tmp_path / "fine.pt"), name="Fine-tuned", parent="none")
    assert "names folders" not in new.card
    for name in ("weights-torchscript.pt", "weights.onnx"):
        (tmp_path / name).write_bytes(new.files[name])
        assert not names_an_account(tmp_path / name)


def test_new_onnx_weights_forget_the_machine_too(tmp_path: Path) -> None:
    description = make_package(tmp_path / "small", Small(formats=("onnx",)), zipped=False)
    model = onnx.load(description.parent / "weights.onnx")
    for one in model.graph.initializer:
        if one.dims == [4]:
            one.raw_data = np.full(4, 0.5, np.float32).tobytes()
    model.graph.node[0].doc_string = "/home/ada/nets/elsewhere.py(7): forward"
    onnx.save(model, tmp_path / "fine.onnx")
    assert names_an_account(tmp_path / "fine.onnx")
    new = built(
        description, tmp_path, new_weights=str(tmp_path / "fine.onnx"), name="Fine-tuned", parent="affable-shark"
    )
    assert b"ada" not in new.files["weights.onnx"]
    assert onnx.load_model_from_string(new.files["weights.onnx"]).graph.initializer == model.graph.initializer


@pytest.mark.parametrize(
    ("content", "is_told"),
    [
        (b"x" * (1 << 20) + b"/home/ada/net.py" + b"x" * 99, True),
        (b"x" * ((1 << 20) - 7) + b"/Users/ada/net.py", True),
        (rb"C:\Users\Ada Lovelace\net.py", True),
        (rb"C:\\Users\\ada\\net.py", True),
        (b"/usr/lib/python3/site-packages/torch/nn.py and /home/", False),
        (b"", False),
        (b"PK\x03\x04 no zip", False),
    ],
)
def test_what_names_an_account(tmp_path: Path, content: bytes, is_told: bool) -> None:
    path = tmp_path / "weights"
    path.write_bytes(content)
    assert names_an_account(path) is is_told
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/code.debug_pkl", content)
    path.write_bytes(packed.getvalue())
    assert names_an_account(path) is is_told


def test_why_torchscript_fails_is_told_in_its_last_words(tmp_path: Path) -> None:
    description = make_package(tmp_path / "small", Small(), zipped=False)
    np.save(description.parent / "test_in.npy", np.random.default_rng(0).random((1, 3, 64, 64), np.float32))
    known = yaml.safe_load(description.read_text())
    known["inputs"][0]["axes"][1]["channel_names"] = ["red", "green", "blue"]
    description.write_text(yaml.safe_dump(known))
    with pytest.raises(ZoowizardError, match=r"run with its torchscript: .*expected input.* to have 1 channel"):
        built(description, tmp_path)
