"""A package that bioimageio can describe, with weights of any size, and a person who brings it to a hub."""

import hashlib
import io
import random
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hub_server import Hub
from uploads import QUICK, Told, contents_of

from zoowizard.drafts.store import Workspace
from zoowizard.upload import huggingface
from zoowizard.upload.huggingface import HubUpload, Place
from zoowizard.upload.huggingface_send import send
from zoowizard.upload.package import Package
from zoowizard.upload.web import Patience

MIB = 1 << 20
AXES = [
    {"type": "batch"},
    {"type": "channel", "channel_names": ["signal"]},
    {"type": "space", "id": "y", "size": 16},
    {"type": "space", "id": "x", "size": 16},
]
DESCRIPTION: dict[str, Any] = {
    "format_version": "0.5.4",
    "type": "model",
    "name": "Nuclei",
    "description": "Finds nuclei in pictures of nuclei.",
    "authors": [{"name": "Ada Lovelace", "github_user": "ada"}],
    "cite": [{"text": "Nuclei", "url": "https://example.org/nuclei"}],
    "license": "CC-BY-4.0",
    "tags": ["nuclei", "it's: a tag", "2d"],
    "documentation": "README.md",
    "inputs": [{"id": "raw", "axes": AXES, "test_tensor": {"source": "input.npy"}}],
    "outputs": [{"id": "mask", "axes": AXES, "test_tensor": {"source": "output.npy"}}],
    "weights": {"onnx": {"source": "weights.onnx", "opset_version": 15}},
}


def a_hub_package(folder: Path, name: str = "nuclei", weights: int = 3 * MIB, **files: bytes) -> Package:
    """A package as zoowizard writes it, but for its weights, which are noise."""
    folder.mkdir(parents=True, exist_ok=True)
    tensor = io.BytesIO()
    np.save(tensor, np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 1, 16, 16))
    contents = {
        "rdf.yaml": yaml.safe_dump(DESCRIPTION, sort_keys=False).encode(),
        "README.md": "# Nuclei\n\nμ: to be uploaded as it is, byte by byte.\n".encode(),
        "empty.txt": b"",
        "input.npy": tensor.getvalue(),
        "output.npy": tensor.getvalue(),
        "weights.onnx": random.Random(2).randbytes(weights),
        "more.pt": random.Random(3).randbytes(weights // 2),
        **files,
    }
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for inside, content in contents.items():
            archive.writestr(zipfile.ZipInfo(inside), content)
    return Package(path, "Nuclei", hashlib.sha256(path.read_bytes()).hexdigest())


@dataclass
class ToHub:
    """One model's upload to a repository."""

    hub: Hub
    workspace: Workspace
    place: Place
    secret: str = "hf_ada"
    told: Told = field(default_factory=Told)

    @property
    def folder(self) -> Path:
        return huggingface.folder_of(self.workspace, self.place, "nuclei", "")

    @property
    def record(self) -> HubUpload:
        upload = huggingface.read(self.folder)
        assert upload is not None
        return upload

    def queue(self, package: Package, public: bool = False, insist: bool = False) -> "ToHub":
        huggingface.queue(self.folder, self.place, package, public, insist)
        return self

    def go(self, patience: Patience = QUICK) -> HubUpload:
        self.told.steps.clear()
        return send(self.folder, self.secret, self.told, patience)

    def is_whole(self, package: Package, commits: int = 1) -> None:
        """The repository has each file of the package and the card, nothing else, by so many commits."""
        stored = self.hub.files(self.place.repository)
        inside = {path.removeprefix("package/"): stored[path] for path in stored if path.startswith("package/")}
        wanted = contents_of(package)
        wanted["bioimageio.yaml"] = wanted.pop("rdf.yaml")
        assert inside == wanted
        beside = {path for path in stored if not path.startswith("package/")}
        assert beside == {"README.md", "images/input_raw_sample.png", "images/output_mask_sample.png"}
        assert len(self.hub.repos[self.place.repository].commits) == 1 + commits
        assert self.record.phase == "verified" and self.record.commit == self.hub.repos[self.place.repository].head
