"""Predicting an image into OME-Zarr, block by block, so that it may be larger than memory and go on after any death."""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Step, Steps
from zoowizard.prediction import omezarr
from zoowizard.prediction.described import Output
from zoowizard.prediction.network import Network
from zoowizard.prediction.pictures import Array, Picture
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
    blocks = [[axis.tile, *axis.read(0)] for axis in made.axes]
    what = what_is_run(network, asked, {"image": picture.identity, "blocks": blocks})
    if resumes and not part.exists() and all(path.exists() for path in paths.values()):
        return list(paths.values())
    _require_own(part)
    if not (part / RECORD).exists():
        require_free(paths.values(), asked)
    for text in warnings(picture, network, made):
        steps.note("warning", text)
    part.mkdir(parents=True, exist_ok=True)
    record = Record(part / RECORD, what, asked.overwrite)
    with held(record, {}):
        if not record.resumed:
            for leftover in part.glob("*.zarr"):
                _remove(leftover)
        require_free(_not_moved(paths, part, record).values(), asked)
        _require_room(part, made, network, record)
        if "written" not in record.done:
            targets = {output.id: _target(part, made, output, picture) for output in network.outputs}
            _predict_volume(made, network, record, targets, step)
            record.finish("written")
        for name, path in _not_moved(paths, part, record).items():
            require_free([path], asked)  # it may have come while the blocks were predicted
            _remove(path)
            (part / f"{name}.zarr").rename(path)
    with contextlib.suppress(OSError):  # what others put there stays
        part.rmdir()
    return list(paths.values())


def _require_own(part: Path) -> None:
    """Raises ZoowizardError where there is a folder (or else) of that name which no prediction made."""
    if os.path.lexists(part) and (
        part.is_symlink() or not part.is_dir() or (any(part.iterdir()) and not (part / RECORD).exists())
    ):
        raise ZoowizardError(
            f"{part} is there already and no prediction began it; the parts of this one go there, so move it away"
        )


def _not_moved(paths: Mapping[str, Path], part: Path, record: Record) -> dict[str, Path]:
    """The outputs that do not lie at their places yet: once all is written, those still in `part`."""
    is_written = "written" in record.done
    return {name: path for name, path in paths.items() if not is_written or (part / f"{name}.zarr").exists()}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
        values: list[Array] | None = None
        for key, number in enumerate(np.ndindex(*counts), place * made.blocks_a_frame):
            if str(key) in record.done:
                continue
            if f"statistics {place}" not in record.told:
                record.tell(f"statistics {place}", [value.tolist() for value in statistics(made, network, frame)])
            if values is None:
                values = [np.array(value, np.float64) for value in record.told[f"statistics {place}"]]
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
