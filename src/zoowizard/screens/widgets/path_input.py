"""An input for the path of a file or folder, as people type and paste them."""

import asyncio
import itertools
import os
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import unquote, urlsplit

from textual import events, work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

MOST_NAMES: Final = 20_000


def pasted(text: str) -> str:
    """The one line that a paste means: its first line with something in it."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def typed_path(text: str, here: Path) -> Path | None:
    """The absolute path that is meant, from `here`; None where there is no text.

    Understands `~`, quotes around it, `file://` addresses as file managers copy them, and the backslashes that
    terminals write before spaces where a file is dropped into them.
    """
    meant = text.strip()
    if len(meant) > 1 and meant[0] == meant[-1] and meant[0] in "\"'":
        meant = meant[1:-1]
    if meant.startswith("file://"):
        meant = unquote(urlsplit(meant).path)
    if not meant or "\0" in meant:
        return None
    path = here / os.path.expanduser(meant)  # noqa: PTH111  (Path's raises where there is no such user)
    if "\\" in meant and not os.path.lexists(path):
        path = here / os.path.expanduser(meant.replace("\\ ", " ").replace("\\", ""))  # noqa: PTH111
    return Path(os.path.normpath(path))


def in_words(path: Path, here: Path) -> str:
    """The path as short as it can be said: from `here`, or with `~`, or whole."""
    if path == here:
        return "this folder"
    if path.is_relative_to(here):
        return str(path.relative_to(here))
    return from_home(path)


def from_home(path: Path) -> str:
    """The whole path, with `~` for the person's own folder."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) and path != home else str(path)


def completed(text: str, here: Path) -> str:
    """The text with as much added as all names in that folder have in common; the text itself where that is nothing."""
    begun, _, start = text.rpartition("/")
    folder = typed_path(f"{begun}/" if "/" in text else ".", here)
    try:
        with os.scandir(folder) as entries:
            listed = itertools.islice(entries, MOST_NAMES)
            names = {one.name: one.is_dir() for one in listed if one.name.startswith(start) and one.name.isprintable()}
    except OSError:
        return text
    shown = {name for name in names if start.startswith(".") or not name.startswith(".")}
    common = os.path.commonprefix(sorted(shown))  # noqa: RUF071  (the beginning of names is meant)
    if len(shown) == 1 and names[common]:
        common += "/"
    return text if len(common) <= len(start) else text[: len(text) - len(start)] + common


class PathInput(Input):
    """Tab completes the name of a file or folder, or goes on where there is nothing to complete."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "Complete", id="path.complete", show=False),
    ]

    class Pasted(Message):
        """A path was pasted, and is now all that stands in the input."""

        def __init__(self, control: "PathInput") -> None:
            super().__init__()
            self._control = control

        @property
        def control(self) -> "PathInput":
            """The input."""
            return self._control

    def __init__(self, id: str, placeholder: str = "") -> None:
        """`here` is where paths begin that are not absolute; it is set when it is known."""
        super().__init__(placeholder=placeholder, id=id, compact=True, select_on_focus=False)
        self.cursor_blink = False
        self.here = Path()

    def _on_paste(self, event: events.Paste) -> None:
        """A pasted path takes the place of what stood there, unless it is put into the middle of something."""
        event.stop()
        event.prevent_default()
        text = pasted(event.text)
        if not text:
            return
        if self.cursor_position == len(self.value) and not self.value.endswith("/"):
            self.take(text)
        else:
            self.insert_text_at_cursor(text)

    def take(self, text: str) -> None:
        """Put `text` in as if it had been pasted."""
        self.value = text
        self.cursor_position = len(text)
        self.post_message(self.Pasted(self))

    def action_complete(self) -> None:
        """Complete the name, or go on to what is next."""
        if self.value and self.cursor_position == len(self.value):
            self._complete(self.value)
        else:
            self.screen.focus_next()

    @work(exclusive=True, group="complete")
    async def _complete(self, text: str) -> None:
        longer = await asyncio.to_thread(completed, text, self.here)
        if self.value != text:
            return
        if longer == text:
            self.screen.focus_next()
        else:
            self.value = longer
            self.cursor_position = len(longer)
