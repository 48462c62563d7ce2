"""Starting the process that does the work of a job: a fork of the family's warm process, or else from nothing."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from zoowizard.jobs import warm


class Worker(Protocol):
    """A process that works, the leader of a process group of its own."""

    @property
    def pid(self) -> int:
        """Its number, which is that of its group too."""
        ...

    def poll(self) -> int | None:
        """The exit code, below 0 for a signal; None where it lives; 0 too where nobody knows it any more."""
        ...

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when it ends; None where SIGCHLD tells."""
        ...


class _Child:
    """A process that was started from nothing, a child of this one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def fileno(self) -> int | None:
        return None


def start(folder: Path, environment: Mapping[str, str], descriptors: Sequence[int]) -> Worker:
    """Start the worker of the job in `folder`; it inherits `descriptors`. Raises OSError where that cannot be."""
    forked = warm.worker(folder, environment, descriptors)
    if forked is not None:
        return forked
    command = [sys.executable, "-P", "-m", "zoowizard.jobs.runner", str(folder)]
    return _Child(
        subprocess.Popen(command, cwd=folder, env=dict(environment), process_group=0, pass_fds=tuple(descriptors))
    )
