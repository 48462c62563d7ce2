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


@dataclass(frozen=True)
class Files:
    """What a family says of its files beside what they hold. Endings and names are in small letters.

    Files with torch's own endings (`pickles.TORCH_ENDINGS`) are shown to every family, and need not be named.
    """

    endings: tuple[str, ...] = ()
    """Files that are called so are its own: it is asked first, and one that cannot be read is told of."""
    shared: tuple[str, ...] = ()
    """Others call their files so as well. Among other files these are looked into where they begin as a zip or a pickle
    does; one that cannot be read is told of where it could do harm, or `named_like` knows its name."""
    unnamed: tuple[str, ...] = ()
    """Names of files and folders that it gives to all of its models alike: they do not tell one from another."""
    one_a_training: bool = False
    """Of the checkpoints of one training, by their names, only the one to be packaged is told of."""
    made_of_models: bool = False
    """They are made of what training left behind: where that is there as well, that is meant."""


class Family(Protocol):
    """One kind of checkpoint. A module in `families/` that has these names is a family.

    `FIELDS` are its own questions; `LABELS` says what a value is called that is found and never asked, by its name.
    Beside them it may have `FILES` and `draws`; see `files_of` and `draws_labels`.
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
        """Whether a file without an ending, or with one that others use, is called as the family's own tools call
        theirs: then it is told of, even where it cannot be read."""
        ...

    def built_in(self, path: Path) -> str | None:
        """What to say where there is nothing at `path` and the framework would fetch a model of that name; or None."""
        ...


def files_of(family: Family) -> Files:
    """What a family says of its files; where it says nothing, they are called as all checkpoints of torch are."""
    told: Files = getattr(family, "FILES", Files())
    return told


def draws_labels(family: Family, values: Mapping[str, Any]) -> bool | None:
    """Whether a package of these bare values gives label images, as `draws` of the family says.

    None where it says nothing: then only the finished package tells.
    """
    draws = getattr(family, "draws", None)
    return None if draws is None else bool(draws(values))


def asks_no_more(values: Mapping[str, Any]) -> Sequence[Field]:
    """For a family whose questions are always the same."""
    return ()
