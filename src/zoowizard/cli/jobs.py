"""The command `jobs`."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zoowizard.cli.models import finish
from zoowizard.cli.output import print_json, workspace_of
from zoowizard.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from zoowizard.drafts.store import Workspace
    from zoowizard.jobs.state import Job


def jobs(given: argparse.Namespace) -> int:
    """List jobs, or follow, cancel, retry or show the log of one."""
    from zoowizard.workflow import all_jobs

    workspace = workspace_of(given)
    found = all_jobs(workspace)
    if given.action == "list":
        return _list(found, given.json)
    job = _one_job(found, given.id)
    match given.action:
        case "log":
            return _log(job, given.json)
        case "cancel":
            return _cancel(job, given.json)
        case "retry":
            return _retry(workspace, job, given)
    return _follow(job, given.json)


def _list(found: Sequence["Job"], as_json: bool) -> int:
    from zoowizard.terminal import printable

    if as_json:
        print_json([_job_json(job) for job in found])
    for job in found if not as_json else ():
        line = f"{job.id}  {job.state:<10} {job.kind:<6} {job.model}  {job.reason}"
        print(printable(line).rstrip())
    return ExitCode.DONE


def _log(job: "Job", as_json: bool) -> int:
    log = job.folder / "log.txt"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if as_json:
        print_json({**_job_json(job), "log": text})
    else:
        print(text, end="")
    return ExitCode.DONE


def _cancel(job: "Job", as_json: bool) -> int:
    from zoowizard.jobs.engines import engine_of
    from zoowizard.jobs.state import read_job
    from zoowizard.terminal import printable

    engine_of(job.folder).cancel(job.folder)
    job = read_job(job.folder)
    if as_json:
        print_json(_job_json(job))
    else:
        print(f"{job.id}  {job.state}  {printable(job.reason)}")
    return ExitCode.DONE


def _retry(workspace: "Workspace", job: "Job", given: argparse.Namespace) -> int:
    from zoowizard.drafts.store import editing
    from zoowizard.workflow import retry

    with editing(workspace, job.model):
        folder = retry(workspace, job)
    return finish(folder, given)


def _follow(job: "Job", as_json: bool) -> int:
    from zoowizard.progress import watch

    job = watch(job.folder)
    if as_json:
        print_json(_job_json(job))
    return ExitCode.DONE if job.state == "passed" else ExitCode.FAILED


def _one_job(jobs: Sequence["Job"], asked: str | None) -> "Job":
    """The job that is meant: its id, the beginning or the end of it, or the newest where none was named."""
    if asked is None:
        if not jobs:
            raise WrongUse("there are no jobs yet")
        return jobs[0]
    meant = [job for job in jobs if job.id.startswith(asked) or job.id.endswith(asked)]
    if len(meant) != 1:
        several = "more than one job" if meant else "no job"
        raise WrongUse(f"{several} has an id that begins or ends with `{asked}`; `zoowizard jobs` lists them")
    return meant[0]


def _job_json(job: "Job") -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "model": job.model,
        "state": job.state,
        "reason": job.reason,
        "steps": [{"name": step.name, "state": step.state, "seconds": step.seconds} for step in job.steps],
        "folder": str(job.folder),
    }
