"""The command `jobs`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoowizard.cli.build import finish
from zoowizard.cli.output import print_json, printable_lines, workspace_of
from zoowizard.cli.settings import asked_of, settings_of
from zoowizard.cli.upload import finish_uploads
from zoowizard.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from zoowizard.drafts.store import Workspace
    from zoowizard.jobs.state import Job


def jobs(given: argparse.Namespace) -> int:
    """List jobs, remove what nobody needs of them, or follow, cancel, retry or show the log of one."""
    from zoowizard.launch import all_jobs

    workspace = workspace_of(given)
    if given.action != "retry" and (asked := asked_of(given)):
        raise WrongUse(f"jobs {given.action}: --{next(iter(asked))} is for a job that is started, as `jobs retry` does")
    if given.action == "clean":
        return _clean(workspace, given)
    found = all_jobs(workspace)
    if given.action == "list":
        return _list(workspace, found, given.json)
    job = _one_job(found, given.id)
    if given.number is not None and given.action != "priority":
        raise WrongUse(f"jobs {given.action}: takes no number ({given.number}); that is for `zoowizard jobs priority`")
    match given.action:
        case "log":
            return _log(job, given.json)
        case "cancel":
            return _cancel(job, given.json)
        case "retry":
            return _retry(workspace, job, given)
        case "priority":
            return _priority(job, given)
    return _follow(job, given.json)


def _list(workspace: "Workspace", found: Sequence["Job"], as_json: bool) -> int:
    from zoowizard.jobs.housekeeping import disk_use, job_parents, use_in_words
    from zoowizard.terminal import printable

    if as_json:
        print_json([_job_json(job) for job in found])
    for job in found if not as_json else ():
        line = f"{job.id}  {job.state:<10} {job.kind:<7} {job.model}  {job.reason}"
        print(printable(line).rstrip())
    if found and not as_json:
        print(use_in_words(disk_use(job_parents(workspace.root), trash=workspace.trash)), file=sys.stderr)
    return ExitCode.DONE


def _clean(workspace: "Workspace", given: argparse.Namespace) -> int:
    """Remove what nobody needs of the jobs that have ended, or only say what that is."""
    from zoowizard.jobs.housekeeping import clean, disk_use, job_parents, readable
    from zoowizard.terminal import printable

    if given.id is not None:
        raise WrongUse(f"jobs clean: takes no job ({given.id}); it removes what no job needs any more")
    use = disk_use(job_parents(workspace.root), given.keep, given.all, workspace.trash)
    freed, problems = (0, []) if given.dry_run else clean(use, given.keep, given.all)
    answer = {
        "jobs": use.jobs,
        "bytes": use.held,
        "freeable": use.freeable,
        "freed": freed,
        "removals": [
            {"job": str(one.folder), "whole": one.whole, "parts": [part.name for part in one.parts]}
            for one in use.removals
        ],
        "problems": [*use.problems, *problems],
    }
    if given.json:
        print_json(answer)
    else:
        for one in use.removals:
            what = "" if one.whole else f"  only {', '.join(part.name for part in one.parts)}"
            where = "deleted" if one.folder.parent == workspace.trash else one.folder.parent.parent.name
            print(printable(f"{one.folder.name}  {where}{what}"))
        would = "would free" if given.dry_run else "freed"
        print(f"{would} {readable(use.freeable if given.dry_run else freed)} of {readable(use.held)}")
    for problem in [*use.problems, *problems]:
        print(f"! {printable(problem)}", file=sys.stderr)
    return ExitCode.FAILED if problems else ExitCode.DONE


def _log(job: "Job", as_json: bool) -> int:
    from zoowizard.jobs.locks import require_private

    require_private(job.folder)
    log = job.folder / "log.txt"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if as_json:
        print_json({**_job_json(job), "log": text})
    else:
        print(printable_lines(text.expandtabs()) if sys.stdout.isatty() else text, end="")
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


def _priority(job: "Job", given: argparse.Namespace) -> int:
    """Let a job that waits go before others of the same person."""
    from zoowizard.jobs.folder import read_spec
    from zoowizard.jobs.slots import change_priority

    if given.number is None:
        raise WrongUse("jobs priority: give the job and a number: `zoowizard jobs priority ID 10`; higher goes first")
    if read_spec(job.folder).slurm is not None:
        raise WrongUse(f"{job.id}: waits on a cluster, which orders its jobs itself (`scontrol top` or `nice`)")
    if job.state not in ("starting", "queued"):
        raise WrongUse(f"{job.id}: does not wait, it is {job.state}; a priority is for jobs that wait for their turn")
    change_priority(job.folder, given.number)
    if given.json:
        print_json({**_job_json(job), "priority": given.number})
    else:
        print(f"{job.id}  priority {given.number}")
    return ExitCode.DONE


def _retry(workspace: "Workspace", job: "Job", given: argparse.Namespace) -> int:
    from zoowizard.drafts.store import editing
    from zoowizard.launch import retry, settings_of_retry

    if job.kind == "upload":
        return finish_uploads([retry(workspace, job, token=_secret_of(job))], False, given.json)
    settings = settings_of(given, workspace.root, settings_of_retry(workspace, job))
    with editing(workspace, job.model):
        folder = retry(workspace, job, settings)
    return finish([folder], given)


def _secret_of(job: "Job") -> str:
    """The login to hand over to another upload like this job, should it be kept nowhere."""
    from zoowizard.jobs.folder import read_spec
    from zoowizard.upload.huggingface import handed_secret, read, require_meant
    from zoowizard.upload.job import server_of_upload
    from zoowizard.upload.tokens import to_hand_over, token_for_recorded

    work = read_spec(job.folder).work
    folder = Path(work["folder"])
    if work.get("target") == "huggingface":
        if (upload := read(folder)) is not None:
            require_meant(folder, upload)
        return handed_secret()
    return to_hand_over(token_for_recorded(server_of_upload(folder)))


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
