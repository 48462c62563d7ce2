"""Python environments with versions of their own, beside that of zoowizard: built once with uv, then kept.

`zoo` has the versions of the zoo's own runner, and with them cellpose 3. An environment is a folder
`NAME-DIGEST/` below the person's cache; the digest is that of its pins, so that new pins make a new one. A Python
environment holds its own path and cannot be renamed, so it is built where it stays and counts only once the file
`complete` is in it, which is written last. Whoever builds holds a lock that uv inherits: as long as either lives,
nobody else builds there.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import platformdirs

from zoowizard.atomic import NO_ROOM, write_text
from zoowizard.errors import ZoowizardError

PYTHON: Final = "3.11"
COMPLETE: Final = "complete"
PLACE: Final = "ZOOWIZARD_ENVIRONMENTS"
"""The variable that names another folder for the environments; `0` forbids to build or to use any."""
LOOK_EVERY_S: Final = 0.2
GET_UV: Final = "uv is not installed (get it from https://docs.astral.sh/uv/, or with `pip install uv`)"
_OURS: Final = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONSAFEPATH",
    "PYTHONPLATLIBDIR",
    "LD_PRELOAD",
    "UV_PROJECT_ENVIRONMENT",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_BREAK_SYSTEM_PACKAGES",
    "UV_CONSTRAINT",
    "UV_OVERRIDE",
    "UV_BUILD_CONSTRAINT",
    "UV_EXCLUDE_NEWER",
    "UV_REQUIRE_HASHES",
    "UV_WORKING_DIRECTORY",
)
"""What says where our Python is or which versions are wanted; where uv finds packages stays as the person set it."""

OnProgress = Callable[[float, str], None]
"""Is told how far the building is (0 to 1), and what is done."""


class NoEnvironment(ZoowizardError):
    """An environment cannot be had here; the message says why, as a sentence without a full stop."""


def interpreter(name: str, on_progress: OnProgress = lambda fraction, note: None) -> Path:
    """The Python of the environment `name`, built if it is not there; several processes may ask at once.

    Building needs uv and the network once. Raises NoEnvironment where it is forbidden or cannot be built.
    """
    pins = _pins(name)
    folder = _root() / f"{name}-{_digest(pins)}"
    python = folder / "bin" / "python"
    if _is_complete(folder):
        return python
    uv = shutil.which("uv")
    if uv is None:
        raise NoEnvironment(GET_UV)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder.with_suffix(".lock"), lambda: on_progress(0.0, "another job is building it")) as lock:
            if not _is_complete(folder):
                shutil.rmtree(folder, ignore_errors=True)  # of a building that was killed, or whose base was removed
                _build(uv, folder, pins, lock, on_progress)
    except OSError as problem:
        reason = "the disk is full" if problem.errno in NO_ROOM else (problem.strerror or str(problem)).lower()
        raise NoEnvironment(f"{folder.parent} cannot be used: {reason}") from problem
    return python


def clean_variables() -> dict[str, str]:
    """Our environment variables without those that would let our packages be found in another Python."""
    return {name: value for name, value in os.environ.items() if name not in _OURS} | {"PYTHONNOUSERSITE": "1"}


def _pins(name: str) -> Path:
    return Path(__file__).with_name(f"environment_{name}.txt")


def _digest(pins: Path) -> str:
    return hashlib.sha256(PYTHON.encode() + pins.read_bytes()).hexdigest()[:12]


def _root() -> Path:
    place = os.environ.get(PLACE, "")
    if place == "0":
        raise NoEnvironment(f"{PLACE}=0 forbids environments beside this one")
    return Path(place).expanduser().absolute() if place else platformdirs.user_cache_path("zoowizard") / "environments"


def _is_complete(folder: Path) -> bool:
    """Whether it was built to the end and the Python that it stands on is still there."""
    return (folder / COMPLETE).is_file() and (folder / "bin" / "python").exists()


@contextmanager
def _locked(path: Path, on_wait: Callable[[], None]) -> Iterator[int]:
    """Hold the lock `path`, waiting for it if need be; gives its descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                on_wait()
                time.sleep(LOOK_EVERY_S)
        yield descriptor
    finally:
        os.close(descriptor)


def _build(uv: str, folder: Path, pins: Path, lock: int, on_progress: OnProgress) -> None:
    wanted = sum(1 for line in pins.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#"))
    try:
        on_progress(0.0, f"making a Python {PYTHON} for it (once)")
        _run([uv, "venv", "--no-project", "--python", PYTHON, str(folder)], folder.parent, lock, lambda line: None)
        seen = 0

        def tell(line: str) -> None:
            nonlocal seen
            seen += line.startswith(("Downloaded", "Downloading", "Built"))
            on_progress(min(0.95, 0.02 + seen / (2 * max(wanted, 1))), line)

        on_progress(0.02, f"installing {wanted} packages of the versions that the zoo's runner has (once)")
        _run([uv, "pip", "install", "--python", str(folder), "--requirements", str(pins)], folder, lock, tell)
        write_text(folder / COMPLETE, f"{pins.name}, Python {PYTHON}\n")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _run(command: list[str], folder: Path, lock: int, on_line: Callable[[str], None]) -> None:
    """Run uv in `folder`, where it finds no project's settings, and give the lines that it says."""
    variables = clean_variables() | {"NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
    last: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=[lock],  # held until uv has ended, even where we are killed
    ) as process:
        try:
            for line in process.stderr or ():
                if line.strip():
                    last.append(line.strip())
                    on_line(line.strip())
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise NoEnvironment(_why(list(last)))


def _why(said: list[str]) -> str:
    """What uv said on its way out, in plain words."""
    text = "\n".join(said).lower()
    if "no space left" in text or "os error 28" in text or "quota exceeded" in text or "os error 122" in text:
        return "the disk is full: the versions of the zoo's runner need about 6 GB; free some space and try again"
    without = (
        "dns error",
        "error sending request",
        "failed to connect",
        "connection refused",
        "network is unreachable",
    )
    if any(
        sign in text for sign in (*without, "network was disabled", "network connectivity is disabled", "timed out")
    ):
        return "they could not be fetched: no network, or the package registry does not answer"
    return f"uv could not install them: {said[-1] if said else 'it said nothing'}"
