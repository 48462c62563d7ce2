"""The rows of the board as it holds them: read from the watcher's lines, filtered, sorted, set into columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.cells import cell_len, set_cell_size

from zoowizard.board.columns import COLUMNS
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.terminal import printable

NAME, CATEGORY, DESCRIPTION, STATUS, META, EXPORTED, UPLOADED, NOTES = range(8)
NARROW_TITLES: Final = ("Model Name", "Category", "", "Status", "Meta", "Exp", "Up", "Notes")
WIDE_FROM: Final = 110
GLYPH_OF: Final = {
    "running": GLYPHS.current,
    "failed": GLYPHS.failed,
    "done": GLYPHS.done,
    "open": GLYPHS.open,
    "none": GLYPHS.none,
}
MOST: Final = {NAME: 40, CATEGORY: 25, DESCRIPTION: 60, NOTES: 100}
LEAST: Final = {NAME: 25, CATEGORY: 11, DESCRIPTION: 12, NOTES: 6}
WISHED_FOR_NOTES: Final = 24
GIVES_WAY: Final = (DESCRIPTION, CATEGORY, NAME)
"""The columns that shrink, in turn, where notes would get less than they should."""
LEFT_OUT: Final = (NOTES, CATEGORY, META, UPLOADED, EXPORTED)
"""The columns that are left out on a very narrow terminal, in turn."""
BETWEEN: Final = 2


@dataclass(frozen=True)
class BoardRow:
    """One model. `cells` are the eight texts of the event's table; the rest see `zoowizard.watch`."""

    key: str
    cells: tuple[str, ...]
    draft: str | None
    state: str
    known: tuple[int, int]
    job: str | None
    job_kind: str | None
    job_state: str | None
    order: tuple[Any, ...]
    haystack: str

    @property
    def name(self) -> str:
        """The model's name."""
        return self.cells[NAME]


def read_row(told: Mapping[str, Any]) -> BoardRow:
    """A row of the watcher's line."""
    cells = tuple(one_line(cell) for cell in told["cells"])
    return BoardRow(
        told["key"],
        cells,
        told["draft"],
        told["state"],
        (told["known"][0], told["known"][1]),
        told["job"],
        told["job_kind"],
        told["job_state"],
        tuple(told["order"]),
        "\n".join(cells).casefold(),
    )


def one_line(text: str) -> str:
    """The text without line breaks and whatever else could steer the terminal."""
    return text if text.isprintable() else printable(" ".join(text.split()))


def chosen(rows: Iterable[BoardRow], words: str, column: int | None, backwards: bool) -> list[BoardRow]:
    """The rows in which every one of the words stands somewhere, sorted by a column, or in their own order."""
    wanted = words.casefold().split()
    found = [row for row in rows if all(word in row.haystack for word in wanted)]
    return sorted(found, key=_SORTED_BY.get(column, lambda row: row.order), reverse=backwards)


def _by_text(column: int) -> Callable[[BoardRow], Any]:
    return lambda row: (not row.cells[column], row.cells[column].casefold(), row.order)


_RANK: Final = {"running": 0, "failed": 1, "open": 2, "none": 3, "done": 4}
_SORTED_BY: Final[Mapping[int | None, Callable[[BoardRow], Any]]] = {
    **{column: _by_text(column) for column in (NAME, CATEGORY, DESCRIPTION, NOTES)},
    STATUS: lambda row: (_RANK.get(row.state, 2), row.cells[STATUS], row.order),
    META: lambda row: (row.cells[META] != "Yes", -row.known[0], row.order),
    EXPORTED: lambda row: (row.cells[EXPORTED] != "Yes", row.state != "failed", row.order),
    UPLOADED: lambda row: (row.cells[UPLOADED] != "Yes", row.order),
}
SORT_COLUMNS: Final = (None, NAME, CATEGORY, STATUS, META, EXPORTED, UPLOADED, NOTES)


