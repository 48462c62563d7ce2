"""The steps of a job, one line each: sign, what it does, time, and how far it is."""

from collections.abc import Mapping, Sequence
from typing import Final

from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from zoowizard.board.markdown import cut, padded, width_of
from zoowizard.jobs.build_steps import BUILD_STEPS, KEPT, STOPPED
from zoowizard.jobs.history import StepState
from zoowizard.jobs.state import Job
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.terminal import printable

PLANS: Final[Mapping[str, str]] = {
    "convert": "into the zoo's weight formats",
    "describe": "from your answers and the image",
    "compare": "the same images through both",
    "package": "one zip, as the zoo takes it",
    "test": "each weight format by itself",
    "save": "once all tests have passed",
}
"""What a step of a build will do, where it has not begun."""

WORDS_WIDTH: Final = 31
NARROW_WORDS_WIDTH: Final = 16
NARROW: Final = 60
TELLS_FROM: Final = 0.25
"""A step that is less far than this cannot tell how long it will take."""


class JobChecklist(Vertical):
    """Shows the steps of a job, those to come as well; only the lines that changed are drawn again."""

    def show(self, steps: Sequence[StepState], expected: Mapping[str, float], width: int, over: bool) -> None:
        """`expected` are seconds by step from an earlier run; `over` is true where no step will begin any more."""
        lines = [line(step, expected.get(step.name), width, over) for step in steps]
        there = list(self.query(Static))
        for widget, content in zip(there, lines, strict=False):
            if widget.content != content:
                widget.update(content, layout=False)
        for content in lines[len(there) :]:
            self.mount(Static(content, markup=False))
        for widget in there[len(lines) :]:
            widget.remove()


def all_steps(job: Job | None) -> list[StepState]:
    """The steps that the job has begun, and for a build those to come: `state` is open there."""
    begun = [] if job is None else list(job.steps)
    if job is not None and job.kind != "build":
        return begun
    names = {step.name for step in begun}
    to_come = [StepState(name, "open", 0.0) for name in BUILD_STEPS if name not in names]
    return begun + (to_come if job is None or job.state != "passed" else [])


def line(step: StepState, expected_s: float | None, width: int, over: bool) -> Content:
    """One line of at most `width` cells."""
    glyph, style = _sign(step)
    narrow = width < NARROW
    room = NARROW_WORDS_WIDTH if narrow else WORDS_WIDTH
    words = padded(cut(words_of(step.name), room), room)
    time = "" if step.state == "open" else clock(step.seconds)
    head = f"{glyph} {words} {time:>6}  "
    note = cut(_note(step, expected_s, over), max(0, width - width_of(head)))
    weight = "bold" if step.state in ("running", "failed") else "dim" if step.state == "open" else ""
    return Content.assemble((f"{glyph} ", style), (f"{words} ", weight), f"{time:>6}  ", (note, _note_style(step)))


def words_of(step: str) -> str:
    """What a step does, in plain words."""
    return printable(BUILD_STEPS.get(step, step))


def clock(seconds: float) -> str:
    """Minutes and seconds, as `1:05`; hours where it must be."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def remaining_s(step: StepState, expected_s: float | None) -> float | None:
    """How long a step will still take: from an earlier run, else from how far it is; None where neither can tell."""
    if step.state != "running":
        return None
    if expected_s is not None and expected_s > step.seconds:
        return expected_s - step.seconds
    if step.fraction is None or not TELLS_FROM <= step.fraction < 1 or step.seconds < 3:
        return None
    return step.seconds * (1 - step.fraction) / step.fraction


def _sign(step: StepState) -> tuple[str, str]:
    match step.state:
        case "done":
            return GLYPHS.done, "$text-success"
        case "failed" | "stopped":
            return GLYPHS.failed, "$text-error"
        case "running":
            return GLYPHS.current, "$text-primary"
    return GLYPHS.open, "dim"


def _note_style(step: StepState) -> str:
    return "$text-error" if step.state in ("failed", "stopped") else "dim" if step.state in ("open", "done") else ""


def _note(step: StepState, expected_s: float | None, over: bool) -> str:
    note = printable(" ".join(step.note.split()))
    match step.state:
        case "open":
            return "not done" if over else PLANS.get(step.name, "")
        case "failed":
            return "stopped in the middle" if step.note == STOPPED else "failed"
        case "stopped":
            return "stopped in the middle"
        case "done":
            return note if note and step.name != "save" else KEPT if note == KEPT else "done"
    parts = [] if not step.fraction else [f"{step.fraction:.0%}"]
    left = remaining_s(step, expected_s)
    if left is not None and left >= 1:
        parts.append(f"{clock(left)} left")
    return "  ".join([*parts, note]) if parts or note else "at work"
