"""The warm process of a family: how it comes and goes, and that its workers are like those that start from nothing.

All with the real thing: the process that loads torch, the library and the framework.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import Demo, run_zoowizard

import zoowizard
from zoowizard.assets import asset
from zoowizard.drafts.workspace import Workspace
from zoowizard.jobs import forks, warm
from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.folder import create
from zoowizard.jobs.locks import is_held
from zoowizard.jobs.state import cancel, follow, read_job
from zoowizard.launch import expect_build

Until = Callable[..., None]
LONG_S = 240


def processes_of(runtime: Path) -> list[psutil.Process]:
    """Every process that lives, and began with this folder for addresses."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("XDG_RUNTIME_DIR") == str(runtime) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def run_in(runtime: Path, statement: str, **variables: str) -> str:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "ZOOWIZARD_WARM": "1", **variables}
    program = f"from zoowizard.jobs import warm; {statement}"
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for addresses of our own, where warm processes are wanted; it has a short name, as addresses must."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("ZOOWIZARD_WARM", "1")
    yield folder
    monkeypatch.undo()
    left = processes_of(folder)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=LONG_S)
    shutil.rmtree(folder)


def test_it_is_found_once_it_is_started_and_nothing_is_left_when_it_has_ended(runtime: Path, until: Until) -> None:
    warm.start("yolo")
    warm.start("yolo")
    until(warm.running, LONG_S)
    warm.start("yolo")
    [pid] = warm.running()
    until(lambda: len(processes_of(runtime)) == 2, LONG_S)  # it, and the server of clean processes
    assert psutil.Process(pid) in processes_of(runtime)
    assert os.getsid(pid) == pid  # a terminal that hangs up does not end it
    warm.end()
    until(lambda: not processes_of(runtime), LONG_S)
    assert warm.running() == []
    assert list((runtime / "zoowizard").iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ZOOWIZARD_WARM", "0"), ("ZOOWIZARD_WARM_MB", "1"), ("TOO_LONG", "1"), ("OPEN_TO_OTHERS", "1")],
)
def test_none_is_started_where_it_is_not_wanted_or_cannot_be(runtime: Path, variable: str, value: str) -> None:
    variables = {variable: value}
    if variable == "TOO_LONG":
        deep = runtime / ("deep" * 30)
        deep.mkdir()
        variables["XDG_RUNTIME_DIR"] = str(deep)
    if variable == "OPEN_TO_OTHERS":
        (runtime / "zoowizard").mkdir()
        (runtime / "zoowizard").chmod(0o755)
    run_in(runtime, "warm.start('yolo')", **variables)
    told = run_in(
        runtime,
        "print(warm.is_ready('yolo'), warm.main('yolo'))"
        if variable == "ZOOWIZARD_WARM_MB"
        else "print(warm.is_ready('yolo'), 0)",
        **variables,
    )
    assert told.split() == ["False", "0"]
    assert processes_of(runtime) == []


@pytest.mark.parametrize("engine", ["local", "slurm"])
def test_it_is_started_where_a_build_is_expected_on_this_computer(runtime: Path, tmp_path: Path, engine: str) -> None:
    (tmp_path / "jobs.json").write_text(json.dumps({"engine": engine}))
    expect_build(Workspace(tmp_path), "yolo")
    assert bool(processes_of(runtime)) == (engine == "local")


def test_it_ends_when_nobody_asks_for_anything(runtime: Path, until: Until) -> None:
    run_in(runtime, "warm.start('yolo')", ZOOWIZARD_WARM_IDLE_S="0.5")
    until(lambda: list((runtime / "zoowizard").iterdir()), LONG_S)
    until(lambda: not processes_of(runtime), LONG_S)
    assert list((runtime / "zoowizard").iterdir()) == []


def test_it_ends_when_the_sources_were_changed(runtime: Path, until: Until) -> None:
    package = runtime / "src" / "zoowizard"
    shutil.copytree(Path(zoowizard.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    path = str(package.parent)
    run_in(runtime, "warm.start('yolo')", PYTHONPATH=path, ZOOWIZARD_WARM_IDLE_S="100")
    until(lambda: list((runtime / "zoowizard").glob("*.socket")), LONG_S)
    assert warm.running() and len(processes_of(runtime)) >= 1
    (package / "errors.py").touch()
    until(lambda: not processes_of(runtime), LONG_S)


def test_it_is_found_where_one_was_killed_before(runtime: Path) -> None:
    folder = runtime / "zoowizard"
    folder.mkdir(mode=0o700)
    (folder / "0123.lock").write_text("4000000000000\n")
    lock = warm._lock(warm._Site(folder, "0123"))
    assert lock is not None
    assert warm.running() == [os.getpid()]
    os.close(lock)


LOADS_NOTHING = """
import sys
from zoowizard.jobs import warm
from zoowizard.library import clean
clean.warm_up = lambda *wanted, **how: None
warm._load = lambda *wanted: None
warm._is_short_of_memory = lambda needed_mb: False
sys.exit(warm.main("yolo"))
"""


def test_it_tells_how_its_forks_ended_where_its_folder_is_removed(runtime: Path, tmp_path: Path, until: Until) -> None:
    run = runtime / "run"
    run.mkdir()
    waits = tmp_path / "waits"
    waits.write_text(f"#!/bin/sh\nwhile [ ! -e '{tmp_path}/go' ]; do sleep 0.05; done; exit 7\n")
    waits.chmod(0o700)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(run), "ZOOWIZARD_WARM_IDLE_S": "2"}

    def fork() -> forks.Forked | None:
        with contextlib.suppress(OSError, forks.Refused):
            [address] = run.glob("zoowizard/*.socket")
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(address))
            return forks.ask(
                connection, forks.Request("subprocess:call", [str(waits)], environment, "/"), [0, 1, 2], 60
            )
        return None

    with subprocess.Popen([sys.executable, "-c", LOADS_NOTHING], env=environment) as process:
        until(lambda: list(run.glob("zoowizard/*.socket")), 60)
        child = None
        while child is None:  # its address is there before it listens, and it refuses while it loads
            assert process.poll() is None
            child = fork()
        run.rename(runtime / "gone")  # as when the last session of a person ends
        until(lambda: not _is_heard(runtime / "gone"), 60)
        assert child.poll() is None
        (tmp_path / "go").touch()
        assert child.wait() == 7
    assert process.returncode == 0


