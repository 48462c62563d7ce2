"""Predicting in the test's own process, and what it said meanwhile; images of the tests."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from zoowizard.jobs.events import Note, StepDone, from_line
from zoowizard.jobs.steps import Steps
from zoowizard.prediction import job

Array = NDArray[Any]


@dataclass(frozen=True)
class Said:
    """What a prediction gave back, and what it told on its way."""

    outcome: Mapping[str, Any]
    warnings: list[str]
    notes: list[str]


def predict(package: Path, source: Path, output: Path, **asked: Any) -> Said:
    """Do the work of a job of the kind `predict`, as the worker does it."""
    folder = output.parent / f"job-{len(list(output.parent.glob('job-*')))}"
    folder.mkdir(parents=True)
    work = {
        "package": str(package),
        "input": str(source),
        "output": str(output),
        "umask": 0o022,
        **{"axes": "", "channel": "", "scale": "", "block": [], "weights": "", "overwrite": False, **asked},
    }
    before = os.umask(0o077)
    try:
        outcome = job.run(work, folder, Steps(folder / "events.jsonl"))
    finally:
        os.umask(before)
    events = [from_line(line)[1] for line in (folder / "events.jsonl").read_bytes().splitlines()]
    return Said(
        outcome,
        [event.text for event in events if isinstance(event, Note) and event.level == "warning"],
        [event.note for event in events if isinstance(event, StepDone)],
    )


def cells(*shape: int, seed: int = 0) -> Array:
    """An image with structure in it, uint16."""
    random = np.random.default_rng(seed)
    places = np.indices(shape)
    waves = sum(np.sin(place / (3 + number)) for number, place in enumerate(places))
    image: Array = (1000 * (waves + 3) + random.integers(0, 500, shape)).astype(np.uint16)
    return image


def ome_zarr(
    path: Path,
    pixels: Array,
    axes: str,
    scale: Mapping[str, float] | None = None,
    version: str = "0.5",
    chunks: tuple[int, ...] | None = None,
) -> Path:
    """Write an OME-Zarr of two resolutions as others write it; `scale` is in nanometers."""
    named = {"t": "time", "c": "channel"}
    factors = [(scale or {}).get(axis, 1.0) for axis in axes]
    told: dict[str, Any] = {
        "axes": [
            {
                "name": axis,
                "type": named.get(axis, "space"),
                **({"unit": "nanometer"} if scale and axis in scale else {}),
            }
            for axis in axes
        ],
        "datasets": [],
    }
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    for number in range(2):
        step = 2**number
        index = tuple(slice(None, None, step if axis in "yx" else 1) for axis in axes)
        level = pixels[index]
        array = group.create_array(
            f"s{number}",
            shape=level.shape,
            chunks=chunks or tuple(min(40, side) for side in level.shape),
            dtype=level.dtype,
        )
        array[...] = level
        sized = [one * (step if axis in "yx" else 1) for one, axis in zip(factors, axes, strict=True)]
        entry: dict[str, Any] = {"path": f"s{number}"}
        if scale:
            entry["coordinateTransformations"] = [{"type": "scale", "scale": sized}]
        told["datasets"].append(entry)
    if version == "0.4":
        group.attrs["multiscales"] = [{**told, "version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [told]}
    return path
