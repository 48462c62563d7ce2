import random
import string
from collections.abc import Callable
from typing import Any

import pytest

from zoowizard.drafts.people import parse_citations, parse_maintainers, parse_people
from zoowizard.drafts.spoken import as_line, in_short, understood
from zoowizard.workflow import fields_of

FIELDS = {field.name: field for field in fields_of("yolo")}
ORCIDS = ("0000-0002-1825-0097", "0000-0001-5109-3700", "0000-0002-1694-233X")
LETTERS = string.ascii_letters + string.digits + " ,;@\"'.()-_:/#&|[]<>äöß王\u0430é\u200c🙂"
ROUNDS = 400


def _text(chance: random.Random, longest: int, letters: str = LETTERS) -> str:
    return "".join(chance.choice(letters) for _ in range(chance.randint(1, longest))).strip()


def _person(chance: random.Random) -> dict[str, str]:
    person = {"name": _text(chance, 30, LETTERS.replace("/", ""))}
    if chance.random() < 0.6:
        person["affiliation"] = _text(chance, 40)
    if chance.random() < 0.5:
        person["orcid"] = chance.choice(ORCIDS)
    if chance.random() < 0.5:
        person["email"] = f"{_text(chance, 8, string.ascii_lowercase)}@uni-{chance.randint(1, 9)}.edu"
    if chance.random() < 0.5:
        person["github_user"] = _text(chance, 12, string.ascii_letters)
    return person


def _maintainer(chance: random.Random) -> dict[str, str]:
    person = {**_person(chance), "github_user": _text(chance, 12, string.ascii_letters)}
    if chance.random() < 0.4:
        del person["name"]
    return person


def _citation(chance: random.Random) -> dict[str, str]:
    citation = {"text": _text(chance, 60) + chance.choice(["", ".", " (2020)", " 10.1000/182", " https://x.org"])}
    ways = chance.choice([("doi",), ("url",), ("doi", "url")])
    if "doi" in ways:
        ends = ("182", "j.cell(00)81683-9", "S(1998)17:15<1661::AID-S>3.0.CO;2-2", 'a,b;c"d', "x.)")
        citation["doi"] = f"10.{chance.randint(1000, 99999)}/{chance.choice(ends)}"
    if "url" in ways:
        citation["url"] = "https://x.org/" + chance.choice(["a", "a,b;c", "doi/10.1000/182", "?q=(1)", 'a"b'])
    return citation


def _several(one: Callable[[random.Random], Any]) -> Callable[[random.Random], list[Any]]:
    return lambda chance: [one(chance) for _ in range(chance.randint(1, 4))]


GENERATED: dict[str, Callable[[random.Random], Any]] = {
    "authors": _several(_person),
    "maintainers": _several(_maintainer),
    "citations": _several(_citation),
    "tags": lambda chance: list(
        {_text(chance, 20, LETTERS.replace(",", "").replace(";", "")).casefold() or "x" for _ in range(4)}
    ),
    "confidence": lambda chance: chance.choice([chance.random(), chance.random() * 1e-9, 0, 1, 0.25]),
    "max_objects": lambda chance: chance.randint(1, 10_000),
    "name": lambda chance: _text(chance, 128, string.ascii_letters + string.digits + "_+- ()"),
    "description": lambda chance: _text(chance, 1024, LETTERS + "\n"),
    "training_data_name": lambda chance: _text(chance, 256),
    "pixel_size": lambda chance: chance.choice(
        [f"{chance.random():.4g} micrometer", f"{chance.random():.3f} x {chance.randint(1, 9)} nanometer"]
    ),
    "license": lambda chance: chance.choice(["MIT", "CC-BY-4.0", "AGPL-3.0-only", "0BSD"]),
    "bit_depth": lambda chance: chance.choice(["8", "16"]),
}


@pytest.mark.parametrize("name", GENERATED)
def test_an_answer_that_is_right_can_be_typed_and_comes_back_the_same(name: str) -> None:
    chance, field, right = random.Random(name), FIELDS[name], 0
    for _ in range(ROUNDS):
        answer = GENERATED[name](chance)
        if field.check(answer) is None:
            right += 1
            line = as_line(field, answer)
            assert line is not None, answer
            assert understood(field, line) == (answer, None)
    assert right > ROUNDS / 3


def test_people_and_citations_stand_one_a_line_and_without_quotes_where_none_are_needed() -> None:
    people = [{"name": "Ada Lovelace", "affiliation": "London, UK", "orcid": ORCIDS[0]}, {"name": "Grace"}]
    assert as_line(FIELDS["authors"], people) == f"Ada Lovelace, London, UK, {ORCIDS[0]}\nGrace"
    assert as_line(FIELDS["maintainers"], [{"github_user": "ada"}]) == "@ada"
    assert as_line(FIELDS["authors"], [{"name": "Lovelace, Ada", "email": None}]) == '"Lovelace, Ada"'
    cited = [{"text": "Caicedo et al. (2019)", "doi": "10.1038/s41592-019-0612-7"}]
    assert as_line(FIELDS["citations"], cited) == '"Caicedo et al. (2019)", 10.1038/s41592-019-0612-7'


def test_quotes_keep_what_would_part_and_stray_ones_stay() -> None:
    assert parse_people('"Lovelace, Ada; Countess", "Dept. ""X"", @home"; Grace "Amazing" Hopper, "Navy') == [
        {"name": "Lovelace, Ada; Countess", "affiliation": 'Dept. "X", @home'},
        {"name": 'Grace "Amazing" Hopper', "affiliation": '"Navy'},
    ]
    assert parse_people("Ada\nGrace;;\n ; ") == [{"name": "Ada"}, {"name": "Grace"}]
    assert parse_maintainers('ada\n"Hopper, Grace", @grace') == [
        {"github_user": "ada"},
        {"name": "Hopper, Grace", "github_user": "grace"},
    ]
    assert parse_citations('"Deep; learning.", 10.1000/182\n"A title", Smith 2020, 10.1000/183') == [
        {"text": "Deep; learning.", "doi": "10.1000/182"},
        {"text": '"A title", Smith 2020', "doi": "10.1000/183"},
    ]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("citations", [{"text": "two\nlines", "doi": "10.1000/182"}]),
        ("training_data_source", "in two\nlines of words"),
        ("training_data_name", "with \x9b31m in it"),
        ("modality", "Fluo"),
        ("authors", "no list at all"),
        ("authors", [{"name": 5}]),
        ("confidence", "0.5"),
        ("tags", None),
    ],
)
def test_what_no_line_says_is_none_and_can_be_shown(name: str, answer: Any) -> None:
    line = as_line(FIELDS[name], answer)
    assert line is None or understood(FIELDS[name], line)[0] == answer
    assert (line is None) or name == "confidence"
    assert isinstance(in_short(answer), str)


def test_what_is_typed_is_understood_or_says_what_would_be_right() -> None:
    assert understood(FIELDS["name"], "  \n") == (None, None)
    assert understood(FIELDS["modality"], "fluo") == ("fluorescence microscopy", None)
    assert understood(FIELDS["confidence"], "0,5") == (0.5, None)
    assert "no number" in str(understood(FIELDS["confidence"], "half")[1])
    assert "from 0 to 1" in str(understood(FIELDS["confidence"], "2")[1])
    assert "says nothing" in str(understood(FIELDS["tags"], " , ;")[1])
    assert "did you mean MIT" in str(understood(FIELDS["license"], "MITT")[1])
    assert understood(FIELDS["authors"], "Ada\nGrace; Bob")[0] == [{"name": "Ada"}, {"name": "Grace"}, {"name": "Bob"}]
