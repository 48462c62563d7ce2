"""The event's document: any Markdown file in which a table tracks models, and the rows of that table."""

import re
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from zoowizard.board.cells import plain
from zoowizard.board.columns import COLUMNS
from zoowizard.board.tables import Line, Table, content, tables
from zoowizard.errors import WrongUse

BIGGEST: Final = 10_000_000
MOST_LINES: Final = 200_000
NAME: Final = COLUMNS[0]
TITLES: Final = {
    **{re.sub(r"[^a-z0-9]", "", name.casefold()): name for name in COLUMNS},
    "metadata": "Meta-data Complete",
}


@dataclass(frozen=True)
class Tracking:
    """A table that tracks models: where each of our columns stands in it, of those that it has."""

    table: Table
    columns: Mapping[str, int]


@dataclass(frozen=True)
class DocumentRow:
    """A model's row: `markdown` is what stands in its cells, `texts` the same without markup, both by our columns.

    `key` is its name with the number of its occurrence; it stays the same where case or spaces change.
    """

    key: str
    tracking: Tracking
    line: Line
    markdown: Mapping[str, str]
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Document:
    """`text` is the file with every byte: what is no UTF-8 stands in it as surrogates. `problems` are its oddities."""

    path: Path
    text: str
    tables: tuple[Tracking, ...]
    rows: tuple[DocumentRow, ...]
    problems: tuple[str, ...]


def folded(name: str) -> str:
    """A name to be compared: upper and lower case and the number of spaces do not matter."""
    return " ".join(name.split()).casefold()


def read_document(path: Path) -> Document:
    """Read a document. Raises WrongUse where it cannot be read, or no table in it tracks models."""
    return document_of(path, _bytes(path).decode("utf-8", "surrogateescape"))


def document_of(path: Path, text: str) -> Document:
    """The document with this text. Raises WrongUse where no table in it tracks models."""
    tracking = [Tracking(table, _columns(text, table)) for table in tables(text)]
    tracking = [one for one in tracking if NAME in one.columns and len(one.columns) > 1]
    if not tracking:
        wanted = f"{NAME} and at least one of {', '.join(COLUMNS[1:])}"
        raise WrongUse(f"{path}: no table in it tracks models; one needs the columns {wanted}")
    rows: list[DocumentRow] = []
    problems: list[str] = []
    for one in tracking:
        problems += _oddities(one)
        for line in one.table.rows:
            _read_row(text, one, line, rows, problems)
    return Document(path, text, tuple(tracking), _with_keys(rows), tuple(problems))


def _columns(text: str, table: Table) -> dict[str, int]:
    """Our columns in a table, whatever their order, case, spaces and markup; of two alike the first one counts."""
    found: dict[str, int] = {}
    for column, cell in enumerate(table.header.cells):
        letters = _letters(plain(content(text, cell)))
        if letters in TITLES:
            found.setdefault(TITLES[letters], column)
    return found


def _read_row(text: str, tracking: Tracking, line: Line, rows: list[DocumentRow], problems: list[str]) -> None:
    """Add the row of one line, and what is odd about it."""
    cells = [content(text, cell) for cell in line.cells]
    number, columns = line.block.number, len(tracking.table.header.cells)
    if not any(cells):
        return
    if len(cells) != columns:
        problems.append(f"line {number}: {_counted(len(cells), 'cell')} where the table has {columns}")
    markdown = {name: cells[column] if column < len(cells) else "" for name, column in tracking.columns.items()}
    texts = {name: plain(said) for name, said in markdown.items()}
    if texts[NAME]:
        rows.append(DocumentRow("", tracking, line, markdown, texts))
    else:
        problems.append(f"line {number}: there is no {NAME}, so this row is left out")


def _oddities(tracking: Tracking) -> list[str]:
    number = tracking.table.header.block.number
    lacking = [name for name in COLUMNS if name not in tracking.columns]
    return [f"line {number}: the table has no column {', '.join(lacking)}"] if lacking else []


def _with_keys(rows: list[DocumentRow]) -> tuple[DocumentRow, ...]:
    counted: Counter[str] = Counter()
    keyed = []
    for row in rows:
        name = folded(row.texts[NAME])
        counted[name] += 1
        keyed.append(replace(row, key=f"{name} #{counted[name]}"))
    return tuple(keyed)


def _letters(title: str) -> str:
    return re.sub(r"[^a-z0-9]", "", title.casefold())


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _bytes(path: Path) -> bytes:
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise WrongUse(f"{path}: is a folder; give the Markdown file that holds the event's table")
        if not stat.S_ISREG(found.st_mode):
            raise WrongUse(f"{path}: is no regular file but a pipe, a device or a socket")
        if found.st_size > BIGGEST:
            raise WrongUse(f"{path}: has {found.st_size / 1e6:.0f} MB; a document of the event has 10 MB at most")
        raw = path.read_bytes()
    except FileNotFoundError:
        raise WrongUse(f"{path}: there is no such file; give the Markdown file that holds the event's table") from None
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise WrongUse(f"{path}: cannot be read ({reason})") from problem
    if b"\0" in raw:
        raise WrongUse(f"{path}: is no Markdown text; give a text file, saved as UTF-8")
    if (lines := max(raw.count(b"\n"), raw.count(b"\r"))) > MOST_LINES:
        raise WrongUse(f"{path}: has {lines} lines; a document of the event has {MOST_LINES} at most")
    return raw
