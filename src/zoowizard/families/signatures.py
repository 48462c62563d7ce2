"""What a network is called with, as its source says it: the parameters, their kinds and their defaults."""

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["yes or no", "whole number", "number", "text", "choice", "list", "json"]
NOTHING: Final = object()
"""No default that JSON can hold."""
_KINDS: Final[dict[str, Kind]] = {"bool": "yes or no", "int": "whole number", "float": "number", "str": "text"}
_LISTS: Final = ("list", "tuple", "List", "Tuple", "Sequence", "Iterable", "Collection")
LONGEST_DEFAULT: Final = 200
MOST_PARAMETERS: Final = 100


@dataclass(frozen=True)
class Parameter:
    """One parameter: `default` is a JSON value, NOTHING where there is none, or none that JSON can hold.

    Then `told` is that default as the source has it, such as `nn.ReLU`, and the parameter need not be given.
    """

    name: str
    kind: Kind
    default: Any = NOTHING
    told: str = ""
    choices: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is NOTHING and not self.told


@dataclass(frozen=True)
class Signature:
    """The parameters in their order; `more` says that others may be given by their names (`**kwargs`)."""

    parameters: Sequence[Parameter]
    more: bool = False


def parameters_of(arguments: ast.arguments, of_class: bool) -> Signature:
    """The signature out of a function's syntax; `of_class` where the first parameter is the object itself."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    pairs = [*zip(plain, [*defaults, *arguments.defaults], strict=True)][1 if of_class else 0 :]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    named = {one.arg: _parameter(one, default) for one, default in pairs[:MOST_PARAMETERS]}
    return Signature(list(named.values()), arguments.kwarg is not None or len(pairs) > MOST_PARAMETERS)


def as_json(value: Any) -> Any:
    """A plain value as JSON gives it back: tuples are lists. Raises ValueError where JSON cannot hold it."""
    if value is None or isinstance(value, bool | int | float | str):
        if isinstance(value, float) and value - value != 0:
            raise ValueError
        return value
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: as_json(one) for key, one in value.items()}
    raise ValueError


def _parameter(one: ast.arg, default: ast.expr | None) -> Parameter:
    value, told = NOTHING, ""
    if default is not None:
        try:
            value = as_json(ast.literal_eval(default))
            if len(json.dumps(value)) > LONGEST_DEFAULT or not _is_shown(value):
                raise ValueError
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            value, told = NOTHING, _written(default)
    written = _annotation(one.annotation)
    if isinstance(written, ast.Subscript) and _last(written.value) == "Literal":
        inner = written.slice.elts if isinstance(written.slice, ast.Tuple) else [written.slice]
        texts = tuple(part.value for part in inner if isinstance(part, ast.Constant) and isinstance(part.value, str))
        if len(texts) == len(inner) and all(map(_is_shown, texts)) and (value is NOTHING or value in texts):
            return Parameter(one.arg, "choice", value, told, texts)
    return Parameter(one.arg, _kind(written, value), value, told)


def _written(default: ast.expr) -> str:
    """A default as the source has it, as far as that can be told in a line."""
    try:
        return ast.unparse(default)[:LONGEST_DEFAULT]
    except (ValueError, RecursionError):  # of very many digits, or nested deeply
        return "…"


def _is_shown(value: Any) -> bool:
    """Whether all texts in a JSON value can be shown on a terminal."""
    if isinstance(value, list):
        return all(map(_is_shown, value))
    if isinstance(value, dict):
        return all(_is_shown(one) for pair in value.items() for one in pair)
    return not isinstance(value, str) or value.isprintable()


def _annotation(written: ast.expr | None) -> ast.expr | None:
    """What an annotation says; one between quotes is read."""
    if isinstance(written, ast.Constant) and isinstance(written.value, str):
        try:
            return ast.parse(written.value[:LONGEST_DEFAULT], mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return written


def _kind(written: ast.expr | None, value: Any) -> Kind:
    if isinstance(written, ast.Name) and written.id in _KINDS:
        kind: Kind = _KINDS[written.id]
        return kind if value is NOTHING or _is(kind, value) else "json"
    if isinstance(written, ast.Name | ast.Attribute | ast.Subscript):
        if _last(written.value if isinstance(written, ast.Subscript) else written) in _LISTS:
            return "list" if value is NOTHING or _is("list", value) else "json"
        return "json"
    if written is None and value is not NOTHING:
        plain: tuple[Kind, ...] = ("yes or no", "number", "text", "list")
        return next((kind for kind in plain if _is(kind, value)), "json")
    return "json"


def _is(kind: Kind, value: Any) -> bool:
    """Whether a JSON value is of a kind; a list is one of numbers and texts only."""
    if kind == "list":
        return isinstance(value, list) and all(isinstance(one, int | float | str) for one in value) and value != []
    if kind == "yes or no":
        return isinstance(value, bool)
    if kind == "text":
        return isinstance(value, str) and value.strip() != ""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole or (kind == "number" and isinstance(value, float))


def _last(expression: ast.expr) -> str:
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""
