"""Predicting images into files: one, or a folder of them, those of one size several at once."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Step, Steps, in_a_sentence, is_want_of_memory
from zoowizard.prediction.network import Network
from zoowizard.prediction.pictures import Array, require_holds, write_file
from zoowizard.prediction.record import Record, held
from zoowizard.prediction.run import Plan, kept, put, read_block, statistics, warnings
from zoowizard.prediction.tasks import (
    RECORD,
    Asked,
    Pace,
    Task,
    open_picture,
    output_bytes,
    plan_for,
    predict_block,
    require_apart,
    require_free,
    what_is_run,
)
from zoowizard.prediction.volume import volume

TOGETHER_VOXELS: Final = 1 << 20
MOST_NAMED: Final = 5

Waiting = tuple[Task, Plan, Array, list[Array]]
"""An image of one block that is read: its plan, the block, its statistics."""


def one_image(task: Task, network: Network, asked: Asked, steps: Steps, step: Step | None) -> list[Path]:
    """Predict an image into files; gives their paths."""
    picture = open_picture(task, network, asked)
    made = plan_for(picture, network, asked)
    for output in network.outputs:  # whole numbers of any type may be small enough
        dtype = output.dtype if output.dtype.kind == "f" else np.dtype(np.uint16)
        require_holds(task.goes_to(network)[output.id], made.output_shape(output), dtype)
    for text in warnings(picture, network, made):
        steps.note("warning", text)
    bytes_whole = sum(output_bytes(made, output) for output in network.outputs)
    if bytes_whole > asked.memory_bytes // 2:
        raise ZoowizardError(
            f"the output has {bytes_whole / 1e9:.1f} GB, too much for the memory at once; let OUTPUT end in .zarr"
        )
    targets = {one.id: np.zeros(made.output_shape(one), one.dtype) for one in network.outputs}
    pace = None if step is None else Pace(step, made.blocks)
    for frame in made.frames:
        values = statistics(made, network, frame)
        for number in np.ndindex(*(axis.count for axis in made.axes)):
            predict_block(made, network, frame, number, values, targets)
            if pace is not None:
                pace.tell()
    return _save(task, network, made, targets)


def _save(task: Task, network: Network, made: Plan, targets: Mapping[str, Array]) -> list[Path]:
    paths = task.goes_to(network)
    for output in network.outputs:
        path = paths[output.id]
        path.parent.mkdir(parents=True, exist_ok=True)
        values = _as_it_fits(targets[output.id])
        write_file(path, values, made.output_axes(output), made.pixel_size(output))
    return list(paths.values())


def _as_it_fits(values: Array) -> Array:
    """Labels in 16 bits where that holds them, else in 32; intensities as 32-bit floats."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    if values.dtype.itemsize <= 2 and values.dtype.kind == "u":
        return values
    least, most = (int(values.min()), int(values.max())) if values.size else (0, 0)
    kind = next(one for one in (np.uint16, np.int16, np.uint32, np.int32, np.int64) if _holds(one, least, most))
    return values.astype(kind)


def _holds(kind: Any, least: int, most: int) -> bool:
    return bool(np.iinfo(kind).min <= least and most <= np.iinfo(kind).max)


def folder_of_images(
    tasks: Sequence[Task], network: Network, asked: Asked, output: Path, steps: Steps
) -> dict[str, Any]:
    """Predict all images of a folder; one that cannot be predicted does not stop the others."""
    require_apart((task.source, path) for task in tasks for path in task.goes_to(network).values())
    output.mkdir(parents=True, exist_ok=True)
    planned = [str(path) for task in tasks for path in task.goes_to(network).values()]
    is_new = not (output / RECORD).exists()
    if is_new:
        require_free(map(Path, planned), asked)
    record = Record(output / RECORD, what_is_run(network, asked, {"outputs": planned}), asked.overwrite)
    failed: dict[str, str] = {}
    written: list[Path] = []
    with held(record, failed), steps.step("predict") as step:
        pace = Pace(step, len(tasks))
        for task, outcome in _predict_all(tasks, network, asked, record, steps):
            if isinstance(outcome, Exception):
                if is_want_of_memory(outcome):
                    raise outcome
                failed[task.source.name] = in_a_sentence(outcome)
                steps.note("warning", f"{task.source.name}: {failed[task.source.name]}")
            else:
                written += outcome
            pace.tell(task.source.name)
        step.note = f"{len(tasks) - len(failed)} of {len(tasks)} images"
    if failed:
        named = "; ".join(f"{name}: {reason}" for name, reason in list(failed.items())[:MOST_NAMED])
        more = f"; and {len(failed) - MOST_NAMED} more" if len(failed) > MOST_NAMED else ""
        raise ZoowizardError(
            f"{len(failed)} of {len(tasks)} images could not be predicted (the others are in {output}): {named}{more}"
        )
    return {"outputs": [str(path) for path in written], "predicted": len(tasks), "status": "passed"}


