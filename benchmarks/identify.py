"""What `identify` and `--help` cost.

(c) `identify` on a tree of 1000 files among which are 20 checkpoints of some 120 MB: target under 1 s and 150 MB;
(d) `--help` and `identify` of one run: CPU time over that of a bare `python -c pass`.

    uv run python benchmarks/identify.py [ROUNDS]
"""

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from measure import cost_of, in_turns, say, zoowizard

from zoowizard.assets import asset

RUN = asset("sample/nuclei-yolo11n")
LARGE = """
import sys
from ultralytics import YOLO
yolo = YOLO("yolo11x-seg.yaml")
yolo.model.half()
yolo.save(sys.argv[1])
"""


def plant_tree(root: Path) -> Path:
    """A tree of 1000 files: 20 runs with a checkpoint of true size (one file, linked), and what lies around them."""
    large = root / "large.pt"
    environment = {**os.environ, "YOLO_OFFLINE": "1", "YOLO_CONFIG_DIR": str(root)}
    cost_of([sys.executable, "-c", LARGE, str(large)], environment)
    print(f"checkpoint: {large.stat().st_size / 1e6:.0f} MB")
    tree = root / "tree"
    for number in range(20):
        run = tree / f"group-{number % 4}" / f"run-{number}"
        shutil.copytree(RUN, run, ignore=shutil.ignore_patterns("*.pt", "events*"))
        (run / "weights").mkdir(exist_ok=True)
        (run / "weights" / "best.pt").hardlink_to(large)
    for number in range(1000 - sum(path.is_file() for path in tree.rglob("*"))):
        path = tree / f"group-{number % 4}" / "images" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x89PNG")
    assert sum(path.is_file() for path in tree.rglob("*")) == 1000
    return tree


def cpu_s(command: Sequence[str]) -> float:
    """Seconds of CPU that a command took."""
    return cost_of(command).cpu_s


def main(rounds: int) -> int:
    """Print the figures; gives 1 where a target is missed."""
    bare = [sys.executable, "-c", "pass"]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        command = zoowizard("identify", plant_tree(root), "--json")
        cost_of(command)  # the files are in memory then, as for somebody who has just looked at the folder
        costs = [cost_of(command) for _ in range(rounds)]
        wall, peak = statistics.median(one.wall_s for one in costs), max(one.peak_mb for one in costs)
        met = wall < 1 and peak < 150
        print(
            f"identify a tree of 1000 files: {wall:.2f} s, {peak:.0f} MB "
            f"(target 1 s, 150 MB: {'met' if met else 'MISSED'})"
        )
        for name, light in (("--help", ["--help"]), ("identify of one run", ["identify", RUN, "--json"])):
            timed = in_turns(partial(cpu_s, zoowizard(*light)), partial(cpu_s, bare), rounds)
            say(f"CPU of {name} / python -c pass", *timed, None)
        return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
