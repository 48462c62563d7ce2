"""What makes an answer right. Each check gives None, or one plain sentence that says what would be right.

The rules are those of bioimageio.spec 0.5.12 (generic/v0_3.py, model/v0_5.py and _internal/types.py), checked offline,
and a little stricter where reviewers of the zoo would ask again. The sentences do not name the field: whoever shows
them does.
"""

import math
import re
import string
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from zoowizard.drafts import vocabulary

NAME_LETTERS: Final = string.ascii_letters + string.digits + "_+- ()"
DATASET_LETTERS: Final = string.ascii_lowercase + string.digits + "_-/."
PLACEHOLDERS: Final = ("todo", "tbd", "fixme", "xxx", "to be filled", "to be filled in", "lorem ipsum")
DOI: Final = re.compile(r"10\.[0-9]{4,9}(\.[0-9]+)*/\S+")
DOI_ANYWHERE: Final = re.compile(r"10\.[0-9]{4,9}(?:\.[0-9]+)*/[^\s,;]+")
LONGEST_TEXT: Final = 20_000


def what_it_is(answer: Any) -> str:
    """Say in words what kind of thing an answer is, for the sentence that says what it should be."""
    match answer:
        case None:
            return "empty"
        case bool():
            return f"a yes or no (`{str(answer).lower()}`)"
        case int() | float():
            return f"the number {answer}"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case dict():
            return "a group of named values"
    return f"a {type(answer).__name__}"


def shown(text: str, longest: int = 60) -> str:
    """A text as it may stand in a sentence: between backticks, short, without control characters."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return f"`{plain if len(plain) <= longest else plain[: longest - 1] + '…'}`"


def did_you_mean(word: str, known: Collection[str], cutoff: float = 0.6) -> str | None:
    """The known word that is nearest to `word`, whatever the case of its letters, or None where none is near."""
    from difflib import get_close_matches

    by_small = {one.casefold(): one for one in known}
    near = get_close_matches(word.casefold()[:100], list(by_small), n=1, cutoff=cutoff)
    return by_small[near[0]] if near else None


def text_problem(answer: Any, longest: int = LONGEST_TEXT) -> str | None:
    """Common to all texts: is a text, is not empty, is no placeholder, holds no control characters, is not too long."""
    if not isinstance(answer, str):
        quotes = ", in an answers file between quotes" if isinstance(answer, int | float) else ""
        return f"is {what_it_is(answer)}; write a text{quotes}"
    if not answer.strip():
        return "is empty; write a text or leave it out"
    if answer.strip().strip("().<>[]…").strip().casefold() in PLACEHOLDERS:
        return f"is still the placeholder {shown(answer)}; write the real answer or leave it out"
    bad = next((one for one in answer if (ord(one) < 32 and one not in "\n\t\r") or "\ud800" <= one <= "\udfff"), None)
    if bad is not None:
        return f"holds a character that is no text (code {ord(bad)}); remove it"
    if len(answer) > longest:
        return f"has {len(answer)} characters; at most {longest} are allowed"
    return None


def check_line(answer: Any) -> str | None:
    """Any text on one line, at most 256 characters."""
    if problem := text_problem(answer, 256):
        return problem
    return "has more than one line; write it on one line" if len(answer.splitlines()) > 1 else None


def check_paragraph(answer: Any) -> str | None:
    """Any text that says something: 10 characters or more."""
    if problem := text_problem(answer):
        return problem
    return "is too short; say it in a sentence of 10 characters or more" if len(answer.strip()) < 10 else None


def check_name(answer: Any) -> str | None:
    """The name of a model: letters a to z, digits, spaces and _ + - ( ), 5 to 128 of them."""
    if problem := text_problem(answer):
        return problem
    if alien := sorted({letter for letter in answer if letter not in NAME_LETTERS}):
        named = ", ".join(shown(letter) if letter.isprintable() else "a line break or tab" for letter in alien[:5])
        more = " and others" if len(alien) > 5 else ""
        return f"holds {named}{more}; the zoo allows letters a to z, digits, spaces and _ + - ( ) only"
    if answer != answer.strip():
        return f"begins or ends with a space; write {shown(answer.strip())}"
    if len(answer) < 5:
        return "is too short; write 5 to 128 characters, for example what it does to which images"
    if len(answer) > 128:
        return f"has {len(answer)} characters; write 5 to 128"
    return None


def hint_name(answer: Any) -> str | None:
    """Names over 64 characters are allowed, but not liked."""
    if isinstance(answer, str) and len(answer) > 64:
        return f"has {len(answer)} characters; up to 64 are easier to read"
    return None


def check_description(answer: Any) -> str | None:
    """The description of a model: 10 to 1024 characters."""
    if problem := text_problem(answer):
        return problem
    if len(answer.strip()) < 10:
        return "is too short; say in one sentence of 10 characters or more what the model does"
    if len(answer) > 1024:
        return f"has {len(answer)} characters; at most 1024 are allowed (the rest can go to intended_use)"
    return None


def hint_description(answer: Any) -> str | None:
    """Descriptions over 512 characters are allowed, but the zoo's library warns of them."""
    if isinstance(answer, str) and len(answer) > 512:
        return f"has {len(answer)} characters; the zoo prefers 512 or fewer"
    return None


