"""The board as text: the Markdown table of the event's document, and a table for terminals."""

import unicodedata
from collections.abc import Sequence

from zoowizard.board.cells import escaped, one_line
from zoowizard.board.columns import COLUMNS
from zoowizard.board.rows import Row

LEAST_WIDTHS = (27, 25, 33, 11, 18, 8, 8, 24)
"""The widths of the columns in the event's document; a longer text makes its column wider."""

NARROW_TITLES = ("Model Name", "Category", "Status", "Meta", "Exp", "Up", "Notes")
SHRINKS_TO = {1: 11, 0: 26, 6: 8}
"""On a narrow terminal the description stays out; category, name, notes give way in turn, down to so many cells."""


def render(rows: Sequence[Row]) -> str:
    """The rows as the event's Markdown table. Whatever stands in a cell, it stays one cell of one line."""
    table = [COLUMNS, *([escaped(cell) for cell in row.cells()] for row in rows)]
    widths = [max(least, *(width_of(line[column]) for line in table)) for column, least in enumerate(LEAST_WIDTHS)]
    lines = [
        "| " + " | ".join(padded(cell, width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in table
    ]
    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], ruler, *lines[1:]]) + "\n"


def render_plain(rows: Sequence[Row], width: int = 80) -> str:
    """The rows as a table for a terminal that is `width` cells wide.

    Where there is no room for all, the description stays out, titles are short, and long texts end in an ellipsis.
    """
    table = [list(COLUMNS), *([one_line(cell) for cell in row.cells()] for row in rows)]
    widths = _widths(table)
    if _excess(widths, width) > 0:
        table = [list(NARROW_TITLES), *([*cells[:2], *cells[3:]] for cells in table[1:])]
        widths = _widths(table)
        for column, least in SHRINKS_TO.items():
            widths[column] -= max(0, min(_excess(widths, width), widths[column] - least))
    lines = (
        "  ".join(padded(cut(cell, room), room) for cell, room in zip(line, widths, strict=True)) for line in table
    )
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _widths(table: Sequence[Sequence[str]]) -> list[int]:
    return [max(width_of(cells[column]) for cells in table) for column in range(len(table[0]))]


def _excess(widths: Sequence[int], room: int) -> int:
    """By how much columns of these widths, two cells apart, are too wide for the room."""
    return sum(widths) + 2 * (len(widths) - 1) - room


def width_of(text: str) -> int:
    """How many cells of a terminal a text takes: two for East Asian wide letters, none for marks that combine."""
    return len(text) if text.isascii() else sum(_cells(letter) for letter in text)


def padded(text: str, width: int) -> str:
    """The text with spaces after it, `width` cells wide."""
    return text + " " * max(0, width - width_of(text))


def cut(text: str, width: int) -> str:
    """The text, where it is too wide with an ellipsis at its end, at most `width` cells wide."""
    if width_of(text) <= width:
        return text
    kept, room = "", width - 1
    for letter in text:
        room -= _cells(letter)
        if room < 0:
            break
        kept += letter
    return kept.rstrip() + "…"


def _cells(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1
