"""A job of the kind `predict`: a package, applied to an image, a folder of images, or a volume larger than memory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoowizard.jobs.computer import memory_bytes
from zoowizard.jobs.steps import Steps
from zoowizard.prediction import omezarr
from zoowizard.prediction.images import folder_of_images, one_image
from zoowizard.prediction.network import open_package
from zoowizard.prediction.tasks import Asked, require_free, tasks_of
from zoowizard.prediction.volume import volume


def run(work: Mapping[str, Any], folder: Path, steps: Steps) -> dict[str, Any]:
    """Predict. `work`: package, input and output (paths), umask, overwrite, and empty where nothing is asked: axes
    (letters), channel, scale, block (pixels of the last axes), weights (a format).

    Gives the paths of what was written. What an earlier, ended run of the same prediction has done is not done again.
    Raises ZoowizardError where package or input cannot be used, or where some images of a folder could not be
    predicted.
    """
    asked = Asked(
        work["axes"], work["channel"], work["scale"], tuple(work["block"]), bool(work["overwrite"]), memory_bytes()
    )
    source, output = Path(work["input"]), Path(work["output"])
    with steps.step("read") as step:
        tasks = tasks_of(source, output)  # first, as it is told at once what is wrong with them
        network = open_package(Path(work["package"]), folder, work["weights"])
        if network.own_code:
            steps.note("info", f"the package's own code ({network.own_code}) was run in this job")
        step.note = f"{network.name}, {len(tasks)} image{'s' if len(tasks) > 1 else ''}"
    os.umask(int(work["umask"]))
    if source.is_dir() and not omezarr.is_zarr(source):
        return folder_of_images(tasks, network, asked, output, steps)
    [task] = tasks
    if task.destination.suffix == ".zarr":
        with steps.step("predict") as step:
            done = volume(task, network, asked, steps, step)
    else:
        with steps.step("predict") as step:
            require_free(task.goes_to(network).values(), asked)
            done = one_image(task, network, asked, steps, step)
    return {"outputs": [str(path) for path in done], "predicted": 1, "status": "passed"}
