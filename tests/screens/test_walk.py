"""The whole way by keys alone: from an empty board to a tested package, and a row of the event's table to a model."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest
import yaml
from commands import run_zoowizard
from person import Person

from zoowizard.assets import asset
from zoowizard.drafts.draft import Draft
from zoowizard.drafts.fields import Field
from zoowizard.drafts.spoken import as_line
from zoowizard.drafts.store import Workspace, drafts, open_workspace
from zoowizard.screens.app import ZoowizardApp
from zoowizard.upload.receipts import receipts
from zoowizard.workflow import fields_of

SIZE = (80, 24)
BUILD_S = 180.0
REQUIRED = re.compile(r"^ *(\S.*?) \(required\)", re.MULTILINE)
ANSWERS = yaml.safe_load(asset("sample/answers.yaml").read_text())


def line_for(field: Field) -> str:
    """What a person types to give the answer that the sample's answers file gives."""
    answer = ANSWERS[field.name]
    line = as_line(field, answer)
    return str(answer) if line is None else " ".join(line.split())


def only_draft(workspace: Workspace) -> Draft:
    found, problems = drafts(workspace)
    assert problems == []
    [draft] = found
    return draft


async def to_test_image(person: Person) -> None:
    await person.sees("No model is here yet.")
    await person.press("n")
    await person.sees("Which model do you want to share?", "1 model at or below", "YOLO11n")
    await person.press("ctrl+j")
    await person.sees("Is it right?", "● 2 Check", "Test image")


async def answer_what_is_required(person: Person, fields: dict[str, Field]) -> list[str]:
    """Go from gap to gap, and type what stands in the sample's answers file; gives the labels in their order."""
    done: list[str] = []
    while "all that is required is there" not in person.screen:
        await person.until(lambda: (now := REQUIRED.search(person.screen)) and now[1] not in done)
        found = REQUIRED.search(person.screen)
        assert found is not None
        label = found[1]
        field = fields[label]
        count = answered(person)
        await person.write(line_for(field))
        await person.until(lambda count=count: answered(person) == count + 1)  # type: ignore[misc]
        done.append(label)
        await person.press("f6")
    return done


def answered(person: Person) -> int:
    found = re.search(r"(\d+)/\d+ answered", person.screen)
    assert found is not None, person.screen
    return int(found[1])


