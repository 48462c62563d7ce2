"""A job of the kind `probe`: checkpoint and answers → what the network is, what it gives after each normalisation."""

import importlib
import io
import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from PIL import Image

from zoowizard.atomic import write_bytes, write_text
from zoowizard.errors import ZoowizardError
from zoowizard.families.registry import family
from zoowizard.jobs.probed import PROBED
from zoowizard.jobs.steps import Steps
from zoowizard.packaging.resume import WEIGHTS_FOLDER


def run(work: Mapping[str, Any], folder: Path, steps: Steps) -> dict[str, Any]:
    """Probe one network. `work`: family, checkpoint, values (bare, by name; the normalisation may be missing).

    Leaves pictures (8-bit PNG) and `probed.json` in `folder`, and gives the path of the latter. Raises ZoowizardError
    with a sentence for a person where the network does not run, or is of a family that is not probed.
    """
    checkpoint = Path(work["checkpoint"])
    family(work["family"]).look(checkpoint)  # once more: it may have been changed since it was identified
    conversion = importlib.import_module(f"zoowizard.conversion.{work['family']}")
    if not hasattr(conversion, "probe"):
        raise ZoowizardError(f"{checkpoint.name}: a model of the family {work['family']} tells all that is asked here")
    values = {
        name: one for name, one in work["values"].items() if any(fnmatchcase(name, used) for used in conversion.USES)
    }
    weights_folder = folder / WEIGHTS_FOLDER
    weights_folder.mkdir(exist_ok=True)
    with steps.step("probe") as step:
        image = conversion.read_image(checkpoint, values)
        pictured = conversion.probe(checkpoint, values, image, weights_folder, step)
        for name, picture in pictured.pictures.items():
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "PNG")
            write_bytes(folder / name, buffer.getvalue())
        write_text(folder / PROBED, pictured.probed.model_dump_json(indent=1))
        step.note = f"{len(pictured.probed.candidates)} normalisations tried"
    shutil.rmtree(weights_folder, ignore_errors=True)
    return {"probed": str(folder / PROBED), "status": "passed"}
