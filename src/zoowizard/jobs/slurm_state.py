"""What became of a job on a SLURM cluster, while it has no result of its own: SLURM's queue tells, then its accounting.

Nothing is called lost because SLURM does not answer. What only SLURM knows is written down as the job's result, for
SLURM forgets a job some minutes after its end.
"""

import contextlib
import json
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from zoowizard.atomic import sync_folder, write_bytes
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.folder import EVENTS, JOB, LOCK, RESULT, SUPERVISOR, Result, read_record, read_result
from zoowizard.jobs.locks import is_held
from zoowizard.jobs.slurm_says import Row, SlurmTrouble, accounted, listed
from zoowizard.jobs.slurm_words import CANCEL, ENDED, STOPPED, SUBMISSION, WAITING, WORKING, why_it_waits
from zoowizard.jobs.states import Ending

SUBMITTED_WITHIN_S: Final = 60.0
VISIBLE_WITHIN_S: Final = 90.0
"""What a computer of the cluster wrote can take a minute to be seen on another one, on a network file system."""
NOT_SUBMITTED: Final = "it was never submitted to SLURM; try again"
KILLED: Final = (
    "it was killed on the cluster before it could say why, most often because it used more memory than it was given"
)
CANCELLED: Final = "it was cancelled"


class Submission(BaseModel):
    """How SLURM knows a job: by `name`, and by `index` where it is one of several; `id` as soon as it is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^zoowizard-[0-9a-f]{32}$")]
    index: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    submitted: AwareDatetime
    id: Annotated[str, Field(pattern=r"^\d{1,20}(_\d{1,7})?$")] | None = None


@dataclass(frozen=True)
class Told:
    """What is known of a job now: its state, the reason for it in one sentence, and when it ended, where it has."""

    state: str
    reason: str = ""
    ended: datetime | None = None


def read_submission(folder: Path) -> Submission | None:
    """Under which name the job was submitted; None where it was not yet. Raises ZoowizardError where that is wrong."""
    return read_record(folder / SUBMISSION, Submission)


def store_id(folder: Path, submission: Submission, number: str) -> None:
    """Keep SLURM's number of the job; its name is enough to find it, so a full disk does no harm."""
    with contextlib.suppress(ZoowizardError):
        write_bytes(folder / SUBMISSION, _json(submission.model_copy(update={"id": number})), 0o600)


def told(folder: Path) -> Told | Result:
    """What is known of a job that has no result: a Result where it has ended, which is now written down.

    Asks SLURM, which can take ten seconds. Raises ZoowizardError where a record in the folder is wrong.
    """
    submission = read_submission(folder)
    if submission is None:
        never = Told("died", NOT_SUBMITTED)
        return Told("starting") if _age(folder / JOB) < SUBMITTED_WITHIN_S else never
    try:
        row = find(folder, submission)
    except SlurmTrouble as problem:
        return Told("unknown", str(problem))
    if row is None:
        return _unknown_to_slurm(folder, submission)
    if row.state in WAITING:
        return Told("queued", why_it_waits(row.reason))
    if row.state in WORKING:
        return Told("running", "the cluster lets it pause" if row.state in ("SUSPENDED", "STOPPED") else "")
    if row.state not in ENDED:
        return Told("unknown", f"SLURM says that its state is {row.state or 'empty'}")
    if row.state == "COMPLETED" and row.ended and abs((_now() - row.ended).total_seconds()) < VISIBLE_WITHIN_S:
        return Told("unknown", "it has ended; its result is not visible yet")
    status, reason = ENDED[row.state]
    if status == "died" and is_held(folder / LOCK):
        return Told("running", "SLURM takes it for ended, but it still works")
    if status == "cancelled" and (folder / CANCEL).exists():
        reason = CANCELLED
    if row.state == "FAILED" and (folder / SUPERVISOR).exists():
        reason = KILLED
    elif row.state == "FAILED":
        reason = "it could not start on the cluster: its computers must see the workspace, and zoowizard's Python"
    return write_down(folder, status, reason, row.ended)


