"""The board as a person sees and uses it, over real workspaces and the real watcher."""

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from board_app import BoardApp, filled, sees, until
from commands import Demo
from rich.cells import cell_len
from screens_text import screen_text

from zoowizard.assets import asset
from zoowizard.board.event import import_document
from zoowizard.drafts.draft import GIVEN, Draft, Value
from zoowizard.drafts.store import Workspace, save
from zoowizard.jobs.events import StepStarted, to_line
from zoowizard.jobs.folder import create
from zoowizard.jobs.locks import claim
from zoowizard.screens.app import ZoowizardApp
from zoowizard.screens.board import CancelJob, ClaimRow, DeleteModel, NewModel, OpenDraft, RetryBuild, ShowLog
from zoowizard.screens.children import lines_of
from zoowizard.screens.widgets.board_rows import columns_for, fitted, read_row

FAILED = {
    "status": "failed",
    "reason": "compare: the ONNX network differs from the original by 0.3",
    "seconds": 4.0,
    "ended": "2026-01-01T12:00:00Z",
}


def plant(workspace: Workspace, draft_id: str, created: str = "2026-01-01", **given: Any) -> Draft:
    answers = {name: Value(answer, GIVEN) for name, answer in given.items()}
    draft = Draft(draft_id, "yolo", Path(f"/runs/{draft_id}.pt"), created, given=answers)
    save(workspace, draft)
    return draft


def plant_build(workspace: Workspace, draft_id: str) -> Path:
    return create(workspace.jobs(draft_id), "build", draft_id, {"values": {}}, 60)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "models").mkdir()
    return Workspace(tmp_path)


@pytest.fixture
def four(workspace: Workspace) -> Iterator[Workspace]:
    """Models that were only read, begun, failed, and being built."""
    plant(workspace, "only-read", "2026-01-01")
    plant(workspace, "begun", "2026-01-02", name="Begun model", category="Fine-tuned Models")
    plant(workspace, "failed", "2026-01-03", name="Failed model", description="Finds the nuclei of embryos.")
    plant(workspace, "building", "2026-01-04", name="Building model")
    (plant_build(workspace, "failed") / "result.json").write_text(json.dumps(FAILED))
    folder = plant_build(workspace, "building")
    held = claim(folder / "lock", "")
    (folder / "events.jsonl").write_text(to_line(StepStarted("convert"), time.time()) + "\n")
    yield workspace
    os.close(held)


def line_with(app: BoardApp, words: str) -> str:
    return next((line for line in screen_text(app).splitlines() if words in line), "")


async def test_what_stands_on_the_board(four: Workspace) -> None:
    app = BoardApp(four.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(pilot, app)
        lines = (await sees(pilot, "1 running", ">only-read", "Building model: convert 1/6  0:0")).splitlines()
        assert lines[0].split() == ["zoowizard", "board", "1", "running", "·", "1", "failed"]
        assert lines[1].split() == ["Model", "Name", "Category", "Status", "Meta", "Exp", "Up", "Notes"]
        assert [line.split()[0].strip(">") for line in lines[2:6]] == ["only-read", "Begun", "Failed", "Building"]
        assert "● Testing" in line_with(app, "Building model ") and "✗ Failed" in line_with(app, "Failed model ")
        assert "· Not Started" in lines[2] and "○ In Progress" in lines[3] and lines[2].startswith(">")
        await pilot.press("down", "down")
        await sees(pilot, FAILED["reason"])
        await pilot.resize_terminal(120, 40)
        await sees(pilot, "Meta-data Complete", "Finds the")
        titles = "Model Name Category Description Status Meta-data Complete Exported Uploaded Notes"
        assert screen_text(app).splitlines()[1].split() == titles.split()
        assert "Finds the" in line_with(app, ">Failed model") and "✗ No" in line_with(app, ">Failed model")
        await pilot.resize_terminal(40, 10)
        await sees(pilot, gone="Meta")
        await until(pilot, lambda: "✗ Failed" in line_with(app, ">Failed model"))
        assert len(screen_text(app).splitlines()) == 10
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: screen_text(app).splitlines()[1].split() == lines[1].split())


