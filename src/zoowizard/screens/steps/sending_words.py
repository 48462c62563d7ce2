"""What the step Upload says of something that is on its way to a server."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from zoowizard.board.uploads import Standing, doing
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.steps.upload_words import readable
from zoowizard.terminal import printable

DOING: Final = {
    "check": "looking at the package",
    "draft": "making the draft",
    "card": "writing the model card",
    "repository": "making the repository",
    "send": "sending the files",
    "verify": "letting the server confirm every byte",
    "submit": "asking for the review",
}
"""A step of the job → what is done in it."""
BAR_WIDTH: Final = 30
Line = tuple[str, str]
"""A text, and its style."""


def pending_lines(standing: Standing) -> Iterator[Line]:
    """What is said of an upload that is queued, under way, paused, or failed."""
    match standing.state:
        case "sending":
            name = f", as {standing.name}" if standing.name else ""
            yield f"{GLYPHS.current} {_now(standing)}{name}", "$text-primary"
            yield "It goes on if you leave, or lose the connection.", "dim"
        case "paused":
            yield f"{GLYPHS.open} Paused: the server has {standing.percent} %, which is not sent again.", ""
            yield "Enter: go on.", ""
        case "queued":
            yield f"{GLYPHS.open} Queued: {standing.problem}", "$text-warning"
            yield "It is sent when there is a network: Enter again, or `zoowizard upload --pending`.", ""
        case "failed":
            yield f"{GLYPHS.failed} {standing.problem}", "$text-error"
            yield "What arrived is kept. Enter: try again.", ""


def _now(standing: Standing) -> str:
    step = doing(standing)
    if not step:
        job = standing.job
        return job.reason if job is not None and job.reason else "about to begin"
    return DOING.get(step, step)


def bar_of(standing: Standing) -> str:
    """How far the sending is: a bar, and what the job says of speed and time; empty where nothing is being sent."""
    job = standing.job
    if job is None or doing(standing) != "send":
        return ""
    full, empty = ("█", "░") if GLYPHS.blocks else ("#", ".")
    done = job.steps[-1].fraction or 0.0
    filled = round(BAR_WIDTH * done)
    return f"{full * filled}{empty * (BAR_WIDTH - filled)} {done:>4.0%}  {printable(job.steps[-1].note)}".rstrip()


def moment(at: datetime) -> str:
    """A moment for people, in the time of this computer."""
    return at.astimezone().strftime("on %d %B %Y at %H:%M")


def in_words(size: int, files: int) -> str:
    """What would be sent: `10 files, 2.9 MB`."""
    return f"{files} files, {readable(size)}" if files else readable(size)
