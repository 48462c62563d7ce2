import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster, a_cluster
from commands import Demo, run_zoowizard

from zoowizard.assets import asset
from zoowizard.jobs.slurm_says import listed

# Threads that wait for each other by spinning are slow where other tests and their child processes work beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A process that loads beside a test would slow it, and outlive it.
os.environ["ZOOWIZARD_WARM"] = "0"
# Jobs of tests wait neither for each other nor for those of people, but where a test is about that.
SLOTS = tempfile.mkdtemp(prefix="zoowizard-slots-")
atexit.register(shutil.rmtree, SLOTS, ignore_errors=True)
os.environ.update(ZOOWIZARD_SLOTS=SLOTS, ZOOWIZARD_AT_ONCE="64")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a test that wants a GPU asks for `commands.GPUS`


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a cluster can be left out by its mark."""
    for item in items:
        if "started_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def started_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with a_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def cluster(started_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A real SLURM cluster of one node, which is up."""
    monkeypatch.setenv("SLURM_CONF", started_cluster.configuration)
    started_cluster.up()
    listed(fresh=True)  # what a test before heard is not told in this one
    return started_cluster


@pytest.fixture
def closed(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """The cluster lets no job begin; what is given lets them begin."""
    cluster.says("scontrol", "update", "partitionname=gpu", "State=DOWN")

    def open_again() -> None:
        cluster.says("scontrol", "update", "partitionname=gpu", "State=UP")

    yield open_again
    open_again()


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
