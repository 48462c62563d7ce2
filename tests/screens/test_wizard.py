"""The wizard on a draft that another terminal holds."""

from pathlib import Path

from person import Person

from zoowizard.drafts.draft import with_given
from zoowizard.drafts.store import editing, load, open_workspace, save
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


async def test_another_package_of_the_same_model(tmp_path: Path, run: Path) -> None:
    """`d` on the board: a row of its own with the same answers, but for the name that people will find it by."""
    workspace = open_workspace(tmp_path / "workspace")
    draft = open_draft(workspace, choose_one(run))
    save(workspace, with_given(draft, {"name": "Nuclei of mine", "description": "Finds nuclei in my images."}))
    app = ZoowizardApp(workspace.root, tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        person = Person(pilot)
        await person.sees("Nuclei of mine")
        await person.press("d")
        await person.sees("Finds nuclei in my images.")
        await person.press("ctrl+o")
        await person.sees("Nuclei of mine")
        await person.sees("nuclei-copy")
    other = load(workspace, f"{draft.id}-copy")
    assert other.checkpoint == draft.checkpoint
    assert other.get("description") == "Finds nuclei in my images."
    assert "name" not in other.given
