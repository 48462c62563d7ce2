"""The board of a workspace without a wizard behind it, in an app that writes down what the board asks for."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from screens_text import screen_text
from textual import on
from textual.app import App
from textual.message import Message
from textual.pilot import Pilot

from zoowizard.screens.board import (
    BoardScreen,
    CancelJob,
    ClaimRow,
    DeleteModel,
    NewModel,
    OpenDraft,
    RetryBuild,
    ShowLog,
)
from zoowizard.screens.widgets.board_table import BoardTable


class BoardApp(App[None]):
    """Shows the board of `workspace`; `asked` is what the board said."""

    def __init__(self, workspace: Path) -> None:
        super().__init__()
        self.animation_level = "none"
        self.board = BoardScreen(workspace)
        self.asked: list[Message] = []

    def on_mount(self) -> None:
        self.push_screen(self.board)

    @on(OpenDraft)
    @on(ClaimRow)
    @on(NewModel)
    @on(RetryBuild)
    @on(ShowLog)
    @on(CancelJob)
    @on(DeleteModel)
    def _write_down(self, event: Message) -> None:
        self.asked.append(event)

    @property
    def table(self) -> BoardTable:
        return self.board.query_one(BoardTable)

    @property
    def under_cursor(self) -> str:
        """The name of the model under the cursor."""
        row = self.table.row
        return "" if row is None else row.name


async def until(pilot: "Pilot[Any]", condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until something is so; fails with the screen where it never is."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it never came true; the screen is\n{screen_text(pilot.app)}"
        await pilot.pause(0.02)
    await pilot.pause()


async def sees(pilot: "Pilot[Any]", *words: str, gone: str = "") -> str:
    """Wait until all the words stand on the screen, and `gone` does not; gives the screen."""

    def seen() -> bool:
        shown = screen_text(pilot.app)
        return all(one in shown for one in words) and not (gone and gone in shown)

    await until(pilot, seen)
    return screen_text(pilot.app)


async def filled(pilot: "Pilot[Any]", app: BoardApp) -> None:
    """Wait until the board shows all that its watcher has to tell."""
    await until(pilot, lambda: app.board.complete and "looking at the workspace" not in screen_text(app))
