"""What a board of many models costs: filled by its watcher from a real workspace, scrolled, sorted, filtered.

A frame is the time from a key to the picture with what it changed. The timer is one of 50 Hz in the app's own loop: how
late it comes tells how long a key would have waited. Target: no frame over 100 ms.

    uv run python benchmarks/board.py [MODELS]
"""

import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from textual.app import App

from zoowizard.drafts.draft import CHECKPOINT, GIVEN, Draft, Value
from zoowizard.drafts.store import Workspace, open_workspace, save
from zoowizard.screens.board import BoardScreen
from zoowizard.screens.widgets.board_table import BoardTable

SIZE = (120, 40)
TARGET_MS = 100.0
PERIOD_S = 0.02


@dataclass
class Lateness:
    """How late a timer of 50 Hz came, in ms."""

    ms: list[float] = field(default_factory=list)

    async def measure(self) -> None:
        """Until it is cancelled."""
        while True:
            due = time.perf_counter() + PERIOD_S
            await asyncio.sleep(PERIOD_S)
            self.ms.append(1000 * (time.perf_counter() - due))


class BoardApp(App[None]):
    """The board alone."""

    def __init__(self, workspace: Path) -> None:
        """`workspace` is its folder."""
        super().__init__()
        self._workspace = workspace

    def on_mount(self) -> None:
        """Show it."""
        self.push_screen(BoardScreen(self._workspace))


def plant(workspace: Workspace, models: int) -> None:
    """So many drafts with answers."""
    for number in range(models):
        given = {
            "name": Value(f"Embryo segmentation {number * 7919 % models:05d}", GIVEN),
            "category": Value(("Participant Models", "Community Interest Models")[number % 2], GIVEN),
            "description": Value("Finds the nuclei of embryos in light sheet images.", GIVEN),
        }
        created = f"2026-01-{1 + number % 28:02d}T12:00:00+00:00"
        found = {"epochs": Value(number % 300, CHECKPOINT)}
        save(workspace, Draft(f"model-{number:05d}", "yolo", Path(f"/runs/{number}/best.pt"), created, found, given))


async def frame_ms(app: App[None], key: str) -> float:
    """From the key to the picture."""
    drawn = asyncio.Event()
    started = time.perf_counter()
    app.simulate_key(key)
    await asyncio.sleep(0)
    app.screen.call_later(lambda: app.screen.call_after_refresh(drawn.set))
    await drawn.wait()
    return 1000 * (time.perf_counter() - started)


async def measure(workspace: Path, models: int) -> bool:
    """Print the figures; gives whether the longest frame is within the target."""
    app = BoardApp(workspace)
    app.animation_level = "none"
    async with app.run_test(size=SIZE):
        timer = Lateness()
        task = asyncio.create_task(timer.measure())
        started = time.perf_counter()
        first = 0.0
        while (rows := len(app.screen.query_one(BoardTable).rows)) < models:
            first = first or (time.perf_counter() - started if rows else 0.0)
            await asyncio.sleep(0.02)
        filled = time.perf_counter() - started
        task.cancel()
        late = sorted(timer.ms)
        print(f"{models} models at {SIZE[0]}x{SIZE[1]}: first rows after {first:.1f} s, all after {filled:.1f} s")
        p99 = late[int(len(late) * 0.99)]
        print(f"{'timer of 50 Hz while it fills, late by':<44} p99    {p99:6.1f} ms  max {late[-1]:6.1f} ms")
        longest = late[-1]
        acts = {
            "one line down": ["down"] * 200,
            "one page down": ["pagedown"] * 100,
            "to the end and to the top": ["end", "home"] * 20,
            "sort by the next column": ["s"] * 16,
            "sort the other way": ["S"] * 10,
            "filter, letter by letter": ["slash", *"embryo", "space", *"0123"],
        }
        for name, keys in acts.items():
            frames = [await frame_ms(app, key) for key in keys]
            longest = max(longest, *frames)
            print(f"{name:<44} median {statistics.median(frames):6.1f} ms  max {max(frames):6.1f} ms")
        assert len(app.screen.query_one(BoardTable).rows) < models, "the filter was not reached"
    met = longest <= TARGET_MS
    print(f"longest frame {longest:.1f} ms (target {TARGET_MS:g} ms: {'met' if met else 'MISSED'})")
    return met


def main(models: int) -> int:
    """Print the figures; gives 1 where the target is missed."""
    with tempfile.TemporaryDirectory() as temporary:
        workspace = open_workspace(Path(temporary))
        plant(workspace, models)
        return 0 if asyncio.run(measure(workspace.root, models)) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000))
