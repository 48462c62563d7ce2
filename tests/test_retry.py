"""Retry from the failed step, with real builds of the sample."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zoowizard.assets import asset
from zoowizard.drafts.answers import read_answers
from zoowizard.drafts.draft import Draft, with_given
from zoowizard.drafts.store import Workspace, load, open_workspace, save
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.build_steps import BUILD_STEPS, KEPT
from zoowizard.jobs.folder import create
from zoowizard.jobs.state import Job, cancel, read_job
from zoowizard.launch import retry, start_build
from zoowizard.library.archive import sha256
from zoowizard.workflow import choose_one, fields_of, open_draft

DEADLINE_S = 120.0


def until(folder: Path, reached: Callable[[Job], bool]) -> Job:
    """The job as soon as it has come so far, or has ended."""
    end = time.monotonic() + DEADLINE_S
    while True:
        job = read_job(folder)
        if job.over or reached(job):
            return job
        assert time.monotonic() < end, job
        time.sleep(0.02)


def ended(folder: Path) -> Job:
    return until(folder, lambda job: False)


def is_at(step: str) -> Callable[[Job], bool]:
    return lambda job: any(one.name == step for one in job.steps)


def notes(job: Job) -> dict[str, str]:
    return {step.name: step.note for step in job.steps}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "workspace")


@pytest.fixture
def draft(workspace: Workspace, sample_run: Path) -> Draft:
    draft = open_draft(workspace, choose_one(sample_run))
    return with_given(draft, read_answers(asset("sample/answers.yaml"), fields_of(draft.family)))


def killed_during(folder: Path, step: str) -> Job:
    until(folder, is_at(step))
    os.killpg(int((folder / "worker").read_text()), signal.SIGKILL)
    return ended(folder)


def test_what_holds_is_not_done_again(workspace: Workspace, draft: Draft, tmp_path: Path) -> None:
    output = tmp_path / "output"
    first = killed_during(start_build(workspace, draft, output), "compare")
    assert first.state == "died"
    converted = sha256(first.folder / "weights" / "weights-torchscript.pt")

    # An answer that does not shape the network is changed, and while the tests run the place to save is taken away.
    save(workspace, with_given(load(workspace, draft.id), {"description": "Another sentence about what it does."}))
    compared = killed_during(retry(workspace, first), "test")
    assert compared.state == "died"
    assert notes(compared)["convert"] == KEPT
    assert notes(compared)["compare"].startswith("mean IoU 1.0000")
    cancelled = cancel(create_unstarted(workspace, draft, compared.folder))  # it had no time to take anything over
    folder = retry(workspace, cancelled)
    until(folder, is_at("test"))
    output.write_text("in the way")
    second = ended(folder)
    assert (second.state, second.steps[-1].name, second.steps[-1].state) == ("failed", "save", "failed")
    assert "in its way" in second.reason
    assert notes(second) | {"test": "", "save": ""} == dict.fromkeys(BUILD_STEPS, KEPT) | {"test": "", "save": ""}
    assert sha256(folder / "weights" / "weights-torchscript.pt") == converted

    with pytest.raises(ZoowizardError, match="is no folder"):
        retry(workspace, second)
    output.unlink()
    third = ended(retry(workspace, second))
    assert third.state == "passed"
    assert list(notes(third)) == list(BUILD_STEPS)
    assert [step.note for step in third.steps[:-1]] == [KEPT] * 5
    assert third.outcome is not None
    assert sha256(output / f"{draft.id}.zip") == third.outcome["sha256"]
    report = json.loads((output / "report.json").read_text())
    assert report["status"] == third.outcome["status"] == "passed"
    assert third.outcome["formats"] == ["torchscript", "onnx"]
    assert third.outcome["parity"]["mean_iou"] == 1
    assert not list(third.folder.glob("*.zip"))


@pytest.mark.slow
def test_what_does_not_hold_is_done_again_and_said(workspace: Workspace, draft: Draft, tmp_path: Path) -> None:
    first = killed_during(start_build(workspace, draft), "compare")
    with (first.folder / "weights" / "weights.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    second = ended(retry(workspace, first))
    assert second.state == "passed"
    assert notes(second)["convert"] == "torchscript, onnx"
    assert any("weights.onnx of the run before is damaged" in note.text for note in second.notes)

    save(workspace, with_given(load(workspace, draft.id), {"overlap_iou": 0.5}))
    third = ended(retry(workspace, second))
    assert third.state == "passed"
    assert any("converted again: answers were changed: overlap_iou" in note.text for note in third.notes)


def create_unstarted(workspace: Workspace, draft: Draft, resume: Path) -> Path:
    """A build that goes on with another one, made and not started yet."""
    work = json.loads((resume / "job.json").read_text())["work"]
    return create(workspace.jobs(draft.id), "build", draft.id, {**work, "resume": str(resume)}, 600)


def test_what_cannot_be_retried_says_why(workspace: Workspace, draft: Draft) -> None:
    folder = start_build(workspace, draft)
    with pytest.raises(ZoowizardError, match="still runs"):
        retry(workspace, read_job(folder))
    os.kill(json.loads((wait_for(folder / "supervisor")).read_text())["pid"], signal.SIGTERM)
    assert ended(folder).state == "cancelled"


def wait_for(path: Path) -> Path:
    end = time.monotonic() + DEADLINE_S
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.02)
    return path
