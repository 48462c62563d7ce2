"""The step Upload: what will be sent and to whom; for now it is saved in a folder."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from zoowizard.errors import ZoowizardError
from zoowizard.screens.children import lines_of
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import Situation, StepAsked
from zoowizard.screens.steps.step import Step
from zoowizard.screens.steps.upload_words import (
    LATER,
    Contents,
    file_list,
    parcel_of,
    read_contents,
    what_is_sent,
    why_not,
)
from zoowizard.screens.widgets.path_input import from_home
from zoowizard.terminal import printable
from zoowizard.upload.folder import FolderTarget
from zoowizard.upload.receipts import Receipt
from zoowizard.upload.target import Parcel

CHECKED_AFTER_S: Final = 0.3


@dataclass
class PackageSaved(Message):
    """The package was saved; its receipt is kept already."""

    receipt: Receipt


class UploadStep(Step):
    """Shows what would be sent, asks where to, and saves it there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "test", "To Test", key_display="enter", id="upload.test", priority=True),
        Binding("enter", "save", "Save", key_display="enter", id="upload.save", priority=True),
        Binding("ctrl+e", "card", "Card", id="upload.card", priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._situation: Situation | None = None
        self._contents = Contents()
        self._archive: Path | None = None
        self._saving = False
        self._drawn: bool | None = None
        self._words: tuple[str, str] = ("", "")

    def compose(self) -> ComposeResult:
        """What is sent, where to, and what is in it."""
        with VerticalScroll(classes="upload-body"):
            yield Static(classes="upload-text", markup=False)
            with Vertical(classes="upload-to"):
                yield Static(Content(f"{GLYPHS.current} {FolderTarget.label}"), markup=False)
                with Horizontal(classes="upload-row"):
                    yield Static("  Folder", classes="upload-label", markup=False)
                    yield Input(id="upload-folder", compact=True, select_on_focus=False)
                yield Static(classes="upload-answer", markup=False)
                yield Static(Content(LATER), classes="upload-later", markup=False)
            yield Static(classes="upload-files", markup=False)

    def on_mount(self) -> None:
        """No blinking."""
        self.query_one(Input).cursor_blink = False

    def show(self, situation: Situation) -> None:
        """Show the newest package that passed; what stands in the input stays."""
        first = self._situation is None
        self._situation = situation
        if not self.can_draw:
            return
        if first and not self.query_one(Input).value:
            self.query_one(Input).value = _proposed(situation)
        parcel = parcel_of(situation.built)
        archive = None if parcel is None else parcel.archive
        if archive != self._archive:
            self._archive, self._contents, self._words = archive, Contents(), ("", "")
            if archive is not None:
                self.run_worker(self._read(archive), exclusive=True, group="contents")
        self._check_soon()
        self._draw()

    def focus_first(self) -> None:
        """The folder, or where nothing can be sent yet the text."""
        self.query_one(Input if self._parcel is not None else ".upload-body").focus()

    def on_resize(self) -> None:
        """There may be room for more or fewer words; the input stays in sight."""
        self._draw()
        if self.query_one(Input).has_focus:
            self.call_after_refresh(self.query_one(Input).scroll_visible, animate=False)

    @property
    def _parcel(self) -> Parcel | None:
        if self._situation is None or why_not(self._situation):
            return None
        return parcel_of(self._situation.built)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Saving and the card need a package."""
        ready = self._parcel is not None
        if action == "test":
            return not ready
        if action == "save":
            return ready and not self._saving and not (self._situation and self._situation.read_only)
        if action == "card":
            return ready
        return True

    def action_test(self) -> None:
        """Go where the package is made."""
        self.post_message(StepAsked("test"))

    def action_card(self) -> None:
        """Show the card as people will read it."""
        from zoowizard.screens.card import CardScreen

        if self._parcel is not None:
            self.app.push_screen(CardScreen(package=self._parcel.archive))

    @on(Input.Changed)
    def _on_changed(self, event: Input.Changed) -> None:
        event.stop()
        if not self._saving:
            self._check_soon()

    def action_save(self) -> None:
        """Save the package in the folder that stands in the input."""
        parcel, text = self._parcel, self.query_one(Input).value.strip()
        if parcel is not None and text and not self._saving and self._situation is not None:
            self._saving = True
            self.refresh_bindings()
            self.run_worker(self._save(self._situation, parcel, text), group="save")

    async def _save(self, situation: Situation, parcel: Parcel, text: str) -> None:
        assert situation.draft is not None
        try:
            folder = _folder(text, situation)
            told = (situation.workspace.root, situation.draft.id, parcel.archive, parcel.report, parcel.sha256, folder)
            async for line in lines_of("zoowizard.upload.folder", *map(str, told)):
                if "receipt" in line:
                    receipt = Receipt.model_validate(line["receipt"])
                    self._say(f"{GLYPHS.done} saved as {receipt.where}, with its report beside it", "$text-success")
                    self.post_message(PackageSaved(receipt))
                else:
                    self._say(f"{GLYPHS.current} {line['words']}  {line['fraction']:.0%}", "")
        except ZoowizardError as problem:
            self._say(f"{GLYPHS.failed} {problem}", "$text-error")
        finally:
            self._saving = False
            if self.can_draw:
                self.refresh_bindings()

    def _check_soon(self) -> None:
        if self._parcel is not None and not self._saving and self._situation is not None:
            text = self.query_one(Input).value.strip()
            self._check(self._situation, self._parcel, text)

    @work(exclusive=True, group="check")
    async def _check(self, situation: Situation, parcel: Parcel, text: str) -> None:
        """Say what would happen to this folder."""
        await asyncio.sleep(CHECKED_AFTER_S)
        if not text:
            self._say(f"{GLYPHS.failed} write the folder in which the package shall be saved", "$text-error")
            return
        try:
            target = FolderTarget(_folder(text, situation))
            [sentence] = await asyncio.to_thread(target.summary, parcel)
        except (ZoowizardError, OSError, ValueError) as problem:
            sentence = str(problem) if isinstance(problem, ZoowizardError) else "this is no folder that can be used"
            self._say(f"{GLYPHS.failed} {sentence}", "$text-error")
            return
        kept = next((one for one in situation.receipts if one.where == str(target.folder / parcel.archive.name)), None)
        if kept is not None and kept.sha256 == parcel.sha256 and "already" in sentence:
            self._say(f"{GLYPHS.done} saved as {kept.where}", "$text-success")
        else:
            self._say(f"{GLYPHS.open} Enter: {sentence}", "")

    async def _read(self, archive: Path) -> None:
        self._contents = await asyncio.to_thread(read_contents, archive)
        self._draw()

    def _say(self, words: str, style: str) -> None:
        if self.can_draw and (words, style) != self._words:
            self._words = (words, style)
            self.query_one(".upload-answer", Static).update(Content.styled(printable(words), style))

    def _draw(self) -> None:
        if not self.can_draw or self._situation is None:
            return
        width = max(20, self.content_size.width - 1)  # but for the scrollbar
        reason = why_not(self._situation)
        if reason:
            text = Content(f"{GLYPHS.open} {reason}\n\nPress Enter to go to the step Test.")
        else:
            text = what_is_sent(self._situation, self._contents, width)
        _update(self.query_one(".upload-text", Static), text)
        self.query_one(".upload-to").display = not reason
        _update(self.query_one(".upload-files", Static), Content("") if reason else file_list(self._contents, width))
        if (drawn := bool(reason)) != self._drawn:
            self._drawn = drawn
            self.refresh_bindings()


def _proposed(situation: Situation) -> str:
    """Where it was saved before, or else where zoowizard was started."""
    before = next((one for one in situation.receipts if one.kind == FolderTarget.kind), None)
    return from_home(situation.here if before is None else Path(before.where).parent)


def _folder(text: str, situation: Situation) -> Path:
    """The folder that a person means: quotes taken off, `~` and relative paths as in the shell.

    Raises ZoowizardError where there is no such user.
    """
    plain = Path(text.strip().strip("'\""))
    try:
        return situation.here / plain.expanduser()
    except RuntimeError as problem:
        raise ZoowizardError(f"there is no user {plain.parts[0].removeprefix('~')} on this computer") from problem


def _update(widget: Static, content: Content) -> None:
    if widget.content != content:
        widget.update(content)
