"""The command `uploads`: what became of what went to the zoo, and taking it back."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zoowizard.cli.output import print_json, printable_lines, workspace_of
from zoowizard.errors import ExitCode, WrongUse, ZoowizardError
from zoowizard.terminal import printable

if TYPE_CHECKING:
    from zoowizard.drafts.store import Workspace
    from zoowizard.upload.state import Said, Tested, Upload

STATES: Final = {
    "in-review": "in review",
    "in-revision": "in revision",
    "deletion-requested": "to be deleted",
    "gone": "not in the zoo any more",
}
LAST_WORDS: Final = 5
"""So many of the things that were said are shown; `--json` gives all."""


def uploads(given: argparse.Namespace) -> int:
    """List what went to the zoo, and what became of it there; or take one of them back."""
    from zoowizard.cli.uploads_hub import hub_json, hub_lines
    from zoowizard.upload.huggingface import all_hub_uploads
    from zoowizard.upload.news import news

    if given.withdraw is not None:
        return _withdraw(workspace_of(given), given)
    if given.reason is not None or given.yes:
        raise WrongUse(f"uploads: {'--reason' if given.reason is not None else '--yes'} is for --withdraw MODEL")
    found, damaged = news(workspace_of(given))
    elsewhere, harmed = all_hub_uploads(workspace_of(given))
    if given.json:
        print_json([*(_as_json(one.folder, one.upload) for one in found), *(hub_json(*one) for one in elsewhere)])
    for one in found if not given.json else ():
        print("\n".join(printable(line) for line in _lines(one.upload)))
    for _, sent in elsewhere if not given.json else ():
        print("\n".join(printable(line) for line in hub_lines(sent)))
    for problem in dict.fromkeys([*damaged, *harmed, *(one.problem for one in found if one.problem)]):
        print(printable_lines(f"! {problem}"), file=sys.stderr)
    return ExitCode.DONE


def _withdraw(workspace: "Workspace", given: argparse.Namespace) -> int:
    from zoowizard.upload.tokens import token_for_recorded
    from zoowizard.upload.web import Patience
    from zoowizard.upload.withdrawal import REASON, withdraw

    folder, upload = _meant(workspace, given.withdraw)
    token = token_for_recorded(upload.server)
    if token is None and upload.artifact_id:
        raise ZoowizardError(
            f"you are not logged in at {upload.server.host}; run `zoowizard login --server {upload.base}`"
        )
    if not given.yes and not _agreed(upload):
        print("nothing was changed", file=sys.stderr)
        return ExitCode.FAILED
    secret = "" if token is None else token.secret
    done = withdraw(folder, lambda: secret, (given.reason or "").strip() or REASON, Patience(tries_for_s=20.0))
    if given.json:
        print_json({"id": upload.artifact_id or None, "status": done.status or None, "said": done.sentence})
    else:
        print(printable_lines(done.sentence))
    return ExitCode.DONE


def _meant(workspace: "Workspace", named: str) -> "tuple[Path, Upload]":
    """The upload of the model that is named as here, or as in the zoo; of several the one that can be taken back."""
    from zoowizard.drafts.store import ids_called
    from zoowizard.upload.state import all_uploads, model_of

    found = all_uploads(workspace)[0]
    models = ids_called(workspace, named)
    meant = [
        (folder, one)
        for folder, one in found
        if model_of(folder) in models
        or named.casefold() in {one.title.casefold(), one.artifact_id, _name_there(one)} - {""}
    ]
    meant = [(folder, one) for folder, one in meant if not one.withdrawn] or meant
    if len(meant) == 1:
        return meant[0]
    if meant:
        names = ", ".join(_name_there(one) for _, one in meant)
        raise WrongUse(f"uploads: {len(meant)} uploads are called {named}; give one of {names}")
    raise WrongUse(
        f"uploads: no upload is called {named}; `zoowizard uploads` lists them, each with its name in the zoo"
    )


def _name_there(one: "Upload") -> str:
    """What it is called in the zoo; before it is called anything, the server where it shall go."""
    return one.artifact_id.rpartition("/")[2] or one.server.host


def _agreed(upload: "Upload") -> bool:
    if not sys.stdin.isatty():
        raise WrongUse("uploads: say --yes with --withdraw, since nobody can be asked here")
    what = upload.artifact_id or f"{upload.title}, which was not sent yet,"
    print(printable_lines(f"take back {what} from {upload.server.host}? y or n"), end=" ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _lines(one: "Upload") -> Iterator[str]:
    from zoowizard.upload.state import WHOLE
    from zoowizard.upload.zoo import page_of

    version = f" ({one.zoo_version})" if one.zoo_version else ""
    yield f"{one.title}  {_state_in_words(one)}{version}  {one.artifact_id or '-'}  {one.problem}".rstrip()
    if one.artifact_id:
        yield f"    {page_of(one)}"
    if one.tested is not None:
        yield f"    the zoo's own test: {_test_in_words(one.tested)}"
    elif one.seen is not None and one.phase in WHOLE and one.status not in ("published", "gone"):
        yield "    the zoo's own test: this server offers none"
    if len(one.said) > LAST_WORDS:
        yield f"    ({len(one.said) - LAST_WORDS} earlier words are on its page)"
    for said in one.said[-LAST_WORDS:]:
        yield from _words(said)


def _words(said: "Said") -> Iterator[str]:
    first, *others = said.text.splitlines() or [""]
    when = "" if said.at is None else f" on {said.at.astimezone():%d %B %Y}"
    yield f"    {said.by}{when}: {first}"
    for line in others:
        yield f"        {line}"


def _test_in_words(tested: "Tested") -> str:
    if tested.state == "asked":
        return "asked for, without an answer yet"
    words = {"passed": "passed", "failed": "failed", "lost": "no answer came"}[tested.state]
    return f"{words}: {tested.said}" if tested.said else words


def _state_in_words(one: "Upload") -> str:
    if one.withdrawn and not one.artifact_id:
        return "withdrawn"
    if one.withdrawn:
        return STATES.get(one.status, one.status)
    if one.phase in ("queued", "draft"):
        return "queued"
    if one.phase == "sending":
        return f"sent {one.sent / max(1, one.total):.0%}"
    return STATES.get(one.status, one.status) or "draft"


def _as_json(folder: Path, one: "Upload") -> dict[str, Any]:
    from zoowizard.upload.state import model_of
    from zoowizard.upload.zoo import page_of

    return {
        "model": model_of(folder),
        "place": "zoo",
        "title": one.title,
        "server": one.base,
        "id": one.artifact_id or None,
        "page": page_of(one) or None,
        "phase": one.phase,
        "status": one.status or None,
        "version": one.zoo_version or None,
        "new_version": one.new_version,
        "withdrawn": one.withdrawn,
        "pending": one.pending,
        "sent": one.sent,
        "total": one.total,
        "package": one.package,
        "sha256": one.sha256,
        "tests": one.tests,
        "zoo_test": None if one.tested is None else one.tested.model_dump(mode="json", include={"state", "said", "at"}),
        "said": [said.model_dump(mode="json") for said in one.said],
        "seen": None if one.seen is None else one.seen.isoformat(),
        "problem": one.problem or None,
        "at": one.at.isoformat(),
    }
