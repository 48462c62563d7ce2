"""What the wizard does about the jobs of its model, and what it knows of them afterwards."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from zoowizard.history import History
from zoowizard.jobs.engines import engine_of
from zoowizard.launch import retry, start_build, start_zoo_test
from zoowizard.screens.situation import BuildAsked, CancelAsked, Situation, ZooTestAsked

JobAsked = BuildAsked | ZooTestAsked | CancelAsked


def with_history(situation: Situation, found: History) -> Situation:
    """The situation with what became of the model's jobs and uploads."""
    return replace(
        situation,
        job=found.newest,
        job_from=found.newest_from,
        built=found.built,
        built_from=found.built_from,
        receipts=found.receipts,
        uploads=found.uploads,
        zoo=found.zoo,
    )


def asked_for(event: JobAsked, situation: Situation) -> Callable[[], object] | None:
    """What is to be done, in a thread, for it waits for the disk and raises ZoowizardError; None where it cannot be."""
    workspace, draft, job = situation.workspace, situation.draft, situation.job
    runs = job is not None and not job.over
    match event:
        case BuildAsked(resume) if draft is not None and not situation.read_only and not runs:
            return partial(start_build, workspace, draft) if resume is None else partial(retry, workspace, resume)
        case ZooTestAsked() if situation.built is not None and not situation.read_only:
            return partial(start_zoo_test, workspace, situation.built)
        case CancelAsked(folder):
            cancelled = folder or (job.folder if job is not None and runs else None)
            return None if cancelled is None else partial(_cancel, cancelled)
    return None


def _cancel(folder: Path) -> None:
    engine_of(folder).cancel(folder)
