"""How the answers about a network are read, and what makes them right: sizes, numbers and names."""

import math
import re
from collections.abc import Callable, Sequence
from keyword import iskeyword
from typing import Any, Final

from zoowizard.drafts.checks import parse_number, shown, what_it_is
from zoowizard.drafts.fields import Check

LONGEST_NAME: Final = 32
"""Letters of a tensor's id in the bioimage.io format (`TensorId` in `bioimageio.spec.model.v0_5`)."""
MOST_PX: Final = 100_000
_SIZES: Final = re.compile(r"(?:[zyx]\s*=\s*[0-9]{1,6}[\s,;]*)+|[0-9]{1,6}")


def sizes_by_axis(answer: Any, axes: Sequence[str]) -> dict[str, int]:
    """The pixels along each of `axes` out of an answer such as `y=32 x=32`, or `32` for every axis.

    Axes that the answer does not name are left out. Raises ValueError with a sentence.
    """
    text = str(answer).strip()
    if _SIZES.fullmatch(text) is None:
        raise ValueError(f"{shown(text)} is no size; write one number for every axis, or one each, such as y=32 x=32")
    if text.isdecimal():
        return {axis: int(text) for axis in axes}
    named = re.findall(r"([zyx])\s*=\s*([0-9]+)", text)
    if len(dict(named)) < len(named):
        raise ValueError(f"{shown(text)} names an axis twice; write each once, such as y=32 x=32")
    return {axis: int(size) for axis, size in named if axis in axes}


def numbers_in(answer: Any) -> list[float]:
    """The numbers in a list of texts such as `["0.5", "0.2"]`. Raises ValueError with a sentence."""
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = [answer]
    if not isinstance(answer, list | tuple):
        raise ValueError(f"is {what_it_is(answer)}; write one number for each channel, such as 0.5, 0.4")
    found = [float(parse_number(one)) if isinstance(one, str) else one for one in answer]
    for one in found:
        if isinstance(one, bool) or not isinstance(one, int | float) or not math.isfinite(one):
            raise ValueError(f"holds {shown(str(one))}, which is no number; write for example 0.5, 0.4")
    return [float(one) for one in found]


def parsed_by(read: Callable[[Any], Any]) -> Check:
    """The check of an answer that `read` takes, which raises ValueError with a sentence."""

    def check(answer: Any) -> str | None:
        try:
            read(answer)
        except ValueError as problem:
            return str(problem)
        return None

    return check


def check_sizes(least: int) -> Check:
    """The check of pixels along the axes, each at least `least`."""

    def check(answer: Any) -> str | None:
        if isinstance(answer, bool) or not isinstance(answer, int | str):
            return f"is {what_it_is(answer)}; write one number, or one for each axis, such as y=32 x=32"
        try:
            sizes = sizes_by_axis(answer, "zyx").values()
        except ValueError as problem:
            return str(problem)
        if any(not least <= size <= MOST_PX for size in sizes):
            return f"{shown(str(answer))} is out of reach; write numbers of pixels from {least} to {MOST_PX}"
        return None

    return check


def check_spread(answer: Any) -> str | None:
    """Numbers above 0."""
    try:
        wrong = [one for one in numbers_in(answer) if one <= 0]
    except ValueError as problem:
        return str(problem)
    return f"holds {wrong[0]:g}; a spread is larger than 0" if wrong else None


def check_output_names(answer: Any) -> str | None:
    """Names as the format allows them for tensors: identifiers of Python, in small letters."""
    return _check_names(answer, "output", lambda name: name.islower() and len(name) <= LONGEST_NAME)


def check_channels(answer: Any) -> str | None:
    """Names as the format allows them for channels: identifiers of Python."""
    return _check_names(answer, "channel", lambda name: True)


def _check_names(answer: Any, of: str, allowed: Callable[[str], bool]) -> str | None:
    if not isinstance(answer, list | tuple):
        return f"is {what_it_is(answer)}; write a list of names, one for each {of}"
    for one in answer:
        is_name = isinstance(one, str) and one.isidentifier() and one.isascii() and not iskeyword(one)
        if not is_name or not allowed(one):
            tidy = re.sub(r"\W+", "_", str(one).strip().lower())[:LONGEST_NAME].strip("_") or of
            tidy = tidy if tidy.isidentifier() and not iskeyword(tidy) else f"{of}_{tidy}"
            small = "small letters" if of == "output" else "letters"
            return f"{shown(str(one))} is no name of one; {small}, digits and _ only: {tidy}"
    twice = next((one for one in answer if list(answer).count(one) > 1), None)
    return None if twice is None else f"{shown(twice)} stands there twice; give each a name of its own"
