"""Whose turn it is: how many jobs work at once on this computer, and in which order they get a place."""

import contextlib
import json
import os
import pwd
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from zoowizard.atomic import NO_ROOM, write_text
from zoowizard.errors import WrongUse
from zoowizard.jobs import line
from zoowizard.jobs.computer import jobs_at_once
from zoowizard.jobs.gpus import VISIBLE, Gpus, Search
from zoowizard.jobs.line import PRIORITIES, Ticket, Unfit
from zoowizard.jobs.locks import require_private
from zoowizard.terminal import printable

AT_ONCE: Final = "ZOOWIZARD_AT_ONCE"
MOST_AT_ONCE: Final = 1000
LOOK_EVERY_S: Final = 0.2
LOOK_AT_LEAST_EVERY_S: Final = 2.0
TELLS_OF_SEARCH_AFTER_S: Final = 1.0
GIVES_UP_AFTER: Final = 25
"""So many looks in a row may fail before the folder of the line is given up."""
_NO_GPU: Final = {VISIBLE: ""}
_WITHOUT_A_PLACE: Final = ("upload",)
"""Kinds of jobs that wait for a network, not for this computer: they take no place from those that compute."""
_MOST_NAMED: Final = 3
_JOB, _PRIORITY, _SETTINGS = "job.json", "priority", "jobs.json"


@dataclass(frozen=True)
class Place:
    """Where a job may work.

    `device` is it in words (`CPU`, or the name of a GPU); `environment` is what the worker's environment needs for it.
    The place is ours as long as one of `descriptors` is open, here or in a process that inherited it. `notes` tell
    what a person should know, such as a driver that is too old for the GPU to be used; `cpu` is the same place without
    a GPU, None where there is none.
    """

    device: str
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    cpu: "Place | None" = None


