"""A family's own questions, as the settings of a package: what people must know to predict as the model does."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from zoowizard.drafts.fields import Field
from zoowizard.drafts.questions import FIELDS
from zoowizard.families.registry import questions

COMMON: Final = frozenset(field.name for field in FIELDS)
SHORT: Final = ("choice", "number", "text", "texts")
"""Kinds of fields whose answer fits into a line and is no file of the person's."""


def own_questions(name: str, values: Mapping[str, Any] = MappingProxyType({})) -> tuple[Field, ...]:
    """Those of the family `name` that are its own, with those that bare `values` lead to.

    Only such with short answers: none that all families share, none that is a path.
    """
    return tuple(one for one in questions(name, values) if one.name not in COMMON and one.kind in SHORT)


def settings_of(questions: Sequence[Field], values: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The answers to a family's own questions, and the short ones of the conversion's facts, by name."""
    short = [name for name, fact in facts.items() if isinstance(fact, (str, int, float))]
    names = dict.fromkeys([*(one.name for one in questions), *short])
    return {name: values[name] for name in names if values.get(name) is not None}
