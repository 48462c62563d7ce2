"""How far an upload is, on disk: enough to go on with it tomorrow, and to find the draft whatever happened.

ROOT/models/<id>/uploads/<server>/upload.json        the record, replaced as a whole before and after each step
                                  bioimageio.yaml    the description as it is sent: with the id that the zoo gave
                                  lock               held by whoever sends
ROOT/uploads/<package>-<server>/                     the same for a package that belongs to no model of the workspace

The record holds addresses that let whoever knows them write files of this draft, so it is for its owner alone.
"""

import contextlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from zoowizard.atomic import write_bytes
from zoowizard.drafts.locks import DraftBusy, held
from zoowizard.drafts.workspace import Workspace
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.servers import COLLECTION, ZOO, Server, base_of
from zoowizard.upload.values import likely

T = TypeVar("T", bound=BaseModel)
FILE: Final = "upload.json"
LOCK: Final = "lock"
SCRATCH: Final = "unpacked"
FOLDER: Final = "uploads"
LOOKS: Final = 10
LOOKS_EVERY_S: Final = 0.1
LARGEST_RECORD: Final = 64 << 20

Phase = Literal["queued", "draft", "sending", "verified", "submitted"]
"""`queued`: nothing is on the server. `draft`: it has the draft, be it of the first or of an earlier package.
`sending`: files are under way. `verified`: the server has every byte. `submitted`: and the reviewers were asked."""

WHOLE: Final = ("verified", "submitted")
"""The phases of an upload of which the server has every byte."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Part(BaseModel):
    """A part of a file: its size in bytes, the MD5 of its content; `etag` once the server has confirmed that one."""

    model_config = ConfigDict(extra="forbid")

    size: int
    md5: Digest
    etag: str = ""


class File(BaseModel):
    """A file of the package. One in a single part is sent at once; others as a multipart upload, called `upload_id`.

    `urls` are where its parts are sent to, and hold until `urls_until` (seconds since 1970). `done` where the server
    has all of it.
    """

    model_config = ConfigDict(extra="forbid")

    path: str
    size: int
    parts: list[Part]
    upload_id: str = ""
    urls: dict[int, str] = {}
    urls_until: float = 0.0
    done: bool = False

    def is_same(self, other: "File") -> bool:
        """Whether it is the same content, cut the same way."""
        return self.path == other.path and [one.md5 for one in self.parts] == [one.md5 for one in other.parts]


class Said(BaseModel):
    """What somebody said of the model in the zoo: who, when (None where that is not told), and the words."""

    model_config = ConfigDict(extra="forbid")

    by: str
    at: Annotated[AwareDatetime | None, AfterValidator(likely)] = None
    text: str


class Tested(BaseModel):
    """The zoo's own test of a package, in short.

    `service` and `run` are what the zoo calls who does it and the test itself, `said` is a sentence on how it went,
    `sha256` is the package's. `lost` where the zoo knows nothing of a test that was asked for.
    """

    model_config = ConfigDict(extra="forbid")

    sha256: str
    service: str = ""
    run: str = ""
    state: Literal["asked", "passed", "failed", "lost"] = "asked"
    said: str = ""
    at: AwareDatetime


class Upload(BaseModel):
    """One package on its way to one server.

    `key` is ours: by it the draft is known again on the server. `alias` is the draft's name, chosen before it is made,
    so that it can be made again without making it twice. `sha256` and `size` are the package's; `tests` is what its
    report said, `unknown` where there is none. `gone` are files of an earlier package that must go. `asked` says
    whether the reviewers shall be asked. `status` is what the zoo called it when it was last seen (at `seen`),
    `problem` why it stopped, and then `waits` what it waits for, where that is a network or a login.

    `said` is what stands with the model in the zoo, the oldest first: the reviewers' words, and the answers to them.
    `tested` is the zoo's own test of it. `new_version` says that it goes as a new version of what is published, `after`
    which of its versions that comes (empty until that is known). `zoo_version` is the newest version that was seen
    there, empty where none is published. `withdrawn`: the person took it back, so nothing goes on by itself.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    base: str
    collection: str = COLLECTION
    title: str
    package: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: int
    tests: Literal["passed", "failed", "unknown"] = "passed"
    asked: bool = False
    phase: Phase = "queued"
    alias: str = ""
    emoji: str = ""
    artifact_id: str = ""
    files: list[File] = []
    gone: list[str] = []
    status: str = ""
    problem: str = ""
    waits: Literal["", "network", "login"] = ""
    seen: AwareDatetime | None = None
    said: list[Said] = []
    tested: Tested | None = None
    new_version: bool = False
    after: str = ""
    zoo_version: str = ""
    withdrawn: bool = False
    at: AwareDatetime

    @property
    def server(self) -> Server:
        """Where it goes."""
        return Server(self.base, self.collection)

    @property
    def pending(self) -> bool:
        """Whether there is still something to be sent or asked."""
        return not self.withdrawn and (self.phase not in WHOLE or (self.asked and self.phase != "submitted"))

    @property
    def sent(self) -> int:
        """The bytes that the server has confirmed."""
        return sum(part.size for file in self.files for part in file.parts if part.etag or file.done)

    @property
    def total(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files) or self.size


