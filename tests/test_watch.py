"""What the board's child process tells of a workspace, as its lines say it."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Demo

from zoowizard.assets import asset
from zoowizard.board.event import claim, event_rows, import_document
from zoowizard.drafts.draft import GIVEN, Draft, Value
from zoowizard.drafts.store import Workspace, save
from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.events import Admitted, Progress, StepStarted, Waiting, to_line
from zoowizard.jobs.folder import create
from zoowizard.jobs.locks import claim as lock
from zoowizard.screens.widgets.board_lines import counted, in_words
from zoowizard.workflow import board_lines


class Watching:
    """A watcher that runs, and the board as it stands after what it told so far."""

    def __init__(self, workspace: Path) -> None:
        command = [sys.executable, "-m", "zoowizard.watch", "--workspace", str(workspace), "--every", "0.05"]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.rows: dict[str, dict[str, Any]] = {}
        self.said: dict[str, Any] = {}
        self.lines: list[dict[str, Any]] = []

    def until(self, condition: Callable[[], object]) -> None:
        """Take in line after line until the condition holds."""
        deadline = time.monotonic() + 120
        assert self.child.stdout is not None
        while not (self.said and condition()):
            ready, _, _ = select.select([self.child.stdout], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.said
            line = self.child.stdout.readline()
            assert line, "the watcher ended"
            self.said = json.loads(line)
            self.lines.append(self.said)
            self.rows.update((row["key"], row) for row in self.said["rows"])
            for key in self.said["gone"]:
                del self.rows[key]

    def until_complete(self) -> None:
        """Take in lines until all is told."""
        self.until(lambda: self.said["complete"])

    def row(self, draft: str) -> dict[str, Any]:
        """The row of a draft; an empty one where it has none."""
        return next((row for row in self.rows.values() if row["draft"] == draft), {"cells": [""] * 8})

    def status(self, draft: str) -> str:
        """What stands in the column Status of a draft's row."""
        return str(self.row(draft)["cells"][3])

    def end(self) -> int:
        """Close its input, as the end of the board does; gives its exit code."""
        assert self.child.stdin is not None
        self.child.stdin.close()
        return self.child.wait(timeout=120)


@pytest.fixture
def watching() -> Iterator[Callable[[Workspace], Watching]]:
    begun: list[Watching] = []

    def watch(workspace: Workspace) -> Watching:
        begun.append(Watching(workspace.root))
        return begun[-1]

    yield watch
    for one in begun:
        one.child.kill()
        one.child.wait()
        assert one.child.stdin is not None and one.child.stdout is not None
        one.child.stdin.close()
        one.child.stdout.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "models").mkdir()
    return Workspace(tmp_path)


def plant(workspace: Workspace, draft_id: str, created: str = "2026-01-01", **given: Any) -> Draft:
    answers = {name: Value(answer, GIVEN) for name, answer in given.items()}
    draft = Draft(draft_id, "yolo", Path(f"/runs/{draft_id}.pt"), created, given=answers)
    save(workspace, draft)
    return draft


Watch = Callable[[Workspace], Watching]


def test_it_tells_what_the_command_prints(demo: Demo, watching: Watch) -> None:
    workspace = Workspace(demo.workspace)
    watcher = watching(workspace)
    watcher.until_complete()
    lines, problems = board_lines(workspace)
    assert [tuple(row["cells"]) for row in watcher.rows.values()] == [line.row.cells() for line in lines]
    [row] = watcher.rows.values()
    assert (row["state"], row["job_state"], watcher.said["problems"]) == ("done", "passed", problems)
    assert row["known"][0] > 10 and Path(row["job"]).is_dir()
    assert {kind: number for kind, number in watcher.said["counts"].items() if number} == {"tested": 1}
    assert watcher.end() == 0


def test_changes_are_told_and_nothing_else(workspace: Workspace, watching: Watch) -> None:
    plant(workspace, "first")
    plant(workspace, "second", "2026-01-02", name="Second model")
    watcher = watching(workspace)
    watcher.until_complete()
    assert [watcher.status(name) for name in ("first", "second")] == ["Not Started", "In Progress"]
    plant(workspace, "first", name="First model")
    watcher.until(lambda: watcher.status("first") == "In Progress")
    assert [row["draft"] for row in watcher.lines[-1]["rows"]] == ["first"]
    plant(workspace, "third", "2026-01-03")
    watcher.until(lambda: watcher.status("third"))
    shutil.rmtree(workspace.folder("second"))
    watcher.until(lambda: not watcher.status("second"))
    assert watcher.lines[-1]["rows"] == []
    assert [row["draft"] for row in sorted(watcher.rows.values(), key=lambda row: row["order"])] == ["first", "third"]


def test_many_come_in_slices(workspace: Workspace, watching: Watch) -> None:
    for number in range(510):
        plant(workspace, f"model-{number}")
    watcher = watching(workspace)
    watcher.until_complete()
    assert [(len(line["rows"]), line["complete"]) for line in watcher.lines] == [(500, False), (10, True)]