def _bare_doi(answer: str) -> str | None:
    found = DOI_ANYWHERE.search(unquote(answer))
    return found[0].rstrip(".)") if found else None


def check_doi(answer: Any) -> str | None:
    """A bare DOI such as `10.1038/s41592-018-0261-2`, without a web address before it."""
    if problem := check_line(answer):
        return problem
    if DOI.fullmatch(answer):
        return None
    if bare := _bare_doi(answer):
        return f"{shown(answer)} is not a bare DOI; write {bare}"
    return f"{shown(answer)} is no DOI; write one such as 10.1038/s41592-018-0261-2, or a url instead"


def check_url(answer: Any) -> str | None:
    """A web address: `http://` or `https://`, a host with a dot, no spaces."""
    if problem := text_problem(answer, 2000):
        return problem
    if any(letter.isspace() for letter in answer):
        return f"{shown(answer)} holds a space; a web address has none (write %20 for it)"
    if "://" not in answer:
        if re.match(r"[\w-]+(\.[\w-]+)+(/|$)", answer):
            return f"{shown(answer)} lacks its beginning; write https://{answer}"
        return f"{shown(answer)} is no web address; write one that begins with https://"
    try:
        parts = urlsplit(answer)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return f"{shown(answer)} is no web address; write one such as https://example.org/data"
    if parts.scheme not in ("http", "https"):
        return f"{shown(answer)} begins with {parts.scheme}://; write an address that begins with https://"
    if "." not in host.strip("."):
        return f"{shown(answer)} names no server; write an address such as https://example.org/data"
    return None


def check_source(answer: Any) -> str | None:
    """Where data are from: a web address, a bare DOI, or a few words."""
    if problem := text_problem(answer, 2000):
        return problem
    if "://" in answer.split()[0] or answer.startswith("www."):
        return check_url(answer)
    if answer.casefold().startswith(("10.", "doi:")):
        return check_doi(answer)
    if len(answer.split()) < 2:
        return f"{shown(answer)} is neither a web address (https://…) nor a DOI (10.…/…); write one, or say it in words"
    return None


def check_version(answer: Any) -> str | None:
    """The version of a model: numbers with dots, such as 0.1.0."""
    if not isinstance(answer, str):
        return f'is {what_it_is(answer)}; write the version as a text between quotes, such as "0.1.0"'
    if re.fullmatch(r"[0-9]+(\.[0-9]+){0,3}((a|b|rc)[0-9]+)?", answer):
        return None
    if numbers := re.fullmatch(r"\s*[vV]?\.?\s*([0-9]+(\.[0-9]+){0,3})\s*", answer):
        return f"{shown(answer)} is no version; write {numbers[1]}"
    return f"{shown(answer)} is no version; write numbers with dots, such as 0.1.0"


