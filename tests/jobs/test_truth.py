"""Whatever happens to a job, what is shown of it is so: why it ended, and that it does not run."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import run_zoowizard
from disks import may_mount

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.advice import what_to_do
from zoowizard.jobs.engines import LocalEngine, engine_of
from zoowizard.jobs.events import Progress, StepStarted, to_line
from zoowizard.jobs.folder import create
from zoowizard.jobs.housekeeping import clean, disk_use
from zoowizard.jobs.locks import claim, is_held
from zoowizard.jobs.processes import control_group
from zoowizard.jobs.state import Job, cancel, follow, list_jobs, read_job

Start = Callable[..., Path]
ProcessOf = Callable[[Path], int]
Until = Callable[..., None]

DEADLINE_S = 120.0
STARTED_ELSEWHERE = """
import sys
from pathlib import Path
from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.folder import create
do = [{verb: int(value)} for verb, value in (one.split("=") for one in sys.argv[2:])]
folder = create(Path(sys.argv[1]), "selftest", "nuclei", {"do": do}, 60)
LocalEngine().start([folder])
print(folder, flush=True)
sys.stdin.read()
"""


def to_the_end(folder: Path) -> Job:
    end = time.monotonic() + DEADLINE_S
    while not (job := read_job(folder)).over:
        assert time.monotonic() < end, job
        time.sleep(0.02)
    return job


def started_by(before: str, parent: Path, *do: str) -> tuple[subprocess.Popen[str], Path]:
    """A client in a process of its own, for which the shell does `before`, and the job that it started."""
    shell = f'{before}\nexec "$0" -c "$@"'
    command = ["bash", "-c", shell, sys.executable, STARTED_ELSEWHERE, str(parent), *do]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    return client, Path(client.stdout.readline().strip())


def ended(client: "subprocess.Popen[str]") -> None:
    client.kill()
    client.communicate()


def new_group() -> Path | None:
    """A control group with a limit of memory; None where this computer lets us make none."""
    ours = control_group("memory")
    if ours is None:
        return None
    group = ours / f"zoowizard-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError:
        return None
    for name in ("memory.limit_in_bytes", "memory.max"):
        if (group / name).exists():
            (group / name).write_text(str(150 << 20))
            return group
    group.rmdir()
    return None


def may_limit_memory() -> bool:
    group = new_group()
    if group is not None:
        group.rmdir()
    return group is not None


GROUPS = ["group"] if may_limit_memory() else []


@pytest.fixture
def group(until: Until) -> Iterator[Path]:
    """A control group in which 150 MiB of memory are granted."""
    group = new_group()
    assert group is not None
    yield group
    until(lambda: not (group / "cgroup.procs").read_text(), DEADLINE_S)
    group.rmdir()


def runs_out_of_memory(group: Path, parent: Path) -> Job:
    client, folder = started_by(f"echo $$ > {group}/cgroup.procs", parent, f"allocate={600 << 20}")
    job = to_the_end(folder)
    ended(client)
    return job


@pytest.mark.parametrize("limited", GROUPS)
def test_memory_that_runs_out(limited: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    job = runs_out_of_memory(request.getfixturevalue(limited), tmp_path)
    assert (job.state, job.reason) == ("out-of-memory", "it ran out of memory, so the system killed it")
    assert [(step.name, step.state) for step in job.steps] == [("1 allocate", "stopped")]
    assert "more memory" in what_to_do(job)


def test_memory_that_is_not_granted(tmp_path: Path) -> None:
    client, folder = started_by("ulimit -v 2000000", tmp_path, f"allocate={3 << 30}")
    job = to_the_end(folder)
    ended(client)
    assert (job.state, job.reason) == ("out-of-memory", "it ran out of memory; the log has the details")


@pytest.mark.parametrize("limited", [None, *GROUPS])
def test_a_kill_is_none_for_want_of_memory_even_where_it_runs_out_beside(
    limited: str | None, start: Start, worker_of: ProcessOf, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = start({"wait": 60})
    group = worker_of(folder)
    if limited:
        assert runs_out_of_memory(request.getfixturevalue(limited), tmp_path).state == "out-of-memory"
    os.kill(group, signal.SIGKILL)
    job = to_the_end(folder)
    assert (job.state, job.reason) == ("died", "it was killed from outside (SIGKILL), but not for want of memory")
    assert "what was done before is kept" in what_to_do(job)


def test_a_killed_client_takes_nothing_with_it(tmp_path: Path) -> None:
    client, folder = started_by("", tmp_path, "wait=1")
    ended(client)
    assert to_the_end(folder).state == "passed"


def test_killed_while_it_waited(
    start: Start, supervisor_of: ProcessOf, worker_of: ProcessOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slots").mkdir(mode=0o700)
    monkeypatch.setenv("ZOOWIZARD_SLOTS", str(tmp_path / "slots"))
    monkeypatch.setenv("ZOOWIZARD_AT_ONCE", "1")
    first = start({"wait": 60})
    worker_of(first)
    second = start({"wait": 60})
    supervisor = supervisor_of(second)
    end = time.monotonic() + DEADLINE_S
    while (job := read_job(second)).state != "queued":
        assert time.monotonic() < end and not job.over, job
        time.sleep(0.02)
    assert what_to_do(job).startswith("Its turn comes by itself")
    os.kill(supervisor, signal.SIGKILL)
    job = to_the_end(second)
    assert (job.state, job.reason) == ("died", "it was killed while it waited for its turn; start it again")
    assert cancel(first).state == "cancelled"


def test_a_restart_of_the_computer_and_a_copy_of_the_folder(
    start: Start, worker_of: ProcessOf, tmp_path: Path, until: Until
) -> None:
    folder = start({"wait": 60})
    group = worker_of(folder)
    copy = tmp_path / "copies" / folder.name
    shutil.copytree(folder, copy)
    copied = read_job(copy)
    assert (copied.state, "is a copy" in copied.reason) == ("died", True)
    assert list_jobs(copy.parent) == [copied]
    assert cancel(copy) == copied
    assert read_job(folder).state == "running"
    os.kill(group, 0)

    record = json.loads((copy / "supervisor").read_text())
    (copy / "supervisor").write_text(json.dumps({**record, "boot": "an earlier one"}))
    assert read_job(copy).reason == "the computer was restarted while it ran; start it again"
    assert "before the restart" in what_to_do(read_job(copy))
    elsewhere = {**record, "host": "node17", "folder": copy.stat().st_ino}
    (copy / "supervisor").write_text(json.dumps(elsewhere))
    assert read_job(copy).reason.startswith("it ran on node17, and no process there holds its lock any more")
    assert cancel(folder).state == "cancelled"


@pytest.mark.parametrize("disk", ["small_disk"] if may_mount() else [])
def test_a_disk_that_is_full_from_the_beginning(disk: str, until: Until, request: pytest.FixtureRequest) -> None:
    small_disk: Path = request.getfixturevalue(disk)
    folder = create(small_disk, "selftest", "nuclei", {"do": [{"say": "hello"}]}, 60)
    with (small_disk / "others").open("wb", buffering=0) as others:
        while True:
            try:
                if others.write(b"0" * 4096) < 4096:
                    break
            except OSError:
                break
    LocalEngine().start([folder])
    until(lambda: read_job(folder).over, DEADLINE_S)
    job = read_job(folder)
    assert (job.state, job.reason) == (
        "died",
        "it never started: the disk is full, or was; free some space and try again",
    )
    assert what_to_do(job).startswith("Free some space")
    (small_disk / "others").unlink()
    again = create(small_disk, "selftest", "nuclei", {"do": [{"say": "hello"}]}, 60)
    LocalEngine().start([again])
    assert to_the_end(again).state == "passed"


@pytest.mark.parametrize("disk", ["small_disk"] if may_mount() else [])
def test_a_disk_that_the_log_fills(disk: str, start: Start, request: pytest.FixtureRequest) -> None:
    small_disk: Path = request.getfixturevalue(disk)
    folder = start({"print": "x" * 36_000}, parent=small_disk)  # a disk of 64 KiB, on which it stands twice then
    job = to_the_end(folder)
    assert job.state == "failed"
    assert "the disk is full" in job.reason
    assert what_to_do(job).startswith("Free some space")
    assert job.steps and job.steps[-1].state != "running"


@pytest.mark.parametrize("spoil", ["open to others", *(["of somebody else"] if os.geteuid() == 0 else [])])
def test_a_folder_that_is_not_ours_alone_is_refused_everywhere(spoil: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    folder = create(tmp_path / "jobs", "test", "nuclei", {"package": "x.zip", "output": None, "umask": 18})
    (folder / "log.txt").write_text("a secret")
    (folder / "contents").mkdir()
    if spoil == "open to others":
        folder.chmod(0o755)
    else:
        os.chown(folder, 65534, 65534)
    sign = spoil.removeprefix("of ")
    [listed] = run_zoowizard(["jobs", "--workspace", tmp_path, "--json"]).json()
    assert (listed["state"], sign in listed["reason"]) == ("unreadable", True)
    for action in ("follow", "cancel", "log", "retry"):
        ran = run_zoowizard(["jobs", action, folder.name, "--workspace", tmp_path])
        assert ran.code != 0 and sign in ran.err and "a secret" not in ran.out, (action, ran)
    cleaned = run_zoowizard(["jobs", "clean", "--all", "--workspace", tmp_path])
    assert "left alone" in cleaned.err and sign in cleaned.err
    assert (folder / "contents").is_dir()
    with pytest.raises(ZoowizardError, match=sign):
        LocalEngine().start([folder])
    assert what_to_do(listed_as(listed)) != ""


def listed_as(told: dict[str, str]) -> Job:
    return Job(told["id"], told["kind"], told["model"], told["state"], Path(told["folder"]), told["reason"])


def test_a_clock_that_jumps(start: Start, worker_of: ProcessOf, supervisor_of: ProcessOf, tmp_path: Path) -> None:
    folder = create(tmp_path, "selftest", "nuclei", {"do": []}, 60)
    spec = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**spec, "created": "2038-01-19T03:14:07Z"}))
    lines = [StepStarted("convert"), Progress("convert", 0.5), StepStarted("test"), Progress("test", 0.1)]
    stamps = [time.time() + 1e6, 50.0, time.time() + 5e6, 10.0]
    told = [to_line(event, stamp) for event, stamp in zip(lines, stamps, strict=True)]
    (folder / "events.jsonl").write_text("\n".join(told) + "\n")
    job = read_job(folder)
    assert job.state == "starting"
    assert all(step.seconds >= 0 for step in job.steps)
    assert disk_use([tmp_path], keep_days=0).removals == ()

    holder = claim(folder / "supervisor", "{}")  # it starts, and the clock is put forward by an hour meanwhile
    old = time.time() - 3600
    os.utime(folder / "job.json", (old, old))
    assert read_job(folder).state == "starting"
    os.close(holder)
    assert (read_job(folder).state, list(follow(folder))[-1][2]) == ("died", lines[-1])
    assert all(step.seconds >= 0 for step in read_job(folder).steps)

    running = start({"wait": 60})
    worker_of(running)
    os.kill(supervisor_of(running), signal.SIGKILL)
    record = json.loads((running / "supervisor").read_text())
    (running / "supervisor").write_text(json.dumps({**record, "started": time.time() + 1e6}))
    cancelled = cancel(running)
    assert (cancelled.state, cancelled.seconds) == ("cancelled", 0)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_that_is_none(limit: float, tmp_path: Path) -> None:
    with pytest.raises(ZoowizardError, match="time_limit_s is wrong"):
        create(tmp_path, "selftest", "nuclei", {"do": []}, limit)
    assert list_jobs(tmp_path) == []


def test_a_time_limit_of_zero_is_refused_where_it_is_typed(tmp_path: Path) -> None:
    ran = run_zoowizard(["test", "x.zip", "--time-limit", "0", "--workspace", tmp_path])
    assert (ran.code, "0 is no number of minutes above 0" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"priority": 5000}, "priority is wrong"),
        ({"slurm": {"partition": "a; rm -rf /"}}, "slurm.partition is wrong"),
        ({"time_limit_s": 0}, "time_limit_s is wrong"),
    ],
)
def test_an_edited_job_is_neither_started_nor_cleaned(
    change: dict[str, object], sentence: str, tmp_path: Path, until: Until
) -> None:
    folder = create(tmp_path, "selftest", "nuclei", {"do": [{"write": 1}]}, 60)
    spec = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**spec, **change}))
    for act in (read_job, engine_of):
        with pytest.raises(ZoowizardError, match=sentence):
            act(folder)
    use = disk_use([tmp_path], keep_days=0, everything=True)
    assert sentence in use.problems[0]
    clean(use, keep_days=0, everything=True)
    subprocess.run([sys.executable, "-m", "zoowizard.jobs.supervisor", str(folder)], check=False)
    assert not (folder / "filler").exists()
    assert not is_held(folder / "lock")
    assert folder.is_dir()
