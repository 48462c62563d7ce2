"""Events: what a job says while it works, one JSON line each."""

import json
import math
import time
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Waiting:
    """The job waits for its turn; `reason` says for what, in a few plain words."""

    reason: str


@dataclass(frozen=True)
class Admitted:
    """The job's turn has come: it works on `device`, in words (`CPU`, or the name of a GPU), of the computer `host`."""

    device: str
    host: str


@dataclass(frozen=True)
class StepStarted:
    """A step of the job begins."""

    step: str


@dataclass(frozen=True)
class Progress:
    """How far a step is: `fraction` from 0 to 1, `note` what it is at."""

    step: str
    fraction: float
    note: str = ""


@dataclass(frozen=True)
class StepDone:
    """A step ended well after `seconds`; `note` is its result in a few words."""

    step: str
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class StepFailed:
    """A step failed; `reason` is one plain sentence."""

    step: str
    seconds: float
    reason: str


@dataclass(frozen=True)
class Note:
    """Something that a person should know (`level`: info or warning)."""

    level: str
    text: str


@dataclass(frozen=True)
class Ended:
    """The job's last word: `status` is one of `states.Ending`; `reason` is one plain sentence."""

    status: str
    reason: str = ""


Event = Waiting | Admitted | StepStarted | Progress | StepDone | StepFailed | Note | Ended
KINDS: dict[str, type[Event]] = {
    "waiting": Waiting,
    "admitted": Admitted,
    "step-started": StepStarted,
    "progress": Progress,
    "step-done": StepDone,
    "step-failed": StepFailed,
    "note": Note,
    "ended": Ended,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def to_line(event: Event, now: float | None = None) -> str:
    """The event as one JSON line, without the line's end; `time` is seconds since 1970. Always encodes to UTF-8."""
    stamp = time.time() if now is None else now
    data = {"time": round(stamp, 3), "event": NAMES[type(event)], **asdict(event)}
    line = json.dumps(data, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # a file name that is no UTF-8; escaped, it reads back as the same name
        return json.dumps(data)
    return line


def from_line(line: str | bytes) -> tuple[float, Event]:
    """Read one line: its time, and the event. Raises ValueError for a line that is no event."""
    try:
        data: dict[str, Any] = json.loads(line)
        stamp = float(data.pop("time"))
        event = KINDS[data.pop("event")](**data)
        values = [(field.type, getattr(event, field.name)) for field in fields(event)]
    except (AttributeError, KeyError, TypeError, RecursionError) as problem:
        raise ValueError(f"not an event: {line[:200]!r}") from problem
    if not (math.isfinite(stamp) and all(_fits(kind, value) for kind, value in values)):
        raise ValueError(f"not an event: {line[:200]!r}")
    return stamp, event


def _fits(kind: Any, value: object) -> bool:
    if kind is str:
        return isinstance(value, str)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
