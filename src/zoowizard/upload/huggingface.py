"""Hugging Face as a place that a package can go to: what shall go there, and how far it is, on disk. Light.

ROOT/models/<id>/uploads/huggingface-<hub>/huggingface.json    the record, replaced before and after each step
                                           lock                held by whoever sends
ROOT/uploads/<package>-huggingface-<hub>/                      the same for a package that belongs to no model

A screen or command asks `place_of("OWNER/NAME")`, then `queue(folder_of(workspace, place, model, sha256), place, ...)`,
and `launch.start_upload(workspace, folder, handed_secret(), TARGET)` starts the job: its kind is `upload`, its `work`
{"folder": ..., "target": TARGET}, its steps are STEPS, of which `send` tells progress as an upload to the zoo does. It
can be cancelled and started again at any time. What it left is `read(folder)`, or one of `all_hub_uploads(workspace)`:
`phase`, `sent`, `total`, `public`, `page`, `problem`, `waits`, `pending`. A receipt of the kind KIND is kept with the
model, confirmed once the hub told the right hash for every file.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from zoowizard.atomic import write_bytes
from zoowizard.drafts.workspace import Workspace
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.package import Package, Tests, require_passed, require_unchanged
from zoowizard.upload.receipts import Receipt, keep
from zoowizard.upload.servers import base_of
from zoowizard.upload.state import FOLDER, locked, model_of, read_record, workspace_of

KIND: Final = "huggingface"
TARGET: Final = "huggingface"
"""What `work["target"]` of a job says that goes there."""
FILE: Final = "huggingface.json"
HUB: Final = "https://huggingface.co"
VARIABLE: Final = "HF_ENDPOINT"
SECRETS: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
STEPS: Final[Mapping[str, str]] = {
    "check": "check the package",
    "card": "write the model card",
    "repository": "make a repository at Hugging Face",
    "send": "send the files",
    "verify": "let Hugging Face confirm every file",
}
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")

Phase = Literal["queued", "sending", "verified"]
"""`queued`: nothing of this package was sent. `sending`: files are under way. `verified`: the hub has every byte."""


@dataclass(frozen=True)
class Place:
    """A repository (`OWNER/NAME`) of the hub at the address `base`."""

    base: str
    repository: str

    @property
    def host(self) -> str:
        """The hub's name and port, for people."""
        return urlsplit(self.base).netloc

    @property
    def page(self) -> str:
        """Where the repository is to be seen."""
        return f"{self.base}/{self.repository}"

    @property
    def mark(self) -> str:
        """A short name for folders, another one for each repository."""
        return f"{KIND}-{hashlib.sha256(f'{self.base} {self.repository}'.encode()).hexdigest()[:12]}"


class HubFile(BaseModel):
    """A file as it shall lie in the repository: `sha256` for the large ones there, `sha1` (as git has it) for others.

    `done` where the hub has its bytes; a file is part of the repository only after the commit at the end.
    """

    model_config = ConfigDict(extra="forbid")

    path: str
    size: int
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    sha1: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    done: bool = False


