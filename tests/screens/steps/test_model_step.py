"""The step Model: which checkpoint is it?"""

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from check_app import ChoiceApp, until, until_said, until_shown
from textual import events
from textual.widgets import Input

from zoowizard.drafts.store import Workspace
from zoowizard.families.identify import identify
from zoowizard.screens.children import lines_of
from zoowizard.screens.situation import DraftChosen, ModelChosen, Situation
from zoowizard.screens.steps.candidates import age_in_words, size_in_words, tail
from zoowizard.screens.steps.model import CandidateList, ModelStep
from zoowizard.screens.widgets.path_input import pasted, typed_path
from zoowizard.workflow import open_draft

NOW = 1_800_000_000.0


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "workspace" / "models").mkdir(parents=True)
    return Workspace(tmp_path / "workspace")


def aged(run: Path, name: str, seconds: float) -> Path:
    """A copy of a run whose weights are so old."""
    copy = Path(shutil.copytree(run, run.parent / name))
    os.utime(copy / "weights" / "best.pt", (NOW - seconds, NOW - seconds))
    return copy


def app_in(folder: Path, workspace: Workspace) -> ChoiceApp:
    return ChoiceApp(ModelStep(clock=lambda: NOW), Situation(workspace, folder))


async def test_what_lies_near_is_listed_newest_first_and_enter_takes_it(run: Path, workspace: Workspace) -> None:
    aged(run, "older", 3 * 86_400)
    newest = aged(run, "newest", 2 * 3_600)
    shutil.rmtree(run)
    app = app_in(run.parent, workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        shown = await until_shown(pilot, "2 models", "newest first")
        assert shown.index("newest ") < shown.index("older ")
        for words in ("2 h ago", "3 days ago", "6.0 MB", "YOLO11n-seg run, 40 of 40 epochs"):
            assert words in shown
        await pilot.press("enter")
        [said] = await until_said(pilot)
    assert isinstance(said, ModelChosen)
    assert said.recognition == identify(newest)[0]


async def test_the_highlight_stays_on_its_model_while_others_arrive(run: Path, workspace: Workspace) -> None:
    aged(run, "older", 3 * 86_400)
    aged(run, "newest", 2 * 3_600)
    shutil.rmtree(run)
    app = app_in(run.parent, workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "2 models", "newest first")
        await pilot.press("down")
        await until(pilot, lambda: app.query_one(CandidateList).highlighted == 1)
        added = aged(run.parent / "older", "added", 60)
        await pilot.press("r")
        await until_shown(pilot, "3 models", "newest first")
        await pilot.press("down", "up", "enter")
        [said] = await until_said(pilot)
    assert isinstance(said, ModelChosen)
    assert said.recognition.path == added, "a new search begins at the newest"


async def test_hostile_names_are_shown_as_they_are(run: Path, workspace: Workspace) -> None:
    for name in ("run [best].pt", "[red]", "a\nb\x1b[31mc", "z" * 250, "核" * 80):
        aged(run, name, 60)
    app = app_in(run.parent, workspace)
    async with app.run_test(size=(80, 40)) as pilot:
        shown = await until_shown(pilot, "6 models", "newest first")
        for words in ("run [best].pt", "[red]", "ab[31mc", "…zzz", "…核"):
            assert words in shown
        assert all(len(line) <= 80 for line in shown.splitlines())
        assert shown.count("YOLO11n-seg run") == 6
        for size in ((40, 10), (20, 4), (120, 40)):
            await pilot.resize_terminal(*size)
        await until_shown(pilot, "run [best].pt")


async def test_what_cannot_be_packaged_is_last_and_says_why(run: Path, workspace: Workspace, tmp_path: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'canary'}",)

    torch.save(Evil(), run.parent / "evil.pt")
    app = app_in(run.parent, workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        shown = await until_shown(pilot, "1 cannot be packaged")
        assert shown.index("nuclei ") < shown.index("evil.pt")
        assert "refused as unsafe" in shown
        await pilot.press("end", "enter")
        await until_shown(pilot, "evil.pt cannot be packaged.", "would run a program when loaded")
        await pilot.press("up")
        await until_shown(pilot, gone="evil.pt cannot be packaged.")
    assert app.said == []
    assert not (tmp_path / "canary").exists()


async def test_where_nothing_is_it_explains_what_it_looks_for(tmp_path: Path, workspace: Workspace, run: Path) -> None:
    (tmp_path / "empty").mkdir()
    app = app_in(tmp_path / "empty", workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "No model was found", "weights/best.pt", "press b")
        app.post_message(events.Paste(f"\n '{run}' \nmore"))
        await until_shown(pilot, "1 model at or below", "YOLO11n-seg run")
        assert app.query_one(Input).value == f"'{run}'"
        await pilot.press("enter")
        [said] = await until_said(pilot)
    assert isinstance(said, ModelChosen)
    assert said.recognition.path == run


async def test_a_path_that_leads_nowhere_is_one_sentence(tmp_path: Path, workspace: Workspace) -> None:
    app = app_in(tmp_path, workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "No model was found")
        app.query_one(Input).focus()
        await until(pilot, lambda: app.query_one(Input).has_focus)
        await pilot.press(*"none.pt", "enter")
        await until_shown(pilot, "none.pt does", "not exist.")
    assert app.said == []


async def test_tab_completes_names_and_goes_on_at_the_end(run: Path, workspace: Workspace, tmp_path: Path) -> None:
    app = app_in(tmp_path, workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "1 model at")
        path_input = app.query_one(Input)
        path_input.focus()
        await until(pilot, lambda: path_input.has_focus)
        await pilot.press(*"run", "tab")
        await until_shown(pilot, "paste a path runs/")
        await pilot.press("n", "tab")
        await until_shown(pilot, "runs/nuclei")
        await pilot.press("enter")
        [said] = await until_said(pilot)
        assert isinstance(said, ModelChosen)
        await pilot.press(*"zzz", "tab")
        await until(pilot, lambda: not path_input.has_focus)


async def test_a_model_with_a_draft_goes_on_with_it(run: Path, workspace: Workspace) -> None:
    draft = open_draft(workspace, identify(run)[0])
    app = app_in(run.parent, workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, f"draft: {draft.id}")
        await pilot.press("enter")
        assert await until_said(pilot) == [DraftChosen(draft.id)]
        app.show(replace(app.situation, draft=draft))
        await until_shown(pilot, "chosen: nuclei/weights/best.pt (YOLO11n-seg)", "your answers stay")
        await pilot.press("enter")
        said = await until_said(pilot, 2)
        assert isinstance(said[1], ModelChosen), "it is the one already: it is looked at once more"
        app.show(replace(app.situation, read_only="it is edited elsewhere by ada"))
        await until_shown(pilot, "it is edited elsewhere by ada", gone="your answers stay")
        await pilot.press("enter")
        await pilot.pause()
    assert len(app.said) == 2


async def test_browsing_by_keys(run: Path, workspace: Workspace, tmp_path: Path) -> None:
    (run.parent / ".hidden").mkdir()
    (run.parent / "[b]").mkdir()
    (run.parent / "notes.txt").touch()
    start = tmp_path / "start"
    start.mkdir()
    app = app_in(start, workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "No model was found")
        await pilot.press("b")
        await until_shown(pilot, "look for models in", "../", gone="No model was found")
        await pilot.press("backspace")
        await until_shown(pilot, "runs/", "start/")
        await pilot.press("home", "down", "down", "enter")
        shown = await until_shown(pilot, "[b]/", "nuclei/")
        assert "hidden" not in shown
        assert "notes.txt" not in shown
        await pilot.press("end", "enter")
        await until_shown(pilot, "weights/")
        await pilot.press("end", "enter")
        await until_shown(pilot, "best.pt")
        await pilot.press("end", "enter")
        [said] = await until_said(pilot)
        assert isinstance(said, ModelChosen)
        assert said.recognition.checkpoint == run / "weights" / "best.pt"
        await pilot.press("b")
        await until_shown(pilot, "../")
        await pilot.press("escape")
        await until_shown(pilot, "1 model at", gone="../")


async def test_hundreds_of_models(run: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def patiently(module: str, *arguments: str) -> AsyncIterator[Any]:
        return lines_of(module, *arguments, "--seconds", "600")

    monkeypatch.setattr("zoowizard.screens.steps.model.lines_of", patiently)
    for number in range(120):
        copy = run.parent / f"run{number:03}"
        (copy / "weights").mkdir(parents=True)
        os.link(run / "weights" / "best.pt", copy / "weights" / "best.pt")
    app = app_in(run.parent, workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "Looking", "models at or below")
        await until_shown(pilot, "121 models", "newest first")
        await pilot.press("end")
        await until_shown(pilot, "run119")
        await pilot.press("enter")
        [said] = await until_said(pilot)
    assert isinstance(said, ModelChosen)
    assert said.recognition.path.name == "run119"


def test_paths_as_people_paste_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a b").touch()
    expected = tmp_path / "a b"
    for text in (
        "a b",
        " 'a b' ",
        '"a b"',
        "~/a b",
        f"file://{tmp_path}/a%20b",
        f"{tmp_path}/a\\ b",
        "./c/../a b",
        pasted(f"\n\n{tmp_path}/a b\r\nsecond"),
    ):
        assert typed_path(text, tmp_path) == expected, text
    assert [typed_path(text, tmp_path) for text in ("", "  ", "''", "a\0b")] == [None] * 4
    assert typed_path("~nobody-at-all/x", tmp_path) == tmp_path / "~nobody-at-all/x"


def test_sizes_ages_and_long_names_in_words() -> None:
    assert [size_in_words(size) for size in (None, 0, 999, 1500, 5_983_716, 1_200_000_000)] == [
        "", "0 B", "999 B", "1.5 KB", "6.0 MB", "1.2 GB",
    ]  # fmt: skip
    ages = (None, -5, 30, 90, 7_300, 100_000, 40 * 86_400, 800 * 86_400)
    assert [age_in_words(None if age is None else NOW - age, NOW) for age in ages] == [
        "", "just now", "just now", "1 min ago", "2 h ago", "1 day ago", "1 month ago", "2 years ago",
    ]  # fmt: skip
    assert tail("runs/segment/train", 11) == "…ment/train"
    assert tail("核" * 10, 6) == "…核核"
