import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from zoowizard.assets import asset

# Threads that wait for each other by spinning are slow where other tests and their child processes work beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@dataclass(frozen=True)
class Ran:
    """A command that was run as a person runs it."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def run_zoowizard(arguments: Sequence[str | Path], cwd: Path | None = None, **variables: str) -> Ran:
    """Run the command in a process of its own, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "zoowizard", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Demo:
    """What `zoowizard demo --json` left behind."""

    ran: Ran
    output: Path
    workspace: Path

    @property
    def package(self) -> Path:
        return Path(self.ran.json()["package"])


@pytest.fixture(scope="session")
def sample_run() -> Path:
    return asset("sample/nuclei-yolo11n")


@pytest.fixture(scope="session")
def nuclei() -> Path:
    return asset("sample/nuclei-512.png")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The sample model, built once for all tests: the whole way with the real framework and the real library."""
    output = tmp_path_factory.mktemp("demo")
    ran = run_zoowizard(["demo", "--output", output, "--json"])
    assert ran.code == 0, ran.err
    yield Demo(ran, output, output / "workspace")
