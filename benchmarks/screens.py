"""What the screens cost, on a real terminal (a pty of 80x24).

(a) First paint: from the call of `zoowizard` to the title of the board on the terminal, over the same of a Textual app
    that shows one line and a footer. Target 1.3.
(b) Lateness: a timer of 50 Hz in the app's own loop, which tells how long a key would have waited, in the first
    seconds of the board, while the wizard opens, and while the sample model is really built. Target: 100 ms at worst,
    and in the build 20 ms at p99.
(c) Bytes over the wire while the sample is built: in the step Test with its log folded and open, on the board, and in
    the log of the board. Target: 5 kB a second, each second of it. A picture that is drawn once is left out: that of
    the screen when it is opened, and that of the result.

A board of many models is in `board.py`.

    uv run python benchmarks/screens.py [ROUNDS]
"""

import argparse
import asyncio
import contextlib
import fcntl
import os
import pty
import select
import statistics
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from measure import in_turns, say, zoowizard

from zoowizard.assets import asset

RUN, ANSWERS = asset("sample/nuclei-yolo11n"), asset("sample/answers.yaml")
COLUMNS, ROWS = 80, 24
PERIOD_S = 0.02
P99_MS, WORST_MS, BYTES_PER_S = 20.0, 100.0, 5000
MARK = "zoowizard"
"""What both apps of the first paint show."""

MINIMAL = f"""
from textual.app import App
from textual.widgets import Footer, Static

class Minimal(App):
    def compose(self):
        yield Static("{MARK}")
        yield Footer()

Minimal().run()
"""


def environment() -> dict[str, str]:
    """What a person's terminal has; and Python keeps what it compiled, as it does where nobody forbids it."""
    others = ("TEXTUAL", "ZOOWIZARD_ASCII", "NO_COLOR", "LC_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**kept, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}


@dataclass
class Terminal:
    """A command on a pty, and when how many bytes came from it."""

    command: Sequence[str | Path]
    came: list[tuple[float, int]] = field(default_factory=list)
    """Seconds of `time.monotonic`, bytes."""
    said: bytes = b""

    def __enter__(self) -> "Terminal":
        self.started = time.monotonic()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            os.execvpe(str(self.command[0]), [str(part) for part in self.command], environment())
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.master)

    def read(self, seconds: float) -> bool:
        """Take in what comes within so many seconds; False where nothing does."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return False
        data = os.read(self.master, 1 << 16)
        self.came.append((time.monotonic(), len(data)))
        self.said += data
        return True

    def wait_for(self, text: str, seconds: float = 60.0) -> float:
        """Read until this text came; gives when that was. Raises RuntimeError where it does not come."""
        deadline = time.monotonic() + seconds
        while text.encode() not in self.said:
            self.read(0.05)
            if time.monotonic() > deadline:
                raise RuntimeError(f"{text!r} never came: {self.said[-2000:]!r}")
        return time.monotonic()

    def send(self, keys: str) -> None:
        """Type; what came before is forgotten."""
        self.said = b""
        os.write(self.master, keys.encode())

    def rest(self, seconds: float) -> None:
        """Read on for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.read(left)


# (a) First paint


def first_paint_s(command: Sequence[str | Path]) -> float:
    """Seconds from the call to the picture."""
    with Terminal(command) as terminal:
        return terminal.wait_for(MARK) - terminal.started


def first_paint(root: Path, rounds: int) -> bool:
    """Print the ratio; gives whether it is within its target."""
    os.environ["ZOOWIZARD_WORKSPACE"] = str(root / "first")
    ours = partial(first_paint_s, zoowizard())
    theirs = partial(first_paint_s, [sys.executable, "-c", MINIMAL])
    ours(), theirs()
    return say("first paint / minimal Textual app", *in_turns(ours, theirs, rounds), 1.3)


# (b) Lateness, (c) bytes over the wire


def timed_app(workspace: Path, draft: str, report: Path) -> None:
    """The app with a timer in its loop, in the process on the pty; a line of `report` is when, and how late in ms."""
    from zoowizard.screens.app import ZoowizardApp

    class TimedApp(ZoowizardApp):
        """Opens the draft's step Test at F12, and measures from its start."""

        BINDINGS = [("f12", "open", "Open")]  # noqa: RUF012 - as in the base class

        def on_ready(self) -> None:
            """Begin to measure."""
            self.run_worker(self._measure())

        async def _measure(self) -> None:
            with report.open("w", buffering=1) as lines:
                while True:
                    due = time.monotonic() + PERIOD_S
                    await asyncio.sleep(PERIOD_S)
                    now = time.monotonic()
                    lines.write(f"{now} {1000 * (now - due)}\n")

        def action_open(self) -> None:
            """Show the step Test."""
            self.open_wizard(draft, step="test")

    TimedApp(workspace, workspace).run()


@dataclass(frozen=True)
class Watched:
    """What was measured from `since` to `until`, in seconds of `time.monotonic`."""

    late_ms: list[float]
    bytes_in_second: list[int]


def watched(terminal: Terminal, report: Path, since: float, until: float) -> Watched:
    """Cut out of both records."""
    lines = [line.split() for line in report.read_text().splitlines()[:-1]]
    late = sorted(float(ms) for at, ms in lines if since <= float(at) <= until)
    seconds = [0] * max(1, int(until - since))
    for at, count in terminal.came:
        if since <= at < since + len(seconds):
            seconds[int(at - since)] += count
    return Watched(late, seconds)


