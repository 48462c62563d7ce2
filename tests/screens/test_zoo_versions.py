"""From the step Test, what was built is tested with the versions of the zoo's runner: by a job of its own."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Demo, run_zoowizard
from person import Person

from zoowizard.drafts.place import Place, write_place
from zoowizard.drafts.store import Workspace
from zoowizard.errors import ZoowizardError
from zoowizard.history import history
from zoowizard.launch import start_zoo_test
from zoowizard.screens.app import ZoowizardApp

DRAFT = "nuclei-yolo11n"


@pytest.fixture
def workspace(demo: Demo, tmp_path: Path) -> Workspace:
    """What the demo built, in a workspace of one's own, left in the step Test."""
    copy = Workspace(tmp_path / "workspace")
    shutil.copytree(demo.workspace, copy.root)
    write_place(copy, DRAFT, Place("test"))
    return copy


async def opened(person: Person) -> None:
    await person.until(lambda: any(line.startswith(">") for line in person.screen.splitlines()))
    await person.press("enter")
    await person.sees("✓ Passed", "z Zoo's versions")


async def test_it_says_why_it_cannot_then_what_came_of_it_and_still_after_a_restart(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOOWIZARD_ENVIRONMENTS", "0")
    async with ZoowizardApp(workspace.root, tmp_path).run_test(size=(80, 24)) as pilot:
        person = Person(pilot)
        await opened(person)
        await person.press("z")
        await person.sees("Not tested in the zoo's versions: ZOOWIZARD_ENVIRONMENTS=0 forbids", "✓ Passed")
    [row] = run_zoowizard(["board", "--json", "--workspace", workspace.root]).json()
    assert (row["Status"], row["Exported"]) == ("Tested", "Yes"), "the build's own outcome stays"
    assert row["Notes"].startswith("not tested in the zoo's versions: ZOOWIZARD_ENVIRONMENTS=0 forbids")

    monkeypatch.delenv("ZOOWIZARD_ENVIRONMENTS")
    async with ZoowizardApp(workspace.root, tmp_path).run_test(size=(80, 24)) as pilot:
        person = Person(pilot)
        await opened(person)
        await person.sees("Not tested in the zoo's versions")
        await person.press("z")
        await person.sees("● In the versions of the zoo's runner: ", gone="z Zoo's versions")
        await person.sees("runner, too: torchscript, onnx passed (bioimageio.core 0.10.4, torch 2.5.1")

    known = history(workspace, DRAFT)
    assert known.zoo is not None and known.zoo.state == "passed" and known.newest == known.built
    async with ZoowizardApp(workspace.root, tmp_path).run_test(size=(80, 24)) as pilot:
        person = Person(pilot)
        await opened(person)
        await person.sees("runner, too: torchscript, onnx passed")


async def test_it_can_be_cancelled(workspace: Workspace, tmp_path: Path) -> None:
    async with ZoowizardApp(workspace.root, tmp_path).run_test(size=(80, 24)) as pilot:
        person = Person(pilot)
        await opened(person)
        await person.press("z")
        await person.sees("● In the versions of the zoo's runner: ")
        await person.press("c")
        await person.sees("Press c again to end the test with the zoo's versions.")
        await person.press("c")
        await person.sees("✗ In the versions of the zoo's runner: ", "✓ Passed", "z Zoo's versions")
    zoo = history(workspace, DRAFT).zoo
    assert zoo is not None and zoo.state == "cancelled"


def test_a_package_that_was_changed_or_is_gone_is_not_tested(workspace: Workspace) -> None:
    built = history(workspace, DRAFT).built
    assert built is not None and built.outcome is not None
    with pytest.raises(ZoowizardError, match="was changed since it was built; build the model again"):
        start_zoo_test(workspace, replace(built, outcome={**built.outcome, "size": 1}))
    with pytest.raises(ZoowizardError, match="is not there any more; build the model again"):
        start_zoo_test(workspace, replace(built, outcome={**built.outcome, "package": "/nowhere/a.zip"}))
