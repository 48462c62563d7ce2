"""What a place is that a package can go to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from zoowizard.upload.receipts import Receipt

Progress = Callable[[float, str], object]
"""Is told how much is done, from 0 to 1, and what is at hand."""


@dataclass(frozen=True)
class Parcel:
    """A package: the zip, its report (`.json`; the `.md` lies beside it; None where there is none), the zip's hash."""

    archive: Path
    report: Path | None
    sha256: str


class Target(Protocol):
    """A place that a package can go to: a folder, a server."""

    @property
    def kind(self) -> str:
        """The sort of place, as it stands in receipts."""
        ...

    @property
    def label(self) -> str:
        """What would be done, for people."""
        ...

    def summary(self, parcel: Parcel) -> Sequence[str]:
        """What will go where, and what will be replaced, in plain sentences. Raises ZoowizardError where it cannot."""
        ...

    def send(self, parcel: Parcel, progress: Progress) -> Receipt:
        """Bring it there; what was brought before is not brought again. Raises ZoowizardError with one sentence."""
        ...
