from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest

from zoowizard.board.columns import COLUMNS
from zoowizard.board.rows import fold
from zoowizard.board.uploads import standings
from zoowizard.drafts.draft import CHECKPOINT, Draft, Value, with_found, with_given
from zoowizard.drafts.questions import FIELDS
from zoowizard.drafts.workspace import Workspace
from zoowizard.jobs import state
from zoowizard.jobs.folder import create
from zoowizard.jobs.history import StepState
from zoowizard.upload.state import Said, Upload, folder_of

READ = with_found(
    Draft("nuclei-run", "yolo", Path("best.pt"), "2026-01-01T00:00:00+00:00"), {"epochs": Value(3, CHECKPOINT)}
)


@dataclass(frozen=True)
class Job:
    state: str
    kind: str = "build"
    reason: str = ""
    outcome: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Receipt:
    confirmed: bool


PASSED = Job(
    "passed", outcome={"status": "passed", "parity": {"images": 4, "mean_iou": 0.9996, "identical_pixels": 0.99996}}
)


@pytest.fixture
def full(tmp_path: Path) -> Draft:
    imageio.imwrite(tmp_path / "nuclei.png", np.indices((64, 64)).sum(axis=0).astype(np.uint8))
    examples = {field.name: field.parse(field.example) for field in FIELDS if field.kind != "path"}
    return with_given(READ, {**examples, "test_image": str(tmp_path / "nuclei.png")})


def test_a_draft_that_was_only_read() -> None:
    row = fold(READ, FIELDS, [])
    assert (row.model_name, row.status, row.metadata_complete, row.exported, row.uploaded) == (
        "nuclei-run",
        "Not Started",
        "No",
        "No",
        "No",
    )
    assert row.notes.startswith("missing: name, description")


def test_from_answers_to_a_tested_package(full: Draft) -> None:
    row = fold(full, FIELDS, [])
    assert row.model_name == "Nuclei segmentation in fluorescence images (YOLO11n)"
    assert (row.category, row.status, row.metadata_complete) == ("Participant Models", "In Progress", "Yes")
    assert (row.exported, row.notes) == ("No", "")
    tested = fold(full, FIELDS, [PASSED])
    assert (tested.status, tested.exported, tested.uploaded) == ("Tested", "Yes", "No")
    assert tested.notes == "parity: IoU 1.000, 99.99 % of pixels identical"


def test_only_the_newest_build_counts(full: Draft) -> None:
    failed = Job("failed", reason="the test image\nis 16-bit " + "x" * 200)
    row = fold(full, FIELDS, [failed, PASSED])
    assert (row.status, row.exported) == ("Failed", "No")
    assert row.notes.startswith("the test image is 16-bit") and len(row.notes) <= 100 and row.notes.endswith("…")
    assert fold(full, FIELDS, [PASSED, failed]).exported == "Yes"
    assert fold(full, FIELDS, [Job("cancelled"), PASSED]).exported == "Yes"
    assert fold(full, FIELDS, [Job("failed", kind="test"), PASSED]).exported == "Yes"
    assert fold(full, FIELDS, [Job("died"), PASSED]).notes == "the build died"


def test_a_running_build_is_testing_and_the_package_before_it_stays(full: Draft) -> None:
    assert fold(full, FIELDS, [Job("running")]).status == "Testing"
    again = fold(full, FIELDS, [Job("starting"), PASSED])
    assert (again.status, again.exported) == ("Testing", "Yes")


def test_a_job_that_ended_well_with_a_package_that_failed_its_tests_is_no_export(full: Draft) -> None:
    row = fold(full, FIELDS, [Job("passed", reason="onnx differs", outcome={"status": "failed"})])
    assert (row.status, row.exported, row.notes) == ("Failed", "No", "onnx differs")


def test_a_package_that_failed_with_the_zoos_versions_stays_exported_and_is_noted(full: Draft) -> None:
    there = Job("failed", reason="with the zoo's versions onnx: cannot run", kind="test")
    row = fold(full, FIELDS, [there, PASSED])
    assert (row.status, row.exported, row.notes) == ("Tested", "Yes", "with the zoo's versions onnx: cannot run")
    for unheard in (Job("cancelled", kind="test"), Job("running", kind="test"), Job("passed", kind="test")):
        assert fold(full, FIELDS, [unheard, PASSED]).notes.startswith("parity")
    assert fold(full, FIELDS, [Job("running", kind="test"), there, PASSED]).notes == there.reason
    assert fold(full, FIELDS, [PASSED, there]).notes.startswith("parity"), "it was of the package before"


def test_a_wrong_answer_makes_metadata_incomplete(full: Draft) -> None:
    row = fold(with_given(full, {"citations": [{"text": "a paper"}]}), FIELDS, [])
    assert row.metadata_complete == "No"
    assert row.notes.startswith("citations: citation 1 has neither doi nor url")


def test_uploaded_is_what_a_receipt_says(full: Draft) -> None:
    assert fold(full, FIELDS, [PASSED], [Receipt(False)]).uploaded == "No"
    row = fold(full, FIELDS, [PASSED], [Receipt(False), Receipt(True)])
    assert (row.status, row.uploaded) == ("Uploaded", "Yes")


