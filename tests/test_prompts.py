"""The questions in plain lines, where answers lead to further ones."""

import io
from pathlib import Path

import pytest
import torch

from zoowizard.drafts.draft import Draft, with_given
from zoowizard.prompts import PromptsEnded, ask_missing
from zoowizard.workflow import answered, choose_one, draft_in_memory, questions_for

NET = "class {0}(nn.Module):\n    def __init__(self, widths: list[int], depth=3): ...\n    def forward(self, x): ...\n"
COMMON = {
    "name": "Mitochondria", "description": "Finds mitochondria.", "license": "MIT", "authors": [{"name": "Ada"}],
    "modality": "electron microscopy", "training_data_name": "ours", "test_image": "x.tif", "normalisation": "none",
}  # fmt: skip


def test_the_file_is_asked_first_and_leads_to_its_network_and_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nuclei: Path
) -> None:
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3)).state_dict(), tmp_path / "mito.pth")
    (tmp_path / "nets.py").write_text(NET.format("UNet") + NET.format("ResNet"))
    known = {**COMMON, "test_image": str(nuclei)}
    draft = answered(with_given(draft_in_memory(choose_one(tmp_path / "mito.pth")), known), {})
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{tmp_path}/nets.py\n2\n8, 16\n"))
    saved: list[Draft] = []
    with pytest.raises(PromptsEnded):
        ask_missing(draft, questions_for, answered, saved.append)
    told = {name: one.value for name, one in saved[-1].values.items()}
    assert (told["network"], told["argument_widths"], told["argument_depth"]) == ("ResNet", ["8", "16"], 3)
    said = capsys.readouterr().err
    assert "  1. UNet\n  2. ResNet" in said


def test_a_library_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nuclei: Path
) -> None:
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3)).state_dict(), tmp_path / "mito.pth")
    draft = with_given(draft_in_memory(choose_one(tmp_path / "mito.pth")), {**COMMON, "test_image": str(nuclei)})
    draft = answered(draft, {})
    monkeypatch.setattr("sys.stdin", io.StringIO("\ntorch.nn.Conv2d\n3\n"))
    saved: list[Draft] = []
    with pytest.raises(PromptsEnded):
        ask_missing(draft, questions_for, answered, saved.append)
    said = capsys.readouterr().err
    assert said.index("Architecture file (recommended)") < said.index("Network (required)") < said.index("kernel_size")
    assert saved[-1].get("argument_kernel_size") == "3"
    assert "Architecture file (optional)" not in said
