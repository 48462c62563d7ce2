"""The step Check: what was found, pictures, curves, and the question for the test image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from check_app import ChoiceApp, until, until_said, until_shown
from commands import Demo
from PIL import Image
from screens_text import screen_text
from textual.events import Paste
from textual.widgets import Input

from zoowizard.board.markdown import width_of
from zoowizard.drafts.draft import Draft, Value, with_given
from zoowizard.drafts.store import Workspace, load
from zoowizard.families.family import Recognition, Warning
from zoowizard.families.identify import identify
from zoowizard.jobs.state import list_jobs
from zoowizard.screens.situation import Answered, Situation, Typed
from zoowizard.screens.steps.check import CheckStep
from zoowizard.screens.steps.findings import as_content, findings
from zoowizard.workflow import draft_in_memory, fields_of


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def situation(tmp_path: Path, run: Path) -> Situation:
    """The sample run, with a test image that a person gave; `here` is the folder of both."""
    [recognition] = identify(run)
    draft = replace(draft_in_memory(recognition), id="nuclei")
    draft = with_given(draft, {"test_image": str(run.parent / "nuclei-512.png")})
    workspace = Workspace(tmp_path / "workspace")
    return Situation(workspace, run.parent, draft=draft, recognition=recognition, fields=fields_of("yolo"))


@pytest.fixture
def of_demo(demo: Demo) -> Situation:
    """The sample model with its built package."""
    workspace = Workspace(demo.workspace)
    [folder] = demo.workspace.glob("models/*")
    draft, [job] = load(workspace, folder.name), list_jobs(workspace.jobs(folder.name))
    values = {name: known.value for name, known in draft.values.items()}
    return Situation(
        workspace, demo.output, draft=draft, fields=fields_of("yolo"), job=job, built=job, built_from=values
    )


def side_by_side(shown: str) -> bool:
    return any(line.count("▀") > 60 for line in shown.splitlines())


def app_of(situation: Situation) -> ChoiceApp:
    return ChoiceApp(CheckStep(), situation)


async def test_what_was_found_stands_beside_the_test_image(situation: Situation) -> None:
    app = app_of(situation)
    async with app.run_test(size=(80, 24)) as pilot:
        shown = await until_shown(pilot, "512 x 512 pixels, grey, 8-bit", "▀▀▀▀▀▀▀▀", "40 of 40")
        for words in ("YOLO11n-seg", "2.8 million", "1: nucleus", "from the checkpoint itself", "40 of 40"):
            assert words in shown
        assert all(len(line) <= 80 for line in shown.splitlines())
        await pilot.press("p")
        await until_shown(pilot, "training loss 22.1 to 4.47", "best epoch 40 of 40", "█", gone="▀▀")
        await pilot.press("p")
        await until_shown(pilot, "▀▀▀▀", gone="best epoch")
        await pilot.press("end")
        await until_shown(pilot, "▀▀▀▀", "ultralytics v", gone="best epoch")
    assert app.said == []


async def test_all_of_it_at_once_where_there_is_room(of_demo: Situation) -> None:
    app = app_of(of_demo)
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, "test image", "prediction: 71 objects", "training loss", "best epoch 40 of 40")
        await until(pilot, lambda: side_by_side(screen_text(app)))
        await pilot.resize_terminal(80, 24)
        await until_shown(pilot, "test image", gone="prediction: 71")
        await pilot.press("v")
        await until_shown(pilot, "prediction: 71 objects", "▀▀▀▀")
        await pilot.press("v")
        await until_shown(pilot, "test image", gone="prediction: 71")


async def test_a_prediction_of_another_image_says_so(of_demo: Situation) -> None:
    assert of_demo.draft is not None
    changed = replace(of_demo, draft=with_given(of_demo.draft, {"test_image": "/elsewhere/other.png"}))
    async with app_of(changed).run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, "prediction, of the image before", "other.png does not exist")


async def test_a_prediction_that_is_an_image_has_no_objects(of_demo: Situation, tmp_path: Path) -> None:
    assert of_demo.built is not None
    (tmp_path / "contents").mkdir()
    (tmp_path / "tensors").mkdir()
    np.save(tmp_path / "tensors" / "shown-output.npy", np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64))
    gives_image = replace(of_demo, built=replace(of_demo.built, folder=tmp_path))
    app = app_of(gives_image)
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, "test image", "prediction", "best epoch 40 of 40", gone="objects")
        await until(pilot, lambda: side_by_side(screen_text(app)))


async def test_without_colours_the_picture_is_in_shades(situation: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with app_of(situation).run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "512 x 512 pixels", "=-", gone="▀▀")


async def test_another_test_image_is_looked_at_before_it_is_taken(situation: Situation) -> None:
    assert situation.draft is not None
    stack = situation.here / "stack.tif"
    Image.fromarray(np.zeros((70, 70), np.uint8)).save(
        stack, save_all=True, append_images=[Image.fromarray(np.ones((70, 70), np.uint8))]
    )
    other = situation.here / "my [best].png"
    Image.fromarray(np.arange(64 * 80, dtype=np.uint8).reshape(64, 80)).save(other)
    app = app_of(situation)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "512 x 512 pixels")
        typed = app.query_one(Input)
        typed.focus()
        await until(pilot, lambda: typed.has_focus)
        typed.value = ""
        app.post_message(Paste("stack.tif"))
        await until(pilot, lambda: typed.value == "stack.tif")
        assert app.step.unsaid() == [Typed("test_image", "stack.tif")], "leaving the step now would lose nothing"
        await until_shown(pilot, "✗ stack.tif is a stack (2 x 70 x 70); save one plane", gone="▀▀")
        assert (await until_said(pilot))[-1] == Typed("test_image", "stack.tif")
        app.show(replace(situation, typed={"test_image": "stack.tif"}))
        assert typed.value == "stack.tif"
        typed.value = ""
        await pilot.press(*"my [best].png", "enter")
        await until_shown(pilot, "✓ 80 x 64 pixels, grey, 8-bit", "▀▀▀")
        await until(pilot, lambda: app.said[-1] == Answered({"test_image": str(other)}))
        app.show(replace(situation, draft=with_given(situation.draft, {"test_image": str(other)})))
        assert typed.value == "my [best].png", "what is typed stays as it is"
        app.query_one("#check-found").focus()
        await until(pilot, lambda: not typed.has_focus)
        app.show(replace(app.situation))
        assert typed.value == "my [best].png"
        assert app.step.unsaid() == []


async def test_an_empty_path_takes_the_answer_back(situation: Situation) -> None:
    app = app_of(situation)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "512 x 512 pixels", "▀▀")
        app.query_one(Input).focus()
        await until(pilot, lambda: app.query_one(Input).has_focus)
        await pilot.press("ctrl+u", "enter")
        assert await until_said(pilot, 2) == [Typed("test_image", None), Answered({"test_image": None})]
        await until_shown(pilot, "an image that the model was not trained on", gone="▀▀")


async def test_what_was_typed_another_day_is_still_there(situation: Situation) -> None:
    app = app_of(replace(situation, typed={"test_image": "half/a/pa"}))
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "Test image half/a/pa", "does not exist")
    assert app.said == []


async def test_without_a_test_image_it_is_asked_for(situation: Situation) -> None:
    assert situation.draft is not None
    app = app_of(replace(situation, draft=replace(situation.draft, given={})))
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "test image: none yet", "an image that the model was not trained on")
        await until(pilot, lambda: app.query_one(Input).has_focus)
        await pilot.press(*"nuclei-512.png", "enter")
        await until_said(pilot)
        await until(pilot, lambda: isinstance(app.said[-1], Answered))
        assert [one for one in app.said if not isinstance(one, Typed)] == [
            Answered({"test_image": str(situation.here / "nuclei-512.png")})
        ]


async def test_warnings_and_what_is_in_the_way_stand_first(situation: Situation) -> None:
    assert situation.recognition is not None
    warnings = (
        Warning("overfitting", "It looks [bold]overfitted[/x]: \x1b[31mfor the last 10 epochs."),
        Warning("not-segmentation", "It is a YOLO for `detect`."),
    )
    recognition = replace(situation.recognition, warnings=warnings)
    async with app_of(replace(situation, recognition=recognition)).run_test(size=(80, 24)) as pilot:
        shown = await until_shown(pilot, "✗ It is a YOLO for `detect`.", "! It looks [bold]overfitted[/x]: [31mfor the")
        assert shown.index("✗ It is") < shown.index("! It looks") < shown.index("YOLO11n-seg")


async def test_when_it_may_not_be_changed(situation: Situation) -> None:
    app = app_of(replace(situation, read_only="ada edits it"))
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "512 x 512 pixels", "▀▀▀")
        assert app.query_one(Input).disabled
    assert app.said == []


async def test_another_draft_shows_its_own(situation: Situation, of_demo: Situation) -> None:
    app = app_of(of_demo)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "512 x 512 pixels")
        app.query_one(Input).focus()
        await until(pilot, lambda: app.query_one(Input).has_focus)
        app.show(replace(situation, typed={"test_image": "none.png"}))
        await until_shown(pilot, "Test image none.png", "does not exist", gone="▀▀")


async def test_little_room_shows_one_thing_after_the_other(of_demo: Situation) -> None:
    app = app_of(of_demo)
    async with app.run_test(size=(40, 12)) as pilot:
        await until_shown(pilot, "architecture", "YOLO11n-seg")
        await pilot.press("v")
        await until_shown(pilot, "test image", gone="architecture")
        await pilot.press("v")
        await until_shown(pilot, "prediction: 71 objects")
        await pilot.press("p")
        await until_shown(pilot, "best epoch 40 of 40")
        await pilot.press("p")
        await until_shown(pilot, "architecture")
        for size in ((40, 10), (20, 3), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        await until_shown(pilot, "architecture", "▀▀▀▀▀")


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        [],
        {},
        "x" * 5000,
        ["核" * 40] * 50,
        {"a": {"b": [1.0, None]}},
        {"a": {}},
        3,
        -1.5,
        True,
        "[/x]\x1b[2J",
    ],
    ids=lambda value: str(value)[:10].encode("unicode_escape").decode(),
)
def test_whatever_a_file_told_can_be_said(value: object, situation: Situation) -> None:
    assert situation.draft is not None
    names = ("classes", "parameters", "training_seconds", "image_size", "metrics", "epochs", "best_epoch", "other")
    draft = replace(situation.draft, found={name: Value(value, "[b].yaml\x1b") for name in names})
    for width in (20, 45, 100):
        text = as_content(findings(draft, None, ()), width).plain
        assert "\x1b" not in text
        assert all(width_of(line) <= width for line in text.splitlines())


def test_defaults_and_answers_are_no_findings(situation: Situation) -> None:
    assert situation.draft is not None
    draft: Draft = with_given(situation.draft, {"name": "Nuclei of mice"})
    told = findings(draft, Recognition(Path("x"), "yolo", Path("x")), situation.fields)
    assert {one.origin for one in told} == {"checkpoint"}
    assert not any("Nuclei of mice" in one.text or "Jocher" in one.text for one in told)
