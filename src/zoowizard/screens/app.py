"""The app: it shows the board and the wizard, and owns neither draft nor job."""

import asyncio
import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import on, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.events import AppBlur, Event, Key, Resize
from textual.screen import Screen

from zoowizard.screens.board import (
    AnotherOf,
    BoardScreen,
    CancelJob,
    ClaimRow,
    DeleteModel,
    NewModel,
    OpenDraft,
    RetryBuild,
    RetryUpload,
    ShowLog,
)
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.settings import Settings, read_settings, write_settings
from zoowizard.screens.widgets.plain_scrollbar import use_plain_scrollbars

if TYPE_CHECKING:
    from zoowizard.drafts.store import Workspace
    from zoowizard.screens.wizard import WizardScreen

Result = TypeVar("Result")

ENDS_WITHIN_S = 5.0
"""So long the app may take to save and leave when its terminal is gone."""
SERVER_LOOKED_FOR_EVERY_S = 1.0
TAKEN_IN_WITHIN_S = 5.0
"""So long a key waits at the most for those before it, should the input that they went to be taken away meanwhile."""


@dataclass(frozen=True)
class Opening:
    """What to show first: the board, or the wizard for a path."""

    wizard: bool = False
    path: Path | None = None


class ZoowizardApp(App[None]):
    """The screens over one workspace."""

    TITLE = "zoowizard"
    # The board's styles too: those of a screen that comes later are read with all others once more.
    CSS_PATH: ClassVar = [Path(__file__).with_name(name) for name in ("app.tcss", "board.tcss")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "keys", "Help", id="app.keys"),
        Binding("f2,ctrl+p", "command_palette", "Commands", id="app.commands", show=False),
        Binding("ctrl+q", "quit", "Quit", id="app.quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "To the shell (fg comes back)", id="app.suspend", show=False),
    ]

    def __init__(
        self,
        workspace_root: Path,
        here: Path,
        opening: Opening = Opening(),
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        """`here` is where models are looked for first; `clock` tells the time that is shown."""
        os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
        if not GLYPHS.blocks:
            use_plain_scrollbars()
        super().__init__()
        self.animation_level = "none"
        self.workspace_root = workspace_root
        self.here = here
        self.clock = clock
        self._opening = opening
        self._was_sized = False
        self.unsaved: list[str] = []
        """What could not be saved when the app ended, for the person to keep."""
        self.crash = ""
        """What the person is told where the app had to end because of a mistake of its own."""

    def get_default_screen(self) -> BoardScreen:
        """The board lies below all others."""
        return BoardScreen(self.workspace_root)

    def on_mount(self) -> None:
        """The board is shown already; what the wizard needs is loaded while the person looks at it."""
        settings = read_settings(self.workspace_root)
        if settings.theme in self.available_themes:
            self.theme = settings.theme
        self.theme_changed_signal.subscribe(self, self._keep_theme)
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(repaint=True, layout=True))
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # in a thread there are none
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._asked_to_end)
            signal.signal(signal.SIGHUP, partial(self._hung_up, asyncio.get_running_loop()))
        if self.is_web:
            self.set_interval(SERVER_LOOKED_FOR_EVERY_S, self._look_for_server)
        if self._opening.wizard:
            self.open_wizard(path=self._opening.path)
        else:
            self.call_after_refresh(self._prepare)
        self._hear()

    async def on_event(self, event: Event) -> None:
        """A key that works everywhere, as ctrl+q does, must not overtake letters that are on their way to an input.

        They come all at once where the app, or the line to its terminal, was busy for a moment.
        """
        if isinstance(event, Key) and not event.is_forwarded and self.focused is not None:
            taken_in = asyncio.Event()
            if self.focused.call_later(taken_in.set):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(taken_in.wait(), TAKEN_IN_WITHIN_S)
        await super().on_event(event)

    def on_app_blur(self, event: AppBlur) -> None:
        """A page in a browser shows its keys also where nobody has clicked on it yet, as on a projector."""
        if self.is_web:
            event.prevent_default()

    def on_resize(self, event: Resize) -> None:
        """A window that was small for a moment only, between two looks, has lost what stood in it all the same."""
        if self._was_sized:
            self.call_later(self.refresh, repaint=True, layout=True)
        self._was_sized = True

    @work
    async def _prepare(self) -> None:
        """Load what the wizard is made of piece by piece, so that no piece holds up a key."""
        import importlib

        for name in ("pydantic", "zoowizard.drafts.store", "zoowizard.launch", "zoowizard.screens.wizard"):
            await asyncio.sleep(0.05)
            importlib.import_module(name)

    @work(exclusive=True, group="news")
    async def _hear(self) -> None:
        """What the zoo says of what is there; nothing of it is loaded before the first picture."""
        await asyncio.sleep(1.0)
        from zoowizard.screens.news import keep_asking

        await keep_asking(self.workspace_root)

    @property
    def workspace(self) -> "Workspace":
        """The workspace whose drafts and jobs are shown."""
        from zoowizard.drafts.workspace import Workspace

        return Workspace(self.workspace_root)

    def open_wizard(self, draft_id: str = "", path: Path | None = None, step: str = "") -> None:
        """Show the wizard, for a draft, for a path, or for a new model."""
        from zoowizard.screens.wizard import WizardScreen

        self.push_screen(WizardScreen(self.workspace, self.here, draft_id, path, step))

    # What the board asks for

    @on(NewModel)
    def _on_new_model(self) -> None:
        self.open_wizard()

    @on(OpenDraft)
    def _on_open_draft(self, event: OpenDraft) -> None:
        self.open_wizard(event.draft_id, step=event.step)

    @on(AnotherOf)
    @work(exclusive=True, group="claim")
    async def _on_another_of(self, event: AnotherOf) -> None:
        from zoowizard.workflow import another

        draft = await self._tried(lambda: another(self.workspace, event.draft_id))
        if draft is not None:
            self.open_wizard(draft.id, step="describe")

    @on(ClaimRow)
    @work(exclusive=True, group="claim")
    async def _on_claim_row(self, event: ClaimRow) -> None:
        from zoowizard.board.event import claim, event_rows

        def claimed() -> str | None:
            rows, _ = event_rows(self.workspace)
            row = next((one for one in rows if one.key == event.event_key), None)
            return None if row is None else claim(self.workspace, row).id

        draft_id = await self._tried(claimed)
        if draft_id is not None:
            self.open_wizard(draft_id)

    @on(RetryBuild)
    @work(exclusive=True, group="retry")
    async def _on_retry_build(self, event: RetryBuild) -> None:
        from zoowizard.history import history
        from zoowizard.launch import retry

        def again() -> None:
            newest = history(self.workspace, event.draft_id).newest
            if newest is not None:
                retry(self.workspace, newest)

        await self._tried(again)

    @on(RetryUpload)
    @work(exclusive=True, group="retry")
    async def _on_retry_upload(self, event: RetryUpload) -> None:
        from zoowizard.errors import ZoowizardError
        from zoowizard.screens.children import answer_of

        told = ("--detach", "--json", "--workspace", str(self.workspace_root))
        try:
            await answer_of("zoowizard", "jobs", "retry", Path(event.job_folder).name, *told)
        except ZoowizardError as problem:
            self.notify(str(problem), severity="warning", markup=False)

    @on(CancelJob)
    @work(exclusive=True, group="cancel")
    async def _on_cancel_job(self, event: CancelJob) -> None:
        from zoowizard.jobs.engines import engine_of

        await self._tried(lambda: engine_of(Path(event.job_folder)).cancel(Path(event.job_folder)))

    @on(DeleteModel)
    @work(exclusive=True, group="delete")
    async def _on_delete_model(self, event: DeleteModel) -> None:
        from zoowizard.deletion import delete_model

        place = await self._tried(lambda: delete_model(self.workspace, event.draft_id))
        if place is not None:
            self.notify(f"{event.draft_id} lies in {place} now", title="Deleted", timeout=10, markup=False)

    @on(ShowLog)
    def _on_show_log(self, event: ShowLog) -> None:
        from zoowizard.screens.log import LogScreen

        self.push_screen(LogScreen(Path(event.job_folder)))

    async def _tried(self, act: Callable[[], Result]) -> Result | None:
        """Do something that waits for the disk, in a thread; say what is wrong where it cannot be done."""
        from zoowizard.errors import ZoowizardError

        try:
            return await asyncio.to_thread(act)
        except ZoowizardError as problem:
            self.notify(str(problem), severity="warning", markup=False)
            return None

    @work(exclusive=True, group="disk")
    async def tell_disk_use(self, clean: bool = False) -> None:
        """Say what the jobs hold, and what of it can go; or remove that."""
        from zoowizard.screens.disk import disk_use_in_words

        self.notify(await disk_use_in_words(self.workspace_root, clean), markup=False)

    # What holds everywhere

    def action_keys(self) -> None:
        """List the keys that work here."""
        from zoowizard.screens.keys import KeysScreen

        if not isinstance(self.screen, KeysScreen):
            self.push_screen(KeysScreen(list(self.screen.active_bindings.values())))

    def action_help_quit(self) -> None:
        """What ctrl+c means in a terminal, and here does not."""
        self.notify("q on the board quits, ctrl+q does everywhere; jobs go on", timeout=3, markup=False)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the command palette offers."""
        from zoowizard.screens.board import BoardScreen

        yield SystemCommand("Change the colours", "Light, dark and others", self.action_change_theme)
        yield SystemCommand("Keys", "List the keys that work here", self.action_keys)
        if isinstance(screen, BoardScreen):
            yield SystemCommand("New model", "Package a model", self.open_wizard)
            yield SystemCommand("Disk use", "What jobs hold, and what can go", lambda: self.tell_disk_use())
            yield SystemCommand("Clean up", "Remove what no job needs any more", lambda: self.tell_disk_use(True))
        else:
            yield from self._wizard_commands()
        yield SystemCommand("Quit", "Jobs go on; everything is saved", self.action_quit)

    def _wizard_commands(self) -> Iterable[SystemCommand]:
        from zoowizard.screens.steps.plan import STEPS

        wizard = self._wizard
        if wizard is not None:
            for plan in STEPS:
                yield SystemCommand(
                    f"Go to {plan.title}",
                    f"The step {plan.title} of the wizard",
                    lambda name=plan.name: wizard.go(name),
                )
            yield SystemCommand("Board", "Leave the wizard; everything is saved", wizard.action_board)

    @property
    def _wizard(self) -> "WizardScreen | None":
        from zoowizard.screens.wizard import WizardScreen

        return next((screen for screen in self.screen_stack if isinstance(screen, WizardScreen)), None)

    async def action_quit(self) -> None:
        """Save and leave; jobs go on."""
        await self._save()
        self.exit()

    async def _save(self) -> None:
        if len(self.screen_stack) > 1 and (wizard := self._wizard) is not None:
            self.unsaved = await wizard.close()

    async def on_exit_app(self) -> None:
        """However the app is told to end (a browser that is closed says it here), what is known is saved."""
        await self._save()
        self.workers.cancel_all()  # what they find has nothing to be shown on while the screens are taken away

    # A mistake of the app itself: no traceback for the person, and no answer lost

    def _handle_exception(self, error: Exception) -> None:
        from zoowizard.screens.crash import kept

        if not self.crash:
            self.crash = kept(self.workspace_root, error, self.clock())
        super()._handle_exception(error)

    def _fatal_error(self) -> None:
        self.panic()

    def panic(self, *renderables: object) -> None:
        """End as soon as all is saved, whatever Textual would print."""
        self._ending = asyncio.ensure_future(self._save_and_close())

    async def _save_and_close(self) -> None:
        with contextlib.suppress(Exception):  # what is broken may be the wizard
            await self._save()
        self._close_messages_no_wait()

    def _keep_theme(self, _: object) -> None:
        from zoowizard.errors import ZoowizardError

        with contextlib.suppress(ZoowizardError):
            write_settings(self.workspace_root, Settings(self.theme))

    def _look_for_server(self) -> None:
        """A server that is killed says nothing; Textual stops to read then, and the app would wait for ever."""
        input_pipe = select.poll()
        input_pipe.register(0, 0)  # tells of the end only, what is there to be read is left alone
        if input_pipe.poll(0):
            self._asked_to_end()

    def _asked_to_end(self) -> None:
        """By SIGTERM, or by the death of the server of a page."""
        _end_in_any_case()
        self._leave()

    @work
    async def _leave(self) -> None:
        await self._save()
        self.exit()

    def _hung_up(self, loop: asyncio.AbstractEventLoop, *_: object) -> None:
        """The terminal is gone: there is nobody to draw for, only to save.

        This is called between any two lines of the code that draws, which may be waiting for the terminal to take more
        while the thread that writes to it has ended with an error: it is let go of. What the loop would call itself
        would then never be called.
        """
        _end_in_any_case()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        writer = getattr(self._driver, "_writer_thread", None)
        if writer is not None:
            threading.Thread(target=writer.run, daemon=True).start()
        loop.call_soon_threadsafe(self._end_unseen)

    @work
    async def _end_unseen(self) -> None:
        with self.batch_update():
            await self._save()
        os._exit(0)


def _end_in_any_case() -> None:
    """End some time after this whatever happens: also where the loop waits for something that never comes."""
    timer = threading.Timer(ENDS_WITHIN_S, os._exit, (1,))
    timer.daemon = True
    timer.start()
