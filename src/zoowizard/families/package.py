"""A package of the zoo that exists already: recognised by its description, which answers most of the questions."""

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.fields import Field
from zoowizard.errors import UnsafeCheckpoint, ZoowizardError
from zoowizard.families import origins
from zoowizard.families.family import Files, Recognition, Warning
from zoowizard.families.package_contents import DESCRIPTIONS, ENDINGS, Contents, contents_of, why_not_inside
from zoowizard.families.package_fields import FIELDS as _FIELDS
from zoowizard.families.package_fields import asks as asks
from zoowizard.families.package_references import (
    CODE,
    NEEDED,
    Reference,
    references,
    weights_in,
)
from zoowizard.families.package_told import made_by, values_of
from zoowizard.families.pickles import printable

NAME = "package"
FILES = Files(ENDINGS, shared=(".zip", ".yaml", ".yml"), unnamed=DESCRIPTIONS, made_of_models=True)
FIELDS: Sequence[Field] = _FIELDS
LABELS: Mapping[str, str] = {
    "layout": "format",
    "weight_formats": "weights",
    "made_by": "made by",
    "model_id": "id in the zoo",
    "parent_of_original": "its parent",
    "name_of_original": "its name",
    "version_of_original": "its version",
}
LARGEST_HASHED: Final = 32 << 20
"""Bytes of files whose hash is looked at here, all together; the job looks at all of them."""
OLDEST, NEWEST = (0, 3), (0, 5)
MOST_NAMED: Final = 5
MOST_REFERENCES: Final = 2_000
"""Files that a description names; each is looked for."""
_RUN_HERE: Final = {
    "pytorch_state_dict": "torch",
    "torchscript": "torch",
    "onnx": "onnxruntime",
    "keras_v3": "keras",
    "keras_hdf5": "tensorflow",
    "tensorflow_saved_model_bundle": "tensorflow",
}
"""The library that each weight format needs to be run; others have none here."""
_NOT_INSTALLED: Final = "is not installed here"
_OTHER_THINGS: Final = {
    "application": "a program",
    "collection": "a collection of models",
    "dataset": "a data set",
    "notebook": "a notebook",
    "workflow": "a workflow",
}


def recognise(path: Path) -> Recognition | None:
    """Look at a zip, a folder or a description; None where it is no package.

    Raises UnsafeCheckpoint for one that could do harm, ZoowizardError for one that is damaged.
    """
    contents = contents_of(path)
    if contents is None:
        return None
    _require_inside(contents)
    checkpoint = path / contents.description if path.is_dir() else path
    evidence = tuple(_evidence(contents))
    values = values_of(contents)
    warnings = tuple(_in_the_way(contents))
    if not warnings:
        warnings = tuple(_of_its_files(contents))
    return Recognition(path, NAME, checkpoint, evidence, values, warnings)


def look(path: Path) -> Contents:
    """The package again, before it is worked with. Raises as `recognise` does, and where it is none any more."""
    contents = contents_of(path)
    if contents is None:
        raise ZoowizardError(f"{printable(path.name)} is no package of the zoo any more: its description is gone.")
    _require_inside(contents)
    return contents


def named_like(name: str) -> bool:
    """Packages have an ending."""
    return False


def built_in(path: Path) -> str | None:
    """No tool fetches packages by a name."""
    return None


def why_not_run(weight_format: str, entry: Mapping[str, Any]) -> str:
    """Why weights of this format cannot be run on this computer; empty where they can."""
    library = _RUN_HERE.get(weight_format)
    if library is None:
        return "no library here runs such weights"
    network = entry.get("architecture")
    where = network.get("import_from") if isinstance(network, Mapping) else network
    own = weight_format == "pytorch_state_dict" and origins.own_network(network) is not None
    if weight_format == "pytorch_state_dict" and not own and isinstance(where, str) and ":" not in where:
        library = where.partition(".")[0]
    try:
        there = library.isidentifier() and importlib.util.find_spec(library) is not None
    except ValueError:  # the names of some modules that are there, but are no library
        there = False
    return "" if there else f"{printable(library[:60])} {_NOT_INSTALLED}"


def _evidence(contents: Contents) -> Iterator[str]:
    version, formats = printable(str(contents.told.get("format_version"))[:20]), ", ".join(weights_in(contents.told))
    weights = f", with weights in {printable(formats)}" if formats else ""
    yield f"{printable(contents.description)} describes it in the format {version} of the zoo{weights}"
    if tool := made_by(contents.told):
        yield f"it was made by {tool}"


def _require_inside(contents: Contents) -> None:
    """Raise UnsafeCheckpoint where the description names a file outside of the package, or far too many."""
    named = references(contents.told)
    if len(named) > MOST_REFERENCES:
        raise UnsafeCheckpoint(
            f"{printable(contents.path.name)}: {contents.description} names {len(named)} files, and no package needs "
            f"more than {MOST_REFERENCES}."
        )
    for one in named:
        is_no_file = one.is_remote or one.name == "."  # the folder itself does no harm, and that it is no file is told
        reason = None if is_no_file else why_not_inside(one.name)
        if reason is None and contents.folder is not None and not one.is_remote and _leads_out(contents, one.name):
            reason = "it is a link that leads out of the package"
        if reason is not None:
            raise UnsafeCheckpoint(
                f"{printable(contents.path.name)}: {contents.description} names the file "
                f"{printable(one.source[:200])!r}, and {reason}."
            )


