"""The warm process of a family: it loads what a build needs while a person answers questions, and becomes the worker.

`python -m zoowizard.jobs.warm yolo` loads in a niced thread, and then forks a worker for each job that is
started (see `forks`). It is found by its address in a private folder of this computer; the name tells all that must
be the same for both sides. It ends when nothing was asked of it for a while, when memory is short, and when
zoowizard or an installed package was changed. It is used on Linux only: elsewhere frameworks do not survive a fork.
"""

import contextlib
import fcntl
import gc
import hashlib
import importlib
import json
import os
import signal
import site
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zoowizard
from zoowizard.errors import ZoowizardError
from zoowizard.jobs import forks
from zoowizard.jobs.computer import memory_bytes
from zoowizard.jobs.engines import environment as seen_by_jobs
from zoowizard.jobs.locks import is_held, require_private

SWITCH, MOST_MB, IDLE_S = "ZOOWIZARD_WARM", "ZOOWIZARD_WARM_MB", "ZOOWIZARD_WARM_IDLE_S"
"""Environment variables: 0 for no warm processes; the most memory that one may take; how long it waits for work."""
FREE_MB_TO_START: Final = 4000
FREE_MB_TO_STAY: Final = 1000
LOOK_EVERY_S: Final = 5.0
PATIENCE_S: Final = 2.0
LONGEST_ADDRESS: Final = 100
"""The system takes 107 bytes."""

_READ_WHEN_LOADING: Final = (
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "CUDA_", "LD_", "PYTHON", "TORCH", "PYTORCH_", "ORT_"),
    *("YOLO_", "ULTRALYTICS_", "BIOIMAGEIO_", "HF_", "HOME", "TMPDIR", "XDG_", "SLURM_JOB_ID", "SLURM_STEP_ID"),
)
_READ_LATER: Final = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "BIOIMAGEIO_CACHE_PATH")


@dataclass(frozen=True)
class _Site:
    """Where a warm process is found: its address, and the lock that it holds while it lives."""

    folder: Path
    name: str

    @property
    def address(self) -> Path:
        return self.folder / f"{self.name}.socket"

    @property
    def lock(self) -> Path:
        return self.folder / f"{self.name}.lock"


def start(family: str, environment: Mapping[str, str] | None = None) -> None:
    """Let a warm process of the family begin to load; returns at once, and does nothing where one is there.

    It is only to save time, so nothing is raised where it cannot be.
    """
    seen = seen_by_jobs(os.environ if environment is None else environment)
    with contextlib.suppress(OSError, ZoowizardError):
        found = _site(family, seen)
        if found is None or _is_short_of_memory(FREE_MB_TO_START):
            return
        with contextlib.suppress(OSError), _connected(found):
            return
        nothing = subprocess.DEVNULL
        command = [sys.executable, "-P", "-m", "zoowizard.jobs.warm", family]
        process = subprocess.Popen(
            command, cwd=found.folder, env=seen, start_new_session=True, stdin=nothing, stdout=nothing, stderr=nothing
        )
        threading.Thread(target=process.wait, daemon=True).start()  # else it stays a zombie while we live


def worker(folder: Path, environment: Mapping[str, str], descriptors: Sequence[int]) -> forks.Forked | None:
    """The worker of the job in `folder`, forked from the warm process of its family; None where there is none.

    It gets our standard input, output and error, and holds `descriptors` open.
    """
    try:
        family = json.loads((folder / "job.json").read_bytes())["work"]["family"]
        found = _site(family, environment) if isinstance(family, str) else None
        if found is None or not _tells_of_deaths():
            return None
        request = forks.Request("zoowizard.jobs.warm:work", [str(folder)], dict(environment), str(folder))
        return forks.ask(_connected(found), request, [0, 1, 2, *descriptors], PATIENCE_S)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ZoowizardError, forks.Refused):
        return None


def is_ready(family: str) -> bool:
    """Whether a job of the family that is started now would begin in a fork of its warm process."""
    try:
        found = _site(family, seen_by_jobs(os.environ))
        if found is None:
            return False
        request = forks.Request("zoowizard.jobs.warm:nothing", [], dict(os.environ), str(found.folder))
        return forks.ask(_connected(found), request, [0, 1, 2], PATIENCE_S).wait() == 0
    except (OSError, ZoowizardError, forks.Refused):
        return False


