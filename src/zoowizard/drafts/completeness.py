"""How far a draft is: what is missing, what is wrong, what only the network can tell. All of it derived."""

from collections.abc import Sequence
from typing import Any

from zoowizard.drafts.draft import DEFAULT, Draft, Value
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.questions import FIELDS


def all_fields(family_fields: Sequence[Field]) -> tuple[Field, ...]:
    """The common questions and a family's own; a family's question takes the place of a common one of its name."""
    own = {field.name: field for field in family_fields}
    common = [own.pop(field.name, field) for field in FIELDS]
    return (*common, *own.values())


def is_answered(value: Any) -> bool:
    """Whether there is an answer at all; None, an empty text and an empty list are none."""
    return not (value is None or (isinstance(value, str) and not value.strip()) or value in ([], (), {}))


def defaults(fields: Sequence[Field]) -> dict[str, Value]:
    """The values that hold where neither a file nor a person says otherwise."""
    return {field.name: Value(field.default, DEFAULT) for field in fields if field.default is not None}


def problems(draft: Draft, fields: Sequence[Field]) -> dict[str, str]:
    """What is wrong with the answers that are there: field name → plain sentence."""
    found = {}
    for field in fields:
        answer = draft.get(field.name)
        if is_answered(answer) and (problem := field.check(answer)):
            found[field.name] = problem
    return found


def hints(draft: Draft, fields: Sequence[Field]) -> dict[str, str]:
    """What is allowed but could be better: field name → plain sentence. Stops nothing."""
    found = {}
    for field in fields:
        answer = draft.get(field.name)
        if is_answered(answer) and not field.check(answer) and (hint := field.hint(answer)):
            found[field.name] = hint
    if warning := license_warning(draft):
        found["license"] = warning
    return found


def missing(draft: Draft, family_fields: Sequence[Field] = ()) -> list[str]:
    """The names of the required fields, common ones and the family's, that have no usable answer."""
    return [
        field.name
        for field in all_fields(family_fields)
        if field.need is Need.REQUIRED and not _is_usable(draft, field)
    ]


def completeness(draft: Draft, fields: Sequence[Field]) -> tuple[int, int]:
    """How many of the required and recommended fields have a usable answer, and how many there are."""
    wanted = [field for field in fields if field.need is not Need.OPTIONAL]
    return sum(_is_usable(draft, field) for field in wanted), len(wanted)


def deferred(draft: Draft, fields: Sequence[Field]) -> list[str]:
    """What only the network can tell about the answers, as questions to be asked when there is one."""
    asked = [field.deferred(draft.get(field.name)) for field in fields if _is_usable(draft, field)]
    return list(dict.fromkeys(question for question in asked if question))


def license_warning(draft: Draft) -> str | None:
    """Says so where the licence that a person chose is not the one that stands in the checkpoint."""
    found, given = draft.found.get("license"), draft.given.get("license")
    if found is None or given is None or found.origin == DEFAULT or found.value == given.value:
        return None
    return (
        f"the {found.origin} says {found.value}, you chose {given.value}: "
        f"make sure that you may, or write {found.value} as the licence"
    )


def _is_usable(draft: Draft, field: Field) -> bool:
    answer = draft.get(field.name)
    return is_answered(answer) and field.check(answer) is None
