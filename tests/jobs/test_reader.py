"""A reader that goes on where it was sees what a fresh look at the whole folder shows."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from commands import Demo

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.events import Note, Progress, StepDone, StepStarted, to_line
from zoowizard.jobs.folder import create
from zoowizard.jobs.locks import claim
from zoowizard.jobs.reader import JobReader
from zoowizard.jobs.state import Job, read_job

Start = Callable[..., Path]


def without_times(job: Job) -> Job:
    """What is not measured against the clock while a job runs."""
    return replace(job, steps=tuple(replace(step, seconds=0.0) for step in job.steps))


@pytest.fixture
def copied(demo: Demo, tmp_path: Path) -> Path:
    """The records of a real build, in a folder of their own."""
    [job] = demo.workspace.glob("models/*/jobs/*")
    folder = tmp_path / job.name
    folder.mkdir(mode=0o700)
    for name in ("job.json", "events.jsonl", "result.json", "supervisor", "lock"):
        shutil.copy(job / name, folder / name)
    return folder


def test_after_every_piece_of_a_real_build(copied: Path) -> None:
    events = (copied / "events.jsonl").read_bytes()
    (copied / "events.jsonl").write_bytes(b"")
    reader, ends = JobReader(copied), sorted({0, len(events), *range(0, len(events), 37)})
    assert len(ends) > 20
    with (copied / "events.jsonl").open("ab") as file:
        for start, end in pairwise(ends):
            file.write(events[start:end])
            file.flush()
            assert reader.read() == read_job(copied)
    assert [step.name for step in reader.read().steps][:2] == ["convert", "describe"]
    assert reader.read().state == "passed"


def test_while_it_runs(copied: Path) -> None:
    events = (copied / "events.jsonl").read_bytes().splitlines(keepends=True)
    for name in ("result.json", "lock", "events.jsonl"):
        (copied / name).unlink()
    lock = claim(copied / "lock", "")
    reader = JobReader(copied)
    assert reader.read().state == "starting"
    for number in range(len(events)):
        (copied / "events.jsonl").open("ab").write(events[number])
        assert reader.read().state == "running"
        assert without_times(reader.read()) == without_times(read_job(copied))
    os.close(lock)
    assert reader.read() == read_job(copied)
    assert reader.read().state == "died"


def test_broken_lines_are_counted_once(copied: Path) -> None:
    reader = JobReader(copied)
    reader.read()
    (copied / "events.jsonl").open("a").write("no event\n" + to_line(Note("info", "still here"), 1.0) + "\nhalf a li")
    assert [(reader.read().broken_lines, reader.read().notes[-1].text) for _ in range(2)] == [(1, "still here")] * 2
    (copied / "events.jsonl").open("a").write("ne\n")
    assert reader.read().broken_lines == 2
    assert reader.read() == read_job(copied)


def test_another_file_in_its_place(copied: Path) -> None:
    events = copied / "events.jsonl"
    reader = JobReader(copied)
    full = reader.read()
    content = events.read_bytes()
    events.write_bytes(b"".join(content.splitlines(keepends=True)[:2]))
    assert len(reader.read().steps) == 1
    events.unlink()
    assert reader.read().steps == ()
    events.write_bytes(content)
    assert reader.read() == full
    (copied / "new").write_bytes(content.replace(b"convert", b"CONVERT") + content)
    (copied / "new").replace(events)
    assert reader.read() == read_job(copied) != full


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    folder = create(tmp_path, "selftest", "nuclei", {"do": []}, 60)
    lines = [to_line(Progress("convert", number / 50_000), float(number)) for number in range(50_000)]
    (folder / "events.jsonl").write_text("\n".join([to_line(StepStarted("convert"), 0.0), *lines]) + "\n")
    reader = JobReader(folder)
    started = time.process_time()
    first = reader.read()
    whole = time.process_time() - started
    with (folder / "events.jsonl").open("a") as file:
        file.write(to_line(StepDone("convert", 5.0), 50_000.0) + "\n")
    started = time.process_time()
    then = reader.read()
    assert time.process_time() - started < whole / 20
    assert (first.steps[0].state, then.steps[0].state, then.steps[0].seconds) == ("stopped", "done", 5.0)


def test_a_real_job_to_its_end(start: Start, until: Callable[..., None]) -> None:
    folder = start({"wait": 2}, {"say": "hello"}, {"fail": "no luck"})
    reader, states = JobReader(folder), []
    until(lambda: states.append(reader.read().state) or reader.read().over)
    assert reader.read() == read_job(folder)
    assert (reader.read().state, reader.read().reason) == ("failed", "no luck")
    assert {"running"} <= set(states)


def test_a_folder_that_is_no_job(tmp_path: Path, copied: Path) -> None:
    with pytest.raises(ZoowizardError, match="there is no job at"):
        JobReader(tmp_path / "nothing").read()
    reader = JobReader(copied)
    reader.read()
    (copied / "job.json").write_text(json.dumps({"id": 5}))
    with pytest.raises(ZoowizardError, match=r"job\.json"):
        reader.read()
    shutil.rmtree(copied)
    with pytest.raises(ZoowizardError, match="there is no job at"):
        reader.read()
