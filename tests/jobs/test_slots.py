"""The line before the places of a computer: how many work at once, in which order, and what happens to it."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from commands import run_zoowizard

from zoowizard.errors import WrongUse
from zoowizard.jobs import line
from zoowizard.jobs.computer import cores, granted_cores, granted_memory_bytes, jobs_at_once, memory_bytes
from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.events import Admitted, Ended, Event, StepDone, from_line
from zoowizard.jobs.folder import create
from zoowizard.jobs.history import whole_lines
from zoowizard.jobs.line import Ticket
from zoowizard.jobs.settings import JobSettings, write_settings
from zoowizard.jobs.slots import Turn, change_priority, priority_of
from zoowizard.jobs.state import Job, cancel, read_job

WITHIN_S = 90.0
NOBODY = 65534
LONG = {"wait": 300}

Start = Callable[..., Path]


@pytest.fixture(autouse=True)
def slots(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A line of one's own, with a single place, which other people may join."""
    folder = Path(tempfile.mkdtemp(prefix="zoowizard-slots-"))
    folder.chmod(0o1777)
    monkeypatch.setenv("ZOOWIZARD_SLOTS", str(folder))
    monkeypatch.setenv("ZOOWIZARD_AT_ONCE", "1")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Start]:
    """Starts a job that does the given things; what still lives after the test is ended."""
    folders: list[Path] = []

    def begin(*do: dict[str, Any], parent: Path = tmp_path, priority: int = 0) -> Path:
        folder = create(parent, "selftest", "nuclei", {"do": list(do)}, 600, priority=priority)
        folders.append(folder)
        LocalEngine().start([folder])
        return folder

    yield begin
    for folder in reversed(folders):
        cancel(folder)


def until(holds: Callable[[], Any], seconds: float = WITHIN_S) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def until_state(folder: Path, *states: str) -> Job:
    until(lambda: read_job(folder).state in states)
    return read_job(folder)


def until_reason(folder: Path, words: str) -> None:
    until(lambda: (job := read_job(folder)).state == "queued" and words in job.reason)


def events(folder: Path) -> list[tuple[float, Event]]:
    return [from_line(line) for line in whole_lines(folder / "events.jsonl", 0)]


def admitted(folder: Path) -> float:
    return next(stamp for stamp, event in events(folder) if isinstance(event, Admitted))


