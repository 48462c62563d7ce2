"""Whoever looks at a job sees the same, and nothing in its folder can mislead them."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.events import Admitted, Note, Progress, StepDone, StepStarted, to_line
from zoowizard.jobs.folder import create
from zoowizard.jobs.state import cancel, follow, is_alive, list_jobs, read_job

Start = Callable[..., Path]


def unstarted(tmp_path: Path) -> Path:
    return create(tmp_path, "selftest", "nuclei", {"do": []}, 60)


def test_followers_see_the_same(start: Start) -> None:
    folder = start({"wait": 0.3}, {"say": "done"})
    with ThreadPoolExecutor() as readers:
        early = readers.submit(lambda: list(follow(folder)))
        offset, _, first = next(follow(folder))
        late = readers.submit(lambda: list(follow(folder, offset)))
        seen = early.result()
    assert first == Admitted("CPU", socket.gethostname())
    assert seen[1][2] == StepStarted("1 wait")
    assert seen[1:] == late.result()
    assert seen[-1][0] == (folder / "events.jsonl").stat().st_size
    assert list(follow(folder)) == seen
    assert list(follow(folder, seen[-1][0])) == []


def test_newest_first(tmp_path: Path) -> None:
    assert list_jobs(tmp_path / "none yet") == []
    names = ["20261121-004312-k3f9", "20261121-004311-zzzz", "20270101-000000-a234"]
    for name in names:
        folder = unstarted(tmp_path)
        spec = json.loads((folder / "job.json").read_text())
        (folder / "job.json").write_text(json.dumps({**spec, "id": name}))
        folder.rename(tmp_path / name)
    (tmp_path / "notes").mkdir()
    assert [job.id for job in list_jobs(tmp_path)] == [names[2], names[0], names[1]]


@pytest.mark.parametrize("hours", [-1, 1])
def test_one_that_was_never_started(tmp_path: Path, hours: int) -> None:
    folder = unstarted(tmp_path)
    assert read_job(folder).state == "starting"
    moved = (folder / "job.json").stat().st_mtime + hours * 3600  # as after a while, or when the clock was put back
    os.utime(folder / "job.json", (moved, moved))
    job = read_job(folder)
    assert (job.state, job.reason) == ("died", "it never started; the log may say why")
    assert list(follow(folder)) == []


def test_broken_and_torn_lines(tmp_path: Path) -> None:
    folder = unstarted(tmp_path)
    lines = [
        to_line(StepStarted("convert"), 100.0),
        "not json",
        '{"time": 101, "event": "progress", "step": 5, "fraction": "half"}',
        '{"time": 101, "event": "weather", "step": "rain"}',
        '{"time": NaN, "event": "step-started", "step": "x"}',
        "[" * 100_000,
        to_line(Progress("convert", 0.5, "line\u2028separator\rand [brackets]"), 101.0),
        to_line(Progress("never begun", 0.5), 102.0),
        to_line(StepDone("convert", 2.5, "opset 18"), 103.0),
        to_line(StepStarted("test"), 104.0),
        to_line(Note("warning", "name \udcff.pt"), 105.0),
    ]
    (folder / "events.jsonl").write_text("\n".join(lines) + '\n{"time": 106, "event": "step-done", "step": "te')
    job = read_job(folder)
    assert job.broken_lines == 5
    assert [(step.name, step.state, step.seconds, step.note) for step in job.steps[:1]] == [
        ("convert", "done", 2.5, "opset 18")
    ]
    assert job.steps[1].name == "test" and job.steps[1].state in ("running", "stopped")
    assert job.notes == (Note("warning", "name \udcff.pt"),)
    following = follow(folder)
    assert [event for _, _, event in (next(following) for _ in range(6))][1] == Progress(
        "convert", 0.5, "line\u2028separator\rand [brackets]"
    )


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    folder = unstarted(tmp_path)
    (folder / "events.jsonl").write_text(to_line(StepStarted("convert")) + "\n")
    following = follow(folder)
    next(following)
    shutil.rmtree(folder)
    assert list(following) == []
    assert not is_alive(folder)
    assert list_jobs(tmp_path) == []
    for look in (read_job, cancel, lambda folder: list(follow(folder))):
        with pytest.raises(ZoowizardError, match="there is no job at"):
            look(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"time_limit_s": 0}, "job.json: time_limit_s is wrong: input should be greater than 0"),
        ({"time_limit_s": "soon"}, "job.json: time_limit_s is wrong: input should be a valid number"),
        (
            {"kind": "os.system"},
            "job.json: kind is wrong: input should be 'build', 'test', 'predict', 'probe', 'upload' or 'selftest'",
        ),
        ({"work": ["rm"]}, "job.json: work is wrong: input should be a valid dictionary"),
        ({"created": "2026-11-21T00:00:00"}, "job.json: created is wrong: input should have timezone info"),
        ({"version": 2}, "job.json: version is wrong: input should be 1"),
        ({"sudo": True}, "job.json: sudo is wrong: extra inputs are not permitted"),
        ({"id": "20261121-004312-k3f9"}, "job.json: id is 20261121-004312-k3f9, but must be the name of its folder"),
    ],
)
def test_an_edited_job_is_checked(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    folder = unstarted(tmp_path)
    spec = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**spec, **change}))
    with pytest.raises(ZoowizardError) as problem:
        read_job(folder)
    assert sentence in str(problem.value) and str(folder) in str(problem.value)
    [listed] = list_jobs(tmp_path)
    assert (listed.state, listed.reason) == ("unreadable", str(problem.value))


@pytest.mark.parametrize("text", ['{"id": "2026', "", "[" * 100_000, "\xff\xfe", "null"])
def test_a_broken_record(tmp_path: Path, text: str) -> None:
    folder = unstarted(tmp_path)
    (folder / "job.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ZoowizardError, match=r"job\.json"):
        read_job(folder)


def test_a_broken_result_is_named(tmp_path: Path) -> None:
    folder = unstarted(tmp_path)
    (folder / "result.json").write_text('{"status": "excellent", "seconds": 1, "ended": "2026-11-21T00:00:00Z"}')
    with pytest.raises(ZoowizardError, match=r"result\.json: status is wrong: input should be 'passed'"):
        read_job(folder)


def test_a_job_of_another_computer(tmp_path: Path, start: Start, until: Callable[..., None]) -> None:
    folder = start({"wait": 60})
    until(lambda: is_alive(folder))
    record = (folder / "supervisor").read_text()
    (folder / "supervisor").write_text(json.dumps({**json.loads(record), "host": "node17"}))
    with pytest.raises(ZoowizardError, match="runs on node17: cancel it there"):
        cancel(folder)
    (folder / "supervisor").write_text(json.dumps({**json.loads(record), "pid": -1}))
    with pytest.raises(ZoowizardError, match="pid is -1, but must be the number of a process"):
        cancel(folder)
    (folder / "supervisor").write_text(record)
    assert cancel(folder).state == "cancelled"
