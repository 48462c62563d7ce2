"""What lies in a package of the zoo, a zip, a folder or a description on its own, read without unpacking or believing.

Source of the layout: https://bioimage.io/docs (a description named rdf.yaml or bioimageio.yaml, and the files that it
names beside it).
"""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from zoowizard import plain_yaml
from zoowizard.errors import UnsafeCheckpoint, ZoowizardError
from zoowizard.families.literals import DamagedError
from zoowizard.families.pickles import followed, opened, printable
from zoowizard.families.zips import ZIP, Record, records, unpacked

DESCRIPTIONS: Final = ("bioimageio.yaml", "rdf.yaml")
"""What the description of a package is called, at its top."""
ENDINGS: Final = (".bioimageio.yaml", ".rdf.yaml")
"""How descriptions are called that lie among other files."""
LARGEST_DESCRIPTION: Final = 1_000_000
"""Bytes."""
MOST_FILES: Final = 10_000
MOST_EXPANSION: Final = 100
"""Weights hardly shrink: what grows more than this many times when unpacked is a zip bomb."""
_TYPICAL: Final = frozenset({"type", "weights", "inputs", "outputs", "test_inputs", "authors", "cite", "documentation"})


@dataclass(frozen=True)
class Contents:
    """A package: its description by name and as data, and its files, in `folder` or in the zip (`records` then)."""

    path: Path
    description: str
    told: Mapping[str, Any]
    folder: Path | None = None
    records: Mapping[str, Record] | None = None

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none of that name."""
        if self.records is not None:
            record = self.records.get(name)
            return None if record is None else record.size
        path = self.place(name)
        return path.stat().st_size if path is not None and path.is_file() else None

    def place(self, name: str) -> Path | None:
        """Where a file of a folder lies; None in a zip, and for what a link leads out of the folder to."""
        if self.folder is None:
            return None
        path = self.folder / name
        try:
            inside = path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, RuntimeError):  # links in a circle
            return None
        return path if inside else None

    def read(self, name: str, most: int) -> bytes:
        """A file of at most `most` bytes. Raises ZoowizardError where there is none, or it is larger or damaged."""
        if self.records is not None:
            if name not in self.records:
                raise ZoowizardError(f"{printable(name)} is not in {printable(self.path.name)}.")
            with followed(self.path) as file:
                return unpacked(file, self.records[name], most)
        path = self.place(name)
        if path is None:
            raise ZoowizardError(f"{printable(name)} is not in the folder of the package.")
        with opened(path) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise ZoowizardError(f"{printable(name)} is over {most >> 20} MB, far more than it should be.")
        return content

    def sha256(self, name: str, most: int) -> str:
        """The SHA-256 of a file of at most `most` bytes. Raises as `read` does."""
        return hashlib.sha256(self.read(name, most)).hexdigest()


def contents_of(path: Path) -> Contents | None:
    """What lies in the package at `path`; None where that is none.

    Raises UnsafeCheckpoint for a zip that could do harm, and ZoowizardError for a description that cannot be read.
    """
    if path.is_dir():
        name = next((one for one in DESCRIPTIONS if (path / one).is_file()), None)
        if name is None:
            return None
        with opened(path / name) as file:
            told = parsed(file.read(LARGEST_DESCRIPTION + 1), name)
        return Contents(path, name, told, folder=path) if _is_description(told) else None
    if path.suffix.lower() in (".yaml", ".yml"):
        return _description(path)
    return _zip(path)


def _description(path: Path) -> Contents | None:
    with opened(path) as file:
        content = file.read(LARGEST_DESCRIPTION + 1)
    is_named_so = path.name in DESCRIPTIONS or path.name.endswith(ENDINGS)
    try:
        told = parsed(content, path.name)
    except ZoowizardError:
        if is_named_so:
            raise
        return None
    if is_named_so and not _is_description(told):
        raise ZoowizardError(
            f"{printable(path.name)} describes no model of the zoo: it lacks format_version, or says nothing of what a "
            "model is."
        )
    return Contents(path, path.name, told, folder=path.parent) if _is_description(told) else None


def _is_description(told: Mapping[str, Any]) -> bool:
    return "format_version" in told and not _TYPICAL.isdisjoint(told)


def parsed(content: bytes, name: str) -> Mapping[str, Any]:
    """What a description says. Raises ZoowizardError, with the line, where it is no YAML of named values."""
    shown = printable(name)
    if len(content) > LARGEST_DESCRIPTION:
        raise ZoowizardError(f"{shown} has over {LARGEST_DESCRIPTION // 1_000_000} MB, far more than a description.")
    try:
        told = plain_yaml.load(content.decode("utf-8"))
    except yaml.MarkedYAMLError as problem:
        line = f" in line {problem.problem_mark.line + 1}" if problem.problem_mark else ""
        raise ZoowizardError(f"{shown} is no YAML: {problem.problem}{line}.") from None
    except yaml.YAMLError as problem:
        raise ZoowizardError(f"{shown} cannot be read: {problem}.") from None
    except (ValueError, TypeError, RecursionError):
        raise ZoowizardError(f"{shown} is no YAML that describes a model.") from None
    if not isinstance(told, dict) or any(not isinstance(key, str) for key in told):
        raise ZoowizardError(f"{shown} is no description of a model: it holds no named values.")
    return told


def _zip(path: Path) -> Contents | None:
    with followed(path) as file:
        if file.read(4) != ZIP:
            return None
        try:
            listed = list(records(file, path.stat().st_size))
        except DamagedError:
            if path.suffix.lower() == ".zip":
                raise
            return None
        names = {_name(one): one for one in listed}
        description = next((one for one in DESCRIPTIONS if one in names), None)
        if description is None:
            if inner := next((one for one in names if one.count("/") == 1 and one.endswith(_BELOW)), None):
                raise ZoowizardError(
                    f"{printable(path.name)} holds a folder with {printable(inner)}: a package has its description at "
                    "its top. Zip the files of the folder instead of the folder."
                )
            return None
        _require_harmless(path, listed, names)
        content = unpacked(file, names[description], LARGEST_DESCRIPTION)
    files = {name: one for name, one in names.items() if not name.endswith("/")}
    return Contents(path, description, parsed(content, description), records=files)


_BELOW: Final = tuple(f"/{name}" for name in DESCRIPTIONS)


def _name(record: Record) -> str:
    try:
        return record.name.decode("utf-8")
    except UnicodeDecodeError:
        return record.name.decode("cp437")


def _require_harmless(path: Path, listed: list[Record], names: Mapping[str, Record]) -> None:
    """Raise UnsafeCheckpoint for what could do harm when it is unpacked."""
    said = f"{printable(path.name)} is not opened:"
    if len(listed) > MOST_FILES:
        raise UnsafeCheckpoint(f"{said} it holds {len(listed)} files, and no package needs more than {MOST_FILES}.")
    if len(names) < len(listed):
        raise UnsafeCheckpoint(f"{said} it holds two files of the same name.")
    for name in names:
        if reason := why_not_inside(name.removesuffix("/")):
            raise UnsafeCheckpoint(f"{said} it holds a file named {printable(name)!r}, and {reason}.")
    whole, size = sum(one.size for one in listed), path.stat().st_size
    if whole > MOST_EXPANSION * size or sum(one.packed for one in listed) > size:
        raise UnsafeCheckpoint(
            f"{said} it claims to hold {whole / 1e6:.0f} MB in a file of {size / 1e6:.1f} MB, as zip bombs do."
        )


def why_not_inside(name: str) -> str | None:
    """Say what keeps `name` from being a file in a package, a relative path with forward slashes; or give None."""
    parts = name.split("/")
    if "\\" in name or ":" in name:
        return "backslashes and colons mean other things on other systems"
    if ".." in parts or name.startswith("/"):
        return "it leads out of the package"
    if "" in parts or "." in parts:
        return "it must be a relative path without empty and `.` parts"
    if any(unicodedata.category(one) in ("Cc", "Cs") for one in name):
        return "it has letters that cannot be shown"
    if len(name.encode()) > 1024 or any(len(part.encode()) > 255 for part in name.split("/")):
        return "it is too long"
    return None
