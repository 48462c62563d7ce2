"""What the steps Check and Describe ask of any network: questions that come and go, and images in 3-D."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from check_app import ChoiceApp, until_said, until_shown
from describe_app import WIZARD, Describing, begun, sees, until, write
from screens_text import screen_text

from zoowizard.drafts.store import Workspace
from zoowizard.screens.situation import Answered, Situation
from zoowizard.screens.steps.check import CheckStep
from zoowizard.workflow import answered, choose_one, draft_in_memory, questions_for

NETS = """
class UNet(nn.Module):
    def __init__(self, in_channels: int, depth: int = 3): ...
    def forward(self, x): ...


class ResNet(nn.Module):
    def __init__(self, width: int = 64, depth: int = 50): ...
    def forward(self, x): ...
"""


@pytest.fixture
def situation(tmp_path: Path) -> Situation:
    torch.save(torch.nn.Sequential(torch.nn.Conv3d(2, 4, 3)).state_dict(), tmp_path / "mito.pth")
    (tmp_path / "nets.py").write_text(NETS)
    draft = replace(draft_in_memory(choose_one(tmp_path / "mito.pth")), id="mito")
    return Situation(Workspace(tmp_path / "workspace"), tmp_path, draft=draft, fields=questions_for(draft))


def told(situation: Situation, answers: dict[str, Any], **more: Any) -> Situation:
    assert situation.draft is not None
    draft = answered(situation.draft, answers)
    return replace(situation, draft=draft, fields=questions_for(draft), **more)


def order(app: Describing) -> list[str]:
    """The names of the rows as they stand on the screen, from the top."""
    shown = sorted(app.step._rows.values(), key=lambda row: row.virtual_region_with_margin.y)
    return [row.field.name for row in shown]


async def test_a_network_leads_to_its_arguments_and_the_cursor_stays(situation: Situation) -> None:
    app = Describing(told(situation, {"architecture_file": str(situation.here / "nets.py")}), leads_on=True)
    async with app.run_test(size=WIZARD) as pilot:
        app.step.focus_field("network")
        await begun(pilot, "network")
        await write(pilot, "UNet")
        await until(pilot, lambda: app.given("network") == "UNet" and "argument_depth" in app.step._rows)
        assert app.focused is app.row("network").editor
        await until(pilot, lambda: order(app) == list(app.step._rows))
        asked = order(app)
        assert asked[asked.index("network") :][:3] == ["network", "argument_in_channels", "argument_depth"]
        await pilot.press("enter")
        await begun(pilot, "argument_in_channels")
        await pilot.press("up")
        await begun(pilot, "network")
        await pilot.press("ctrl+u")
        await write(pilot, "ResNet")
        await until(pilot, lambda: "argument_width" in app.step._rows and "argument_in_channels" not in app.step._rows)
        assert app.focused is app.row("network").editor
        await until(pilot, lambda: app.row("argument_depth").state.answer == 50)


async def test_what_is_typed_stays_where_the_question_becomes_a_choice(situation: Situation) -> None:
    app = Describing(situation, leads_on=True)
    async with app.run_test(size=WIZARD) as pilot:
        app.step.focus_field("network")
        await begun(pilot, "network")
        await write(pilot, "Res")
        await pilot.press("left")
        app.change(**_changes(told(app.situation, {"architecture_file": str(situation.here / "nets.py")})))
        await until(pilot, lambda: app.focused is app.row("network").editor)
        await until(pilot, lambda: app.row("network").is_ready)
        await write(pilot, "x")
        await until(pilot, lambda: app.row("network")._text == "Rexs")
        await pilot.press("backspace", "end")
        await sees(pilot, "ResNet")  # the list of choices
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.given("network") == "ResNet")


async def test_a_question_that_goes_hands_the_cursor_on(situation: Situation) -> None:
    begin = told(situation, {"architecture_file": str(situation.here / "nets.py"), "network": "UNet"})
    app = Describing(begin, leads_on=True)
    async with app.run_test(size=WIZARD) as pilot:
        app.step.focus_field("argument_depth")
        await begun(pilot, "argument_depth")
        app.change(**_changes(told(app.situation, {"network": None})))
        await until(pilot, lambda: "argument_depth" not in app.step._rows)
        await begun(pilot, "network")


async def test_the_file_is_asked_before_the_network_that_stands_in_it(situation: Situation) -> None:
    app = Describing(situation, leads_on=True)
    async with app.run_test(size=WIZARD) as pilot:
        await begun(pilot, "name")
        asked = list(app.step._rows)
        assert asked[asked.index("architecture_file") :][:2] == ["architecture_file", "network"]
        app.step.focus_field("architecture_file")
        await begun(pilot, "architecture_file")
        app.row("architecture_file").open(focus=True)
        await write(pilot, "missing.py")
        await pilot.press("down")
        await sees(pilot, "missing.py does not exist")


def _changes(situation: Situation) -> dict[str, Any]:
    return {"draft": situation.draft, "fields": situation.fields}


async def test_of_a_stack_the_plane_in_the_middle_is_shown(situation: Situation) -> None:
    stack = np.random.default_rng(1).integers(0, 500, (9, 2, 40, 50)).astype(np.uint16)
    tifffile.imwrite(situation.here / "stack.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    app = ChoiceApp(CheckStep(), situation)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "An image file like those of the training, 2-D or 3-D")
        await pilot.press(*"stack", "full_stop", *"tif")
        await until_shown(pilot, "50 x 40 pixels, 9 planes, 2 channels, 16-bit", "middle plane", "▀▀▀")
        said = await until_said(pilot)
        assert isinstance(said[-1], Answered) and said[-1].answers == {"test_image": str(situation.here / "stack.tif")}


async def test_an_image_is_drawn_anew_when_its_axes_are_answered(situation: Situation) -> None:
    np.save(situation.here / "plain.npy", np.random.default_rng(1).integers(0, 500, (9, 40, 50)).astype(np.int16))
    begin = told(situation, {"test_image": str(situation.here / "plain.npy")})
    app = ChoiceApp(CheckStep(), begin)
    async with app.run_test(size=(80, 24)) as pilot:
        await until_shown(pilot, "50 x 40 pixels, 9 planes, if its axes are zyx, int16", "middle plane")
        app.show(told(begin, {"image_axes": "cyx"}))
        await until_shown(pilot, "50 x 40 pixels, 9 channels", gone="middle plane")


async def test_an_image_that_will_not_do_is_said_in_the_words_of_its_family(situation: Situation) -> None:
    np.save(situation.here / "double.npy", np.ones((40, 50)))
    begin = told(situation, {"test_image": str(situation.here / "double.npy")})
    async with ChoiceApp(CheckStep(), begin).run_test(size=(80, 24)) as pilot:
        shown = await until_shown(pilot, "double.npy holds float64 values; save it as uint8", "none that will do")
        assert "float32" in shown and shown == screen_text(pilot.app)
