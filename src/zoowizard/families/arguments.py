"""The arguments with which a network is made: asked one by one, as its signature says, and put together again."""

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.checks import check_among, check_line, check_number, parse_list, parse_number, shown, what_it_is
from zoowizard.drafts.completeness import is_answered
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.questions import parse_choice
from zoowizard.errors import ZoowizardError
from zoowizard.families import architecture
from zoowizard.families.architecture import Code
from zoowizard.families.signatures import NOTHING, Parameter, Signature, as_json

PREFIX: Final = "argument_"
MORE: Final = "more_arguments"
GROUP: Final = "Architecture"
YES_OR_NO: Final = ("True", "False")
LARGEST: Final = 1e12
_GUESSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("in_channels", "n_channels", "input_channels", "in_ch", "num_channels", "in_chans"), "input_channels"
    ),
    **dict.fromkeys(
        ("out_channels", "n_classes", "num_classes", "output_channels", "out_ch", "classes"), "output_channels_guessed"
    ),
    **dict.fromkeys(("spatial_dims", "dimensions", "ndim", "ndims"), "spatial_axes_found"),
}
"""By the name of an argument the value, read from the weights, that it probably has."""


def signature_of(values: Mapping[str, Any]) -> tuple[Signature | None, str]:
    """The signature of the network that the answers name, and its name; None where it is not known yet.

    `values` are bare: `architecture_file` and `network`, or `network` alone for an installed library.
    """
    network = values.get("network")
    try:
        code, name = place_of(values.get("architecture_file"), network)
        return architecture.signature(code, name), name
    except ZoowizardError:
        return None, ""


def place_of(file: Any, network: Any) -> tuple[Code, str]:
    """The code in which a network is defined, and its name there. Raises ZoowizardError with a sentence."""
    if not isinstance(network, str) or not network.strip():
        raise ZoowizardError("is no name; write the name of a class or function")
    if is_answered(file):
        return architecture.parsed(Path(str(file)).expanduser()), network
    return architecture.in_library(network)


def fields_for(values: Mapping[str, Any]) -> Sequence[Field]:
    """A question for each parameter of the network that the answers name; none where it is not known."""
    signature, name = signature_of(values)
    if signature is None:
        return ()
    known = values.get("hyper_parameters")
    told = {**_guesses(values), **(known if isinstance(known, Mapping) else {})}
    fields = [_field(one, name, told.get(one.name, NOTHING)) for one in signature.parameters]
    return [*fields, _more(name)] if signature.more else fields


