"""A job is submitted to SLURM once at most, and found again whoever was killed meanwhile, and whatever SLURM forgot."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cluster import CORES, Cluster, a_cluster

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.engines import engine_of
from zoowizard.jobs.folder import Slurm, create
from zoowizard.jobs.slurm import SlurmEngine
from zoowizard.jobs.slurm_state import NOT_SUBMITTED
from zoowizard.jobs.state import Job, follow, read_job

Until = Callable[..., None]
ProcessOf = Callable[[Path], int]
CLIENT = """
import sys
from pathlib import Path
from zoowizard.jobs.slurm import SlurmEngine
sys.stdin.readline()
for folder in sys.argv[1:]:
    SlurmEngine().start([Path(folder)])
"""
KILLS = 9


def make(parent: Path, *do: dict[str, Any], **asked: Any) -> Path:
    wishes = Slurm.model_validate({"memory_gb": 0.25, "cores": 1, **asked})
    return create(parent, "selftest", "nuclei", {"do": list(do)}, 300, wishes)


def submit(parent: Path, *do: dict[str, Any], **asked: Any) -> Path:
    folder = make(parent, *do, **asked)
    SlurmEngine().start([folder])
    return folder


def to_the_end(folder: Path) -> Job:
    list(follow(folder))
    return read_job(folder)


def record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "slurm.json").read_text()))


def let_time_pass(folder: Path, minutes: float = 10) -> None:
    """As if all that is in the folder had been written so long ago."""
    if (folder / "slurm.json").exists():
        then = datetime.now(UTC) - timedelta(minutes=minutes)
        (folder / "slurm.json").write_text(json.dumps({**record(folder), "submitted": then.isoformat()}))
    for path in folder.iterdir():
        os.utime(path, (time.time() - 60 * minutes,) * 2)


def names_in_queue(cluster: Cluster) -> list[str]:
    return cluster.says("squeue", "-h", "-r", "-t", "all", "-o", "%j").split()


def started_client(folders: list[Path]) -> "subprocess.Popen[bytes]":
    """A process that submits the jobs one after the other, as soon as it reads a line."""
    command = [sys.executable, "-c", CLIENT, *map(str, folders)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def test_a_client_killed_at_any_moment(
    cluster: Cluster, closed: Callable[[], None], tmp_path: Path, until: Until
) -> None:
    """Each job is then one that SLURM runs, once, or one that was never submitted, and says so."""
    folders = []
    for number in range(KILLS):
        mine = [make(tmp_path, {"write": 1}) for _ in range(3)]
        folders += mine
        client = started_client(mine)
        assert client.stdin is not None
        client.stdin.write(b"\n")
        client.stdin.close()
        until((mine[number % len(mine)] / "slurm.json").exists, 60)
        time.sleep(0.1 * number / KILLS)  # through the moments before, in and after sbatch
        if number % 2:
            os.killpg(client.pid, signal.SIGKILL)
        else:
            client.kill()
        client.wait()
    # a sbatch that outlived its client has made its job a moment later
    until(lambda: subprocess.run(["pgrep", "-x", "sbatch"], check=False, capture_output=True).returncode == 1, 60)
    names = names_in_queue(cluster)
    for folder in folders:
        assert read_job(folder).state in ("starting", "queued")
        let_time_pass(folder)
    in_queue = [folder for folder in folders if (folder / "slurm.json").exists() and record(folder)["name"] in names]
    assert [names.count(record(folder)["name"]) for folder in in_queue] == [1] * len(in_queue)
    for folder in folders:
        job = read_job(folder)
        assert job.state == ("queued" if folder in in_queue else "died")
        if folder not in in_queue:
            assert job.reason == NOT_SUBMITTED
    assert 0 < len(in_queue) < len(folders)
    with pytest.raises(ZoowizardError, match="was started before"):
        SlurmEngine().start(in_queue[:1])

    assert all(record(folder)["id"] for folder in in_queue)
    cluster.says("scancel", *(record(folder)["id"] for folder in in_queue[2:]))
    closed()
    assert [to_the_end(folder).state for folder in in_queue[:2]] == ["passed", "passed"]


@pytest.mark.parametrize("moment", ["before sbatch", "after sbatch"])
def test_the_number_is_found_by_the_name(moment: str, cluster: Cluster, tmp_path: Path, until: Until) -> None:
    """The client is killed where it hurts: sbatch is held up there by a script of its name that calls it."""
    real = subprocess.run(["which", "sbatch"], capture_output=True, text=True, check=True).stdout.strip()
    gate, reached = tmp_path / "gate", tmp_path / "reached"
    held = f"touch {reached}; until [ -e {gate} ]; do sleep 0.05; done"
    shims = tmp_path / "bin"
    shims.mkdir()
    lines = [held, real] if moment == "before sbatch" else [real, held]
    (shims / "sbatch").write_text("#!/bin/bash\n" + "\n".join(lines) + "\n")
    (shims / "sbatch").chmod(0o755)
    folder = make(tmp_path, {"wait": 300})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{shims}:{os.environ['PATH']}")
        client = started_client([folder])
    assert client.stdin is not None
    client.stdin.write(b"\n")
    client.stdin.close()
    until(reached.exists, 60)
    if moment == "before sbatch":
        assert read_job(folder).state == "starting"
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    if moment == "before sbatch":
        assert read_job(folder).state == "starting"
        let_time_pass(folder)
        assert (read_job(folder).state, read_job(folder).reason) == ("died", NOT_SUBMITTED)
        assert record(folder)["id"] is None
        return
    until(lambda: read_job(folder).state in ("queued", "running"), 60)
    assert record(folder)["id"]
    engine_of(folder).cancel(folder)
    assert read_job(folder).state == "cancelled"


def test_cancelled_before_it_was_submitted(cluster: Cluster, tmp_path: Path) -> None:
    folder = make(tmp_path, {"write": 1})
    assert read_job(folder).state == "starting"
    engine_of(folder).cancel(folder)
    assert (read_job(folder).state, read_job(folder).reason) == ("cancelled", "it was cancelled before it started")
    with pytest.raises(ZoowizardError, match="was started before"):
        SlurmEngine().start([folder])
    assert read_job(folder).state == "cancelled"


def test_cancelled_while_it_was_submitted(cluster: Cluster, tmp_path: Path) -> None:
    """Whoever cancelled it did not see it in SLURM's queue yet."""
    folder = make(tmp_path, {"write": 1})
    (folder / "to-be-ended").touch()
    SlurmEngine().start([folder])
    job = to_the_end(folder)
    assert (job.state, job.reason) == ("cancelled", "it was cancelled before it started")
    assert not (folder / "filler").exists()


