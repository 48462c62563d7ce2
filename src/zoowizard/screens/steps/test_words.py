"""What the step Test says, from the situation and the job alone."""

import textwrap
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

from textual.content import Content

from zoowizard.agreement import in_words
from zoowizard.board.markdown import cut
from zoowizard.drafts.completeness import is_answered
from zoowizard.drafts.fields import Need
from zoowizard.jobs.advice import what_to_do
from zoowizard.jobs.build_steps import BUILD_STEPS, KEPT
from zoowizard.jobs.state import Job
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import Situation
from zoowizard.screens.widgets.checklist import clock, words_of
from zoowizard.screens.widgets.path_input import from_home
from zoowizard.terminal import printable

ASK_AGAIN: Final = "Press c again to end the build. What is done already is kept for a retry."
ASK_AGAIN_ZOO: Final = "Press c again to end the test with the zoo's versions."
MOST_LACKING: Final = 4
LONGEST_REASON: Final = 600
ZOO_SOFTWARE: Final = ("bioimageio.core", "torch", "onnxruntime")


class State(Enum):
    """What the step shows."""

    LOCKED = auto()
    LACKING = auto()
    READY = auto()
    RUNNING = auto()
    PASSED = auto()
    OUTDATED = auto()
    FAILED = auto()
    MENDED = auto()


def state_of(situation: Situation | None, job: Job | None) -> State:
    """Which one it is."""
    if job is not None and not job.over:
        return State.RUNNING
    if situation is None or situation.draft is None:
        return State.LACKING
    if job is not None and job.state == "passed" and not situation.outdated:
        return State.PASSED
    if situation.read_only:
        return State.LOCKED
    if lacking(situation):
        return State.LACKING
    if job is None:
        return State.READY
    if job.state == "passed":
        return State.OUTDATED
    return State.MENDED if situation.changed else State.FAILED


def lacking(situation: Situation) -> dict[str, str]:
    """What stands between the draft and a build, in the order of the fields: name → sentence.

    What was typed and is not right counts too: a person who sees it there means it. Of files it only tells whether they
    were named: looking into them takes too long here.
    """
    draft = situation.draft
    if draft is None or draft.checkpoint is None:
        return {"checkpoint": "there is no checkpoint yet"}
    found = {}
    for field in situation.fields:
        answer = draft.get(field.name)
        if field.name in situation.typed:
            found[field.name] = f"{field.label}: what was typed there last is no answer yet"
        elif not is_answered(answer):
            if field.need is Need.REQUIRED:
                found[field.name] = f"{field.label}: is missing"
        elif field.kind != "path" and (problem := field.check(answer)):
            found[field.name] = f"{field.label}: {problem}"
    return found


def headline(state: State, situation: Situation, job: Job | None, width: int) -> Content:
    """The state in a line."""
    total = "" if job is None else clock(_seconds(job))
    match state:
        case State.RUNNING if job is not None and job.state in ("queued", "unknown"):
            head = f"{GLYPHS.open} {job.state.capitalize()}   {_one_line(job.reason)}"
            return Content.styled(cut(head.rstrip(), width), "bold")
        case State.RUNNING if job is not None:
            number = len(job.steps)
            where = "starting" if not number else f"step {number} of {max(number, len(BUILD_STEPS))}"
            return Content.assemble((f"{GLYPHS.current} Testing", "bold $text-primary"), f"   {where}   {total}")
        case State.PASSED:
            return Content.assemble((f"{GLYPHS.done} Passed", "bold $text-success"), (f"   in {total}", "dim"))
        case State.OUTDATED:
            words = "Passed, but answers were changed since: build again"
            return Content.styled(cut(f"{GLYPHS.warning} {words}", width), "bold $text-warning")
        case State.FAILED if job is not None:
            return Content.styled(cut(f"{GLYPHS.failed} {_failed_where(job)}   {total}", width), "bold $text-error")
        case State.MENDED if job is not None:
            words = f"{_failed_where(job)}; answers were changed since: build again"
            return Content.styled(cut(f"{GLYPHS.warning} {words}", width), "bold $text-warning")
        case State.LACKING:
            return Content.styled(f"{GLYPHS.open} Not ready yet: something is missing", "bold")
    took = _took(situation.built)
    return Content.assemble((f"{GLYPHS.open} Ready to be built and tested", "bold"), (took and f"   {took}", "dim"))


