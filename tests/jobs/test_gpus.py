"""GPUs: found as a job would see them, one job on each, and the CPU where one is too small or cannot be used."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import GPUS, Demo

from zoowizard.errors import ZoowizardError
from zoowizard.jobs import gpus
from zoowizard.jobs.engines import LocalEngine
from zoowizard.jobs.events import Admitted, from_line
from zoowizard.jobs.folder import Slurm, create
from zoowizard.jobs.gpus import Gpu, Gpus, found, is_want_of_gpu_memory, torch_cuda
from zoowizard.jobs.history import whole_lines
from zoowizard.jobs.slots import Turn
from zoowizard.jobs.state import Job, cancel, read_job
from zoowizard.jobs.supervisor import CPU_INSTEAD

WITHIN_S = 90.0
LONG = {"wait": 300}
FIRST = "GPU-00000001-0000-0000-0000-0000000000ab"
SECOND = "GPU-00000002-0000-0000-0000-0000000000ab"
BOTH = (Gpu(FIRST, "Fake GPU 0", 1 << 34), Gpu(SECOND, "Fake GPU 1", 2 << 34))
Start = Callable[..., Path]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A driver library that answers as it is told, see libcuda.c."""
    path = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    source = Path(__file__).with_name("libcuda.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", path, source], check=True)
    return path