def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments that the answers give, as JSON holds them; lists only where they are not the default.

    What the source takes by default may be a tuple, which a package cannot hold: so it is left to the source.
    """
    signature, _ = signature_of(values)
    given: dict[str, Any] = {}
    for one in signature.parameters if signature is not None else ():
        answer = values.get(PREFIX + one.name)
        if answer is None or answer == "":
            continue
        value = _value(one, answer)
        if isinstance(value, bool | int | float | str) or value != one.default:
            given[one.name] = value
    more = values.get(MORE)
    return {**given, **(read_json(more) if signature is not None and signature.more and more else {})}


def read_json(answer: Any) -> Any:
    """A value out of JSON, or as Python writes it; a single word is a text. Raises ValueError with a sentence."""
    if not isinstance(answer, str):
        return as_json(answer)
    text = answer.strip()
    for read in (json.loads, ast.literal_eval):
        try:
            return as_json(read(text))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    if not text or any(letter in text for letter in "[]{}()\"'"):
        raise ValueError(f"{shown(text)} is no value; write a number, a text, or a list such as [32, 64]")
    return text


def _guesses(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[of] for name, of in _GUESSED.items() if isinstance(values.get(of), int)}


def _value(one: Parameter, answer: Any) -> Any:
    if one.kind == "yes or no":
        return answer is True or answer == "True"
    if one.kind == "whole number" and isinstance(answer, float):
        return int(answer)
    if one.kind == "list" and isinstance(answer, list | tuple):
        texts = isinstance(one.default, list) and all(isinstance(part, str) for part in one.default)
        return list(answer) if texts else [read_json(part) for part in answer]
    return read_json(answer) if one.kind == "json" else answer


def _field(one: Parameter, network: str, told: Any) -> Field:
    kind, check, parse, choices, example, words = _forms(one)
    default = _as_answer(one, one.default)
    if told is not NOTHING and (from_file := _as_answer(one, told)) is not None and check(from_file) is None:
        default = from_file
    need = Need.REQUIRED if one.required and default is None else Need.OPTIONAL
    own = f"; left out, {one.told or 'None'}" if not one.required and default is None else ""
    if one.default is not NOTHING and one.default is not None:
        own = f"; {network} itself takes {one.default}"
    return Field(
        PREFIX + one.name,
        one.name,
        f"With which {one.name} {network} was made for the training: {words}{own}.",
        example if default is None else ", ".join(default) if isinstance(default, list) else str(default),
        need,
        GROUP,
        kind,
        check,
        "weights: architecture",
        parse=parse,
        choices=choices,
        default=default,
        as_json=one.kind == "json",
    )


def _forms(one: Parameter) -> tuple[str, Callable[[Any], str | None], Callable[[str], Any], tuple[str, ...], str, str]:
    """Kind, check, parse, choices, example and words of a question."""
    match one.kind:
        case "yes or no":
            return "choice", _check_yes_or_no, parse_choice(YES_OR_NO), YES_OR_NO, "True", "True or False"
        case "whole number":
            return "number", _check_number(True), parse_number, (), "4", "a whole number"
        case "number":
            return "number", _check_number(False), parse_number, (), "0.1", "a number"
        case "choice":
            choices = one.choices
            return "choice", check_among(choices), parse_choice(choices), choices, choices[0], " or ".join(choices)
        case "text":
            return "text", check_line, str.strip, (), "relu", "a text"
        case "list":
            return "texts", _check_list, parse_list, (), "32, 64, 128", "values with commas between them"
    return "text", partial(_check_json, None), str.strip, (), "[32, 64, 128]", "a number, a text, or a list in brackets"


def _as_answer(one: Parameter, value: Any) -> Any:
    """A JSON value as an answer to the question; None where it says nothing."""
    if value is NOTHING or value is None or value == []:
        return None
    match one.kind:
        case "yes or no":
            return str(value)
        case "list" if isinstance(value, list | tuple):
            return [part if isinstance(part, str) else json.dumps(part) for part in value]
        case "json":
            return value if isinstance(value, str) else json.dumps(value)
    return value


def _check_yes_or_no(answer: Any) -> str | None:
    return None if isinstance(answer, bool) else check_among(YES_OR_NO)(answer)


def _check_number(whole: bool) -> Callable[[Any], str | None]:
    bounded = check_number(-LARGEST, LARGEST, whole)

    def check(answer: Any) -> str | None:
        if bounded(answer) is None:
            return None
        what = what_it_is(answer) if isinstance(answer, bool) or not isinstance(answer, int | float) else f"{answer}"
        return f"is {what}; write a {'whole ' if whole else ''}number"

    return check


def _check_list(answer: Any) -> str | None:
    if not isinstance(answer, list | tuple) or not all(isinstance(one, int | float | str) for one in answer):
        return f"is {what_it_is(answer)}; write a list, such as 32, 64, 128"
    return None


def _check_json(wanted: type | None, answer: Any) -> str | None:
    try:
        value = read_json(answer)
    except ValueError as problem:
        return str(problem) or f"is {what_it_is(answer)}; write a value that JSON can hold"
    if wanted is dict and not isinstance(value, dict):
        return f'is {what_it_is(value)}; write names with values, such as {{"depth": 4}}'
    return None


def _more(network: str) -> Field:
    return Field(
        MORE,
        "Further arguments",
        f"What else {network} was made with for the training: names with values, as JSON. Left out where nothing was.",
        '{"depth": 4}',
        Need.OPTIONAL,
        GROUP,
        "text",
        partial(_check_json, dict),
        "weights: architecture",
        parse=str.strip,
        as_json=True,
    )