def most_at_once(folders: list[Path]) -> int:
    """How many worked at the same time, at most, from their own records."""
    changes = []
    for folder in folders:
        worked = [stamp for stamp, event in events(folder) if isinstance(event, Admitted | StepDone)]
        changes += [(worked[0], 1), (worked[-1], -1)]
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def test_never_more_than_there_are_places(begin: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOWIZARD_AT_ONCE", "2")
    program = f"""
from pathlib import Path
from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.folder import create
folders = [create(Path({str(tmp_path)!r}), "selftest", "nuclei", {{"do": [{{"wait": 0.2}}]}}, 600) for _ in range(2)]
LocalEngine().start(folders)
"""
    holders = [begin(LONG), begin(LONG)]
    for holder in holders:
        until_state(holder, "running")
    for client in [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]:
        assert client.wait(WITHIN_S) == 0
    folders = [path for path in tmp_path.iterdir() if path not in holders]
    assert len(folders) == 6
    for folder in folders:
        until_state(folder, "queued")
    until(lambda: any("2 jobs are at work" in read_job(folder).reason for folder in folders))
    for holder in holders:
        cancel(holder)
    for folder in folders:
        assert until_state(folder, "passed", "failed", "died").state == "passed"
    assert 1 <= most_at_once(folders) <= 2


def test_who_waits_is_told_for_which_models(begin: Start, tmp_path: Path) -> None:
    models = tmp_path / "workspace" / "models"
    holder = begin(LONG, parent=models / "nuclei-of-mice" / "jobs")
    until_state(holder, "running")
    second = begin({"say": "done"}, parent=models / "mito" / "jobs")
    until_reason(second, "waiting for its turn: nuclei is at work, one at a time")
    third = begin({"say": "done"}, parent=tmp_path / "workspace" / "jobs")
    until_reason(third, "waiting for its turn: nuclei is before it")
    elsewhere = begin({"say": "done"}, parent=tmp_path / "another" / "models" / "mito" / "jobs")
    until_reason(elsewhere, "waiting for its turn: 2 jobs are before it")
    assert "(" not in read_job(elsewhere).reason, "the models of another workspace are not looked for"


def test_order_and_priority(begin: Start) -> None:
    holder = begin(LONG)
    assert until_state(holder, "running").device == "CPU"
    first, second, third = [begin({"say": "done"}, priority=priority) for priority in (0, 0, 5)]
    until_reason(third, "waiting for its turn: 1 job is at work, one at a time")
    until_reason(first, "waiting for its turn: 1 job is before it")
    until_reason(second, "waiting for its turn: 2 jobs are before it")
    change_priority(second, 9)
    until_reason(second, "1 job is at work")
    until_reason(first, "2 jobs are before it")
    assert (priority_of(first), priority_of(second), priority_of(third)) == (0, 9, 5)
    cancel(holder)
    for folder in (first, second, third):
        assert until_state(folder, "passed").host == os.uname().nodename
    assert sorted((first, second, third), key=admitted) == [second, third, first]


def test_a_killed_job_frees_its_place(begin: Start, supervisor_of: Callable[[Path], int], slots: Path) -> None:
    holder = begin(LONG)
    until_state(holder, "running")
    until(lambda: (holder / "worker").exists() and (holder / "worker").read_text())
    waiting = begin({"say": "done"})
    until_state(waiting, "queued")
    supervisor = supervisor_of(holder)
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{supervisor}").exists())
    folder = line.open_shared()
    assert not line.is_free(folder, "cpu-0")
    assert [ticket.at for ticket in line.tickets(folder)].count("cpu-0") == 1
    assert read_job(holder).state == "running"
    os.killpg(int((holder / "worker").read_text()), signal.SIGKILL)
    assert until_state(waiting, "passed").state == "passed"
    assert read_job(holder).state == "died"
    until(lambda: not line.tickets(folder) and list(slots.glob("ticket-*")) == [])
    os.close(folder)


def test_one_that_waits_is_cancelled_or_killed(begin: Start, supervisor_of: Callable[[Path], int]) -> None:
    holder = begin(LONG)
    until_state(holder, "running")
    given_up, killed, last = [begin({"write": 1}) for _ in range(3)]
    until_reason(last, "2 jobs are before it")
    began = time.monotonic()
    job = cancel(given_up)
    assert (job.state, job.reason) == ("cancelled", "it was cancelled before it started")
    assert time.monotonic() - began < 10
    os.kill(supervisor_of(killed), signal.SIGKILL)
    job = until_state(killed, "died")
    assert job.reason == "it was killed while it waited for its turn; start it again"
    until_reason(last, "1 job is at work")
    cancel(holder)
    until_state(last, "passed")
    assert not (given_up / "filler").exists() and not (killed / "filler").exists()


def as_somebody_else(folder: Path, created: datetime, priority: int, ours: Connection) -> None:
    """Another person's job, from its waiting to its end, which comes when it is told."""
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"created": created.isoformat(), "priority": priority}))
    turn = Turn(folder)
    while turn.take() is None:
        ours.send(turn.reason)
        time.sleep(0.05)
    ours.send("working")
    ours.recv()
    turn.close()
    os._exit(0)


@pytest.fixture
def neighbour(slots: Path) -> Iterator[Callable[..., Connection]]:
    """Another person of this computer who starts a job; only where we may become somebody else, else it is us."""
    started = []

    def neighbour(priority: int = 0, created: datetime | None = None) -> Connection:
        ours, theirs = get_context("fork").Pipe()
        folder = Path(f"{slots}-of-nobody-{len(started)}") / "jobs" / "job"
        folder.parents[1].mkdir()
        folder.parents[1].chmod(0o777)
        arguments = (folder, created or datetime.now(UTC), priority, theirs)
        process = get_context("fork").Process(target=as_somebody_else, args=arguments)
        process.start()
        started.append((process, folder.parents[1]))
        return ours

    yield neighbour
    for process, folder in started:
        process.kill()
        process.join()
        shutil.rmtree(folder)


