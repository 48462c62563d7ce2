"""The step Upload with the sample's package: what is sent, and saving it in a folder."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Demo
from screens_text import screen_text
from step_app import StepApp, situation_of
from textual.pilot import Pilot
from textual.widgets import Input

from zoowizard.drafts.draft import with_given
from zoowizard.drafts.store import Workspace
from zoowizard.library.archive import sha256
from zoowizard.screens.situation import Situation, StepAsked, UploadChanged
from zoowizard.screens.steps.upload import UploadStep
from zoowizard.upload.receipts import receipts

DEADLINE_S = 120.0
DRAFT = "nuclei-yolo11n"


async def until(pilot: Pilot[None], condition: Callable[[], Any]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, screen_text(pilot.app)
        await pilot.pause(0.05)


async def until_seen(pilot: Pilot[None], *words: str) -> str:
    await until(pilot, lambda: all(word in " ".join(screen_text(pilot.app).split()) for word in words))
    return screen_text(pilot.app)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def situation(demo: Demo, tmp_path: Path, here: Path) -> Situation:
    """The sample's package in a workspace of one's own."""
    workspace = Workspace(tmp_path / "workspace")
    ignored = shutil.ignore_patterns("bioimageio-cache", "contents", "comparison", "weights", "tensors")
    shutil.copytree(demo.workspace, workspace.root, ignore=ignored)
    for folder in workspace.jobs(DRAFT).iterdir():
        folder.chmod(0o700)
    return situation_of(workspace, DRAFT, here)


def app_for(situation: Situation) -> StepApp:
    return StepApp(UploadStep(), situation)


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZOOWIZARD_SERVER", "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.delenv("ZOOWIZARD_TOKEN", raising=False)


async def to_folder(pilot: Pilot[None]) -> None:
    """Turn to the last of the places."""
    await until_seen(pilot, "A folder")
    await pilot.press("down", "down")


async def type_over(pilot: Pilot[None], text: str) -> None:
    typed = pilot.app.query_one("#upload-folder", Input)
    await until(pilot, lambda: typed.has_focus)
    typed.value = ""
    await pilot.press(*("space" if letter == " " else letter for letter in text))
    await until(pilot, lambda: typed.value == text)


async def test_says_what_is_sent(situation: Situation, demo: Demo) -> None:
    async with app_for(situation).run_test(size=(80, 24)) as pilot:
        await to_folder(pilot)
        seen = await until_seen(pilot, "In the package: ", "will be saved in this folder", "weights.onnx")
        for words in (
            "Nuclei segmentation in fluorescence images",
            "AGPL-3.0-only",
            "torchscript, onnx",
            f"sha256 {sha256(demo.package)[:12]}",
            "✓ predicts the same",
            "rdf.yaml",
            "weights.onnx",
            "● A folder",
            "The BioImage Model Zoo",
        ):
            assert words in seen


async def test_saves_in_the_folder_where_it_was_started(situation: Situation, demo: Demo, here: Path) -> None:
    app = app_for(situation)
    async with app.run_test(size=(80, 24)) as pilot:
        await to_folder(pilot)
        await until_seen(pilot, "will be saved in this folder")
        await pilot.press("enter")
        await until(pilot, lambda: app.said)
        await until_seen(pilot, "✓ saved as")
        assert [type(one) for one in app.said] == [UploadChanged]
        [receipt] = receipts(situation.workspace, DRAFT)
        assert not receipt.confirmed
        assert sha256(here / demo.package.name) == sha256(demo.package)
        assert (here / f"{DRAFT}-report.md").is_file()
        app.step.show(situation_of(situation.workspace, DRAFT, here))
        await until_seen(pilot, "✓ saved as")
        assert "replaced" not in screen_text(app)


async def test_the_folder_is_checked_while_it_is_typed(situation: Situation, here: Path) -> None:
    (here / "a file").write_text("")
    app = app_for(situation)
    async with app.run_test(size=(80, 24)) as pilot:
        await to_folder(pilot)
        await until_seen(pilot, "will be saved in this folder")
        await type_over(pilot, "a file")
        await until_seen(pilot, "✗", "is a file; choose a folder")
        await type_over(pilot, "'new [x]'")
        await until_seen(pilot, "the folder will be made")
        await pilot.press("enter")
        await until(pilot, lambda: app.said)
        assert (here / "new [x]" / f"{DRAFT}.zip").is_file()
        await until_seen(pilot, "✓ saved as")
        await type_over(pilot, "~nobody-of-this-name/x")
        await until_seen(pilot, "✗")
        app.query_one("#upload-folder", Input).value = ""
        await until_seen(pilot, "write the folder in which")


async def test_what_is_typed_stays(situation: Situation) -> None:
    app = app_for(situation)
    async with app.run_test(size=(80, 24)) as pilot:
        await to_folder(pilot)
        await type_over(pilot, "half")
        app.step.show(situation)
        await until_seen(pilot, "half")


async def test_a_failure_is_said_and_can_be_mended(situation: Situation, here: Path) -> None:
    app = app_for(situation)
    async with app.run_test(size=(80, 24)) as pilot:
        await to_folder(pilot)
        await until_seen(pilot, "will be saved in this folder")
        here.rmdir()
        here.write_text("")
        await pilot.press("enter")
        await until_seen(pilot, "✗", "is a file")
        assert app.said == []
        here.unlink()
        await pilot.press("enter")
        await until(pilot, lambda: app.said)


async def test_a_package_that_vanished(situation: Situation) -> None:
    assert situation.built is not None and situation.built.outcome is not None
    outcome = {**situation.built.outcome, "package": str(situation.here / "gone.zip")}
    app = app_for(replace(situation, built=replace(situation.built, outcome=outcome)))
    async with app.run_test(size=(80, 24)) as pilot:
        await to_folder(pilot)
        await until_seen(pilot, "the package is not there any more; build it again")


async def test_without_a_package_it_leads_to_the_test(situation: Situation) -> None:
    app = app_for(replace(situation, built=None, built_from=None, job=None))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "There is no package yet" in (now := screen_text(app)) and "Folder" not in now)
        await pilot.press("enter")
        await until(pilot, lambda: app.said)
        assert app.said == [StepAsked("test")]
        app.step.show(situation)
        await to_folder(pilot)
        await until_seen(pilot, "will be saved in this folder")


async def test_says_when_answers_were_changed(situation: Situation) -> None:
    assert situation.draft is not None
    app = app_for(replace(situation, draft=with_given(situation.draft, {"license": "MIT"})))
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "Answers were changed since", "AGPL-3.0-only")  # what is sent is what was built


@pytest.mark.parametrize("size", [(40, 10), (20, 6), (120, 40)])
async def test_any_size(situation: Situation, size: tuple[int, int]) -> None:
    app = app_for(situation)
    async with app.run_test(size=size) as pilot:
        await pilot.resize_terminal(80, 24)
        await pilot.resize_terminal(*size)
        await until(pilot, lambda: "The BioImage" in screen_text(app))


async def test_the_card_can_be_read(situation: Situation) -> None:
    app = app_for(situation)
    async with app.run_test(size=(80, 24)) as pilot:
        await to_folder(pilot)
        await until_seen(pilot, "will be saved in this folder")
        await pilot.press("ctrl+e")
        await until_seen(pilot, "Model card of", "Nuclei segmentation")
        await pilot.press("escape")
        await until_seen(pilot, "will be saved in this folder")
