"""Real jobs in real folders."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.folder import create
from zoowizard.jobs.locks import is_held


def _until(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def _supervisor(folder: Path) -> int:
    _until(lambda: is_held(folder / "lock"))
    return int(json.loads((folder / "supervisor").read_text())["pid"])


def _worker(folder: Path) -> int:
    worker, events = folder / "worker", folder / "events.jsonl"
    _until(lambda: worker.exists() and worker.read_text() and b"step-started" in events.read_bytes())
    return int(worker.read_text())


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits for something that a process does; fails the test when it never does."""
    return _until


@pytest.fixture
def supervisor_of() -> Callable[[Path], int]:
    """The process of a job's supervisor, as soon as it is there."""
    return _supervisor


@pytest.fixture
def worker_of() -> Callable[[Path], int]:
    """The process group of a job's worker, as soon as it works."""
    return _worker


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Starts a job that does the given things; what of it still lives after the test is ended."""
    folders = []

    def start(*do: dict[str, Any], parent: Path = tmp_path, time_limit_s: float | None = 60) -> Path:
        folder = create(parent, "selftest", "nuclei", {"do": list(do)}, time_limit_s)
        folders.append(folder)
        LocalEngine().start([folder])
        return folder

    yield start
    for folder in folders:
        if is_held(folder / "lock") and is_held(folder / "supervisor"):
            os.kill(_supervisor(folder), signal.SIGTERM)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 64 KiB; only where mounting is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
