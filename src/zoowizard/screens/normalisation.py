"""Choosing a normalisation by what the network gives after each: a job tries them, the pictures stand side by side."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from zoowizard.board.markdown import cut, padded
from zoowizard.drafts.draft import Draft
from zoowizard.drafts.store import Workspace
from zoowizard.errors import ZoowizardError
from zoowizard.history import probe_of
from zoowizard.jobs.engines import engine_of
from zoowizard.jobs.probed import Candidate, Probed, read_probed
from zoowizard.jobs.reader import JobReader
from zoowizard.jobs.state import Job
from zoowizard.launch import start_probe
from zoowizard.screens.children import answer_of
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.log import LogScreen
from zoowizard.screens.widgets.checklist import clock
from zoowizard.screens.widgets.picture import PictureView
from zoowizard.terminal import printable
from zoowizard.workflow import probe_work, questions_for

FIELD: Final = "normalisation"
OVER: Final = "normalisation_over"
LOOK_EVERY_S: Final = 0.5
STARTING: Final = {"running": "starting"}
PICTURE_PX: Final = "128"


class NormalisationScreen(ModalScreen[Mapping[str, Any] | None]):
    """Ends with the answers that were chosen, by field name, or None. The job goes on when the screen is left."""

    CSS_PATH: ClassVar = ["normalisation.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", "Take it", key_display="enter", id="normalisation.take"),
        Binding("up", "point(-1)", "Up", show=False, id="normalisation.up"),
        Binding("down", "point(1)", "Down", show=False, id="normalisation.down"),
        Binding("pagedown", "scroll(1)", "Read on", key_display="pgdn", id="normalisation.further"),
        Binding("pageup", "scroll(-1)", "Read back", show=False, id="normalisation.back"),
        Binding("r", "again", "Try again", id="normalisation.again"),
        Binding("c", "cancel", "Cancel", id="normalisation.cancel"),
        Binding("l", "log", "Log", id="normalisation.log"),
        Binding("escape", "leave", "Back", key_display="esc", id="normalisation.leave"),
    ]

    def __init__(self, workspace: Workspace, draft: Draft) -> None:
        """`draft` has what the network needs; see `workflow.unready_to_probe`."""
        super().__init__()
        self._workspace, self._draft = workspace, draft
        self._labels = {field.name: field.label for field in questions_for(draft)}
        self._job: Job | None = None
        self._probed: Probed | None = None
        self._problem = ""
        self._pointed = 0
        self._pictures: dict[str, Mapping[str, Any]] = {}

    def compose(self) -> ComposeResult:
        """The candidates beside a picture; below them what the network is."""
        yield Static(markup=False, id="normalisation-head")
        yield Static(markup=False, id="normalisation-said")
        with Horizontal(id="normalisation-body"):
            yield Static(markup=False, id="normalisation-list")
            yield PictureView("normalisation-picture")
        with VerticalScroll(id="normalisation-findings", can_focus=False):
            yield Static(markup=False, id="normalisation-told")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Show what was tried with the same answers before, or try it."""
        self._draw()
        self._follow(anew=False)

    def on_resize(self) -> None:
        """The list is made for one size."""
        self.call_after_refresh(self._draw)

    # The job

    @work(exclusive=True, group="job")
    async def _follow(self, anew: bool) -> None:
        try:
            job = None if anew else await asyncio.to_thread(self._last)
            folder = job.folder if job else await asyncio.to_thread(start_probe, self._workspace, self._draft)
            reader = JobReader(folder)
            while True:
                job = await asyncio.to_thread(reader.read)
                changed = self._job is None or self._job.over != job.over
                self._job = job
                self._draw()
                if changed:
                    self.refresh_bindings()
                if job.over:
                    break
                await asyncio.sleep(LOOK_EVERY_S)
            if job.state == "passed":
                self._begin(await asyncio.to_thread(read_probed, folder))
        except ZoowizardError as problem:
            self._problem = str(problem)
        self._draw()
        self.refresh_bindings()

    def _last(self) -> Job | None:
        return probe_of(self._workspace, self._draft.id, probe_work(self._draft))

    def _begin(self, probed: Probed) -> None:
        self._probed = probed
        stands = (self._draft.get(FIELD), self._draft.get(OVER))
        places = [
            place for place, one in enumerate(probed.candidates) if one.normalisation == stands[0] and not one.over
        ]
        exact = [place for place, one in enumerate(probed.candidates) if (one.normalisation, one.over) == stands]
        self._pointed = 0 if probed.is_ranked else [*exact, *places, 0][0]
        if self._job is not None:
            self._draw_pictures(self._job.folder)

    @work(exclusive=True, group="pictures")
    async def _draw_pictures(self, folder: Path) -> None:
        """All of them, one after the other; the one that is looked at comes first."""
        assert self._probed is not None
        waiting = [one.picture for one in self._probed.candidates]
        while waiting:
            wanted = self._probed.candidates[self._pointed].picture
            name = wanted if wanted in waiting else waiting[0]
            waiting.remove(name)
            try:
                answer = await answer_of("zoowizard.thumbnail", "picture", str(folder / name), *2 * [PICTURE_PX])
                self._pictures[name] = json.loads(answer)
            except (ZoowizardError, ValueError) as problem:
                self._pictures[name] = {"problem": str(problem)}
            self._draw_picture()

    # What is shown

    def _draw(self) -> None:
        if not self.is_mounted or not self.query("#normalisation-told"):
            return
        title = printable(str(self._draft.get("name") or self._draft.id))
        self.query_one("#normalisation-head", Static).update(
            Content.assemble(("What the network gives after each normalisation", "bold"), f"   {title}")
        )
        if self.has_class("-empty") != (self._probed is None):
            self.set_class(self._probed is None, "-empty")
            self.call_after_refresh(self._draw)  # as many lines as there is room for now
        self.query_one("#normalisation-said", Static).update(self._said())
        self.query_one("#normalisation-list", Static).update(self._list())
        self.query_one("#normalisation-told", Static).update(self._told())
        self._draw_picture()

    def _said(self) -> Content:
        job, probed = self._job, self._probed
        if self._problem:
            return Content.styled(f"{GLYPHS.failed} {printable(self._problem)}", "$text-error")
        if probed is not None:
            sentence = printable(probed.sentence)
            return Content(f"{sentence[:1].upper()}{sentence[1:]}. Take the one whose picture is right.")
        if job is None:
            return Content.styled("one moment", "dim")
        if job.over:
            reason = printable(" ".join((job.reason or job.state).split()))
            return Content.styled(f"{GLYPHS.failed} {reason}", "$text-error")
        if not job.steps:
            return Content(f"{GLYPHS.open} {printable(job.reason) or STARTING.get(job.state, job.state)}")
        step = job.steps[-1]
        far = f"{step.fraction:.0%}  " if step.fraction else ""
        return Content(f"{GLYPHS.current} {clock(step.seconds)}  {far}{printable(step.note) or 'at work'}")

    def _list(self) -> Content:
        """As many candidates as there is room for, around the one that is pointed at."""
        if self._probed is None:
            return Content("")
        size = self.query_one("#normalisation-list").size
        width, room = max(size.width - 1, 20), max(size.height, 1)
        count = len(self._probed.candidates)
        first = max(0, min(self._pointed - room // 2, count - room))
        lines = []
        for place in range(first, min(first + room, count)):
            here = place == self._pointed
            said = ("> " if here else "  ") + _line(self._probed.candidates[place], width - 2)
            lines.append(Content.styled(said, "bold $accent" if here else ""))
        return Content("\n").join(lines)

    def _draw_picture(self) -> None:
        views = self.query("#normalisation-picture").results(PictureView)
        view = next(views, None)  # none where the screen is on its way out
        if view is None or self._probed is None:
            return
        one = self._probed.candidates[self._pointed]
        answer = self._pictures.get(one.picture)
        if answer is None:
            view.show(None, f"drawing it{GLYPHS.ellipsis}")
        elif answer.get("problem"):
            view.show(None, str(answer["problem"]))
        else:
            view.show(answer, f"{one.range_in_words}, stretched to be seen")

    def _told(self) -> Content:
        if self._probed is None:
            return Content("")
        parts: list[tuple[str, str]] = []
        for one in self._probed.findings:
            sure = "" if one.certain else " (a guess)"
            parts += [(f"{one.label}{sure}: ", "bold"), (printable(one.evidence), "")]
            if questions := [self._labels.get(name, name) for name in one.overruled_by]:
                parts.append((f" (not right? answer {' and '.join(f'“{name}”' for name in questions)})", "dim"))
            parts.append(("\n", ""))
        for name, reason in self._probed.refused.items():
            parts.append((f"{printable(name)}: the network gave no answer: {printable(reason)}\n", ""))
        return Content.assemble(*parts)

    # What the person does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is offered."""
        over = bool(self._problem) or (self._job is not None and self._job.over)
        match action:
            case "take" | "point" | "scroll":
                return self._probed is not None
            case "again":
                return over and self._probed is None
            case "cancel":
                return self._job is not None and not over
            case "log":
                return self._job is not None and self._probed is None
        return True

    def action_point(self, by: int) -> None:
        """Go to the next candidate, or the one before."""
        if self._probed is not None:
            self._pointed = min(max(self._pointed + by, 0), len(self._probed.candidates) - 1)
            self.query_one("#normalisation-list", Static).update(self._list())
            self._draw_picture()

    def action_scroll(self, by: int) -> None:
        """Read on in what was found, or back."""
        findings = self.query_one("#normalisation-findings")
        findings.scroll_relative(y=by * max(1, findings.size.height - 1), animate=False)

    def action_take(self) -> None:
        """Answer with the candidate."""
        if self._probed is None:
            return
        one = self._probed.candidates[self._pointed]
        self.dismiss({FIELD: one.normalisation, **({OVER: one.over} if one.over else {})})

    def action_again(self) -> None:
        """Try it once more."""
        self._job, self._problem = None, ""
        self._draw()
        self._follow(anew=True)

    @work(exclusive=True, group="cancel")
    async def action_cancel(self) -> None:
        """End the job; it can be started again at any time."""
        if self._job is not None:
            try:
                await asyncio.to_thread(engine_of(self._job.folder).cancel, self._job.folder)
            except ZoowizardError as problem:
                self._problem = str(problem)
                self._draw()

    def action_log(self) -> None:
        """All that the job printed."""
        if self._job is not None:
            self.app.push_screen(LogScreen(self._job.folder))

    def action_leave(self) -> None:
        """Go back without an answer."""
        self.dismiss(None)


def _line(one: Candidate, width: int) -> str:
    """The candidate in one line, its difference at the end."""
    apart = "" if one.difference is None else f"  {one.difference:.3g}"
    name = one.normalisation + (f", {one.over}" if one.over else "")
    return f"{padded(cut(name, width - len(apart)), width - len(apart))}{apart}"
