"""The normalisation is chosen by pictures of what the network gives after each, in the wizard."""

from pathlib import Path

import pytest
from network_files import pytorch_model
from person import Person

from zoowizard.drafts.place import Place, write_place
from zoowizard.drafts.store import Workspace, load, open_workspace, save
from zoowizard.jobs.state import list_jobs
from zoowizard.screens.app import ZoowizardApp
from zoowizard.workflow import answered, choose_one, open_draft

DRAFT = "checkpoint"
KEY = "^n Try all"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A small network of which all is answered but the normalisation, where the cursor was."""
    model = pytorch_model(tmp_path, depth=1)
    workspace = open_workspace(tmp_path / "workspace")
    draft = open_draft(workspace, choose_one(model.checkpoint))
    for _ in range(2):  # the architecture leads to its arguments
        draft = answered(draft, {name: one for name, one in model.values.items() if name != "normalisation"})
    save(workspace, draft)
    write_place(workspace, draft.id, Place("describe", field="normalisation"))
    return workspace


async def opened(person: Person) -> None:
    await person.until(lambda: any(line.startswith(">") for line in person.screen.splitlines()))
    await person.press("enter")
    await person.sees("Normalisation", KEY)


async def test_the_one_whose_picture_is_right_becomes_the_answer(workspace: Workspace, tmp_path: Path) -> None:
    async with ZoowizardApp(workspace.root, tmp_path).run_test(size=(80, 24)) as pilot:
        person = Person(pilot)
        await opened(person)
        await person.press("up")
        await person.until(lambda: KEY not in person.screen)
        await person.press("down")
        await person.sees(KEY)
        await person.press("ctrl+n")
        await person.sees("What the network gives after each normalisation", "c Cancel")
        await person.sees("nothing tells which normalisation is right", "stretched to be seen", "▀▀▀▀")
        await person.sees("> none", "min-max")
        await person.sees("Dimensions: ", "(not right? answer “Dimensions”)", gone="c Cancel")
        before = person.line_with("stretched")
        await person.press("down", "down", "down")
        await person.sees("> percentile-1-99.8")
        await person.until(lambda: person.line_with("stretched") != before)
        await person.press("pagedown", "pagedown")
        await person.sees("Two runs: two runs on the same input gave the same")
        await person.press("enter")
        await person.sees("Normalisation ✓ percentile-1-99.8", KEY)
        [job] = list_jobs(workspace.jobs(DRAFT))
        await person.press("ctrl+n")
        await person.sees("> percentile-1-99.8", "stretched to be seen")
        await person.press("down")
        await person.press("escape")
        await person.sees("Normalisation ✓ percentile-1-99.8")
        assert list_jobs(workspace.jobs(DRAFT)) == [job], "what was tried is shown again"
        await person.press("ctrl+o")
        await person.sees("zoowizard board")
    assert load(workspace, DRAFT).get("normalisation") == "percentile-1-99.8"


async def test_a_job_that_fails_or_is_cancelled_says_why_and_can_be_tried_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    right = (tmp_path / "unet.py").read_text()
    (tmp_path / "unet.py").write_text(right.replace("class UNet(nn.Module):", "1 / 0\n\n\nclass UNet(nn.Module):"))
    async with ZoowizardApp(workspace.root, tmp_path).run_test(size=(80, 24)) as pilot:
        person = Person(pilot)
        await opened(person)
        await person.press("ctrl+n")
        await person.sees("✗ ", "division by zero", "r Try again", "l Log")
        slow = "import time\ntime.sleep(600)\nclass UNet(nn.Module):"
        (tmp_path / "unet.py").write_text(right.replace("class UNet(nn.Module):", slow))
        await person.press("r")
        await person.sees("c Cancel", gone="✗ ")
        await person.press("c")
        await person.sees("✗ ", "r Try again", gone="c Cancel")
        (tmp_path / "unet.py").write_text(right)
        await person.press("r")
        await person.sees("> none", "stretched to be seen", gone="r Try again")
        await person.press("escape")
        await person.sees(KEY)
    assert {job.state for job in list_jobs(workspace.jobs(DRAFT))} == {"passed", "cancelled", "failed"}
    assert "normalisation" not in load(workspace, DRAFT).given