def _connected(found: _Site) -> socket.socket:
    """A connection to the warm process at this site. Raises OSError where there is none, or it does not answer."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(found.address))
    except OSError:
        connection.close()
        raise
    return connection


def running() -> list[int]:
    """The process numbers of our warm processes, of all families. Raises ZoowizardError where it cannot be told."""
    folder = _folder(os.environ)
    found = []
    for lock in sorted(folder.glob("*.lock")) if folder.is_dir() else ():
        with contextlib.suppress(OSError, ValueError):
            if is_held(lock):
                found.append(int(lock.read_text()))
    return [pid for pid in found if pid > 1]


def end(patience_s: float = 10.0) -> None:
    """End our warm processes, and wait for that; jobs that they started go on. Raises ZoowizardError as `running`."""
    until = time.monotonic() + patience_s
    for pid in running():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    while running() and time.monotonic() < until:
        time.sleep(0.02)


def work(folder: str) -> int:
    """In a fork of the warm process: the worker of the job in `folder`."""
    if "numpy" in sys.modules:  # else all forks would draw the same numbers
        importlib.import_module("numpy").random.seed()
    return int(importlib.import_module("zoowizard.jobs.runner").main(Path(folder)))


def nothing() -> int:
    """In a fork of the warm process: say that it works."""
    return 0


def main(family: str) -> int:
    """Be the warm process of the family, until nobody wants it any more. Gives the exit code 0."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    begun_with = dict(os.environ)
    found = _site(family, begun_with)
    lock = None if found is None or _is_short_of_memory(FREE_MB_TO_START) else _lock(found)
    if found is None or lock is None:
        return 0
    import shutil

    scratch = found.folder / found.name
    shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
    scratch.mkdir()
    os.chdir(scratch)
    try:
        importlib.import_module("zoowizard.library.clean").warm_up(scratch / "bioimageio-cache", gently=True)
        loading = forks.in_niced_thread(lambda: _load(family, scratch))

        def refuse() -> str:
            if not loading.done():
                return "it is still loading"
            return "" if threading.active_count() == 1 else "it has threads, which a fork would lose"

        def over(idle_s: float) -> bool:
            failed = loading.done() and loading.exception() is not None
            try:
                changed = _site(family, begun_with) != found
            except (OSError, ZoowizardError):  # a file or the folder of addresses was removed
                changed = True
            return failed or changed or idle_s > _number(IDLE_S, 600) or _is_short_of_memory(FREE_MB_TO_STAY)

        with socket.socket(socket.AF_UNIX) as door:
            found.address.unlink(missing_ok=True)
            door.bind(str(found.address))
            door.listen(16)
            look_every_s = min(LOOK_EVERY_S, max(0.05, _number(IDLE_S, 600) / 4))
            forks.serve(door, forks.accepted, refuse, over, look_every_s, own=[lock])
    finally:
        os.chdir("/")
        shutil.rmtree(scratch, ignore_errors=True)
        found.address.unlink(missing_ok=True)
        found.lock.unlink(missing_ok=True)
    return 0


def _load(family: str, scratch: Path) -> None:
    importlib.import_module("zoowizard.jobs.runner")
    for kind in importlib.import_module("zoowizard.jobs.folder").KINDS.values():
        importlib.import_module(kind)
    conversion = importlib.import_module(f"zoowizard.conversion.{family}")
    if hasattr(conversion, "preload"):
        conversion.preload(scratch)
    gc.collect()
    gc.freeze()  # what is never collected is never written to, so that forks share it


def _site(family: str, environment: Mapping[str, str]) -> _Site | None:
    """Where the warm process for jobs with this environment is found; None where none is wanted, or cannot be.

    The name is a digest of all that must be the same: Python, the sources, what is installed, the variables that are
    read when a library is loaded, the namespaces of the system. Raises ZoowizardError where the folder is not ours.
    """
    if sys.platform != "linux" or environment.get(SWITCH) == "0":
        return None
    package = Path(zoowizard.__file__).parent
    sources = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(package.rglob("*.py"))]
    folders = [Path(folder) for folder in site.getsitepackages() if Path(folder).is_dir()]
    installed = [(str(folder), folder.stat().st_mtime_ns) for folder in folders]
    variables = sorted(
        (name, value)
        for name, value in environment.items()
        if name.startswith(_READ_WHEN_LOADING) and name not in _READ_LATER
    )
    spaces = [str(Path("/proc/self/ns", kind).readlink()) for kind in ("mnt", "pid", "user")]
    same = [family, sys.executable, sys.version, sources, installed, variables, spaces, len(os.sched_getaffinity(0))]
    name = hashlib.sha256(json.dumps(same).encode()).hexdigest()[:16]
    found = _Site(_folder(environment), name)
    if len(os.fsencode(found.address)) > LONGEST_ADDRESS:
        return None
    found.folder.mkdir(mode=0o700, exist_ok=True)
    require_private(found.folder)
    return found


def _folder(environment: Mapping[str, str]) -> Path:
    """The folder of addresses, on this computer and ours alone."""
    if environment.get("XDG_RUNTIME_DIR"):
        return Path(environment["XDG_RUNTIME_DIR"]) / "zoowizard"
    return Path(environment.get("TMPDIR") or "/tmp") / f"zoowizard-{os.geteuid()}"


def _lock(found: _Site) -> int | None:
    """The lock of the one warm process at this site, with its number in it; None where another one is that."""
    descriptor = os.open(found.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    for _ in range(20):  # whoever looks whether it is held, holds it for a moment
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if found.lock.exists() and os.path.samestat(os.fstat(descriptor), found.lock.stat()):
                os.ftruncate(descriptor, 0)  # one that was killed left its number
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                return descriptor
            break  # it was removed by one that ended this moment
        time.sleep(0.02)
    os.close(descriptor)
    return None


def _is_short_of_memory(needed_mb: float) -> bool:
    """Whether less than `needed_mb` is free on this computer, or this process itself takes more than it may."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free_kib = next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0)
    taken = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    free = min(free_kib * 1024, memory_bytes() - taken)
    return free < needed_mb * 1e6 or taken > _number(MOST_MB, 3000) * 1e6


def _tells_of_deaths() -> bool:
    """Whether this Linux has descriptors of processes (5.3 and later): without, a worker's end could be missed."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _number(variable: str, otherwise: float) -> float:
    try:
        return float(os.environ.get(variable, otherwise))
    except ValueError:
        return otherwise


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))  # taking torch and the frameworks down in order would take seconds