def find(folder: Path, submission: Submission, fresh: bool = False) -> Row | None:
    """The job in SLURM's queue, else in its accounting; None where it knows nothing of it. Keeps its number.

    Raises SlurmTrouble where SLURM does not answer.
    """
    row = _own(listed(fresh), submission)
    is_new = abs((_now() - submission.submitted).total_seconds()) < SUBMITTED_WITHIN_S
    if row is None and is_new and not fresh:  # what is remembered can be from before it was submitted
        row = _own(listed(fresh=True), submission)
    if row is None:
        row = _own(accounted(submission.name, submission.submitted), submission)
        if row is not None and row.state not in ENDED:  # accounts that were never closed
            row = None
    if row is not None and submission.id is None:
        store_id(folder, submission, row.id)
    return row


def _own(rows: tuple[Row, ...], submission: Submission) -> Row | None:
    return next((row for row in rows if (row.name, row.index) == (submission.name, submission.index)), None)


def _unknown_to_slurm(folder: Path, submission: Submission) -> Told | Result:
    """SLURM answers, and does not know the job: it never did, or has forgotten it."""
    since_submission = abs((_now() - submission.submitted).total_seconds())  # a clock that was put back, too
    began = (folder / SUPERVISOR).exists()
    if submission.id is None and not began and since_submission < SUBMITTED_WITHIN_S:
        return Told("starting", "it is being submitted")
    if (folder / CANCEL).exists() and not began:  # of an array, SLURM forgets at once what is cancelled before it began
        return write_down(folder, "cancelled", CANCELLED)
    if submission.id is None and not began:
        return Told("died", NOT_SUBMITTED)
    if is_held(folder / LOCK):
        return Told("running", "SLURM does not know it any more, but it still works")
    if (word := read_result(folder / STOPPED)) is not None:
        return write_down(folder, word.status, word.reason, word.ended)
    if min(since_submission, _age(folder / EVENTS), _age(folder / SUPERVISOR)) < VISIBLE_WITHIN_S:
        return Told("unknown", "SLURM does not know it any more; its result is not visible yet")
    if not began:
        return Told("lost", "it never began, and SLURM knows nothing of it any more: somebody cancelled it there")
    return Told("lost", "SLURM knows nothing of it any more, and it left no result")


def write_down(folder: Path, status: Ending, reason: str, ended: datetime | None = None) -> Told | Result:
    """Make the job's result of what is known, unless it has one by now; gives the one that holds."""
    ended = ended or _now()
    begun = _now().timestamp() - _age(folder / SUPERVISOR) if (folder / SUPERVISOR).exists() else ended.timestamp()
    word = Result(status=status, reason=reason, seconds=max(0.0, round(ended.timestamp() - begun, 3)), ended=ended)
    try:
        if not _save_once(folder / RESULT, word):  # never in the place of the job's own word
            return read_result(folder / RESULT) or Told("unknown", "it has ended; its result is not visible yet")
    except ZoowizardError:
        pass  # it cannot be kept, as on a disk that is full or read-only; SLURM is asked again
    return word


def claim_submission(folder: Path, submission: Submission) -> bool:
    """Note on the disk that the job is being submitted; False where somebody else did. Raises ZoowizardError."""
    return _save_once(folder / SUBMISSION, submission)


def _save_once(path: Path, record: BaseModel) -> bool:
    """Save the record whole and synced, unless the file is there. Raises ZoowizardError where it cannot be saved."""
    if path.exists():
        return False
    beside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        write_bytes(beside, _json(record), 0o600)
        os.link(beside, path)
    except FileExistsError:
        return False
    except OSError as problem:
        raise ZoowizardError(f"could not save {path}: {os.strerror(problem.errno or 0).lower()}") from problem
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def _json(record: BaseModel) -> bytes:
    return json.dumps(record.model_dump(mode="json"), indent=2).encode()


def _age(path: Path) -> float:
    """Seconds since the file was written, infinite where there is none; a clock that was put back counts as forward."""
    try:
        return abs(time.time() - path.stat().st_mtime)
    except OSError:
        return float("inf")


def _now() -> datetime:
    return datetime.now(UTC)
