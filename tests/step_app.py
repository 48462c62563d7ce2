"""One step by itself, in the frame that the wizard gives it."""

from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.message import Message
from textual.widgets import Footer, Static

import zoowizard.screens
from zoowizard.drafts.store import Workspace, load
from zoowizard.history import history
from zoowizard.screens.doing import with_history
from zoowizard.screens.situation import BuildAsked, CancelAsked, Situation, StepAsked, UploadChanged, ZooTestAsked
from zoowizard.screens.steps.step import Step
from zoowizard.screens.steps.test import JobEnded
from zoowizard.workflow import fields_of

STYLES = Path(str(zoowizard.screens.__file__)).parent


def situation_of(workspace: Workspace, draft_id: str, here: Path, **more: Any) -> Situation:
    """What the wizard would know of this draft now."""
    draft = load(workspace, draft_id)
    situation = Situation(workspace, here, draft=draft, fields=fields_of(draft.family), **more)
    return with_history(situation, history(workspace, draft_id))


class StepApp(App[None]):
    """Shows one step and keeps what it says."""

    ENABLE_COMMAND_PALETTE = False
    CSS_PATH: ClassVar = [
        STYLES / "app.tcss",
        STYLES / "wizard.tcss",
        *(STYLES / "steps" / name for name in ("test.tcss", "upload.tcss")),
    ]
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

    @on(BuildAsked)
    @on(CancelAsked)
    @on(ZooTestAsked)
    @on(StepAsked)
    @on(JobEnded)
    @on(UploadChanged)
    def _keep(self, message: Message) -> None:
        self.said.append(message)
