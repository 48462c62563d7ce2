"""The plain prompts: the same questions as the screens ask, for a dumb terminal, a screen reader, or a pipe."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.completeness import is_answered
from zoowizard.drafts.draft import Draft
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.spoken import understood
from zoowizard.terminal import printable, wrapped

LISTED: Final = 20
"""So many of the models nearby are offered with a number; others can be named by their path."""


class PromptsEnded(Exception):
    """The person closed the input before everything was answered; what was answered is saved."""


def choose_model(here: Path) -> Path:
    """Ask which model: by its number in the list of those near `here`, newest first, or by its path.

    Raises PromptsEnded at the end of the input.
    """
    from zoowizard.families.nearby import Bounds, search

    _say(f"Looking for models in {printable(str(here))} ...")
    found = [one for one in search(here, Bounds(seconds=20.0), {}) if one.get("obstacle", "") is None]
    found.sort(key=lambda one: one["modified"] or 0.0, reverse=True)
    for number, one in enumerate(found[:LISTED], start=1):
        _say(f"  {number}. {printable(os.path.relpath(one['path'], here))}: {printable(one['what'])}")
    more = f", {len(found) - LISTED} more that are not listed" if len(found) > LISTED else ""
    _say(f"{len(found)} models found{more}.")
    while True:
        line = _read("Model (its number, or a path): ").strip()
        path = _path_of(line, found[:LISTED])
        if path is not None and os.path.lexists(path):
            return path
        _say(
            "! type the number of a model in the list, or the path of a checkpoint or run folder"
            if path is None
            else f"! {printable(str(path))} does not exist"
        )


def _path_of(line: str, listed: Sequence[Mapping[str, Any]]) -> Path | None:
    if line.isdecimal():
        return Path(listed[int(line) - 1]["path"]) if 0 < int(line) <= len(listed) else None
    return Path(line.strip("\"'")).expanduser() if line else None


def ask_missing(
    draft: Draft,
    questions_for: Callable[[Draft], Sequence[Field]],
    answered: Callable[[Draft, Mapping[str, Any]], Draft],
    keep: Callable[[Draft], None],
) -> Draft:
    """Ask what is required and missing or wrong, then what is recommended and missing.

    An answer may lead to further questions: `questions_for` gives those of a draft, `answered` the draft with answers.
    `keep` is called with the draft after every answer. Raises PromptsEnded at the end of the input.
    """
    asked: set[str] = set()
    while open_fields := [one for one in _open(draft, questions_for(draft)) if one.name not in asked]:
        if not asked:
            _say("The files tell the rest; these are the open questions. Enter alone skips one that is not required.")
        field = open_fields[0]
        asked.add(field.name)
        answer = _ask(field, f"[{len(asked)}/{len(asked) + len(open_fields) - 1}]")
        if answer is not None:
            draft = answered(draft, {field.name: answer})
            keep(draft)
    return draft


def _open(draft: Draft, fields: Sequence[Field]) -> list[Field]:
    """The questions without a right answer, those that are required first, and before them what they hang on."""
    wanted = [field for need in (Need.REQUIRED, Need.RECOMMENDED) for field in fields if field.need is need]
    places = {field.name: place for place, field in enumerate(fields)}
    for field in [one for one in wanted if one.leads and one.need is not Need.REQUIRED]:
        wanted.remove(field)
        after = [one for one in wanted if one.need is Need.REQUIRED and places[one.name] < places[field.name]]
        wanted.insert(len(after), field)
    return [field for field in wanted if not _is_right(field, draft.get(field.name))]


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
        answer, problem = understood(field, _chosen(field, line))
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
