import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Demo, run_zoowizard

from zoowizard.assets import asset

# Threads that wait for each other by spinning are slow where other tests and their child processes work beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def sample_run() -> Path:
    return asset("sample/nuclei-yolo11n")


@pytest.fixture(scope="session")
def nuclei() -> Path:
    return asset("sample/nuclei-512.png")


@pytest.fixture
def run(tmp_path: Path, sample_run: Path) -> Path:
    """A run folder of one's own, with the answers file and the test image beside it."""
    folder = tmp_path / "runs" / "nuclei"
    shutil.copytree(sample_run, folder)
    shutil.copy(asset("sample/answers.yaml"), folder.parent)
    shutil.copy(asset("sample/nuclei-512.png"), folder.parent)
    return folder


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The sample model, built once for all tests: the whole way with the real framework and the real library."""
    output = tmp_path_factory.mktemp("demo")
    ran = run_zoowizard(["demo", "--output", output, "--json"])
    assert ran.code == 0, ran.err
    yield Demo(ran, output, output / "workspace")
