"""Folders and checkpoints to choose from, one folder at a time."""

import asyncio
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from zoowizard.board.markdown import cut
from zoowizard.families.identify import ENDINGS, is_called, may_be_model
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.terminal import printable

MOST_ENTRIES: Final = 50_000
MOST_SHOWN: Final = 1_000


@dataclass(frozen=True)
class Listing:
    """The folders and the checkpoints in a folder, by name; `problem` is why it cannot be read, or empty."""

    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    left_out: bool = False
    problem: str = ""


def listing(folder: Path) -> Listing:
    """What is in a folder, without what is hidden; of a very large one only the beginning."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in itertools.islice(entries, MOST_ENTRIES):
                if entry.name.startswith("."):
                    continue
                if is_called(entry.name, ENDINGS):
                    files.append(entry.name)
                elif entry.is_dir():
                    folders.append(entry.name)
                elif may_be_model(entry):
                    files.append(entry.name)
            more = next(entries, None) is not None
    except OSError as problem:
        return Listing(problem=(problem.strerror or str(problem)).lower())
    left_out = more or len(folders) > MOST_SHOWN or len(files) > MOST_SHOWN
    return Listing(tuple(sorted(folders)[:MOST_SHOWN]), tuple(sorted(files)[:MOST_SHOWN]), left_out)


@dataclass(frozen=True)
class Row:
    """One line of the browser; Enter on it does `open` or `pick` the path, or nothing (`""`)."""

    text: str
    path: Path
    does: str


def rows(folder: Path, found: Listing) -> list[Row]:
    """The lines for what is in a folder."""
    place = printable(str(folder))
    first = Row(f"{GLYPHS.current} look for models in {place}", folder, "pick")
    if found.problem:
        first = Row(f"{GLYPHS.failed} {place} cannot be read: {found.problem}", folder, "")
    above = [Row("../", folder.parent, "open")] if folder.parent != folder else []
    folders = [Row(f"{printable(name)}/", folder / name, "open") for name in found.folders]
    files = [Row(printable(name), folder / name, "pick") for name in found.files]
    more = f"{GLYPHS.ellipsis} and more: paste the path of the one that you mean"
    return [first, *above, *folders, *files, *([Row(more, folder, "")] if found.left_out else [])]


class FileBrowser(OptionList):
    """Enter opens a folder or takes a checkpoint; the first line takes the folder itself."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("backspace,left", "up", "Folder above", id="browser.up", show=True),
        Binding("escape", "leave", "Back to the list", id="browser.leave", show=True),
    ]

    @dataclass
    class Picked(Message):
        """A folder or checkpoint was picked."""

        path: Path

    class Left(Message):
        """The person does not want to browse any more."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id, compact=True, markup=False)
        self.folder = Path()
        self._rows: list[Row] = []

    @work(exclusive=True, group="browse")
    async def open(self, folder: Path) -> None:
        """Show what is in `folder`."""
        came_from, self.folder = self.folder, folder
        self._rows = rows(folder, await asyncio.to_thread(listing, folder))
        width = max(10, self.size.width - 2)
        self.set_options([Option(Content(cut(row.text, width))) for row in self._rows])
        entered = [row.path for row in self._rows if row.does == "open"]
        self.highlighted = 1 + entered.index(came_from) if came_from in entered[1:] else 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go into a folder, or say what was picked."""
        event.stop()
        row = self._rows[event.option_index]
        if row.does == "open":
            self.open(row.path)
        elif row.does == "pick":
            self.post_message(self.Picked(row.path))

    def action_up(self) -> None:
        """Go to the folder above."""
        if self.folder.parent != self.folder:
            self.open(self.folder.parent)

    def action_leave(self) -> None:
        """Leave without picking one."""
        self.post_message(self.Left())
