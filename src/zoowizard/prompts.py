"""The plain prompts: the same questions as the screens ask, for a dumb terminal, a screen reader, or a pipe."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from zoowizard.drafts.completeness import is_answered
from zoowizard.drafts.draft import Draft, with_given
from zoowizard.drafts.fields import Field, Need
from zoowizard.terminal import wrapped


class PromptsEnded(Exception):
    """The person closed the input before everything was answered; what was answered is saved."""


def ask_missing(draft: Draft, fields: Sequence[Field], keep: Callable[[Draft], None]) -> Draft:
    """Ask what is required and missing or wrong, then what is recommended and missing.

    `keep` is called with the draft after every answer. Raises PromptsEnded at the end of the input.
    """
    wanted = [field for need in (Need.REQUIRED, Need.RECOMMENDED) for field in fields if field.need is need]
    open_fields = [field for field in wanted if not _is_right(field, draft.get(field.name))]
    if open_fields:
        _say("The files tell the rest; these are the open questions. Enter alone skips one that is not required.")
    for number, field in enumerate(open_fields, start=1):
        answer = _ask(field, f"[{number}/{len(open_fields)}]")
        if answer is not None:
            draft = with_given(draft, {field.name: answer})
            keep(draft)
    return draft


def _is_right(field: Field, answer: Any) -> bool:
    return is_answered(answer) and field.check(answer) is None


def _ask(field: Field, place: str) -> Any:
    """Ask until the answer is right; None where it was skipped."""
    _say(f"\n{place} {field.label} ({field.need})\n{field.help}\nExample: {field.example}")
    if field.choices:
        _say("\n".join(f"  {number}. {choice}" for number, choice in enumerate(field.choices, start=1)))
    while True:
        line = _read(f"{field.label}: ")
        if not line.strip():
            if field.need is not Need.REQUIRED:
                return None
            _say("! this one is required")
            continue
        try:
            answer = field.parse(_chosen(field, line))
            problem = field.check(answer) if is_answered(answer) else f"says nothing; write for example {field.example}"
        except ValueError as error:
            problem = str(error)
        if problem is None:
            return answer
        _say(f"! {problem}")


def _chosen(field: Field, line: str) -> str:
    """The choice with the number that was typed, or the line itself."""
    if line.strip().isdecimal() and 0 < int(line) <= len(field.choices):
        return field.choices[int(line) - 1]
    return line


def _say(text: str) -> None:
    print(wrapped(text), file=sys.stderr)


def _read(prompt: str) -> str:
    """Standard output stays free for the command's answer, so the prompt goes where messages go."""
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        _say("")
        raise PromptsEnded
    return line
