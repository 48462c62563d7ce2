"""What a job of the kind `probe` leaves in its folder: what a network is, what it gives after each normalisation."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.folder import read_record

PROBED: Final = "probed.json"
LONGEST_PICTURE_PX: Final = 256
FILE_STAMPS: Final = "stamps"
"""In the work of the job: for each file that an answer names its time (ns) and size (bytes), by the answer's name."""


class Told(BaseModel):
    """One finding: what it is about, how it is known, and the names of the answers by which it can be overruled.

    `certain` is false for a guess, and where nothing was found; then `evidence` says why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    label: str
    evidence: str
    certain: bool
    overruled_by: tuple[str, ...] = ()


class Candidate(BaseModel):
    """A normalisation and what the network gives after it.

    `normalisation` and `over` are the answers that it stands for (`over` is empty where that makes no difference),
    `name` says it in words. `difference` from the expected output is 0 where they are the same and 1 as far as a
    picture of one grey; None where nothing was expected. `picture` is the name of a PNG in the folder of the job;
    `lowest` and `highest` are the values of the output in it, of those that are finite; `all_finite` where all are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    normalisation: str
    over: str = ""
    name: str
    difference: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    picture: Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,80}\.png$")]
    lowest: Annotated[float, Field(allow_inf_nan=False)]
    highest: Annotated[float, Field(allow_inf_nan=False)]
    all_finite: bool = True

    @property
    def range_in_words(self) -> str:
        """Between which values the output is, or what is wrong with them."""
        if not self.all_finite:
            return "not all finite"
        if self.lowest == self.highest:
            return f"{self.lowest:.3g} everywhere"
        return f"{self.lowest:.3g} to {self.highest:.3g}"


class Probed(BaseModel):
    """All of it; the candidates best first where an output was expected, else in the order in which they are offered.

    `sentence` says how well the best one agrees, or why that cannot be told. `refused` are the normalisations, in
    words, after which the network gave no answer, with the reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: tuple[Told, ...]
    candidates: tuple[Candidate, ...]
    sentence: str
    refused: dict[str, str] = {}

    @property
    def is_ranked(self) -> bool:
        """Whether the candidates were compared with an expected output."""
        return any(one.difference is not None for one in self.candidates)

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        plain: dict[str, Any] = json.loads(self.model_dump_json())
        return plain


def read_probed(folder: Path) -> Probed:
    """What the job in `folder` has left. Raises ZoowizardError where that is not there, or not as it must be."""
    probed = read_record(folder / PROBED, Probed)
    if probed is None:
        raise ZoowizardError(f"there is no {PROBED} in {folder}; probe the network again")
    return probed
