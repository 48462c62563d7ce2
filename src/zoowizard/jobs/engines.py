"""Engines start a job and end it; what became of it stands in the job's folder, and nowhere else."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.locks import require_private

_SECRET_WORDS = {
    *("TOKEN", "SECRET", "KEY", "APIKEY", "PAT", "CREDENTIAL", "CREDENTIALS"),
    *("PASS", "PASSWD", "PASSWORD", "PASSPHRASE", "PGPASSWORD"),
}
_TERMINAL = {"COLUMNS", "LINES", "SSH_AUTH_SOCK"}


class Engine(Protocol):
    """A place where jobs run: this computer, a cluster's queue. Each job is a folder made by `folder.create`."""

    def start(self, folders: Sequence[Path]) -> None:
        """Start the jobs and return at once. Raises ZoowizardError where they cannot be started."""
        ...

    def cancel(self, folder: Path) -> None:
        """End the job, and return when it has ended. Raises ZoowizardError where it could not be ended."""
        ...


class LocalEngine:
    """Runs jobs on this computer, each in a session of its own: they outlive the terminal and the program."""

    def start(self, folders: Sequence[Path]) -> None:
        """Start a supervisor for each job; they wait for their turn. Raises ZoowizardError where that cannot be."""
        for folder in folders:
            _start_supervisor(folder)

    def cancel(self, folder: Path) -> None:
        """End the job, and return when it has ended. Raises ZoowizardError where it could not be ended."""
        from zoowizard.jobs.state import cancel

        cancel(folder)


def engine_of(folder: Path) -> Engine:
    """The engine that the job in `folder` was made for. Raises ZoowizardError where its job.json is wrong."""
    from zoowizard.jobs.folder import read_spec

    if read_spec(folder).slurm is None:
        return LocalEngine()
    from zoowizard.jobs.slurm import SlurmEngine

    return SlurmEngine()


def _start_supervisor(folder: Path) -> None:
    require_private(folder)
    if (folder / "supervisor").exists():
        raise ZoowizardError(f"the job {folder.name} was started before; to try again, make a new one")
    command = [sys.executable, "-P", "-m", "zoowizard.jobs.supervisor", str(folder.absolute())]
    nothing = subprocess.DEVNULL
    try:
        supervisor = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(os.environ),
            start_new_session=True,
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
        )
    except OSError as problem:
        raise ZoowizardError(f"the job {folder.name} could not be started: {problem.strerror}") from problem
    threading.Thread(target=supervisor.wait, daemon=True).start()  # else it stays a zombie while we live


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What a job gets to see of our environment: no secrets, no terminal, and output that reaches the log at once."""
    kept = {
        name: value
        for name, value in ours.items()
        if name not in _TERMINAL and not _SECRET_WORDS & set(name.upper().split("_"))
    }
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "TERM": "dumb", "NO_COLOR": "1"}
