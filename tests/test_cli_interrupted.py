"""Terminals that close, keys that interrupt, disks that fill, checkpoints that change while a job is at work."""

import contextlib
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from commands import Ran, run_zoowizard

DONE, FAILED, WRONG_USE, ANSWERS_MISSING, UNSAFE = range(5)
ON_A_TERMINAL = """
import fcntl, os, signal, sys, termios
os.setsid()
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "zoowizard", *sys.argv[1:]])
"""


class Terminal:
    """A command at a real terminal, and the person in front of it."""

    def __init__(self, *arguments: object, kind: str = "dumb") -> None:
        self.master, terminal = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, *map(str, arguments)],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "TERM": kind},
        )
        os.close(terminal)
        self.shown = ""

    def reads(self, text: str, seconds: float = 120) -> str:
        """Read until `text` is there; gives what stood before it."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, f"`{text}` never came; there is: {self.shown}"
            assert self._more(), f"it ended without `{text}`: {self.shown}"
        before, self.shown = self.shown.split(text, 1)
        return before

    def types(self, text: str) -> None:
        os.write(self.master, text.encode("utf-8", "surrogateescape"))

    def closes(self) -> None:
        os.close(self.master)
        assert self.process.wait(120) == -signal.SIGHUP

    def ended(self) -> Ran:
        while self._more():
            pass
        os.close(self.master)
        return Ran(self.process.wait(120), self.shown, "")

    def _more(self) -> bool:
        if not select.select([self.master], [], [], 1)[0]:
            return True
        try:
            new = os.read(self.master, 65536)
        except OSError:  # how Linux says that the other side was closed
            return False
        self.shown += new.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(new)


def at_work_in(folder: Path) -> Iterator[tuple[psutil.Process, list[str]]]:
    """The processes that work in `folder` or were started for something in it, each with its command's words."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if words and any(str(folder) in word for word in (process.cwd(), *words)):
                yield process, words


def nothing_is_left_in(folder: Path) -> bool:
    """Whether all processes there have gone: the one that writes down the end takes a moment to go itself."""
    end = time.monotonic() + 120
    while (left := list(at_work_in(folder))) and time.monotonic() < end:
        time.sleep(0.02)
    return not left


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "workspace"
    yield folder
    for process, words in at_work_in(folder):
        if "zoowizard.jobs.supervisor" in words:
            process.terminate()


def board_row(workspace: Path) -> dict[str, str]:
    [row] = run_zoowizard(["board", "--workspace", workspace, "--json"]).json()
    return row


def test_prompts_take_wrong_answers_and_interruptions(run: Path, workspace: Path) -> None:
    build = ["build", run, "--workspace", workspace, "--time-limit", 0.01]
    terminal = Terminal(*build)
    terminal.reads("Model name: ")
    for wrong, says in (
        ("", "this one is required"),
        ("x", "is too short"),
        ("Ядра", "the zoo allows"),
        ("a\udcff\udcfeb", "holds a character that is no text"),
    ):
        terminal.types(f"{wrong}\n")
        terminal.reads("! ")
        assert says in terminal.reads("Model name: ")
    terminal.types("Nuclei for tests\n")
    terminal.reads("Description: ")
    second = run_zoowizard(["build", run, "--workspace", workspace])
    assert second.code == FAILED
    assert f"process {terminal.process.pid}" in second.err and "is editing this draft" in second.err
    terminal.types("\x04")
    ended = terminal.ended()
    assert ended.code == ANSWERS_MISSING
    assert ended.out == "\nthe questions were ended; what was answered is saved, call the same again to go on\n"

    terminal = Terminal(*build)
    assert "Model name" not in terminal.reads("Description: ")
    terminal.types("Finds nuclei in pictures of nuclei.\n")
    terminal.reads("Authors: ")
    terminal.types(" ; ; \n")
    assert "! says nothing; write for example Ada Lovelace" in terminal.reads("Authors: ")
    terminal.types("\x03")
    ended = terminal.ended()
    assert ended.code == 130
    assert "what was answered is saved" in ended.out and "Traceback" not in ended.out

    terminal = Terminal(*build)
    for question, answer in {
        "Authors: ": "Ada Lovelace",
        "Modality: ": "1",
        "Training data: ": "Drawn nuclei",
        "Test image: ": str(run.parent / "nuclei-512.png"),
        "Bit depth of the training images: ": "1",
    }.items():
        assert "(required)" in terminal.reads(question)
        terminal.types(f"{answer}\n")
    terminal.types("\n" * 20)
    asked = terminal.reads("the whole log: ")
    assert "(recommended)" in asked and "convert" not in asked.split("(recommended)")[0]
    assert "\x1b" not in asked
    assert terminal.ended().code == FAILED
    assert board_row(workspace)["Status"] == "Failed"
    assert "time limit" in board_row(workspace)["Notes"]