class Turn:
    """A job's place in the line for this computer's places. Close it when the job has ended."""

    def __init__(self, folder: Path) -> None:
        """Join the line with the job in `folder`."""
        self.reason = ""
        """Why it waits, in a few plain words."""
        self.look_again_s = LOOK_EVERY_S
        """After so many seconds it may be our turn."""
        self._folder = folder
        self._job = _read(folder / _JOB)
        self._search = Search()
        self._begun = time.monotonic()
        self._root = _workspace_of(folder)
        self._ticket = line.new_ticket(_seconds(self._job.get("created")), priority_of(folder), folder.name)
        self._held: list[int] = []
        self._open: Callable[[], int] = line.open_shared
        self._failures = 0
        self._notes: list[str] = []

    def take(self) -> Place | None:
        """The place, where it is our turn and one is free; None where we wait."""
        if self._job.get("kind") in _WITHOUT_A_PLACE:
            return Place("CPU", _NO_GPU)
        gpus = self._search.result()
        if gpus is None:
            if time.monotonic() - self._begun > TELLS_OF_SEARCH_AFTER_S:
                self.reason = "looking for a GPU"
            return None
        if self._job.get("slurm") is not None:
            return _granted(self._job["slurm"], gpus)
        at_once, wrong = _at_once(self._folder)
        notes = tuple(note for note in (_sentence(gpus.problem), wrong) if note)
        places = {f"gpu-{gpu.uuid}": _with_gpu(gpu.uuid, gpu.name, notes) for gpu in gpus.usable}
        places = places or {f"cpu-{number}": Place("CPU", _NO_GPU, notes=notes) for number in range(at_once)}
        try:
            place = self._in_line(tuple(places))
        except Unfit as why:
            return self._give_up_folder(str(why), next(iter(places.values())))
        if place is None:
            return None
        return _held_by(places[place], self._held, self._notes)

    def close(self) -> None:
        """Leave the line. A place that was taken is free when the last process that holds it has ended."""
        self._search.close()
        self._withdraw()

    def _in_line(self, wants: tuple[str, ...]) -> str | None:
        """The name of the place that we hold now; None where we wait. Raises Unfit where the folder cannot be used."""
        folder = self._open()
        try:
            place = self._look(folder, wants)
            self._failures = 0
            return place
        except OSError as problem:  # the folder was removed under us, or is full
            self._failures += 1
            if problem.errno in NO_ROOM:
                self.reason = "waiting: the disk on which the jobs of this computer wait in line is full"
            elif self._failures > GIVES_UP_AFTER:
                raise Unfit((problem.strerror or str(problem)).lower()) from problem
            return None
        finally:
            os.close(folder)

    def _look(self, folder: int, wants: tuple[str, ...]) -> str | None:
        all_tickets = line.tickets(folder)
        now = replace(self._ticket, wants=wants, priority=priority_of(self._folder))
        if now not in all_tickets:
            self._stand(folder, now)
            all_tickets = line.tickets(folder)
        working = [one for one in all_tickets if one.at in wants]
        waiting = line.in_order([one for one in all_tickets if not one.at], time.time())
        ahead = [one for one in waiting[: _position(now, waiting)] if not set(wants).isdisjoint(one.wants)]
        free: list[str] = []
        for place in wants:
            if len(free) <= len(ahead) and all(one.at != place for one in working) and line.is_free(folder, place):
                free.append(place)
        rivals = [one for one in ahead if not set(free).isdisjoint(one.wants)]
        free.sort(key=lambda place: sum(place in one.wants for one in rivals))  # to those before us what they can have
        for place in free if len(free) > len(rivals) else ():
            if (held := line.take(folder, place)) is not None:
                self._work_at(folder, replace(now, at=place), held)
                return place
        self.reason = _why_waiting(wants, ahead, working, self._root)
        self.look_again_s = min(LOOK_AT_LEAST_EVERY_S, LOOK_EVERY_S * (1 + len(ahead)))
        return None

    def _stand(self, folder: int, ticket: Ticket) -> None:
        """Let our ticket say this."""
        held = line.put(folder, ticket)
        self._release()
        self._ticket, self._held = ticket, [held]

    def _work_at(self, folder: int, ticket: Ticket, place: int) -> None:
        try:
            self._stand(folder, ticket)
        except (OSError, Unfit):  # it still says that we wait, which would let others wait
            line.remove(folder, self._ticket.name)
        self._held.append(place)

    def _give_up_folder(self, why: str, first: Place) -> Place | None:
        """Go on in a folder for our own jobs; where there is none, without waiting for anybody."""
        was_shared = self._open is line.open_shared
        self._withdraw()
        self._failures = 0
        if was_shared:
            self._notes.append(f"Only your own jobs wait for each other, not those of other people: {why}.")
            self._open = line.open_private
            return None
        self._notes.append(f"Jobs do not wait for each other: {why}.")
        return _held_by(first, [], self._notes)

    def _withdraw(self) -> None:
        if self._held:
            with contextlib.suppress(Unfit):
                folder = self._open()
                line.remove(folder, self._ticket.name)
                os.close(folder)
        self._release()

    def _release(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)
        self._held = []


def priority_of(folder: Path) -> int:
    """The priority that the job in `folder` has now: as it was made, or as it was changed since."""
    with contextlib.suppress(OSError, ValueError):
        changed = int((folder / _PRIORITY).read_text(encoding="ascii"))
        if changed in PRIORITIES:
            return changed
    made = _read(folder / _JOB).get("priority", 0)
    return made if isinstance(made, int) and made in PRIORITIES else 0


def change_priority(folder: Path, priority: int) -> None:
    """Let the job in `folder` go before those of its owner with a lower `priority`, from now on.

    Raises WrongUse for a number that is none, ZoowizardError where it cannot be saved or the job is not ours.
    """
    if priority not in PRIORITIES:
        raise WrongUse(f"{priority} is no priority; give a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}")
    require_private(folder)
    write_text(folder / _PRIORITY, f"{priority}\n")


def _with_gpu(uuid: str, name: str, notes: tuple[str, ...]) -> Place:
    return Place(name, {VISIBLE: uuid}, notes=notes, cpu=Place("CPU", _NO_GPU))


def _held_by(place: Place, descriptors: Iterable[int], notes: Iterable[str]) -> Place:
    held = tuple(descriptors)
    cpu = None if place.cpu is None else replace(place.cpu, descriptors=held)
    return replace(place, descriptors=held, notes=(*place.notes, *notes), cpu=cpu)


