"""A stranger's package: unpacked here, and its description read, before any library follows what it says."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from zoowizard import plain_yaml
from zoowizard.errors import ZoowizardError
from zoowizard.families.package_contents import DESCRIPTIONS
from zoowizard.library.archive import unpack

LARGEST_DESCRIPTION: Final = 4_000_000
"""Bytes."""


def opened(package: Path, folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The description of a package (zip, unpacked to `folder`, or description file), as a file and as what it says.

    Raises ZoowizardError, naming the package, where it is none, is damaged, or holds what `unpack` refuses.
    """
    described = _unpacked(package, folder) if zipfile.is_zipfile(package) else package
    return described, _read(described, package.name)


def _unpacked(package: Path, folder: Path) -> Path:
    names = {path.name: path for path in unpack(package, folder) if path.parent == folder}
    for name in DESCRIPTIONS:
        if name in names:
            return names[name]
    raise ZoowizardError(f"{package.name} is no bioimage.io package: it has no {DESCRIPTIONS[-1]} at its top")


def _read(described: Path, name: str) -> Mapping[str, Any]:
    with described.open("rb") as file:
        content = file.read(LARGEST_DESCRIPTION + 1)
    if content.startswith(b"PK"):
        raise ZoowizardError(f"{name} is a damaged or shortened zip; download or copy it again")
    try:
        told = plain_yaml.load(content.decode("utf-8")) if len(content) <= LARGEST_DESCRIPTION else None
    except yaml.MarkedYAMLError as problem:
        line = f" in line {problem.problem_mark.line + 1}" if problem.problem_mark else ""
        raise ZoowizardError(f"{name}: {described.name} is no YAML: {problem.problem}{line}") from problem
    except (yaml.YAMLError, ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise ZoowizardError(f"{name} is no bioimage.io package; give the zip of a package, or its rdf.yaml")
    return told
