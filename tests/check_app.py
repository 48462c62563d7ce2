"""The steps Model and Check by themselves, in the frame that the wizard gives them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from screens_text import screen_text
from textual import on
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Footer, Static

import zoowizard.screens
from zoowizard.screens.situation import Answered, DraftChosen, ModelChosen, Situation, Typed
from zoowizard.screens.steps.step import Step

STYLES = Path(str(zoowizard.screens.__file__)).parent
PATIENCE_S = 120.0


class ChoiceApp(App[None]):
    """Shows one step and keeps what it says."""

    ENABLE_COMMAND_PALETTE = False
    CSS_PATH: ClassVar = [STYLES / "wizard.tcss", *(STYLES / "steps" / f"{name}.tcss" for name in ("model", "check"))]
    CSS = "#frame-top { height: 3; } Step { height: 1fr; padding: 0 1; }"

    def __init__(self, step: Step, situation: Situation) -> None:
        super().__init__()
        self.animation_level = "none"
        self.step, self.situation = step, situation
        self.said: list[Message] = []

    def compose(self) -> ComposeResult:
        yield Static("", id="frame-top")
        yield self.step
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.step.show(self.situation)
        self.step.focus_first()

    def show(self, situation: Situation) -> None:
        self.situation = situation
        self.step.show(situation)

    @on(Answered)
    @on(Typed)
    @on(ModelChosen)
    @on(DraftChosen)
    def _keep(self, message: Message) -> None:
        self.said.append(message)


async def until_shown(pilot: Pilot[None], *words: str, gone: str = "") -> str:
    """Wait until all `words` stand on the screen, and `gone` does not; gives the screen."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        await pilot.pause()
        shown = screen_text(pilot.app)  # type: ignore[arg-type]
        unwrapped = " ".join(shown.split())
        if all(word in shown or word in unwrapped for word in words) and not (gone and gone in unwrapped):
            return shown
        assert time.monotonic() < deadline, f"{words} did not come up, or {gone!r} stayed:\n{shown}"
        await pilot.pause(0.05)


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Wait until something is so; fails with the screen where it never is."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"it never came true:\n{screen_text(pilot.app)}"  # type: ignore[arg-type]
        await pilot.pause(0.02)


async def until_said(pilot: Pilot[None], count: int = 1) -> list[Message]:
    """Wait until the step has said so much; gives it."""
    app = pilot.app
    assert isinstance(app, ChoiceApp)
    deadline = time.monotonic() + PATIENCE_S
    while len(app.said) < count:
        assert time.monotonic() < deadline, f"only {app.said} was said"
        await pilot.pause(0.05)
    return app.said
