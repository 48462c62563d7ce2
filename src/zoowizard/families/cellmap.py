"""What CellMap writes beside a network that it exports: `metadata.json`.

Source of the format: `ModelMetadata` in `cellmap_models/model_export/generate_metadata.py` of cellmap-models, and the
card that it writes there, which says that voxel sizes are in nanometers.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.draft import Value
from zoowizard.drafts.questions import FIELDS
from zoowizard.errors import ZoowizardError
from zoowizard.families.network_fields import NETWORK_FIELDS
from zoowizard.families.pickles import opened

NAME: Final = "metadata.json"
LARGEST_BYTES: Final = 200_000
_OWN: Final = frozenset({"input_voxel_size", "output_voxel_size", "inference_input_shape", "channels_names"})
_CHECKS: Final = {field.name: field.check for field in (*FIELDS, *NETWORK_FIELDS)}


def beside(path: Path) -> dict[str, Value]:
    """What CellMap's `metadata.json` beside the file at `path` answers; empty where there is none that can be read."""
    try:
        with opened(path.parent / NAME) as file:
            told = json.loads(file.read(LARGEST_BYTES + 1)[:LARGEST_BYTES])
    except (ZoowizardError, ValueError, RecursionError):
        return {}
    if not isinstance(told, dict) or "model_name" not in told or not _OWN & set(told):
        return {}
    return {name: Value(one, NAME) for name, one in _answers(told).items() if one and _CHECKS[name](one) is None}


def _answers(told: Mapping[str, Any]) -> dict[str, Any]:
    named = re.sub(r"[^A-Za-z0-9+() -]+", " ", str(told["model_name"] or ""))
    sizes, channels = told.get("input_voxel_size"), told.get("channels_names")
    known = isinstance(sizes, list) and len(sizes) in (2, 3)
    return {
        "name": " ".join(named.split()),
        "description": told.get("description"),
        "pixel_size": f"{' x '.join(str(one) for one in sizes or ())} nanometer" if known else None,
        "output_channels": [re.sub(r"\W+", "_", str(one)).strip("_") for one in channels]
        if isinstance(channels, list)
        else None,
    }
