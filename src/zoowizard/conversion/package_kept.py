"""What a package holds besides tensors and weights, and goes into the new one: attachments, covers, config and more."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from zoowizard.conversion.package_original import Original
from zoowizard.errors import ZoowizardError
from zoowizard.families.package_contents import Contents
from zoowizard.families.package_fields import NOT_IN_ZOO, check_parent
from zoowizard.families.package_references import ATTACHMENT, CODE, COVER, DOCUMENTATION
from zoowizard.families.package_told import made_by, plain, values_of
from zoowizard.families.pickles import printable

OWN: Final = ("README.md", "cover.png", "curves.png", "rdf.yaml", "bioimageio.yaml", "report.json", "report.md")
OWN_BEGINNINGS: Final = ("test_", "sample_", ".")
"""How packaging calls the files that it writes."""
COVERS: Final = (".png", ".jpg", ".jpeg", ".gif")
LARGEST_COVER: Final = 500_000
"""Bytes: what the zoo takes."""
_COPIED: Final = {"links": list, "run_mode": dict}


@dataclass
class Kept:
    """Files that come together in `folder`, none under the name of another, and the entries that name them."""

    folder: Path
    described: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _taken: dict[Path, Path] = field(default_factory=dict)

    def take(self, source: Path, name: str = "", same_name: bool = False) -> Path:
        """Link or copy a file into the folder, once, under its own name or this one; gives where it is then."""
        if source not in self._taken:
            wanted = (name if source.parent.name == "zoowizard-new" else "") or source.name
            free = self._free(wanted)
            if same_name and free != wanted:
                raise ZoowizardError(
                    f"{printable(wanted)}, which the ONNX file needs beside it, has the name of another file of a "
                    "package; save the ONNX file with its numbers in it (onnx.save(onnx.load(path), path))"
                )
            target = self.folder / free
            target.unlink(missing_ok=True)
            try:
                os.link(source, target)
            except OSError:  # another disk, or one without links
                shutil.copyfile(source, target)
            self._taken[source] = target
        return self._taken[source]

    def _free(self, name: str) -> str:
        """A name that nothing else has: packages are unpacked where small and large letters are the same, too."""
        taken = {one.name.casefold() for one in self._taken.values()} | {one.casefold() for one in OWN}
        before = "original-"
        while name.casefold() in taken or name.startswith(OWN_BEGINNINGS):
            name, before = before + name, "other-"
        return name


def kept_of(contents: Contents, original: Original, values: Mapping[str, Any], folder: Path) -> Kept:
    """What is kept of the package; its files go to `folder`."""
    kept = Kept(folder)
    told = contents.told
    is_own = made_by(told) == "zoowizard"
    attached = [kept.take(path) for _, path in original.beside(ATTACHMENT)]
    kept.files += [*attached, *(kept.take(path) for _, path in original.beside(CODE))]
    documented = next((path for _, path in original.beside(DOCUMENTATION)), None)
    if documented is not None:
        attached.append(kept.take(documented))
        kept.files.append(attached[-1])
        kept.notes.append(_documentation(attached[-1].name, bool(values.get("new_weights"))))
    kept.described["attachments"] = [{"source": one.name} for one in dict.fromkeys(attached)]
    if not values.get("new_weights") and not is_own:
        _keep_covers(kept, original)
    kept.described["config"] = _config(told)
    kept.described |= {key: told[key] for key, kind in _COPIED.items() if isinstance(told.get(key), kind)}
    parent = values.get("parent") if values.get("new_weights") else _known(contents, "parent_of_original")
    if parent == NOT_IN_ZOO:
        parent = None
    if parent and check_parent(parent) is None:
        kept.described["parent"] = {"id": parent}
    elif parent:
        kept.notes.append(f"The original was made from {printable(str(parent)[:200])}, which is no id of the zoo.")
    packagers = told.get("packaged_by")
    named = [one for one in packagers if isinstance(one, Mapping)] if isinstance(packagers, list) else []
    kept.described["packaged_by"] = [_credit(one) for one in named if one.get("name")]
    kept.described = {key: plain(one) for key, one in kept.described.items() if one not in (None, [], {})}
    return kept


def _documentation(name: str, has_new_weights: bool) -> str:
    kept = f"The documentation of the original package is kept as {name}"
    if not has_new_weights:
        return f"{kept}."
    return (
        f"{kept}, for what it tells of the data and the use. Its numbers are those of the original weights: nothing in "
        "it was measured again with the fine-tuned ones."
    )


def _keep_covers(kept: Kept, original: Original) -> None:
    covers = []
    for one, path in original.beside(COVER):
        if path.suffix.lower() in COVERS and path.stat().st_size <= LARGEST_COVER:
            covers.append(kept.take(path))
        else:
            name = printable(one.name)
            kept.notes.append(f"The cover {name} was left out: the zoo takes PNG, JPEG or GIF up to 500 KB.")
    kept.files += covers
    kept.described["covers"] = [one.name for one in covers]


def _config(told: Mapping[str, Any]) -> dict[str, Any]:
    """What tools wrote for themselves; of what zoowizard wrote, all goes below `original`."""
    config = told.get("config")
    config = dict(config) if isinstance(config, Mapping) else {}
    own = config.pop("zoowizard", None)
    of_zoo = config.get("bioimageio")
    if isinstance(of_zoo, Mapping):
        config["bioimageio"] = {key: one for key, one in of_zoo.items() if key != "reproducibility_tolerance"}
    return {**config, **({"zoowizard": {"original": own}} if own else {})}


def _credit(person: Mapping[str, Any]) -> dict[str, Any]:
    return {key: person[key] for key in ("name", "affiliation", "github_user", "orcid") if person.get(key)}


def _known(contents: Contents, name: str) -> Any:
    found = values_of(contents).get(name)
    return None if found is None else found.value
