from pathlib import Path

import pytest

from zoowizard.drafts import store
from zoowizard.drafts.place import Place, read_place, write_place
from zoowizard.errors import ZoowizardError


@pytest.fixture
def workspace(tmp_path: Path) -> store.Workspace:
    return store.open_workspace(tmp_path / "workspace")


def test_the_place_comes_back_as_it_was(workspace: store.Workspace) -> None:
    draft = store.start_draft(workspace, "yolo", Path("best.pt"))
    assert read_place(workspace, draft.id) == Place()
    place = Place("describe", "license", {"license": "CC-", "name": "核 \udcff [/x]"})
    write_place(workspace, draft.id, place)
    assert read_place(workspace, draft.id) == place
    write_place(workspace, draft.id, Place("test"))
    assert read_place(workspace, draft.id) == Place("test")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"step": 3}',
        b'{"typed": ["a"]}',
        b'{"typed": {"name": 5}}',
        b" " * 2_000_000,
    ],
)
def test_a_damaged_place_is_the_beginning(workspace: store.Workspace, content: bytes) -> None:
    draft = store.start_draft(workspace, "yolo", Path("best.pt"))
    (workspace.folder(draft.id) / "place.json").write_bytes(content)
    assert read_place(workspace, draft.id) == Place()
    assert store.drafts(workspace) == ([draft], [])


def test_no_place_without_a_model(workspace: store.Workspace) -> None:
    assert read_place(workspace, "nobody") == Place() == read_place(workspace, "../..")
    with pytest.raises(ZoowizardError, match=r"place\.json"):
        write_place(workspace, "nobody", Place("test"))
