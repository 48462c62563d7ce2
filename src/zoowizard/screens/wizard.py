"""The wizard: one screen whose five steps change inside it. It alone changes the draft, and saves it at once."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer

from zoowizard.drafts.draft import Draft
from zoowizard.drafts.store import Workspace
from zoowizard.errors import ZoowizardError
from zoowizard.families.family import Recognition
from zoowizard.families.identify import from_json, obstacle
from zoowizard.history import history
from zoowizard.launch import expect_build
from zoowizard.screens.children import lines_of
from zoowizard.screens.doing import JobAsked, asked_for, with_history
from zoowizard.screens.holding import Holding, is_free, traces, unsaved_words
from zoowizard.screens.situation import (
    Answered,
    BuildAsked,
    CancelAsked,
    DraftChosen,
    ModelChosen,
    Situation,
    StepAsked,
    Typed,
    UploadChanged,
    ZooTestAsked,
)
from zoowizard.screens.steps.describe import DescribeStep, FieldFocused
from zoowizard.screens.steps.frame import StepFrame
from zoowizard.screens.steps.model import ModelStep
from zoowizard.screens.steps.plan import STEPS, may_enter
from zoowizard.screens.steps.step import Step
from zoowizard.screens.steps.test import JobEnded
from zoowizard.screens.widgets.title_line import StepLine, TitleLine
from zoowizard.workflow import answered, brought_up_to_date, questions_for, take

LOOK_EVERY_S = 2.0
"""How often the wizard looks whether another terminal changed the draft or started a job."""
LEADS_TO_A_BUILD = ("check", "describe", "test")
"""In these steps a build is about to come: what it needs is loaded meanwhile."""


class WizardScreen(Screen[None]):
    """Model → Check → Describe → Test → Upload, for one draft (`draft_id`), a path, or nothing yet."""

    CSS_PATH: ClassVar = [
        "wizard.tcss",
        "steps/model.tcss",
        "steps/check.tcss",
        "steps/describe.tcss",
        "steps/test.tcss",
        "steps/upload.tcss",
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j", "next", "Next", id="wizard.next", priority=True),
        Binding("escape", "back", "Back", id="wizard.back"),
        Binding("ctrl+o", "board", "Board", id="wizard.board", priority=True),
    ]

    def __init__(
        self, workspace: Workspace, here: Path, draft_id: str = "", path: Path | None = None, step: str = ""
    ) -> None:
        """`step` is the step to begin with; where it is empty, the one in which the person was."""
        super().__init__()
        self.situation = Situation(workspace, here)
        self._asked = (draft_id, path, step)
        self._held = Holding(workspace, self._say_saved)
        self._saved = ""
        self._seen: object = None
        self._left = False
        self._frame = StepFrame()

    def compose(self) -> ComposeResult:
        """The frame; each step is made when it is first entered."""
        yield TitleLine()
        yield StepLine(STEPS)
        yield self._frame
        yield Footer(compact=True, show_command_palette=False)

    async def on_mount(self) -> None:
        """Begin with what was asked for."""
        self.set_interval(LOOK_EVERY_S, self._look_around)
        self._begin()

    async def on_unmount(self) -> None:
        """However the app ends, what is known is saved."""
        await self._held.flush()
        self._held.let_go()

    @work
    async def _begin(self) -> None:
        draft_id, path, step = self._asked
        if draft_id:
            await self._enter(draft_id)
        underway = self.situation.job is not None and not self.situation.job.over
        await self.go(step or ("test" if underway else self._held.place.step))
        if not self._is_shown:
            return
        if path is not None:
            self.query_one(ModelStep).look_at(path)
        elif self.situation.draft is not None and self.situation.draft.checkpoint is not None:
            await self._look_at(self.situation.draft.checkpoint)

    # What is known

    async def _enter(self, draft_id: str) -> None:
        """Open a draft; where another terminal holds it, for looking only."""
        workspace = self.situation.workspace
        await self._held.flush()
        self._held.let_go()
        if self._left:
            return
        try:
            draft, reason = self._held.take(draft_id)
        except ZoowizardError as problem:
            self._tell(str(problem))
            return
        self.situation = Situation(
            workspace,
            self.situation.here,
            draft=draft,
            fields=questions_for(draft),
            typed=dict(self._held.place.typed),
            read_only=reason,
        )
        self._saved = "" if reason else "draft saved"
        await self._refresh_history()

    async def _look_at(self, path: Path) -> None:
        """Look at the checkpoint once more, in another process."""
        try:
            async for line in lines_of("zoowizard.families.nearby", str(path)):
                if "family" in line:
                    self._looked(from_json(line))
                    return
        except ZoowizardError as problem:
            self._tell(str(problem))

    def _looked(self, recognition: Recognition) -> None:
        """Files may tell more than they did when the draft was begun, or may be gone."""
        draft = self.situation.draft
        self.situation = replace(self.situation, recognition=recognition)
        if draft is not None and recognition.family == draft.family and not self.situation.read_only:
            self._keep(brought_up_to_date(draft, recognition))
        self._show()

    async def _choose(self, recognition: Recognition) -> None:
        if reason := self.situation.read_only or obstacle(recognition):
            self._tell(reason)
            return
        before = self.situation.draft
        await self._held.flush()
        try:
            draft = await asyncio.to_thread(take, self.situation.workspace, recognition, before)
            if before is None or draft.id != before.id:
                await self._enter(draft.id)
        except ZoowizardError as problem:
            self._tell(str(problem))
            return
        self.situation = replace(self.situation, recognition=recognition, fields=questions_for(draft))
        if not self.situation.read_only:
            self._keep(draft)
        await self._refresh_history()

    def _keep(self, draft: Draft) -> None:
        """This is the draft from now on; it is saved in the background."""
        if draft != self.situation.draft or not self._saved:
            self.situation = replace(self.situation, draft=draft, fields=questions_for(draft))
            self._held.keep(draft)

    def _keep_place(self, **changes: object) -> None:
        draft = None if self.situation.read_only else self.situation.draft
        place = replace(self._held.place, **changes)  # type: ignore[arg-type]
        self._held.keep_place(place, draft.id if draft else "")

    def _say_saved(self, problem: str) -> None:
        self._saved = f"not saved: {problem}" if problem else f"draft saved {self.app.clock():%H:%M}"  # type: ignore[attr-defined]
        self._show_frame()

    async def _refresh_history(self) -> None:
        """Read what became of the draft's jobs and uploads."""
        draft = self.situation.draft
        if draft is None:
            return
        try:
            found = await asyncio.to_thread(history, self.situation.workspace, draft.id)
        except ZoowizardError as problem:
            self._tell(str(problem))
            return
        self.situation = with_history(self.situation, found)
        self._show()

    @work(exclusive=True, group="look-around")
    async def _look_around(self) -> None:
        """Another terminal, or another person, may have changed something."""
        draft = self.situation.draft
        if draft is None:
            return
        seen = await asyncio.to_thread(traces, self.situation.workspace, draft.id)
        changed, self._seen = seen != self._seen, seen
        if self.situation.read_only:
            if changed or await asyncio.to_thread(is_free, self.situation.workspace, draft.id):
                await self._enter_again(draft.id)
        elif changed:
            await self._refresh_history()

    async def _enter_again(self, draft_id: str) -> None:
        """Show what the other terminal has done; where it has ended, the draft may be changed here from now on."""
        known = self.situation.recognition
        await self._enter(draft_id)
        self.situation = replace(self.situation, recognition=known)
        self._show()
        if not self.situation.read_only and self._is_shown:
            self.notify("the other zoowizard has ended: you can go on here", markup=False)
            if self._step is not None:
                self._step.focus_first()

    # What is shown

    @property
    def _step(self) -> Step | None:
        return self._frame.step

    @property
    def _is_shown(self) -> bool:
        """What was begun before the person left may still come to its end, when there is nothing to show it on."""
        return self.is_mounted and not self._left

    async def go(self, name: str) -> None:
        """Change to the step of this name, or say what comes before it."""
        if not self._is_shown:
            return
        plan = next((one for one in STEPS if one.name == name), STEPS[0])
        if reason := may_enter(plan, self.situation):
            if self._step is not None:
                self._tell(reason)
                return
            plan = STEPS[0]
        step = await self._frame.enter(plan)
        if step is None:
            return
        self.call_after_refresh(self.refresh_bindings)
        self._keep_place(step=plan.name)
        self._show()
        step.focus_first()
        if isinstance(step, DescribeStep) and self._held.place.field:
            step.focus_field(self._held.place.field)
        if plan.name in LEADS_TO_A_BUILD and not self.situation.read_only:
            self._expect_build()

    @work(exclusive=True, group="expect-build")
    async def _expect_build(self) -> None:
        draft = self.situation.draft
        if draft is not None:
            await asyncio.to_thread(expect_build, self.situation.workspace, draft.family)

    def _show(self) -> None:
        if self._is_shown:
            self._show_frame()
            if self._step is not None:
                self._step.show(self.situation)

    def _show_frame(self) -> None:
        if self._is_shown:
            now = self._step.id if self._step is not None and self._step.id else ""
            self.query_one(TitleLine).show(self.situation, self.situation.read_only or self._saved)
            self.query_one(StepLine).show(self.situation, now.removeprefix("step-"))

    def _tell(self, sentence: str) -> None:
        self.notify(sentence, severity="warning", markup=False)

    # What the person does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is nothing after the last step."""
        return not (action == "next" and self._held.place.step == STEPS[-1].name)

    async def action_next(self) -> None:
        """Go to the next step."""
        if self._step is None or self._step.advance():
            await self._walk(+1)

    async def action_back(self) -> None:
        """Go to the step before, or from the first one to the board."""
        await self._walk(-1)

    async def _walk(self, by: int) -> None:
        self._settle()
        names = [one.name for one in STEPS]
        place = names.index(self._held.place.step) + by if self._step is not None else 0
        if place < 0:
            await self.action_board()
        elif place < len(names):
            await self.go(names[place])

    async def action_board(self) -> None:
        """Leave for the board, once everything is saved."""
        self._settle()
        if not await self._held.flush():
            self._tell(f"stay here, or the last answers are lost: {self._saved}")
            return
        await self.close()
        self.dismiss()

    async def close(self) -> list[str]:
        """Save what is not saved yet and let go of the draft; gives what could not be saved, for the person to keep."""
        self._settle()
        await self._frame.close()
        self._left = True
        for node in self.walk_children(with_self=True):
            self.workers.cancel_node(node)
        saved = await self._held.flush()
        self._held.let_go()
        draft = self.situation.draft
        return [] if saved or draft is None else unsaved_words(draft, self.situation.typed, self._saved)

    def _settle(self) -> None:
        """Take what was typed a moment ago and not yet said."""
        if self._is_shown and self._step is not None:
            for message in self._step.unsaid():
                if isinstance(message, Answered):
                    self._answer(message)
                else:
                    self._type(message)

    @on(StepAsked)
    async def _on_step_asked(self, event: StepAsked) -> None:
        await self.go(event.name)

    @on(ModelChosen)
    @work(exclusive=True, group="choose")
    async def _on_model_chosen(self, event: ModelChosen) -> None:
        await self._choose(event.recognition)
        if self.situation.draft is not None and self.situation.draft.checkpoint is not None:
            await self.go("check")

    @on(DraftChosen)
    @work(exclusive=True, group="choose")
    async def _on_draft_chosen(self, event: DraftChosen) -> None:
        await self._enter(event.draft_id)
        draft, step = self.situation.draft, self._held.place.step
        begins = step == STEPS[0].name and draft is not None and draft.checkpoint is not None
        await self.go(STEPS[1].name if begins else step)  # whoever chose a model is done with the first step

    @on(Answered)
    def _answer(self, event: Answered) -> None:
        draft = self.situation.draft
        if draft is None or self.situation.read_only:
            return
        left = {name: text for name, text in self.situation.typed.items() if name not in event.answers}
        self.situation = replace(self.situation, typed=left)
        self._keep_place(typed=left)
        self._keep(answered(draft, event.answers))
        self._show()

    @on(Typed)
    def _type(self, event: Typed) -> None:
        typed = {**self.situation.typed, event.name: event.text}
        kept = {name: text for name, text in typed.items() if text is not None}
        self.situation = replace(self.situation, typed=kept)
        self._keep_place(typed=kept)
        self._show()

    @on(FieldFocused)
    def _on_field_focused(self, event: FieldFocused) -> None:
        self._keep_place(field=event.name)

    @on(BuildAsked)
    @on(ZooTestAsked)
    @on(CancelAsked)
    @work(exclusive=True, group="build")
    async def _on_job_asked(self, event: JobAsked) -> None:
        act = asked_for(event, self.situation)
        if act is None:
            return
        if isinstance(event, BuildAsked) and not await self._held.flush():
            self._tell(self._saved)
            return
        try:
            await asyncio.to_thread(act)
        except ZoowizardError as problem:
            self._tell(str(problem))
        await self._refresh_history()

    @on(JobEnded)
    @on(UploadChanged)
    @work(exclusive=True, group="history")
    async def _on_history_changed(self) -> None:
        await self._refresh_history()