def said(state: State, situation: Situation, job: Job | None, zoo: Job | None, width: int) -> Content:
    """What there is to say below the steps; `zoo` is the test of what was built with the zoo's versions."""
    lines: list[Content] = []
    match state:
        case State.LACKING:
            lines += _lacking_lines(situation, width)
        case State.READY:
            lines += _hanging("", "Press Enter to start. It goes on if you leave, or lose the connection.", width)
        case State.PASSED | State.OUTDATED if job is not None:
            lines += _passed_lines(job, zoo, width)
        case State.FAILED | State.MENDED if job is not None:
            lines += _failed_lines(job, situation.changed, width)
    if situation.read_only:
        lines += _hanging(GLYPHS.warning, situation.read_only, width, "$text-warning")
    if state in (State.LACKING, State.LOCKED) and job is not None and job.state not in ("passed",):
        lines += _failed_lines(job, situation.changed, width)
    lines += _after_words(state, situation, job, width)
    return Content("\n").join(lines)


def _lacking_lines(situation: Situation, width: int) -> Iterator[Content]:
    sentences = list(lacking(situation).values())
    for sentence in sentences[:MOST_LACKING]:
        yield _plain(cut(f"{GLYPHS.failed} {_one_line(sentence)}", width))
    more = len(sentences) - MOST_LACKING
    if more > 0:
        yield _plain(f"  and {more} more", "dim")
    where = "Check" if list(lacking(situation)) == ["test_image"] else "Describe"
    yield _plain(f"Press Enter to answer in the step {where}.")


def _passed_lines(job: Job, zoo: Job | None, width: int) -> Iterator[Content]:
    outcome = job.outcome or {}
    yield from _hanging(
        GLYPHS.done,
        parity_in_words(outcome.get("parity"), outcome.get("not_measured"), outcome.get("agreement")),
        width,
        "$text-success",
        "",
    )
    if zoo is not None:
        yield from _zoo_lines(zoo, width)
    if formats := outcome.get("formats"):
        yield _entry("Weights", ", ".join(map(str, formats)), width)
    for label, name in (("Package", "package"), ("Report", "report")):
        if outcome.get(name):
            path = Path(str(outcome[name]))
            yield _entry(label, from_home(path.with_suffix(".md") if name == "report" else path), width)
    for warning in outcome.get("warnings") or ():
        yield from _hanging(GLYPHS.warning, str(warning), width, "$text-warning", "")


def _failed_lines(job: Job, changed: bool, width: int) -> Iterator[Content]:
    """Why it failed, and what to do. What failed with other answers need not fail with those that stand now."""
    reason = _one_line(job.reason) or f"it ended as {job.state}"
    if changed:
        yield from _hanging(GLYPHS.none, cut(f"With the answers before: {reason}", LONGEST_REASON), width, "dim")
        return
    yield from _hanging(GLYPHS.failed, cut(f"{reason[:1].upper()}{reason[1:]}", LONGEST_REASON), width, "$text-error")
    if advice := what_to_do(job):
        yield from _hanging("", f"What to do: {advice}", width)


def _after_words(state: State, situation: Situation, job: Job | None, width: int) -> Iterator[Content]:
    """What is known beside the result: an older package, notes, a damaged record."""
    built = situation.built
    if built is not None and job is not None and state is not State.RUNNING and job.state != "passed":
        yield _plain("The package that passed before is kept as it is.", "dim")
    if job is None:
        return
    if job.broken_lines:
        lines = "1 line" if job.broken_lines == 1 else f"{job.broken_lines} lines"
        yield _plain(f"{GLYPHS.warning} {lines} of its record {'is' if job.broken_lines == 1 else 'are'} damaged")
    for note in job.notes:
        if note.level == "warning":
            yield from _hanging(GLYPHS.warning, note.text, width, "$text-warning", "")
        else:
            yield from _hanging(GLYPHS.none, note.text, width, "dim")
    if state is State.PASSED:
        yield _plain("Press Enter to go on to Upload.")
    elif state is State.FAILED:
        yield _plain("Press Enter to go on from where it failed.")
    elif state is State.MENDED:
        yield _plain("Press Enter to build with the answers as they are now.")