@dataclass(frozen=True)
class Columns:
    """Which columns there is room for, and how wide each is; two spaces are between them."""

    shown: tuple[int, ...]
    widths: tuple[int, ...]
    wide: bool

    def titles(self) -> list[str]:
        """The titles, each as wide as its column."""
        names = COLUMNS if self.wide else NARROW_TITLES
        return [fitted(names[column], width) for column, width in zip(self.shown, self.widths, strict=True)]

    def texts(self, row: BoardRow) -> list[str]:
        """The cells of a row, each as wide as its column."""
        return [self._fitted(row, column, width) for column, width in zip(self.shown, self.widths, strict=True)]

    def _fitted(self, row: BoardRow, column: int, width: int) -> str:
        text = _text(row, column, self.wide)
        if column == CATEGORY and _length(text) > width:
            text = text.removesuffix(" Models")  # every category of the event ends so
        return fitted(text, width)


def columns_for(rows: Sequence[BoardRow], room: int) -> Columns:
    """The columns for these rows where a line has `room` cells."""
    wide = room >= WIDE_FROM - 2
    titles = COLUMNS if wide else NARROW_TITLES
    shown = [column for column in range(8) if wide or column != DESCRIPTION]
    needs = {column: cell_len(titles[column]) for column in shown}
    for column in (set(shown) & {*MOST}) - {NOTES}:
        needs[column] = min(MOST[column], max((_length(row.cells[column]) for row in rows), default=0))
        needs[column] = max(needs[column], cell_len(titles[column]))
    needs[NOTES] = MOST[NOTES]
    needs[STATUS] = 2 + max((len(row.cells[STATUS]) for row in rows), default=11)
    needs[STATUS] = min(max(needs[STATUS], 9), 13)
    needs[META] = max(needs[META], 5)
    needs[EXPORTED], needs[UPLOADED] = max(needs[EXPORTED], 3), max(needs[UPLOADED], 2)
    return Columns(*_squeezed(shown, needs, room), wide)


def _squeezed(shown: list[int], needs: dict[int, int], room: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Notes take what is left; where they get less than they should, the others give way, then columns stay out."""
    shown, needs = list(shown), dict(needs)
    for column in GIVES_WAY:
        if column not in shown:
            continue
        excess = _sum(shown, needs) - needs[NOTES] + WISHED_FOR_NOTES - room
        if excess > 0:
            needs[column] = max(min(LEAST[column], needs[column]), needs[column] - excess)
    for column in LEFT_OUT:
        if NOTES in shown:
            needs[NOTES] = max(LEAST[NOTES], min(MOST[NOTES], room - (_sum(shown, needs) - needs[NOTES])))
        if _sum(shown, needs) > room:
            shown.remove(column)
    if _sum(shown, needs) > room:
        needs[NAME] = max(4, needs[NAME] - (_sum(shown, needs) - room))
    return tuple(shown), tuple(needs[column] for column in shown)


def _sum(shown: Sequence[int], needs: Mapping[int, int]) -> int:
    return sum(needs[column] for column in shown) + BETWEEN * (len(shown) - 1)


def _text(row: BoardRow, column: int, wide: bool) -> str:
    if column == STATUS:
        return f"{GLYPH_OF.get(row.state, GLYPHS.open)} {row.cells[STATUS]}"
    return _ticked(row, column, wide) if column in (META, EXPORTED, UPLOADED) else row.cells[column]


def _ticked(row: BoardRow, column: int, wide: bool) -> str:
    """A sign, on a wide terminal with the word behind it; of answers that lack, how many there are."""
    cell, (answered, wanted) = row.cells[column], row.known
    if cell not in ("Yes", "No"):  # somebody wrote it by hand
        return cell or GLYPHS.none
    has_failed = column == EXPORTED and row.state == "failed"
    sign = GLYPHS.done if cell == "Yes" else GLYPHS.failed if has_failed else GLYPHS.none
    counted = f"{answered}/{wanted}" if column == META and wanted else ""
    if wide:
        return f"{sign} {cell:<3}  {counted}".rstrip()
    return counted if counted and cell == "No" else sign


def _length(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def fitted(text: str, width: int) -> str:
    """The text, cut with an ellipsis or followed by spaces, exactly `width` cells wide."""
    if text.isascii() and len(text) <= width:
        return text.ljust(width)
    if _length(text) <= width:
        return set_cell_size(text, width)
    kept = set_cell_size(text[:width], max(0, width - len(GLYPHS.ellipsis))).rstrip()
    return set_cell_size(kept + GLYPHS.ellipsis, width)
