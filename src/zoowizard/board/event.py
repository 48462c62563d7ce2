"""The event's document and the workspace: its rows taken in, claimed, and written back.

Of what is written back only cells that changed are touched, every other byte of the document stays as it is.
"""

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zoowizard.atomic import write_bytes
from zoowizard.board.cells import escaped, plain
from zoowizard.board.columns import COLUMNS
from zoowizard.board.document import NAME, Document, DocumentRow, document_of, folded, read_document
from zoowizard.board.lines import NOT_STARTED, BoardLine, EventRow, ModelRow, merged
from zoowizard.board.memory import Memory, StoredRow, keep, memory_file, recall
from zoowizard.board.rows import Row
from zoowizard.board.tables import Edit, cells_put, edited, rows_put
from zoowizard.drafts.draft import EVENT_ROW, Draft, Value
from zoowizard.drafts.locks import held
from zoowizard.drafts.store import Workspace, start_claim
from zoowizard.errors import ZoowizardError

MOST_ODDITIES: Final = 20
DERIVED: Final = ("Status", "Meta-data Complete", "Exported", "Uploaded")
"""What nobody ticks by hand; of the other cells only those are written that were empty, or written from here."""


@dataclass(frozen=True)
class Imported:
    """What importing a document came to: all rows, how many are new, known and gone, and what is odd, in sentences."""

    rows: tuple[EventRow, ...]
    new: int
    known: int
    gone: int
    oddities: tuple[str, ...]


@dataclass(frozen=True)
class Exported:
    """What changed in a document; nothing was written where all of it is 0."""

    cells_changed: int = 0
    rows_changed: int = 0
    rows_added: int = 0


def import_document(workspace: Workspace, path: Path) -> Imported:
    """Take the event's rows out of a Markdown file, in the place of those that were taken before. Claims stay.

    Raises WrongUse where it cannot be read or no table in it tracks models, ZoowizardError where it cannot be kept.
    """
    document = read_document(path)
    mended = []
    with held(workspace.root / "event.lock"):
        try:
            before = recall(workspace)
        except ZoowizardError as problem:
            before = Memory()
            aside = memory_file(workspace).with_name("event.json.damaged")
            with contextlib.suppress(OSError):
                memory_file(workspace).replace(aside)
            mended = [f"{problem}: that was done now, and the old file is kept as {aside.name}"]
        rows = _event_rows(document.rows, before, path.name)
        keep(workspace, before.model_copy(update={"document": path.name, "rows": [_stored(row) for row in rows]}))
    now, old = {row.key for row in rows}, {row.key: row.cells[0] for row in before.rows}
    gone = [f"`{name}` is no longer in the document" for key, name in old.items() if key not in now]
    oddities = [*mended, *document.problems, *gone]
    if len(oddities) > MOST_ODDITIES:
        oddities[MOST_ODDITIES:] = [f"and {len(oddities) - MOST_ODDITIES} more"]
    return Imported(rows, len(now - old.keys()), len(now & old.keys()), len(gone), tuple(oddities))


def event_rows(workspace: Workspace) -> tuple[tuple[EventRow, ...], list[str]]:
    """The event's rows as they were when the document was last imported, and a sentence where they cannot be read."""
    try:
        memory = recall(workspace)
    except ZoowizardError as problem:
        return (), [str(problem)]
    rows = (
        EventRow(row.key, Row(*row.cells), frozenset(row.by_hand), memory.document, memory.links.get(row.key, ""))
        for row in memory.rows
    )
    return tuple(rows), []


def claim(workspace: Workspace, row: EventRow) -> Draft:
    """The draft for a row of the event that nobody works on: a new one without a checkpoint, or the one that it has.

    Raises ZoowizardError where it cannot be saved.
    """
    said = {"name": row.row.model_name, "category": row.row.category, "description": row.row.description}
    found = {name: Value(text, row.document) for name, text in said.items() if text}
    found[EVENT_ROW] = Value(row.key, row.document)
    return start_claim(workspace, found, row.row.model_name, lambda draft: _is_of(draft, row))


def _is_of(draft: Draft, row: EventRow) -> bool:
    claim_of = draft.found.get(EVENT_ROW)
    if claim_of is not None:
        return bool(claim_of.value == row.key)
    name = draft.get("name")
    is_first = row.key == f"{folded(row.row.model_name)} #1"
    return draft.id == row.linked or (is_first and isinstance(name, str) and folded(name) == folded(row.row.model_name))


