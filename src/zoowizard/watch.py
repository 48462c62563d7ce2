"""What happens in a workspace, as JSON lines: `python -m zoowizard.watch --workspace DIR`, a child of the board.

Each line tells what changed since the last one; the first ones tell everything, in slices, so that a screen fills at
once. It ends when its standard input is at its end.

    {"rows": [{"key", "cells": [8 texts], "draft", "state", "known": [answered, of], "job", "job_kind", "job_state",
               "order"}],
     "gone": [keys], "running": [{"draft", "model", "step", "number", "of", "fraction", "seconds"}],
     "problems": [sentences],
     "counts": {"running", "sending", "queued", "unknown", "failed", "tested", "uploaded"},
     "complete": bool}

`rows` are those that are new or changed, `order` is to be compared; `draft` and `job` (the folder of the newest one)
are null where there is none. Of a job that waits for its turn, `step` says for what, and `seconds` is null; so it is
where a cluster does not tell. `complete` is false as long as there are models that were not looked at yet.
"""

import argparse
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from zoowizard.board.event import event_rows
from zoowizard.board.lines import EventRow, merged, model_row
from zoowizard.board.memory import memory_file
from zoowizard.board.rows import Row, fold
from zoowizard.board.uploads import standings
from zoowizard.drafts.completeness import completeness
from zoowizard.drafts.draft import Draft
from zoowizard.drafts.fields import Check, Field
from zoowizard.drafts.store import Workspace, load
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.families.registry import family
from zoowizard.jobs.build_steps import BUILD_STEPS
from zoowizard.jobs.folder import read_spec
from zoowizard.jobs.reader import JobsReader
from zoowizard.jobs.state import Job
from zoowizard.jobs.states import UNDERWAY
from zoowizard.upload.receipts import receipts
from zoowizard.upload.state import FOLDER as UPLOADS
from zoowizard.workflow import fields_of, questions_for

LOOK_EVERY_S: Final = 1.0
MOST_BETWEEN_S: Final = 10.0
SHARE: Final = 0.01
"""Looking at all models takes at most this share of the time: where it is slow, as on NFS, it is done less often."""
SLICE: Final = 500
AGAIN: Final = 2
"""So many models are folded anew at each look although nothing of theirs changed: their test image may have."""
STATES: Final = {
    "testing": "running",
    "failed": "failed",
    "tested": "done",
    "uploaded": "done",
    "in review": "done",
    "published": "done",
    "in revision": "open",
    "queued": "open",
    "paused": "open",
    "not sent": "failed",
    "verifying": "running",
    "in progress": "open",
    "not started": "none",
}
COUNTED_AS: Final = {
    "Testing": "running",
    "Verifying": "sending",
    "Queued": "queued",
    "Failed": "failed",
    "Not Sent": "failed",
    "Tested": "tested",
    "Uploaded": "uploaded",
    "In Review": "uploaded",
    "In Revision": "uploaded",
    "Published": "uploaded",
}
"""A status → what the line above the table counts it as; one that begins with Sending is told by `_counts`."""
Stamp = tuple[int, int, int] | None


@dataclass
class _Model:
    """One folder of a model, as it was when it was last looked at."""

    reader: JobsReader
    seen: tuple[Stamp, ...] = ()
    draft: Draft | None = None
    row: Row | None = None
    known: tuple[int, int] = (0, 0)
    jobs: list[Job] = field(default_factory=list)
    problem: str = ""

    def shown(self) -> object:
        """What the board shows of it; where this is the same, nothing is told."""
        return self.row, self.known, self.problem, _marks(self.jobs)


