"""What the zoo's own library is asked, in a clean child process that has never imported a model's framework.

A package can pass its tests by accident where the framework happens to be loaded (its operators are registered then).
The processes are forked from a server (`_preload`) that has imported bioimageio.core and nothing of any framework, so
that each is clean and none pays for the import again. A worker that is itself a fork finds the server of the process
that it was forked from.
"""

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
import yaml

from zoowizard import plain_yaml
from zoowizard.errors import ZoowizardError
from zoowizard.families.package_contents import DESCRIPTIONS
from zoowizard.jobs import forks
from zoowizard.jobs.computer import memory_bytes
from zoowizard.library import zoo_child

P = ParamSpec("P")
T = TypeVar("T")

FRAMEWORKS: Final = ("ultralytics", "cellpose", "segment_anything", "micro_sam", "stardist", "careamics", "detectron2")
POSTPROCESSING: Final = ("bioimageio.core._ops_cellpose", "bioimageio.core._ops_stardist")
"""Where the library itself asks for a framework, because the description has a postprocessing of that one."""
MOST_BESIDE_BYTES: Final = 600_000_000
SHARE_BESIDE: Final = 16
"""With more bytes of weights than that, or than this share of the memory, one process runs weights at a time: each was
measured to need three times the size of its weights and 0.4 GB, and the framework needs as much again."""
CACHE: Final = "BIOIMAGEIO_CACHE_PATH"
_server: list[socket.socket] = []
"""Our end of the way to the server, once it is started."""


class ProcessDied(ZoowizardError):
    """A clean process ended without an answer."""


