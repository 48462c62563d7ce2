"""A draft: all that is known of one model so far, every value with its origin."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

GIVEN: Final = "given"
DEFAULT: Final = "default"
CHECKPOINT: Final = "checkpoint"
"""Origins. A value read from a file beside the checkpoint has the file's name as its origin (`args.yaml`)."""


@dataclass(frozen=True)
class Value:
    """One thing that is known: a JSON value, and where it is from (`GIVEN`, `DEFAULT`, `CHECKPOINT` or a file name)."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Draft:
    """What is known of one model. `id` is the name of its folder in the workspace.

    `found` is what files tell (and the defaults), `given` what a person answered; both are kept, so that an answer
    never erases what the file says.
    """

    id: str
    family: str
    checkpoint: Path
    created: str
    found: Mapping[str, Value] = field(default_factory=dict)
    given: Mapping[str, Value] = field(default_factory=dict)

    @property
    def values(self) -> Mapping[str, Value]:
        """Everything that is known; what a person gave stands before what a file says."""
        return {**self.found, **self.given}

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
