"""Looking at jobs again and again, for the screens: each look reads only what was written since the last one."""

import os
from pathlib import Path

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.folder import EVENTS, ID, RESULT
from zoowizard.jobs.history import History
from zoowizard.jobs.state import Job, look


class JobReader:
    """Reads the job in `folder` again and again; for one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet."""
        self.folder = folder
        self._history = History(folder / EVENTS)

    def read(self) -> Job:
        """The job as it is now, the same that `read_job` gives. Raises ZoowizardError as that does."""
        return look(self.folder, self._history)


class JobsReader:
    """Reads the jobs in the folder `root` again and again; one that has a result is not looked at any more."""

    def __init__(self, root: Path) -> None:
        """Nothing is read yet."""
        self._root = root
        self._ended: dict[str, Job] = {}
        self._readers: dict[str, JobReader] = {}

    @property
    def unsettled(self) -> bool:
        """Whether there are jobs of which more may be heard."""
        return bool(self._readers)

    def read(self) -> list[Job]:
        """The jobs as they are now, newest first, the same that `list_jobs` gives. Raises ZoowizardError as that."""
        try:
            # names alone: a path for each of thousands, at every look, would cost
            names = sorted((name for name in os.listdir(self._root) if ID.fullmatch(name)), reverse=True)  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as problem:
            reason = os.strerror(problem.errno or 0).lower()
            raise ZoowizardError(f"could not list the jobs in {self._root}: {reason}") from problem
        self._ended = {name: job for name, job in self._ended.items() if name in names}
        self._readers = {
            name: self._readers.get(name) or JobReader(self._root / name) for name in names if name not in self._ended
        }
        return [job for job in map(self._read, names) if job is not None]

    def _read(self, name: str) -> Job | None:
        """None where it was removed meanwhile."""
        if name in self._ended:
            return self._ended[name]
        reader = self._readers[name]
        settled = (reader.folder / RESULT).exists()  # asked first: what is read below is then the last word
        try:
            job = reader.read()
        except ZoowizardError as problem:
            if not reader.folder.is_dir():
                return None
            return Job(name, "", "", "unreadable", reader.folder, reason=str(problem))
        if settled and job.over:
            self._ended[name] = job
            del self._readers[name]
        return job
