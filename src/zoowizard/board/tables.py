"""The tables of a Markdown document, each cell with the place where it stands, so that it alone can be replaced.

As GitHub reads them: https://github.github.com/gfm/#tables-extension-
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from zoowizard.board.blocks import HEADING_OR_LINE, Block, blocks
from zoowizard.board.markdown import width_of

PIPE: Final = re.compile(r"(?<!\\)\|")
"""A backslash before it makes a pipe part of the cell, in code spans too, and however many backslashes there are."""
ITEM: Final = re.compile(r"(?:[-+*]|[0-9]{1,9}[.)])(?:[ \t]|$)")
"""An item of a list that is empty or begins with code; what stands in all others begins after their marks."""
RULER: Final = re.compile(r"[ \t]*:?-+:?[ \t]*")


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a cell stands in the text, with the spaces around it, but without the pipes."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table. `opened` and `closed` say whether a pipe stands before the first, after the last cell."""

    block: Block
    cells: tuple[Cell, ...]
    opened: bool
    closed: bool


@dataclass(frozen=True)
class Table:
    """`aligned_right` says it of each column. `rows` may have fewer or more cells than there are columns."""

    header: Line
    ruler: Line
    rows: tuple[Line, ...]
    aligned_right: tuple[bool, ...]


@dataclass(frozen=True)
class Edit:
    """Put `text` in the place of what stands from `start` to `end`."""

    start: int
    end: int
    text: str


def tables(text: str) -> list[Table]:
    """The tables of a document in their order."""
    lines = list(blocks(text))
    found: list[Table] = []
    at = 0
    while at < len(lines):
        table = _table_at(text, lines, at)
        if table is None:
            at += 1
        else:
            found.append(table)
            at += 2 + len(table.rows)
    return found


def content(text: str, cell: Cell) -> str:
    """What stands in a cell, as Markdown, without the spaces around it."""
    return text[cell.start : cell.end].strip(" \t")


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits made; they must not overlap."""
    parts: list[str] = []
    done = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        parts += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*parts, text[done:]])


def cells_put(text: str, table: Table, row: Line, contents: Mapping[int, str]) -> list[Edit]:
    """The edits after which the columns of a row hold these contents; each must be the Markdown of one cell.

    A cell keeps its width where its content fits. Cells that the row lacks are added at its end.
    """
    edits = []
    for column, cell in enumerate(row.cells):
        if column in contents and contents[column] != content(text, cell):
            old, new = text[cell.start : cell.end], contents[column]
            fitted = _fitted(old, new, table.aligned_right[column])
            if column == len(row.cells) - 1 and not row.closed:
                fitted = fitted.rstrip(" \t")
            edits.append(Edit(cell.start, cell.end, fitted if column or row.opened else _unmistakable(fitted)))
    there = len(row.cells)
    if lacking := [column for column, said in contents.items() if column >= there and said]:
        added = [_new_cell(text, table, column, contents.get(column, "")) for column in range(there, max(lacking) + 1)]
        end = row.block.start + len(text[row.block.start : row.block.end].rstrip(" \t"))
        more = "|".join(added) + "|" if row.closed else " |" + "|".join(added).rstrip(" \t")
        edits.append(Edit(end, end, more))
    return edits


def rows_put(text: str, table: Table, rows: Sequence[Sequence[str]]) -> list[Edit]:
    """The edits after which the table ends with these rows: one content, the Markdown of a cell, for each column."""
    if not rows:
        return []
    ruler, last = table.ruler, (table.rows[-1] if table.rows else table.ruler).block
    before = text[ruler.block.begin : ruler.block.start]
    ending = text[last.end : last.after] or text[table.header.block.end : table.header.block.after]
    lines = []
    for row in rows:
        line = "|".join(_new_cell(text, table, column, said) for column, said in enumerate(row))
        line = f"|{line}" if ruler.opened else _unmistakable(line.lstrip(" \t"))
        lines.append(before + (f"{line}|" if ruler.closed else line.rstrip(" \t")))
    if last.after > last.end:
        return [Edit(last.after, last.after, "".join(line + ending for line in lines))]
    return [Edit(last.end, last.end, "".join(ending + line for line in lines))]


def _table_at(text: str, lines: Sequence[Block], at: int) -> Table | None:
    if at + 1 == len(lines) or not _continues(text, lines[at], lines[at + 1]) or _is_heading(text, lines[at]):
        return None
    header, ruler = _line(text, lines[at]), _line(text, lines[at + 1])
    alignments = [content(text, cell) for cell in ruler.cells]
    if len(header.cells) != len(ruler.cells) or not (ruler.opened or ruler.closed or len(ruler.cells) > 1):
        return None
    if not all(RULER.fullmatch(text, cell.start, cell.end) for cell in ruler.cells):
        return None
    end = at + 2
    while end < len(lines) and _continues(text, lines[end - 1], lines[end]):
        end += 1
    right = tuple(one.endswith(":") and not one.startswith(":") for one in alignments)
    return Table(header, ruler, tuple(_line(text, line) for line in lines[at + 2 : end]), right)


def _continues(text: str, before: Block, line: Block) -> bool:
    """Whether a line goes on with what the line before it is; neither may be empty or code by its indent."""
    together = (line.number, line.quotes, line.indent) == (before.number + 1, before.quotes, before.indent)
    plain = all(one.start < one.end and text[one.start] not in " \t" for one in (before, line))
    is_item = line.marked or ITEM.match(text, line.start, line.end) is not None
    return together and plain and not is_item and not _is_heading(text, line)


def _is_heading(text: str, line: Block) -> bool:
    return HEADING_OR_LINE.match(text, line.start, line.end) is not None


def _line(text: str, block: Block) -> Line:
    end = block.start + len(text[block.start : block.end].rstrip(" \t"))
    pipes = [pipe.start() for pipe in PIPE.finditer(text, block.start, end)]
    opened = bool(pipes) and pipes[0] == block.start
    closed = len(pipes) > opened and pipes[-1] == end - 1
    limits = [*([] if opened else [block.start - 1]), *pipes, *([] if closed else [end])]
    cells = tuple(Cell(left + 1, right) for left, right in pairwise(limits))
    return Line(block, cells, opened, closed)


def _new_cell(text: str, table: Table, column: int, said: str) -> str:
    """A cell as wide as that of the header, with spaces on the sides where it has some."""
    header = table.header.cells[column]
    return _fitted(text[header.start : header.end], said, table.aligned_right[column])


def _fitted(old: str, said: str, to_the_right: bool) -> str:
    """The content with spaces around it, in the place of the old cell and if possible as wide."""
    left, right = len(old) - len(old.lstrip(" \t")), len(old) - len(old.rstrip(" \t"))
    if not old.strip(" \t"):
        left, right = 1, 1
    least_left, least_right = min(left, 1), min(right, 1)
    room = width_of(old) - width_of(said)
    if to_the_right:
        right = max(least_right, min(right, room - least_left))
        left = max(least_left, room - right)
    else:
        left = max(least_left, min(left, room - least_right))
        right = max(least_right, room - left)
    if said.endswith("\\"):
        right = max(right, 1)  # else it would make the pipe after it part of the cell
    return " " * left + said + " " * right


def _unmistakable(line: str) -> str:
    """A line without a pipe before its first cell must not look like a list, a heading, code or an empty cell."""
    return line if line[:1].isalpha() else f"| {line}"
