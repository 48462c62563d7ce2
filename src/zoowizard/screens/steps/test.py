"""The step Test: convert, package and test the model, see how far it is, and what to do where it failed."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.build_steps import KEPT
from zoowizard.jobs.reader import JobReader
from zoowizard.jobs.state import Job
from zoowizard.screens.situation import BuildAsked, CancelAsked, Situation, StepAsked, ZooTestAsked
from zoowizard.screens.steps.step import Step
from zoowizard.screens.steps.test_words import ASK_AGAIN, ASK_AGAIN_ZOO, State, headline, lacking, said, state_of
from zoowizard.screens.widgets.checklist import JobChecklist, all_steps
from zoowizard.screens.widgets.log_view import LogView

LOOK_EVERY_S: Final = 0.5
ASKS_AGAIN_FOR_S: Final = 4.0


@dataclass
class JobEnded(Message):
    """A build that was shown while it ran has ended."""

    job: Job


class TestStep(Step):
    """Starts the build, follows it whoever started it, and says what came of it."""

    __test__ = False  # no test, though its name begins like one

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,t", "start", "Start", key_display="enter", id="test.start"),
        Binding("enter,d", "mend", "Answer what is missing", key_display="enter", id="test.mend"),
        Binding("enter,r", "retry", "Retry", key_display="enter", id="test.retry"),
        Binding("R", "restart", "Start over", id="test.restart"),
        Binding("enter,u", "upload", "To Upload", key_display="enter", id="test.upload"),
        Binding("z", "zoo", "Zoo's versions", id="test.zoo"),
        Binding("c", "cancel", "Cancel", id="test.cancel"),
        Binding("l", "log", "Log", id="test.log"),
        Binding("escape", "fold", "Fold the log away", id="test.fold", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._situation: Situation | None = None
        self._job: Job | None = None
        self._reader: JobReader | None = None
        self._zoo: Job | None = None
        self._zoo_reader: JobReader | None = None
        self._drawn: tuple[State, bool, bool] | None = None
        self._asked_to_cancel = False

    def compose(self) -> ComposeResult:
        """A headline, the steps, what there is to say, and the log where it is wanted."""
        yield Static(classes="test-head", markup=False)
        with VerticalScroll(classes="test-body"):
            yield JobChecklist()
            yield Static(classes="test-said", markup=False)
        log = LogView()
        log.display = False  # from the first layout on: in half the room the body would need a scrollbar
        yield log

    def show(self, situation: Situation) -> None:
        """Show the newest build; one that runs is followed."""
        self._situation = situation
        job = situation.job
        if job is None:
            self._job, self._reader = None, None
        elif self._reader is None or self._reader.folder != job.folder:
            self._reader = JobReader(job.folder)
            self._job, self._asked_to_cancel = job, False
        elif job.over or self._job is None:
            self._job = job
        if situation.zoo is None or self._zoo_reader is None or self._zoo_reader.folder != situation.zoo.folder:
            self._zoo_reader = None if situation.zoo is None else JobReader(situation.zoo.folder)
        self._zoo = situation.zoo
        if self.can_draw:
            if job is not None and not job.over:
                self.run_worker(self._follow(self._reader), exclusive=True, group="job")
            if situation.zoo is not None and not situation.zoo.over:
                self._follow_zoo()
            if self.query_one(LogView).display:
                self._follow_log()
            self._draw()

    def focus_first(self) -> None:
        """The body takes the keys."""
        self.query_one(".test-body").focus()

    def on_resize(self) -> None:
        """There may be room for more or fewer words."""
        self._draw()

    async def _follow(self, reader: JobReader | None) -> None:
        """Look at the job until it has ended."""
        while reader is not None and reader is self._reader:
            try:
                job = await asyncio.to_thread(reader.read)
            except ZoowizardError as problem:
                before = self._job or Job(reader.folder.name, "build", "", "unreadable", reader.folder)
                job = replace(before, state="unreadable", reason=str(problem))
            if reader is not self._reader:
                return
            self._job = job
            self._draw()
            if job.over:
                self.post_message(JobEnded(job))
                return
            await asyncio.sleep(LOOK_EVERY_S)

    @work(exclusive=True, group="zoo")
    async def _follow_zoo(self) -> None:
        """Look at the test with the zoo's versions until it has ended."""
        reader = self._zoo_reader
        while reader is not None and reader is self._zoo_reader:
            try:
                zoo = await asyncio.to_thread(reader.read)
            except ZoowizardError:
                return  # its folder was removed: the wizard looks again
            if reader is not self._zoo_reader:
                return
            self._zoo = zoo
            self._draw()
            if zoo.over:
                self.post_message(JobEnded(zoo))
                return
            await asyncio.sleep(LOOK_EVERY_S)

    @property
    def state(self) -> State:
        """What the step shows, which decides what the keys do."""
        return state_of(self._situation, self._job)

    def _draw(self) -> None:
        if not self.can_draw or self._situation is None:
            return
        width = max(20, self.content_size.width - 1)  # but for the scrollbar
        shown = None if self.state is State.READY and self._situation.outdated else self._job
        over = shown is not None and shown.over
        self.query_one(JobChecklist).show(all_steps(shown), _expected(self._situation.built), width, over)
        head = headline(self.state, self._situation, self._job, width)
        if self._asked_to_cancel and (self.state is State.RUNNING or self._zoo_runs):
            head = Content.styled(ASK_AGAIN if self.state is State.RUNNING else ASK_AGAIN_ZOO, "bold $text-warning")
        if (line := self.query_one(".test-head", Static)).content != head:
            line.update(head, layout=False)
        words = said(self.state, self._situation, self._job, self._zoo, width)
        _update(self.query_one(".test-said", Static), words)
        if (drawn := (self.state, self._job is None, self._zoo_runs)) != self._drawn:
            self._drawn = drawn
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is offered."""
        state = self.state
        match action:
            case "start":
                return state in (State.READY, State.OUTDATED, State.MENDED)
            case "mend":
                return state is State.LACKING
            case "retry" | "restart":
                return state is State.FAILED or (action == "restart" and state is State.MENDED)
            case "upload":
                return state is State.PASSED
            case "cancel":
                return (state is State.RUNNING or self._zoo_runs) and not self._read_only
            case "zoo":
                return state is State.PASSED and not self._zoo_runs and not self._read_only
            case "log":
                return self._job is not None
            case "fold":
                return self.can_draw and self.query_one(LogView).display
        return True

    @property
    def _zoo_runs(self) -> bool:
        return self._zoo is not None and not self._zoo.over

    @property
    def _read_only(self) -> bool:
        return self._situation is None or bool(self._situation.read_only)

    def action_start(self) -> None:
        """Start the build; where only answers were changed, what does not depend on them is not done again."""
        self.post_message(BuildAsked(resume=self._job if self.state in (State.OUTDATED, State.MENDED) else None))

    def action_mend(self) -> None:
        """Go to the first answer that is missing."""
        if self._situation is not None:
            names = lacking(self._situation)
            self.post_message(StepAsked("check" if list(names) == ["test_image"] else "describe"))

    def action_retry(self) -> None:
        """Go on from the step that failed."""
        self.post_message(BuildAsked(resume=self._job))

    def action_restart(self) -> None:
        """Do everything again."""
        self.post_message(BuildAsked())

    def action_upload(self) -> None:
        """Go on."""
        self.post_message(StepAsked("upload"))

    def action_zoo(self) -> None:
        """Test what was built with the versions of the zoo's runner."""
        self.post_message(ZooTestAsked())

    def action_cancel(self) -> None:
        """End the build, or the test with the zoo's versions, when asked twice."""
        if self._asked_to_cancel:
            self._asked_to_cancel = False
            of_zoo = self.state is not State.RUNNING and self._zoo is not None
            self.post_message(CancelAsked(self._zoo.folder) if of_zoo and self._zoo else CancelAsked())
        else:
            self._asked_to_cancel = True
            self.set_timer(ASKS_AGAIN_FOR_S, self._never_mind)
        self._draw()

    def _never_mind(self) -> None:
        self._asked_to_cancel = False
        self._draw()

    def action_log(self) -> None:
        """Unfold the log, or fold it away."""
        log = self.query_one(LogView)
        log.display = not log.display
        if log.display:
            self._follow_log()
            log.focus_lines()
        else:
            self.focus_first()

    def action_fold(self) -> None:
        """Fold the log away, where it is open; only then does the key leave the step."""
        self.action_log()

    def _follow_log(self) -> None:
        self.query_one(LogView).follow(None if self._job is None else self._job.folder)


def _expected(built: Job | None) -> Mapping[str, float]:
    """How long each step took when the model was built before."""
    return {} if built is None else {step.name: step.seconds for step in built.steps if step.note != KEPT}


def _update(widget: Static, content: Content) -> None:
    if widget.content != content:
        widget.update(content)
