"""What a family is: how a kind of checkpoint is recognised, what it tells, and what must still be asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from zoowizard.drafts.draft import Value
from zoowizard.drafts.fields import Field


@dataclass(frozen=True)
class Warning:
    """Something suspicious about a checkpoint: a stable `code` for programs, a plain sentence for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Recognition:
    """What looking at one checkpoint told, without running it.

    `family` is None where no family knows it. `checkpoint` is None for a run that left only metadata behind.
    `evidence` are short plain sentences; `refused` is the sentence that says why it is unsafe or unreadable.
    """

    path: Path
    family: str | None
    checkpoint: Path | None = None
    evidence: tuple[str, ...] = ()
    values: Mapping[str, Value] = field(default_factory=dict)
    warnings: tuple[Warning, ...] = ()
    refused: str | None = None
    unsafe: bool = False


class Family(Protocol):
    """One kind of checkpoint. A module in `families/` that has these names is a family.

    `FIELDS` are its own questions; `LABELS` says what a value is called that is found and never asked, by its name.
    """

    NAME: str
    FIELDS: Sequence[Field]
    LABELS: Mapping[str, str]

    def recognise(self, path: Path) -> Recognition | None:
        """Look at one file or run folder, without torch and without unpickling; None where it is not of this family."""
        ...

    def look(self, path: Path) -> object:
        """Read the checkpoint again, before it is worked with: it may have been changed since it was recognised.

        What it gives is the family's own. Raises as `pickles.look` does, which it is for checkpoints of torch.
        """
        ...

    def asks(self, values: Mapping[str, Any]) -> Sequence[Field]:
        """Further questions that bare `values` lead to: those of a file that one of them names. One of the name of
        another question takes its place. Quick where it is called again, and it raises nothing."""
        ...

    def named_like(self, name: str) -> bool:
        """Whether a file without an ending is called as the family's own tools call theirs: then it is told of, even
        where it cannot be read."""
        ...

    def built_in(self, path: Path) -> str | None:
        """What to say where there is nothing at `path` and the framework would fetch a model of that name; or None."""
        ...


def asks_no_more(values: Mapping[str, Any]) -> Sequence[Field]:
    """For a family whose questions are always the same."""
    return ()
