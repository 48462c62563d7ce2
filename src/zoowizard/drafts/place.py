"""Where a person was in the wizard, so that coming back lands there: `place.json` in the model's folder."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict

from zoowizard.atomic import write_json
from zoowizard.drafts.store import Text, Workspace
from zoowizard.errors import ZoowizardError

BIGGEST_PLACE: Final = 1_000_000


@dataclasses.dataclass(frozen=True)
class Place:
    """The step, the field that had the cursor (or none), and what stood in inputs without being a right answer yet."""

    step: str = "model"
    field: str = ""
    typed: Mapping[str, str] = dataclasses.field(default_factory=dict)


class _StoredPlace(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    step: Text = "model"
    field: Text = ""
    typed: dict[str, Text] = {}


def read_place(workspace: Workspace, draft_id: str) -> Place:
    """Where the person was; the beginning where nothing is known, or nothing that can be read."""
    try:
        path = workspace.folder(draft_id) / "place.json"
        if path.stat().st_size > BIGGEST_PLACE:
            return Place()
        stored = _StoredPlace.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError, ZoowizardError):
        return Place()
    return Place(stored.step, stored.field, stored.typed)


def write_place(workspace: Workspace, draft_id: str, place: Place) -> None:
    """Keep where the person is. Raises ZoowizardError where it cannot be saved."""
    path = workspace.folder(draft_id) / "place.json"
    write_json(path, {"step": place.step, "field": place.field, "typed": dict(place.typed)})
