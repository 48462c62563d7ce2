"""A draft that is ready for what a test is about, terminals over its workspace, and what runs behind them."""

import contextlib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from terminal import PATIENCE_S, Terminal

from zoowizard.drafts.draft import with_given
from zoowizard.drafts.place import Place, write_place
from zoowizard.drafts.store import DraftBusy, Workspace, editing, load, save
from zoowizard.jobs.state import Job, list_jobs

PYTHON = [sys.executable, "-m", "zoowizard"]
BUILT_WITHIN_S = 600.0

Open = Callable[..., Terminal]


@dataclass(frozen=True)
class Prepared:
    """A draft of the sample, with all its answers, in a workspace of its own."""

    workspace: Workspace
    draft: str
    run: Path

    def at(self, step: str, **taken_back: None) -> None:
        """Let the person have been in this step, some answers not given."""
        draft = load(self.workspace, self.draft)
        save(self.workspace, with_given(draft, taken_back))
        write_place(self.workspace, self.draft, Place(step))

    @property
    def jobs(self) -> list[Job]:
        return list_jobs(self.workspace.jobs(self.draft))

    def job_ends(self) -> Job:
        """Wait until the newest job is over."""
        end = time.monotonic() + BUILT_WITHIN_S
        while not self.jobs[0].over:
            assert time.monotonic() < end, self.jobs[0]
            time.sleep(0.1)
        return self.jobs[0]

    def is_free(self) -> bool:
        try:
            with editing(self.workspace, self.draft):
                return True
        except DraftBusy:
            return False


def children(terminal: Terminal) -> list[psutil.Process]:
    """The processes that look things up for the screens; a job is none of them."""
    found = psutil.Process(terminal.pid).children(recursive=True)
    return [one for one in found if {"zoowizard.watch", "zoowizard.families.nearby"} & words_of(one)]


def words_of(process: psutil.Process) -> set[str]:
    """The words of its command; none where it has ended meanwhile."""
    with contextlib.suppress(psutil.Error):
        return set(process.cmdline())
    return set()


def all_end(processes: list[psutil.Process], seconds: float = PATIENCE_S) -> bool:
    def lives(one: psutil.Process) -> bool:
        try:
            return one.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    end = time.monotonic() + seconds
    while any(lives(one) for one in processes) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(lives(one) for one in processes)


def has_zombies(terminal: Terminal) -> bool:
    """Whether processes that have ended are not waited for."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return any(one.status() == psutil.STATUS_ZOMBIE for one in psutil.Process(terminal.pid).children())
    return True


def cursor_is_at(terminal: Terminal, label: str) -> None:
    """Wait until what is typed goes to the question with this label."""
    terminal.wait_until(
        lambda shown: re.search(rf"^ *> +{label}", shown, re.MULTILINE), f"the cursor never came to {label}"
    )


def wait_until(holds: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