@pytest.fixture
def driver(library: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A computer with two GPUs and a line of its own; more is told by FAKE_ variables."""
    monkeypatch.setenv("ZOOWIZARD_LIBCUDA", str(library))
    monkeypatch.setenv("ZOOWIZARD_SLOTS", str(tmp_path / "slots"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    return monkeypatch


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Start]:
    """Starts a job that does the given things; what still lives after the test is ended."""
    folders: list[Path] = []

    def begin(*do: dict[str, Any]) -> Path:
        folder = create(tmp_path, "selftest", "nuclei", {"do": list(do)}, 600)
        folders.append(folder)
        LocalEngine().start([folder])
        return folder

    yield begin
    for folder in folders:
        cancel(folder)


def until_state(folder: Path, *states: str) -> Job:
    end = time.monotonic() + WITHIN_S
    while (job := read_job(folder)).state not in states:
        assert time.monotonic() < end, job
        time.sleep(0.02)
    return job


def sees(folder: Path) -> str | None:
    """What the worker of a job that runs sees of the GPUs."""
    end = time.monotonic() + WITHIN_S
    while not read_job(folder).steps:
        assert time.monotonic() < end
        time.sleep(0.02)
    return psutil.Process(int((folder / "worker").read_text())).environ().get("CUDA_VISIBLE_DEVICES")


def test_where_there_is_none_no_process_is_started() -> None:
    began = time.monotonic()
    assert found() == Gpus(torch_cuda=torch_cuda() or "")
    assert time.monotonic() - began < 1


def test_what_torch_was_built_for() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.version.cuda or '')"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert torch_cuda() == said.stdout.strip()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, BOTH), ("1", BOTH[1:]), ("1,0", BOTH[::-1]), (SECOND, BOTH[1:]), ("", ()), ("-1", ())],
)
def test_they_are_found_as_a_job_sees_them(
    visible: str | None, expected: tuple[Gpu, ...], driver: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        driver.setenv("CUDA_VISIBLE_DEVICES", visible)
    driver.setattr(gpus, "torch_cuda", lambda: "13.2")
    answer = found()
    assert (answer.gpus, answer.usable, answer.problem) == (expected, expected, "")
    assert answer.cuda == ("13.2" if expected else "")


def test_parts_of_a_gpu(driver: pytest.MonkeyPatch) -> None:
    driver.setenv("FAKE_MIG", "1")
    driver.setenv("FAKE_GPUS", "1")
    assert [gpu.uuid for gpu in found().gpus] == ["MIG-00000001-0000-0000-0000-0000000000ab"]


PROBLEMS: dict[str, tuple[dict[str, str], str]] = {
    "an old driver": (
        {"FAKE_CUDA": "12040"},
        "the GPU is not used: its driver is too old: it knows CUDA 12.4, and the installed torch needs CUDA 13.2; "
        "update the driver, or install a torch that was built for CUDA 12.4",
    ),
    "no such GPU": ({"CUDA_VISIBLE_DEVICES": "7"}, "CUDA_VISIBLE_DEVICES is '7', which is no GPU of this computer"),
    "a renewed driver": ({"FAKE_ERROR": "803"}, "its driver was renewed while the computer ran; restart the computer"),
    "a broken driver": ({"FAKE_ERROR": "999"}, "its driver refuses with error 999 (unknown error); `nvidia-smi` may"),
    "a crash": ({"FAKE_CRASH": "1"}, "asking its driver ended the process (exit code -6); install the driver again"),
    "no answer": ({"FAKE_HANG": "1"}, "its driver did not answer within 2 seconds; restarting the computer mends"),
    "no library": ({"ZOOWIZARD_LIBCUDA": "/nowhere.so"}, "the library of its driver cannot be loaded (/nowhere.so: "),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_cannot_be_used_is_told(problem: str, driver: pytest.MonkeyPatch) -> None:
    variables, sentence = PROBLEMS[problem]
    for name, value in variables.items():
        driver.setenv(name, value)
    driver.setattr(gpus, "torch_cuda", lambda: "13.2")
    if problem == "no answer":
        driver.setattr(gpus, "ANSWERS_WITHIN_S", 2.0)
    answer = found()
    assert sentence in answer.problem
    assert answer.usable == ()


def test_drivers_and_torches(driver: pytest.MonkeyPatch) -> None:
    driver.setenv("FAKE_CUDA", "13000")
    for built_for, is_usable in (("13.2", True), ("12.8", True), ("14.0", False), ("", False), (None, True)):
        driver.setattr(gpus, "torch_cuda", lambda built_for=built_for: built_for)
        assert bool(found().usable) is is_usable
    driver.setattr(gpus, "torch_cuda", lambda: "")
    assert "works on the CPU only; install the build of torch for CUDA 13.0" in found().problem


def test_one_job_a_gpu(driver: pytest.MonkeyPatch, begin: Start) -> None:
    both = [begin(LONG), begin(LONG)]
    for folder in both:
        until_state(folder, "running")
    assert {sees(folder) for folder in both} == {FIRST, SECOND}
    assert {read_job(folder).device for folder in both} == {"Fake GPU 0", "Fake GPU 1"}
    third, fourth = begin({"say": "done"}), begin({"say": "done"})
    end = time.monotonic() + WITHIN_S
    reasons = ("waiting for a GPU: both are in use", "waiting for a GPU: 1 job is before it")
    while {read_job(third).reason, read_job(fourth).reason} != set(reasons):
        assert time.monotonic() < end
        time.sleep(0.02)
    freed = sees(both[1])
    cancel(both[1])
    assert until_state(third, "passed").device == f"Fake GPU {0 if freed == FIRST else 1}"
    until_state(fourth, "passed")
    assert "works on Fake GPU" in (third / "log.txt").read_text()


def test_only_those_that_the_person_lets_us_have(driver: pytest.MonkeyPatch, begin: Start) -> None:
    driver.setenv("CUDA_VISIBLE_DEVICES", "1")
    folder = begin(LONG)
    assert until_state(folder, "running").device == "Fake GPU 1"
    assert sees(folder) == SECOND
    driver.setenv("CUDA_VISIBLE_DEVICES", "")
    without = begin(LONG)
    assert until_state(without, "running").device == "CPU"
    assert sees(without) == ""


def test_a_driver_that_is_too_old_leaves_the_cpu(driver: pytest.MonkeyPatch, begin: Start) -> None:
    driver.setenv("FAKE_CUDA", "9020")
    folder = begin({"say": "done"}, LONG)
    job = until_state(folder, "running")
    assert (job.device, sees(folder)) == ("CPU", "")
    note = read_job(folder).notes[0]
    assert note.level == "warning"
    assert note.text.startswith("The GPU is not used: its driver is too old: it knows CUDA 9.2, and")


def test_cancelling_while_the_driver_does_not_answer(
    driver: pytest.MonkeyPatch, begin: Start, supervisor_of: Callable[[Path], int]
) -> None:
    driver.setenv("FAKE_HANG", "1")
    folder = begin({"say": "done"})
    supervisor = psutil.Process(supervisor_of(folder))
    job = until_state(folder, "queued")
    assert job.reason == "looking for a GPU"
    children = supervisor.children()
    assert [child.cmdline()[-1] for child in children] == ["zoowizard.jobs.cuda"]
    assert cancel(folder).state == "cancelled"
    _, alive = psutil.wait_procs(children, WITHIN_S)
    assert not alive


def test_too_little_memory_of_the_gpu(driver: pytest.MonkeyPatch, begin: Start) -> None:
    folder = begin({"say": "begun"}, {"gpu-memory": "2 GiB"}, {"say": "done"})
    job = until_state(folder, "passed", "failed", "died")
    assert (job.state, job.device) == ("passed", "CPU")
    assert [(step.name, step.state) for step in job.steps] == [
        ("1 say", "done"),
        ("2 gpu-memory", "done"),
        ("3 say", "done"),
    ]
    assert [note.text for note in job.notes] == ["begun", CPU_INSTEAD, "begun", "done"]
    events = [from_line(line)[1] for line in whole_lines(folder / "events.jsonl", 0)]
    assert [one.device for one in events if isinstance(one, Admitted)] == ["Fake GPU 0", "CPU"]
    assert "CUDA out of memory" in (folder / "log.txt").read_text()


def test_where_the_gpu_is_not_to_blame_it_is_not_done_again(driver: pytest.MonkeyPatch, begin: Start) -> None:
    job = until_state(begin({"crash": "no such axis"}), "failed")
    assert job.device.startswith("Fake GPU") and job.notes == ()


def test_what_says_that_the_gpu_was_too_small() -> None:
    def raised(problem: Exception, cause: Exception | None = None) -> bool:
        try:
            raise problem from cause
        except Exception as caught:
            return is_want_of_gpu_memory(caught)

    of_torch = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})
    assert raised(of_torch("whatever"))
    assert raised(RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"))
    assert raised(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert raised(RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; hostname=node"))
    assert raised(ZoowizardError("a.zip: its tests failed: torchscript: CUDA out of memory. Tried to allocate 2 GiB"))
    assert raised(ZoowizardError("it cannot be converted"), RuntimeError("CUDA out of memory."))
    assert not raised(MemoryError())
    assert not raised(RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory"))


def place_on_cluster(folder: Path, slurm: Slurm) -> tuple[str, dict[str, str], bool]:
    job = create(folder, "selftest", "nuclei", {"do": []}, slurm=slurm)
    turn = Turn(job)
    end = time.monotonic() + WITHIN_S
    while (place := turn.take()) is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    turn.close()
    assert place.descriptors == ()
    return place.device, dict(place.environment), place.cpu is not None


def test_on_a_cluster_nobody_waits_a_second_time(driver: pytest.MonkeyPatch, begin: Start, tmp_path: Path) -> None:
    driver.setenv("FAKE_GPUS", "1")
    until_state(begin(LONG), "running")
    on_cpu = ("CPU", {"CUDA_VISIBLE_DEVICES": ""}, False)
    assert place_on_cluster(tmp_path, Slurm(gpus=1)) == ("Fake GPU 0", {}, True)
    assert place_on_cluster(tmp_path, Slurm()) == on_cpu  # it sees one that it did not ask for
    driver.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert place_on_cluster(tmp_path, Slurm()) == ("Fake GPU 0", {}, True)
    driver.setenv("FAKE_ERROR", "999")
    assert place_on_cluster(tmp_path, Slurm(gpus=1)) == on_cpu


def test_a_build_that_begins_again_does_nothing_twice(demo: Demo, tmp_path: Path) -> None:
    """As where the memory of the GPU is too small for the tests: the worker is started a second time in its folder."""
    [model] = (demo.workspace / "models").iterdir()
    [earlier] = [job for job in (model / "jobs").iterdir() if job.is_dir()]
    work = json.loads((earlier / "job.json").read_text())["work"]
    folder = create(tmp_path, "build", model.name, {**work, "output": str(tmp_path / "out"), "resume": None}, 600)
    command = [sys.executable, "-P", "-m", "zoowizard.jobs.runner", str(folder)]
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        events = folder / "events.jsonl"
        end = time.monotonic() + 2 * WITHIN_S
        while not (events.exists() and b'"step-started", "step": "test"' in events.read_bytes()):
            assert worker.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        begun = len(whole_lines(events, 0))
        again = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "ZOOWIZARD_DEVICE": "CPU"}
        assert subprocess.run(command, stdout=log, stderr=log, env=again, check=False).returncode == 0
    told = [json.loads(line) for line in whole_lines(events, 0)[begun:]]
    notes = {one["step"]: one["note"] for one in told if one["event"] == "step-done"}
    assert {name for name, note in notes.items() if note == "kept from the run before"} == {
        "convert",
        "describe",
        "compare",
        "package",
    }
    outcome = json.loads((folder / "outcome.json").read_text())["outcome"]
    assert outcome["status"] == "passed"
    for report in (outcome["report"], demo.ran.json()["report"]):
        assert json.loads(Path(report).read_text())["environment"]["device"] == "CPU"


REAL = """
import json, torch
from zoowizard.jobs.gpus import found, is_want_of_gpu_memory
seen = torch.cuda.get_device_properties(0)
try:
    torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
    told = False
except RuntimeError as problem:
    told = is_want_of_gpu_memory(problem)
print(json.dumps([torch.cuda.device_count(), seen.name, seen.total_memory, str(seen.uuid), told]))
"""


@pytest.mark.gpu
def test_a_real_gpu(monkeypatch: pytest.MonkeyPatch, begin: Start) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if GPUS is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", GPUS)
    answer = found()
    assert answer.problem == "" and answer.driver
    asked = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=True)
    number, name, memory_bytes, uuid, told = json.loads(asked.stdout)
    first = answer.usable[0]
    assert (len(answer.usable), first.name, first.uuid.partition("-")[2]) == (number, name, uuid.removeprefix("GPU-"))
    assert abs(first.memory_bytes - memory_bytes) < 1 << 30
    assert told
    assert until_state(begin({"say": "done"}), "passed").device == name