async def test_from_an_empty_board_to_a_saved_package_by_keys_alone(run: Path, tmp_path: Path) -> None:
    here = run.parent
    (here / "out").mkdir()
    workspace = open_workspace(tmp_path / "workspace")
    app = ZoowizardApp(workspace.root, here)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        person = Person(pilot)
        await to_test_image(person)
        await person.write("nuclei-512.png")
        await person.sees("✓ 512 x 512 pixels")
        assert sum(line.count("▀") + line.count("▄") for line in person.screen.splitlines()) > 100, person.screen

        await person.press("ctrl+j")
        await person.sees("● 3 Describe", "✓ 2 Check", "missing: Model name")
        fields = {field.label: field for field in fields_of("yolo")}

        # half a name is no answer yet; it is there again after the board, and after the step before
        await person.write("nuc")
        await person.sees("is too short")
        await person.press("ctrl+o")
        await person.sees("In Progress")
        await person.press("enter")
        await person.sees("● 3 Describe", "nuc")
        await person.write("lei")
        await person.until(lambda: "nuclei" in person.line_with("Model name"))
        await person.press("escape")
        await person.sees("● 2 Check", "✓ 512 x 512 pixels")
        await person.press("ctrl+j")
        await person.sees("● 3 Describe")
        await person.until(lambda: "nuclei" in person.line_with("Model name"))
        await person.until(lambda: re.search("> +Model name", person.screen))
        await person.press("enter")
        await person.at_input()
        await person.press(*["backspace"] * len("nuclei"))
        await person.until(lambda: "nuclei" not in person.line_with("Model name"))

        asked = await answer_what_is_required(person, fields)
        assert asked[0] == "Model name"

        await person.press("ctrl+j")
        await person.sees("● 4 Test", "✓ 3 Describe", "Ready to be built and tested")
        await person.press("escape")
        await person.sees("● 3 Describe", "all that is required is there")
        draft = only_draft(workspace)
        for label in asked:
            field = fields[label]
            assert draft.given[field.name].value == field.parse(line_for(field)), label
        await person.press("ctrl+j")
        await person.sees("Ready to be built and tested")
        await person.press("enter")
        await person.sees("● Testing", "step 1 of")
        await person.sees("✓ Passed", "predicts what the model predicts", seconds=BUILD_S)

        await person.press("enter")
        await person.sees("● 5 Upload", "✓ 4 Test", "In the package")
        await person.press("down", "down")
        await person.at_input()
        await person.press("end", *["backspace"] * len(str(here)))
        await person.until(lambda: person.line_with(" Folder").split() == ["Folder"])
        await person.write("out")
        await person.until(lambda: person.line_with(" Folder").split() == ["Folder", "out"])
        await person.sees("Enter:")
        await person.press("enter")
        await person.sees("✓ saved as")

        await person.press("ctrl+o")
        board = await person.sees("Tested", gone="In Progress")
        assert re.search(r"Tested +✓ +✓", person.line_with("Tested")), board

        # the row leads back to where the person was
        await person.press("enter")
        await person.sees("● 5 Upload", "✓ saved as")
        await person.press("ctrl+q")
    [package] = (here / "out").glob("*.zip")
    [receipt] = receipts(workspace, draft.id)
    assert receipt.sha256 == hashlib.sha256(package.read_bytes()).hexdigest()
    built = next(workspace.packages(draft.id).glob("*.zip"))
    assert package.read_bytes() == built.read_bytes()


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """A copy of the event's document."""
    return Path(shutil.copy(asset("uploathon.md"), tmp_path / "event.md"))


async def test_a_row_of_the_event_is_claimed_and_keeps_its_words_when_a_model_is_chosen(
    run: Path, document: Path, tmp_path: Path
) -> None:
    workspace = open_workspace(tmp_path / "workspace")
    original = document.read_bytes()
    ran = run_zoowizard(["board", "import", document, "--workspace", workspace.root])
    assert ran.code == 0, ran.err
    app = ZoowizardApp(workspace.root, run.parent)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        person = Person(pilot)
        await person.sees("CellPose Models", "Not Started")
        await person.press("slash")
        await person.write("prE-trained")
        await person.sees("CellPose Models", gone="Ashesh's")
        await person.press("enter")
        await person.until(lambda: ">CellPose Models" in person.screen)
        await person.press("enter")
        await person.sees("● 1 Model", "zoowizard CellPose Models", "1 model at or below")
        claimed = only_draft(workspace)
        assert claimed.get("name") == "CellPose Models"
        await person.press("ctrl+j")
        await person.sees("● 2 Check", "zoowizard CellPose Models")
        await person.press("ctrl+j")
        await person.sees("● 3 Describe")
        await person.until(lambda: "✓ CellPose Models" in person.line_with("Model name"))
        await person.until(lambda: "✓ Community Interest Models" in person.line_with("Category "))
        await person.until(lambda: re.search(r"> +Authors ○", person.screen))
        await person.write("Carsen Stringer")
        await person.sees("✓ Carsen Stringer")
        await person.press("ctrl+o")
        await person.sees("In Progress")
        await person.press("ctrl+q")
    draft = only_draft(workspace)
    assert (draft.id, draft.family) == (claimed.id, "yolo")
    for name in ("name", "category", "description"):
        assert draft.get(name) == claimed.get(name)
    ran = run_zoowizard(["board", "export", document, "--workspace", workspace.root])
    assert ran.code == 0, ran.err
    before, after = original.decode().splitlines(), document.read_bytes().decode().splitlines()
    [(old, new)] = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    was, now = ([cell.strip() for cell in line.strip("|").split("|")] for line in (old, new))
    assert now[:7] == [*was[:3], "In Progress", "No", "No", "No"]
    assert was[0] == "CellPose Models" and now[7].startswith("missing: modality")
