"""What is to be shown of one question, derived from the situation: answer, origin, problem, hint."""

from dataclasses import dataclass
from typing import Any, Final

from zoowizard.board.markdown import cut
from zoowizard.drafts.completeness import is_answered, license_warning
from zoowizard.drafts.draft import DEFAULT, GIVEN, Draft, Value
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.spoken import as_line, in_short, understood
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.situation import Situation
from zoowizard.terminal import printable

LONGEST_SHOWN: Final = 400
"""Letters; more do not fit on a line of any screen."""


@dataclass(frozen=True)
class FieldState:
    """One question as it stands.

    `line` is the answer as it is typed, None where no line says it; `shown` is it on one line, for reading. `origin` is
    "you", "checkpoint", "default", the name of a file, or empty. `found` is what files tell, which an answer may hide:
    then `beneath` says so. `typed` stands in the input without being a right answer. `problem` and `hint` are
    sentences or empty.
    """

    field: Field
    answer: Any = None
    line: str | None = None
    shown: str = ""
    origin: str = ""
    found: Value | None = None
    beneath: str = ""
    typed: str | None = None
    problem: str = ""
    hint: str = ""

    @property
    def answered(self) -> bool:
        """Whether there is an answer, right or wrong."""
        return is_answered(self.answer)

    @property
    def usable(self) -> bool:
        """Whether the answer is right, and nothing else stands in the input."""
        return self.answered and not self.problem

    @property
    def doubtful(self) -> bool:
        """Whether a person should look at it: missing although wanted, wrong, or not as good as it could be."""
        missing = not self.answered and self.field.need is not Need.OPTIONAL
        return missing or bool(self.problem) or bool(self.hint) or self.typed is not None

    @property
    def text(self) -> str:
        """What stands in the input when nobody is typing there."""
        return self.typed if self.typed is not None else self.line or ""


def state_of(question: Field, situation: Situation) -> FieldState:
    """The question as it stands in the situation. Files that answers name are not looked at."""
    draft = situation.draft
    typed = situation.typed.get(question.name)
    if draft is None:
        return FieldState(question, typed=typed)
    known = draft.values.get(question.name)
    answer = None if known is None or not is_answered(known.value) else known.value
    problem = (problem_of(question, answer) if typed is None else understood_problem(question, typed)) or ""
    line = None if answer is None else as_line(question, answer)
    return FieldState(
        question,
        answer=answer,
        line=line,
        shown="" if answer is None else one_line(line if line is not None else in_short(answer), question.kind),
        origin="" if known is None or answer is None else origin_of(known),
        found=draft.found.get(question.name),
        beneath=_beneath(question, draft),
        typed=typed,
        problem=problem,
        hint="" if problem or answer is None else hint_of(question, answer, draft) or "",
    )


def problem_of(question: Field, answer: Any) -> str | None:
    """What is wrong with an answer, as far as it can be told without looking at files."""
    return None if answer is None or question.kind == "path" else question.check(answer)


def understood_problem(question: Field, text: str) -> str | None:
    """What is wrong with a text in the input, as far as it can be told without looking at files."""
    return None if question.kind == "path" else understood(question, text)[1]


def hint_of(question: Field, answer: Any, draft: Draft | None) -> str | None:
    """What could be better about a right answer."""
    warning = license_warning(draft) if draft is not None and question.name == "license" else None
    return warning or question.hint(answer)


def origin_of(known: Value) -> str:
    """Where an answer is from, in the person's words."""
    return "you" if known.origin == GIVEN else printable(known.origin)


def one_line(text: str, kind: str) -> str:
    """A text as it may stand on one line of the screen."""
    between = "; " if kind in ("people", "citations") else " "
    return printable(between.join(part.strip() for part in text[: 2 * LONGEST_SHOWN].splitlines()))[:LONGEST_SHOWN]


def fitting(text: str, width: int) -> str:
    """The text, at most `width` cells wide, with an ellipsis where it was cut."""
    if width <= 0:
        return ""
    narrower = width - len(GLYPHS.ellipsis) + 1
    kept = cut(text, width)
    return kept if kept == text or GLYPHS.ellipsis == "…" else cut(text, narrower).removesuffix("…") + GLYPHS.ellipsis


def _beneath(question: Field, draft: Draft) -> str:
    found, given = draft.found.get(question.name), draft.given.get(question.name)
    if found is None or given is None or found.value == given.value or not is_answered(found.value):
        return ""
    line = as_line(question, found.value)
    said = one_line(line if line is not None else in_short(found.value), question.kind)
    return f"default: {said}" if found.origin == DEFAULT else f"{printable(found.origin)} says {said}"
