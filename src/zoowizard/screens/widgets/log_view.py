"""The log of a job, as it grows."""

import asyncio
from pathlib import Path
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Key
from textual.widgets import Input, Static

from zoowizard.jobs.log_tail import LogTail, is_error
from zoowizard.screens.widgets.log_lines import LogLines

READ_EVERY_S: Final = 1.0


class LogView(Vertical):
    """Shows the end of the log in a job's folder and goes on with it, but for where the person has scrolled up."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Find", key_display="/", id="log.find"),
        Binding("n", "next", "Next match", id="log.next", show=False),
        Binding("e", "error", "Error", id="log.error"),
    ]

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._folder: Path | None = None
        self._wanted = ""

    def compose(self) -> ComposeResult:
        """Lines, a line of words below, and the input that opens with `/`."""
        yield LogLines(classes="log-lines")
        yield Static(classes="log-said", markup=False)
        yield Input(placeholder="find in the log", compact=True, classes="log-find", select_on_focus=False)

    def on_mount(self) -> None:
        """The words and the input are there when they are wanted."""
        self._say("")
        find = self.query_one(Input)
        find.display, find.cursor_blink = False, False

    def follow(self, folder: Path | None) -> None:
        """Show the log of the job in `folder`, or nothing."""
        if folder == self._folder:
            return
        self._folder = folder
        self.query_one(LogLines).clear()
        self._say("")
        if folder is not None:
            self.run_worker(self._read_on(LogTail(folder / "log.txt")), exclusive=True, group="log")
        else:
            self.workers.cancel_group(self, "log")

    async def _read_on(self, tail: LogTail) -> None:
        log = self.query_one(LogLines)
        while True:
            if lines := await asyncio.to_thread(tail.read):
                log.add(lines)
                if log.at_end:
                    self._say("only the end of the log is shown" if tail.shortened else "")
            elif not log.lines:
                self._say("nothing was printed yet")
            await asyncio.sleep(READ_EVERY_S)

    def action_error(self) -> None:
        """Go to the first line that looks like an error."""
        lines = self.query_one(LogLines).lines
        place = next((number for number, line in enumerate(lines) if is_error(line)), None)
        if place is None:
            self._say("there is no error in the log")
        else:
            self._go(place, f"line {place + 1} of {len(lines)}")

    def action_search(self) -> None:
        """Ask for the words to find."""
        find = self.query_one(Input)
        find.value = ""
        find.display = True
        find.focus()

    @on(Input.Submitted)
    def _on_asked(self, event: Input.Submitted) -> None:
        event.stop()
        self._wanted = event.value
        self._close_find()
        if self._wanted:
            self._find_from(0)

    def action_next(self) -> None:
        """Go to the next line with the words."""
        if self._wanted:
            self._find_from(self.query_one(LogLines).top + 1)

    def on_key(self, event: Key) -> None:
        """Escape closes the input, and nothing else."""
        if event.key == "escape" and self.query_one(Input).has_focus:
            event.stop()
            self._close_find()

    @on(LogLines.Moved)
    def _on_moved(self) -> None:
        log = self.query_one(LogLines)
        where = f"lines {log.top + 1} to {log.bottom} of {len(log.lines)}: end goes to the newest"
        self._say("" if log.at_end else where)

    def focus_lines(self) -> None:
        """Let the arrow keys scroll the log."""
        self.query_one(LogLines).focus()

    def _close_find(self) -> None:
        self.query_one(Input).display = False
        self.focus_lines()

    def _find_from(self, first: int) -> None:
        lines = self.query_one(LogLines).lines
        found = [number for number, line in enumerate(lines) if self._wanted.casefold() in line.casefold()]
        if not found:
            self._say(f"`{self._wanted}` is not in the log")
            return
        place = next((number for number in found if number >= first), found[0])
        self._go(place, f"match {found.index(place) + 1} of {len(found)} in line {place + 1}: n goes to the next")

    def _go(self, line: int, words: str) -> None:
        self.query_one(LogLines).go(line)
        self._say(words)

    def _say(self, words: str) -> None:
        said = self.query_one(".log-said", Static)
        if str(said.content) != words:
            said.update(words, layout=False)
