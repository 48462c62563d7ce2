"""Where jobs run, as a person sets it; and several models built together on a real cluster."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import Cluster
from commands import Ran, run_zoowizard

from zoowizard.jobs.engines import engine_of
from zoowizard.jobs.folder import read_spec
from zoowizard.jobs.state import read_job

DONE, FAILED, WRONG_USE, ANSWERS_MISSING = range(4)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def three(run: Path) -> list[Path]:
    """Three runs, with an answers file of its name beside each, and the test image."""
    answers = yaml.safe_load((run.parent / "answers.yaml").read_text())
    found = []
    for number, name in enumerate(("one", "two", "three")):
        shutil.copytree(run, run.parent / name)
        weights = run.parent / name / "weights" / "best.pt"
        weights.touch()
        (run.parent / f"{name}.yaml").write_text(yaml.safe_dump({**answers, "name": f"Nuclei number {number}"}))
        found.append(run.parent / name)
    return found


def call(workspace: Path, *arguments: str | Path, **variables: str) -> Ran:
    return run_zoowizard(["--workspace", workspace, *arguments], **variables)


def test_settings_are_kept_and_taken_back(workspace: Path) -> None:
    assert call(workspace, "settings").out.split()[:4] == ["engine", "local", "partition", "default"]
    for name, value, kept in (("engine", "slurm", "slurm"), ("memory", "16", 16.0), ("at-once", "2", 2)):
        assert call(workspace, "settings", name, value, "--json").json() == {name: kept}
    assert call(workspace, "settings", "memory", "default").out.split() == ["memory", "default"]
    now = call(workspace, "settings", "--json").json()
    assert (now["engine"], now["memory"], now["at-once"], now["gpus"]) == ("slurm", None, 2, 0)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("engine", "cloud", "engine: cloud cannot be; give local (this computer) or slurm (a cluster)"),
        ("memory", "0", "memory: 0 cannot be; give a number of gigabytes above 0, for example 16"),
        ("memory", "nan", "memory: nan cannot be; give a number of gigabytes above 0, for example 16"),
        ("cores", "two", "cores: two cannot be; give a whole number from 1, for example 4"),
        ("gpus", "-1", "gpus: -1 cannot be; give a whole number from 0, for example 1"),
        ("partition", "a b", "partition: a b cannot be; give the name of one partition, as sinfo lists them"),
        ("color", "red", "color: is no setting; there are engine, partition, account, qos, memory, cores, gpus"),
    ],
)
def test_wrong_settings_are_refused(workspace: Path, name: str, value: str, said: str) -> None:
    before = call(workspace, "settings").out
    ran = call(workspace, "settings", name, "--", value)
    assert ran.code == WRONG_USE and ran.err.startswith(said)
    assert call(workspace, "settings").out == before


def test_wishes_for_a_cluster_need_one(workspace: Path, run: Path) -> None:
    ran = call(workspace, "build", run, "--cores", "2")
    assert ran.code == WRONG_USE
    assert ran.err.strip() == "--cores: is asked of a cluster, but the job would run here; add --engine slurm"
    ran = call(workspace, "build", run, "--engine", "slurm", "--memory", "much")
    assert ran.code == WRONG_USE and ran.err.startswith("--memory: much cannot be")
    ran = call(workspace, "jobs", "list", "--partition", "gpu")
    assert ran.code == WRONG_USE and ran.err.startswith("jobs list: --partition is for a job that is started")


def test_several_are_all_checked_before_one_is_started(workspace: Path, three: list[Path]) -> None:
    (three[1].parent / "two.yaml").write_text("bit_depth: 8\n")
    ran = call(workspace, "build", *three[:2], "--answers", three[0].parent, "--json")
    assert ran.code == ANSWERS_MISSING
    assert f"{three[1]}: description" in ran.json()["missing"]
    assert not any(str(three[0]) in one for one in ran.json()["missing"])
    assert call(workspace, "jobs", "--json").json() == []

    ran = call(workspace, "build", *three, "--answers", three[0].parent / "one.yaml")
    assert ran.code == WRONG_USE and ran.err.startswith("--answers: 1 for 3 models")
    ran = call(workspace, "build", *three, "--answers", workspace)
    assert ran.code == WRONG_USE and "one.yaml" in ran.err and "three.yaml" in ran.err
    ran = call(workspace, "build", three[0], three[0])
    assert ran.code == WRONG_USE and "was given before; give each once" in ran.err
    assert call(workspace, "jobs", "--json").json() == []


def test_a_shell_inside_an_allocation_is_warned(workspace: Path, tmp_path: Path) -> None:
    package = tmp_path / "no.zip"
    package.write_bytes(b"PK")
    ran = call(workspace, "test", package, "--detach", SLURM_JOB_ID="77")
    assert ran.code == DONE
    assert "this shell is part of the SLURM job 77: what it starts ends with it" in ran.err


def test_several_go_to_the_cluster_as_one_array(
    cluster: Cluster, closed: Callable[[], None], workspace: Path, three: list[Path], tmp_path: Path
) -> None:
    assert call(workspace, "settings", "engine", "slurm").code == DONE
    output = tmp_path / "packages"
    ran = call(
        workspace,
        *("build", *three, "--answers", three[0].parent, "--output", output, "--detach", "--json"),
        *("--memory", "1.5", "--cores", "1", "--gpus", "1", "--time-limit", "30"),
    )
    assert ran.code == DONE, ran.err
    jobs: list[dict[str, Any]] = ran.json()
    assert [job["model"] for job in jobs] == ["one", "two", "three"]
    folders = [Path(job["folder"]) for job in jobs]
    numbers = [json.loads((folder / "slurm.json").read_text())["id"] for folder in folders]
    [array] = {number.partition("_")[0] for number in numbers}
    shown = cluster.says("squeue", "-h", "-r", "-j", array, "-o", "%i %l %m %C %b").splitlines()
    assert sorted(shown) == [f"{array}_{index} 35:00 1.50G 1 gres:gpu:1" for index in range(3)]
    outputs = [Path(read_spec(folder).work["output"]) for folder in folders]
    assert outputs == [output / name for name in ("one", "two", "three")]

    listed = call(workspace, "jobs", "--json").json()
    assert {job["state"] for job in listed} == {"queued"}
    assert all("PartitionDown" in job["reason"] for job in listed)
    for job in jobs:  # SLURM forgets at once a job of an array that is cancelled before it begins
        told = call(workspace, "jobs", "cancel", job["job"]).out
        assert told.split(maxsplit=2) == [job["job"], "cancelled", "it was cancelled\n"]
    again = call(workspace, "jobs", "retry", jobs[0]["job"], "--detach", "--json", "--memory", "2").json()
    folder = Path(again["folder"])
    asked = read_spec(folder).slurm
    assert asked is not None and (asked.memory_gb, asked.cores, asked.gpus) == (2, 1, 1)
    assert (read_job(folder).state, read_job(folders[0]).state) == ("queued", "cancelled")
    engine_of(folder).cancel(folder)
    assert read_job(folder).state == "cancelled"


def test_shown_together_until_all_have_ended(cluster: Cluster, workspace: Path, three: list[Path]) -> None:
    """Ended quickly by a time limit that no build keeps; begun on the cluster, and built again here."""
    started = time.monotonic()
    ran = call(
        workspace,
        *("build", *three[:2], "--answers", three[0].parent, "--engine", "slurm", "--json"),
        *("--memory", "1", "--time-limit", "0.01"),
    )
    assert ran.code == FAILED and time.monotonic() - started < 300
    assert [answer["status"] for answer in ran.json()] == ["timed-out", "timed-out"]
    assert "one: it was stopped at its time limit" in ran.err
    assert "two: it was stopped at its time limit" in ran.err
    again = call(workspace, "jobs", "retry", ran.json()[0]["job"], "--engine", "local", "--detach", "--json")
    folder = Path(again.json()["folder"])
    assert read_spec(folder).slurm is None
    engine_of(folder).cancel(folder)