def _zoo_lines(zoo: Job, width: int) -> Iterator[Content]:
    """How the test with the versions of the zoo's runner goes, or what came of it."""
    where = "In the versions of the zoo's runner"
    if not zoo.over:
        step = next((one for one in reversed(zoo.steps) if one.state == "running"), None)
        done = f" {step.fraction:.0%}" if step is not None and step.fraction else ""
        words = f"{step.name}{done}  {step.note}" if step is not None else zoo.reason or zoo.state
        yield _plain(cut(f"{GLYPHS.current} {where}: {_one_line(words)}", width))
    elif zoo.state == "passed":
        found = (zoo.outcome or {}).get("zoo") or {}
        versions = found.get("versions") or {}
        with_ = ", ".join(f"{name} {versions[name]}" for name in ZOO_SOFTWARE if name in versions)
        words = f"{where}, too: {', '.join(map(str, found.get('formats') or ()))} passed ({with_})."
        yield from _hanging(GLYPHS.done, words, width, "$text-success", "")
    else:
        reason = _one_line(zoo.reason) or f"it ended as {zoo.state}"
        words = f"{reason[:1].upper()}{reason[1:]}" if "zoo's versions" in reason else f"{where}: {reason}"
        yield from _hanging(GLYPHS.failed, cut(words, LONGEST_REASON), width, "$text-error")


def parity_in_words(parity: Any, not_measured: Any = None, agreement: Any = None) -> str:
    """How far the package agrees with the model, in a sentence; `not_measured` is the reason why nobody knows."""
    if not isinstance(parity, dict):
        if said := in_words(agreement):
            return f"The package predicts what the model predicts: {said}."
        unknown = (
            f" How far it predicts what the model predicts was not measured: {not_measured}." if not_measured else ""
        )
        return f"The package passed its tests.{unknown}"
    images = parity.get("images")
    on = f" on {images} images" if isinstance(images, int) else ""
    pixels, iou = parity.get("identical_pixels"), parity.get("mean_iou")
    if pixels == 1:
        return f"The package predicts what the model predicts: every pixel is the same{on}."
    share = f"{int(pixels * 10_000) / 100:g} % of the pixels are the same" if isinstance(pixels, int | float) else ""
    overlap = f"the objects overlap by {int(iou * 10_000) / 10_000:.4f} (mean IoU)" if isinstance(iou, float) else ""
    words = " and ".join(part for part in (share, overlap) if part)
    return f"The package predicts nearly what the model predicts: {words}{on}." if words else "It passed its tests."


def _failed_where(job: Job) -> str:
    failed = next((step for step in reversed(job.steps) if step.state in ("failed", "stopped")), None)
    words = {"cancelled": "Cancelled", "timed-out": "Out of time", "died": "Died"}
    word = words.get(job.state, "Failed")
    return word if failed is None else f"{word}: {words_of(failed.name)}"


def _seconds(job: Job) -> float:
    return job.seconds if job.seconds is not None else sum(step.seconds for step in job.steps)


def _took(built: Job | None) -> str:
    """How long it took before; a build that took over what another had done tells nothing."""
    if built is None or built.seconds is None or any(step.note == KEPT for step in built.steps):
        return ""
    return f"took {clock(built.seconds)} the last time, on this computer"


def _entry(label: str, text: str, width: int) -> Content:
    """A label and what belongs to it; of a long path the end is kept, which tells more."""
    line, room = _one_line(text), max(10, width - 11)
    kept = line if len(line) <= room else GLYPHS.ellipsis + line[-(room - len(GLYPHS.ellipsis)) :]
    return Content.assemble((f"  {label:<8} ", "dim"), kept)


def _hanging(sign: str, text: str, width: int, style: str = "", text_style: str | None = None) -> Iterator[Content]:
    """A sign and a text broken between words, its lines below each other; `text_style` is `style` where not given."""
    room = max(10, width - 2 if sign else width)
    for number, line in enumerate(textwrap.wrap(_one_line(text), room, break_on_hyphens=False)):
        head = "" if not sign else f"{sign} " if number == 0 else "  "
        yield Content.assemble((head, style), (line, style if text_style is None else text_style))


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _plain(text: str, style: str = "") -> Content:
    return Content.styled(printable(text), style) if style else Content(printable(text))