def export_document(workspace: Workspace, path: Path, lines: Sequence[BoardLine]) -> Exported:
    """Write what became of the models into a Markdown file, which need not be the one that was imported.

    The rows of models get their derived cells; models that are in no table and are begun are added to the last one.
    Raises WrongUse where the file cannot be read or no table in it tracks models, ZoowizardError where it cannot be
    saved; the file is then as it was.
    """
    models = [line.model for line in lines if line.model is not None]
    with held(workspace.root / "event.lock"):
        memory = recall(workspace)
        before = memory.model_copy(update={"wrote": deepcopy(memory.wrote), "links": dict(memory.links)})
        document = read_document(path)
        there = merged(_event_rows(document.rows, memory, path.name), models)
        edits: list[Edit] = []
        written: list[int] = []
        for row, line in zip(document.rows, there, strict=False):
            if line.model is not None and (cells := _wanted(row, line.model, memory)):
                edits += _put(document, row, cells)
                written.append(len(cells))
                _remember(row.key, line.model, cells, memory)
        added = [line.model for line in there[len(document.rows) :] if line.model and line.row.status != NOT_STARTED]
        edits += _appended(document, added)
        text = edited(document.text, edits)
        if added:
            for row, model in zip(document_of(path, text).rows[len(document.rows) :], added, strict=True):
                _remember(row.key, model, row.markdown, memory)
        if memory != before:
            keep(workspace, memory)
        if edits:
            _write(path, document.text, text)
    return Exported(sum(written), len(written), len(added))


def _event_rows(rows: Sequence[DocumentRow], memory: Memory, document: str) -> tuple[EventRow, ...]:
    """The rows of a document, told apart into what people wrote and what was written from here."""
    return tuple(
        EventRow(
            row.key,
            Row(*(row.texts.get(column, "") for column in COLUMNS)),
            frozenset(
                column for column, said in row.markdown.items() if said and not memory.is_ours(row.key, column, said)
            ),
            document,
            memory.links.get(row.key, ""),
        )
        for row in rows
    )


def _wanted(row: DocumentRow, model: ModelRow, memory: Memory) -> dict[str, str]:
    """By column what is to stand in a row, as Markdown, where that is something else than what does."""
    wanted = {}
    for column, text in model.row.by_column().items():
        stands = row.markdown.get(column)
        if stands is None or column == NAME or plain(stands).casefold() == plain(escaped(text)).casefold():
            continue
        ours = memory.is_ours(row.key, column, stands)
        begun = model.row.status != NOT_STARTED
        if ours or (begun and (column in DERIVED or not stands)):
            wanted[column] = escaped(text)
    return wanted


def _put(document: Document, row: DocumentRow, cells: Mapping[str, str]) -> list[Edit]:
    columns = row.tracking.columns
    contents = {columns[name]: markdown for name, markdown in cells.items()}
    return cells_put(document.text, row.tracking.table, row.line, contents)


def _appended(document: Document, models: Sequence[ModelRow]) -> list[Edit]:
    """The edits that add rows to the last table; what stands in columns that are not ours stays empty."""
    last = document.tables[-1]
    rows = []
    for model in models:
        said = {name: escaped(text) for name, text in model.row.by_column().items()}
        said[NAME] = said[NAME] or escaped(model.draft_id)
        contents = {column: said[name] for name, column in last.columns.items()}
        rows.append([contents.get(column, "") for column in range(len(last.table.header.cells))])
    return rows_put(document.text, last.table, rows)


def _remember(key: str, model: ModelRow, cells: Mapping[str, str], memory: Memory) -> None:
    if model.linked != key:
        memory.links[key] = model.draft_id
    for column, markdown in cells.items():
        memory.remember(key, column, markdown)


def _write(path: Path, before: str, text: str) -> None:
    """Replace the file, or the one that a link points to, and keep its permissions; not where it changed meanwhile."""
    try:
        real = Path(os.path.realpath(path))
        mode = stat.S_IMODE(real.stat().st_mode)
        is_same = real.read_bytes() == before.encode("utf-8", "surrogateescape")
    except OSError as problem:
        raise ZoowizardError(f"could not save {path}: {(problem.strerror or str(problem)).lower()}") from problem
    if not is_same:
        raise ZoowizardError(f"{path}: was changed by somebody else just now and is left as it is; export it again")
    write_bytes(real, text.encode("utf-8", "surrogateescape"), mode)


def _stored(row: EventRow) -> StoredRow:
    return StoredRow(key=row.key, cells=list(row.row.cells()), by_hand=sorted(row.by_hand))
