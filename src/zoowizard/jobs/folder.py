"""A job is a folder. This page says which files are in it, makes it, and reads its two records.

job.json      what to do (JobSpec), written once by whoever wants the job
supervisor    process, host and boot of the supervisor, locked by it alone
lock          locked by supervisor and worker: while it is held, the job lives. Holds room for the last word
worker        the process group of the worker
events.jsonl  what happened, one event a line
priority      a whole number, where it was changed after the job was made: higher goes first
log.txt       all that was printed
outcome.json  the worker's last word (Result)
result.json   how the job ended (Result), the supervisor's last word
"""

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from zoowizard.atomic import sync_folder, write_json
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.locks import require_private
from zoowizard.jobs.states import Ending

JOB, SUPERVISOR, LOCK, WORKER = "job.json", "supervisor", "lock", "worker"
EVENTS, LOG, OUTCOME, RESULT = "events.jsonl", "log.txt", "outcome.json", "result.json"
PRIORITY = "priority"

Kind = Literal["build", "test", "predict", "probe", "upload", "selftest"]
KINDS: Final[Mapping[Kind, str]] = {
    "build": "zoowizard.packaging.build",
    "test": "zoowizard.packaging.test",
    "predict": "zoowizard.prediction.job",
    "probe": "zoowizard.packaging.probe",
    "upload": "zoowizard.upload.job",
    "selftest": "zoowizard.jobs.selftest",
}
"""Kinds of work, and the module whose `run` does it. Only names: the runner alone imports them, in its own process."""

_NAMES: Final = r"^[A-Za-z0-9_.,:+-]{0,200}$"
ID = re.compile(r"\d{8}-\d{6}-[0-9a-z]{4}")
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"


Priority = Annotated[int, Field(ge=-1000, le=1000)]


class Slurm(BaseModel):
    """What is asked of a SLURM cluster for one job; None or empty leaves it to the cluster.

    `partition`, `account` and `qos` are names, `memory_gb` is per node, `cores` and `gpus` are numbers of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: Annotated[str, Field(pattern=_NAMES)] = ""
    account: Annotated[str, Field(pattern=_NAMES)] = ""
    qos: Annotated[str, Field(pattern=_NAMES)] = ""
    memory_gb: Annotated[float, Field(gt=0, le=100_000)] | None = None
    cores: Annotated[int, Field(ge=1, le=10_000)] | None = None
    gpus: Annotated[int, Field(ge=0, le=64)] = 0


class JobSpec(BaseModel):
    """What a job shall do. `time_limit_s` is seconds of wall clock, None for no limit; `work` is the kind's own.

    `slurm` is None where it runs on this computer. Of several waiting jobs, the one with the higher `priority` goes
    first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    id: Annotated[str, Field(pattern=f"^{ID.pattern}$")]
    kind: Kind
    model: str
    created: AwareDatetime
    time_limit_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    work: dict[str, Any]
    slurm: Slurm | None = None
    priority: Priority = 0


class Result(BaseModel):
    """How a job ended: `outcome` is what its work gave back; an `exit_code` below 0 is a signal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Ending
    reason: str = ""
    exit_code: int | None = None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    ended: AwareDatetime
    outcome: dict[str, Any] | None = None


Record = TypeVar("Record", bound=BaseModel)


def create(
    parent: Path,
    kind: str,
    model: str,
    work: Mapping[str, Any],
    time_limit_s: float | None = None,
    slurm: Slurm | None = None,
    priority: int = 0,
) -> Path:
    """Make the folder of a new job in `parent` (made too where missing) and give its path; nothing is started.

    The folder appears whole or not at all. Raises ZoowizardError for a wrong kind or time limit, for `work` that is no
    JSON, and where it cannot be saved.
    """
    now = datetime.now(UTC)
    name = f"{now:%Y%m%d-%H%M%S}-{''.join(secrets.choice(_LETTERS) for _ in range(4))}"
    try:
        json.dumps(dict(work), allow_nan=False)
        spec = JobSpec.model_validate(
            {
                "id": name,
                "kind": kind,
                "model": model,
                "created": now,
                "time_limit_s": time_limit_s,
                "work": dict(work),
                "slurm": slurm,
                "priority": priority,
            }
        )
        record = spec.model_dump(mode="json")
    except ValidationError as problem:
        raise ZoowizardError(f"this job cannot be: {_in_a_sentence(problem)}") from problem
    except (TypeError, ValueError) as problem:
        raise ZoowizardError(f"this job cannot be: its work is no JSON ({problem})") from problem
    folder, beside = parent / name, parent / f".new-{secrets.token_hex(8)}"
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.mkdir(mode=0o700)
        beside.chmod(0o700)
        require_private(beside)
        write_json(beside / JOB, record)
        (beside / JOB).chmod(0o600)
        beside.rename(folder)  # fails where a job of this name is there: a folder is never replaced by a rename
    except BaseException as problem:
        with contextlib.suppress(OSError):
            shutil.rmtree(beside)
        if isinstance(problem, OSError):
            raise ZoowizardError(
                f"could not make a job in {parent}: {os.strerror(problem.errno or 0).lower()}"
            ) from problem
        raise
    sync_folder(parent)
    return folder


def read_spec(folder: Path) -> JobSpec:
    """What the job in `folder` shall do. Raises ZoowizardError, naming file and field, where that is wrong."""
    require_private(folder)
    spec = read_record(folder / JOB, JobSpec)
    if spec is None:
        raise ZoowizardError(f"there is no {JOB} in {folder}, so it is no job")
    if spec.id != folder.name:
        raise ZoowizardError(f"{folder / JOB}: id is {spec.id}, but must be the name of its folder, {folder.name}")
    return spec


def runs_before(folder: Path) -> Iterator[Path]:
    """The job in `folder`, the one that it goes on with, the one before, and so on; as far as they can be read."""
    seen: set[Path] = set()
    now: Path | None = folder
    while now is not None and now not in seen:
        seen.add(now)
        try:
            spec = read_spec(now)
        except ZoowizardError:
            return
        yield now
        before = spec.work.get("resume")
        now = Path(before) if isinstance(before, str) and before else None


def read_result(path: Path) -> Result | None:
    """The last word in the file `path`, be it `result.json`, `outcome.json` or `lock`; None where there is none.

    Raises ZoowizardError, naming file and field, where it is not as it must be.
    """
    return read_record(path, Result)


def read_record(path: Path, kind: type[Record]) -> Record | None:
    """The record in the file `path`; None where there is none, or nothing is in it yet.

    Raises ZoowizardError, naming file and field, where it is not as it must be.
    """
    try:
        text = path.read_bytes().decode()
        return kind.model_validate(json.loads(text)) if text.strip() else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise ZoowizardError(f"could not read {path}: {os.strerror(problem.errno or 0).lower()}") from problem
    except ValidationError as problem:
        raise ZoowizardError(f"{path}: {_in_a_sentence(problem)}") from problem
    except (ValueError, RecursionError) as problem:
        raise ZoowizardError(f"{path} is not readable JSON: {problem}") from problem


def _in_a_sentence(problem: ValidationError) -> str:
    first = problem.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    return f"{where} is wrong: {first['msg'][:1].lower()}{first['msg'][1:]}"
