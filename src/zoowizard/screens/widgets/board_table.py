"""The board's table: draws only the lines that are seen and, of these, only those that changed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Static

from zoowizard.screens.widgets.board_rows import (
    BETWEEN,
    EXPORTED,
    META,
    NAME,
    STATUS,
    UPLOADED,
    BoardRow,
    Columns,
    chosen,
    columns_for,
    fitted,
)


class BoardTable(ScrollView, can_focus=True):
    """The rows, one of them under the cursor. The cursor stays on its model, whatever happens around it."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "board-table--row",
        "board-table--cursor",
        "board-table--weak",
        "board-table--running",
        "board-table--failed",
        "board-table--done",
        "board-table--open",
        "board-table--none",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", key_display="enter", id="board.open"),
        Binding("up,k", "move(-1)", "Up", id="board.up", show=False),
        Binding("down,j", "move(1)", "Down", id="board.down", show=False),
        Binding("pageup", "move_page(-1)", "Page up", id="board.page-up", show=False),
        Binding("pagedown,space", "move_page(1)", "Page down", id="board.page-down", show=False),
        Binding("home,g", "first", "To the top", id="board.first", show=False),
        Binding("end,G", "last", "To the end", id="board.last", show=False),
    ]
    cursor: reactive[int] = reactive(0, repaint=False)

    @dataclass
    class Opened(Message):
        """Enter was pressed on this row."""

        row: BoardRow

    @dataclass
    class Moved(Message):
        """The cursor is on this row now; None where there are none."""

        row: BoardRow | None

    class Columned(Message):
        """The columns have other widths now."""

    def __init__(self, *, id: str | None = None) -> None:
        """There are no rows yet."""
        super().__init__(id=id)
        self.all_rows: dict[str, BoardRow] = {}
        self.rows: list[BoardRow] = []
        self.columns: Columns = columns_for([], 78)
        self.nothing: tuple[str, ...] = ()
        self.words, self.sorted_by, self.backwards = "", None, False

    sorted_by: int | None

    @property
    def row(self) -> BoardRow | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    # What it shows

    def change(self, rows: Iterable[BoardRow], gone: Iterable[str] = ()) -> None:
        """Take new and changed rows in, and those of these keys out."""
        for row in rows:
            self.all_rows[row.key] = row
        for key in gone:
            self.all_rows.pop(key, None)
        self._arrange()

    def refine(self, words: str, column: int | None, backwards: bool) -> None:
        """Show the rows that hold all these words, sorted by this column, None for the order they come in."""
        self.words, self.sorted_by, self.backwards = words, column, backwards
        self._arrange()

    def say_nothing(self, *lines: str) -> None:
        """What stands in the place of the rows where there are none."""
        if lines != self.nothing:
            self.nothing = lines
            if not self.rows:
                self.refresh()

    def _arrange(self) -> None:
        before, held = self.rows, self.row
        self.rows = chosen(self.all_rows.values(), self.words, self.sorted_by, self.backwards)
        old_cursor = self.cursor
        self._follow(held)
        same_columns = not self._column()
        self.virtual_size = Size(self.scrollable_content_region.width, len(self.rows))
        if self.cursor != old_cursor:
            self._show_cursor()
        top, height = self.scroll_offset.y, self.size.height
        if not (before and self.rows and same_columns):
            self.refresh()
            return
        for line in range(top, top + height):
            here = self.rows[line] if line < len(self.rows) else None
            there = before[line] if line < len(before) else None
            if here is not there or (line in (old_cursor, self.cursor) and old_cursor != self.cursor):
                self.refresh_line(line)

    def _follow(self, held: BoardRow | None) -> None:
        """Put the cursor on the model on which it was, or else on what now stands in its place."""
        place = None if held is None else next((i for i, row in enumerate(self.rows) if row.key == held.key), None)
        self.cursor = max(0, min(self.cursor, len(self.rows) - 1)) if place is None else place
        if self.row is not held:
            self.post_message(self.Moved(self.row))

    def _column(self) -> bool:
        """Set the widths of the columns anew; gives whether they are others now."""
        columns = columns_for(list(self.all_rows.values()), max(8, self.size.width - 2))
        if columns == self.columns:
            return False
        self.columns = columns
        self.post_message(self.Columned())
        return True

    def on_resize(self, event: Resize) -> None:
        """There may be room for more or fewer columns."""
        self.virtual_size = Size(self.scrollable_content_region.width, len(self.rows))
        if self._column():
            self.refresh()
        self._show_cursor()

    # Drawing

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        number, width = self.scroll_offset.y + y, self.size.width
        if not self.rows:
            text = self.nothing[y - 1] if 0 < y <= len(self.nothing) else ""
            return Strip([Segment(fitted("  " + text, width), self._style("weak" if y != 1 else "row"))], width)
        if number >= len(self.rows):
            return Strip.blank(width, self.rich_style)
        return self._line(self.rows[number], number == self.cursor, width)

    def _line(self, row: BoardRow, here: bool, width: int) -> Strip:
        ground = self._style("cursor") if here else self._style("row")
        segments = [Segment(">" if here and self.has_focus else " ", ground)]
        room = width - 1
        for column, text in zip(self.columns.shown, self.columns.texts(row), strict=True):
            segments.append(Segment(text, ground if here else self._style_of(row, column)))
            segments.append(Segment(" " * BETWEEN, ground))
        return Strip(segments).adjust_cell_length(room + 1, ground)

    def _style_of(self, row: BoardRow, column: int) -> Style:
        if column == NAME:
            return self._style("row")
        if column == STATUS:
            return self._style(row.state)
        if column in (META, EXPORTED, UPLOADED):
            is_yes = row.cells[column] == "Yes"
            return self._style(
                "done" if is_yes else "failed" if column == EXPORTED and row.state == "failed" else "weak"
            )
        return self._style("weak")

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"board-table--{name}")

    # Moving

    def watch_cursor(self, before: int, now: int) -> None:
        """Draw the two lines anew, nothing else."""
        self.refresh_line(before)
        self.refresh_line(now)

    def _go(self, line: int) -> None:
        line = max(0, min(line, len(self.rows) - 1))
        if line != self.cursor:
            self.cursor = line
            self._show_cursor()
            self.post_message(self.Moved(self.row))

    def _show_cursor(self) -> None:
        top, height = self.scroll_offset.y, max(1, self.size.height)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)

    def action_move(self, lines: int) -> None:
        """Move the cursor so many lines down."""
        self._go(self.cursor + lines)

    def action_move_page(self, pages: int) -> None:
        """Move the cursor so many pages down."""
        self._go(self.cursor + pages * max(1, self.size.height - 1))

    def action_first(self) -> None:
        """Move to the first row."""
        self._go(0)

    def action_last(self) -> None:
        """Move to the last row."""
        self._go(len(self.rows) - 1)

    def action_open(self) -> None:
        """Open the row under the cursor."""
        if self.row is not None:
            self.post_message(self.Opened(self.row))

    def on_click(self, event: Click) -> None:
        """The first click goes to the row, the second opens it."""
        line = self.scroll_offset.y + event.y
        if line >= len(self.rows):
            return
        if line == self.cursor and event.chain > 1:
            self.action_open()
        self._go(line)


class BoardTitles(Static):
    """The titles above the columns; the one that the rows are sorted by is marked."""

    def show(self, table: BoardTable) -> None:
        """Write the titles as wide as the columns of the table are."""
        from textual.content import Content

        parts: list[tuple[str, str]] = [(" ", "")]
        for column, title in zip(table.columns.shown, table.columns.titles(), strict=True):
            parts += [(title, "bold underline" if column == table.sorted_by else "bold"), (" " * BETWEEN, "")]
        self.update(Content.assemble(*parts))