async def test_a_tested_package(demo: Demo) -> None:
    app = BoardApp(demo.workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await filled(pilot, app)
        row = (await sees(pilot, "✓ Tested", "pixels identical", "1 tested")).splitlines()[2]
        assert "✓ Tested" in row and row.count("✓ Yes") == 2 and "· No" in row


async def test_an_empty_board_says_what_to_do(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    may_begin = asyncio.Event()

    async def begins_later(*asked: str) -> AsyncIterator[Any]:
        await may_begin.wait()
        async for news in lines_of(*asked):
            yield news

    monkeypatch.setattr("zoowizard.screens.board.lines_of", begins_later)
    app = BoardApp(workspace.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await sees(pilot, "looking at the workspace")
        may_begin.set()
        await filled(pilot, app)
        await sees(pilot, "n  packages a model", "zoowizard board import FILE.md")
        await pilot.press("enter", "r", "l", "u", "c", "G", "s", "slash")
        await sees(pilot, "words of any column")
        await pilot.press("escape")
        await until(pilot, lambda: app.table.has_focus)
        await pilot.press("pagedown", "n")
        await until(pilot, lambda: app.asked)
        assert [type(one) for one in app.asked] == [NewModel]


async def test_names_that_would_steer_the_screen(workspace: Workspace) -> None:
    plant(workspace, "a", "1", name="run [best].pt [/x] [red]", description="[bold]d[/bold]")
    plant(workspace, "b", "2", name="esc \x1b[2J\x1b[31m red\nline two\u202e", category="[link=x]")
    plant(workspace, "c", "3", name="n" * 300, category="k" * 300, description="d" * 300)
    plant(workspace, "d", "4", name="細胞核の分割モデル" * 9)
    (workspace.folder("d") / "jobs").mkdir()
    plant(workspace, "[bad]", "5")
    (workspace.folder("[bad]") / "draft.json").write_text("{\x1b[31m")
    app = BoardApp(workspace.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(pilot, app)
        text = await sees(pilot, "nnn…  ", "! ")
        assert "run [best].pt [/x] [red]" in text and "\x1b" not in text and "\u202e" not in text
        assert "esc [2J[31m red line two" in text
        assert "[bad]: " in line_with(app, "! ")
        assert "細胞核の" in text
        assert [line for line in text.splitlines() if len(line) > 80] == []
        assert sum("nnnn" in line for line in text.splitlines()) == 1
        await pilot.press("down", "down", "down")
        await pilot.resize_terminal(40, 10)
        await sees(pilot, gone="Category")
        await pilot.press("up", "G")
        await until(pilot, lambda: line_with(app, ">"))
        assert [line for line in screen_text(app).splitlines() if len(line) > 40] == []


async def test_keys_ask_for_what_they_say(four: Workspace) -> None:
    app = BoardApp(four.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(pilot, app)
        await pilot.press("r")
        await sees(pilot, "nothing to retry")
        await pilot.press("l")
        await sees(pilot, "there is no log")
        await pilot.press("c")
        await sees(pilot, "no job of it is running")
        assert app.asked == []
        await pilot.press("enter", "u", "down", "down", "r", "l")
        [failed] = four.jobs("failed").iterdir()
        await until(pilot, lambda: len(app.asked) >= 4)
        assert app.asked == [
            OpenDraft("only-read"),
            OpenDraft("only-read", "upload"),
            RetryBuild("failed"),
            ShowLog(str(failed)),
        ]
        await sees(pilot, "it is built again")


async def test_cancelling_is_asked_once(four: Workspace) -> None:
    app = BoardApp(four.root)
    [folder] = four.jobs("building").iterdir()
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(pilot, app)
        await pilot.press("G", "c")
        await sees(pilot, "press c again")
        await pilot.press("up", "down")
        await sees(pilot, gone="press c again")
        await pilot.press("c")
        await sees(pilot, "press c again")
        assert app.asked == []
        await pilot.press("c")
        await until(pilot, lambda: app.asked)
        assert app.asked == [CancelJob(str(folder))]


async def test_deleting_is_asked_once_and_not_while_a_job_is_at_work(four: Workspace) -> None:
    app = BoardApp(four.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(pilot, app)
        await pilot.press("G", "X")
        await sees(pilot, "Building model: a job of it is at work")
        await pilot.press("g", "X")
        await sees(pilot, "only-read: press X again to delete it", "checkpoint and uploads stay")
        await pilot.press("down", "up")
        await sees(pilot, gone="press X again")
        await pilot.press("X")
        await sees(pilot, "press X again")
        await pilot.press("l", "X")
        await sees(pilot, "press X again")
        assert app.asked == []
        await pilot.press("X")
        await until(pilot, lambda: app.asked)
        assert app.asked == [DeleteModel("only-read")]


async def test_a_deleted_model_leaves_the_board_and_lies_in_the_trash(four: Workspace) -> None:
    app = ZoowizardApp(four.root, four.root)
    async with app.run_test(size=(120, 40)) as pilot:
        await sees(pilot, "only-read", "Failed model")
        await pilot.press("down", "down", "X")
        await sees(pilot, "Failed model: press X again")
        await pilot.press("X")
        await sees(pilot, "only-read", gone="Failed model")
        [deleted] = four.trash.iterdir()
        assert deleted.name.startswith("failed-") and (deleted / "draft.json").is_file()


async def test_a_row_of_the_event_is_claimed(workspace: Workspace) -> None:
    import_document(workspace, asset("uploathon.md"))
    app = BoardApp(workspace.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(pilot, app)
        await until(pilot, lambda: line_with(app, "Segment Anything").split()[-5:-3] == ["In", "Progress"])
        await pilot.press("down", "u")
        await sees(pilot, "nobody has begun")
        assert app.asked == []
        await pilot.press("enter")
        await until(pilot, lambda: app.asked)
        assert app.asked == [ClaimRow(app.table.rows[1].key)]
        assert app.under_cursor == "Nuno's Model"


async def test_filter_and_sort_and_the_cursor_stays(workspace: Workspace) -> None:
    for number in range(40):
        kind = "mitochondria" if number % 4 == 0 else "nuclei"
        plant(workspace, f"m{number:02d}", f"{number:03d}", name=f"{kind} {99 - number}", category=f"Kind {number % 3}")
    app = BoardApp(workspace.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(pilot, app)
        await pilot.press(*["down"] * 4)
        await until(pilot, lambda: app.under_cursor == "mitochondria 95")
        await pilot.press("slash")
        await sees(pilot, "words of any column")
        await pilot.press(*"KIND", "space", *"mito")
        await sees(pilot, "10 of 40", gone="nuclei")
        assert app.under_cursor == "mitochondria 95"
        await pilot.press("enter")
        await until(pilot, lambda: app.table.has_focus)
        await pilot.press("s")
        await sees(pilot, "by Model Name", ">mitochondria 95")
        assert [row.name for row in app.table.rows][:2] == ["mitochondria 63", "mitochondria 67"]
        await pilot.press("S")
        await sees(pilot, "by Model Name, reversed")
        assert app.table.rows[0].name == "mitochondria 99"
        await pilot.press("escape")
        await until(pilot, lambda: " of 40" not in screen_text(app) and "Filter  " not in screen_text(app))
        await sees(pilot, ">mitochondria 95")
        assert app.under_cursor == "mitochondria 95"
        plant(workspace, "new", "000", name="zebrafish")
        await until(pilot, lambda: "zebrafish" in app.table.rows[0].name)
        await sees(pilot, ">mitochondria 95")
        assert app.under_cursor == "mitochondria 95"
        await pilot.press("slash")
        await sees(pilot, "words of any column")
        await pilot.press(*"no such words")
        await sees(pilot, "no model has these words")
        assert app.under_cursor == ""


async def test_it_goes_on_when_its_watcher_is_killed(four: Workspace) -> None:
    app = BoardApp(four.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(pilot, app)
        alive = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
        [watcher] = [one for one in alive if "zoowizard.watch" in one.cmdline()]
        shutil.rmtree(four.folder("begun"))
        watcher.kill()
        assert "Failed model" in await sees(pilot, "the board stands still")
        await sees(pilot, "Failed model", gone="Begun model")
        await sees(pilot, "Failed model", gone="stands still")


async def test_many_rows_are_within_reach(workspace: Workspace) -> None:
    app = BoardApp(workspace.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await filled(pilot, app)
        app.board.take({**EMPTY_NEWS, "rows": [told(number) for number in range(3000)]})
        await sees(pilot, "model 0 ")
        await pilot.press("G")
        await sees(pilot, ">model 2999")
        assert app.table.scroll_offset.y > 2900
        await pilot.press("g")
        await sees(pilot, ">model 0 ")
        await pilot.press("pagedown")
        await until(pilot, lambda: app.under_cursor == f"model {app.table.size.height - 1}")
        await pilot.press("end")
        await sees(pilot, ">model 2999")
        await pilot.press("home", "k")
        await sees(pilot, ">model 0 ")
        app.board.take({**EMPTY_NEWS, "gone": [f"k{number}" for number in range(10, 3000)]})
        await pilot.press("G")
        await sees(pilot, ">model 9 ", gone="model 10")


def test_every_line_fits_every_width() -> None:
    rows = [read_row(told(1, "名" * 200, "k" * 90)), read_row(told(2, "", ""))]
    for room in range(24, 200):
        columns = columns_for(rows, room)
        texts = ["  ".join(columns.texts(row)) for row in rows] + ["  ".join(columns.titles())]
        assert max(map(cell_len, texts)) <= room, room
        assert columns.shown[0] == 0 and 3 in columns.shown


def test_cutting_counts_cells() -> None:
    assert [fitted(text, 6) for text in ("nuclei", "nucleus", "nu", "細胞核", "細胞核x")] == [
        "nuclei",
        "nucle…",
        "nu    ",
        "細胞核",
        "細胞… ",
    ]


EMPTY_NEWS: dict[str, Any] = {"rows": [], "gone": [], "running": [], "problems": [], "counts": {}, "complete": True}


def told(number: int, name: str = "", category: str = "Fine-tuned Models") -> dict[str, Any]:
    """A row as the watcher tells it."""
    return {
        "key": f"k{number}",
        "cells": [name or f"model {number}", category, "what it does", "In Progress", "No", "No", "No", ""],
        "draft": f"d{number}",
        "state": "open",
        "known": [3, 14],
        "job": None,
        "job_kind": None,
        "job_state": None,
        "order": [1, f"{number:05d}", ""],
    }
