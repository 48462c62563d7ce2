"""The step Test, with real jobs: what a person sees before, while and after a build runs."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Demo
from screens_text import screen_text
from step_app import StepApp, situation_of
from textual.pilot import Pilot

from zoowizard.assets import asset
from zoowizard.drafts.answers import read_answers
from zoowizard.drafts.draft import with_given
from zoowizard.drafts.store import Workspace, open_workspace, save
from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.folder import create
from zoowizard.jobs.locks import is_held
from zoowizard.jobs.state import StepState, cancel, read_job
from zoowizard.screens.situation import BuildAsked, CancelAsked, Situation, StepAsked
from zoowizard.screens.steps.test import JobEnded, TestStep
from zoowizard.screens.widgets.checklist import line, remaining_s
from zoowizard.workflow import choose_one, fields_of, open_draft

DEADLINE_S = 120.0


async def until(pilot: Pilot[None], condition: Callable[[], Any]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, screen_text(pilot.app)
        await pilot.pause(0.05)


async def until_seen(pilot: Pilot[None], *words: str) -> str:
    await until(pilot, lambda: all(word in screen_text(pilot.app) for word in words))
    return screen_text(pilot.app)


@pytest.fixture
def workspace(tmp_path: Path, sample_run: Path) -> Workspace:
    """A workspace with the sample's draft, all of it answered, and no job yet."""
    workspace = open_workspace(tmp_path / "workspace")
    draft = open_draft(workspace, choose_one(sample_run))
    save(workspace, with_given(draft, read_answers(asset("sample/answers.yaml"), fields_of(draft.family))))
    return workspace


@pytest.fixture
def situation(workspace: Workspace, tmp_path: Path) -> Situation:
    return situation_of(workspace, "nuclei-yolo11n", tmp_path)


@pytest.fixture
async def start(workspace: Workspace) -> AsyncIterator[Callable[..., Path]]:
    """Starts a real job that does small things; what of it lives after the test is ended."""
    folders = []

    def started(*do: dict[str, Any], time_limit_s: float = 60) -> Path:
        folder = create(workspace.jobs("nuclei-yolo11n"), "selftest", "nuclei", {"do": list(do)}, time_limit_s)
        folders.append(folder)
        LocalEngine().start([folder])
        return folder

    yield started
    for folder in folders:
        if is_held(folder / "lock") and is_held(folder / "supervisor"):
            os.kill(json.loads((folder / "supervisor").read_text())["pid"], signal.SIGTERM)


async def with_job(situation: Situation, folder: Path, over: bool = False) -> Situation:
    end = time.monotonic() + DEADLINE_S
    while over and not read_job(folder).over:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    return replace(situation, job=read_job(folder))


def app_for(situation: Situation) -> StepApp:
    return StepApp(TestStep(), situation)


async def test_before_it_says_what_will_be_done(situation: Situation) -> None:
    app = app_for(situation)
    async with app.run_test(size=(80, 24)) as pilot:
        seen = await until_seen(pilot, "Ready to be built", "convert the network", "save package and report")
        assert "Press Enter to start" in seen
        assert "last time" not in seen
        await pilot.press("enter")
        await until(pilot, lambda: app.said)
        assert app.said == [BuildAsked()]


async def test_what_is_missing_is_answered_first(situation: Situation) -> None:
    assert situation.draft is not None
    app = app_for(replace(situation, draft=replace(situation.draft, given={})))
    async with app.run_test(size=(80, 24)) as pilot:
        seen = await until_seen(pilot, "Not ready yet", "Description: is missing")
        assert "answer in the step Describe" in seen
        await pilot.press("t", "enter")
        await until(pilot, lambda: app.said)
        assert app.said == [StepAsked("describe")]


