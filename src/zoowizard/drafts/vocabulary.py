"""The zoo's own lists of words: licences, tags, units. Kept in `vocabulary.json`, so that nothing heavy is imported.

The file is taken from bioimageio.spec: `licenses` and `deprecated_licenses` are the identifiers of
`bioimageio.spec.utils.get_spdx_licenses()` split by `isDeprecatedLicenseId` (a deprecated one with its successor, or
null where SPDX names none), `tags` is `static/tag_categories.json` under `model`, and `space_units` the values of
`bioimageio.spec.model.v0_5.SpaceUnit`. A test compares the file with the installed library and fails when they drift:
then write it anew from these four, and put the library's version into `version`.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _words() -> Mapping[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("vocabulary.json").read_text(encoding="utf-8"))
    return loaded


def licences() -> tuple[str, ...]:
    """The SPDX identifiers that are in use, such as `MIT`."""
    return tuple(_words()["licenses"])


def deprecated_licences() -> Mapping[str, str | None]:
    """The SPDX identifiers that are deprecated, each with the one to use instead, or None where there is none."""
    replaced: dict[str, str | None] = _words()["deprecated_licenses"]
    return replaced


def tag_categories() -> Mapping[str, tuple[str, ...]]:
    """The zoo's tags for models by category (`modality`, `dims`, `content`, …); free tags are allowed beside them."""
    return {category: tuple(tags) for category, tags in _words()["tags"].items()}


def space_units() -> tuple[str, ...]:
    """The units of length that OME-Zarr 0.5 knows, such as `micrometer`."""
    return tuple(_words()["space_units"])
