"""The board: one line a model, live, as the event's table; the home of the app."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Resize, ScreenResume
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from zoowizard.board.columns import COLUMNS
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.states import UNDERWAY, Ending
from zoowizard.screens.children import lines_of
from zoowizard.screens.widgets.board_lines import BoardLineText, BoardTitle, counted, in_words
from zoowizard.screens.widgets.board_rows import (
    DESCRIPTION,
    NOTES,
    SORT_COLUMNS,
    BoardRow,
    fitted,
    one_line,
    read_row,
)
from zoowizard.screens.widgets.board_table import BoardTable, BoardTitles

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""How long to wait before the watcher is started again; twice as long each time it dies."""
SHORT_BELOW = 16
LOST_BY_WRAPPING = 12
"""So many cells a line that ends with its last whole word may leave empty."""
LONGEST_ASKED = 24
GOES, STAYS = "Answers, jobs and packages go to the trash", "its checkpoint and uploads stay"
ENDED_BADLY = tuple(state for state in get_args(Ending) if state != "passed")


@dataclass
class OpenDraft(Message):
    """Open this draft in the wizard, at a step, or where the person was."""

    draft_id: str
    step: str = ""


@dataclass
class AnotherOf(Message):
    """Begin another package of the model of this draft, with the same answers."""

    draft_id: str


@dataclass
class ClaimRow(Message):
    """Begin a draft for this row of the event's table, which nobody has worked on."""

    event_key: str


class NewModel(Message):
    """Package another model."""


@dataclass
class RetryBuild(Message):
    """Build this draft again, from the step in which its newest build failed."""

    draft_id: str


@dataclass
class RetryUpload(Message):
    """Go on with the upload at which this job worked."""

    job_folder: str


@dataclass
class ShowLog(Message):
    """Show the log of this job."""

    job_folder: str


@dataclass
class CancelJob(Message):
    """End this job; the person was asked."""

    job_folder: str


@dataclass
class DeleteModel(Message):
    """Move this draft, with all that was made of it, into the trash; the person was asked."""

    draft_id: str