class Watcher:
    """Looks at the workspace again and again, and tells what changed."""

    def __init__(self, workspace: Workspace) -> None:
        """Nothing is looked at yet."""
        self._workspace = workspace
        self._models: dict[str, _Model] = {}
        self._tests = JobsReader(workspace.root / "jobs")
        self._tested: list[Job] = []
        self._event: Sequence[EventRow] = ()
        self._event_seen: Stamp = None
        self._trouble: list[str] = []
        self._event_trouble: list[str] = []
        self._queue: dict[str, None] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._said: dict[str, Any] = {}
        self._counts = _counts(())
        self._changed = False

    @property
    def behind(self) -> bool:
        """Whether there are models that changed and were not folded yet."""
        return bool(self._queue)

    def look(self) -> None:
        """Find the models whose files changed, and a few more in turn; they are folded by `fold`."""
        try:
            names = {entry.name for entry in os.scandir(self._workspace.root / "models") if entry.is_dir()}
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            self._trouble = [f"the workspace {self._workspace.root} cannot be read ({reason}); trying again"]
            return
        self._trouble = []
        self._look_at_event()
        for name in self._models.keys() - names:
            del self._models[name]
            self._changed = True
        for name in sorted(names):
            folder = self._workspace.folder(name)
            model = self._models.get(name) or self._models.setdefault(name, _Model(JobsReader(folder / "jobs")))
            seen = tuple(_stamp(f"{folder}/{part}") for part in ("draft.json", "jobs", "receipts"))
            seen += _stamps_in(f"{folder}/{UPLOADS}")
            if seen != model.seen:
                model.seen = seen
                self._queue[name] = None
        for name in () if self._queue else tuple(self._models)[:AGAIN]:
            self._models[name] = self._models.pop(name)  # to the end, so that the others come next
            self._queue[name] = None

    def _look_at_event(self) -> None:
        seen = _stamp(str(memory_file(self._workspace)))
        if seen != self._event_seen:
            self._event_seen, self._changed = seen, True
            self._event, self._event_trouble = event_rows(self._workspace)

    def follow(self) -> None:
        """Look at the jobs of which more may be heard."""
        for name, model in self._models.items():
            if model.reader.unsettled and _marks(_jobs(model.reader, model.jobs)) != _marks(model.jobs):
                self._queue[name] = None
        self._tested = _jobs(self._tests, [])

    def fold(self) -> None:
        """Fold the next few of those that changed."""
        for name in tuple(self._queue)[:SLICE]:
            del self._queue[name]
            if (model := self._models.get(name)) is not None:
                before = model.shown()
                self._fold(name, model)
                self._changed = self._changed or model.shown() != before

    def _fold(self, name: str, model: _Model) -> None:
        model.problem, model.draft, model.row = "", None, None
        try:
            model.draft = load(self._workspace, name)
            fields = _questions(model.draft)
            model.jobs = model.reader.read()
            kept, uploads = receipts(self._workspace, name), standings(self._workspace, name, model.jobs)
            model.row = fold(model.draft, fields, model.jobs, kept, _built_from(model.jobs), uploads)
            model.known = completeness(model.draft, fields)
        except WrongUse:
            pass  # a start that was ended before the first save
        except ZoowizardError as problem:
            model.problem = f"{name}: {problem}"
        except Exception as problem:  # one damaged model must not take the board from the others
            model.problem = f"{name}: cannot be read ({type(problem).__name__}: {problem})"

    def news(self) -> dict[str, Any] | None:
        """What changed since the last news; None where nothing did."""
        news: dict[str, Any] = {"rows": [], "gone": []}
        if self._changed:
            self._changed = False
            rows = {row["key"]: row for row in self._rows()}
            news["rows"] = [row for key, row in rows.items() if self._told.get(key) != row]
            news["gone"] = [key for key in self._told if key not in rows]
            self._told = rows
            self._counts = _counts(rows.values())
        said = {
            "running": self._running(),
            "problems": self._problems(),
            "counts": self._counts,
            "complete": not self.behind,
        }
        if not news["rows"] and not news["gone"] and said == self._said:
            return None
        self._said = said
        return {**news, **said}

    def _problems(self) -> list[str]:
        damaged = [model.problem for model in self._models.values() if model.problem]
        return [*self._trouble, *self._event_trouble, *damaged]

    def _rows(self) -> Iterator[dict[str, Any]]:
        models = [
            model_row(model.draft, model.row)
            for model in self._models.values()
            if model.draft and model.row is not None
        ]
        for number, line in enumerate(merged(self._event, models)):
            model = self._models[line.draft_id] if line.draft_id is not None else None
            newest = model.jobs[0] if model is not None and model.jobs else None
            created = model.draft.created if model is not None and model.draft is not None else ""
            yield {
                "key": line.key,
                "cells": list(line.row.cells()),
                "draft": line.draft_id,
                "state": _state(line.row.status, newest),
                "known": [0, 0] if model is None else list(model.known),
                "job": None if newest is None else str(newest.folder),
                "job_kind": None if newest is None else newest.kind,
                "job_state": None if newest is None else newest.state,
                # Not by its number, which would be another one for each whenever one comes before it.
                "order": [1, created, line.key] if line.event is None else [0, number, ""],
            }

    def _running(self) -> list[dict[str, Any]]:
        found = [
            (name, model.row.model_name, job)
            for name, model in self._models.items()
            if model.row is not None
            for job in model.jobs
        ]
        tests = [("", job.model, job) for job in self._tested]
        underway = [(name, title, job) for name, title, job in [*found, *tests] if job.state in UNDERWAY]
        return [
            _running(name or None, title, job)
            for name, title, job in sorted(underway, key=lambda one: (one[2].state == "queued", one[2].id, one[0]))
        ]