def warm_up(cache: Path, gently: bool = False) -> None:
    """Start the server that the clean processes are forked from; it loads the library while others work.

    `cache` is where bioimageio may unpack things; it must be called before the first `in_clean_process`, and before
    this process imports torch: several processes work side by side, and threads that wait for each other by spinning
    would make them ten times slower. A server that is there already is used; `gently`, a new one gives way to others
    while it loads.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // 2)))
    os.environ[CACHE] = str(cache)
    if _server and forks.is_deserted(_server[0]):  # it was killed
        _server.pop().close()
    if not _server:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-m", "zoowizard.library._preload", str(theirs.fileno())]
            subprocess.Popen(
                [*command, "gently"] if gently else command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )
        _server.append(ours)


def _cores() -> int:
    """The cores that this process may use; what a batch system grants is often less than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fit_beside(weights_bytes: int) -> bool:
    """Whether the processes that run weights of this size, all together, may work beside each other and the worker."""
    return weights_bytes <= min(MOST_BESIDE_BYTES, memory_bytes() // SHARE_BESIDE)


def in_clean_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    """Run a module-level function in a clean process of its own; its death is an exception of the future: ProcessDied.

    It belongs to our process group, sees our environment and working folder, and ends with us.
    """
    call = pickle.dumps((function, args, kwargs))
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    request = forks.Request(
        "zoowizard.library.clean:answer", [], dict(os.environ), str(Path.cwd()), os.getpgrp(), bound=True
    )
    threading.Thread(target=_ask, args=(future, request, call), daemon=True).start()
    return future


def _ask(future: "Future[Any]", request: forks.Request, call: bytes) -> None:
    ours, theirs = socket.socketpair()
    try:
        with ours:
            with theirs:
                child = forks.ask(forks.knock(_server[0]), request, [theirs.fileno(), 1, 2], None)
            with ours.makefile("rwb") as line:
                line.write(call)
                line.flush()
                ours.shutdown(socket.SHUT_WR)
                answer = line.read()
        code = child.wait()
        if code != 0:
            raise ProcessDied(f"the process that asked the zoo's library {_ending(code)}; the log has the details")
        result, problem = pickle.loads(answer)
    except (forks.Refused, OSError) as why:
        future.set_exception(ProcessDied(f"the zoo's library could not be asked: {why}; the log has the details"))
    except BaseException as unforeseen:
        future.set_exception(unforeseen)
    else:
        if problem is None:
            future.set_result(result)
        else:
            future.set_exception(problem)


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed (SIGKILL), most often because the memory ran out"
    if code < 0:
        return f"crashed ({signal.strsignal(-code) or -code})"
    return f"ended with exit code {code}"


def answer() -> int:
    """In a clean process: do the call that comes on standard input, and answer there. Gives the exit code 0."""
    with socket.socket(fileno=os.dup(0)) as asker:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        with asker.makefile("rwb") as line:
            function, args, kwargs = pickle.loads(line.read())
            _use_cache(Path(os.environ[CACHE]))
            _load_torchscript_from_disk(Path(os.environ[CACHE]))
            try:
                said: tuple[object, BaseException | None] = (function(*args, **kwargs), None)
            except Exception as problem:
                problem.add_note(traceback.format_exc())  # a traceback itself cannot be sent
                said = (None, problem)
            line.write(_pickled(said))
    return 0


def _pickled(said: tuple[object, BaseException | None]) -> bytes:
    try:
        packed = pickle.dumps(said)
        pickle.loads(packed)  # some exceptions can be packed and not be unpacked
    except Exception as unsuited:
        problem = said[1] or unsuited
        traceback.print_exception(problem)
        lines = str(problem).strip().splitlines() or ["no message"]
        return pickle.dumps((None, RuntimeError(f"{type(problem).__name__}: {lines[0]}")))
    return packed


def _use_cache(folder: Path) -> None:
    """Let the library unpack things in `folder`, although it was imported with another one."""
    from bioimageio.spec import settings

    folder.mkdir(parents=True, exist_ok=True)
    vars(settings.disk_cache)["dir_path"] = folder  # the defaults of its validation hold this very object
    settings.cache_path = folder


def _load_torchscript_from_disk(folder: Path) -> None:
    """Let TorchScript in a package be loaded from a file in `folder`: out of the zip, torch holds it three times."""
    import torch

    load = torch.jit.load

    def from_disk(source: Any, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(source, "read"):
            return load(source, *args, **kwargs)  # type: ignore[no-untyped-call]
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".pt") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            return load(file.name, *args, **kwargs)  # type: ignore[no-untyped-call]

    vars(torch.jit)["load"] = from_disk


def test_format(package: Path, weight_format: str) -> dict[str, Any]:
    """What `zoo_child.test` says of one weight format of a package (zip or description).

    With it `environment` (versions), and `frameworks`: model frameworks found loaded, which should be none but those
    that the library loaded for a postprocessing of the description, and the one that it says the network is of.
    """
    import bioimageio.core
    import bioimageio.spec

    trust_github_users(package)
    imports = _FrameworkImports()
    sys.meta_path.insert(0, imports)
    return {
        **zoo_child.test(package, weight_format),
        "environment": {
            "python": sys.version.split()[0],
            "bioimageio.core": bioimageio.core.__version__,
            "bioimageio.spec": bioimageio.spec.__version__,
            **_framework_version(weight_format),
        },
        "frameworks": [
            name
            for name in FRAMEWORKS
            if name in sys.modules and name not in imports.by_postprocessing and name != _named_library(package)
        ],
    }


def _named_library(package: Path) -> str:
    """The library that has the architecture of the state dict, as the description itself says; empty for a file."""
    entry: Any = _read_description(package)
    for name in ("weights", "pytorch_state_dict", "architecture", "import_from"):
        entry = entry.get(name) if isinstance(entry, Mapping) else None
    return entry.partition(".")[0] if isinstance(entry, str) else ""


class _FrameworkImports(MetaPathFinder):
    """Finds nothing, but sees who is the first to ask for a framework.

    A network that imports one does so before the first postprocessing: when it is made, or when it runs. One that was
    loaded before anybody asked was not loaded by the postprocessing either.
    """

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.by_postprocessing: set[str] = set()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Look at the first question for a framework only."""
        if name in FRAMEWORKS and name not in self.asked:
            self.asked.add(name)
            if any(frame.f_globals.get("__name__") in POSTPROCESSING for frame, _ in traceback.walk_stack(None)):
                self.by_postprocessing.add(name)


def weight_formats(package: Path) -> list[str]:
    """The weight formats in a package or description, the ones without a parent first."""
    from bioimageio.spec import load_model_description

    trust_github_users(package)
    model = load_model_description(package, perform_io_checks=False)
    found = [(name, entry) for name, entry in model.weights if entry is not None]
    return [name for name, _ in sorted(found, key=lambda one: getattr(one[1], "parent", None) is not None)]


def in_format_05(package: Path) -> dict[str, Any]:
    """The description in a package as data of the format 0.5, whatever it was written in; its version stays.

    One in 0.5 is given as it stands, without the library.
    """
    described = _read_description(package)
    version = str(described.get("format_version"))
    if version.startswith("0.5."):
        return dict(described)
    from bioimageio.spec import load_model_description

    model = load_model_description(package, perform_io_checks=False, format_version="latest")
    return {**model.model_dump(mode="json"), "format_version": version}


def predict(description: Path, weight_format: str, inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Run a package through bioimageio.core: each input (`.npz`, tensors by id, or `.npy` of the only one; all axes) to
    all its outputs (`.npz` by id)."""
    from bioimageio.core import create_prediction_pipeline
    from bioimageio.core.digest_spec import create_sample_for_model
    from bioimageio.spec import load_model_description

    trust_github_users(description)
    model = load_model_description(description, perform_io_checks=False)
    pipeline = create_prediction_pipeline(model, weight_format=weight_format, devices=["cpu"])
    with pipeline:
        for number, (source, destination) in enumerate(zip(inputs, outputs, strict=True)):
            tensors = np.load(source, allow_pickle=False)
            by_id = {str(model.inputs[0].id): tensors} if isinstance(tensors, np.ndarray) else dict(tensors)
            sample = create_sample_for_model(model, inputs=by_id, sample_id=number)
            # as the library's own test does it: with a halo it would pad the image, and predict another one
            predicted = pipeline.predict_sample_without_blocking(
                sample, skip_input_padding=True, skip_output_cropping=True
            )
            np.savez(destination, **{str(name): tensor.data.to_numpy() for name, tensor in predicted.members.items()})


def _framework_version(weight_format: str) -> dict[str, str]:
    if weight_format == "onnx":
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}
    import torch

    return {"torch": torch.__version__}


def trust_github_users(package: Path) -> None:
    """Keep the library from asking GitHub for users: offline it would call the model invalid.

    Whether they exist is listed for the person as what only the network can tell.
    """
    zoo_child.trust_github_users(_read_description(package))


def _read_description(package: Path) -> Mapping[str, Any]:
    try:
        if zipfile.is_zipfile(package):
            with zipfile.ZipFile(package) as archive:
                text = archive.read(next(name for name in DESCRIPTIONS if name in archive.namelist()))
        else:
            text = package.read_bytes()
        described = plain_yaml.load(text)
    except (OSError, StopIteration, yaml.YAMLError, UnicodeDecodeError):
        return {}  # the library itself will say what is wrong
    return described if isinstance(described, Mapping) else {}
