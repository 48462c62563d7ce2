"""Kills at random moments, and what may never come of them.

A person's process (the client) saves answers and starts a job; somebody is killed at a random moment; then everything
that was left is looked at. Four things are counted, and must stay at zero: answers that were saved and are gone, events
that somebody saw and that are gone, files that are half written, states that are shown and are not so.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from zoowizard.drafts.store import Workspace, load
from zoowizard.jobs.events import from_line
from zoowizard.jobs.folder import ID
from zoowizard.jobs.state import Job, follow, list_jobs, read_job

TARGETS = ("client", "supervisor", "worker", "both")

CLIENT = """
import sys
from pathlib import Path
from zoowizard.drafts.draft import with_given
from zoowizard.drafts.store import editing, open_workspace, save
from zoowizard.jobs.engines import engine_of
from zoowizard.jobs.folder import create
from zoowizard.jobs.settings import read_settings
from zoowizard.jobs.state import read_job
from zoowizard.launch import retry, start_build

root, draft_id, kind, earlier, first = sys.argv[1:6]
workspace = open_workspace(Path(root))
for number in range(int(first), int(first) + 5):
    with editing(workspace, draft_id) as draft:
        draft = with_given(draft, {"limitations": f"This is answer number {number}."})
        save(workspace, draft)
    print(number, flush=True)
if kind != "build":
    do = [{"say": "begin"}, {"write": 300000}, {"wait": 0.1}, {"print": "x" * 2000}, {"wait": 0.1}, {"write": 700000}]
    settings = read_settings(workspace.root)
    slurm = settings.slurm if settings.engine == "slurm" else None
    folder = create(workspace.jobs(draft_id), "selftest", draft_id, {"do": do}, 600, slurm)
    engine_of(folder).start([folder])
elif earlier:
    folder = retry(workspace, read_job(Path(earlier)))
else:
    folder = start_build(workspace, draft)
print(folder, flush=True)
sys.stdin.read()
"""


@dataclass
class Count:
    """What was found over all kills; each list holds a sentence a finding."""

    kills: int = 0
    by_target: dict[str, int] = field(default_factory=dict)
    lost_answers: list[str] = field(default_factory=list)
    lost_events: list[str] = field(default_factory=list)
    half_written: list[str] = field(default_factory=list)
    wrong_states: list[str] = field(default_factory=list)

    def kill(self, target: str) -> None:
        self.kills += 1
        self.by_target[target] = self.by_target.get(target, 0) + 1

    @property
    def findings(self) -> list[str]:
        return [*self.lost_answers, *self.lost_events, *self.half_written, *self.wrong_states]


class Client:
    """A process that saves answers, starts a job, and then stays open as a screen does."""

    def __init__(self, workspace: Workspace, draft_id: str, kind: str, earlier: Path | None, first: int) -> None:
        command = [sys.executable, "-c", CLIENT, str(workspace.root), draft_id, kind, str(earlier or ""), str(first)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.saved = first - 1
        """The number of the newest answer of which the process knew that it was saved."""
        self.folder: Path | None = None
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line[0].isdigit():
                self.saved = int(line)
            else:
                self.folder = Path(line.strip())

    def end(self) -> None:
        """End it as `kill -9` does, and read what it had said."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def must_live(self) -> None:
        """It stays open until somebody ends it; where it ended by itself, it could not start the job."""
        if self.process.poll() is not None:
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read())


