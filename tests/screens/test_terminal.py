"""The screens in a real terminal: hung up, killed, stopped, made small; and a second terminal beside the first."""

import os
import re
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from commands import run_zoowizard
from prepared import PYTHON, Open, Prepared, all_end, children, cursor_is_at, has_zombies, wait_until
from terminal import KEYS, Terminal

from zoowizard.drafts.place import read_place
from zoowizard.drafts.store import Workspace, load
from zoowizard.jobs.engines import LocalEngine
from zoowizard.workflow import fields_of

READY, TESTING = "Ready to be built", "Testing   step"
APP_ENDS_WITHIN_S = 5.0

# Jobs outlive the screen


def _hangs_up(terminal: Terminal) -> int:
    terminal.hang_up()
    return 0


def _is_ended(terminal: Terminal) -> int:
    os.kill(terminal.pid, signal.SIGTERM)
    return 0


def _is_killed(terminal: Terminal) -> int:
    os.kill(terminal.pid, signal.SIGKILL)
    return -signal.SIGKILL


@pytest.mark.parametrize("end", [_hangs_up, _is_ended, _is_killed])
def test_a_build_outlives_its_terminal(end: Callable[[Terminal], int], prepared: Prepared, opened: Open) -> None:
    terminal = opened("new", prepared.run, "--workspace", prepared.workspace.root)
    terminal.wait_for(READY)
    assert not prepared.is_free()
    terminal.send("enter")
    terminal.wait_for(TESTING)
    wait_until(lambda: children(terminal) and not has_zombies(terminal))
    helpers = children(terminal)
    code, began = end(terminal), time.monotonic()
    assert terminal.ended(APP_ENDS_WITHIN_S) == code
    assert time.monotonic() - began < APP_ENDS_WITHIN_S
    assert all_end(helpers)
    assert prepared.is_free()
    [job] = prepared.jobs
    assert not job.over, job

    again = opened("--workspace", prepared.workspace.root)
    again.wait_for("Testing")
    beside = opened("new", prepared.run, "--workspace", prepared.workspace.root, columns=100, rows=30)
    beside.wait_for(TESTING)
    assert prepared.job_ends().state == "passed"
    again.wait_for("Tested")
    seen = beside.wait_for("✓ Passed")
    assert "run the zoo's own tests" in seen
    again.send("l")
    again.wait_for("✓ passed")
    assert len(prepared.jobs) == 1


@pytest.mark.parametrize("end", [_hangs_up, _is_ended])
def test_half_an_answer_is_there_again(end: Callable[[Terminal], int], prepared: Prepared, opened: Open) -> None:
    prepared.at("describe", name=None)
    terminal = opened("new", prepared.run, "--workspace", prepared.workspace.root)
    terminal.wait_for("missing: Model name")
    cursor_is_at(terminal, "Model name")
    terminal.send("Zoo")
    terminal.wait_for("Zoo")
    end(terminal)
    assert terminal.ended(APP_ENDS_WITHIN_S) == 0
    assert read_place(prepared.workspace, prepared.draft).typed == {"name": "Zoo"}
    assert load(prepared.workspace, prepared.draft).get("name") is None
    terminal = opened("new", prepared.run, "--workspace", prepared.workspace.root)
    terminal.wait_for("1 to mend")
    cursor_is_at(terminal, "Model name")
    terminal.send(" of today")
    terminal.wait_for("Zoo of today")
    end(terminal)
    assert terminal.ended(APP_ENDS_WITHIN_S) == 0
    assert load(prepared.workspace, prepared.draft).get("name") == "Zoo of today"
    assert read_place(prepared.workspace, prepared.draft).typed == {}


def test_the_second_terminal_may_look(prepared: Prepared, opened: Open) -> None:
    prepared.at("describe", name=None)
    first = opened("new", prepared.run, "--workspace", prepared.workspace.root)
    first.wait_for("missing: Model name")
    second = opened("new", prepared.run, "--workspace", prepared.workspace.root, columns=120)
    second.wait_for(f"another zoowizard (process {first.pid}")
    second.wait_for("missing: Model name")
    second.send("enter", "x")
    cursor_is_at(first, "Model name")
    first.send("Nuclei of today")
    second.wait_for("Nuclei of today")
    first.send("ctrl+q")
    assert first.ended() == 0
    second.wait_for("another zoowizard", gone=True)
    second.send("ctrl+q")
    assert second.ended() == 0
    assert load(prepared.workspace, prepared.draft).get("name") == "Nuclei of today"


@pytest.mark.parametrize("key", ["ctrl+q", "ctrl+o"])
def test_no_key_overtakes_the_letters_before_it(key: str, prepared: Prepared, opened: Open) -> None:
    """They come all at once where the line to the terminal, or the computer, was busy for a moment."""
    prepared.at("describe", name=None)
    terminal = opened("new", prepared.run, "--workspace", prepared.workspace.root)
    terminal.wait_for("missing: Model name")
    cursor_is_at(terminal, "Model name")
    terminal.send("Nuclei of today" + KEYS[key])
    if key == "ctrl+o":
        terminal.wait_for("n New")
        terminal.send("ctrl+q")
    assert terminal.ended() == 0
    assert load(prepared.workspace, prepared.draft).get("name") == "Nuclei of today"


