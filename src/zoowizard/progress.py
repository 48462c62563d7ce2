"""A job's events as lines for a person, on standard error: standard output stays free for the command's answer."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Queue
from threading import Thread

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.events import (
    Admitted,
    Ended,
    Event,
    Note,
    Progress,
    StepDone,
    StepFailed,
    StepStarted,
    Waiting,
)
from zoowizard.jobs.state import Job, follow, read_job
from zoowizard.terminal import printable, wrapped


def watch(folder: Path) -> Job:
    """Show a job's events until it has ended; gives the job as it then is.

    On a terminal the step that is under way rewrites its own line; elsewhere a step is a line when it begins and one
    when it is done.
    """
    live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    for _, _, event in follow(folder):
        for line in _lines(event, live):
            print(line, end="", file=sys.stderr, flush=True)
    job = read_job(folder)
    if job.state != "passed":
        print(wrapped(f"x {printable(job.reason or job.state)}", "  "), file=sys.stderr)
    return job


def watch_all(folders: Sequence[Path]) -> list[Job]:
    """Show the events of several jobs until all have ended, each line with its job's model; gives them as they are."""
    if len(folders) == 1:
        return [watch(folders[0])]
    said: Queue[tuple[Path, Event | ZoowizardError | None]] = Queue()
    models = {folder: printable(read_job(folder).model) for folder in folders}
    for folder in folders:
        Thread(target=_tell, args=(folder, said), daemon=True).start()
    underway = set(folders)
    while underway:
        folder, event = said.get()
        if isinstance(event, ZoowizardError):
            raise event
        if event is None:
            underway.remove(folder)
            job = read_job(folder)
            print(f"{models[folder]}: {printable(job.reason or job.state)}", file=sys.stderr, flush=True)
            continue
        for line in _lines(event, live=False):
            print(f"{models[folder]}: {line.strip()}", file=sys.stderr, flush=True)
    return [read_job(folder) for folder in folders]


def _tell(folder: Path, said: "Queue[tuple[Path, Event | ZoowizardError | None]]") -> None:
    try:
        for _, _, event in follow(folder):
            said.put((folder, event))
        said.put((folder, None))
    except ZoowizardError as problem:
        said.put((folder, problem))


def _lines(event: Event, live: bool) -> Iterator[str]:
    match event:
        case Waiting(reason):
            yield f"\r\x1b[K  {printable(reason)[:70]}" if live else f"  {printable(reason)}\n"
        case Admitted():
            if live:
                yield "\r\x1b[K"
        case StepStarted(step):
            yield f"\r\x1b[K  {printable(step)} ..." if live else f"  {printable(step)} ...\n"
        case Progress(step, fraction, note):
            if live:
                yield f"\r\x1b[K  {printable(step)} {fraction:4.0%}  {printable(note)[:50]}"
        case StepDone(step, seconds, note):
            start = "\r\x1b[K" if live else ""
            yield f"{start}+ {printable(step):<20}{seconds:7.1f} s  {printable(note)}\n"
        case StepFailed(step, seconds, _):
            start = "\r\x1b[K" if live else ""
            yield f"{start}x {printable(step):<20}{seconds:7.1f} s\n"
        case Note(level, text):
            start = "\r\x1b[K" if live else ""
            yield start + wrapped(f"{'!' if level == 'warning' else '.'} {printable(text)}", "  ") + "\n"
        case Ended():
            if live:
                yield "\r\x1b[K"
