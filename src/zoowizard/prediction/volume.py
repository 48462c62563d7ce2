"""Predicting an image into OME-Zarr, block by block, so that it may be larger than memory and go on after any death."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Step, Steps
from zoowizard.prediction import omezarr
from zoowizard.prediction.network import Network, Output
from zoowizard.prediction.pictures import Picture
from zoowizard.prediction.record import Record, held
from zoowizard.prediction.run import Plan, statistics, warnings
from zoowizard.prediction.tasks import (
    RECORD,
    Asked,
    Pace,
    Task,
    open_picture,
    output_bytes,
    plan_for,
    predict_block,
    require_free,
    what_is_run,
)

PART: Final = ".part"
LONGEST_CHUNK: Final = {2: 1024, 3: 128}
"""Of what is not cut into blocks, by the number of spatial axes."""


def volume(
    task: Task, network: Network, asked: Asked, steps: Steps, step: Step | None, resumes: bool = False
) -> list[Path]:
    """Predict an image into OME-Zarr, block by block; gives the paths. What is there of an earlier run is kept."""
    picture = open_picture(task, network, asked)
    made = plan_for(picture, network, asked)
    paths = task.goes_to(network)
    part = task.destination.with_name(task.destination.name + PART)
    blocks = [[axis.block, axis.tile] for axis in made.axes]
    what = what_is_run(network, asked, {"image": picture.identity, "blocks": blocks})
    if resumes and not part.exists() and all(path.exists() for path in paths.values()):
        return list(paths.values())
    if not (part / RECORD).exists():
        require_free(paths.values(), asked)
    for text in warnings(picture, network, made):
        steps.note("warning", text)
    part.mkdir(parents=True, exist_ok=True)
    record = Record(part / RECORD, what, asked.overwrite)
    with held(record, {"": ""}):
        if not record.resumed:
            for leftover in part.glob("*.zarr"):
                shutil.rmtree(leftover)
        _require_room(part, made, network, record)
        targets = {}
        for output in network.outputs:
            if "written" not in record.done:
                targets[output.id] = _target(part, made, output, picture)
        if "written" not in record.done:
            _predict_volume(made, network, record, targets, step)
            record.finish("written")
        for name, path in paths.items():
            if (part / f"{name}.zarr").exists():
                if path.exists():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                (part / f"{name}.zarr").rename(path)
    shutil.rmtree(part)
    return list(paths.values())


def _target(part: Path, made: Plan, output: Output, picture: Picture) -> Any:
    spatial = sum(name in "zyx" for name in output.spatial)
    return omezarr.create(
        part / f"{output.id}.zarr",
        made.output_shape(output),
        made.chunks(output, LONGEST_CHUNK.get(spatial, 128)),
        np.dtype(np.uint8) if output.dtype == np.bool_ else output.dtype,
        made.output_axes(output),
        made.pixel_size(output),
        picture.ngff or "0.5",
        output.id,
    )


def _predict_volume(
    made: Plan, network: Network, record: Record, targets: Mapping[str, Any], step: Step | None
) -> None:
    counts = [axis.count for axis in made.axes]
    pace = None if step is None else Pace(step, made.blocks, len(record.done))
    if step is not None and record.done:
        step.note = f"{len(record.done)} of {made.blocks} blocks were there already"
    for place, frame in enumerate(made.frames):
        blocks = [(place * made.blocks_a_frame + count, number) for count, number in enumerate(np.ndindex(*counts))]
        left = [(key, number) for key, number in blocks if str(key) not in record.done]
        if not left:
            continue
        if f"statistics {place}" not in record.told:
            record.tell(f"statistics {place}", [value.tolist() for value in statistics(made, network, frame)])
        values = [np.array(value, np.float64) for value in record.told[f"statistics {place}"]]
        for key, number in left:
            predict_block(made, network, frame, number, values, targets)
            record.finish(str(key))
            if pace is not None:
                pace.tell()


def _require_room(part: Path, made: Plan, network: Network, record: Record) -> None:
    left = 1 - len(record.done) / (made.blocks + 1)
    needed = sum(output_bytes(made, output) for output in network.outputs) * left
    free = shutil.disk_usage(part).free
    if free < needed:
        raise ZoowizardError(
            f"the disk is full: the output has up to {needed / 1e9:.1f} GB, and {part.parent} has room for "
            f"{free / 1e9:.1f} GB; free some space, or choose another disk"
        )