def test_what_slurm_does_not_take(cluster: Cluster, tmp_path: Path) -> None:
    folders = [make(tmp_path, {"write": 1}, partition="nowhere") for _ in range(2)]
    with pytest.raises(ZoowizardError, match=r"SLURM does not take it: .*partition"):
        SlurmEngine().start(folders)
    for folder in folders:
        job = read_job(folder)
        assert job.state == "failed" and "Invalid partition name" in job.reason


def test_what_slurm_has_forgotten(cluster: Cluster, tmp_path: Path, worker_of: ProcessOf, until: Until) -> None:
    passed, aside = submit(tmp_path, {"write": 1}), submit(tmp_path, {"wait": 300})
    gone, seen = submit(tmp_path, {"wait": 300}), submit(tmp_path, {"wait": 300})
    folders = [aside, gone, seen]
    groups = [worker_of(folder) for folder in folders]
    until(lambda: (passed / "result.json").exists(), 60)
    supervisors = [json.loads((folder / "supervisor").read_text())["pid"] for folder in folders]
    cluster.says("scancel", record(aside)["id"], record(seen)["id"])
    until(lambda: names_in_queue(cluster) and "COMPLETING" not in cluster.says("squeue", "-h", "-t", "all", "-o", "%T"))
    assert read_job(seen).state == "cancelled"
    cluster.kill("slurmctld")
    for process in [*supervisors, *groups]:
        if Path(f"/proc/{process}").exists():
            os.kill(process, signal.SIGKILL)
    cluster.up(forgetful=True)
    newer = submit(tmp_path, {"write": 1})  # has a number that one of the others had before
    assert to_the_end(newer).state == "passed"
    assert read_job(passed).state == "passed"
    assert (read_job(gone).state, read_job(gone).over) == ("unknown", False)
    for folder in (*folders, passed):
        let_time_pass(folder)
    lost = read_job(gone)
    assert (lost.state, lost.reason) == ("lost", "SLURM knows nothing of it any more, and it left no result")
    assert lost.steps[-1].state == "stopped"
    assert read_job(seen).state == "cancelled"
    job = read_job(aside)  # nobody had looked: its supervisor kept what it knew
    assert (job.state, job.reason[:35]) == ("cancelled", "it was cancelled from outside zoowi")
    assert read_job(passed).state == "passed"


def test_an_edited_submission_is_checked(cluster: Cluster, tmp_path: Path) -> None:
    folder = make(tmp_path, {"write": 1})
    good = {"version": 1, "name": f"zoowizard-{'a' * 32}", "index": None, "submitted": "2026-11-21T12:00:00Z"}
    for change, sentence in (
        ({"name": "x; rm -rf /"}, "slurm.json: name is wrong"),
        ({"id": "1 2"}, "slurm.json: id is wrong"),
        ({"submitted": "soon"}, "slurm.json: submitted is wrong"),
        ({"index": -1}, "slurm.json: index is wrong"),
    ):
        (folder / "slurm.json").write_text(json.dumps({**good, **change}))
        with pytest.raises(ZoowizardError, match=sentence):
            read_job(folder)
    (folder / "slurm.json").write_text("[" * 100_000)
    with pytest.raises(ZoowizardError, match=r"slurm\.json is not readable JSON"):
        read_job(folder)


@pytest.mark.slow
def test_accounting_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until) -> None:
    """With accounting, which needs a data base: installs it where it is missing."""
    monkeypatch.setenv("SLURM_TEST_DBD", "1")
    with a_cluster(tmp_path / "accounted") as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.configuration)
        folder = submit(tmp_path, {"wait": 300}, cores=CORES)
        until(lambda: read_job(folder).state == "running", 60)
        (folder / "slurm.json").write_text(json.dumps({**record(folder), "id": None}))
        cluster.says("scancel", "--name", record(folder)["name"])
        until(lambda: "CANCELLED" in cluster.says("sacct", "-X", "-n", "-o", "State"), 60)
        cluster.kill("slurmctld")
        cluster.up(forgetful=True)
        (folder / "stopped.json").unlink()
        assert read_job(folder).state == "cancelled"
        assert record(folder)["id"]

        lost = submit(tmp_path, {"wait": 300})
        cluster.kill("slurmdbd")
        (lost / "slurm.json").write_text(json.dumps({**record(lost), "name": f"zoowizard-{'b' * 32}"}))
        let_time_pass(lost)
        assert read_job(lost).state == "unknown" and "accounting" in read_job(lost).reason
