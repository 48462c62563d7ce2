"""Receipts: what an upload has achieved so far, one file for each place that a package went to.

ROOT/models/<id>/receipts/<kind>-<hash of the place>.json
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from zoowizard.atomic import write_json
from zoowizard.drafts.store import Workspace
from zoowizard.errors import ZoowizardError

FOLDER: Final = "receipts"
ON_THIS_COMPUTER: Final = ("folder",)
"""Kinds of places that are no server, and so confirm nothing."""


class Receipt(BaseModel):
    """What became of one package in one place.

    `kind` says what sort of place it is, `where` which one. `sha256` and `size` (bytes) are those of the zip.
    `confirmed` is true only where a server has confirmed every byte: a saved file never is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z-]*$")]
    where: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    state: Literal["begun", "done"]
    confirmed: bool = False
    at: Annotated[AwareDatetime, Field(strict=False)]

    @model_validator(mode="after")
    def _only_servers_confirm(self) -> "Receipt":
        if self.confirmed and (self.kind in ON_THIS_COMPUTER or self.state != "done"):
            raise ValueError("only a server that has every byte confirms")
        return self


def keep(workspace: Workspace, draft_id: str, receipt: Receipt) -> Path:
    """Save a receipt in the place of an older one of the same place; gives its path. Raises ZoowizardError."""
    folder = workspace.folder(draft_id) / FOLDER
    place = hashlib.sha256(os.fsencode(f"{receipt.kind} {receipt.where}")).hexdigest()[:16]
    path = folder / f"{receipt.kind}-{place}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ZoowizardError(f"could not make the folder {folder}: {(problem.strerror or '').lower()}") from problem
    write_json(path, receipt.model_dump(mode="json"))
    return path


def receipts(workspace: Workspace, draft_id: str) -> list[Receipt]:
    """The receipts of a model, newest first. One that cannot be read counts as none: it proves nothing."""
    found = []
    try:
        paths = sorted((workspace.folder(draft_id) / FOLDER).glob("*.json"))
    except OSError:
        return []
    for path in paths:
        try:
            found.append(Receipt.model_validate(json.loads(path.read_bytes())))
        except (OSError, ValueError, RecursionError, ValidationError):
            continue
    return sorted(found, key=lambda receipt: receipt.at, reverse=True)
