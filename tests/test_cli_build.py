"""`zoowizard build` that is refused, and answers that are taken back."""

from pathlib import Path

from commands import run_zoowizard

from zoowizard.drafts.store import drafts, load, open_workspace

WRONG_USE, ANSWERS_MISSING = 2, 3


def models(workspace: Path) -> list[str]:
    return sorted(folder.name for folder in workspace.glob("models/*"))


def test_a_refused_build_of_a_new_name_leaves_no_model_behind(run: Path, tmp_path: Path) -> None:
    workspace, answers = tmp_path / "workspace", run.parent / "answers.yaml"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("name: x\n")
    few = tmp_path / "few.yaml"
    few.write_text("name: Nuclei of mice\n")
    build = ["build", run, "--as", "Another one", "--workspace", workspace]
    for told, code, sentence in (
        (["--answers", wrong], WRONG_USE, "name (line 1): is too short"),
        (["--answers", few], ANSWERS_MISSING, "authors: Authors: is missing"),
        ([], ANSWERS_MISSING, "name: Model name: is missing"),
        (["--answers", answers, "--output", answers], WRONG_USE, "is no folder"),
        (["--answers", answers, "--output", "/proc/nope"], 1, "/proc: nothing can be saved there"),
    ):
        ran = run_zoowizard([*build, *told])
        assert ran.code == code and sentence in ran.err, ran.err
        assert models(workspace) == []


def test_a_model_that_was_there_stays(run: Path, tmp_path: Path) -> None:
    workspace, few = tmp_path / "workspace", tmp_path / "few.yaml"
    few.write_text("name: Nuclei of mice\ntrained_by: Ada\n")
    assert run_zoowizard(["answers", run, "--as", "mice", "--workspace", workspace]).code == 0
    build = ["build", run, "--as", "mice", "--workspace", workspace, "--answers"]
    assert run_zoowizard([*build, few]).code == ANSWERS_MISSING
    assert load(open_workspace(workspace), "mice").get("trained_by") == "Ada"

    few.write_text("name: Nuclei of mice\ntrained_by:\n")  # an empty answer takes the earlier one back
    ran = run_zoowizard([*build, few])
    assert ran.code == ANSWERS_MISSING and "authors" in ran.err
    [draft] = drafts(open_workspace(workspace))[0]
    assert {name: known.value for name, known in draft.given.items()} == {"name": "Nuclei of mice"}


def test_answers_that_cannot_be_written_leave_no_model_behind(run: Path, tmp_path: Path) -> None:
    workspace, there = tmp_path / "workspace", tmp_path / "there.yaml"
    there.write_text("mine")
    ran = run_zoowizard(["answers", run, "--output", there, "--workspace", workspace])
    assert ran.code == WRONG_USE and "is there already" in ran.err
    assert models(workspace) == [] and there.read_text() == "mine"