def _running(draft: str | None, model: str, job: Job) -> dict[str, Any]:
    now = job.steps[-1] if job.steps and job.state == "running" else None
    fraction = None if now is None or now.fraction is None else round(now.fraction, 2)
    step = now.name if now is not None else job.reason or job.state
    if job.kind == "upload":
        step = f"upload: {step}" if fraction is None else f"upload: {step} {int(100 * fraction)} %"
    return {
        "draft": draft,
        "model": model,
        "step": step,
        "number": len({step.name for step in job.steps}),
        "of": len(BUILD_STEPS) if job.kind == "build" else None,
        "fraction": fraction,
        "seconds": int(now.seconds) if now is not None else None if job.reason else 0,
    }


def _state(status: str, newest: Job | None) -> str:
    """What the sign of a row says: one that only waits for its turn does not run."""
    waits = newest is not None and newest.state in ("queued", "unknown")
    if status.startswith("Sending"):
        return "running"
    return "open" if waits and status == "Testing" else STATES.get(status.casefold(), "open")


def _jobs(reader: JobsReader, otherwise: list[Job]) -> list[Job]:
    try:
        return reader.read()
    except ZoowizardError:
        return otherwise


def _built_from(jobs: Sequence[Job]) -> dict[str, Any] | None:
    built = next((job for job in jobs if job.kind == "build" and job.state == "passed"), None)
    return None if built is None else read_spec(built.folder).work.get("values")


def _marks(jobs: Sequence[Job]) -> object:
    return [(job.id, job.state, job.reason, _far(job)) for job in jobs]


def _far(job: Job) -> tuple[str, int]:
    """How far an upload is, in whole percents: that stands in its row. Of other jobs it does not."""
    if job.kind != "upload" or job.over or not job.steps:
        return "", 0
    return job.steps[-1].name, int(100 * (job.steps[-1].fraction or 0))


def _counts(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    counts = dict.fromkeys(("running", "sending", "queued", "unknown", "failed", "tested", "uploaded"), 0)
    for row in rows:
        status = row["cells"][3]
        kind = "sending" if status.startswith("Sending") else COUNTED_AS.get(status, "")
        if kind == "running" and row["job_state"] in ("queued", "unknown"):
            kind = row["job_state"]
        if kind:
            counts[kind] += 1
    return counts


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116  (asked thousands of times a look)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _stamps_in(folder: str) -> tuple[Stamp, ...]:
    """Of the folders in a folder: what is replaced in one of them changes its stamp."""
    if _stamp(folder) is None:
        return ()
    try:
        return tuple(_stamp(entry.path) for entry in sorted(os.scandir(folder), key=lambda entry: entry.name))
    except OSError:
        return ()


def _questions(draft: Draft) -> tuple[Field, ...]:
    known = _fields(draft.family)
    if draft.family and family(draft.family).asks({name: one.value for name, one in draft.values.items()}):
        remembered = {one.name: one for one in known if one.kind == "path"}
        return tuple(remembered.get(one.name, one) for one in questions_for(draft))
    return known


@cache
def _fields(family_name: str) -> tuple[Field, ...]:
    """The questions; a file that an answer names is looked at anew only where it has changed."""
    return tuple(
        replace(one, check=_remembered(one.check)) if one.kind == "path" else one for one in fields_of(family_name)
    )


def _remembered(check: Check) -> Check:
    known: Callable[[str, Stamp], str | None] = lru_cache(20_000)(lambda answer, stamp: check(answer))
    return lambda answer: (
        known(answer, _stamp(answer)) if isinstance(answer, str) and "\0" not in answer else check(answer)
    )


def watch(workspace: Workspace, every_s: float = LOOK_EVERY_S) -> None:
    """Look and tell, every so many seconds, until standard input is at its end."""
    watcher, next_look = Watcher(workspace), 0.0
    while True:
        if (started := time.monotonic()) >= next_look:
            watcher.look()
            next_look = started + min(MOST_BETWEEN_S, max(every_s, (time.monotonic() - started) / SHARE))
        watcher.follow()
        watcher.fold()
        if (news := watcher.news()) is not None:
            sys.stdout.write(json.dumps(news) + "\n")
            sys.stdout.flush()
        if _is_left_alone(0 if watcher.behind else every_s):
            return


def _is_left_alone(seconds: float) -> bool:
    """Wait so long; gives whether standard input has come to its end."""
    readable, _, _ = select.select([0], [], [], seconds)
    return bool(readable) and not os.read(0, 4096)


def main() -> int:
    """The child process; gives its exit code."""
    parser = argparse.ArgumentParser(prog="python -m zoowizard.watch", description="Tells what happens in a workspace.")
    parser.add_argument("--workspace", type=Path, required=True, metavar="DIR")
    parser.add_argument("--every", type=float, default=LOOK_EVERY_S, metavar="SECONDS")
    given = parser.parse_args()
    try:
        watch(Workspace(given.workspace), given.every)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter fails once more when it ends
    return 0


if __name__ == "__main__":
    sys.exit(main())
