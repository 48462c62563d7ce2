"""The original of a package: its files laid out in a folder of the job, and a description that the library takes.

What people wrote into it (names, authors, licences …) is answered in the draft and may be wrong in the original: the
description here has plain words in their place, so that only tensors and weights are looked at.
"""

import copy
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from zoowizard.conversion.package_remote import fetch
from zoowizard.errors import ZoowizardError
from zoowizard.families import origins, package
from zoowizard.families.package_contents import Contents, why_not_inside
from zoowizard.families.package_references import ENVIRONMENT, ICON, NEEDED, Reference, references, weights_in
from zoowizard.families.pickles import printable
from zoowizard.library.archive import sha256, unpack

DESCRIPTION: Final = "zoowizard-original.yaml"
_KEPT: Final = frozenset({
    "format_version", "type", "inputs", "outputs", "weights", "test_inputs", "test_outputs", "run_mode", "source",
    "sha256", "kwargs", "dependencies", "language", "framework", "timestamp",
})  # fmt: skip
"""What a description of 0.3 to 0.5 says of tensors and weights."""
OWN_NAMES: Final = ("zoowizard-", "fetched")
"""How that begins which is put beside the files of the package."""
_PLAIN_WORDS: Final[Mapping[str, Any]] = {
    "name": "original",
    "description": "A package as it was.",
    "license": "MIT",
    "cite": [{"text": "none", "url": "https://bioimage.io"}],
    "tags": [],
    "timestamp": "2020-01-01T00:00:00",
}


@dataclass(frozen=True)
class Original:
    """The package as it was, in `folder`; `described` is the description there, `told` what stands in it.

    `formats` are those that can be run here, one without a parent first. `files` are the files that it names, as their
    references and where they lie. `notes` tell what was left out.
    """

    folder: Path
    described: Path
    told: Mapping[str, Any]
    formats: tuple[str, ...]
    files: tuple[tuple[Reference, Path], ...]
    notes: tuple[str, ...]

    def beside(self, *roles: str) -> list[tuple[Reference, Path]]:
        """The files that it names in one of these roles."""
        return [(one, path) for one, path in self.files if one.role in roles]


def laid_out(checkpoint: Path, folder: Path, say: Callable[[str], object] = str) -> Original:
    """Unpack or copy the package into `folder` (made anew), fetch what lies on servers, and look at every hash.

    `say` is told what is being fetched.
    Raises ZoowizardError, naming each file, where something is missing without which nothing can be tested, or where a
    file is not the one that was described.
    """
    contents = package.look(checkpoint)
    for name in (*(contents.records or ()), *(one.name for one in references(contents.told) if not one.is_remote)):
        if name.casefold().startswith(OWN_NAMES):
            raise ZoowizardError(
                f"{printable(checkpoint.name)} has the file {printable(name)}, and zoowizard puts files of such names "
                "beside those of a package; give it another name, in the package and in its description"
            )
    shutil.rmtree(folder, ignore_errors=True)
    if contents.records is not None:
        unpack(checkpoint, folder)
    else:
        folder.mkdir(parents=True)
    told: dict[str, Any] = copy.deepcopy(dict(contents.told))
    own_networks = _take_own_networks(told, folder)
    found: list[tuple[Reference, Path]] = []
    lost: dict[str, list[str]] = {}
    fetched: dict[str, Path | str] = {}
    for one in references(told):
        if one.role == ICON:
            continue
        path = _fetched(one, folder, fetched, say) if one.is_remote else _brought(one, contents, folder)
        if isinstance(path, str):
            lost.setdefault(one.role, []).append(path)
            if one.role == ENVIRONMENT:
                _take_out(told, one.place[:-1] if one.place[-1] == "source" else one.place)
            continue
        if one.sha256 is not None and sha256(path) != one.sha256.lower():
            raise ZoowizardError(package.changed(one, contents.description))
        _put(told, one.place, f"{one.before}{path.relative_to(folder).as_posix()}{one.after}")
        if one.what == "architecture" and one.after and one.sha256 is None:
            key = "sha256" if one.place[0] == "source" else "architecture_sha256"  # before 0.5, it must be there
            _put(told, (*one.place[:-1], key), sha256(path))
        found.append((one, path))
    if needed := [sentence for role in lost if role in NEEDED for sentence in lost[role]]:
        raise ZoowizardError(_without(checkpoint, needed))
    reasons = {name: package.why_not_run(name, entry) for name, entry in weights_in(told).items()}
    formats = [name for name, reason in reasons.items() if not reason and name not in lost]
    if not formats:
        reasons_told = [f"{name}: {reason}" for name, reason in reasons.items() if reason]
        raise ZoowizardError(
            _without(checkpoint, [*reasons_told, *(one for name in reasons for one in lost.get(name, ()))])
        )
    notes = own_networks + [f"{name} was left out: {reason}." for name, reason in reasons.items() if reason]
    notes += [f"Left out of the package: {sentence}." for sentences in lost.values() for sentence in sentences]
    _keep_weights(told, formats)
    ordered = sorted(formats, key=lambda name: weights_in(told)[name].get("parent") is not None)
    return Original(folder, described(told, folder), told, tuple(ordered), tuple(found), tuple(notes))


