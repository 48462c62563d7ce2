"""A package that shall go to the zoo."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Tests = Literal["passed", "failed", "unknown"]
"""What the tests of a package said; `unknown` where it was not tested here, or was changed since."""


@dataclass(frozen=True)
class Package:
    """The zip, what people call the model, the hash that the zip had when it was tested, and what the tests said."""

    archive: Path
    title: str
    sha256: str
    tests: Tests = "passed"
