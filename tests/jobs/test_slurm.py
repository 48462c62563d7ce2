"""Jobs on a real SLURM cluster: each end is told as what it was, and SLURM's silence is never taken for an end."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import CORES, Cluster, has_memory_groups

from zoowizard.errors import ZoowizardError
from zoowizard.jobs import slurm_says
from zoowizard.jobs.engines import engine_of
from zoowizard.jobs.events import Waiting
from zoowizard.jobs.folder import Slurm, create
from zoowizard.jobs.history import whole_lines
from zoowizard.jobs.locks import is_held
from zoowizard.jobs.slurm import SlurmEngine
from zoowizard.jobs.state import Job, follow, read_job

Until = Callable[..., None]
ProcessOf = Callable[[Path], int]
Submit = Callable[..., Path]
FULL = CORES - 1
"""So many cores that no two such jobs have room; one is left for what runs beside the tests."""


def make(parent: Path, *do: dict[str, Any], time_limit_s: float | None = 300, **asked: Any) -> Path:
    wishes = Slurm.model_validate({"memory_gb": 0.25, "cores": 1, **asked})
    return create(parent, "selftest", "nuclei", {"do": list(do)}, time_limit_s, wishes)


def number_of(folder: Path) -> str:
    return str(json.loads((folder / "slurm.json").read_text())["id"])


def to_the_end(folder: Path) -> Job:
    list(follow(folder))
    return read_job(folder)


def end(folder: Path) -> None:
    """Kill what is left of a job of which SLURM knows nothing any more."""
    if is_held(folder / "lock"):
        for name, killed in (("supervisor", os.kill), ("worker", os.killpg)):
            told = (folder / name).read_text() if (folder / name).exists() else ""
            if told:
                killed(json.loads(told)["pid"] if name == "supervisor" else int(told), signal.SIGKILL)


@pytest.fixture
def submit(cluster: Cluster, tmp_path: Path) -> Iterator[Submit]:
    """Submits a job that does the given things; what of it still lives after the test is ended."""
    folders: list[Path] = []

    def submit(*do: dict[str, Any], **asked: Any) -> Path:
        folder = make(tmp_path, *do, **asked)
        folders.append(folder)
        SlurmEngine().start([folder])
        return folder

    yield submit
    cluster.up()
    for folder in folders:
        if read_job(folder).state in ("queued", "running"):
            engine_of(folder).cancel(folder)
        end(folder)


@pytest.fixture(scope="module", autouse=True)
def overdue(started_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job at the time limit of the cluster, which SLURM looks at twice a minute: it is begun before all others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", started_cluster.configuration)
        folder = make(tmp_path_factory.mktemp("overdue"), {"wait": 300}, partition="urgent")
        SlurmEngine().start([folder])
    return folder


def test_an_array_of_which_each_ends_in_another_way(
    cluster: Cluster, tmp_path: Path, worker_of: ProcessOf, overdue: Path
) -> None:
    passes = make(tmp_path, {"print": "hello"}, {"write": 10})
    fails = make(tmp_path, {"fail": "net.pt: weights are missing"})
    crashes = make(tmp_path, {"signal": int(signal.SIGSEGV)})
    killed = make(tmp_path, {"wait": 300})
    folders = [passes, fails, crashes, killed]
    SlurmEngine().start(folders)
    [array] = {number_of(folder).partition("_")[0] for folder in folders}
    assert [number_of(folder) for folder in folders] == [f"{array}_{index}" for index in range(4)]
    os.kill(worker_of(killed), signal.SIGKILL)
    worker_of(overdue)
    cluster.says("scontrol", "update", f"jobid={number_of(overdue)}", "EndTime=now")

    jobs = [to_the_end(folder) for folder in folders]
    assert [job.state for job in jobs] == ["passed", "failed", "died", "died"]
    assert jobs[0].outcome == {"done": 2, "bytes": 10} and jobs[0].host
    assert "hello" in (passes / "log.txt").read_text()
    assert jobs[1].reason == "net.pt: weights are missing"
    assert "segmentation fault" in jobs[2].reason
    assert "SIGKILL" in jobs[3].reason
    assert all(path.stat().st_mode & 0o077 == 0 for folder in folders for path in [folder, *folder.iterdir()])
    with pytest.raises(ZoowizardError, match="was started before"):
        SlurmEngine().start([passes])


def test_waiting_and_cancelling(
    cluster: Cluster, submit: Submit, worker_of: ProcessOf, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "secret")
    monkeypatch.setenv("SBATCH_OUTPUT", "/nowhere/at/all")
    monkeypatch.setenv("SQUEUE_STATES", "FAILED")
    working = submit({"child": 300}, {"wait": 300}, cores=FULL)
    group = worker_of(working)
    environment = dict(
        line.partition("=")[::2] for line in Path(f"/proc/{group}/environ").read_text().split("\0") if line
    )
    assert "secret" not in environment.values()
    assert environment["SLURM_CONF"] == cluster.configuration
    assert environment["SLURM_JOB_ID"] == number_of(working)

    waiting, unwanted = submit({"write": 3}, cores=FULL), submit({"write": 3}, cores=FULL)
    until(lambda: "SLURM: Resources" in read_job(waiting).reason)
    assert read_job(waiting).state == read_job(unwanted).state == "queued"
    following = follow(waiting)
    assert isinstance(next(following)[2], Waiting)
    exploded = waiting / "exploded"
    bomb = f"cos\nsystem\n(S'touch {exploded}'\ntR.".encode()
    for place in (waiting, waiting.parent, Path.home()):  # where a task of submitit would look for what to do
        (place / f"{number_of(waiting)}_submitted.pkl").write_bytes(bomb)
    script = cluster.says("scontrol", "write", "batch_script", number_of(waiting), "-")
    assert "submitit.core" not in script and "slurm_task" in script

    engine_of(unwanted).cancel(unwanted)
    assert (read_job(unwanted).state, read_job(unwanted).reason) == ("cancelled", "it was cancelled")
    assert read_job(working).state == "running"
    engine_of(working).cancel(working)
    assert (read_job(working).state, read_job(working).reason) == ("cancelled", "it was cancelled")
    until(lambda: not is_held(working / "lock"))
    until(lambda: subprocess.run(["pgrep", "-g", str(group)], check=False).returncode == 1)
    list(following)
    assert read_job(waiting).state == "passed"
    assert not exploded.exists()
    (Path.home() / f"{number_of(waiting)}_submitted.pkl").unlink()
    assert not (unwanted / "filler").exists()


def test_cancelled_by_others(cluster: Cluster, submit: Submit, worker_of: ProcessOf) -> None:
    """Also where the job does not listen, and SLURM has to kill it."""
    folders = [submit({"wait": 300}), submit({"deaf": 1}, {"wait": 300})]
    for folder in folders:
        worker_of(folder)
    cluster.says("scancel", *map(number_of, folders))
    for folder in folders:
        job = to_the_end(folder)
        assert (job.state, job.reason[:35]) == ("cancelled", "it was cancelled from outside zoowi")
        assert json.loads((folder / "result.json").read_text())["status"] == "cancelled"


def test_pushed_aside(cluster: Cluster, submit: Submit, worker_of: ProcessOf) -> None:
    aside = submit({"wait": 300}, cores=FULL)
    worker_of(aside)
    first = submit({"write": 1}, cores=FULL, partition="urgent")
    job = to_the_end(aside)
    assert (job.state, job.reason) == ("preempted", "SLURM ended it to make room for a job that goes first")
    assert to_the_end(first).state == "passed"


def test_out_of_memory(submit: Submit) -> None:
    job = to_the_end(submit({"allocate": 1 << 30}))
    if has_memory_groups():
        assert (job.state, job.reason) == ("out-of-memory", "it ran out of memory, so the system killed it")
    else:  # a cluster that counts memory, but holds nobody to it
        assert (job.state, job.reason) == ("passed", "")


def test_its_own_time_limit(cluster: Cluster, submit: Submit, overdue: Path) -> None:
    folder = submit({"wait": 300}, time_limit_s=1)
    assert cluster.says("squeue", "-h", "-j", number_of(folder), "-o", "%l") == "6:00"
    job = to_the_end(folder)
    assert (job.state, job.reason) == ("timed-out", "it was stopped at its time limit of 1 second")
    job = to_the_end(overdue)
    assert (job.state, job.reason) == ("timed-out", "SLURM ended it at the time limit of the cluster")


def test_the_time_limit_of_a_partition(cluster: Cluster, submit: Submit) -> None:
    cluster.says("scontrol", "update", "partitionname=gpu", "MaxTime=0:10:00")
    try:
        folder = submit({"write": 1}, time_limit_s=4 * 3600)
        assert cluster.says("squeue", "-h", "-t", "all", "-j", number_of(folder), "-o", "%l") == "10:00"
        assert to_the_end(folder).state == "passed"
    finally:
        cluster.says("scontrol", "update", "partitionname=gpu", "MaxTime=UNLIMITED")


def test_killed_without_a_word(submit: Submit, worker_of: ProcessOf, supervisor_of: ProcessOf) -> None:
    folder = submit({"wait": 300})
    group = worker_of(folder)
    os.killpg(group, signal.SIGSTOP)
    os.kill(supervisor_of(folder), signal.SIGKILL)
    os.killpg(group, signal.SIGKILL)
    job = to_the_end(folder)
    assert (job.state, job.reason[:24]) == ("died", "it was killed on the clu")


def test_a_node_that_fails(cluster: Cluster, submit: Submit, worker_of: ProcessOf) -> None:
    folder = submit({"wait": 300})
    worker_of(folder)
    cluster.kill("slurmd")
    cluster.node("down")
    job = to_the_end(folder)
    assert (job.state, job.reason) == ("node-failed", "the computer of the cluster that it ran on failed")
    end(folder)


def test_a_controller_that_is_down(cluster: Cluster, submit: Submit, worker_of: ProcessOf, until: Until) -> None:
    folder = submit({"wait": 300})
    worker_of(folder)
    assert read_job(folder).state == "running"
    cluster.kill("slurmctld", signal.SIGTERM)
    until(lambda: read_job(folder).state == "unknown", 60)
    job = read_job(folder)
    assert "SLURM does not answer" in job.reason and not job.over
    assert job.steps[-1].name == "1 wait" and job.steps[-1].state == "running"
    with pytest.raises(ZoowizardError, match="SLURM does not answer"):
        engine_of(folder).cancel(folder)
    with pytest.raises(ZoowizardError, match="SLURM does not answer"):
        submit({"write": 1})
    assert not whole_lines(folder / "result.json", 0)
    cluster.up()
    until(lambda: read_job(folder).state == "running", 60)
    engine_of(folder).cancel(folder)
    assert read_job(folder).state == "cancelled"


def test_no_commands_of_slurm(submit: Submit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("PATH", str(tmp_path))
        with pytest.raises(ZoowizardError, match="sinfo is not found on this computer"):
            submit({"write": 1})
        with pytest.raises(slurm_says.SlurmMissing, match="look from a login node"):
            slurm_says.listed(fresh=True)
