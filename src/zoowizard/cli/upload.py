"""The command `upload`: bringing packages to the zoo, to Hugging Face, or into a folder."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoowizard.cli.output import print_json, printable_lines, workspace_of
from zoowizard.errors import ExitCode, WrongUse, ZoowizardError

if TYPE_CHECKING:
    from zoowizard.drafts.store import Workspace
    from zoowizard.jobs.state import Job
    from zoowizard.upload.servers import Server

ZOO = "zoo"
HUGGINGFACE = "huggingface"


@dataclass(frozen=True)
class Queued:
    """An upload that is recorded in `folder`, where it goes, and a login that is kept nowhere else."""

    folder: Path
    target: str = ZOO
    secret: str = ""


def upload(given: argparse.Namespace) -> int:
    """Bring a package to a place, or go on with what is queued; to the zoo as a draft, and no further unless asked."""
    workspace, place = workspace_of(given), _place(given)
    if given.pending:
        return _go_on(workspace, given)
    if place == ZOO:
        return _to_the_zoo(workspace, given)
    if place == HUGGINGFACE:
        return _to_huggingface(workspace, given)
    from zoowizard.cli.upload_folder import save

    return save(workspace, given)


def _place(given: argparse.Namespace) -> str:
    """`zoo`, `huggingface` or `folder`. Raises WrongUse where what was said beside does not go with it."""
    if given.pending and (
        given.package or given.submit or given.insist or given.new_version or given.public or given.to
    ):
        raise WrongUse("upload: --pending goes on with all that are queued, as it was said then; give it alone")
    named = ZOO if given.to is None else given.to
    place = ZOO if named == ZOO else HUGGINGFACE if named.partition(":")[0] == HUGGINGFACE else "folder"
    if place == "folder" and re.match(r"\w+:", named) and not Path(named).exists():
        raise WrongUse(
            f"upload: --to {named} is no place; write zoo, huggingface:OWNER/NAME, or for a folder so called ./{named}"
        )
    only_there = {
        "--submit": (given.submit, ZOO),
        "--new-version": (given.new_version, ZOO),
        "--server": (given.server, ZOO),
    }
    for flag, (is_given, where) in {**only_there, "--public": (given.public, HUGGINGFACE)}.items():
        if is_given and place != where:
            raise WrongUse(f"upload: {flag} is only for what goes to {'the zoo' if where == ZOO else 'Hugging Face'}")
    if given.overwrite and place != "folder":
        raise WrongUse("upload: --overwrite is only for what is saved in a folder")
    return place


def _to_the_zoo(workspace: "Workspace", given: argparse.Namespace) -> int:
    from zoowizard.upload.servers import server_of
    from zoowizard.upload.tokens import to_hand_over, token_for

    server = server_of(given.server)
    folder = _queued(workspace, server, given)
    token = token_for(server)
    if token is None:
        raise ZoowizardError(_no_login(server))
    return _sent(workspace, [Queued(folder, ZOO, to_hand_over(token))], given)


def _to_huggingface(workspace: "Workspace", given: argparse.Namespace) -> int:
    from zoowizard.launch import package_to_send
    from zoowizard.upload.huggingface import folder_of, handed_secret, place_of, queue

    place = place_of(given.to.partition(":")[2])
    model, package = package_to_send(workspace, given.package, HUGGINGFACE)
    folder = folder_of(workspace, place, model, package.sha256)
    queue(folder, place, package, given.public, given.insist)
    return _sent(workspace, [Queued(folder, HUGGINGFACE, handed_secret())], given)


def _go_on(workspace: "Workspace", given: argparse.Namespace) -> int:
    """Go on with all that is queued. What waits for a login stays queued, and does not keep the others waiting."""
    from zoowizard.upload.servers import server_of
    from zoowizard.upload.tokens import to_hand_over, token_for

    server = server_of(given.server)
    to_the_zoo, elsewhere = _pending(workspace, server), _pending_at_hubs(workspace)
    if not to_the_zoo and not elsewhere:
        print("nothing is queued", file=sys.stderr)
        if given.json:
            print_json([])
        return ExitCode.DONE
    token = token_for(server) if to_the_zoo else None
    if token is not None:
        elsewhere = [*(Queued(folder, ZOO, to_hand_over(token)) for folder in to_the_zoo), *elsewhere]
    elif to_the_zoo and not elsewhere:
        raise ZoowizardError(_no_login(server))
    elif to_the_zoo:
        print(printable_lines(_no_login(server)), file=sys.stderr)
    code = _sent(workspace, elsewhere, given)
    return ExitCode.FAILED if to_the_zoo and token is None else code


def _no_login(server: "Server") -> str:
    return (
        f"you are not logged in at {server.host}, so it is queued; run `zoowizard login`, and then "
        "`zoowizard upload --pending`"
    )


def _queued(workspace: "Workspace", server: "Server", given: argparse.Namespace) -> Path:
    """Queue what was named; gives where that is recorded."""
    from zoowizard.launch import package_to_send
    from zoowizard.upload.state import folder_of
    from zoowizard.upload.zoo import queue

    model, package = package_to_send(workspace, given.package)
    folder = folder_of(workspace, server, model, package.sha256)
    queue(folder, server, package, given.insist, given.submit, given.new_version)
    return folder


def _pending(workspace: "Workspace", server: "Server") -> list[Path]:
    from zoowizard.upload.state import all_uploads

    found, problems = all_uploads(workspace)
    for problem in problems:
        print(printable_lines(f"! {problem}"), file=sys.stderr)
    return _free([(folder, one.title) for folder, one in found if one.pending and one.base == server.base])


def _pending_at_hubs(workspace: "Workspace") -> list[Queued]:
    from zoowizard.upload.huggingface import all_hub_uploads, handed_secret, hub_of

    (found, problems), base = all_hub_uploads(workspace), hub_of()
    for problem in problems:
        print(printable_lines(f"! {problem}"), file=sys.stderr)
    free = _free([(folder, one.title) for folder, one in found if one.pending and one.base == base])
    return [Queued(folder, HUGGINGFACE, handed_secret()) for folder in free]


def _free(waiting: Sequence[tuple[Path, str]]) -> list[Path]:
    """Those at which nobody works already; the others are named."""
    from zoowizard.jobs.locks import is_held
    from zoowizard.upload.state import LOCK

    free = []
    for folder, title in waiting:
        if is_held(folder / LOCK):
            print(printable_lines(f". {title}: is being uploaded already"), file=sys.stderr)
        else:
            free.append(folder)
    return free


def _sent(workspace: "Workspace", queued: Sequence[Queued], given: argparse.Namespace) -> int:
    """Start a job for each that is not under way, and show them until they have ended."""
    from zoowizard.launch import start_upload

    started = [start_upload(workspace, one.folder, one.secret, one.target) for one in queued]
    if given.detach:
        told = [{"job": folder.name, "state": "starting", "folder": str(folder)} for folder in started]
        if given.json:
            print_json(told if given.pending else told[0])
        for folder in started if not given.json else ():
            print(folder.name)
        print("it goes on without this terminal; `zoowizard jobs` tells how it is", file=sys.stderr)
        return ExitCode.DONE
    return finish_uploads(started, given.pending, given.json)


def finish_uploads(started: Sequence[Path], several: bool, as_json: bool) -> int:
    """Show jobs that upload until they have ended, then what they achieved; `several`: as a list, in JSON."""
    from zoowizard.progress import watch_all

    ended = watch_all(started)
    answers = [_answer(job) for job in ended]
    if as_json:
        print_json(answers if several else answers[0])
    for job in ended if not as_json else ():
        _print_outcome(job)
    return ExitCode.DONE if all(job.state == "passed" for job in ended) else ExitCode.FAILED


def _answer(job: "Job") -> dict[str, Any]:
    blank = {"id": None, "page": None, "confirmed": False, "submitted": False}
    outcome = {**blank, **(job.outcome or {})}
    outcome["status"] = outcome.pop("zoo_status", "uploaded") if job.state == "passed" else job.state
    return {**outcome, "model": job.model, "reason": job.reason, "job": job.id}


def _print_outcome(job: "Job") -> None:
    outcome = job.outcome or {}
    if job.state != "passed":
        print("what arrived is kept; `zoowizard upload --pending` goes on with it", file=sys.stderr)
        return
    print(printable_lines(f"{outcome['id']}: {outcome['page']}"))
    if outcome.get("target") == HUGGINGFACE:
        seen = "everybody can see it" if outcome["public"] else "it is private: its settings there say who can see it"
        print(seen, file=sys.stderr)
    elif outcome.get("submitted"):
        print("the reviewers have been asked", file=sys.stderr)
    else:
        print(
            "it is a draft, which the reviewers do not look at yet; `zoowizard upload --submit` asks them",
            file=sys.stderr,
        )