def _claim(paths: Sequence[Path], record: Record, asked: Asked) -> None:
    """Note that we write there, so that what lies there after a death is known as ours.

    Raises ZoowizardError where something else came there since the beginning.
    """
    for path in paths:
        if f"writes {path}" not in record.done:
            require_free([path], asked)
            record.finish(f"writes {path}")


def _predict_all(
    tasks: Sequence[Task], network: Network, asked: Asked, record: Record, steps: Steps
) -> Iterator[tuple[Task, list[Path] | Exception]]:
    """Predict images, those of one size that fit into one block several at once; gives what became of each."""
    waiting: list[tuple[Task, Plan, Array, list[Array]]] = []
    said: set[str] = set()
    for task in tasks:
        paths = list(task.goes_to(network).values())
        try:
            if task.destination.suffix == ".zarr":
                yield task, volume(task, network, asked, steps, None, record.resumed)
                continue
            picture = open_picture(task, network, asked)
            if picture.identity in record.done and all(path.exists() for path in paths):
                yield task, paths
                continue
            made = plan_for(picture, network, asked)
            for text in warnings(picture, network, made):
                if (kind := text.replace(picture.name, "")) not in said:  # the same of a hundred images is told once
                    said.add(kind)
                    steps.note("warning", text)
            _claim(paths, record, asked)
            if made.blocks > 1:
                done = one_image(task, network, asked, steps, None)
                record.finish(picture.identity)
                yield task, done
                continue
            frame, number = next(made.frames), (0,) * len(made.axes)
            one = (task, made, read_block(made, network, frame, number), statistics(made, network, frame))
        except Exception as problem:
            yield task, problem
            continue
        if waiting and not _fit_together(waiting[0], one):
            yield from _predict_together(waiting, network, record)
            waiting = []
        waiting.append(one)
        if len(waiting) >= min(network.together, max(1, TOGETHER_VOXELS // max(1, one[2].size))):
            yield from _predict_together(waiting, network, record)
            waiting = []
    if waiting:
        yield from _predict_together(waiting, network, record)


def _fit_together(one: tuple[Task, Plan, Array, list[Array]], other: tuple[Task, Plan, Array, list[Array]]) -> bool:
    return one[2].shape == other[2].shape and one[1].axes == other[1].axes


def _predict_together(
    waiting: Sequence[tuple[Task, Plan, Array, list[Array]]], network: Network, record: Record
) -> Iterator[tuple[Task, list[Path] | Exception]]:
    number = (0,) * len(waiting[0][1].axes)
    try:
        values = [np.concatenate(each) for each in zip(*(one[3] for one in waiting), strict=True)]
        predicted = network.predict(np.stack([one[2] for one in waiting]), values, kept(waiting[0][1], network, number))
    except Exception as problem:
        if len(waiting) == 1:
            yield waiting[0][0], problem
            return
        for one in waiting:  # find out which of them it is
            yield from _predict_together([one], network, record)
        return
    for place, (task, made, _, _) in enumerate(waiting):
        try:
            targets = {one.id: np.zeros(made.output_shape(one), one.dtype) for one in network.outputs}
            put(
                targets, made, network, next(made.frames), number, {name: one[place] for name, one in predicted.items()}
            )
            done = _save(task, network, made, targets)
            record.finish(made.picture.identity)
        except Exception as problem:
            yield task, problem
        else:
            yield task, done
