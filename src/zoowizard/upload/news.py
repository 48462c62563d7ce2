"""What the zoo says of the uploads of a workspace: `python -m zoowizard.upload.news WORKSPACE`.

Asks once for every upload in the zoo, keeps in its record what was answered (see `upload.state`), and prints a JSON
line for each:

    {"model": the model's id or null, "status": …, "problem": a sentence or null}

A process of its own, for a network may keep it waiting; but never longer than some seconds for each server.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from zoowizard.drafts.workspace import Workspace
from zoowizard.errors import ZoowizardError
from zoowizard.terminal import printable
from zoowizard.upload import remote_test
from zoowizard.upload.answers import NotThere
from zoowizard.upload.hypha import Draft, Hypha
from zoowizard.upload.manifest import COMMENTS, GONE, PUBLISHED, TO_BE_DELETED, is_ours, status_of
from zoowizard.upload.servers import Server
from zoowizard.upload.state import WHOLE, Said, Tested, Upload, all_uploads, locked, model_of, read, write
from zoowizard.upload.tokens import token_for_recorded
from zoowizard.upload.values import likely, mapping, mappings
from zoowizard.upload.web import Passing, Patience
from zoowizard.upload.zoo import keep_receipt

ONCE: Final = Patience(tries_for_s=3.0)
ANSWERS_WITHIN_S: Final = 8.0
MOST_COMMENTS_BYTES: Final = 1_000_000
MOST_SAID: Final = 200
LONGEST_SAID: Final = 5_000
_MOMENT: Final = TypeAdapter[datetime](AwareDatetime)


@dataclass(frozen=True)
class News:
    """An upload as it is recorded in `folder` now; `problem` says why the zoo could not be asked, if so."""

    folder: Path
    upload: Upload
    problem: str = ""


@dataclass(frozen=True)
class Answer:
    """What the zoo says of one upload. `test_problem`: why its own test could not be asked for, or after."""

    status: str
    zoo_version: str
    said: tuple[Said, ...]
    tested: Tested | None
    test_problem: str = ""


def news(workspace: Workspace) -> tuple[list[News], list[str]]:
    """All uploads of a workspace, with what the zoo says of them now, the newest first; and what is damaged.

    A server that does not answer is asked once, and no upload that is under way is touched. Nothing is raised.
    """
    found, damaged = all_uploads(workspace)
    with _Servers() as servers:
        return [_one(folder, upload, servers) for folder, upload in found], damaged


class _Servers(contextlib.ExitStack):
    """The servers that are asked, each with one login for all; `silent`: why some of them do not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.silent: dict[Server, str] = {}
        self._open: dict[Server, Hypha] = {}

    def at(self, server: Server) -> Hypha:
        """The connection to a server. Raises ZoowizardError where the login that was kept cannot be read."""
        if server not in self._open:
            token = token_for_recorded(server)
            secret = "" if token is None else token.secret
            self._open[server] = self.enter_context(Hypha(server, lambda: secret, ONCE, ANSWERS_WITHIN_S))
        return self._open[server]


def _one(folder: Path, upload: Upload, servers: _Servers) -> News:
    if not upload.artifact_id:
        return News(folder, upload)
    if upload.server in servers.silent:
        return News(folder, upload, servers.silent[upload.server])
    try:
        answer = ask(upload, servers.at(upload.server))
        return News(folder, keep(folder, upload, answer), answer.test_problem)
    except ZoowizardError as problem:
        if isinstance(problem, Passing):
            servers.silent[upload.server] = str(problem)
        return News(folder, upload, str(problem))


def ask(upload: Upload, hypha: Hypha) -> Answer:
    """Ask the zoo for the state of an upload and for what reviewers say; and for the zoo's own test where it is whole.

    Raises ZoowizardError where it cannot be asked.
    """
    try:
        draft = hypha.draft(upload.artifact_id)
    except NotThere:
        return Answer(GONE, upload.zoo_version, tuple(upload.said), upload.tested)
    said = tuple(_comments(hypha.small_file(draft.id, COMMENTS, MOST_COMMENTS_BYTES, draft.staged)))
    version = draft.versions[-1] if draft.versions else ""
    status, tested, problem = _status(draft, upload), upload.tested, ""
    if status not in (GONE, TO_BE_DELETED) and upload.phase in WHOLE:
        try:
            tested = remote_test.look(upload, hypha, staged=status != PUBLISHED)
        except ZoowizardError as failed:
            problem = f"the zoo's own test could not be asked for: {failed}"
    return Answer(status, version, said, tested, problem)


def _status(draft: Draft, upload: Upload) -> str:
    if not is_ours(draft.manifest, upload):
        return upload.status
    status = status_of(draft)
    return PUBLISHED if draft.published and not upload.new_version and status != TO_BE_DELETED else status


def keep(folder: Path, upload: Upload, answer: Answer) -> Upload:
    """Write down what the zoo said, unless somebody is at the upload; gives the record as it is then."""
    try:
        with locked(folder):
            now = read(folder)
            if now is None or (now.artifact_id, now.key) != (upload.artifact_id, upload.key):
                return now or upload
            now.status, now.zoo_version, now.said = answer.status, answer.zoo_version, list(answer.said)
            now.tested = answer.tested
            now.seen = datetime.now(UTC)
            write(folder, now)
            if now.status == GONE:
                keep_receipt(folder, now)
            return now
    except ZoowizardError:
        return upload


def _comments(content: bytes | None) -> Iterator[Said]:
    """What stands in the website's file of comments, each with its answers behind it.

    {"comments": [{"userName", "userId", "createdAt", "content", "replies": […]}, …]}; whoever may write the file may
    write anything, so what is none is left out.
    """
    try:
        told: Any = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return
    left = MOST_SAID
    for comment in mappings(mapping(told).get("comments")):
        for one in (comment, *mappings(comment.get("replies"))):
            text = _plain(one.get("content"))[:LONGEST_SAID]
            if text and left:
                left -= 1
                by = _plain(one.get("userName")) or _plain(one.get("userId")) or "somebody"
                yield Said(by=by[:100].replace("\n", " "), at=_moment(one.get("createdAt")), text=text)


def _plain(value: Any) -> str:
    lines = value.splitlines() if isinstance(value, str) else []
    return "\n".join(printable(line).rstrip() for line in lines).strip()


def _moment(value: Any) -> datetime | None:
    try:
        return likely(_MOMENT.validate_python(value))
    except ValidationError:
        return None


def main(arguments: Sequence[str]) -> int:
    """Ask and print; gives the exit code."""
    [root] = arguments
    for one in news(Workspace(Path(root)))[0]:
        if one.upload.artifact_id:
            told = {"model": model_of(one.folder), "status": one.upload.status, "problem": one.problem or None}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