def _take_own_networks(told: dict[str, Any], folder: Path) -> list[str]:
    """Put zoowizard's own file in the place of a network out of a library, which few have; gives what to say of it."""
    notes = []
    for entry in weights_in(told).values():
        if isinstance(entry, dict) and (own := origins.own_network(entry.get("architecture"))) is not None:
            file, kwargs = own
            shutil.copyfile(file, folder / file.name)
            library = str(entry["architecture"]["import_from"]).partition(".")[0]
            entry["architecture"] = {
                "source": file.name, "sha256": sha256(file), "callable": "UNet", "kwargs": kwargs,
            }  # fmt: skip
            entry.pop("dependencies", None)
            notes.append(f"The package brings its network as {file.name}, so that it needs no {library} any more.")
    return notes


def described(told: Mapping[str, Any], folder: Path) -> Path:
    """Write the description with plain words in the place of people's; gives its path."""
    plain = {name: value for name, value in told.items() if name in _KEPT}
    version = str(told["format_version"])
    if version.startswith("0.5"):
        plain = {**_PLAIN_WORDS, **plain, "authors": [{"name": "nobody"}]}
    else:
        author = "nobody" if version in ("0.3.0", "0.3.1") else {"name": "nobody"}
        plain = {**_PLAIN_WORDS, **plain, "authors": [author], "documentation": _documentation(folder)}
    for side in ("inputs", "outputs"):
        tensors = plain.get(side)
        for tensor in tensors if isinstance(tensors, list) else ():
            if isinstance(tensor, dict):
                tensor.pop("sample_tensor", None)
    path = folder / DESCRIPTION
    path.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _documentation(folder: Path) -> str:
    """0.3 and 0.4 do not go without."""
    name = "zoowizard-original.md"
    (folder / name).write_text("# A package as it was\n", encoding="utf-8")
    return name


def _without(checkpoint: Path, sentences: Sequence[str]) -> str:
    listed = "; ".join(dict.fromkeys(sentences))
    return f"{printable(checkpoint.name)} cannot be tested, so no package is made of it: {listed}"


def _brought(one: Reference, contents: Contents, folder: Path) -> Path | str:
    """A file of the package itself, copied into the folder, or the sentence that says that it is missing.

    A link would be written through to the person's own file by whatever writes one of this name here.
    """
    if reason := why_not_inside(one.name):
        raise ZoowizardError(f"{printable(one.source)!r} is named in {contents.description}, and {reason}")
    target = folder / one.name
    if contents.records is None and not target.exists():
        source = contents.place(one.name)
        if source is not None and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return target if target.is_file() else f"{printable(one.name)} is named in {contents.description} and is not there"


def _fetched(one: Reference, folder: Path, before: dict[str, Path | str], say: Callable[[str], object]) -> Path | str:
    """A file from a server, once for all that name it, or the sentence that says why it cannot be had."""
    if one.source not in before:
        name = re.sub(r"[^\w.-]", "-", one.source.partition("?")[0].rstrip("/").rpartition("/")[2])[-100:]
        target = folder / "fetched" / str(len(before)) / (name.lstrip(".-") or "file")
        target.parent.mkdir(parents=True, exist_ok=True)
        say(f"fetching {printable(one.source[:100])}")
        try:
            fetch(one.source, target)
            before[one.source] = target
        except ZoowizardError as problem:
            before[one.source] = f"{printable(one.source[:200])} is not in the package, and {problem}"
    return before[one.source]


def _put(told: Any, place: Sequence[str | int], value: str) -> None:
    """Set what stands at a place of nested data."""
    for step in place[:-1]:
        told = told[step]
    told[place[-1]] = value


def _take_out(told: Any, place: Sequence[str | int]) -> None:
    for step in place[:-1]:
        told = told[step]
    del told[place[-1]]


def _keep_weights(told: dict[str, Any], formats: Sequence[str]) -> None:
    """Leave only these weights; one whose parent is gone is on its own, or made from the first."""
    told["weights"] = {
        name: {key: value for key, value in entry.items() if key != "attachments"}
        for name, entry in weights_in(told).items()
        if name in formats
    }
    if str(told["format_version"]).startswith("0.3"):
        told["weights"] = {_in_03(name, told): entry for name, entry in told["weights"].items()}
    parents = {name: str(entry.get("parent")) for name, entry in told["weights"].items()}
    root = next((name for name, parent in parents.items() if parent not in parents), None)
    for name, entry in told["weights"].items():
        if name == root:
            entry.pop("parent", None)
        elif parents[name] not in parents:
            entry["parent"] = root


def _in_03(name: str, told: Mapping[str, Any]) -> str:
    return "pytorch_script" if name == "torchscript" else name


def with_weights(original: Original, weight_format: str, entry: Mapping[str, Any]) -> Original:
    """The original with these weights and no others; `entry` names a file in its folder."""
    told = {**original.told, "weights": {weight_format: dict(entry)}}
    path = described(told, original.folder)
    return Original(original.folder, path, told, (weight_format,), original.files, original.notes)


def tensors_of(told: Mapping[str, Any], side: str) -> Iterator[str]:
    """The ids of the tensors of one side as the original calls them."""
    for tensor in told[side]:
        yield str(tensor.get("id") or tensor.get("name"))