def hears(other: Connection, words: str) -> None:
    """Wait until the other one says this."""
    end = time.monotonic() + WITHIN_S
    while other.poll(max(0.0, end - time.monotonic())):
        if words in other.recv():
            return
    raise AssertionError(f"it never said {words!r}")


def test_people_do_not_overtake_each_other(begin: Start, neighbour: Callable[..., Connection], slots: Path) -> None:
    their_first = neighbour()
    hears(their_first, "working")
    mine = begin({"say": "done"}, priority=-1000)
    whose = " (1 of nobody)" if os.geteuid() == 0 else ""
    until_reason(mine, f"waiting for its turn: 1 job is at work{whose}, one at a time")
    their_second = neighbour(priority=1000)
    if os.geteuid() == 0:
        hears(their_second, "1 job is before it (1 of root)")
        assert {path.stat().st_uid for path in slots.glob("ticket-*")} == {0, NOBODY}
        their_first.send("end")
        until_state(mine, "passed")
    else:
        hears(their_second, "1 job is at work")
        their_first.send("end")
    hears(their_second, "working")
    late = begin({"say": "done"})
    until_reason(late, f"1 job is at work{whose}")
    their_second.send("end")
    until_state(late, "passed")


def test_hostile_tickets_are_passed_over(begin: Start, slots: Path) -> None:
    good = {"created": 1.0, "priority": 0, "wants": ["cpu-0"], "at": ""}
    contents = {
        "0": b"",
        "1": b"\xff\xfe",
        "2": b"[" * 100_000,
        "3": json.dumps({**good, "created": "yesterday"}).encode(),
        "4": b'{"created": NaN, "priority": 0, "wants": ["cpu-0"], "at": ""}',
        "5": b'{"created": 1' + b"0" * 4000 + b', "priority": 0, "wants": ["cpu-0"], "at": ""}',
        "6": json.dumps({**good, "priority": 10**9}).encode(),
        "7": json.dumps({**good, "wants": ["../../etc/passwd"]}).encode(),
        "8": json.dumps({**good, "at": ["cpu-0"]}).encode(),
        "9": json.dumps({**good, "wants": ["cpu-0"] * 30_000}).encode(),
        "a": json.dumps([good]).encode(),
    }
    held = []
    for number, content in contents.items():
        path = slots / f"ticket-{number * 16}"
        path.write_bytes(content)
        held.append(path.open("rb"))
        fcntl.flock(held[-1], fcntl.LOCK_EX)
    secret = slots.parent / f"{slots.name}-secret"
    secret.write_text(json.dumps(good))
    held.append(secret.open("rb"))
    fcntl.flock(held[-1], fcntl.LOCK_EX)
    (slots / f"ticket-{'b' * 16}").symlink_to(secret)
    os.mkfifo(slots / f"ticket-{'c' * 16}")
    (slots / f"ticket-{'d' * 16}").mkdir()
    left = slots / f"ticket-{'e' * 16}"
    left.write_text(json.dumps(good))  # nobody holds it
    try:
        assert until_state(begin({"say": "done"}), "passed").notes[-1].text == "done"
        assert not left.exists()
        assert len(list(slots.glob("ticket-*"))) == len(contents) + 3
    finally:
        secret.unlink()
        for file in held:
            file.close()


def not_sticky(slots: Path) -> str:
    slots.chmod(0o777)
    return f"{slots}: others may remove your files there; it must have the permissions of /tmp, which are 1777"


def a_link(slots: Path) -> str:
    slots.rmdir()
    slots.symlink_to("/tmp")
    return f"{slots}: it is no folder, or a link"


def a_file(slots: Path) -> str:
    slots.rmdir()
    slots.write_text("")
    return f"{slots}: it is no folder, or a link"


def a_place_that_is_a_link(slots: Path) -> str:
    for number in range(1000):
        (slots / f"cpu-{number}").symlink_to("/etc/passwd")
    return "cpu-0: too many levels of symbolic links"