class BoardScreen(Screen[None]):
    """The board of one workspace. What happens there comes from a watcher, a process of its own."""

    CSS_PATH: ClassVar = ["board.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", id="board.new"),
        Binding("r", "retry", "Retry", id="board.retry"),
        Binding("l", "log", "Log", id="board.log"),
        Binding("u", "upload", "Upload", id="board.upload"),
        Binding("slash", "search", "Filter", key_display="/", id="board.filter"),
        Binding("s", "sort", "Sort", id="board.sort"),
        Binding("S", "reverse", "Sort the other way", id="board.reverse", show=False),
        Binding("c", "cancel", "Cancel the job of this row", id="board.cancel", show=False),
        Binding("d", "another", "Another package of the same model", id="board.another", show=False),
        Binding("X,delete", "delete", "Delete the model", id="board.delete", show=False),
        Binding("escape", "clear", "Clear the filter", id="board.clear", show=False),
        Binding("q", "app.quit", "Quit", id="board.quit"),
    ]

    def __init__(self, workspace_root: Path) -> None:
        """`workspace_root` is the folder of the workspace."""
        super().__init__()
        self._root = workspace_root
        self._counts: Mapping[str, int] = {}
        self._underway: list[Mapping[str, Any]] = []
        self._problems: list[str] = []
        self._broken = self._said = self._sure = self._detail = ""
        self._unheard: set[str] = set()
        self.complete = False
        """Whether the watcher has told of all models."""

    def compose(self) -> ComposeResult:
        """The table, and lines above and below it."""
        yield BoardTitle()
        yield BoardTitles()
        yield BoardTable()
        yield Static(id="board-detail", markup=False)
        yield BoardLineText(id="board-running", classes="board-line")
        yield BoardLineText(id="board-problem", classes="board-line board-hidden")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to watch."""
        self._table.focus()
        self._show_lines()
        self.call_after_refresh(self._watch)  # after the first picture, which it would hold up

    @property
    def _table(self) -> BoardTable:
        return self.query_one(BoardTable)

    # What the watcher tells

    @work(exclusive=True, group="watch")
    async def _watch(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                self._unheard = set(self._table.all_rows)
                async for news in lines_of("zoowizard.watch", "--workspace", str(self._root)):
                    self._broken, pause = "", FIRST_PAUSE_S
                    self.take(news)
                why = "it ended"
            except (ZoowizardError, OSError, ValueError) as problem:
                why = str(problem)
            self._broken = f"the board stands still ({one_line(why)}); it goes on in a moment"
            self._underway = []
            self._show_lines()
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_S, 2 * pause)

    def take(self, news: Mapping[str, Any]) -> None:
        """Take in a line of the watcher, see `zoowizard.watch`."""
        rows = [read_row(told) for told in news["rows"]]
        gone = set(news["gone"])
        self.complete = news["complete"]
        if self._unheard:
            self._unheard -= {row.key for row in rows}
            if self.complete:
                gone |= self._unheard
                self._unheard = set()
        self._counts, self._underway, self._problems = news["counts"], news["running"], news["problems"]
        if rows or gone:
            self._table.change(rows, gone)
        if self.is_active:  # whatever changes below another screen makes Textual draw all of that one again
            self._show_lines()

    @on(ScreenResume)
    def _resumed(self) -> None:
        self._said = self._sure = ""
        self._show_lines()

    # What the lines say

    def _show_lines(self) -> None:
        table = self._table
        title = self.query_one(BoardTitle)
        title.show(self._order_in_words(), counted(self._counts), len(table.rows), len(table.all_rows))
        self._show_detail(table.row)
        self.query_one("#board-running", BoardLineText).show(in_words(self._underway))
        problem = self._broken or self._problem()
        line = self.query_one("#board-problem", BoardLineText)
        line.set_class(not problem, "board-hidden")
        line.show([f"! {problem}"] if problem else [])
        if not self.complete and not table.all_rows:
            table.say_nothing("looking at the workspace ...")
        elif table.all_rows:
            table.say_nothing("no model has these words in its line", "esc  shows all again")
        else:
            table.say_nothing(
                "No model is here yet.",
                "n  packages a model, from its checkpoint to a tested package",
                "",
                "zoowizard board import FILE.md  takes the rows of the event's table",
            )

    def _order_in_words(self) -> str:
        table = self._table
        if table.sorted_by is None:
            return "newest last, reversed" if table.backwards else ""
        return f"by {COLUMNS[table.sorted_by]}{', reversed' if table.backwards else ''}"

    def _problem(self) -> str:
        more = len(self._problems) - 1
        if more < 0:
            return ""
        return one_line(self._problems[0]) + (f"   (and {more} more)" if more else "")

    def _show_detail(self, row: BoardRow | None) -> None:
        """What was just said, or the whole note of the row, for which the table has no room; else its description."""
        text = self._said or ("" if row is None else row.cells[NOTES] or row.cells[DESCRIPTION])
        detail = self.query_one("#board-detail", Static)
        width, height = detail.size
        room = max(1, width * height - LOST_BY_WRAPPING * (height - 1))
        text = fitted(text, room).rstrip()
        if text != self._detail:
            self._detail = text
            detail.update(Content(text))

    def _say(self, sentence: str, sure: str = "") -> None:
        """Say something until the next key; where it is a question, `sure` is what it is about."""
        self._said, self._sure = sentence, sure
        self._show_detail(self._table.row)

    def on_resize(self, event: Resize) -> None:
        """A low terminal keeps its lines for the table."""
        self.set_class(event.size.height < SHORT_BELOW, "-short")
        self.call_after_refresh(self._show_lines)

    @on(BoardTable.Columned)
    def _columned(self) -> None:
        self.query_one(BoardTitles).show(self._table)

    @on(BoardTable.Moved)
    def _moved(self, event: BoardTable.Moved) -> None:
        self._say("")

    # What the person wants

    @on(BoardTable.Opened)
    def _opened(self, event: BoardTable.Opened) -> None:
        if event.row.draft is None:
            self.post_message(ClaimRow(event.row.key))
        else:
            self.post_message(OpenDraft(event.row.draft))

    def action_new(self) -> None:
        """Package another model."""
        self.post_message(NewModel())

    def action_retry(self) -> None:
        """Build the row's model again, where its newest build did not pass; or go on with its upload."""
        if (row := self._table.row) is None:
            return
        if row.job is not None and row.job_kind == "upload" and row.job_state in ENDED_BADLY:
            self.post_message(RetryUpload(row.job))
            self._say(f"{row.name}: the upload goes on; what arrived before is not sent again")
        elif row.draft is not None and row.job_kind != "probe" and row.job_state in ENDED_BADLY:
            self.post_message(RetryBuild(row.draft))
            self._say(f"{row.name}: it is built again, from the step that failed")
        else:
            self._say(f"{row.name}: no build of it failed, so there is nothing to retry; enter opens it")

    def action_log(self) -> None:
        """Show the log of the row's newest job."""
        if (row := self._table.row) is None:
            return
        if row.job is None:
            self._say(f"{row.name}: it was not built yet, so there is no log; enter opens it")
        else:
            self.post_message(ShowLog(row.job))

    def action_upload(self) -> None:
        """Open the row's model at the step Upload."""
        if (row := self._table.row) is None:
            return
        if row.draft is None:
            self._say(f"{row.name}: nobody has begun with it, so there is nothing to upload; enter begins")
        else:
            self.post_message(OpenDraft(row.draft, "upload"))

    def action_another(self) -> None:
        """Begin another package of the row's model, with the same answers."""
        if (row := self._table.row) is None:
            return
        if row.draft is None:
            self._say(f"{row.name}: nobody has begun with it; enter begins")
        else:
            self.post_message(AnotherOf(row.draft))

    def action_cancel(self) -> None:
        """End the row's job; asked once."""
        if (row := self._table.row) is None:
            return
        if row.job is None or row.job_state not in UNDERWAY:
            self._say(f"{row.name}: no job of it is running")
        elif self._sure == row.job:
            self.post_message(CancelJob(row.job))
            self._say(f"{row.name}: its {'upload is paused' if row.job_kind == 'upload' else 'job is told to end'}")
        else:
            kept = "cancel its job; what it did so far can be kept by a retry"
            what = "pause its upload; r goes on with it" if row.job_kind == "upload" else kept
            self._say(f"{row.name}: press c again to {what}", row.job)

    def action_delete(self) -> None:
        """Delete the row's model; asked once, and not while a job of it is at work."""
        if (row := self._table.row) is None:
            return
        if row.draft is None:
            self._say(f"{row.name}: nobody has begun with it, so there is nothing to delete")
        elif row.job is not None and row.job_state in UNDERWAY:
            self._say(f"{row.name}: a job of it is at work; wait for its end, or end it with c, and delete it then")
        elif self._sure == row.draft:
            self.post_message(DeleteModel(row.draft))
            self._say("")
        else:
            name = fitted(row.name, LONGEST_ASKED).rstrip()
            self._say(f"{name}: press X again to delete it. {GOES}; {STAYS}.", row.draft)

    def action_sort(self) -> None:
        """Sort by the next column."""
        table = self._table
        shown = [column for column in SORT_COLUMNS if column is None or column in table.columns.shown]
        place = shown.index(table.sorted_by) if table.sorted_by in shown else 0
        self._arrange(shown[(place + 1) % len(shown)], False)

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self._arrange(self._table.sorted_by, not self._table.backwards)

    def _arrange(self, column: int | None, backwards: bool) -> None:
        self._table.refine(self._words, column, backwards)
        self.query_one(BoardTitles).show(self._table)
        self._show_lines()

    @property
    def _words(self) -> str:
        return "".join(one.value for one in self.query("#board-filter").results(Input))

    async def action_search(self) -> None:
        """Show only the rows that hold some words; the line for them is made when it is first wanted."""
        if not self.query("#board-search"):
            words = Input(id="board-filter", placeholder="words of any column", compact=True, select_on_focus=False)
            words.cursor_blink = False
            await self.mount(Horizontal(Static("Filter  "), words, id="board-search"), before="#board-detail")
        self.query_one("#board-search").remove_class("board-hidden")
        self.query_one("#board-filter", Input).focus()

    def action_clear(self) -> None:
        """Show all rows again."""
        for words in self.query("#board-filter").results(Input):
            words.value = ""
        self.query("#board-search").add_class("board-hidden")
        self._table.focus()

    @on(Input.Changed, "#board-filter")
    def _filtered(self) -> None:
        self._arrange(self._table.sorted_by, self._table.backwards)

    @on(Input.Submitted, "#board-filter")
    def _chosen(self) -> None:
        if self._words.strip():
            self._table.focus()
        else:
            self.action_clear()