def _leads_out(contents: Contents, name: str) -> bool:
    return contents.folder is not None and os.path.lexists(contents.folder / name) and contents.place(name) is None


def _in_the_way(contents: Contents) -> Iterator[Warning]:
    """Why no package can be made of it, whatever its files are."""
    told = contents.told
    kind = told.get("type", "model")
    if kind != "model":
        what = _OTHER_THINGS.get(kind, "something else") if isinstance(kind, str) else "something else"
        yield Warning(
            "not-convertible",
            f"{contents.description} describes {what} (type: {printable(str(kind)[:40])}), not a model: there is "
            "nothing in it to predict with. Give the package of a model.",
        )
        return
    version = _version(told)
    if version is None or not OLDEST <= version <= NEWEST:
        told_version = printable(str(told.get("format_version"))[:20])
        older = version is not None and version < OLDEST
        advice = "it is too old to be read" if older else "zoowizard reads 0.3, 0.4 and 0.5"
        yield Warning("not-convertible", f"It is written in the format {told_version} of the zoo; {advice}.")
        return
    for key in ("inputs", "outputs"):
        if not isinstance(told.get(key), list) or not told[key]:
            yield Warning(
                "not-convertible", f"{contents.description} has no {key}: it does not say what goes in or out."
            )
    if not weights_in(told):
        yield Warning("no-weights", f"{contents.description} names no weights.")


def _version(told: Mapping[str, Any]) -> tuple[int, int] | None:
    parts = str(told.get("format_version")).split(".")
    is_known = len(parts) >= 2 and all(one.isdecimal() and len(one) < 9 for one in parts[:2])
    return (int(parts[0]), int(parts[1])) if is_known else None


def _of_its_files(contents: Contents) -> Iterator[Warning]:
    """What is missing, changed or elsewhere of the files that it names, and what of it cannot be run here."""
    named = references(contents.told)
    missing = [one for one in named if not one.is_remote and contents.size(one.name) is None]
    without = {one.role for one in missing}
    reasons = {name: why_not_run(name, entry) for name, entry in weights_in(contents.told).items()}
    usable = [name for name, reason in reasons.items() if not reason and name not in without]
    if without & NEEDED:
        needed = [one for one in missing if one.role in NEEDED]
        yield Warning("not-convertible", f"{_listed(needed)} named in {contents.description} and not there: {_NO_TEST}")
    if not usable:
        why = [f"{name}: {reason}" for name, reason in reasons.items() if reason]
        lost = [one for one in missing if one.role in reasons]
        told = "; ".join(why + ([f"{_listed(lost)} named and not there"] if lost else []))
        help_ = " Install that beside zoowizard, and build it then." if _NOT_INSTALLED in told else ""
        yield Warning("no-weights", f"None of its weights can be used here ({told}).{help_}")
    else:
        optional = [one for one in missing if one.role not in NEEDED]
        if optional:
            yield Warning("missing-files", f"{_listed(optional)} named and not there; the package is made without.")
        if left_out := [f"{name} ({reason})" for name, reason in reasons.items() if reason]:
            yield Warning(
                "formats-left-out", f"Weights that cannot be tested here are left out: {', '.join(left_out)}."
            )
    yield from _changed(contents, named)
    if remote := [one for one in named if one.is_remote]:
        addresses = ", ".join(dict.fromkeys(printable(one.source[:200]) for one in remote))
        yield Warning(
            "remote-files", f"Not in the package but on servers, to be fetched when it is built: {addresses}."
        )
    if code := [one for one in named if one.what == "architecture" or one.role == CODE]:
        names = ", ".join(dict.fromkeys(printable(one.name) for one in code))
        yield Warning("brings-code", f"It brings code, which runs when the package is built or tested: {names}.")


_NO_TEST: Final = "without it the package cannot be tested."


def _changed(contents: Contents, named: Sequence[Reference]) -> Iterator[Warning]:
    """Files that are not what the description says, as far as a quick look goes."""
    left = LARGEST_HASHED
    for one in named:
        size = None if one.is_remote or one.sha256 is None else contents.size(one.name)
        if size is None or size > left:
            continue
        left -= size
        if contents.sha256(one.name, LARGEST_HASHED) != str(one.sha256).lower():
            yield Warning("not-convertible", changed(one, contents.description))


def changed(one: Reference, description: str) -> str:
    """What to say of a file that is not the one that was described."""
    instead = ", or give the package as it was and the file as new_weights" if one.what == "weights" else ""
    return (
        f"{printable(one.name)} is not the file that {description} describes (its sha256 differs): it is damaged or "
        f"was changed. Copy the package again; if you changed it, take its sha256 out of {description}{instead}."
    )


def _listed(missing: Sequence[Reference]) -> str:
    names = list(dict.fromkeys(printable(one.name) for one in missing))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more} {'is' if len(names) == 1 else 'are'}"