def check_dataset_id(answer: Any) -> str | None:
    """The id of a data set in the zoo: small letters, digits and _ - / . only, no slash at either end."""
    if problem := check_line(answer):
        return problem
    if "://" in answer:
        last = re.split(r"[/=]", answer.rstrip("/"))[-1]
        return f"{shown(answer)} is a web address; write the data set's id in the zoo only, such as {last.lower()}"
    if any(letter not in DATASET_LETTERS for letter in answer):
        return (
            f"{shown(answer)} is no id of the zoo; ids hold small letters, digits and _ - / . only, such as happy-otter"
        )
    if answer.startswith("/") or answer.endswith("/"):
        return f"{shown(answer)} begins or ends with a slash; write {answer.strip('/') or 'an id such as happy-otter'}"
    return None


def check_tags(answer: Any) -> str | None:
    """A list of tags; any word will do (see `hint_tags`), but each must be one tag and stand there once."""
    if not isinstance(answer, list | tuple):
        return f"is {what_it_is(answer)}; write a list of tags, such as [nuclei, 2d, instance-segmentation]"
    for number, tag in enumerate(answer, 1):
        if problem := check_line(tag):
            return f"tag {number} {problem}"
        if "," in tag or ";" in tag:
            return f"tag {number}, {shown(tag)}, looks like several; write each as a tag of its own"
        if len(tag) > 64:
            return f"tag {number} has {len(tag)} characters; write a word or two"
    small = [tag.casefold() for tag in answer]
    twice = next((tag for tag in answer if small.count(tag.casefold()) > 1), None)
    return None if twice is None else f"{shown(twice)} stands there twice; write each tag once"


def hint_tags(answer: Any) -> str | None:
    """Tags that are nearly the zoo's own words, or not written as the zoo writes tags: small, with dashes."""
    known = [tag for tags in vocabulary.tag_categories().values() for tag in tags]
    hints = []
    for tag in answer if isinstance(answer, list | tuple) else ():
        if not isinstance(tag, str) or tag in known:
            continue
        dashed = re.sub(r"[\s_]+", "-", tag.strip().lower())
        near = dashed if dashed in known else did_you_mean(dashed, known, cutoff=0.84)
        if near:
            hints.append(f"{shown(tag)}: did you mean {near}?")
        elif dashed != tag:
            hints.append(f"{shown(tag)}: the zoo writes tags small and with dashes: {dashed}")
    return " ".join(hints) or None


def check_among(choices: Sequence[str]) -> Callable[[Any], str | None]:
    """A check that allows `choices` only."""

    def check(answer: Any) -> str | None:
        if isinstance(answer, str) and answer in choices:
            return None
        given = shown(answer) if isinstance(answer, str) else what_it_is(answer)
        near = did_you_mean(answer, choices) if isinstance(answer, str) else None
        return f"{given} is none of the choices; " + (
            f"did you mean {near}?" if near else f"write {', '.join(choices)}"
        )

    return check


def hint_among(choices: Sequence[str]) -> Callable[[Any], str | None]:
    """A hint for a choice with free text: names the choice that an answer nearly is."""

    def hint(answer: Any) -> str | None:
        if not isinstance(answer, str) or answer in choices:
            return None
        near = did_you_mean(answer, choices, cutoff=0.8)
        return f"did you mean {near}?" if near else None

    return hint


def check_number(lowest: float, highest: float, whole: bool = False) -> Callable[[Any], str | None]:
    """A check that allows numbers from `lowest` to `highest` (both included) only, without a fraction where `whole`."""
    wanted = f"write a {'whole ' if whole else ''}number from {lowest:g} to {highest:g}"

    def check(answer: Any) -> str | None:
        if isinstance(answer, bool) or not isinstance(answer, int | float):
            return f"is {what_it_is(answer)}; {wanted}"
        if math.isnan(answer) or not lowest <= answer <= highest or (whole and answer != int(answer)):
            return f"is {answer}; {wanted}"
        return None

    return check


def parse_number(line: str) -> int | float:
    """Read a number typed at a prompt. Raises ValueError with a sentence."""
    plain = line.strip().replace(",", ".")
    try:
        return int(plain)
    except ValueError:
        pass
    try:
        return float(plain)
    except ValueError:
        raise ValueError(f"{shown(line)} is no number") from None


def parse_list(line: str) -> list[str]:
    """Read a list typed on one line, its parts between commas or semicolons."""
    return [part.strip() for part in re.split(r"[,;\n]", line) if part.strip()]
