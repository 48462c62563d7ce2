"""The log of a job on a screen of its own."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from screens_text import screen_text
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input

from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.folder import create
from zoowizard.jobs.state import read_job
from zoowizard.screens.log import LogScreen

DEADLINE_S = 120.0


class LogApp(App[None]):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_mount(self) -> None:
        self.push_screen(LogScreen(self.folder))


async def until(pilot: Pilot[None], condition: Callable[[], Any]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, screen_text(pilot.app)
        await pilot.pause(0.05)


async def until_seen(pilot: Pilot[None], *words: str, gone: str = "") -> str:
    def seen() -> bool:
        shown = screen_text(pilot.app)
        return all(word in shown for word in words) and not (gone and gone in shown)

    await until(pilot, seen)
    return screen_text(pilot.app)


async def begins_to_search(pilot: Pilot[None]) -> None:
    await pilot.press("slash")
    await until(pilot, lambda: isinstance(pilot.app.focused, Input))


@pytest.fixture
def ended(tmp_path: Path) -> Callable[..., Path]:
    def run(*do: dict[str, Any]) -> Path:
        folder = create(tmp_path / "jobs", "selftest", "nuclei [x]", {"do": list(do)}, 60)
        LocalEngine().start([folder])
        end = time.monotonic() + DEADLINE_S
        while not read_job(folder).over:
            assert time.monotonic() < end
            time.sleep(0.02)
        return folder

    return run


async def test_says_how_it_stands_and_finds_the_error(ended: Callable[..., Path]) -> None:
    many = "\n".join(f"line {number}" for number in range(300))
    folder = ended({"print": f"{many}\n\n[/bold] words"}, {"crash": "boom"})
    app = LogApp(folder)
    async with app.run_test(size=(80, 24)) as pilot:
        seen = await until_seen(pilot, "failed", "nuclei [x]", "RuntimeError: boom", "What to do", "line 299")
        assert "line 1\n" not in seen
        await pilot.press("e")
        await until_seen(pilot, "Traceback (most recent call last)", "of ")
        await pilot.press("home")
        await until_seen(pilot, "line 0")
        await begins_to_search(pilot)
        await pilot.press(*"LINE", "space", *"29", "enter")
        await until_seen(pilot, "match 1 of", "line 29")
        await pilot.press("n")
        await until_seen(pilot, "match 2 of", "line 290")
        await begins_to_search(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.focused, Input))
        assert isinstance(app.screen, LogScreen)
        await begins_to_search(pilot)
        await pilot.press(*"unheard", "enter")
        await until_seen(pilot, "`unheard` is not in the log")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, LogScreen))


async def test_a_job_without_errors(ended: Callable[..., Path]) -> None:
    async with LogApp(ended({"print": "all is well"})).run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "✓ passed", "all is well")
        await pilot.press("e")
        await until_seen(pilot, "there is no error in the log")


async def test_a_log_that_grows_while_it_is_read(tmp_path: Path) -> None:
    folder = create(tmp_path / "jobs", "selftest", "nuclei", {"do": [{"wait": 0.1}]}, 60)
    (folder / "log.txt").write_text("first\n")
    async with LogApp(folder).run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "starting", "first")
        with (folder / "log.txt").open("a") as log:
            log.write(" 10%\r 99%\n\x1b[2Jlater\n")
        await until_seen(pilot, "99%", "later", gone="10%")


async def test_where_there_is_no_job(tmp_path: Path) -> None:
    async with LogApp(tmp_path / "none").run_test(size=(40, 10)) as pilot:
        await until_seen(pilot, "unreadable", "there is no job at")
        await pilot.resize_terminal(20, 5)
        await pilot.press("l", "e", "slash", "x", "enter", "escape")
