"""The wizard on a draft that another terminal holds."""

from pathlib import Path

from person import Person

from zoowizard.drafts.store import editing, open_workspace
from zoowizard.screens.app import ZoowizardApp
from zoowizard.workflow import choose_one, open_draft


async def test_a_draft_that_is_damaged_while_it_is_looked_at(tmp_path: Path, run: Path) -> None:
    workspace = open_workspace(tmp_path / "workspace")
    draft = open_draft(workspace, choose_one(run))
    record = workspace.folder(draft.id) / "draft.json"
    app = ZoowizardApp(workspace.root, tmp_path)
    with editing(workspace, draft.id):
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            person = Person(pilot)
            app.open_wizard(draft.id)
            await person.sees("is editing this draft")
            record.write_text("{")
            await person.sees("is no JSON")
            await person.press("ctrl+o")
            await person.sees("! nuclei:")
    assert app.crash == ""
