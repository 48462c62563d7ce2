"""Make the pictures in the README from the running app: the sample model is really built, and its screens are kept.

    uv run python benchmarks/pictures.py [FOLDER]

They go to `assets/pictures/`, as SVG. The clock stands still; how long a step of the build took is that of the run.
"""

import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from zoowizard.assets import asset
from zoowizard.drafts.draft import Draft, with_given
from zoowizard.drafts.store import Workspace, open_workspace, save
from zoowizard.launch import start_build
from zoowizard.screens.app import ZoowizardApp
from zoowizard.workflow import choose_one, fields_of, open_draft

PICTURES = Path(__file__).parent.parent / "assets" / "pictures"
SIZE = (100, 30)
NOW = datetime(2026, 5, 18, 14, 30)
PATIENCE_S = 120.0
RUN, OTHER_RUN = "nuclei-yolo11n", "embryo-yolo11n"
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
NAMES = re.compile(r"terminal-\d+-")
CRISP = ' shape-rendering="crispEdges"'


@dataclass(frozen=True)
class Photographer:
    """Presses keys, waits for words, and keeps pictures."""

    pilot: Pilot[None]
    folder: Path

    @property
    def screen(self) -> str:
        """The text that is shown."""
        strips = self.pilot.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until it is so. Raises RuntimeError with the screen where it never is."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"it never came to this; the screen is\n{self.screen}")
            await self.pilot.pause(0.05)

    async def sees(self, *words: str) -> None:
        """Wait until all the words stand there."""
        await self.until(lambda: all(word in self.screen for word in words))

    async def press(self, *keys: str) -> None:
        """Press keys."""
        await self.pilot.press(*keys)

    async def write(self, text: str) -> None:
        """Type a text."""
        await self.pilot.press(*["space" if letter == " " else letter for letter in text])

    async def keep(self, name: str) -> None:
        """Keep what is on the screen, with the fonts that the reader has: a picture shall call nobody."""
        await self.pilot.pause(0.5)
        picture = NAMES.sub("", FONT.sub("", self.pilot.app.export_screenshot(title="zoowizard", simplify=True)))
        picture = picture.replace(CRISP, "").replace("<style>", "<style>rect { shape-rendering: crispEdges }", 1)
        (self.folder / f"{name}.svg").write_text(picture, encoding="utf-8")
        print(f"{name}.svg: {len(picture) / 1000:.0f} kB")


def models_folder(home: Path) -> Path:
    """A folder as somebody who trains has it, with two runs and a test image."""
    models = home / "models"
    for name, hours in ((RUN, 3), (OTHER_RUN, 50)):
        shutil.copytree(asset("sample/nuclei-yolo11n"), models / name)
        for path in (models / name).rglob("*"):
            os.utime(path, (time.time() - hours * 3600,) * 2)
    shutil.copy(asset("sample/nuclei-512.png"), models)
    return models


def answered(workspace: Workspace, run: Path, image: Path, without: tuple[str, ...] = (), **others: str) -> Draft:
    """A draft of this run with the sample's answers, but for some."""
    from zoowizard.drafts.answers import changed, read_answers

    draft = open_draft(workspace, choose_one(run))
    fields = fields_of(draft.family)
    answers: dict[str, Any] = changed(draft, read_answers(asset("sample/answers.yaml"), fields))
    answers = {name: value for name, value in answers.items() if name not in without}
    draft = with_given(draft, {**answers, "test_image": str(image), **others})
    save(workspace, draft)
    return draft


def begun(workspace: Workspace, models: Path) -> None:
    """The event's rows, and a model whose description is still to be written."""
    from zoowizard.board.event import import_document

    import_document(workspace, asset("uploathon.md"))
    answered(workspace, models / RUN, models / "nuclei-512.png", ("description",))


def under_way(workspace: Workspace, models: Path) -> Path:
    """Another model, which is being built; gives the folder of its job."""
    name = "Embryo nuclei in light sheet images"
    draft = answered(workspace, models / OTHER_RUN, models / "nuclei-512.png", name=name, category="Participant Models")
    return start_build(workspace, draft)


async def take_pictures(home: Path, folder: Path) -> None:
    """Go the whole way once."""
    from zoowizard.jobs.engines import LocalEngine

    models = models_folder(home)
    workspace = open_workspace(home / ".local" / "share" / "zoowizard")
    begun(workspace, models)
    app = ZoowizardApp(workspace.root, models, clock=lambda: NOW)
    async with app.run_test(size=SIZE) as pilot:
        person = Photographer(pilot, folder)
        await person.sees("In Progress", "Not Started")
        await person.press("n")
        await person.sees("2 models at or below", "YOLO11n")
        await person.keep("model")
        await person.press("ctrl+j")
        await person.sees("● 2 Check", "✓ 512 x 512 pixels", "▀")
        await person.keep("check")
        await person.press("ctrl+j")
        await person.sees("● 3 Describe", "missing: Description")
        await person.write("Finds nuclei in 2D")
        await person.keep("describe")
        await person.write(" fluorescence images, and gives each a number of its own.")
        await person.press("ctrl+j")
        await person.sees("Ready to be built and tested")
        await person.press("enter")
        await person.sees("● Testing", "step 5 of")
        await person.keep("test")
        await person.sees("✓ Passed")
        await person.keep("passed")
        await person.press("enter")
        await person.sees("● 5 Upload", "In the package: ", "You are not logged in")
        await person.keep("upload")
        await person.press("down", "down")
        await person.sees("will be saved in this folder")
        await person.press("enter")
        await person.sees("✓ saved as")
        job = under_way(workspace, models)
        await person.press("ctrl+o")
        await person.sees("Testing", "Tested", "compare")
        await person.press("end", "up")
        await person.sees("identical")
        await person.keep("board")
        LocalEngine().cancel(job)
        await person.press("q")


def main(folder: Path) -> int:
    """Make them all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("NO_COLOR", "ZOOWIZARD_ASCII", "TEXTUAL_COLOR_SYSTEM", "TEXTUAL_THEME"):
        os.environ.pop(name, None)
    os.environ["COLORTERM"] = "truecolor"
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["HOME"] = str(Path(temporary).resolve())
        asyncio.run(take_pictures(Path(temporary).resolve(), folder))
    for path in folder.glob("*.svg"):
        if temporary in path.read_text(encoding="utf-8"):
            raise RuntimeError(f"{path.name} shows the folder {temporary}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else PICTURES))
