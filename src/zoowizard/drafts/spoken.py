"""An answer as a person types it: the way back from an answer to the line that gives it, and what a line means."""

import json
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from zoowizard.drafts.completeness import is_answered
from zoowizard.drafts.fields import Field
from zoowizard.drafts.people import CITATION_KEYS, quoted

SEVERAL_LINES: Final = ("paragraph", "people", "citations")
"""The kinds whose answers may be typed on more than one line."""


def understood(field: Field, text: str) -> tuple[Any, str | None]:
    """What was typed, as an answer, and what is wrong with it; (None, None) where nothing was typed.

    The answer is worth something only where the problem is None. An answer of the kind `path` is read from disk to be
    checked, which takes its time.
    """
    if not text.strip():
        return None, None
    try:
        answer = field.parse(text)
    except ValueError as problem:
        return None, str(problem)
    if not is_answered(answer):
        return None, f"says nothing; write for example {field.example}"
    return answer, field.check(answer)


def as_line(field: Field, answer: Any) -> str | None:
    """The line to type for an answer: `field.parse` makes the same answer of it.

    People and citations stand one a line. None where no line says it: a citation whose text has a line break, a text
    with a control character, a choice that the field would spell otherwise.
    """
    wanted = _without_none(answer)
    for line in _lines(field, wanted):
        if _can_be_typed(field, line) and _parsed(field, line) == wanted:
            return line
    return None


def in_short(answer: Any) -> str:
    """Any answer in words, for showing only: no line gives it back."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, Mapping):
        return ", ".join(in_short(value) for value in answer.values() if is_answered(value))
    if isinstance(answer, list | tuple):
        return "; ".join(in_short(one) for one in answer)
    return json.dumps(answer, default=str)


def _lines(field: Field, answer: Any) -> list[str]:
    """The candidates, the plainest first."""
    match field.kind, answer:
        case "people", [*people] if all(_is_entry(person) for person in people):
            return ["\n".join(_person(field, person) for person in people)]
        case "citations", [*citations] if all(_is_entry(one) for one in citations):
            return ["\n".join(_citation(field, one) for one in citations)]
        case "texts", [*texts] if all(isinstance(one, str) for one in texts):
            return [", ".join(texts)]
        case "number", int() | float():
            return [json.dumps(answer)]
        case _, str():
            return [answer]
    return []


def _is_entry(one: Any) -> bool:
    return isinstance(one, Mapping) and all(isinstance(value, str) for value in one.values())


def _person(field: Field, person: Mapping[str, str]) -> str:
    told = {
        "name": person.get("name"),
        "github_user": f"@{person['github_user']}" if "github_user" in person else None,
        "affiliation": person.get("affiliation"),
        "orcid": person.get("orcid"),
        "email": person.get("email"),
    }
    order = ("name", "affiliation", "orcid", "email", "github_user")
    if not told["name"]:  # what comes first and is not known by its looks would be taken for the name
        order = ("github_user", "orcid", "email", "affiliation", "name")
    said = {key: told[key] or "" for key in order if told[key]}
    in_quotes: tuple[tuple[str, ...], ...] = ((), ("affiliation",), ("name",), ("affiliation", "name"))
    candidates = [", ".join(quoted(part) if key in keys else part for key, part in said.items()) for keys in in_quotes]
    return next((line for line in candidates if _parsed(field, line) == [person]), candidates[0])


def _citation(field: Field, citation: Mapping[str, str]) -> str:
    said = [citation[key] for key in CITATION_KEYS if citation.get(key)]
    candidates = [
        ", ".join(dict.fromkeys(said)),
        ", ".join([quoted(said[0]), *said[1:]]) if said else "",
        ", ".join(quoted(one) for one in said),
    ]
    return next((line for line in candidates if _parsed(field, line) == [citation]), candidates[0])


def _parsed(field: Field, line: str) -> Any:
    try:
        return field.parse(line)
    except ValueError:
        return None


def _can_be_typed(field: Field, line: str) -> bool:
    allowed = "\n\t" if field.kind in SEVERAL_LINES else ""
    return all(one in allowed or unicodedata.category(one) not in ("Cc", "Cs", "Zl", "Zp") for one in line)


def _without_none(answer: Any) -> Any:
    """Entries of people and citations that say nothing are as good as absent."""
    if isinstance(answer, list | tuple):
        return [
            {key: value for key, value in one.items() if value is not None} if isinstance(one, Mapping) else one
            for one in answer
        ]
    return answer
