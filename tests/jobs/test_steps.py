"""What the worker says is what a reader reads."""

import errno
import math
import subprocess
import sys
from pathlib import Path

import pytest

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.events import Note, Progress, StepDone, StepFailed, StepStarted, from_line
from zoowizard.jobs.steps import Steps, in_a_sentence


def said(events: Path) -> list[object]:
    return [from_line(line)[1] for line in events.read_bytes().splitlines()]


def test_steps(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "events.jsonl")
    with steps.step("convert") as step:
        step.progress(0.4, "tracing")
        step.note = "opset 18"
    steps.note("warning", "核 \udcff")
    with pytest.raises(ZoowizardError), steps.step("package"):
        raise ZoowizardError("cover.png is missing")
    with pytest.raises(KeyboardInterrupt), steps.step("test"):
        raise KeyboardInterrupt
    [convert, *rest] = [event for event in said(tmp_path / "events.jsonl") if not isinstance(event, StepStarted)]
    assert convert == Progress("convert", 0.4, "tracing")
    [done, note, failed, stopped] = rest
    assert isinstance(done, StepDone) and (done.step, done.note) == ("convert", "opset 18")
    assert note == Note("warning", "核 \udcff")
    assert isinstance(failed, StepFailed) and failed.reason == "cover.png is missing"
    assert isinstance(stopped, StepFailed) and stopped.reason == "it was stopped"
    assert steps.finished == [("convert", done.seconds)]


def test_progress_may_be_called_freely(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "events.jsonl")
    with steps.step("hash") as step:
        for number in range(10_000):
            step.progress(number / 10_000, "reading")
        for fraction in (-1, 2, math.nan):
            step.progress(fraction, f"odd {fraction}")
    progress = [event for event in said(tmp_path / "events.jsonl") if isinstance(event, Progress)]
    assert len(progress) < 50
    assert [event.fraction for event in progress[-3:]] == [0, 1, 0]


def test_several_processes_write_whole_lines(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from zoowizard.jobs.steps import Steps
steps = Steps(Path({str(tmp_path / "events.jsonl")!r}))
for number in range(500):
    steps.note("info", "x" * 5000)
"""
    writers = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert said(tmp_path / "events.jsonl") == [Note("info", "x" * 5000)] * 1000


def test_a_full_disk_is_said() -> None:
    with pytest.raises(OSError, match="No space left") as problem, Steps(Path("/dev/full")).step("convert"):
        raise AssertionError("a step that could not be announced must not begin")
    assert problem.value.errno == errno.ENOSPC
    assert in_a_sentence(problem.value) == "the disk is full; free some space and try again"
