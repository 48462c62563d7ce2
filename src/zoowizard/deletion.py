"""Deleting a model: it leaves the board, and lies in the trash of the workspace until housekeeping removes it.

ROOT/.trash/<id>-<time>/    the folder of the model as it was; moved back to ROOT/models/<id>, the model is there again
"""

from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from zoowizard.atomic import sync_folder
from zoowizard.board.uploads import standings
from zoowizard.drafts.locks import MODELS_LOCK, held
from zoowizard.drafts.store import Workspace
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.jobs.folder import read_spec
from zoowizard.jobs.state import Job, list_jobs


def delete_model(workspace: Workspace, draft_id: str) -> Path:
    """Move the folder of a model, with its answers, jobs and packages, into the trash; gives where it lies there.

    The checkpoint stays, and so does what was uploaded. A draft that cannot be read can be deleted, too. Raises
    WrongUse where there is no such model, DraftBusy where somebody edits it, and ZoowizardError where a job of it is
    at work or waits, an upload is not finished, or it cannot be moved.
    """
    folder = workspace.folder(draft_id)
    if not folder.is_dir():
        raise WrongUse(f"there is no model `{draft_id}` in {workspace.root}; `zoowizard board` lists them")
    with held(workspace.root / MODELS_LOCK), held(folder / "draft.lock", wait=False):
        _require_idle(workspace, draft_id)
        now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        names = chain([f"{draft_id}-{now}"], (f"{draft_id}-{now}-{number}" for number in count(2)))
        try:
            workspace.trash.mkdir(mode=0o700, exist_ok=True)
            place = next(place for name in names if not (place := workspace.trash / name).exists())
            folder.rename(place)
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise ZoowizardError(
                f"{draft_id}: could not be moved to {workspace.trash} ({reason}); nothing was deleted"
            ) from problem
    for changed in (workspace.trash, folder.parent):
        sync_folder(changed)
    return place


def _require_idle(workspace: Workspace, draft_id: str) -> None:
    jobs = list_jobs(workspace.jobs(draft_id))
    used = [job for job in list_jobs(workspace.root / "jobs") if not job.over and _uses(job, workspace, draft_id)]
    for job in [*(job for job in jobs if not job.over), *used]:
        does = "waits for its turn" if job.state == "queued" else "is at work"
        raise ZoowizardError(
            f"{draft_id}: a job with it {does} ({job.kind}); wait for its end, or end it with `zoowizard jobs cancel "
            f"{job.id}`, and delete the model then"
        )
    for standing in standings(workspace, draft_id, jobs):
        if standing.record is None or not standing.record.pending:
            continue
        place, back = "Hugging Face", f"give it up by removing {standing.folder}"
        if standing.zoo is not None:
            place, back = "the zoo", f"take it back with `zoowizard uploads --withdraw {draft_id}`"
        raise ZoowizardError(
            f"{draft_id}: its upload to {place} is not finished; finish it with `zoowizard upload --pending`, or "
            f"{back}, and delete the model then"
        )


def _uses(job: Job, workspace: Workspace, draft_id: str) -> bool:
    """Whether a job that belongs to no model works with a file of this one, such as its package."""
    inside = f"{workspace.folder(draft_id)}/"
    return any(isinstance(value, str) and value.startswith(inside) for value in read_spec(job.folder).work.values())
