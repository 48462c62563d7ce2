"""How it stands with what goes, or went, from this computer to the zoo and elsewhere: from its record and its job."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from zoowizard.drafts.workspace import Workspace
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.folder import read_spec
from zoowizard.jobs.state import Job
from zoowizard.terminal import printable
from zoowizard.upload import huggingface, state
from zoowizard.upload.huggingface import HubUpload
from zoowizard.upload.state import FOLDER, Upload

Record = Upload | HubUpload
PENDING: Final = ("queued", "sending", "paused", "failed")
"""The states of what has not arrived yet, or not as a whole."""
STATUS: Final = {
    "queued": "Queued",
    "paused": "Paused",
    "failed": "Not Sent",
    "uploaded": "Uploaded",
    "draft": "Uploaded",
    "in-review": "In Review",
    "in-revision": "In Revision",
    "published": "Published",
    "deletion-requested": "Withdrawn",
    "gone": "Gone",
}
"""The board's word for a state; of one that is being sent it is made by `status_of`."""
FILES: Final = (state.FILE, huggingface.FILE)


@dataclass(frozen=True)
class Standing:
    """One upload: its record in `folder` (None where that is damaged), and the newest job that worked at it.

    `state` is queued (sent when there is a network, or a login), sending, paused, failed, or, once the server has every
    byte, what `zoowizard.upload.manifest` calls it: draft, in-review, in-revision, published, deletion-requested, gone;
    at Hugging Face uploaded. `percent` is how much the server has, `problem` the sentence that says why it stopped.
    """

    folder: Path
    record: Record | None
    job: Job | None
    state: str
    percent: int = 0
    problem: str = ""

    @property
    def zoo(self) -> Upload | None:
        """The record, where it is one of the zoo."""
        return self.record if isinstance(self.record, Upload) else None

    @property
    def waits(self) -> str:
        """What it waits for: `network`, `login`, or nothing."""
        return self.record.waits if self.record is not None and self.problem else ""

    @property
    def name(self) -> str:
        """What it is called there; empty where it is nothing yet."""
        if isinstance(self.record, HubUpload):
            return self.record.repository
        return "" if self.record is None else self.record.artifact_id.rpartition("/")[2]


def standings(workspace: Workspace, draft_id: str, jobs: Sequence[Job]) -> list[Standing]:
    """The uploads of a model, the newest first. `jobs` are its jobs, the newest first."""
    found = []
    uploads = workspace.folder(draft_id) / FOLDER
    for path in sorted(path for name in FILES for path in uploads.glob(f"*/{name}")):
        job = next((job for job in jobs if job.kind == "upload" and _works_at(job.folder) == path.parent.name), None)
        try:
            record: Record | None = (state if path.name == state.FILE else huggingface).read(path.parent)
        except ZoowizardError as problem:
            found.append(Standing(path.parent, None, job, "failed", 0, str(problem)))
            continue
        if record is not None and not _was_never_sent(record):
            found.append(_standing(path.parent, record, job))
    return sorted(found, key=lambda one: 0.0 if one.record is None else -one.record.at.timestamp())


def _was_never_sent(record: Record) -> bool:
    """Whether the person took it back before anything was there."""
    return isinstance(record, Upload) and record.withdrawn and not record.artifact_id


def _standing(folder: Path, record: Record, job: Job | None) -> Standing:
    percent = int(100 * record.sent / max(1, record.total))
    if job is not None and not job.over:
        step = next((step for step in job.steps if step.name == "send"), None)
        told = None if step is None else step.fraction
        return Standing(folder, record, job, "sending", percent if told is None else int(100 * told))
    if record.phase in ("verified", "submitted") or (isinstance(record, Upload) and record.withdrawn):
        word = record.status or "draft" if isinstance(record, Upload) else "uploaded"
        return Standing(folder, record, job, word, 100, record.problem)
    if job is not None and job.state == "cancelled":
        return Standing(folder, record, job, "paused", percent)
    if job is not None and job.state != "passed" and not (record.problem and record.waits):
        return Standing(folder, record, job, "failed", percent, record.problem or job.reason)
    return Standing(folder, record, job, "queued", percent, record.problem)


@lru_cache(10_000)
def _works_at(job: Path) -> str:
    """The name of the folder in which the upload of this job is recorded; empty where it cannot be told."""
    try:
        return Path(str(read_spec(job).work.get("folder", ""))).name
    except ZoowizardError:
        return ""


def doing(standing: Standing) -> str:
    """What is done at this moment, as the job calls its step; empty where nothing is."""
    job = standing.job
    return job.steps[-1].name if job is not None and not job.over and job.steps else ""


def status_of(standing: Standing) -> str:
    """The state in the one or two words that the board has room for."""
    if standing.state != "sending":
        return STATUS.get(standing.state, "Uploaded")
    whole = standing.record is not None and standing.record.phase in ("verified", "submitted")
    if doing(standing) == "verify" or whole:
        return "Verifying"
    return f"Sending {standing.percent}%" if doing(standing) == "send" and standing.percent < 100 else "Sending"


def note_of(standing: Standing) -> str:
    """What the board's notes say of it, without what steers a terminal."""
    return "\n".join(printable(line) for line in _note_of(standing).split("\n"))


def _note_of(standing: Standing) -> str:
    at_hub, name = isinstance(standing.record, HubUpload), standing.name
    place, called = "Hugging Face" if at_hub else "the zoo", f": {name}" if name else ""
    match standing.state:
        case "queued":
            until = {"network": ": there was no network", "login": ": it waits for your login"}
            return f"queued for {place}{until.get(standing.waits, '')}; u sends it"
        case "sending":
            return f"on the way to {place}{called}"
        case "paused":
            return f"the upload is paused at {standing.percent} %; u goes on with it"
        case "failed":
            return f"not sent: {standing.problem}"
        case "uploaded":
            return f"at {place}{called}"
        case "draft":
            return f"draft in the zoo{called}"
        case "in-review":
            return f"in review{called}"
        case "in-revision":
            words = standing.zoo.said[-1].text if standing.zoo is not None and standing.zoo.said else ""
            return f"in revision: {words}" if words else f"in revision{called}"
        case "published":
            return f"published{called}"
        case "deletion-requested":
            return f"its deletion was asked for{called}"
        case "gone":
            return f"not in the zoo any more{called}"
    return f"{standing.state} in the zoo{called}"
