"""Jobs end in many ways, and each time the truth is told, whoever was killed."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from disks import may_mount

from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.events import Ended
from zoowizard.jobs.folder import create, read_result
from zoowizard.jobs.processes import GPU_MEMORY
from zoowizard.jobs.state import Job, cancel, follow, list_jobs, read_job
from zoowizard.jobs.supervisor import _watch

Start = Callable[..., Path]
ProcessOf = Callable[[Path], int]


def to_the_end(folder: Path) -> Job:
    list(follow(folder))
    return read_job(folder)


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module", autouse=True)
def deaf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that does not listen; it takes its time to end, so it is started before all others."""
    do = [{"deaf": 1}, {"wait": 60}]
    folder = create(tmp_path_factory.mktemp("deaf"), "selftest", "nuclei", {"do": do}, 10)
    LocalEngine().start([folder])
    return folder


def test_a_job_that_passes(start: Start) -> None:
    folder = start({"wait": 0.3}, {"print": "hello from the work"}, {"say": "three objects"})
    job = to_the_end(folder)
    assert (job.state, job.reason) == ("passed", "")
    assert job.outcome == {"done": 3, "bytes": 0}
    assert [(step.name, step.state) for step in job.steps] == [
        ("1 wait", "done"),
        ("2 print", "done"),
        ("3 say", "done"),
    ]
    assert 0.3 <= job.steps[0].seconds < 5
    assert [note.text for note in job.notes] == ["three objects"]
    assert "hello from the work" in (folder / "log.txt").read_text()
    assert job.created and job.started and job.ended and job.created <= job.started <= job.ended
    assert job.seconds is not None and job.seconds >= 0.3
    assert all(path.stat().st_mode & 0o077 == 0 for path in [folder, *folder.iterdir()])
    result = json.loads((folder / "result.json").read_text())
    assert result["exit_code"] == 0

    again = subprocess.run([sys.executable, "-m", "zoowizard.jobs.supervisor", str(folder)], check=False)
    assert again.returncode != 0
    assert read_job(folder) == job

    (folder / "result.json").unlink()
    assert read_job(folder).state == "passed"  # from the worker's last word
    (folder / "lock").write_text(json.dumps({**result, "reason": "no room", "outcome": None}).ljust(4096))
    assert read_job(folder) == replace(job, reason="no room")


