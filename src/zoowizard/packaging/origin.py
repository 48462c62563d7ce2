"""What a result of a build depends on, and in words what of it is not as it was; see `resume`."""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import Field

import zoowizard
from zoowizard.conversion.converted import Array
from zoowizard.errors import ZoowizardError
from zoowizard.library.archive import sha256
from zoowizard.packaging.records import Record


class Origin(Record):
    """All that a result depends on: hashes of checkpoint and image, values, hashes of the files that these and the
    conversion name, by what names them, and what is installed."""

    family: str
    checkpoint: str
    image: str
    values: dict[str, Any]
    files: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str]


def origin(
    family: str,
    checkpoint: Path,
    image: Array,
    values: Mapping[str, Any],
    files: Mapping[str, Path] = MappingProxyType({}),
) -> Origin:
    """What a result is made from now. `image` is the test image as it was read; `values` are JSON.

    Raises ZoowizardError where one of the files cannot be read.
    """
    pixels = hashlib.sha256(f"{image.dtype} {image.shape} ".encode() + np.ascontiguousarray(image).tobytes())
    versions = {**_installed(), "zoowizard": zoowizard.__version__, "python": platform.python_version()}
    return Origin(
        family=family,
        checkpoint=sha256(checkpoint),
        image=pixels.hexdigest(),
        values=json.loads(json.dumps(dict(values))),
        files={name: _hash(path) for name, path in files.items()},
        versions=dict(sorted(versions.items())),
    )


def _hash(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as problem:
        raise ZoowizardError(f"{path} cannot be read: {(problem.strerror or str(problem)).lower()}") from problem


def _installed() -> dict[str, str]:
    """The versions of all packages by their names. Ruins of one have no name, or, by the backport, nothing to read."""
    found = {}
    for one in importlib.metadata.distributions():
        with contextlib.suppress(FileNotFoundError):
            if name := one.metadata["Name"]:
                found[name] = one.version
    return found


def difference(then: Origin, now: Origin) -> str:
    """In words what is not as it was; empty where all of it is."""
    if then.family != now.family or then.checkpoint != now.checkpoint:
        return "the checkpoint was changed"
    if then.image != now.image:
        return "the test image was changed"
    if changed := _changed(then.values, now.values):
        return f"answers were changed: {', '.join(changed)}"
    if changed := _changed(then.files, now.files):
        return f"files were changed: {', '.join(changed)}"
    if changed := _changed(then.versions, now.versions):
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        return f"other versions are installed now: {', '.join(changed[:3])}{more}"
    return ""


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
