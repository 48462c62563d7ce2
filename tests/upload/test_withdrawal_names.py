"""`zoowizard uploads --withdraw NAME`: by what the upload is called here, or in the zoo."""

from pathlib import Path

import pytest
from commands import run_zoowizard
from uploads import a_package

from zoowizard.drafts.draft import with_given
from zoowizard.drafts.store import Workspace, open_workspace, save, start_draft
from zoowizard.upload import state, zoo
from zoowizard.upload.servers import server_of

NOWHERE, ELSEWHERE = "http://127.0.0.1:9", "http://127.0.0.1:10"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """With the model `best`, which the board calls `Nuclei of mice`, and whose package is called `Nuclei`; queued."""
    workspace = open_workspace(tmp_path / "workspace")
    draft = start_draft(workspace, "yolo", tmp_path / "best.pt", "best")
    save(workspace, with_given(draft, {"name": "Nuclei of mice"}))
    queued(workspace, tmp_path, NOWHERE)
    return workspace


def queued(workspace: Workspace, tmp_path: Path, base: str) -> None:
    package, server = a_package(tmp_path / "package", weights=1000), server_of(base)
    zoo.queue(state.folder_of(workspace, server, "best", package.sha256), server, package)


@pytest.mark.parametrize("named", ["best", "Nuclei of mice", "Nuclei", "nuclei"])
def test_by_each_of_its_names(named: str, workspace: Workspace) -> None:
    ran = run_zoowizard(["uploads", "--withdraw", named, "--yes", "--workspace", workspace.root])
    assert ran.code == 0 and "was not in the zoo yet, and will not be sent" in ran.out, ran.err
    [(_, upload)] = state.all_uploads(workspace)[0]
    assert upload.withdrawn


def test_of_two_the_one_that_was_not_taken_back_is_meant(workspace: Workspace, tmp_path: Path) -> None:
    queued(workspace, tmp_path, ELSEWHERE)
    withdraw = ["uploads", "--withdraw", "best", "--yes", "--workspace", workspace.root]
    ran = run_zoowizard(withdraw)
    assert ran.code == 2 and "2 uploads are called best" in ran.err and "127.0.0.1:10" in ran.err
    assert run_zoowizard([*withdraw[:2], "127.0.0.1:9", *withdraw[3:]]).code == 0
    assert {upload.base: upload.withdrawn for _, upload in state.all_uploads(workspace)[0]} == {
        NOWHERE: True,
        ELSEWHERE: False,
    }
    assert run_zoowizard(withdraw).code == 0
    assert all(upload.withdrawn for _, upload in state.all_uploads(workspace)[0])
