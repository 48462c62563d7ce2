"""A folder as a place for a package: it is saved there, and read again."""

import asyncio
from pathlib import Path
from typing import Final

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from zoowizard.errors import ZoowizardError
from zoowizard.screens.children import lines_of
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import Situation, UploadChanged
from zoowizard.screens.steps.place import Place
from zoowizard.screens.widgets.path_input import from_home
from zoowizard.terminal import printable
from zoowizard.upload.folder import FolderTarget
from zoowizard.upload.receipts import Receipt
from zoowizard.upload.target import Parcel

CHECKED_AFTER_S: Final = 0.3


class FolderPlace(Place):
    """Asks for the folder, says what would happen there, and saves the package."""

    title = "A folder"

    def __init__(self) -> None:
        super().__init__(classes="upload-place")
        self._situation: Situation | None = None
        self._parcel: Parcel | None = None
        self._saving = False
        self._words: tuple[str, str] = ("", "")

    def compose(self) -> ComposeResult:
        """The folder, and what would be done."""
        with Horizontal(classes="upload-row"):
            yield Static("  Folder", classes="upload-label", markup=False)
            yield Input(id="upload-folder", compact=True, select_on_focus=False)
        yield Static(classes="upload-answer", markup=False)

    def on_mount(self) -> None:
        """No blinking."""
        self.query_one(Input).cursor_blink = False

    def show(self, situation: Situation, parcel: Parcel) -> None:
        """What stands in the input stays."""
        first = self._situation is None
        self._situation, self._parcel = situation, parcel
        if not self.can_draw:
            return
        if first and not self.query_one(Input).value:
            self.query_one(Input).value = _proposed(situation)
        self._check_soon()

    @property
    def word(self) -> str:
        """Whether it was saved in one."""
        found = () if self._situation is None else self._situation.receipts
        return "saved" if any(one.kind == FolderTarget.kind for one in found) else ""

    @property
    def input(self) -> Widget | None:
        """The folder."""
        return self.query_one(Input)

    @property
    def offers(self) -> frozenset[str]:
        """Saving."""
        locked = self._situation is None or bool(self._situation.read_only)
        return frozenset() if self._saving or locked or self._parcel is None else frozenset({"save"})

    def act(self, name: str) -> None:
        """Save the package in the folder that stands in the input."""
        text = self.query_one(Input).value.strip()
        if self._parcel is not None and self._situation is not None and text and not self._saving:
            self._saving = True
            self.post_message(self.Changed())
            self.run_worker(self._save(self._situation, self._parcel, text), group="save")

    @on(Input.Changed)
    def _on_changed(self, event: Input.Changed) -> None:
        event.stop()
        if not self._saving:
            self._check_soon()

    async def _save(self, situation: Situation, parcel: Parcel, text: str) -> None:
        assert situation.draft is not None
        try:
            folder = _folder(text, situation)
            told = (situation.workspace.root, situation.draft.id, parcel.archive, parcel.report, parcel.sha256, folder)
            async for line in lines_of("zoowizard.upload.folder", *map(str, told)):
                if "receipt" in line:
                    receipt = Receipt.model_validate(line["receipt"])
                    self._say(f"{GLYPHS.done} saved as {receipt.where}, with its report beside it", "$text-success")
                    self.post_message(UploadChanged())
                else:
                    self._say(f"{GLYPHS.current} {line['words']}  {line['fraction']:.0%}", "")
        except ZoowizardError as problem:
            self._say(f"{GLYPHS.failed} {problem}", "$text-error")
        finally:
            self._saving = False
            if self.can_draw:
                self.post_message(self.Changed())

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

    def _say(self, words: str, style: str) -> None:
        if self.can_draw and (words, style) != self._words:
            self._words = (words, style)
            self.query_one(".upload-answer", Static).update(Content.styled(printable(words), style))


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
