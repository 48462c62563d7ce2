"""The log of any job: how it stands, what to do, and all that was printed."""

import asyncio
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.advice import what_to_do
from zoowizard.jobs.reader import JobReader
from zoowizard.jobs.state import Job
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.widgets.checklist import clock, words_of
from zoowizard.screens.widgets.log_view import LogView
from zoowizard.terminal import printable

LOOK_EVERY_S: Final = 1.0


class LogScreen(ModalScreen[None]):
    """Shows one job until escape is pressed; a job that runs goes on whether it is looked at or not."""

    CSS_PATH: ClassVar = ["log.tcss", "steps/test.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Close", id="log.close")]

    def __init__(self, folder: Path) -> None:
        """`folder` is the job's."""
        super().__init__()
        self._folder = folder

    def compose(self) -> ComposeResult:
        """The state above, the log below."""
        yield Static(classes="log-head", markup=False)
        yield LogView()
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to look."""
        view = self.query_one(LogView)
        view.follow(self._folder)
        view.focus_lines()
        self.run_worker(self._look())

    async def _look(self) -> None:
        reader, shown = JobReader(self._folder), Content("")
        while True:
            try:
                job = await asyncio.to_thread(reader.read)
            except ZoowizardError as problem:
                job = Job(self._folder.name, "", "", "unreadable", self._folder, reason=str(problem))
            head = in_words(job)
            if head != shown:
                self.query_one(".log-head", Static).update(head)
                shown = head
            if job.over:
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def action_close(self) -> None:
        """Leave."""
        self.dismiss()


def in_words(job: Job) -> Content:
    """How a job stands, in a few lines."""
    signs = {"passed": (GLYPHS.done, "$text-success"), "running": (GLYPHS.current, "$text-primary")}
    glyph, style = signs.get(job.state, (GLYPHS.open, "dim") if not job.over else (GLYPHS.failed, "$text-error"))
    title = f"   {printable(job.model)[:60]}   {job.kind} {job.id}"
    lines = [Content.assemble((f"{glyph} {job.state}", f"bold {style}"), title)]
    if job.reason:
        lines.append(Content(printable(" ".join(job.reason.split()))[:400]))
    if not job.over and job.steps:
        step = job.steps[-1]
        lines.append(Content(f"{words_of(step.name)}  {clock(step.seconds)}"))
    if advice := what_to_do(job):
        lines.append(Content(f"What to do: {advice}"))
    return Content("\n").join(lines)
