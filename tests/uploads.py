"""Small packages, and a person who uploads them."""

import contextlib
import hashlib
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hypha_server import Zoo

from zoowizard.drafts.store import Workspace
from zoowizard.upload import state, zoo
from zoowizard.upload.contents import Limits
from zoowizard.upload.package import Package
from zoowizard.upload.servers import server_of
from zoowizard.upload.state import Upload
from zoowizard.upload.web import Patience

MIB = 1 << 20
SMALL = Limits(multipart_from=6 * MIB, part_bytes=5 * MIB, at_once=2)
"""S3 takes no parts below 5 MiB."""
QUICK = Patience(tries_for_s=5.0, first_s=0.02, longest_s=0.2)
DESCRIPTION = {
    "format_version": "0.5.4",
    "type": "model",
    "name": "Nuclei",
    "description": "Finds nuclei in pictures of nuclei.",
    "license": "CC-BY-4.0",
    "timestamp": "2026-11-21T12:00:00+00:00",
    "weights": {"onnx": {"source": "weights.onnx", "opset_version": 15}},
    "documentation": "README.md",
}


def a_package(folder: Path, weights: int = 7 * MIB, name: str = "nuclei", **files: bytes) -> Package:
    """A package as zoowizard writes it: stored, the description first. `weights`: the bytes of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.zip"
    contents = {
        "bioimageio.yaml": yaml.safe_dump(DESCRIPTION, sort_keys=False).encode(),
        "README.md": "# Nuclei\n\nμ: to be uploaded as it is, byte by byte.\n".encode(),
        "empty.txt": b"",
        "samples/input 1.npy": random.Random(1).randbytes(3000),
        "weights.onnx": random.Random(2).randbytes(weights),
        **files,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for inside, content in contents.items():
            archive.writestr(zipfile.ZipInfo(inside), content)
    return Package(path, "Nuclei", hashlib.sha256(path.read_bytes()).hexdigest())


def contents_of(package: Package) -> dict[str, bytes]:
    with zipfile.ZipFile(package.archive) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@dataclass
class Told:
    """What was said while it was sent."""

    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fractions: list[float] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> "Iterator[Told.Step]":
        self.steps.append(name)
        yield Told.Step(self)

    def note(self, level: str, text: str) -> None:
        self.notes.append(text)

    class Step:
        def __init__(self, told: "Told") -> None:
            self.note, self._told = "", told

        def progress(self, fraction: float, note: str = "") -> None:
            self._told.fractions.append(fraction)


@dataclass
class Sent:
    """One model's upload: where it is recorded, and what can be done with it."""

    server: Zoo
    folder: Path
    token: Callable[[], str]
    told: Told = field(default_factory=Told)

    @staticmethod
    def maker(server: Zoo, tmp_path: Path) -> "Callable[..., Sent]":
        def make(
            package: Package,
            model: str = "nuclei",
            token: str = "",
            insist: bool = False,
            ask: bool = False,
            new_version: bool = False,
        ) -> "Sent":
            workspace = Workspace(tmp_path / "workspace")
            folder = state.folder_of(workspace, server_of(server.base), model, package.sha256)
            zoo.queue(folder, server_of(server.base), package, insist, ask, new_version)
            return Sent(server, folder, lambda: token or server.token())

        return make

    @property
    def workspace(self) -> Workspace:
        return state.workspace_of(self.folder)

    @property
    def record(self) -> Upload:
        upload = state.read(self.folder)
        assert upload is not None
        return upload

    def go(self, patience: Patience = QUICK) -> Upload:
        return zoo.send(self.folder, self.token, self.told, SMALL, patience)

    def draft(self) -> dict[str, Any]:
        found: dict[str, Any] = self.server.asks("read", artifact_id=self.record.artifact_id, stage=True, silent=True)
        return found

    def drafts(self) -> list[str]:
        """The names of all drafts on the server that are of this upload, whatever happened."""
        marked = [one for one in self.server.staged() if one["manifest"].get("zoowizard", {}).get("upload")]
        return [one["id"] for one in marked if one["manifest"]["zoowizard"]["upload"] == self.record.key]

    def is_whole(self, package: Package) -> None:
        """The server has each file of the package, and no other one, in one draft."""
        self.holds(package)
        assert self.drafts() == [self.record.artifact_id]
        assert self.server.published() == []

    def holds(self, package: Package, version: str = "") -> None:
        """What is staged, or a published version, is the package; the description says the id besides."""
        stored, wanted = self.server.files(self.record.artifact_id, version), contents_of(package)
        described = yaml.safe_load(stored.pop("bioimageio.yaml"))
        assert described.pop("id") == self.record.alias
        assert described.pop("id_emoji") == self.record.emoji
        assert described == yaml.safe_load(wanted.pop("bioimageio.yaml"))
        assert stored == wanted