def test_the_jobs_of_the_workspace_are_understood(full: Draft) -> None:
    job = state.Job("20260101-000000-abcd", "build", full.id, "timed-out", Path("job"), "it took longer than 60 s")
    row = fold(full, FIELDS, [job])
    assert (row.status, row.notes) == ("Failed", "it took longer than 60 s")


def test_parity_without_objects_and_odd_outcomes(full: Draft) -> None:
    parity = {"images": 1, "mean_iou": None, "identical_pixels": 1.0}
    assert fold(full, FIELDS, [Job("passed", outcome={"parity": parity})]).notes == "parity: 100 % of pixels identical"
    assert fold(full, FIELDS, [Job("passed", outcome={"parity": "?"})]).notes == ""
    unknown = {"parity": None, "not_measured": "no uv was found"}
    assert fold(full, FIELDS, [Job("passed", outcome=unknown)]).notes == "parity: not measured: no uv was found"
    assert fold(with_given(READ, {"name": 5}), FIELDS, []).model_name == "nuclei-run"


def test_the_columns_are_those_of_the_events_document() -> None:
    document = Path(__file__).parents[2] / "assets" / "uploathon.md"
    header = next(line for line in document.read_text(encoding="utf-8").splitlines() if line.startswith("| Model Name"))
    assert tuple(cell.strip() for cell in header.strip("|").split("|")) == COLUMNS
    assert tuple(fold(READ, FIELDS, []).by_column()) == COLUMNS


SENT = Upload(
    key="0" * 32,
    base="https://zoo.example.org",
    title="Nuclei",
    package="nuclei.zip",
    sha256="1" * 64,
    size=100,
    artifact_id="bioimage-io/merry-panda",
    alias="merry-panda",
    at=datetime(2026, 3, 14, 12, tzinfo=UTC),
)


def upload_row(full: Draft, phase: str, job: state.Job | None = None, **told: Any) -> tuple[str, str, str]:
    """Status, Uploaded and Notes of a model whose package went to the zoo as far as that."""
    record = SENT.model_copy(update={"phase": phase, **told})
    with TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        place = folder_of(workspace, record.server, full.id, record.sha256)
        place.mkdir(parents=True)
        (place / "upload.json").write_text(record.model_dump_json())
        jobs = (
            []
            if job is None
            else [replace(job, folder=create(workspace.jobs(full.id), "upload", full.id, {"folder": str(place)}))]
        )
        confirmed = [Receipt(phase in ("verified", "submitted"))]
        row = fold(full, FIELDS, [PASSED, *jobs], confirmed, uploads=standings(workspace, full.id, jobs))
    return row.status, row.uploaded, row.notes


def upload_job(status: str, *steps: StepState, reason: str = "") -> state.Job:
    return state.Job("20260101-000000-abcd", "upload", "nuclei", status, Path("job"), reason, steps)


def test_an_upload_on_its_way(full: Draft) -> None:
    queued = upload_row(full, "queued", problem="nobody answers there", waits="network")
    assert queued[:2] == ("Queued", "No") and queued[2].startswith("queued for the zoo: there was no network")
    assert upload_row(full, "queued")[2].startswith("queued for the zoo; u sends it")
    going = upload_job("running", StepState("check", "done", 1), StepState("send", "running", 3, 0.42))
    assert upload_row(full, "sending", going)[:2] == ("Sending 42%", "No")
    assert upload_row(full, "sending", upload_job("running", StepState("verify", "running", 1)))[0] == "Verifying"
    assert upload_row(full, "sending", upload_job("cancelled"))[0] == "Paused"
    failed = upload_row(full, "sending", upload_job("failed", reason="?"), problem="the zoo's disk is full")
    assert failed[:2] == ("Not Sent", "No") and failed[2].startswith("not sent: the zoo's disk is full")
    late = upload_row(full, "sending", upload_job("failed"), problem="log in again", waits="login")
    assert late[0] == "Queued" and "it waits for your login" in late[2]


def test_an_upload_in_the_zoo(full: Draft) -> None:
    draft = upload_row(full, "verified", status="draft")
    assert draft[:2] == ("Uploaded", "Yes")
    assert draft[2] == "draft in the zoo: merry-panda · parity: IoU 1.000, 99.99 % of pixels identical"
    assert upload_row(full, "submitted", status="in-review")[:2] == ("In Review", "Yes")
    words = [Said(by="Rita", text="Add a\ncover. " + "x" * 200)]
    revised = upload_row(full, "submitted", status="in-revision", said=words)
    assert revised[0] == "In Revision" and revised[2].startswith("in revision: Add a cover.") and len(revised[2]) <= 100
    assert upload_row(full, "submitted", status="published")[0] == "Published"
    assert upload_row(full, "submitted", status="gone")[:2] == ("Gone", "No")
    assert upload_row(full, "verified", status="deletion-requested", withdrawn=True)[0] == "Withdrawn"


def test_the_agreement_of_values_is_a_note(full: Draft) -> None:
    agreement = {"images": 4, "apart": 2.31e-7, "outputs": {"probability": 2.31e-7}}
    outcome = {"status": "passed", "parity": None, "agreement": agreement}
    row = fold(full, FIELDS, [Job("passed", outcome=outcome)])
    assert row.notes == "agreement: within 2.4e-07 of the output's spread, on 4 images"
    assert fold(full, FIELDS, [Job("passed", outcome={**outcome, "agreement": "?"})]).notes == ""
