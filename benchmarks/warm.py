"""What a warm process saves: `zoowizard build` of the sample with one that has loaded, over one without: target 0.6.

Also how long it takes from the start of a job (Enter) to its first step: target 0.5 s.

    uv run python benchmarks/warm.py [ROUNDS]
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from measure import cost_of, in_turns, say, zoowizard

from zoowizard.assets import asset
from zoowizard.jobs import warm

RUN, ANSWERS = asset("sample/nuclei-yolo11n"), asset("sample/answers.yaml")
FIRST_STEP_S: Final = 0.5
LOADS_WITHIN_S: Final = 300.0


def build(root: Path, environment: Mapping[str, str], first_steps: list[float]) -> float:
    """Seconds of one build, from the command to the package; adds to `first_steps` those until it really worked."""
    folder = Path(tempfile.mkdtemp(dir=root))
    command = zoowizard("build", RUN, "--answers", ANSWERS, "--json", "--workspace", folder / "w", "--output", folder)
    seconds = cost_of(command, environment).wall_s
    [job] = (folder / "w").glob("models/*/jobs/*")
    created = datetime.fromisoformat(json.loads((job / "job.json").read_text())["created"]).timestamp()
    events = [json.loads(line) for line in (job / "events.jsonl").read_text().splitlines()]
    began = next(event["time"] for event in events if event["event"] == "step-started")
    first_steps.append(began - created)
    return seconds


def warmed(root: Path, first_steps: list[float]) -> float:
    """Seconds of a build with a warm process that has loaded. Raises RuntimeError where there is none."""
    warm.start("yolo")
    until = time.monotonic() + LOADS_WITHIN_S
    while not warm.is_ready("yolo"):
        if time.monotonic() > until:
            raise RuntimeError("no warm process came: was something changed, or is memory short?")
        time.sleep(0.2)
    time.sleep(3)  # the server of clean processes, too
    return build(root, os.environ, first_steps)


def main(rounds: int) -> int:
    """Print both results; gives 1 where a target is missed."""
    root = Path(tempfile.mkdtemp(prefix="warm-"))
    os.environ["XDG_RUNTIME_DIR"] = str(root)
    os.environ.pop(warm.SWITCH, None)
    with_one: list[float] = []
    without: list[float] = []
    try:
        cold = {**os.environ, warm.SWITCH: "0"}
        times = in_turns(lambda: warmed(root, with_one), lambda: build(root, cold, without), rounds)
    finally:
        warm.end()
        shutil.rmtree(root)
    met = say("build, warm / cold", *times, 0.6)
    ratios = [one / other for one, other in zip(with_one, without, strict=True)]
    say("first step, warm / cold", statistics.median(with_one), statistics.median(without), ratios, None)
    seconds = statistics.median(with_one)
    within = seconds <= FIRST_STEP_S
    print(f"first step after {seconds:.2f} s  (target {FIRST_STEP_S}: {'met' if within else 'MISSED'})")
    return 0 if met and within else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