def _is_heard(run: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return any(connection.connect_ex(str(address)) == 0 for address in run.glob("zoowizard/*.socket"))


def test_a_job_does_not_wait_for_one_that_is_still_loading(runtime: Path, tmp_path: Path, until: Until) -> None:
    warm.start("yolo")
    until(lambda: list((runtime / "zoowizard").glob("*.socket")), LONG_S)
    [pid] = warm.running()
    os.kill(pid, signal.SIGSTOP)  # for as long as the job takes
    folder = create(tmp_path, "selftest", "nuclei", {"do": [{"print": "hello"}], "family": "yolo"}, 60)
    LocalEngine().start([folder])
    list(follow(folder))
    os.kill(pid, signal.SIGCONT)
    assert read_job(folder).state == "passed"


@pytest.fixture(scope="module")
def warmed() -> Iterator[Path]:
    """One warm process that has loaded everything, for all tests below; gives its folder of addresses."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        patch.setenv("ZOOWIZARD_WARM", "1")
        warm.start("yolo")
        while not warm.is_ready("yolo"):
            assert processes_of(folder)
        yield folder
        warm.end()
    assert not psutil.wait_procs(processes_of(folder), timeout=LONG_S)[1]  # nothing is left of it, nor of the jobs
    shutil.rmtree(folder)


@pytest.fixture
def start(warmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Starts a job that does the given things in a fork of the warm process."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(warmed))
    monkeypatch.setenv("ZOOWIZARD_WARM", "1")
    folders = []

    def start(*do: dict[str, Any], time_limit_s: float = LONG_S) -> Path:
        folder = create(tmp_path, "selftest", "nuclei", {"do": list(do), "family": "yolo"}, time_limit_s)
        LocalEngine().start([folder])
        folders.append(folder)
        return folder

    yield start
    for folder in folders:
        cancel(folder)


def holds(process: psutil.Process, path: Path) -> bool:
    """Whether the process has the file open, by whatever name."""
    numbers = Path(f"/proc/{process.pid}/fd").iterdir()
    return any(os.path.samestat(number.stat(), path.stat()) for number in numbers if number.exists())


def ended(folder: Path) -> tuple[str, str, int | None]:
    list(follow(folder))
    job = read_job(folder)
    assert is_held(folder / "lock") is False
    return job.state, job.reason, json.loads((folder / "result.json").read_text())["exit_code"]


def test_its_workers_are_its_forks_and_work_as_others_do(
    start: Callable[..., Path], warmed: Path, worker_of: Any
) -> None:
    folder = start({"print": "hello"}, {"child": 600}, {"wait": 600})
    worker = psutil.Process(worker_of(folder))
    assert [worker.ppid()] == warm.running()
    assert worker.nice() == psutil.Process().nice()
    assert worker.cwd() == str(folder)
    assert os.getpgid(worker.pid) == worker.pid
    other = start({"wait": 600})
    another = psutil.Process(worker_of(other))
    assert holds(worker, folder / "lock") and holds(another, other / "lock")
    assert not holds(another, folder / "lock") and not holds(another, folder / "log.txt")
    assert not any(holds(one, lock) for one in (worker, another) for lock in (warmed / "zoowizard").iterdir())
    assert not holds(psutil.Process(worker.ppid()), folder / "lock")
    children = worker.children()
    assert len(children) == 1
    assert cancel(folder).state == "cancelled"
    assert "hello" in (folder / "log.txt").read_text()
    os.kill(worker_of(other), signal.SIGKILL)
    state, reason, code = ended(other)
    assert (state, code) == ("died", -signal.SIGKILL)
    assert "SIGKILL" in reason
    assert not psutil.wait_procs([worker, *children], timeout=LONG_S)[1]


@pytest.mark.parametrize(
    ("do", "told"),
    [
        ({"fail": "net.pt: weights are missing"}, ("failed", "net.pt: weights are missing", 1)),
        ({"exit": 3}, ("failed", "it ended with exit code 3 and did not say why; the log may", 3)),
        ({"signal": 15}, ("died", "it was told to stop (SIGTERM) from outside", 128 + 15)),
        ({"signal": 11}, ("died", "it crashed: segmentation fault (SIGSEGV); see the log", -11)),
    ],
)
def test_its_workers_end_as_others_do(start: Callable[..., Path], do: Any, told: Any) -> None:
    folder = start(do)
    assert ended(folder) == told
    assert ("Segmentation fault" in (folder / "log.txt").read_text()) == (do == {"signal": 11})


def test_a_worker_outlives_its_supervisor(
    start: Callable[..., Path], worker_of: Any, supervisor_of: Any, tmp_path: Path, until: Until
) -> None:
    folder = start({"wait": 2})
    worker = psutil.Process(worker_of(folder))
    os.kill(supervisor_of(folder), signal.SIGKILL)
    assert read_job(folder).state == "running"
    list(follow(folder))
    assert read_job(folder).state == "passed"
    until(lambda: not worker.is_running(), LONG_S)


def contents(package: Path) -> dict[str, bytes]:
    """What is in a package by name, less what differs from one build to the next: times, and hashes of weights.

    PyTorch names what it writes in the order of Python's hashes, which are another in each process that is started.
    """
    with zipfile.ZipFile(package) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    lines = [line for line in found["rdf.yaml"].splitlines() if b"timestamp:" not in line and b"sha256:" not in line]
    weights = {name: b"" for name in found if name.startswith("weights")}
    return {**found, **weights, "rdf.yaml": b"\n".join(lines)}


def test_a_build_gives_the_package_that_others_give(
    start: Callable[..., Path], warmed: Path, tmp_path: Path, demo: Demo
) -> None:
    before = {process.pid for process in processes_of(warmed)}
    sample = ["build", asset("sample/nuclei-yolo11n"), "--answers", asset("sample/answers.yaml"), "--json"]
    ran = run_zoowizard([*sample, "--workspace", tmp_path / "workspace", "--output", tmp_path])
    assert ran.code == 0, ran.err
    [job] = (tmp_path / "workspace").glob("models/*/jobs/*")
    assert "Traceback" not in (job / "log.txt").read_text()
    forked, cold = contents(Path(ran.json()["package"])), contents(demo.package)
    assert forked.keys() == cold.keys()
    assert [name for name in cold if forked[name] != cold[name]] == []
    assert ran.json()["parity"] == demo.ran.json()["parity"]
    reports = [json.loads(Path(one.json()["report"]).read_text()) for one in (ran, demo.ran)]
    statuses = [
        [(one["weight_format"], one["status"], one["errors"]) for one in report["formats"]] for report in reports
    ]
    assert statuses[0] == statuses[1] == [("torchscript", "passed", []), ("onnx", "passed", [])]
    assert warm.is_ready("yolo")  # and waits for the next
    assert {process.pid for process in processes_of(warmed)} == before


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_a_build_that_does_not_come_to_its_end_leaves_nothing(
    start: Callable[..., Path], warmed: Path, tmp_path: Path, until: Until, how: str
) -> None:
    before = {process.pid for process in processes_of(warmed)}
    sample = ["build", asset("sample/nuclei-yolo11n"), "--answers", asset("sample/answers.yaml")]
    command = [sys.executable, "-m", "zoowizard", *sample, "--workspace", tmp_path]
    nothing = subprocess.DEVNULL
    command_line = subprocess.Popen(list(map(str, command)), stdin=nothing, stdout=nothing, stderr=nothing)
    jobs = tmp_path / "models" / "nuclei-yolo11n" / "jobs"
    until(lambda: list(jobs.glob("*/events.jsonl")), LONG_S)
    [folder] = jobs.iterdir()
    events = folder / "events.jsonl"
    until(lambda: b'"event": "step-started", "step": "compare"' in events.read_bytes(), LONG_S)
    group = int((folder / "worker").read_text())
    busy = [process for process in processes_of(warmed) if process.pid not in before and _group(process) == group]
    assert len(busy) >= 2  # the worker, and clean processes
    if how == "cancelled":
        assert cancel(folder).state == "cancelled"
    else:
        os.kill(group, signal.SIGKILL)
        assert ended(folder)[0] == "died"
    assert command_line.wait(LONG_S) == 1
    assert is_held(folder / "lock") is False
    assert not psutil.wait_procs(busy, timeout=LONG_S)[1]
    until(lambda: {process.pid for process in processes_of(warmed)} == before, LONG_S)


def test_a_killed_warm_process_does_not_end_its_jobs(start: Callable[..., Path], worker_of: Any, until: Until) -> None:
    folder = start({"wait": 3})
    worker_of(folder)
    [pid] = warm.running()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not warm.running(), LONG_S)
    assert read_job(folder).state == "running"
    assert ended(folder)[0] == "passed"
    other = start({"print": "hello"})  # from nothing again
    assert ended(other)[0] == "passed"


def _group(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return 0