# ctrl+z, fg


def test_fg_brings_the_screen_back(prepared: Prepared, opened: Open) -> None:
    shell = shutil.which("bash") or "sh"
    arguments = ["--norc", "--noprofile", "-i"] if shell.endswith("bash") else ["-i"]
    terminal = opened(*arguments, command=[shell], PS1="shell, after $?> ", HISTFILE="")
    terminal.wait_for("shell, after 0>")
    terminal.send(f"{sys.executable} -m zoowizard --workspace {prepared.workspace.root}", "enter")
    terminal.wait_for("Nuclei seg")
    terminal.send("enter")
    terminal.wait_for("into the zoo's weight formats")
    before = terminal.wait_for("^j Next")
    terminal.send("ctrl+z")
    stopped = terminal.wait_for(f"shell, after {128 + signal.SIGSTOP}>")
    assert READY not in stopped and "shell, after 0>" in stopped
    terminal.send("fg", "enter")
    for line in before.splitlines():
        terminal.wait_for(line)
    terminal.send("escape")
    terminal.wait_for("Describe   ")
    terminal.send("ctrl+q")
    ended = terminal.wait_until(lambda shown: shown.count("shell, after 0>") == 2, "the shell did not come back")
    assert "Describe   " not in ended
    terminal.send("echo it is $?", "enter")
    terminal.wait_for("it is 0")


# A small terminal

STEPS = {
    "model": "draft: nuclei",
    "check": "nuclei-512.png",
    "describe": "all that is required is there",
    "test": READY,
    "upload": "Upload",
}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_in_a_small_terminal(step: str, prepared: Prepared, opened: Open) -> None:
    prepared.at(step)
    path = [] if step == "model" else [prepared.run]  # a path is looked at, and once that is done the next step comes
    terminal = opened("new", *path, "--workspace", prepared.workspace.root)
    before = terminal.wait_for(STEPS[step])
    for columns, rows in ((40, 10), (20, 5), (1, 1), (200, 60), (40, 10), (80, 24)):
        terminal.resize(columns, rows)
        terminal.send("tab", "down")
        terminal.read(0.3)
    terminal.wait_for(before.splitlines()[0].strip()[:30])
    terminal.wait_for(STEPS[step])
    terminal.send("ctrl+o")
    terminal.wait_for("Status")
    for columns, rows in ((40, 10), (20, 5), (80, 24)):
        terminal.resize(columns, rows)
        terminal.read(0.3)
    terminal.wait_for("Nuclei seg")
    terminal.wait_for("n New")
    terminal.send("?")
    terminal.wait_for("Sort the other way")
    terminal.resize(20, 5)
    terminal.read(0.3)
    terminal.resize(80, 24)
    terminal.wait_for("Sort the other way")
    terminal.send("ctrl+q")
    assert terminal.ended() == 0
    assert not (prepared.workspace.root / "crash.txt").exists()


# Connections and terminals of all kinds


def test_a_connection_that_stalls_and_is_lost(prepared: Prepared, opened: Open) -> None:
    """Nothing is read from the terminal any more, so that whoever draws has to wait; then it is closed."""
    prepared.at("describe", name=None)
    terminal = opened("new", prepared.run, "--workspace", prepared.workspace.root, columns=200, rows=60)
    terminal.wait_for("missing: Model name")
    cursor_is_at(terminal, "Model name")
    terminal.send("Zoo")
    terminal.wait_for("Zoo")
    wait_until(lambda: read_place(prepared.workspace, prepared.draft).typed == {"name": "Zoo"})
    helpers = children(terminal)
    for number in range(60):
        terminal.resize(150 + number % 2 * 50, 50)
        time.sleep(0.02)  # a size of its own each time, not only the last one
    terminal.hang_up()
    terminal.ended(2 * APP_ENDS_WITHIN_S)
    assert all_end(helpers)
    assert prepared.is_free()
    assert read_place(prepared.workspace, prepared.draft).typed == {"name": "Zoo"}