class Observer:
    """Somebody who follows a job from outside, and compares what is shown with the processes that there are."""

    def __init__(self, folder: Path, patience_s: float) -> None:
        self.folder = folder
        self._patience_s = patience_s
        """Whoever tells of an end (the system, a cluster) may take so long to know of it."""
        self.seen = b""
        """What stood in the file of events when somebody looked last."""
        self.lost: list[str] = []
        self.wrong: list[str] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._compare)
        self._thread.start()

    def read_events(self) -> None:
        """Look at the events: what stood there must still stand there."""
        now = (self.folder / "events.jsonl").read_bytes() if (self.folder / "events.jsonl").exists() else b""
        if not now.startswith(self.seen):
            self.lost.append(f"{self.folder.name}: {self.seen!r} was seen, but the file has {now!r}")
        self.seen = now

    def _compare(self) -> None:
        ended: Job | None = None
        while not self._ends.is_set():
            claimed = (self.folder / "supervisor").exists()
            lives_before, supervisor = bool(holders(self.folder)), supervisor_of(self.folder)
            job = read_job(self.folder)
            left = holders(self.folder) - {supervisor}  # which says the last word, and then ends
            if job.state in ("running", "queued") and claimed and not lives_before and self._is_still(job.state):
                self.wrong.append(f"{job.id} is shown as {job.state}, but no process of it lives")
            if job.state == "died" and left:
                self.wrong.append(f"{job.id} is shown as died, but a process of it lives: {job.reason}")
            if ended is not None and (job.state, job.reason) != (ended.state, ended.reason):
                self.wrong.append(f"{job.id} had ended as {ended.state}, and is now {job.state}: {job.reason}")
            ended = job if job.over else ended
            self.read_events()
            time.sleep(0.01)

    def _is_still(self, state: str) -> bool:
        """Whether it is shown so even when whoever tells of an end had the time to see it."""
        until = time.monotonic() + self._patience_s
        while time.monotonic() < until:
            time.sleep(0.05)
            if holders(self.folder) or read_job(self.folder).state != state:
                return False
        return True

    def end(self) -> None:
        """Stop looking; the job has ended."""
        self._ends.set()
        self._thread.join()
        self.read_events()


def holders(folder: Path) -> set[int]:
    """The processes that have the job's lock open, as the system knows them."""
    try:
        lock = (folder / "lock").stat()
    except OSError:
        return set()
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                for descriptor in os.scandir(process / "fd"):
                    there = descriptor.stat()
                    if (there.st_dev, there.st_ino) == (lock.st_dev, lock.st_ino):
                        found.add(int(process.name))
            except OSError:
                continue
    return found - {os.getpid()}


