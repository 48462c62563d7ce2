"""What is to be predicted and where it goes, and how far that is."""

import math
import os
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Step
from zoowizard.prediction import omezarr, seams
from zoowizard.prediction.blocks import BYTES_A_VOXEL
from zoowizard.prediction.described import Output
from zoowizard.prediction.network import Network
from zoowizard.prediction.pictures import FILE_ENDINGS, Array, Hints, Picture, read_file
from zoowizard.prediction.run import Plan, kept, plan, put, read_block

RECORD: Final = ".zoowizard-predict.jsonl"
WRITTEN: Final = (".tif", ".tiff", ".png", ".npy", ".zarr")
"""The endings of what predictions are saved as."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a prediction beside package, input and output; see `run`."""

    axes: str
    channel: str
    scale: str
    block: tuple[int, ...]
    overwrite: bool
    memory_bytes: int


@dataclass(frozen=True)
class Task:
    """One image, and where its prediction goes: a file or an OME-Zarr folder by its ending."""

    source: Path
    destination: Path

    def goes_to(self, network: Network) -> dict[str, Path]:
        """A path for each output: several are told apart by their ids."""
        path = self.destination
        if len(network.outputs) == 1:
            return {network.outputs[0].id: path}
        return {one.id: path.with_name(f"{path.stem}-{one.id}{path.suffix}") for one in network.outputs}


def tasks_of(source: Path, output: Path) -> list[Task]:
    """The images at `source`, and a place for each.

    Raises ZoowizardError where there is none, two share one, or `output` ends in what nothing is saved as.
    """
    ending = output.suffix.lower()
    if not source.is_dir() or omezarr.is_zarr(source):
        if ending in WRITTEN:
            return [Task(source, output)]
        if ending[1:2].isalpha() and not output.is_dir():
            raise ZoowizardError(
                f"{output.name}: predictions are saved as {', '.join(WRITTEN)}; let OUTPUT end in one of them, or name "
                "a folder that is there"
            )
        return [Task(source, output / f"{source.stem}{'.zarr' if source.is_dir() else '.tif'}")]
    if ending in (*WRITTEN, *FILE_ENDINGS) and (omezarr.is_zarr(output) or not output.is_dir()):
        raise ZoowizardError(
            f"{output.name}: {source.name} is a folder of images, and so is its prediction; name a folder"
        )
    found = [one for one in sorted(source.iterdir()) if not one.name.startswith(".")]
    images = [one for one in found if (one.suffix.lower() in FILE_ENDINGS and one.is_file()) or omezarr.is_zarr(one)]
    if not images:
        raise ZoowizardError(f"{source} holds no image ({', '.join(FILE_ENDINGS)}, OME-Zarr)")
    names = [one.stem for one in images]
    tasks = []
    for one in images:
        stem = one.stem if names.count(one.stem) == 1 else one.name.replace(".", "-")
        tasks.append(Task(one, output / f"{stem}{'.zarr' if one.is_dir() else '.tif'}"))
    require_apart((task.source, task.destination) for task in tasks)
    return tasks


def require_apart(places: Iterable[tuple[Path, Path]]) -> None:
    """Raises ZoowizardError where two images (source, destination) would go to one file, in capitals or not."""
    taken: dict[str, Path] = {}
    for source, destination in places:
        other = taken.setdefault(unicodedata.normalize("NFC", str(destination)).casefold(), source)
        if other != source:
            raise ZoowizardError(
                f"{other.name} and {source.name} would both be predicted into {destination.name}; rename one of them"
            )


def open_picture(task: Task, network: Network, asked: Asked) -> Picture:
    """The image of a task. Raises ZoowizardError where it cannot be read."""
    hints = Hints(network.axes, network.channels or 1, asked.axes)
    if task.source.is_dir():
        return omezarr.open_picture(task.source, hints, asked.scale)
    if asked.scale:
        raise ZoowizardError(f"--scale: {task.source.name} has one resolution only; it is for OME-Zarr")
    return read_file(task.source, hints, asked.memory_bytes)


def plan_for(picture: Picture, network: Network, asked: Asked) -> Plan:
    """How an image is cut; not at all where blocks would not join, memory holds it, and nobody asked for blocks.

    Raises ZoowizardError where it does not fit, or what was asked does not.
    """
    names = [rule.name for rule in network.rules if rule.name != "time"]
    if len(asked.block) not in (0, 1, len(names)):
        raise ZoowizardError(f"--block: give one size, or {len(names)} ({', '.join(names)})")
    sides = asked.block * len(names) if len(asked.block) == 1 else asked.block
    made = plan(picture, network, asked.memory_bytes, dict(zip(names, sides, strict=False)), asked.channel)
    if made.blocks_a_frame == 1:
        return made
    if network.seams is None:
        network.seams = seams.in_words(made, network)
    if not network.seams or asked.block or not all(rule.step for rule in network.rules):
        return made
    whole = plan(picture, network, asked.memory_bytes, channel=asked.channel, whole=True)
    return whole if math.prod(axis.block for axis in whole.axes) * BYTES_A_VOXEL <= asked.memory_bytes // 2 else made


def require_free(paths: Iterable[Path], asked: Asked) -> None:
    """Raises ZoowizardError where something is there already that nobody asked to be replaced."""
    there = [path for path in paths if os.path.lexists(path)]
    if there and not asked.overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise ZoowizardError(f"{there[0]}{more}: is there already; choose another place, or give --overwrite")


def what_is_run(network: Network, asked: Asked, more: Mapping[str, Any]) -> dict[str, Any]:
    """What tells this prediction from others, for its record."""
    return {
        "package": network.identity,
        "axes": asked.axes,
        "channel": asked.channel,
        "scale": asked.scale,
        "block": list(asked.block),
        **more,
    }


def predict_block(
    made: Plan,
    network: Network,
    frame: Sequence[int],
    number: Sequence[int],
    values: Sequence[Array],
    targets: Mapping[str, Any],
) -> None:
    """Predict one block of one frame, `number` along each axis, and write it to its places in `targets`."""
    fed = read_block(made, network, frame, number)
    predicted = network.predict(fed[None], values, kept(made, network, number))
    put(targets, made, network, frame, number, {name: one[0] for name, one in predicted.items()})


def output_bytes(made: Plan, output: Output) -> int:
    """Bytes of a whole output."""
    return math.prod(made.output_shape(output)) * output.dtype.itemsize


class Pace:
    """Tells how much is predicted, and how long the rest will take."""

    def __init__(self, step: Step, total: int, done: int = 0) -> None:
        """`done` were there before."""
        self._step, self._total, self._done, self._before = step, total, done, done
        self._started = time.monotonic()

    def tell(self, name: str = "") -> None:
        """One more is done."""
        self._done += 1
        seconds = (time.monotonic() - self._started) / (self._done - self._before) * (self._total - self._done)
        words = f"{self._done} of {self._total}, {_left(seconds)}"
        self._step.progress(self._done / self._total, f"{words}  {name}".rstrip())


def _left(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0, round(seconds))} s left"
    return f"{round(seconds / 60)} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"