async def test_only_the_image_is_missing(situation: Situation) -> None:
    assert situation.draft is not None
    given = {name: known for name, known in situation.draft.given.items() if name != "test_image"}
    app = app_for(replace(situation, draft=replace(situation.draft, given=given)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "in the step Check")
        await pilot.press("d")
        await until(pilot, lambda: app.said)
        assert app.said == [StepAsked("check")]


async def test_one_that_waits_for_its_turn(
    situation: Situation, start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOOWIZARD_SLOTS", str(tmp_path / "slots"))
    monkeypatch.setenv("ZOOWIZARD_AT_ONCE", "1")
    holder = start({"wait": 300})
    while read_job(holder).state != "running":
        await asyncio.sleep(0.05)
    app = app_for(await with_job(situation, start({"print": "last"})))
    async with app.run_test(size=(80, 24)) as pilot:
        seen = await until_seen(pilot, "○ Queued   waiting for its turn: nuclei is at work, one at a time")
        assert "Testing" not in seen
        await pilot.press("c")
        await until_seen(pilot, "Press c again")
        await pilot.press("c")
        assert app.said == [CancelAsked()]
        await asyncio.to_thread(cancel, holder)
        await until_seen(pilot, "✓ Passed")


async def test_follows_a_job_and_its_log(situation: Situation, start: Callable[..., Path]) -> None:
    folder = start({"print": "first \x1b[31mword\x1b[0m"}, {"say": "a [bold]note[/]"}, {"wait": 2.5}, {"print": "last"})
    app = app_for(await with_job(situation, folder))
    async with app.run_test(size=(80, 24)) as pilot:
        seen = await until_seen(pilot, "Testing", "3 wait", "%", "a [bold]note[/]")
        assert "✓ 1 print" in seen
        await pilot.press("l")
        await until_seen(pilot, "first word")
        await until_seen(pilot, "first word", "last", "✓ Passed")
        await until(pilot, lambda: app.said)
        [message] = app.said
        assert isinstance(message, JobEnded)
        assert message.job.state == "passed"
        await pilot.press("l")
        await until(pilot, lambda: "first word" not in screen_text(app))


async def test_cancel_asks_once_more(situation: Situation, start: Callable[..., Path]) -> None:
    app = app_for(await with_job(situation, start({"wait": 30})))
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "Testing")
        await pilot.press("c")
        await until_seen(pilot, "Press c again to end the build")
        assert app.said == []
        await pilot.press("c")
        await until(pilot, lambda: app.said)
        assert app.said == [CancelAsked()]


async def test_a_failure_says_where_why_and_what_to_do(situation: Situation, start: Callable[..., Path]) -> None:
    reason = "the disk is full: could not save [/x]; free some space and try again"
    now = await with_job(situation, start({"wait": 0.1}, {"fail": reason}), over=True)
    app = app_for(now)
    async with app.run_test(size=(80, 24)) as pilot:
        seen = await until_seen(pilot, "✗ Failed: 2 fail", "The disk is full: could not save [/x]", "What to do: Free")
        assert "✗ 2 fail" in seen
        await pilot.press("enter", "R")
        await until(pilot, lambda: len(app.said) > 1)
        assert app.said == [BuildAsked(resume=now.job), BuildAsked()]


async def test_a_reason_that_says_what_would_be_right_is_all_that_is_said(
    situation: Situation, start: Callable[..., Path]
) -> None:
    reason = "input_step: is 12, but the network takes steps of 16; write 16, or leave it out"
    app = app_for(await with_job(situation, start({"fail": reason}), over=True))
    async with app.run_test(size=(80, 24)) as pilot:
        seen = await until_seen(pilot, "takes steps of 16; write 16", "Press Enter to go on from where it failed")
        assert "What to do" not in seen and "log tells" not in seen
        app.step.show(await with_job(situation, start({"crash": "no"}), over=True))
        await until_seen(pilot, "What to do: The log tells more")


async def test_a_failure_with_other_answers_is_told_as_one_of_before(
    situation: Situation, start: Callable[..., Path]
) -> None:
    now = await with_job(situation, start({"fail": "description: names no cells"}), over=True)
    assert now.draft is not None
    before = {name: known.value for name, known in now.draft.values.items()}
    app = app_for(replace(now, job_from=before))
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "✗ Failed: 1 fail", "✗ Description: names no cells", "from where it failed")
        mended = replace(now, job_from=before, draft=with_given(now.draft, {"description": "Finds the cells."}))
        app.step.show(mended)
        seen = await until_seen(
            pilot,
            "! Failed: 1 fail; answers were changed since: build again",
            "With the answers before: description: names no cells",
            "Press Enter to build with the answers as they are now",
        )
        assert "What to do" not in seen
        await pilot.press("enter")
        await until(pilot, lambda: app.said)
        assert app.said == [BuildAsked(resume=now.job)]