ENDINGS: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "a refusal": ([{"fail": "net.pt: weights are missing"}], "failed", "net.pt: weights are missing"),
    "a bug": (
        [{"crash": "no such axis\nsecond line"}],
        "failed",
        "RuntimeError: no such axis; the log has the details",
    ),
    "too little memory": ([{"allocate": 1 << 60}], "out-of-memory", "it ran out of memory; the log has the details"),
    "a silent exit": ([{"exit": 3}], "failed", "it ended with exit code 3 and did not say why; the log may"),
    "an early exit": ([{"exit": 0}], "died", "it ended without leaving a result; the log may say why"),
    "a crash": ([{"signal": signal.SIGSEGV}], "died", "it crashed: segmentation fault (SIGSEGV); see the log"),
    "told to stop": ([{"signal": signal.SIGTERM}], "died", "it was told to stop (SIGTERM) from outside"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_job_that_does_not_pass(start: Start, ending: str) -> None:
    do, state, reason = ENDINGS[ending]
    folder = start(*do)
    job = to_the_end(folder)
    assert (job.state, job.reason, job.outcome) == (state, reason, None)
    assert [event for _, _, event in follow(folder)][-1] == Ended(state, reason)
    assert job.steps[0].state == ("stopped" if ending == "a crash" else "failed")
    assert ("second line" in (folder / "log.txt").read_text()) == (ending == "a bug")


def test_a_killed_worker(start: Start, worker_of: ProcessOf) -> None:
    folder = start({"child": 60}, {"wait": 60})
    group = worker_of(folder)
    os.kill(group, signal.SIGKILL)
    job = to_the_end(folder)
    assert job.state == "died"
    assert job.reason == "it was killed from outside (SIGKILL), but not for want of memory"


def test_a_killed_supervisor_does_not_end_the_job(start: Start, supervisor_of: ProcessOf, worker_of: ProcessOf) -> None:
    folder = start({"wait": 3})
    worker_of(folder)
    os.kill(supervisor_of(folder), signal.SIGKILL)
    assert read_job(folder).state == "running"
    job = to_the_end(folder)
    assert (job.state, job.outcome) == ("passed", {"done": 1, "bytes": 0})
    assert job.steps[0].state == "done"


def test_killed_supervisor_and_worker(start: Start, supervisor_of: ProcessOf, worker_of: ProcessOf) -> None:
    folder = start({"wait": 60})
    group = worker_of(folder)
    os.kill(supervisor_of(folder), signal.SIGKILL)
    os.killpg(group, signal.SIGKILL)
    job = to_the_end(folder)
    assert job.state == "died"
    assert "killed together with its supervisor" in job.reason
    assert [step.state for step in job.steps] == ["stopped"]
    record = json.loads((folder / "supervisor").read_text())
    (folder / "supervisor").write_text(json.dumps({**record, "boot": "an earlier one"}))
    assert read_job(folder).reason == "the computer was restarted while it ran; start it again"


def test_the_time_limit_holds_without_a_supervisor(tmp_path: Path) -> None:
    folder = create(tmp_path, "selftest", "nuclei", {"do": [{"wait": 600}]}, time_limit_s=0.5)
    command = [sys.executable, "-P", "-m", "zoowizard.jobs.runner", str(folder)]
    worker = subprocess.run(command, process_group=0, timeout=120, check=False)
    assert worker.returncode == -signal.SIGKILL
    word = read_result(folder / "outcome.json")
    assert word is not None
    assert (word.status, word.reason) == ("timed-out", "it was stopped at its time limit of 0.5 seconds")


def test_cancel_ends_all_its_processes(start: Start, worker_of: ProcessOf, until: Callable[..., None]) -> None:
    folder = start({"child": 60}, {"wait": 60})
    group = worker_of(folder)
    until(lambda: "child" in (folder / "log.txt").read_text())
    child = int((folder / "log.txt").read_text().rpartition("child ")[2])
    assert lives(child)
    job = cancel(folder)
    assert (job.state, job.reason) == ("cancelled", "it was cancelled")
    until(lambda: not lives(child) and not lives(group))
    assert cancel(folder) == job


def test_cancel_when_the_supervisor_is_gone(start: Start, supervisor_of: ProcessOf, worker_of: ProcessOf) -> None:
    folder = start({"wait": 60})
    group = worker_of(folder)
    os.kill(supervisor_of(folder), signal.SIGKILL)
    assert cancel(folder).state == "cancelled"
    assert not lives(group)


def test_cancel_before_the_start(tmp_path: Path) -> None:
    folder = create(tmp_path, "selftest", "nuclei", {"do": [{"write": 1}]})
    assert cancel(folder).state == "cancelled"
    late = subprocess.run([sys.executable, "-m", "zoowizard.jobs.supervisor", str(folder)], check=False)
    assert late.returncode != 0
    assert read_job(folder).state == "cancelled"
    assert not (folder / "filler").exists()


def test_the_last_event_has_a_line_of_its_own(start: Start, worker_of: ProcessOf) -> None:
    folder = start({"wait": 60})
    group = worker_of(folder)
    os.killpg(group, signal.SIGSTOP)
    with (folder / "events.jsonl").open("ab") as events:
        events.write(b'{"time": 1, "event": "prog')
    os.killpg(group, signal.SIGKILL)
    job = to_the_end(folder)
    assert isinstance([event for _, _, event in follow(folder)][-1], Ended)
    assert (job.state, job.broken_lines) == ("died", 1)


def test_a_terminal_that_hangs_up(tmp_path: Path, worker_of: ProcessOf, supervisor_of: ProcessOf) -> None:
    program = f"""
import fcntl, signal, termios, time
from pathlib import Path
from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.folder import create, read_result
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which whoever runs the tests may have had ignored
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
LocalEngine().start([create(Path({str(tmp_path)!r}), "selftest", "nuclei", {{"do": [{{"wait": 4}}]}})])
time.sleep(60)
"""
    ours, terminal = pty.openpty()
    shell = subprocess.Popen(
        [sys.executable, "-c", program], stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    try:
        while not (jobs := list_jobs(tmp_path)):
            assert shell.poll() is None
        group = worker_of(jobs[0].folder)
    finally:
        os.close(ours)
    assert shell.wait(120) == -signal.SIGHUP
    os.kill(supervisor_of(jobs[0].folder), signal.SIGHUP)
    os.killpg(group, signal.SIGHUP)
    assert to_the_end(jobs[0].folder).state == "passed"


@pytest.mark.parametrize("disk", ["small_disk"] if may_mount() else [])
def test_a_full_disk(disk: str, start: Start, until: Callable[..., None], request: pytest.FixtureRequest) -> None:
    small: Path = request.getfixturevalue(disk)
    folder = start({"write": 1 << 20}, parent=small)
    job = to_the_end(folder)
    assert not (folder / "result.json").exists()
    assert job.state == "failed"
    assert job.reason == "the disk is full, or cannot be written: free some space and try again"
    read_only = ["mount", "-o", "remount,ro", str(small)]
    until(lambda: subprocess.run(read_only, capture_output=True, check=False).returncode == 0)
    assert read_job(folder) == job
    assert list_jobs(small) == [job]


def test_the_supervisor_starts_light() -> None:
    program = (
        "import sys, zoowizard.jobs.supervisor as s; print({'pydantic', 'numpy', 'torch', 'textual'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_time_limit_also_for_one_that_does_not_listen(deaf: Path) -> None:
    job = to_the_end(deaf)
    assert (job.state, job.reason) == ("timed-out", "it was stopped at its time limit of 10 seconds")
    assert job.seconds is not None and job.seconds > 14.9
    assert job.steps[-1].state == "stopped"


class EndsForWantOfGpuMemory:
    """A worker that ends in the moment in which its supervisor hears a signal."""

    pid = 2**30  # there is none

    def __init__(self) -> None:
        self.looks = 0

    def poll(self) -> int | None:
        self.looks += 1
        return GPU_MEMORY if self.looks > 1 else None

    def fileno(self) -> int | None:
        return None


def test_cancelled_when_the_memory_of_the_gpu_ran_out(tmp_path: Path) -> None:
    wake, signalled = os.pipe()
    os.write(signalled, bytes([signal.SIGTERM, signal.SIGCHLD]))
    assert _watch(EndsForWantOfGpuMemory(), wake, 0.0, None, None) == "cancelled"
    os.write(signalled, bytes([signal.SIGCHLD]))
    assert _watch(EndsForWantOfGpuMemory(), wake, 0.0, None, None) == ""
    os.close(wake)
    os.close(signalled)
