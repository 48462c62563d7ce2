"""The step Describe by itself."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from screens_text import screen_text
from textual import on
from textual.app import App, ComposeResult
from textual.pilot import Pilot

import zoowizard.screens
from zoowizard.drafts.draft import with_given
from zoowizard.screens.situation import Answered, Situation, Typed
from zoowizard.screens.steps.describe import DescribeStep, FieldFocused
from zoowizard.screens.widgets.field_row import FieldRow
from zoowizard.workflow import answered, questions_for

STYLES = Path(str(zoowizard.screens.__file__)).parent
WIZARD = (80, 19)
DEADLINE_S = 120.0


class Describing(App[None]):
    """The step by itself; what it says changes the draft as the wizard would change it."""

    AUTO_FOCUS = ""
    CSS_PATH: ClassVar = [STYLES / "app.tcss", STYLES / "steps" / "describe.tcss"]

    def __init__(self, situation: Situation, leads_on: bool = False) -> None:
        """With `leads_on` its answers lead to further questions, as the wizard asks them."""
        super().__init__()
        self.animation_level = "none"
        self.step, self.situation, self.leads_on = DescribeStep(), situation, leads_on
        self.said: list[Answered | Typed] = []
        self.field = ""

    def compose(self) -> ComposeResult:
        yield self.step

    def on_mount(self) -> None:
        self.step.show(self.situation)
        self.step.focus_first()

    def change(self, **more: Any) -> None:
        self.situation = replace(self.situation, **more)
        self.step.show(self.situation)

    @on(Answered)
    def _answer(self, event: Answered) -> None:
        self.said.append(event)
        typed = {name: text for name, text in self.situation.typed.items() if name not in event.answers}
        assert self.situation.draft is not None
        if self.leads_on:
            draft = answered(self.situation.draft, event.answers)
            self.change(draft=draft, fields=questions_for(draft), typed=typed)
        else:
            self.change(draft=with_given(self.situation.draft, event.answers), typed=typed)

    @on(Typed)
    def _type(self, event: Typed) -> None:
        self.said.append(event)
        typed = {**self.situation.typed, event.name: event.text}
        self.change(typed={name: text for name, text in typed.items() if text is not None})

    @on(FieldFocused)
    def _keep_field(self, event: FieldFocused) -> None:
        self.field = event.name

    def given(self, name: str) -> Any:
        assert self.situation.draft is not None
        known = self.situation.draft.given.get(name)
        return None if known is None else known.value

    def row(self, name: str) -> FieldRow:
        return self.step._rows[name]


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, screen_text(pilot.app)
        await pilot.pause(0.02)


async def begun(pilot: Pilot[None], name: str = "name") -> None:
    """Wait until the cursor is in this field, and the screen is drawn."""
    app = pilot.app
    assert isinstance(app, Describing)
    await until(pilot, lambda: app.field == name and app.focused is not None and line_with(app, "> ") != "")


async def sees(pilot: Pilot[None], *words: str) -> None:
    """Wait until these words stand on the screen, wherever its lines are broken."""
    await until(pilot, lambda: all(one in " ".join(screen_text(pilot.app).split()) for one in words))


def line_with(app: App[None], words: str) -> str:
    return next((line for line in screen_text(app).splitlines() if words in line), "")


async def write(pilot: Pilot[None], text: str) -> None:
    names = {" ": "space", ",": "comma", ".": "full_stop", "-": "minus", "\n": "enter", ";": "semicolon"}
    for letter in text:
        await pilot.press(names.get(letter, letter))
