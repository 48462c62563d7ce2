"""What is kept of the event's document in a workspace: its rows, and what was written into it from here.

ROOT/event.json; ROOT/event.lock is held while it changes.
"""

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zoowizard.atomic import write_json
from zoowizard.board.columns import COLUMNS
from zoowizard.drafts.store import Text, Workspace
from zoowizard.errors import ZoowizardError

BIGGEST: Final = 200_000_000
WRITINGS_KEPT: Final = 8
"""So many texts are remembered of a cell: an older copy of the document may hold an older one."""


class StoredRow(BaseModel):
    """A row as it was when the document was last imported: its texts, and in which columns a person wrote them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: Text
    cells: list[Text] = Field(min_length=len(COLUMNS), max_length=len(COLUMNS))
    by_hand: list[Text]


class Memory(BaseModel):
    """`wrote` holds by key and column the Markdown that was written there, the newest last; `links` the draft by key.

    `document` is the file name of the imported document, empty where there is none.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1] = 1
    document: Text = ""
    rows: list[StoredRow] = []
    wrote: dict[str, dict[str, list[Text]]] = {}
    links: dict[str, Text] = {}

    def is_ours(self, key: str, column: str, markdown: str) -> bool:
        """Whether this cell holds what was written there from here."""
        return markdown in self.wrote.get(key, {}).get(column, ())

    def remember(self, key: str, column: str, markdown: str) -> None:
        """Keep what is being written into a cell; an empty one tells nothing."""
        if markdown and not self.is_ours(key, column, markdown):
            said = self.wrote.setdefault(key, {}).setdefault(column, [])
            said[:] = [*said, markdown][-WRITINGS_KEPT:]


def memory_file(workspace: Workspace) -> Path:
    """Where it is kept."""
    return workspace.root / "event.json"


def recall(workspace: Workspace) -> Memory:
    """What is kept; empty where no document was imported. Raises ZoowizardError where it is damaged."""
    path = memory_file(workspace)
    try:
        if path.stat().st_size > BIGGEST:
            raise ZoowizardError(f"{path} is too big to be the event's table; move it away")
        return _checked(path, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Memory()
    except OSError as problem:
        raise ZoowizardError(f"{path} cannot be read ({(problem.strerror or str(problem)).lower()})") from problem
    except (ValueError, RecursionError) as problem:
        raise ZoowizardError(f"{path} is damaged; import the event's document again") from problem


def keep(workspace: Workspace, memory: Memory) -> None:
    """Save it. Raises ZoowizardError."""
    write_json(memory_file(workspace), memory.model_dump())


def _checked(path: Path, data: Any) -> Memory:
    try:
        return Memory.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        message = f"{path} is damaged ({field}: {first['msg'].lower()}); import the event's document again"
        raise ZoowizardError(message) from error