def test_a_build_from_its_start_to_its_end(workspace: Workspace, watching: Watch) -> None:
    plant(workspace, "nuclei", name="Nuclei")
    watcher = watching(workspace)
    watcher.until_complete()
    folder = create(workspace.jobs("nuclei"), "build", "nuclei", {"values": {}}, 60)
    held = lock(folder / "lock", "")
    now = time.time()
    lines = [to_line(StepStarted("convert"), now - 70), to_line(Progress("convert", 0.25), now)]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    watcher.until(lambda: watcher.said["running"] and watcher.said["running"][0]["fraction"])
    [running] = watcher.said["running"]
    assert {**running, "seconds": 0} == {
        "draft": "nuclei",
        "model": "Nuclei",
        "step": "convert",
        "number": 1,
        "of": 6,
        "fraction": 0.25,
        "seconds": 0,
    }
    assert 70 <= running["seconds"] < 100
    assert (watcher.status("nuclei"), watcher.row("nuclei")["state"]) == ("Testing", "running")
    assert watcher.said["counts"]["running"] == 1
    os.close(held)
    watcher.until(lambda: not watcher.said["running"])
    assert (watcher.status("nuclei"), watcher.row("nuclei")["job_state"]) == ("Failed", "died")
    assert "it was killed" in watcher.row("nuclei")["cells"][7]


def test_a_build_that_waits_for_its_turn_does_not_run(workspace: Workspace, watching: Watch) -> None:
    plant(workspace, "nuclei", name="Nuclei")
    folder = create(workspace.jobs("nuclei"), "build", "nuclei", {"values": {}}, 60)
    held = lock(folder / "lock", "")
    reason = "waiting for a GPU: 3 jobs are before it"
    (folder / "events.jsonl").write_text(to_line(Waiting(reason)) + "\n")
    watcher = watching(workspace)
    watcher.until(lambda: watcher.said["running"])
    [waiting] = watcher.said["running"]
    assert (waiting["step"], waiting["number"], waiting["seconds"]) == (reason, 0, None)
    assert in_words([waiting]) == [f"Nuclei: {reason}"]
    assert (watcher.row("nuclei")["state"], watcher.row("nuclei")["job_state"]) == ("open", "queued")
    assert counted(watcher.said["counts"]) == "1 queued"
    with (folder / "events.jsonl").open("a") as events:
        events.write(to_line(Admitted("Fake GPU 0", "here")) + "\n" + to_line(StepStarted("convert")) + "\n")
    watcher.until(lambda: watcher.row("nuclei")["state"] == "running")
    assert watcher.said["running"][0]["step"] == "convert"
    assert counted(watcher.said["counts"]) == "1 running"
    os.close(held)


def test_a_test_of_a_package_is_running_too(workspace: Workspace, watching: Watch) -> None:
    watcher = watching(workspace)
    watcher.until_complete()
    folder = create(workspace.root / "jobs", "selftest", "a-package", {"do": [{"wait": 5}]}, 60)
    LocalEngine().start([folder])
    watcher.until(lambda: watcher.said["running"] and watcher.said["running"][0]["step"] == "1 wait")
    [running] = watcher.said["running"]
    assert (running["draft"], running["model"], running["of"]) == (None, "a-package", None)
    watcher.until(lambda: not watcher.said["running"])


def test_the_events_rows_and_their_claims(workspace: Workspace, watching: Watch) -> None:
    plant(workspace, "own", name="A model of my own")
    watcher = watching(workspace)
    watcher.until_complete()
    import_document(workspace, asset("uploathon.md"))
    watcher.until(lambda: len(watcher.rows) == 10)
    in_order = sorted(watcher.rows.values(), key=lambda row: row["order"])
    assert [row["cells"][0] for row in (in_order[0], in_order[-1])] == ["Ashesh's Model", "A model of my own"]
    assert (in_order[0]["draft"], in_order[0]["state"], in_order[6]["state"]) == (None, "none", "open")
    rows, _ = event_rows(workspace)
    draft = claim(workspace, rows[0])
    watcher.until(lambda: watcher.status(draft.id))
    assert watcher.row(draft.id)["key"] == in_order[0]["key"] and len(watcher.rows) == 10


def test_a_damaged_draft_is_named_and_the_others_stay(workspace: Workspace, watching: Watch) -> None:
    plant(workspace, "good")
    plant(workspace, "bad")
    watcher = watching(workspace)
    watcher.until_complete()
    path = workspace.folder("bad") / "draft.json"
    good = path.read_text()
    path.write_text("{")
    watcher.until(lambda: watcher.said["problems"])
    assert "draft.json is no JSON" in watcher.said["problems"][0]
    assert watcher.status("good") and not watcher.status("bad")
    path.write_text(good)
    watcher.until(lambda: not watcher.said["problems"] and watcher.status("bad"))


def test_a_workspace_that_vanishes_and_comes_back(workspace: Workspace, watching: Watch, tmp_path: Path) -> None:
    plant(workspace, "nuclei")
    watcher = watching(workspace)
    watcher.until_complete()
    (tmp_path / "models").rename(tmp_path / "away")
    watcher.until(lambda: watcher.said["problems"])
    assert watcher.said["problems"][0].startswith(f"the workspace {tmp_path} cannot be read")
    assert watcher.status("nuclei") == "Not Started"
    (tmp_path / "away").rename(tmp_path / "models")
    watcher.until(lambda: not watcher.said["problems"])
    plant(workspace, "another")
    watcher.until(lambda: watcher.status("another"))


def test_a_test_image_that_is_removed(workspace: Workspace, watching: Watch, tmp_path: Path, nuclei: Path) -> None:
    image = tmp_path / "nuclei.png"
    shutil.copy(nuclei, image)
    plant(workspace, "nuclei", test_image=str(image))
    watcher = watching(workspace)
    watcher.until_complete()
    assert watcher.row("nuclei")["cells"][7].startswith("missing: ")
    image.unlink()
    watcher.until(lambda: watcher.row("nuclei")["cells"][7].startswith("test_image: "))
