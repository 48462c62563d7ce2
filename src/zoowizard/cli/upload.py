"""The commands `upload` and `uploads`: bringing packages to the zoo, and what became of them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoowizard.cli.output import print_json, printable_lines, workspace_of
from zoowizard.errors import ExitCode, WrongUse, ZoowizardError

if TYPE_CHECKING:
    from zoowizard.drafts.store import Workspace
    from zoowizard.jobs.state import Job
    from zoowizard.upload.servers import Server
    from zoowizard.upload.state import Upload
    from zoowizard.upload.tokens import Token


def upload(given: argparse.Namespace) -> int:
    """Bring a package to the zoo as a draft, or go on with it; `--submit` asks for its review, too."""
    from zoowizard.upload.servers import server_of
    from zoowizard.upload.tokens import token_for

    workspace, server = workspace_of(given), server_of(given.server)
    if given.pending and (given.package is not None or given.submit or given.insist):
        raise WrongUse("upload: --pending goes on with all that are queued, as it was said then; give it alone")
    folders = _pending(workspace, server) if given.pending else [_queued(workspace, server, given)]
    if not folders:
        print("nothing is queued", file=sys.stderr)
        if given.json:
            print_json([])
        return ExitCode.DONE
    token = token_for(server)
    if token is None:
        raise ZoowizardError(
            f"you are not logged in at {server.host}, so it is queued; run `zoowizard login`, and then "
            "`zoowizard upload --pending`"
        )
    return _sent(workspace, folders, token, given)


def uploads(given: argparse.Namespace) -> int:
    """List what went to the zoo, and what became of it there."""
    from zoowizard.terminal import printable
    from zoowizard.upload.state import all_uploads

    found, problems = all_uploads(workspace_of(given))
    silent: set[str] = set()
    lines = [(folder, _refreshed(folder, one, problems, silent)) for folder, one in found]
    if given.json:
        print_json([_as_json(folder, one) for folder, one in lines])
    for _, one in lines if not given.json else ():
        print(printable(f"{one.title}  {_state_in_words(one)}  {one.artifact_id or '-'}  {one.problem}").rstrip())
    for problem in dict.fromkeys(problems):
        print(f"! {printable(problem)}", file=sys.stderr)
    return ExitCode.DONE


def _queued(workspace: "Workspace", server: "Server", given: argparse.Namespace) -> Path:
    """Queue what was named; gives where that is recorded."""
    from zoowizard.launch import package_to_send
    from zoowizard.upload.state import folder_of
    from zoowizard.upload.zoo import queue

    model, package = package_to_send(workspace, given.package)
    folder = folder_of(workspace, server, model, package.sha256)
    queue(folder, server, package, given.insist, given.submit)
    return folder


def _pending(workspace: "Workspace", server: "Server") -> list[Path]:
    from zoowizard.jobs.locks import is_held
    from zoowizard.upload.state import LOCK, all_uploads

    found, problems = all_uploads(workspace)
    for problem in problems:
        print(printable_lines(f"! {problem}"), file=sys.stderr)
    waiting = []
    for folder, one in found:
        if not one.pending or one.base != server.base:
            continue
        if is_held(folder / LOCK):
            print(printable_lines(f". {one.title}: is being uploaded already"), file=sys.stderr)
        else:
            waiting.append(folder)
    return waiting


def _sent(workspace: "Workspace", folders: Sequence[Path], token: "Token", given: argparse.Namespace) -> int:
    """Start a job for each that is not under way, and show them until they have ended."""
    from zoowizard.launch import start_upload
    from zoowizard.progress import watch_all
    from zoowizard.upload.tokens import VARIABLE

    handed = token.secret if VARIABLE in token.source else ""
    started = [start_upload(workspace, folder, handed) for folder in folders]
    if given.detach:
        told = [{"job": folder.name, "state": "starting", "folder": str(folder)} for folder in started]
        if given.json:
            print_json(told if given.pending else told[0])
        for folder in started if not given.json else ():
            print(folder.name)
        print("it goes on without this terminal; `zoowizard jobs` tells how it is", file=sys.stderr)
        return ExitCode.DONE
    ended = watch_all(started)
    answers = [_answer(job) for job in ended]
    if given.json:
        print_json(answers if given.pending else answers[0])
    for job in ended if not given.json else ():
        _print_outcome(job)
    return ExitCode.DONE if all(job.state == "passed" for job in ended) else ExitCode.FAILED


def _answer(job: "Job") -> dict[str, Any]:
    blank = {"id": None, "page": None, "confirmed": False, "submitted": False}
    outcome = {**blank, **(job.outcome or {})}
    outcome["status"] = outcome.pop("zoo_status", None) if job.state == "passed" else job.state
    return {**outcome, "model": job.model, "reason": job.reason, "job": job.id}


def _print_outcome(job: "Job") -> None:
    outcome = job.outcome or {}
    if job.state != "passed":
        print("what arrived is kept; `zoowizard upload --pending` goes on with it", file=sys.stderr)
        return
    print(printable_lines(f"{outcome['id']}: {outcome['page']}"))
    if outcome.get("submitted"):
        print("the reviewers have been asked", file=sys.stderr)
    else:
        print(
            "it is a draft, which the reviewers do not look at yet; `zoowizard upload --submit` asks them",
            file=sys.stderr,
        )


def _refreshed(folder: Path, one: "Upload", problems: list[str], silent: set[str]) -> "Upload":
    """The upload with what the zoo says of it now, where it can be asked; servers that are `silent` are asked once."""
    from zoowizard.upload.hypha import Hypha
    from zoowizard.upload.state import locked
    from zoowizard.upload.tokens import token_for
    from zoowizard.upload.web import Passing, Patience
    from zoowizard.upload.zoo import refresh

    token = token_for(one.server)
    if not one.artifact_id or one.pending or one.base in silent:
        return one
    try:
        with (
            locked(folder),
            Hypha(one.server, lambda: token.secret if token else "", Patience(tries_for_s=3.0)) as hypha,
        ):
            return refresh(folder, one, hypha)
    except ZoowizardError as problem:
        problems.append(str(problem))
        if isinstance(problem, Passing):
            silent.add(one.base)
        return one


def _state_in_words(one: "Upload") -> str:
    if one.phase in ("queued", "draft"):
        return "queued"
    if one.phase == "sending":
        return f"sent {one.sent / max(1, one.total):.0%}"
    return one.status or "draft"


def _as_json(folder: Path, one: "Upload") -> dict[str, Any]:
    from zoowizard.upload.state import model_of
    from zoowizard.upload.zoo import page_of

    return {
        "model": model_of(folder),
        "title": one.title,
        "server": one.base,
        "id": one.artifact_id or None,
        "page": page_of(one) or None,
        "phase": one.phase,
        "status": one.status or None,
        "pending": one.pending,
        "sent": one.sent,
        "total": one.total,
        "package": one.package,
        "sha256": one.sha256,
        "tests": one.tests,
        "problem": one.problem or None,
        "at": one.at.isoformat(),
    }
