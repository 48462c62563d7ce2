"""What the zoo's own library is asked, in a clean child process that has never imported a model's framework.

A package can pass its tests by accident where the framework happens to be loaded (its operators are registered then).
The processes are forked from a server that has imported bioimageio.core and nothing of any framework, so that each is
clean and none pays for the import again.
"""

import multiprocessing
import os
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
import yaml

from zoowizard.packaging.archive import DESCRIPTIONS

P = ParamSpec("P")
T = TypeVar("T")

WARNING: Final = 30
"""From this severity on the library means a warning; below, it tells what went well."""
FRAMEWORKS: Final = ("ultralytics", "cellpose", "segment_anything", "micro_sam", "stardist", "careamics", "detectron2")
_context = multiprocessing.get_context("forkserver")


def warm_up(cache: Path) -> None:
    """Start the server that the clean processes are forked from; it loads the library while others work.

    `cache` is where bioimageio may unpack things; it must be called before the first `in_clean_process`, and before
    this process imports torch: several processes work side by side, and threads that wait for each other by spinning
    would make them ten times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // 2)))
    os.environ["BIOIMAGEIO_CACHE_PATH"] = str(cache)
    _context.set_forkserver_preload(["zoowizard.packaging._preload"])
    forkserver.ensure_running()


def _cores() -> int:
    """The cores that this process may use; what a batch system grants is often less than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_clean_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    """Run a module-level function in a clean process of its own; its death is an exception of the future."""
    executor = ProcessPoolExecutor(1, mp_context=_context)
    future = executor.submit(function, *args, **kwargs)
    executor.shutdown(wait=False)
    return future


def test_format(package: Path, weight_format: str) -> dict[str, Any]:
    """The library's tests of one weight format of a package (zip or description): reproduction, sizes, batches.

    Gives `status` (passed or failed), `errors` and `warnings` (plain lines), `checks` (the names of what was done),
    `seconds`, `environment` (versions), and `frameworks`: model frameworks found loaded, which should be none.
    """
    import bioimageio.core
    import bioimageio.spec
    from bioimageio.core import test_description

    started = time.monotonic()
    _trust_github_users(package)
    summary = test_description(package, weight_format=weight_format, expected_type="model")
    errors = [_line(detail.name, error.loc, error.msg) for detail in summary.details for error in detail.errors]
    warnings = [
        _line(detail.name, one.loc, one.msg)
        for detail in summary.details
        for one in detail.warnings
        if one.severity >= WARNING
    ]
    return {
        "status": "passed" if summary.status == "passed" else "failed",
        "errors": errors,
        "warnings": list(dict.fromkeys(warnings)),
        "checks": [detail.name for detail in summary.details if detail.status == "passed"],
        "seconds": round(time.monotonic() - started, 3),
        "environment": {
            "python": sys.version.split()[0],
            "bioimageio.core": bioimageio.core.__version__,
            "bioimageio.spec": bioimageio.spec.__version__,
            **_framework_version(weight_format),
        },
        "frameworks": [name for name in FRAMEWORKS if name in sys.modules],
    }


def weight_formats(package: Path) -> list[str]:
    """The weight formats in a package or description, the ones without a parent first."""
    from bioimageio.spec import load_model_description

    _trust_github_users(package)
    model = load_model_description(package, perform_io_checks=False)
    found = [(name, entry) for name, entry in model.weights if entry is not None]
    return [name for name, _ in sorted(found, key=lambda one: getattr(one[1], "parent", None) is not None)]


def predict(description: Path, weight_format: str, inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Run a package through bioimageio.core: each input tensor (`.npy`, all axes) to all its outputs (`.npz` by id)."""
    from bioimageio.core import create_prediction_pipeline
    from bioimageio.core.digest_spec import create_sample_for_model
    from bioimageio.spec import load_model_description

    _trust_github_users(description)
    model = load_model_description(description, perform_io_checks=False)
    pipeline = create_prediction_pipeline(model, weight_format=weight_format, devices=["cpu"])
    with pipeline:
        for number, (source, destination) in enumerate(zip(inputs, outputs, strict=True)):
            sample = create_sample_for_model(model, inputs={str(model.inputs[0].id): np.load(source)}, sample_id=number)
            predicted = pipeline.predict_sample_without_blocking(sample)
            np.savez(destination, **{str(name): tensor.data.to_numpy() for name, tensor in predicted.members.items()})


def _line(name: str, place: Sequence[Any], message: str) -> str:
    where = ".".join(str(part) for part in place)
    first = message.strip().splitlines()[0] if message.strip() else ""
    return ": ".join(part for part in (name, where, first) if part)


def _framework_version(weight_format: str) -> dict[str, str]:
    if weight_format == "onnx":
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}
    import torch

    return {"torch": torch.__version__}


def _trust_github_users(package: Path) -> None:
    """Keep the library from asking GitHub for users: offline it would call the model invalid.

    Whether they exist is listed for the person as what only the network can tell.
    """
    from bioimageio.spec._internal.constants import KNOWN_GITHUB_USERS

    described = _read_description(package)
    for role in ("authors", "maintainers"):
        people = described.get(role)
        for person in people if isinstance(people, list) else ():
            if isinstance(person, Mapping) and isinstance(person.get("github_user"), str):
                KNOWN_GITHUB_USERS.add(person["github_user"].lower())


def _read_description(package: Path) -> Mapping[str, Any]:
    try:
        if zipfile.is_zipfile(package):
            with zipfile.ZipFile(package) as archive:
                text = archive.read(next(name for name in DESCRIPTIONS if name in archive.namelist()))
        else:
            text = package.read_bytes()
        described = yaml.safe_load(text)
    except (OSError, StopIteration, yaml.YAMLError, UnicodeDecodeError):
        return {}  # the library itself will say what is wrong
    return described if isinstance(described, Mapping) else {}
