"""The fault matrix: many kills at random moments, and nothing lost, nothing half written, nothing shown wrongly."""

import json
import random
from pathlib import Path

import pytest
from cluster import Cluster
from faults import TARGETS, Matrix

from zoowizard.drafts.answers import changed, read_answers
from zoowizard.drafts.draft import with_given
from zoowizard.drafts.store import open_workspace, save
from zoowizard.jobs.build_steps import KEPT
from zoowizard.jobs.folder import Slurm
from zoowizard.jobs.settings import JobSettings, write_settings
from zoowizard.workflow import choose_one, fields_of, open_draft


@pytest.fixture
def matrix(run: Path, tmp_path: Path) -> Matrix:
    workspace = open_workspace(tmp_path / "workspace")
    draft = open_draft(workspace, choose_one(run))
    save(
        workspace, with_given(draft, changed(draft, read_answers(run.parent / "answers.yaml", fields_of(draft.family))))
    )
    return Matrix(workspace, draft.id, "selftest", random.Random(20261121))


def test_kills_over_small_jobs(matrix: Matrix) -> None:
    for number in range(160):
        matrix.one(TARGETS[number % len(TARGETS)])
    assert matrix.count.kills == 160
    assert matrix.count.findings == [], matrix.count


def test_kills_on_a_cluster(cluster: Cluster, matrix: Matrix) -> None:
    wishes = Slurm(memory_gb=0.25, cores=1)
    write_settings(matrix.workspace.root, JobSettings(engine="slurm", slurm=wishes))
    matrix.lasts_s = 2.0

    def is_submitted(folder: Path) -> bool:
        mark = folder / "slurm.json"
        return mark.exists() and json.loads(mark.read_text())["name"] in cluster.says("squeue", "-h", "-o", "%j")

    matrix.is_submitted = is_submitted
    for number in range(40):
        matrix.one(TARGETS[number % len(TARGETS)])
    assert matrix.count.kills == 40
    assert matrix.count.findings == [], matrix.count


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_over_builds(kills: int, matrix: Matrix) -> None:
    matrix.kind, matrix.lasts_s = "build", 15.0
    job, converted, kept = None, False, 0
    for number in range(kills):
        again = matrix.one(TARGETS[number % len(TARGETS)], job.folder if job and job.state != "passed" else None)
        if again is None:
            continue
        if converted and again.steps and again.steps[0].state == "done":
            assert again.steps[0].note == KEPT, again.steps
            kept += 1
        converted = again.state != "passed" and (again.folder / "conversion.json").exists()
        job = again
    assert matrix.count.findings == [], matrix.count
    assert kept or kills < 100, matrix.count  # of a few kills all can come before there is anything to keep