def supervisor_of(folder: Path) -> int | None:
    """The process of the supervisor, where it lives and has said so."""
    try:
        pid = int(json.loads((folder / "supervisor").read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if pid in holders(folder) else None


def group_of(folder: Path) -> int | None:
    """The process group of the worker, where it has one."""
    try:
        return int((folder / "worker").read_text())
    except (OSError, ValueError):
        return None


def kill(folder: Path, target: str) -> bool:
    """Kill the `supervisor`, the `worker` with its group, or `both`; False where there was nobody to kill."""
    victims = []
    if target in ("supervisor", "both") and (pid := supervisor_of(folder)) is not None:
        victims.append(lambda: os.kill(pid, signal.SIGKILL))
    if target in ("worker", "both") and (group := group_of(folder)) is not None:
        victims.append(lambda: os.killpg(group, signal.SIGKILL))
    killed = False
    for victim in victims:
        try:
            victim()
            killed = True
        except ProcessLookupError:
            pass
    return killed


def until_nobody_is_left(folder: Path, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while holders(folder):
        assert time.monotonic() < end, f"processes of {folder} go on: {[_named(pid) for pid in holders(folder)]}"
        time.sleep(0.02)


def _named(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return str(pid)


def strangers(folder: Path) -> list[str]:
    """Processes that hold the job's lock although they are neither its supervisor nor of its worker's group."""
    group, supervisor = group_of(folder), supervisor_of(folder)
    if group is None:
        return []
    found = []
    for pid in holders(folder) - {supervisor}:
        try:
            if os.getpgid(pid) != group:
                found.append(_named(pid))
        except ProcessLookupError:
            continue
    return found


def half_written(root: Path) -> Iterator[str]:
    """Files under their own names that are not whole: records that are no JSON, lines that are none, broken zips."""
    found = (Path(folder, name) for folder, _, names in os.walk(root) for name in names)  # what vanishes is passed over
    for path in found:
        if path.name.startswith(".") or "/.removed-" in str(path):
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".jsonl":
                for line in path.read_bytes().splitlines(keepends=True):
                    from_line(line)
                    if not line.endswith(b"\n"):
                        raise ValueError("a line without an end")
            elif path.suffix == ".zip" and path.parent.name == "packages" and zipfile.ZipFile(path).testzip():
                raise ValueError("a damaged file in it")
        except FileNotFoundError:  # it was removed meanwhile
            continue
        except (ValueError, zipfile.BadZipFile) as problem:
            yield f"{path}: {problem}"


@dataclass
class Matrix:
    """A series of kills over jobs of one model."""

    workspace: Workspace
    draft_id: str
    kind: str
    dice: random.Random
    count: Count = field(default_factory=Count)
    answers: int = 0
    lasts_s: float = 1.0
    """About how long such a job takes when nobody is killed."""
    is_submitted: Callable[[Path], bool] | None = None
    """On a cluster: whether the cluster knows the job."""

    def one(self, target: str, earlier: Path | None = None) -> Job | None:
        """Start a job, kill `target` (see TARGETS) at a random moment, and look at what is left."""
        before = {job.id for job in list_jobs(self.workspace.jobs(self.draft_id))}
        client = Client(self.workspace, self.draft_id, self.kind, earlier, self.answers + 1)
        observer: Observer | None = None
        strike = time.monotonic() + 0.2 + self.dice.random() * (self.lasts_s + (0.4 if target == "client" else 0))
        struck = False
        while not struck:
            client.must_live()
            observer = observer or self._observed(before)
            if time.monotonic() >= strike:
                if target == "client":
                    client.process.kill()
                    struck = True
                elif observer is not None:
                    struck = kill(observer.folder, target) or read_job(observer.folder).over
                if struck:
                    self.count.kill(target)
            time.sleep(0.002)
        observer = observer or self._observed(before)
        if target != "client":
            _until(lambda: client.folder is not None)
        if observer is not None:
            _until(lambda: self._goes_on(observer.folder) is not None)
            self.count.wrong_states += [
                f"{observer.folder.name}: its lock is held by {one}" for one in strangers(observer.folder)
            ]
            until_nobody_is_left(observer.folder)
        client.end()
        observer = observer or self._observed(before)
        return self._looked_at(observer, client, target)

    def _observed(self, before: set[str]) -> Observer | None:
        there = self.workspace.jobs(self.draft_id)
        found = there.iterdir() if there.is_dir() else ()
        new = sorted(one for one in found if ID.fullmatch(one.name) and one.name not in before)
        return Observer(new[-1], 0.2 if self.is_submitted is None else 20.0) if new else None

    def _looked_at(self, observer: Observer | None, client: Client, target: str) -> Job | None:
        given = str(load(self.workspace, self.draft_id).get("limitations") or "number 0")
        kept = int(re.findall(r"\d+", given)[0])
        if kept < client.saved:
            self.count.lost_answers.append(f"answer {client.saved} was saved, but the draft has {kept}")
        self.answers = kept
        self.count.half_written += half_written(self.workspace.root)
        if observer is None:
            return None
        _until(lambda: read_job(observer.folder).over or self._goes_on(observer.folder) is False)
        observer.end()
        self.count.wrong_states += observer.wrong
        job = read_job(observer.folder)
        self.count.wrong_states += self._unlike(job, target)
        self.count.lost_events += observer.lost
        told = list(follow(observer.folder)) if job.over else []
        if job.broken_lines or (job.over and len(told) != observer.seen.count(b"\n")):
            self.count.lost_events.append(f"{job.id}: {len(told)} events can be read of {observer.seen!r}")
        [listed] = [one for one in list_jobs(observer.folder.parent) if one.id == job.id]
        if (listed.state, listed.reason) != (job.state, job.reason):
            self.count.wrong_states.append(f"{job.id} is {job}, but in the list of jobs {listed}")
        return job

    def _goes_on(self, folder: Path) -> bool | None:
        """Whether processes of the job live or will; None where that is not known yet."""
        job = read_job(folder)
        if holders(folder):
            return True
        if job.over:
            return False
        if job.state == "starting" and self.is_submitted is not None and time.time() - folder.stat().st_mtime > 5:
            return None if self.is_submitted(folder) else False
        return None

    def _unlike(self, job: Job, target: str) -> list[str]:
        """What may come of a job when `target` was killed, and whether it is that."""
        worked = (job.folder / "worker").exists()
        allowed: dict[str, set[str]] = {
            "client": {"passed"} if (job.folder / "supervisor").exists() else {"died", "starting"},
            "supervisor": {"passed"} if worked and self.is_submitted is None else {"passed", "died"},
            "worker": {"passed", "died"},
            "both": {"passed", "died"},
        }
        if job.state not in allowed[target]:
            return [f"{job.id}: the {target} was killed, and it is shown as {job.state}: {job.reason}"]
        if job.state == "died" and not job.reason:
            return [f"{job.id}: it died, and nobody says why"]
        if job.state == "passed" and any(step.state != "done" for step in job.steps):
            return [f"{job.id}: it passed, but its steps did not: {job.steps}"]
        return []


def _until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
