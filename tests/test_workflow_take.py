import shutil
from pathlib import Path

import pytest

from zoowizard.assets import asset
from zoowizard.board.event import claim, import_document
from zoowizard.board.rows import fold
from zoowizard.drafts.answers import template
from zoowizard.drafts.draft import DEFAULT, Draft, Value, with_given
from zoowizard.drafts.questions import FIELDS
from zoowizard.drafts.store import DraftBusy, Workspace, drafts, editing, load, open_workspace, save
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.families.family import Recognition
from zoowizard.launch import start_build
from zoowizard.workflow import board_lines, choose_one, fields_of, open_draft, take


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "workspace")


@pytest.fixture
def claimed(workspace: Workspace) -> Draft:
    return claim(workspace, import_document(workspace, asset("uploathon.md")).rows[5])


@pytest.fixture
def other_run(tmp_path: Path, sample_run: Path) -> Recognition:
    return choose_one(Path(shutil.copytree(sample_run, tmp_path / "other")))


def test_a_claim_gets_its_model_and_keeps_its_row(workspace: Workspace, claimed: Draft, sample_run: Path) -> None:
    answered = with_given(claimed, {"license": "MIT"})
    taken = take(workspace, choose_one(sample_run), answered)
    assert (taken.id, taken.family, taken.given) == (claimed.id, "yolo", answered.given)
    assert taken.checkpoint == sample_run / "weights" / "best.pt"
    assert taken.found["category"] == Value("Community Interest Models", "uploathon.md")
    assert taken.found["version"].origin == DEFAULT and "epochs" in taken.found
    assert load(workspace, claimed.id) == taken
    assert take(workspace, choose_one(sample_run), taken) == taken
    assert open_draft(workspace, choose_one(sample_run)).id == claimed.id
    assert board_lines(workspace)[0][5].draft_id == claimed.id


def test_a_claim_is_joined_to_the_draft_that_the_model_has(
    workspace: Workspace, claimed: Draft, sample_run: Path
) -> None:
    recognition = choose_one(sample_run)
    there = with_given(open_draft(workspace, recognition), {"license": "MIT"})
    save(workspace, there)
    answered = with_given(claimed, {"license": "CC0-1.0", "funding": "a grant"})
    save(workspace, answered)
    with editing(workspace, claimed.id):
        taken = take(workspace, recognition, answered)
    assert (taken.id, taken.get("license"), taken.get("funding")) == (there.id, "MIT", "a grant")
    assert drafts(workspace) == ([taken], [])
    assert not (workspace.folder(claimed.id) / "draft.json").exists()
    lines = board_lines(workspace)[0]
    assert (len(lines), lines[5].draft_id, lines[5].row.status) == (9, there.id, "In Progress")


def test_a_claim_waits_where_somebody_edits_the_models_draft(
    workspace: Workspace, claimed: Draft, sample_run: Path
) -> None:
    there = open_draft(workspace, choose_one(sample_run))
    with editing(workspace, there.id), pytest.raises(DraftBusy):
        take(workspace, choose_one(sample_run), claimed)
    assert {draft.id for draft in drafts(workspace)[0]} == {there.id, claimed.id}
    assert load(workspace, claimed.id) == claimed


def test_another_model_for_a_draft_keeps_the_answers(
    workspace: Workspace, claimed: Draft, sample_run: Path, other_run: Recognition
) -> None:
    first = with_given(take(workspace, choose_one(sample_run), claimed), {"license": "MIT"})
    stale = Draft(**{**vars(first), "found": {**first.found, "only_here": Value(1, "checkpoint")}})
    second = take(workspace, other_run, stale)
    assert (second.id, second.checkpoint, second.get("license")) == (claimed.id, other_run.checkpoint, "MIT")
    assert "only_here" not in second.found and second.found["event_row"] == claimed.found["event_row"]


def test_a_model_with_a_draft_of_its_own_is_gone_on_with(
    workspace: Workspace, sample_run: Path, other_run: Recognition
) -> None:
    first = with_given(take(workspace, choose_one(sample_run)), {"license": "MIT"})
    save(workspace, first)
    second = take(workspace, other_run)
    assert take(workspace, other_run, first) == second
    assert {draft.id for draft in drafts(workspace)[0]} == {first.id, second.id}
    assert "license" not in second.given


def test_without_weights_nothing_is_taken(workspace: Workspace, claimed: Draft, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="no weights"):
        take(workspace, Recognition(tmp_path, "yolo"), claimed)
    assert load(workspace, claimed.id) == claimed


def test_a_claim_cannot_be_built_and_says_what_is_first(workspace: Workspace, claimed: Draft) -> None:
    with pytest.raises(ZoowizardError, match="choose the model first"):
        start_build(workspace, claimed)
    assert fields_of("") == FIELDS
    row = fold(claimed, fields_of(""), [])
    assert (row.model_name, row.status, row.metadata_complete) == ("CellPose Models", "Not Started", "No")
    assert row.notes.startswith("missing: model, ")
    assert fold(with_given(claimed, {"license": "MIT"}), FIELDS, []).status == "In Progress"
    assert template(claimed, fields_of("")).startswith("# Answers for the package of cellpose-models\n")
