"""The lines of the board: the event's rows, and the models of the workspace that belong to them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from zoowizard.board.document import folded
from zoowizard.board.rows import Row
from zoowizard.drafts.draft import EVENT_ROW, Draft

NOT_STARTED: Final = "Not Started"
KEPT_BY_HAND: Final = ("Category", "Description")


@dataclass(frozen=True)
class EventRow:
    """A row of the event's document: its texts, and the columns of those that a person wrote.

    `key` says which row it is, by its name and the number of its occurrence. `document` is the file's name. `linked` is
    the id of the draft whose state was written into it, empty where none was.
    """

    key: str
    row: Row
    by_hand: frozenset[str] = frozenset()
    document: str = ""
    linked: str = ""


@dataclass(frozen=True)
class ModelRow:
    """The row of a draft, folded from what is known of it. `linked` is the key of the event's row that it claims."""

    draft_id: str
    row: Row
    linked: str = ""


@dataclass(frozen=True)
class BoardLine:
    """A line of the board: a row of the event, or a model, or both. `row` is what is shown; `key` is its own."""

    key: str
    row: Row
    event: EventRow | None = None
    model: ModelRow | None = None

    @property
    def draft_id(self) -> str | None:
        """The draft that the line is about; None where nobody has claimed the row."""
        return None if self.model is None else self.model.draft_id


def model_row(draft: Draft, row: Row) -> ModelRow:
    """The row of a draft, with the row of the event that it claims."""
    claim_of = draft.found.get(EVENT_ROW)
    return ModelRow(draft.id, row, claim_of.value if claim_of and isinstance(claim_of.value, str) else "")


def merged(rows: Sequence[EventRow], models: Sequence[ModelRow]) -> list[BoardLine]:
    """The lines of the board: the event's rows in their order, then the models that are in none, in theirs.

    A model belongs to the row that it claims; where it claims none that is there, to the row into which its state was
    written, or else to the first row of its name that no other model has.
    """
    of_row = _belonging(rows, models)
    elsewhere = {model.draft_id for model in of_row.values()}
    lines = [
        BoardLine(row.key, _shown(row, of_row[row.key]), row, of_row[row.key])
        if row.key in of_row
        else BoardLine(row.key, row.row, row)
        for row in rows
    ]
    # A key of the event holds no tab, so that no model can be mistaken for a row.
    lines += [
        BoardLine(f"model\t{one.draft_id}", one.row, None, one) for one in models if one.draft_id not in elsewhere
    ]
    return lines


def _belonging(rows: Sequence[EventRow], models: Sequence[ModelRow]) -> dict[str, ModelRow]:
    """By the key of a row the model that it is about."""
    keys = {row.key for row in rows}
    by_id = {model.draft_id: model for model in models}
    found: dict[str, ModelRow] = {}
    for model in models:
        if model.linked in keys:
            found.setdefault(model.linked, model)
    placed = {model.draft_id for model in found.values()}
    for row in rows:
        if row.key not in found and row.linked in by_id and row.linked not in placed:
            found[row.key] = by_id[row.linked]
            placed.add(row.linked)
    free = defaultdict(list)
    for row in rows:
        if row.key not in found:
            free[folded(row.row.model_name)].append(row.key)
    for model in models:
        keys_of_name = free.get(folded(model.row.model_name))
        if keys_of_name and model.draft_id not in placed:
            found[keys_of_name.pop(0)] = model
    return found


def _shown(event: EventRow, model: ModelRow) -> Row:
    """A row of the event that a model has: what people wrote of it, and for the rest what became of the model.

    A claim that nobody has worked on yet says less than what stands in the document.
    """
    derived = {**model.row.by_column(), "Model Name": event.row.model_name}
    by_hand = {column: text for column, text in event.row.by_column().items() if column in event.by_hand}
    if model.row.status == NOT_STARTED:
        return Row(*{**derived, **by_hand}.values())
    notes = " · ".join(note for note in (by_hand.pop("Notes", ""), derived["Notes"]) if note)
    kept = {column: text for column, text in by_hand.items() if column in KEPT_BY_HAND}
    return Row(*{**derived, **kept, "Notes": notes}.values())