def folder_of(workspace: Workspace, server: Server, draft_id: str | None, sha256: str) -> Path:
    """Where the upload of a model (or of a package that belongs to none) to a server is recorded."""
    if draft_id is not None:
        return workspace.folder(draft_id) / FOLDER / server.mark
    return workspace.root / FOLDER / f"{sha256[:16]}-{server.mark}"


def all_uploads(workspace: Workspace) -> tuple[list[tuple[Path, Upload]], list[str]]:
    """Every upload of the workspace with its folder, the newest first; and a sentence for each that is damaged."""
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


def model_of(folder: Path) -> str | None:
    """The id of the model whose upload is recorded in `folder`; None where it belongs to none."""
    above = folder.parent.parent
    return above.name if above.parent.name == "models" and folder.parent.name == FOLDER else None


def workspace_of(folder: Path) -> Workspace:
    """The workspace in which the upload in `folder` is recorded."""
    return Workspace(folder.parents[3] if model_of(folder) is not None else folder.parents[1])


def read(folder: Path) -> Upload | None:
    """The record in `folder`; None where there is none.

    Raises ZoowizardError where it is damaged, or names a server that must not be told a token.
    """
    path = folder / FILE
    upload = read_record(path, Upload)
    if upload is not None:
        upload.base = base_of(upload.base, f"{path}: base", ZOO)
    return upload


def read_record(path: Path, kind: type[T]) -> T | None:
    """The record in the file `path`; None where there is none. Raises ZoowizardError where it is damaged."""
    try:
        return kind.model_validate(json.loads(_content(path)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise ZoowizardError(f"{path} cannot be read ({(problem.strerror or '').lower()})") from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ZoowizardError(f"{path}: {where} is wrong: {first['msg'].lower()}; mend it or move it away") from None
    except (ValueError, RecursionError):
        raise ZoowizardError(f"{path} is damaged; mend it or move it away") from None


def _content(path: Path) -> bytes:
    """What is in a record; a pipe in its place must not keep us waiting."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_RECORD:
            raise ZoowizardError(f"{path} is no record of an upload: no plain file, or far too large; move it away")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def write(folder: Path, upload: Upload) -> None:
    """Keep the record, for its owner alone. Raises ZoowizardError where it cannot be saved."""
    upload.at = datetime.now(UTC)
    write_bytes(folder / FILE, upload.model_dump_json(indent=1).encode(), mode=0o600)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the upload in `folder` (made where missing). Raises ZoowizardError where somebody else is at it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise ZoowizardError(f"could not make the folder {folder}: {(problem.strerror or '').lower()}") from problem
    try:
        with _held_soon(folder / LOCK):
            yield
            shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    except DraftBusy:
        raise ZoowizardError(
            "this model is being uploaded already; `zoowizard jobs` shows how far that is, and `zoowizard jobs cancel` "
            "ends it"
        ) from None


@contextlib.contextmanager
def _held_soon(path: Path) -> Iterator[None]:
    """Hold a lock, though the news may have it for a moment; see `upload.news`. Raises DraftBusy."""
    with contextlib.ExitStack() as stack:
        for left in reversed(range(LOOKS)):
            try:
                stack.enter_context(held(path, wait=False))
                break
            except DraftBusy:
                if not left:
                    raise
            time.sleep(LOOKS_EVERY_S)
        yield


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[Upload]:
    """Hold the upload in `folder` while it is worked at; gives the record as it is now.

    Raises ZoowizardError where somebody else is at it, and WrongUse where there is none.
    """
    none = WrongUse(f"there is no upload at {folder}; `zoowizard uploads` lists them")
    if not folder.is_dir():
        raise none
    with locked(folder):
        upload = read(folder)
        if upload is None:
            raise none
        yield upload
