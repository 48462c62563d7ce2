"""What a check found."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line: `name` is what was looked at, `text` what is so, `mend` how to mend it where it is not as it should be.

    A `warning` is something that works worse than it could, a `problem` keeps the work from being done.
    """

    name: str
    state: State
    text: str
    mend: str = ""
