"""What a family is: how a kind of checkpoint is recognised, what it tells, and what must still be asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

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
    """One kind of checkpoint. A module in `families/` that has these three names is a family."""

    NAME: str
    FIELDS: Sequence[Field]

    def recognise(self, path: Path) -> Recognition | None:
        """Look at one file or run folder, without torch and without unpickling; None where it is not of this family."""
        ...