class HubUpload(BaseModel):
    """One package on its way to one repository.

    `public` is what was asked for. `sha256` and `size` are the package's; `tests` is what its report said. `ours` says
    that the repository was empty when the first package was sent there, so that all in it is of this upload. `gone` are
    files of an earlier package that must go. `commit` is the last one that was confirmed. `problem` is why it stopped,
    and then `waits` what it waits for, where that is a network or a login.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    base: str
    repository: str
    public: bool = False
    title: str
    package: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: int
    tests: Tests = "passed"
    phase: Phase = "queued"
    ours: bool = False
    files: list[HubFile] = []
    gone: list[str] = []
    commit: str = ""
    problem: str = ""
    waits: Literal["", "network", "login"] = ""
    at: AwareDatetime

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place(self.base, self.repository)

    @property
    def page(self) -> str:
        """Where the repository is to be seen; empty where there is none yet."""
        return self.place.page if self.ours else ""

    @property
    def pending(self) -> bool:
        """Whether there is still something to be sent."""
        return self.phase != "verified"

    @property
    def sent(self) -> int:
        """The bytes that the hub has."""
        return sum(file.size for file in self.files if file.done)

    @property
    def total(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files) or self.size


def hub_of(environment: Mapping[str, str] = os.environ) -> str:
    """The address of the hub of `HF_ENDPOINT`, or else Hugging Face itself. Raises WrongUse where that is none."""
    return base_of(environment.get(VARIABLE, "").strip() or HUB, VARIABLE, HUB)


def place_of(repository: str, environment: Mapping[str, str] = os.environ) -> Place:
    """The repository that is meant by `OWNER/NAME`, at the hub of `HF_ENDPOINT` or else Hugging Face itself.

    Raises WrongUse for what the hub would not take as a name.
    """
    base = hub_of(environment)
    owner, slash, name = repository.strip().partition("/")
    for part in (owner, name) if slash else ("",):
        if not _NAME.fullmatch(part) or "--" in part or ".." in part or part.endswith(".git"):
            raise WrongUse(
                f"{repository.strip()[:200]!r} is no repository of Hugging Face; write OWNER/NAME, of letters, digits, "
                "`-`, `_` and `.`, such as ada/nuclei-unet"
            )
    return Place(base, f"{owner}/{name}")


def folder_of(workspace: Workspace, place: Place, draft_id: str | None, sha256: str) -> Path:
    """Where the upload of a model (or of a package that belongs to none) to a repository is recorded."""
    if draft_id is not None:
        return workspace.folder(draft_id) / FOLDER / place.mark
    return workspace.root / FOLDER / f"{sha256[:16]}-{place.mark}"


def queue(folder: Path, place: Place, package: Package, public: bool = False, insist: bool = False) -> HubUpload:
    """Write down that this package shall go to this repository; nothing is sent. What an earlier one left is used.

    `insist`: although its tests did not pass, which the model card then says. Raises ZoowizardError where the package
    did not pass its tests, is not there, or is another one than was tested.
    """
    require_passed(package, insist, "the model card then says so")
    require_unchanged(package)
    size = package.archive.stat().st_size
    with locked(folder):
        upload = read(folder) or HubUpload(
            base=place.base,
            repository=place.repository,
            title=package.title,
            package=str(package.archive),
            sha256=package.sha256,
            size=size,
            at=datetime.now(UTC),
        )
        if upload.place != place:
            raise ZoowizardError(
                f"{folder / FILE}: base and repository say {upload.place.page}, where {place.page} was meant; mend it "
                "or move it away"
            )
        if (upload.sha256, upload.tests) != (package.sha256, package.tests):
            upload.sha256, upload.size, upload.tests, upload.phase = package.sha256, size, package.tests, "queued"
        upload.package, upload.title, upload.public = str(package.archive), package.title, public
        upload.problem = ""
        write(folder, upload)
    return upload


def read(folder: Path) -> HubUpload | None:
    """The record in `folder`; None where there is none.

    Raises ZoowizardError where it is damaged, or names a hub that must not be told a token.
    """
    path = folder / FILE
    upload = read_record(path, HubUpload)
    if upload is not None:
        upload.base = base_of(upload.base, f"{path}: base", HUB)
    return upload


def require_meant(folder: Path, upload: HubUpload, environment: Mapping[str, str] = os.environ) -> None:
    """Raise ZoowizardError unless what is recorded in `folder` goes to the hub at which the person is logged in.

    A login of Hugging Face says not for which hub it is, and a record may be somebody else's work.
    """
    if upload.base != (meant := hub_of(environment)):
        raise ZoowizardError(
            f"{folder / FILE}: base is {upload.base}, and your login is for {meant}; only if you trust that other hub "
            f"with it, set {VARIABLE} to its address, and try again"
        )


def write(folder: Path, upload: HubUpload) -> None:
    """Keep the record. Raises ZoowizardError where it cannot be saved."""
    upload.at = datetime.now(UTC)
    write_bytes(folder / FILE, upload.model_dump_json(indent=1).encode(), mode=0o600)


def all_hub_uploads(workspace: Workspace) -> tuple[list[tuple[Path, HubUpload]], list[str]]:
    """Every upload to a hub with its folder, the newest first; and a sentence for each record that is damaged."""
    found, problems = [], []
    patterns = (f"models/*/{FOLDER}/*/{FILE}", f"{FOLDER}/*/{FILE}")
    for path in (path for pattern in patterns for path in sorted(workspace.root.glob(pattern))):
        try:
            upload = read(path.parent)
        except ZoowizardError as problem:
            problems.append(str(problem))
            continue
        if upload is not None:
            found.append((path.parent, upload))
    return sorted(found, key=lambda one: one[1].at, reverse=True), problems


def handed_secret(environment: Mapping[str, str] = os.environ) -> str:
    """The login that a job would not see, because it stands in a variable; else it finds that of `hf auth login`."""
    for name in SECRETS:
        if given := environment.get(name, "").strip():
            return given
    try:
        return Path(environment["HF_TOKEN_PATH"]).expanduser().read_text().strip()
    except (KeyError, OSError, ValueError):
        return ""


def keep_receipt(folder: Path, upload: HubUpload) -> Receipt:
    """What became of the package so far; kept for the board where the package is of a model."""
    whole = not upload.pending
    receipt = Receipt(
        kind=KIND,
        where=upload.place.page,
        sha256=upload.sha256,
        size=upload.size,
        state="done" if whole else "begun",
        confirmed=whole,
        at=datetime.now(UTC),
    )
    if (model := model_of(folder)) is not None:
        keep(workspace_of(folder), model, receipt)
    return receipt


def outcome_of(upload: HubUpload) -> dict[str, Any]:
    """What the job tells when all is there."""
    return {
        "target": TARGET,
        "id": upload.repository,
        "page": upload.page,
        "status": "passed",
        "confirmed": not upload.pending,
        "public": upload.public,
        "commit": upload.commit,
        "package": upload.package,
        "sha256": upload.sha256,
        "size": upload.size,
    }
