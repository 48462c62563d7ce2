"""What became of one model so far: its builds and its receipts, read from the workspace."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoowizard.board.uploads import Standing, standings
from zoowizard.drafts.store import Workspace
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.folder import read_spec
from zoowizard.jobs.state import Job, list_jobs
from zoowizard.upload.receipts import Receipt, receipts


@dataclass(frozen=True)
class History:
    """`newest` is the newest build, `built` the newest that passed; `newest_from` and `built_from` the bare values that
    they had.

    `uploads` say how it stands with what goes, or went, to servers, the newest first. `zoo` is the newest test of what
    was built with the versions of the zoo's runner.
    """

    newest: Job | None = None
    built: Job | None = None
    built_from: Mapping[str, Any] | None = None
    receipts: tuple[Receipt, ...] = ()
    uploads: tuple[Standing, ...] = ()
    zoo: Job | None = None
    newest_from: Mapping[str, Any] | None = None


def history(workspace: Workspace, draft_id: str) -> History:
    """Read it. Raises ZoowizardError where the folder of the jobs cannot be read."""
    jobs = list_jobs(workspace.jobs(draft_id))
    builds = [job for job in jobs if job.kind not in ("test", "upload", "probe")]
    built = next((job for job in builds if job.state == "passed"), None)
    return History(
        newest=builds[0] if builds else None,
        built=built,
        built_from=None if built is None else _values(built),
        receipts=tuple(receipts(workspace, draft_id)),
        uploads=tuple(standings(workspace, draft_id, jobs)),
        zoo=None if built is None else next((job for job in jobs[: jobs.index(built)] if job.kind == "test"), None),
        newest_from=_values(builds[0]) if builds else None,
    )


def probe_of(workspace: Workspace, draft_id: str, work: Mapping[str, Any]) -> Job | None:
    """The newest job of the kind `probe` with just this work that runs or has passed; None where there is none.

    Raises ZoowizardError where the folder of the jobs cannot be read.
    """
    wanted = json.loads(json.dumps(work))
    for job in list_jobs(workspace.jobs(draft_id)):
        if job.kind == "probe" and (job.state == "passed" or not job.over):
            with contextlib.suppress(ZoowizardError):
                if read_spec(job.folder).work == wanted:
                    return job
    return None


def _values(job: Job) -> Mapping[str, Any] | None:
    try:
        values = read_spec(job.folder).work.get("values")
    except ZoowizardError:
        return None
    return values if isinstance(values, dict) else None
