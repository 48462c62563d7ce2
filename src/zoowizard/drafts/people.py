"""Authors, maintainers and citations: how they are checked, and how they are read from one typed line."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from zoowizard.drafts.checks import (
    DOI,
    DOI_ANYWHERE,
    check_doi,
    check_line,
    check_url,
    did_you_mean,
    shown,
    text_problem,
    what_it_is,
)

PERSON_KEYS: Final = ("name", "affiliation", "orcid", "email", "github_user")
CITATION_KEYS: Final = ("text", "doi", "url")
ORCID: Final = re.compile(r"[0-9]{4}-?[0-9]{4}-?[0-9]{4}-?[0-9]{3}[0-9Xx]")
EMAIL: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[^\W_]([\w-]*[^\W_])?(\.[^\W_]([\w-]*[^\W_])?)+")
NO_MAIL_THERE: Final = ("test", "example", "invalid", "local", "localhost", "onion", "arpa")
"""Ends of addresses that are reserved (RFC 2606, RFC 6762), which the zoo's library refuses."""


def check_person_name(answer: Any) -> str | None:
    """The name of a person, in any script, without slashes: the format forbids them."""
    if problem := check_line(answer):
        return problem
    if "/" in answer or "\\" in answer:
        return (
            f"{shown(answer)} holds a slash, which the zoo does not allow in a person's name; write two people as two"
        )
    return None


def check_orcid(answer: Any) -> str | None:
    """An ORCID iD: four groups of four digits with a check digit after ISO 7064 11,2 (an X stands for ten)."""
    if not isinstance(answer, str):
        return f"is {what_it_is(answer)}; write four groups of four digits, such as 0000-0002-1825-0097"
    found = ORCID.search(answer)
    if not found or len(re.sub(r"[^0-9Xx]", "", answer.rpartition("/")[2])) != 16:
        return f"{shown(answer)} is no ORCID iD; write four groups of four digits, such as 0000-0002-1825-0097"
    digits = found[0].replace("-", "").upper()
    total = 0
    for digit in digits[:-1]:
        total = (total + int(digit)) * 2 % 11
    if "0123456789X"[(12 - total) % 11] != digits[-1]:
        return f"{shown(answer)} is no ORCID iD: its last digit does not fit the others; look for a typing mistake"
    bare = "-".join(digits[place : place + 4] for place in (0, 4, 8, 12))
    return None if answer == bare else f"{shown(answer)} is not the bare ORCID iD; write {bare}"


def check_email(answer: Any) -> str | None:
    """An e-mail address."""
    if problem := text_problem(answer, 254):
        return problem
    local, _, host = answer.rpartition("@")
    dots_wrong = ".." in answer or local.startswith(".") or local.endswith(".")
    if not EMAIL.fullmatch(answer) or dots_wrong or len(local) > 64:
        return f"{shown(answer)} is no e-mail address; write one such as ada@uni.edu"
    if host.rpartition(".")[2].casefold() in NO_MAIL_THERE:
        return f"{shown(answer)} ends in a name that is reserved for examples; write your real e-mail address"
    return None


def check_github_user(answer: Any) -> str | None:
    """The name of a GitHub account: letters, digits and single dashes, at most 39, no dash at either end."""
    if problem := check_line(answer):
        return problem
    if re.fullmatch(r"[A-Za-z0-9](-?[A-Za-z0-9]){0,38}", answer) and len(answer) <= 39:
        return None
    bare = re.sub(r"^(https?://)?(www\.)?github\.com/|^@", "", answer.strip()).strip("/")
    if re.fullmatch(r"[A-Za-z0-9](-?[A-Za-z0-9]){0,38}", bare) and len(bare) <= 39:
        return f"{shown(answer)} is not the bare GitHub user name; write {bare}"
    return f"{shown(answer)} is no GitHub user name: those hold letters, digits and single dashes, at most 39 of them"


PERSON_CHECKS: Final = {
    "name": check_person_name,
    "affiliation": check_line,
    "orcid": check_orcid,
    "email": check_email,
    "github_user": check_github_user,
}


def _check_people(answer: Any, wanted: str) -> str | None:
    if not isinstance(answer, list | tuple):
        return f"is {what_it_is(answer)}; write a list of people, each with its {wanted}"
    for number, person in enumerate(answer, 1):
        who = f"person {number}"
        if problem := _keys_problem(person, PERSON_KEYS):
            return f"{who} {problem}"
        if isinstance(person.get("name"), str) and person["name"].strip():
            who = f"{who} ({shown(person['name'])})"
        if not person.get(wanted):
            return (
                f"{who} has no {wanted}; write {'ada' if wanted == 'github_user' else 'Ada Lovelace'} or the like there"
            )
        for key, value in person.items():
            if value is not None and (problem := PERSON_CHECKS[key](value)):
                return f"{who}: {key} {problem}"
    return None


def _keys_problem(one: Any, keys: Collection[str]) -> str | None:
    if not isinstance(one, Mapping):
        return f"is {what_it_is(one)}; write {', '.join(keys)}, each with a colon and its value"
    for key in one:
        if key not in keys:
            near = did_you_mean(str(key), keys)
            return f"has an unknown entry {shown(str(key))}; " + (
                f"did you mean {near}?" if near else f"known are {', '.join(keys)}"
            )
    return None


def check_authors(answer: Any) -> str | None:
    """A list of mappings with name, and where known affiliation, orcid, email, github_user."""
    return _check_people(answer, "name")


def check_maintainers(answer: Any) -> str | None:
    """A list of mappings with github_user, and where known name, affiliation, orcid, email."""
    return _check_people(answer, "github_user")