async def test_another_terminal_starts_a_job(situation: Situation, start: Callable[..., Path]) -> None:
    app = app_for(await with_job(situation, start({"fail": "no"}), over=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "Failed")
        app.step.show(await with_job(situation, start({"wait": 30})))
        await until_seen(pilot, "Testing", "1 wait")
        await until(pilot, lambda: "1 fail" not in screen_text(app))


async def test_a_damaged_record_is_told(situation: Situation, start: Callable[..., Path]) -> None:
    folder = start({"wait": 0.1})
    await with_job(situation, folder, over=True)
    with (folder / "events.jsonl").open("a") as events:
        events.write("{broken\n")
    app = app_for(await with_job(situation, folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "1 line of its record is damaged")


async def test_a_job_folder_that_vanishes(situation: Situation, start: Callable[..., Path], tmp_path: Path) -> None:
    folder = start({"wait": 30})
    app = app_for(await with_job(situation, folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "1 wait")
        folder.rename(tmp_path / "elsewhere")
        await until_seen(pilot, "Failed", "There is no job at", "What to do")
    os.kill(json.loads((tmp_path / "elsewhere" / "supervisor").read_text())["pid"], signal.SIGTERM)


async def test_a_package_that_passed(demo: Demo, tmp_path: Path) -> None:
    now = situation_of(Workspace(demo.workspace), "nuclei-yolo11n", tmp_path)
    app = app_for(now)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "✓ Passed", "every pixel is the same", "torchscript, onnx", demo.package.name)
        await pilot.press("enter")
        await until(pilot, lambda: app.said)
        assert app.said == [StepAsked("upload")]
        assert now.draft is not None
        app.step.show(replace(now, draft=with_given(now.draft, {"description": "Something else than before."})))
        await until_seen(pilot, "answers were changed since: build again")
        await pilot.press("t")
        await until(pilot, lambda: len(app.said) > 1)
        assert app.said[-1] == BuildAsked(resume=now.job)
        app.step.show(replace(now, job=None))
        await until(pilot, lambda: re.search(r"built and tested   took \d+:\d\d the last time", screen_text(app)))


async def test_looking_only(situation: Situation) -> None:
    app = app_for(replace(situation, read_only="another zoowizard is editing this draft; end that first"))
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "another zoowizard is editing this draft")
        await pilot.press("enter", "t", "r", "R", "c")
        assert app.said == []


@pytest.mark.parametrize("size", [(40, 10), (20, 6), (120, 40)])
async def test_any_size(demo: Demo, tmp_path: Path, size: tuple[int, int]) -> None:
    app = app_for(situation_of(Workspace(demo.workspace), "nuclei-yolo11n", tmp_path))
    async with app.run_test(size=size) as pilot:
        await pilot.press("l", "end")
        await pilot.resize_terminal(80, 24)
        await pilot.resize_terminal(*size)
        await pilot.press("l")
        await until_seen(pilot, "Passed")


@pytest.mark.parametrize("width", [30, 60, 78, 118])
def test_a_line_never_is_too_wide(width: int) -> None:
    for state in ("open", "running", "done", "failed", "stopped"):
        step = StepState("convert \x1b[2J 细胞" * 30, state, 4000.0, 0.5, "note [bold] " * 40)
        shown = line(step, None, width, over=False)
        assert shown.cell_length <= width
        assert "\x1b" not in shown.plain


def test_remaining_time_only_where_it_can_be_told() -> None:
    running = StepState("convert", "running", 10.0, 0.5)
    assert remaining_s(running, None) == 10
    assert remaining_s(running, 30.0) == 20
    assert remaining_s(replace(running, fraction=0.1), None) is None
    assert remaining_s(replace(running, fraction=None), None) is None
    assert remaining_s(replace(running, state="done"), 30.0) is None
