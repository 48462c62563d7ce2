"""Deleting a model: it leaves the board, nothing is lost by a slip, and nothing that is at work loses its files."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import run_zoowizard
from terminal import PYTHON, Terminal
from uploads import a_package

from zoowizard.deletion import delete_model
from zoowizard.drafts.draft import with_given
from zoowizard.drafts.store import Workspace, drafts, editing, open_workspace, save, start_draft
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.folder import create
from zoowizard.jobs.state import cancel, list_jobs
from zoowizard.upload import huggingface, state, zoo
from zoowizard.upload.huggingface import Place
from zoowizard.upload.servers import server_of

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """With the models `nuclei`, which has a name, a job that ended and a package, and `mito`."""
    workspace = open_workspace(tmp_path / "workspace")
    draft = start_draft(workspace, "yolo", tmp_path / "best.pt", "nuclei")
    save(workspace, with_given(draft, {"name": "Nuclei of mice"}))
    start_draft(workspace, "yolo", tmp_path / "other.pt", "mito")
    job = create(workspace.jobs("nuclei"), "build", "nuclei", {})
    cancel(job)
    workspace.packages("nuclei").mkdir()
    (workspace.packages("nuclei") / "nuclei.zip").write_bytes(b"zip" * 1000)
    return workspace


def ids(workspace: Workspace) -> list[str]:
    return [draft.id for draft in drafts(workspace)[0]]


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "draft.lock"
    }


def test_a_deleted_model_leaves_the_board_and_comes_back_as_it_was(workspace: Workspace) -> None:
    before = content(workspace.folder("nuclei"))
    ran = run_zoowizard(["delete", "Nuclei of mice", "--yes", "--json", "--workspace", workspace.root])
    assert ran.code == 0, ran.err
    trashed = Path(ran.json()["trash"])
    assert ran.json()["model"] == "nuclei" and trashed.parent == workspace.root / ".trash"
    assert content(trashed) == before
    assert ids(workspace) == ["mito"]
    assert "Nuclei" not in run_zoowizard(["board", "--workspace", workspace.root]).out
    assert json.loads(run_zoowizard(["jobs", "--json", "--workspace", workspace.root]).out) == []

    assert str(workspace.folder("nuclei")) in ran.err
    shutil.move(trashed, workspace.folder("nuclei"))
    assert "Nuclei of mice" in run_zoowizard(["board", "--workspace", workspace.root]).out
    assert [job.state for job in list_jobs(workspace.jobs("nuclei"))] == ["cancelled"]


def test_it_asks_before(workspace: Workspace, tmp_path: Path) -> None:
    ran = run_zoowizard(["delete", "nuclei", "--workspace", workspace.root])
    assert ran.code == 2 and "--yes" in ran.err
    for answer, left in (("n", ["nuclei", "mito"]), ("y", ["mito"])):
        command = [*PYTHON, "zoowizard", "delete", "nuclei", "--workspace", workspace.root]
        terminal = Terminal(command, tmp_path)
        terminal.wait_for("delete the model nuclei")
        terminal.send(answer, "enter")
        terminal.ended()
        assert sorted(ids(workspace)) == sorted(left)


def test_twice_of_one_name_within_a_second(workspace: Workspace, tmp_path: Path) -> None:
    places = []
    for _ in range(3):
        start_draft(workspace, "yolo", tmp_path / "again.pt", "again")
        places.append(delete_model(workspace, "again"))
    assert len(set(places)) == 3 and all((place / "draft.json").is_file() for place in places)


def test_who_is_meant(workspace: Workspace, tmp_path: Path) -> None:
    for named, sentence in (
        ("nucle", "did you mean nuclei?"),
        ("", "zoowizard board"),
        ("../models/nuclei", "zoowizard board"),
        ("quite another", "zoowizard board"),
    ):
        ran = run_zoowizard(["delete", named, "--yes", "--workspace", workspace.root])
        assert ran.code == 2 and sentence in ran.err, ran.err
    other = start_draft(workspace, "yolo", tmp_path / "third.pt", "third")
    save(workspace, with_given(other, {"name": "Nuclei of mice"}))
    ran = run_zoowizard(["delete", "Nuclei of mice", "--yes", "--workspace", workspace.root])
    assert ran.code == 2 and "nuclei, third" in ran.err
    assert len(ids(workspace)) == 3
    with pytest.raises(WrongUse, match="no model `gone`"):
        delete_model(workspace, "gone")


def test_a_draft_that_cannot_be_read_can_be_deleted(workspace: Workspace) -> None:
    (workspace.folder("mito") / "draft.json").write_text("{")
    assert drafts(workspace)[1] != []
    ran = run_zoowizard(["delete", "mito", "--yes", "--workspace", workspace.root])
    assert ran.code == 0, ran.err
    assert drafts(workspace)[1] == [] and ids(workspace) == ["nuclei"]


@pytest.fixture
def at_work(workspace: Workspace) -> Iterator[Path]:
    """A job of `nuclei` that runs."""
    job = create(workspace.jobs("nuclei"), "selftest", "nuclei", {"do": [{"wait": 600}]})
    LocalEngine().start([job])
    yield job
    if job.exists():
        cancel(job)


def test_not_while_a_job_of_it_is_at_work(workspace: Workspace, at_work: Path) -> None:
    ran = run_zoowizard(["delete", "nuclei", "--yes", "--workspace", workspace.root])
    assert ran.code == 1 and f"zoowizard jobs cancel {at_work.name}" in ran.err
    assert "nuclei" in ids(workspace) and not workspace.trash.exists()
    cancel(at_work)
    assert (delete_model(workspace, "nuclei") / "jobs" / at_work.name / "result.json").is_file()


def test_not_while_its_package_is_tested(workspace: Workspace) -> None:
    package = workspace.packages("nuclei") / "nuclei.zip"
    for path, refused in ((package, True), (workspace.root / "nuclei.zip", False)):
        job = create(workspace.root / "jobs", "selftest", "x", {"do": [{"wait": 600}], "package": str(path)})
        LocalEngine().start([job])
        try:
            if refused:
                with pytest.raises(ZoowizardError, match=job.name):
                    delete_model(workspace, "nuclei")
            else:
                delete_model(workspace, "nuclei")
        finally:
            cancel(job)


def test_not_while_somebody_edits_it(workspace: Workspace) -> None:
    with editing(workspace, "nuclei"):
        ran = run_zoowizard(["delete", "nuclei", "--yes", "--workspace", workspace.root])
    assert ran.code == 1 and "is editing this draft" in ran.err
    assert "nuclei" in ids(workspace)


def test_not_before_its_upload_is_finished(workspace: Workspace, tmp_path: Path) -> None:
    package = a_package(tmp_path / "package", weights=1000)
    to_the_zoo = state.folder_of(workspace, server_of(NOWHERE), "nuclei", package.sha256)
    zoo.queue(to_the_zoo, server_of(NOWHERE), package)
    with pytest.raises(ZoowizardError, match="uploads --withdraw nuclei"):
        delete_model(workspace, "nuclei")
    ran = run_zoowizard(["uploads", "--withdraw", "nuclei", "--yes", "--workspace", workspace.root])
    assert ran.code == 0, ran.err

    place = Place(NOWHERE, "ada/nuclei")
    to_a_hub = huggingface.folder_of(workspace, place, "nuclei", package.sha256)
    huggingface.queue(to_a_hub, place, package)
    with pytest.raises(ZoowizardError, match=f"removing {to_a_hub}"):
        delete_model(workspace, "nuclei")
    shutil.rmtree(to_a_hub)
    assert delete_model(workspace, "nuclei").is_dir()


def test_where_it_cannot_be_moved_nothing_is_deleted(workspace: Workspace) -> None:
    workspace.trash.write_text("in the way")
    ran = run_zoowizard(["delete", "nuclei", "--yes", "--workspace", workspace.root])
    assert ran.code == 1 and "nothing was deleted" in ran.err
    assert sorted(ids(workspace)) == ["mito", "nuclei"]


def test_housekeeping_empties_the_trash_when_it_is_old(workspace: Workspace) -> None:
    young, old = delete_model(workspace, "nuclei"), delete_model(workspace, "mito")
    then = datetime.now(UTC) - timedelta(days=31)
    old = old.rename(old.with_name(f"mito-{then:%Y%m%d-%H%M%S}"))
    half_removed = workspace.trash / ".removed-0123456789abcdef"
    half_removed.mkdir()
    mine = workspace.trash / "my notes"
    mine.write_text("of somebody")
    clean = ["jobs", "clean", "--json", "--workspace", workspace.root]
    told = run_zoowizard([*clean, "--dry-run"]).json()
    assert {one["job"] for one in told["removals"]} == {str(old), str(half_removed)} and old.exists()
    assert told["bytes"] > told["freeable"] > 0

    assert run_zoowizard(clean).json()["freed"] == told["freeable"]
    assert sorted(workspace.trash.iterdir()) == [mine, young]
    assert run_zoowizard([*clean, "--all"]).code == 0
    assert list(workspace.trash.iterdir()) == [mine]