@pytest.mark.parametrize("spoil", [not_sticky, a_link, a_file, a_place_that_is_a_link])
def test_a_folder_that_is_not_fit_to_be_shared(
    spoil: Callable[[Path], str], begin: Start, slots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = spoil(slots)
    monkeypatch.setenv("ZOOWIZARD_AT_ONCE", "1000")  # the folder that is taken instead is that of the person
    try:
        job = until_state(begin({"say": "done"}), "passed")
    finally:
        if slots.is_symlink() or slots.is_file():
            slots.unlink()
    expected = f"Only your own jobs wait for each other, not those of other people: {why}."
    assert [(note.level, note.text) for note in job.notes] == [("warning", expected), ("info", "done")]
    private = Path(f"/tmp/zoowizard-slots-{os.geteuid()}")
    assert private.stat().st_mode & 0o777 == 0o700


def test_the_folder_is_made_as_tmp_is(begin: Start, slots: Path) -> None:
    slots.rmdir()
    until_state(begin({"say": "done"}), "passed")
    assert slots.stat().st_mode & 0o7777 == 0o1777
    assert (slots / "cpu-0").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_is_removed_while_jobs_wait(begin: Start, slots: Path) -> None:
    holder = begin(LONG)
    until_state(holder, "running")
    waiting = begin({"say": "done"})
    until_state(waiting, "queued")
    shutil.rmtree(slots)
    assert until_state(waiting, "passed").notes[-1].text == "done"


def test_a_clock_that_jumps(begin: Start, tmp_path: Path) -> None:
    holder = begin(LONG)
    until_state(holder, "running")
    early = create(tmp_path, "selftest", "nuclei", {"do": [{"say": "done"}]}, 600)
    record = json.loads((early / "job.json").read_text())
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    (early / "job.json").write_text(json.dumps({**record, "created": tomorrow}))
    LocalEngine().start([early])
    until_reason(early, "1 job is at work")
    late = begin({"say": "done"})
    until_reason(late, "1 job is before it")
    cancel(holder)
    until_state(late, "passed")
    assert admitted(early) < admitted(late)


def test_the_line_in_all_its_cases() -> None:
    def ticket(name: str, owner: int, created: float, priority: int = 0) -> Ticket:
        return Ticket(name, owner, created, priority, ("cpu-0",))

    def names(*tickets: Ticket) -> str:
        return "".join(one.name for one in line.in_order(tickets, 100.0))

    assert names() == ""
    assert names(ticket("b", 1, 20), ticket("a", 1, 10), ticket("c", 2, 30)) == "abc"
    assert names(ticket("a", 1, 10), ticket("b", 2, 20), ticket("c", 1, 30, 9)) == "cba"
    assert names(ticket("a", 1, 10, -9), ticket("b", 2, 20), ticket("c", 1, 30)) == "cba"
    assert names(ticket("a", 1, 10), ticket("b", 2, 20), ticket("c", 2, 30, 1000)) == "acb"
    assert names(ticket("a", 1, 99), ticket("b", 2, 5000)) == "ba"  # made before the clock was put back


def test_a_job_does_not_wait_for_places_that_it_cannot_have_anyway(slots: Path, tmp_path: Path) -> None:
    """One before it waits for a GPU that is in use; that is no reason to leave the others free."""
    folder = line.open_shared()
    other = Ticket(f"ticket-{'f' * 16}", os.geteuid(), 1.0, 0, ("gpu-GPU-1",))
    held = line.put(folder, other)
    turn = Turn(tmp_path / "jobs" / "job")
    place = turn.take()
    assert place is not None and place.device == "CPU"
    turn.close()
    os.close(held)
    os.close(folder)


def test_a_job_leaves_the_only_place_that_one_before_it_can_have(
    slots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOOWIZARD_AT_ONCE", "3")
    folder = line.open_shared()
    held = line.put(folder, Ticket(f"ticket-{'f' * 16}", os.geteuid(), 1.0, 0, ("cpu-0",)))
    turn = Turn(tmp_path / "jobs" / "job")
    assert turn.take() is not None
    assert [ticket.at for ticket in line.tickets(folder) if ticket.at] == ["cpu-1"]
    assert line.is_free(folder, "cpu-0")
    turn.close()
    os.close(held)
    os.close(folder)


def test_how_many_at_once_as_set_for_the_workspace(
    begin: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZOOWIZARD_AT_ONCE")
    write_settings(tmp_path, JobSettings(at_once=3))
    jobs = tmp_path / "models" / "nuclei" / "jobs"
    three = [begin(LONG, parent=jobs), begin(LONG, parent=tmp_path / "jobs"), begin(LONG, parent=jobs)]
    for folder in three:
        until_state(folder, "running")
    fourth = begin({"say": "done"}, parent=jobs)
    until_reason(fourth, "3 jobs are at work (nuclei), and no more may be at once")
    write_settings(tmp_path, JobSettings(at_once=4))
    until_state(fourth, "passed")


def test_a_wrong_number_is_told(begin: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOWIZARD_AT_ONCE", "many")
    job = until_state(begin({"say": "done"}), "passed")
    assert job.notes[0].text == "ZOOWIZARD_AT_ONCE is many, but must be a number from 1 to 1000; it is not heeded."


def test_what_the_computer_bears(tmp_path: Path) -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
    assert jobs_at_once() == max(1, min(cores() // 2, memory_bytes() // 2**32))
    inner = tmp_path / "all" / "job"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "cgroup.procs").touch()
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("150000 100000\n")
    (inner / "memory.max").write_text("8589934592\n")
    (inner.parent / "memory.max").write_text("max\n")
    assert list(granted_cores(inner)) == [1.5]
    assert list(granted_memory_bytes(inner)) == [8 << 30]
    older = tmp_path / "older"
    older.mkdir()
    for name, content in {
        "cgroup.procs": "",
        "cpu.cfs_quota_us": "-1\n",
        "cpu.cfs_period_us": "100000\n",
        "memory.limit_in_bytes": "4294967296\n",
    }.items():
        (older / name).write_text(content)
    assert list(granted_cores(older)) == []
    (older / "cpu.cfs_quota_us").write_text("400000\n")
    assert list(granted_cores(older)) == [4.0]
    assert list(granted_memory_bytes(older)) == [4 << 30]
    assert list(granted_cores(None)) == []


def test_the_commands(begin: Start, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    holder = begin(LONG, parent=jobs)
    until_state(holder, "running")
    first, second = begin({"say": "done"}, parent=jobs), begin({"say": "done"}, parent=jobs)
    until_reason(second, "nuclei is before it")
    listed = run_zoowizard(["jobs", "--workspace", tmp_path])
    assert f"{second.name}  queued     selftest nuclei  waiting for its turn: nuclei is before it" in listed.out
    told = run_zoowizard(["jobs", "priority", second.name, "7", "--workspace", tmp_path])
    assert (told.code, told.out) == (0, f"{second.name}  priority 7\n")
    until_reason(first, "nuclei is before it")
    wrong = {
        (second.name,): "give the job and a number",
        (second.name, "high"): "high is no priority; write a whole number from -1000 to 1000",
        (second.name, "1001"): "1001 is no priority",
        (holder.name, "-3"): "does not wait, it is running",
    }
    for words, sentence in wrong.items():
        ran = run_zoowizard(["jobs", "priority", *words, "--workspace", tmp_path])
        assert ran.code == 2 and sentence in ran.err, ran.err
    with pytest.raises(WrongUse, match="whole number from -1000 to 1000"):
        change_priority(first, -1001)
    assert priority_of(second) == 7
    (second / "priority").write_text("a lot\n")
    assert priority_of(second) == 0


def test_the_last_word_of_a_job_that_waited_is_in_its_events(begin: Start) -> None:
    holder = begin(LONG)
    until_state(holder, "running")
    waiting = begin({"say": "done"})
    until_state(waiting, "queued")
    cancel(waiting)
    assert events(waiting)[-1][1] == Ended("cancelled", "it was cancelled before it started")