def say_late(name: str, late_ms: Sequence[float], p99_ms: float | None = P99_MS) -> bool:
    """Print one line of lateness; gives whether it is within its targets, of which the first may be none."""
    p99, worst = late_ms[int(len(late_ms) * 0.99)], late_ms[-1]
    met = (p99_ms is None or p99 < p99_ms) and worst < WORST_MS
    targets = f"{WORST_MS:g}" if p99_ms is None else f"{p99_ms:g}, {WORST_MS:g}"
    figures = f"p99 {p99:6.1f} ms  max {worst:6.1f} ms"
    print(f"{name:<44} {figures}  (target {targets}: {'met' if met else 'MISSED'})", flush=True)
    return met


def say_bytes(name: str, seconds: Sequence[int]) -> bool:
    """Print one line of bytes; gives whether its worst second is within the target."""
    met = max(seconds) < BYTES_PER_S
    figures = f"mean {statistics.mean(seconds) / 1000:5.2f} kB/s  worst second {max(seconds) / 1000:5.2f} kB"
    print(f"{name:<44} {figures}  (target {BYTES_PER_S / 1000:g}: {'met' if met else 'MISSED'})", flush=True)
    return met


def prepared(root: Path) -> tuple[Path, str]:
    """A workspace with a draft of the sample that can be built; its folder, and the draft's id."""
    from zoowizard.drafts.answers import changed, read_answers
    from zoowizard.drafts.draft import with_given
    from zoowizard.drafts.store import open_workspace, save
    from zoowizard.workflow import choose_one, fields_of, open_draft

    workspace = open_workspace(root)
    draft = open_draft(workspace, choose_one(RUN))
    draft = with_given(draft, changed(draft, read_answers(ANSWERS, fields_of(draft.family))))
    save(workspace, draft)
    return root, draft.id


def build_watched(root: Path, name: str, keys: str, board: bool) -> bool:
    """One real build, looked at in one way; print what it cost and give whether that is within the targets."""
    workspace, draft = prepared(root / name.replace(" ", "-"))
    report = workspace / "late.txt"
    with Terminal([sys.executable, __file__, "--app", workspace, draft, report]) as terminal:
        terminal.wait_for("Nuclei segmentation")  # the row of the board
        began = time.monotonic()
        terminal.rest(3.0)
        stood = time.monotonic()
        terminal.send("\x1b[24~")
        terminal.wait_for("Press Enter to start")
        terminal.rest(2.0)
        opened = time.monotonic()
        terminal.send("\r")
        terminal.wait_for("step 1 of")
        if board:
            terminal.send("\x0f")
            terminal.wait_for("Model Name")
        terminal.rest(1.0)
        terminal.send(keys)
        if board and keys:
            terminal.wait_for("running")
        terminal.rest(1.0)  # the picture itself is drawn once
        since = time.monotonic()
        until = end_of_build(terminal, workspace)
        return say_all(terminal, report, name, (began, stood, opened), since, until)


def say_all(
    terminal: Terminal, report: Path, name: str, before: tuple[float, float, float], since: float, until: float
) -> bool:
    """Print the lines of one build."""
    began, stood, opened = before
    if until - since < 3:
        raise RuntimeError("the build was over before anything was measured")
    late = watched(terminal, report, began, stood).late_ms
    met = say_late("3 s of the board, the wizard being loaded", late, None)
    met &= say_late("the wizard opens", watched(terminal, report, stood, opened).late_ms, None)
    build = watched(terminal, report, since, until)
    met &= say_late(f"{until - since:.0f} s of a build, seen in {name}", build.late_ms)
    return say_bytes(f"{until - since:.0f} s of a build, seen in {name}", build.bytes_in_second) and met


def end_of_build(terminal: Terminal, workspace: Path, seconds: float = 300.0) -> float:
    """Read on until the job of the workspace has passed; gives when it was last seen at work.

    Raises RuntimeError where it does not pass.
    """
    from zoowizard.drafts.store import Workspace
    from zoowizard.launch import all_jobs

    at_work = time.monotonic()
    deadline = at_work + seconds
    while (now := time.monotonic()) < deadline:
        jobs = all_jobs(Workspace(workspace))
        if jobs and jobs[0].over:
            if jobs[0].state != "passed":
                raise RuntimeError(f"the build {jobs[0].state}: {jobs[0].reason}")
            return at_work
        at_work = now
        terminal.rest(0.1)
    raise RuntimeError("the build does not end")


def screens(root: Path) -> bool:
    """Print what the screens cost while the sample is built; gives whether all is within the targets."""
    ways = {"step Test": ("", False), "its log": ("l", False), "the board": ("", True), "the board's log": ("l", True)}
    met = [build_watched(root, name, keys, board) for name, (keys, board) in ways.items()]
    return all(met)


def main() -> int:
    """Print the figures; gives 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    parser.add_argument("--app", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.app:
        workspace, draft, report = given.app
        timed_app(Path(workspace), draft, Path(report))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        met = first_paint(Path(temporary), given.rounds)
        return 0 if screens(Path(temporary)) and met else 1


if __name__ == "__main__":
    sys.exit(main())
