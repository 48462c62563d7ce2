"""A package that shall go somewhere, and what is asked of it before."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.contents import sha256_of

Tests = Literal["passed", "failed", "unknown"]
"""What the tests of a package said; `unknown` where it was not tested here, or was changed since."""


@dataclass(frozen=True)
class Package:
    """The zip, what people call the model, the hash that the zip had when it was tested, and what the tests said.

    `report` is what they left (`.json`; the `.md` lies beside it), None where that is not known here.
    """

    archive: Path
    title: str
    sha256: str
    tests: Tests = "passed"
    report: Path | None = None


def require_passed(package: Package, insist: bool, then: str) -> None:
    """Raise WrongUse where the package did not pass its tests, unless somebody insists; `then` says what that does."""
    if package.tests != "passed" and not insist:
        said = {"failed": "did not pass its tests", "unknown": "was not tested here, or was changed since"}
        raise WrongUse(
            f"{package.archive}: the package {said[package.tests]}; build it again with `zoowizard build`, or insist "
            f"with --insist: {then}"
        )


def require_unchanged(package: Package) -> None:
    """Raise ZoowizardError where the package is not there, or not the one that was tested."""
    if sha256_of(package.archive) != package.sha256:
        raise ZoowizardError(f"{package.archive} was changed since it was tested; build it again")