def test_a_job_outlives_its_terminal(run: Path, workspace: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    build = ["build", run, "--answers", run.parent / "answers.yaml", "--workspace", workspace, "--output", output]
    terminal = Terminal(*build, kind="xterm")
    terminal.reads("convert")
    terminal.closes()
    assert board_row(workspace)["Status"] == "Testing"
    terminal = Terminal("jobs", "follow", "--workspace", workspace, kind="dumb")
    terminal.reads("convert")
    terminal.types("\x03")
    ended = terminal.ended()
    assert (ended.code, "a job that runs goes on" in ended.out, "\x1b" in ended.out) == (130, True, False)
    followed = run_zoowizard(["jobs", "follow", "--workspace", workspace, "--json"])
    assert followed.code == DONE
    assert followed.json()["state"] == "passed"
    assert sorted(path.name for path in output.iterdir()) == ["nuclei.zip", "report.json", "report.md"]
    assert (board_row(workspace)["Status"], board_row(workspace)["Exported"]) == ("Tested", "Yes")
    assert nothing_is_left_in(workspace)


def test_cancel_leaves_nothing_running(run: Path, workspace: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    build = ["build", run, "--answers", run.parent / "answers.yaml", "--workspace", workspace, "--output", output]
    terminal = Terminal(*build)
    terminal.reads("convert ...")
    while not any("_preload" in word for _, words in at_work_in(workspace) for word in words):
        assert terminal.process.poll() is None
    cancelled = run_zoowizard(["jobs", "cancel", "--workspace", workspace, "--json"])
    assert (cancelled.code, cancelled.json()["state"]) == (DONE, "cancelled")
    assert nothing_is_left_in(workspace / "models")
    ended = terminal.ended()
    assert (ended.code, "x it was cancelled" in ended.out) == (FAILED, True)
    assert (board_row(workspace)["Status"], board_row(workspace)["Exported"]) == ("In Progress", "No")
    [job] = run_zoowizard(["jobs", "--workspace", workspace, "--json"]).json()
    assert (job["state"], job["reason"]) == ("cancelled", "it was cancelled")
    assert not output.exists()
    again = run_zoowizard(["jobs", "cancel", "--workspace", workspace])
    assert (again.code, "cancelled" in again.out) == (DONE, True)


def test_the_time_limit_ends_a_job(run: Path, workspace: Path) -> None:
    build = ["build", run, "--answers", run.parent / "answers.yaml", "--workspace", workspace]
    ran = run_zoowizard([*build, "--time-limit", "0.01", "--json"])
    assert ran.code == FAILED
    answer = ran.json()
    assert (answer["status"], answer["package"], answer["parity"]) == ("timed-out", None, None)
    assert "time limit of 0.6 seconds" in answer["reason"]
    assert nothing_is_left_in(workspace)


def _delete(checkpoint: Path) -> None:
    checkpoint.unlink()


def _swap(checkpoint: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {checkpoint.parent / 'exploded'}",)

    with zipfile.ZipFile(checkpoint, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model": Bomb(), "train_args": {}}))
        archive.writestr("archive/version", "3")


@pytest.mark.parametrize("change", [_delete, _swap])
def test_a_checkpoint_that_changes_while_the_job_waits(
    change: Callable[[Path], None], run: Path, workspace: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    build = ["build", run, "--answers", run.parent / "answers.yaml", "--workspace", workspace, "--output", output]
    terminal = Terminal(*build)
    terminal.reads("convert ...")
    change(run / "weights" / "best.pt")
    ended = terminal.ended()
    assert ended.code == FAILED
    assert "best.pt" in ended.out and "Traceback" not in ended.out
    assert not output.exists() and not (run / "weights" / "exploded").exists()
    assert board_row(workspace)["Status"] == "Failed"
    if change is _swap:
        again = run_zoowizard(build)
        assert (again.code, "best.pt names" in again.err) == (UNSAFE, True)


ON_A_SMALL_DISK = """
mount -t tmpfs -o size=$0 tmpfs "$1" && workspace=$2 output=$3 run=$4 python=$5
"$python" -m zoowizard build "$run" --answers "$run/../answers.yaml" --workspace "$workspace" --output "$output" --json
code=$?
ls -A "$output" >&2
exit $code
"""


def may_mount(unshare: list[str]) -> bool:
    mount = [*unshare, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(mount, capture_output=True, check=False).returncode == 0


NAMESPACES = [["unshare", "--user", "--map-root-user", "--mount"], ["unshare", "--mount"]]
PERMITTED = next((one for one in NAMESPACES if may_mount(one)), None)


@pytest.mark.parametrize(
    ("size", "small", "says"),
    [
        ("10m", "workspace", "the disk is full: {workspace} has room for 10 MB, and this build needs 34 MB"),
        ("10m", "out", "the disk is full: {out} has room for 10 MB, and this build needs 11 MB"),
        ("45m", "workspace", "the disk is full"),
    ]
    if PERMITTED
    else [],
)
def test_a_full_disk(size: str, small: str, says: str, run: Path, tmp_path: Path) -> None:
    """Each on a file system of its own, where the system permits that."""
    places = {name: tmp_path / name for name in ("workspace", "out")}
    for place in places.values():
        place.mkdir(mode=0o700)
    assert PERMITTED is not None
    command = [*PERMITTED, "sh", "-c", ON_A_SMALL_DISK, size, places[small], *places.values(), run, sys.executable]
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert ran.returncode == FAILED
    said = Ran(ran.returncode, ran.stdout, ran.stderr)
    assert said.json()["reason"].startswith(says.format(**places))
    assert said.json()["reason"] in said.err and "Traceback" not in said.err
    assert not any(name in said.err.splitlines() for name in ("nuclei.zip", "report.md", "report.json"))
    assert nothing_is_left_in(tmp_path)


JUNK: dict[str, tuple[Callable[[Path], object], str, int]] = {
    "text.txt": (lambda path: path.write_text("hello"), "is no bioimage.io package", FAILED),
    "cut.zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(999)), "is a damaged or shortened zip", FAILED),
    "other.zip": (lambda path: zipfile.ZipFile(path, "w").writestr("a", ""), "has no rdf.yaml at its top", FAILED),
    "up.zip": (lambda path: zipfile.ZipFile(path, "w").writestr("../../up", ""), "was not unpacked", FAILED),
    "rdf.yaml": (lambda path: path.write_text("name: [\n"), "is no YAML", FAILED),
    "huge.zip": (lambda path: (path.touch(), os.truncate(path, 10 << 30)), "is no bioimage.io package", FAILED),
    "folder": (lambda path: path.mkdir(), "there is no rdf.yaml in this folder", WRONG_USE),
    "pipe.zip": (os.mkfifo, "is no regular file", WRONG_USE),
    "nothing.zip": (lambda path: None, "there is no such file", WRONG_USE),
    "few.yaml": (lambda path: path.write_text("type: model\nformat_version: 0.5.10"), "inputs: Field required", FAILED),
}  # fmt: skip


@pytest.mark.parametrize("name", JUNK)
def test_what_is_no_package(name: str, workspace: Path, tmp_path: Path) -> None:
    make, says, code = JUNK[name]
    package = tmp_path / name
    make(package)
    ran = run_zoowizard(["test", package, "--workspace", workspace, "--output", tmp_path / "out", "--json"])
    assert ran.code == code
    reason = ran.json()["reason"]
    assert name in reason and says in reason and "\n" not in reason
    assert reason in ran.err and "Traceback" not in ran.err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.parent.rglob("up"))


def test_jobs_that_are_not_there(workspace: Path) -> None:
    for action in ("follow", "cancel", "log"):
        ran = run_zoowizard(["jobs", action, "--workspace", workspace])
        assert (ran.code, ran.err) == (WRONG_USE, "there are no jobs yet\n")
        ran = run_zoowizard(["jobs", action, "zzzz", "--workspace", workspace])
        assert (ran.code, "no job has an id that begins or ends with `zzzz`" in ran.err) == (WRONG_USE, True)