def _granted(asked: Any, gpus: Gpus) -> Place:
    """What a cluster gave to this job, which has waited there already."""
    wants_gpus = isinstance(asked, dict) and bool(asked.get("gpus"))
    if not gpus.usable or not (wants_gpus or VISIBLE in os.environ):  # a cluster that locks none away shows them all
        notes = (_sentence(gpus.problem),) if gpus.problem and wants_gpus else ()
        return Place("CPU", _NO_GPU, notes=notes)
    return Place(gpus.usable[0].name, cpu=Place("CPU", _NO_GPU))


def _at_once(folder: Path) -> tuple[int, str]:
    """How many jobs may work at once without a GPU, and a sentence where that was set to what cannot be."""
    if (told := os.environ.get(AT_ONCE)) is not None:
        if told.isascii() and told.isdecimal() and 1 <= int(told) <= MOST_AT_ONCE:
            return int(told), ""
        wrong = f"{AT_ONCE} is {told}, but must be a number from 1 to {MOST_AT_ONCE}; it is not heeded."
        return _borne(), wrong
    number = _read(_workspace_of(folder) / _SETTINGS).get("at_once")
    if isinstance(number, int) and 1 <= number <= MOST_AT_ONCE:
        return number, ""
    return _borne(), ""


def _workspace_of(folder: Path) -> Path:
    """A workspace holds its jobs in jobs/ID or models/MODEL/jobs/ID."""
    above = folder.parent.parent
    return above.parent.parent if above.parent.name == "models" else above


@lru_cache(1)
def _borne() -> int:
    return jobs_at_once()


def _position(ticket: Ticket, waiting: Sequence[Ticket]) -> int:
    """Where the ticket stands; at the end where somebody has removed it this moment."""
    return next((number for number, one in enumerate(waiting) if one.name == ticket.name), len(waiting))


def _why_waiting(wants: Sequence[str], ahead: Sequence[Ticket], working: Sequence[Ticket], root: Path) -> str:
    on_gpu = wants[0].startswith("gpu-")
    waits = f"waiting for {'a GPU' if on_gpu else 'its turn'}"
    if ahead:
        return f"{waits}: {_jobs(ahead, len(ahead), 'before it', root)}"
    if on_gpu:
        in_use = {1: "the only one is", 2: "both are"}.get(len(wants), f"all {len(wants)} are")
        return f"{waits}: {in_use} in use{_listed([*_models(working, root), *_people(working)])}"
    no_more = "one at a time" if len(wants) == 1 else "and no more may be at once"
    return f"{waits}: {_jobs(working, len(wants), 'at work', root)}, {no_more}"


def _jobs(tickets: Sequence[Ticket], number: int, where: str, root: Path) -> str:
    models, people = _models(tickets, root), _people(tickets)
    if number == 1 and models:
        return f"{models[0]} is {where}"
    return f"{'1 job is' if number == 1 else f'{number} jobs are'} {where}{_listed([*models, *people])}"


def _models(tickets: Iterable[Ticket], root: Path) -> list[str]:
    """The models of our own jobs in this workspace."""
    ours = [_model(root, one.job) for one in tickets if one.owner == os.geteuid()]
    return list(dict.fromkeys(model for model in ours if model))[:_MOST_NAMED]


def _people(tickets: Iterable[Ticket]) -> list[str]:
    """How many of them are whose, but for our own: `2 of anna`."""
    counted = Counter(one.owner for one in tickets if one.owner != os.geteuid())
    return [f"{number} of {_name(owner)}" for owner, number in counted.most_common(3)]


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


@lru_cache(1000)
def _model(root: Path, job: str) -> str:
    """The model of a job in the workspace `root`; empty where it is none of there."""
    for folder in (root / "jobs" / job, *root.glob(f"models/*/jobs/{job}")) if job else ():
        if isinstance(model := _read(folder / _JOB).get("model"), str):
            return printable(model)
    return ""


@lru_cache(100)
def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _read(path: Path) -> dict[str, Any]:
    """The JSON in a small file of ours; empty where there is none or it is damaged, which others tell the person."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(created: object) -> float:
    try:
        return datetime.fromisoformat(str(created)).timestamp()
    except (ValueError, OverflowError):
        return time.time()


def _sentence(problem: str) -> str:
    return f"{problem[:1].upper()}{problem[1:]}." if problem else ""