def check_citations(answer: Any) -> str | None:
    """A list of mappings with text, and a bare doi or a url or both."""
    if not isinstance(answer, list | tuple):
        return f"is {what_it_is(answer)}; write a list of citations, each with a text and a doi or url"
    for number, citation in enumerate(answer, 1):
        which = f"citation {number}"
        if problem := _keys_problem(citation, CITATION_KEYS):
            return f"{which} {problem}"
        if not citation.get("text"):
            return f"{which} has no text; write authors, year and title"
        if not citation.get("doi") and not citation.get("url"):
            return f"{which} has neither doi nor url; write at least one of them"
        for key, check in (("text", text_problem), ("doi", check_doi), ("url", check_url)):
            if citation.get(key) and (problem := check(citation[key])):
                return f"{which}: {key} {problem}"
    return None


@dataclass(frozen=True)
class _Part:
    """What stands between two commas. What was typed between double quotes is taken as it is."""

    text: str
    quoted: bool


_PART: Final = re.compile(
    r"""[^\S\n]*(?:"(?P<quoted>(?:[^"\n]|"")+)"[^\S\n]*(?=[,;\n]|\Z)|(?P<plain>[^,;\n]*))(?P<end>[,;\n]|\Z)"""
)


def _entries(line: str) -> Iterator[tuple[str, list[_Part]]]:
    """Each entry as it was typed, and its parts: semicolons and line breaks end an entry, commas a part."""
    begin, place, parts = 0, 0, []
    while found := _PART.match(line, place):
        quoted = found["quoted"]
        parts.append(_Part(found["plain"].strip() if quoted is None else quoted.replace('""', '"'), quoted is not None))
        place = found.end()
        if found["end"] != ",":
            typed = line[begin : found.start("end")].strip()
            if typed:
                yield typed, parts
            begin, parts = place, []
        if not found["end"]:
            return


def quoted(part: str) -> str:
    """A part as it must be typed where commas, semicolons or @ in it mean nothing: between double quotes."""
    return '"' + part.replace('"', '""') + '"'


def parse_people(line: str) -> list[dict[str, str]]:
    """Read `Ada Lovelace, University of X, 0000-0002-1825-0097; Grace Hopper` as typed at a prompt.

    The first part is the name; an ORCID iD (also as a web address), an e-mail address and a GitHub user (`@ada` or
    `github.com/ada`) are known by their looks, in any order; what remains is the affiliation. A name or an affiliation
    between double quotes may hold what else would part it.
    """
    return [_person(parts) for _, parts in _entries(line)]


def _person(parts: Sequence[_Part]) -> dict[str, str]:
    person: dict[str, str] = {}
    affiliation = []
    for number, part in enumerate(parts):
        key, value = ("", part.text) if part.quoted else _by_its_looks(part.text)
        if key:
            person[key] = value
        elif number == 0:
            person["name"] = value
        elif value:
            affiliation.append(value)
    return person | ({"affiliation": ", ".join(affiliation)} if affiliation else {})


def _by_its_looks(part: str) -> tuple[str, str]:
    """Which entry of a person a part is (nothing where it is name or affiliation), and its value."""
    github = re.fullmatch(r"@([\w-]+)|(?:https?://)?(?:www\.)?github\.com/([\w-]+)/?", part)
    if re.fullmatch(r"(https?://(www\.)?orcid\.org/)?[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9Xx]/?", part):
        return "orcid", part.rstrip("/").rpartition("/")[2].upper()
    if github:
        return "github_user", github[1] or github[2]
    return ("email" if "@" in part else ""), part


def parse_maintainers(line: str) -> list[dict[str, str]]:
    """Like `parse_people`, but a bare word is a GitHub user: `ada` or `Ada Lovelace, @ada; grace`."""
    return [
        {"github_user": typed} if re.fullmatch(r"[A-Za-z0-9-]+", typed) else _person(parts)
        for typed, parts in _entries(line)
    ]


def parse_citations(line: str) -> list[dict[str, str]]:
    """Read `Weigert et al., StarDist, 2020, 10.1109/WACV45572.2020.9093435; …`: a text and its DOI or web address.

    Between double quotes, text, DOI and address are taken as they are: `"Weigert et al. (2020)", 10.1109/…`.
    """
    return [_quoted_citation(parts) or _citation(typed) for typed, parts in _entries(line)]


def _quoted_citation(parts: Sequence[_Part]) -> dict[str, str] | None:
    """A citation whose text was typed between quotes; None where what follows are not DOI and address only."""
    if not parts[0].quoted:
        return None
    citation = {"text": parts[0].text}
    for part in parts[1:]:
        key = "doi" if DOI.fullmatch(part.text) else "url" if re.match(r"https?://", part.text) else ""
        if not key or key in citation:
            return None
        citation[key] = part.text
    return citation


def _citation(typed: str) -> dict[str, str]:
    citation = {}
    rest = typed
    if doi := DOI_ANYWHERE.search(rest):
        citation["doi"] = doi[0].rstrip(".)")
        rest = re.sub(r"(https?://(dx\.)?doi\.org/|doi:\s*)?" + re.escape(doi[0]), "", rest, flags=re.IGNORECASE)
    if url := re.search(r"https?://[^\s,;]+", rest):
        citation["url"] = url[0]
        rest = rest.replace(url[0], "")
    text = rest.strip(" ,.:()")
    return {"text": text or citation.get("doi") or citation.get("url", ""), **citation}


def github_users(answer: Any) -> str | None:
    """The question that only the network can answer about a list of people: do their GitHub users exist?"""
    people = answer if isinstance(answer, list | tuple) else ()
    users = [person["github_user"] for person in people if isinstance(person, Mapping) and person.get("github_user")]
    if not users:
        return None
    named = ", ".join(shown(str(user)) for user in users)
    return f"does the GitHub user {named} exist?" if len(users) == 1 else f"do the GitHub users {named} exist?"
