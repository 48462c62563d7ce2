"""Where jobs run and with what, as a person set it for a workspace: the file jobs.json there."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from zoowizard.atomic import write_json
from zoowizard.jobs.folder import Slurm, read_record

FILE: Final = "jobs.json"


class JobSettings(BaseModel):
    """`engine` is where jobs run; `slurm` is what is asked of the cluster; `at_once` is how many jobs may work at once
    on a computer without a GPU, None for as many as its memory and cores bear."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["local", "slurm"] = "local"
    slurm: Slurm = Slurm()
    at_once: Annotated[int, Field(ge=1, le=1000)] | None = None


def read_settings(root: Path) -> JobSettings:
    """The settings of the workspace `root`. Raises ZoowizardError, naming file and field, where they are wrong."""
    return read_record(root / FILE, JobSettings) or JobSettings()


def write_settings(root: Path, settings: JobSettings) -> None:
    """Keep the settings. Raises ZoowizardError where they cannot be saved."""
    write_json(root / FILE, settings.model_dump(mode="json"))