LOOKS = {
    "no colours": ({"NO_COLOR": "1"}, "✓"),
    "sixteen colours": ({"TERM": "xterm", "COLORTERM": ""}, "✓"),
    "screen": ({"TERM": "screen", "COLORTERM": ""}, "✓"),
    "a Linux console": ({"TERM": "linux", "COLORTERM": ""}, "✓"),
    "ASCII": ({"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "+"),
}


@pytest.mark.parametrize("look", LOOKS)
def test_terminals_that_can_do_less(look: str, prepared: Prepared, opened: Open) -> None:
    variables, done = LOOKS[look]
    terminal = opened("--workspace", prepared.workspace.root, **variables)
    terminal.wait_for("Nuclei seg")
    terminal.wait_for(done)
    terminal.send("enter")
    terminal.wait_for(READY)
    terminal.wait_for(f"{done} 1 Model")
    colours = {cell.fg for row in terminal.screen.buffer.values() for cell in row.values()}
    if look == "no colours":
        assert all(len(set(textwrap.wrap(colour, 2))) == 1 for colour in colours - {"default"}), colours
    if look == "ASCII":
        assert terminal.text().isascii(), terminal.text()
    terminal.send("ctrl+q")
    assert terminal.ended() == 0
    assert not (prepared.workspace.root / "crash.txt").exists()


PLAIN = {
    "asked for": ({}, ["--plain"], []),
    "dumb": ({"TERM": "dumb"}, [], []),
    "unknown": ({}, [], ["env", "-u", "TERM"]),
}


@pytest.mark.parametrize("why", PLAIN)
def test_plain_lines_ask_what_the_wizard_asks(why: str, run: Path, tmp_path: Path, opened: Open) -> None:
    variables, flags, before = PLAIN[why]
    workspace = tmp_path / "workspace"
    fields = {one.label: one for one in fields_of("yolo")}
    answers = yaml.safe_load((run.parent / "answers.yaml").read_text())
    answers |= {"authors": "Ada Lovelace", "test_image": str(run.parent / "nuclei-512.png")}
    terminal = opened(*flags, "--workspace", workspace, command=[*before, *PYTHON], columns=200, rows=200, **variables)
    terminal.wait_for("1 models found")
    terminal.send("1", "enter")
    asked: dict[str, str] = {}
    more = True
    while more:
        question = re.compile(rf"^\[({len(asked) + 1})/(\d+)\] (.+) \((\w+)\)$", re.MULTILINE)
        found = question.search(terminal.wait_until(question.search, f"question {len(asked) + 1} never came"))
        assert found is not None
        number, of, label, need = found.groups()
        terminal.wait_for(f"\n{label}:")
        asked[label] = need
        answer = str(answers[fields[label].name]).strip() if need == "required" else ""
        terminal.send(answer, "enter")
        more = number != of
    terminal.wait_for("convert")
    terminal.send("ctrl+c")
    terminal.wait_for("a job that runs goes on")
    assert terminal.ended() == 130
    prepared = Prepared(Workspace(workspace), "nuclei", run)
    LocalEngine().cancel(prepared.jobs[0].folder)
    assert load(prepared.workspace, "nuclei").get("name") == answers["name"]
    required = {label for label, need in asked.items() if need == "required"}
    prepared.at("describe", **{fields[label].name: None for label in required})
    wizard = opened("new", run, "--workspace", workspace, columns=200)
    wizard.wait_for("nuclei")
    wizard.wait_for("Describe   ")

    def says_what_is_missing(shown: str) -> bool:
        missing = re.search("missing: (.*)", shown)
        labels = missing[1].split(", ") if missing is not None else []
        return {label.removesuffix(" (in Check)") for label in labels} == required

    def says_the_same_of_all(shown: str) -> bool:
        return all(
            need == "required" or re.search(f"{re.escape(label)} .*{need}", shown) or label not in shown
            for label, need in asked.items()
        )

    wizard.wait_until(says_what_is_missing, f"other answers are missing than {required}")
    wizard.wait_until(says_the_same_of_all, f"the questions are not as they were asked: {asked}")


def test_without_a_terminal() -> None:
    for arguments in ([], ["--plain"], ["new"], ["new", "--plain"]):
        ran = run_zoowizard(arguments, TERM="xterm")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.count("\n") == 1 and "there is no terminal" in ran.err


def test_a_mistake_of_its_own(prepared: Prepared, opened: Open) -> None:
    prepared.at("describe", name=None)
    boot = (
        "import sys; from zoowizard.cli import main; from zoowizard.screens.app import ZoowizardApp\n"
        "def action_command_palette(app): return 1 // 0\n"
        "ZoowizardApp.action_command_palette = action_command_palette; sys.exit(main())"
    )
    terminal = opened(
        "new", prepared.run, "--workspace", prepared.workspace.root, command=[sys.executable, "-c", boot], columns=120
    )
    terminal.wait_for("missing: Model name")
    cursor_is_at(terminal, "Model name")
    terminal.send("Zoo", "f2")
    assert terminal.ended() == 1
    assert "a mistake of its own (ZeroDivisionError)" in terminal.text()
    assert "Traceback" not in terminal.text() and "1 // 0" not in terminal.text()
    crash = prepared.workspace.root / "crash.txt"
    assert "in action_command_palette" in crash.read_text() and crash.stat().st_mode & 0o777 == 0o600
    assert read_place(prepared.workspace, prepared.draft).typed == {"name": "Zoo"}
    assert prepared.is_free()
