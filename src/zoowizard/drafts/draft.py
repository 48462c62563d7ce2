"""A draft: all that is known of one model so far, every value with its origin."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

GIVEN: Final = "given"
DEFAULT: Final = "default"
CHECKPOINT: Final = "checkpoint"
"""Origins. A value read from a file beside the checkpoint has the file's name as its origin (`args.yaml`)."""
EVENT_ROW: Final = "event_row"
"""The name among what is found of the row of the event's table for which the draft was started; no question asks it."""


@dataclass(frozen=True)
class Value:
    """One thing that is known: a JSON value, and where it is from (`GIVEN`, `DEFAULT`, `CHECKPOINT` or a file name)."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Draft:
    """What is known of one model. `id` is the name of its folder in the workspace.

    `checkpoint` is None and `family` empty where no model was chosen yet: for a claimed row of the event's table.
    `found` is what files tell (and the defaults), `given` what a person answered; both are kept, so that an answer
    never erases what the file says.
    """

    id: str
    family: str
    checkpoint: Path | None
    created: str
    found: Mapping[str, Value] = field(default_factory=dict)
    given: Mapping[str, Value] = field(default_factory=dict)

    @property
    def values(self) -> Mapping[str, Value]:
        """All that is known of the model; what a person gave stands before what a file says."""
        return {name: known for name, known in {**self.found, **self.given}.items() if name != EVENT_ROW}

    def get(self, name: str, default: Any = None) -> Any:
        """The bare value of `name`, or `default` where nothing is known."""
        known = self.given.get(name) or self.found.get(name)
        return default if known is None else known.value


def with_found(draft: Draft, found: Mapping[str, Value]) -> Draft:
    """Fill in what files tell. What a person gave is never overwritten, and a default overwrites nothing."""
    told = {
        name: known
        for name, known in found.items()
        if known.origin != DEFAULT or name not in draft.found or draft.found[name].origin == DEFAULT
    }
    return replace(draft, found={**draft.found, **told})


def with_given(draft: Draft, answers: Mapping[str, Any]) -> Draft:
    """Record what a person answered; the answers are taken to be checked already. None takes an answer back."""
    given = {**draft.given, **{name: Value(answer, GIVEN) for name, answer in answers.items()}}
    return replace(draft, given={name: known for name, known in given.items() if known.value is not None})


def told_by_event(draft: Draft) -> dict[str, Value]:
    """What the event's document told of a claimed row, and which row it is; nothing where none was claimed."""
    row = draft.found.get(EVENT_ROW)
    return {} if row is None else {name: known for name, known in draft.found.items() if known.origin == row.origin}
