"""Licences: SPDX identifiers, and what people write for them."""

import re
from functools import cache
from typing import Any, Final

from zoowizard.drafts import vocabulary
from zoowizard.drafts.checks import check_line, did_you_mean, shown, what_it_is

COMMON: Final = ("MIT", "BSD-3-Clause", "Apache-2.0", "CC-BY-4.0", "CC0-1.0", "GPL-3.0-only", "AGPL-3.0-only")
SPOKEN: Final = {
    "apache": "Apache-2.0",
    "apache2": "Apache-2.0",
    "agpl": "AGPL-3.0-only",
    "agpl3": "AGPL-3.0-only",
    "bsd": "BSD-3-Clause",
    "bsd2": "BSD-2-Clause",
    "bsd3": "BSD-3-Clause",
    "cc0": "CC0-1.0",
    "ccby": "CC-BY-4.0",
    "ccby4": "CC-BY-4.0",
    "ccbysa": "CC-BY-SA-4.0",
    "ccbync": "CC-BY-NC-4.0",
    "ccbyncsa": "CC-BY-NC-SA-4.0",
    "gpl": "GPL-3.0-only",
    "gpl2": "GPL-2.0-only",
    "gpl3": "GPL-3.0-only",
    "lgpl": "LGPL-3.0-only",
    "lgpl3": "LGPL-3.0-only",
    "mpl": "MPL-2.0",
}
"""Names that people use and SPDX does not, without spaces and signs; the newest version is what is mostly meant."""


def _bare(word: str) -> str:
    without = re.sub(
        r"\b(the|gnu|licen[cs]e|version|creative commons attribution)\b", _short, word.casefold().replace("_", " ")
    )
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\bv(?=\d)|(?<=[a-z])v(?=\d)", "", without))


def _short(found: re.Match[str]) -> str:
    return "cc-by" if found[0].startswith("creative") else ""


@cache
def _by_bare_name() -> dict[str, str]:
    return {**{_bare(name): name for name in vocabulary.licences()}, **SPOKEN}


def suggestion(word: str) -> str | None:
    """The SPDX identifier that `word` stands for, exactly or nearly, or None where nothing is near."""
    if successor := vocabulary.deprecated_licences().get(word):
        return successor
    if meant := _by_bare_name().get(_bare(word)):
        return meant
    old = {name.casefold(): new for name, new in vocabulary.deprecated_licences().items()}
    return old.get(word.casefold().strip()) or did_you_mean(word, vocabulary.licences())


def check_licence(answer: Any) -> str | None:
    """An SPDX identifier in its own spelling and not deprecated where it has a successor (https://spdx.org/licenses)."""
    if not isinstance(answer, str):
        return f"is {what_it_is(answer)}; write an SPDX licence such as MIT"
    if problem := check_line(answer):
        return problem
    if answer in vocabulary.licences():
        return None
    meant = suggestion(answer)
    if answer in vocabulary.deprecated_licences():
        return f"{shown(answer)} is a deprecated SPDX licence; write {meant}" if meant else None
    if meant and meant.casefold() == answer.casefold():
        return f"{shown(answer)} is not spelt as SPDX spells it; write {meant}"
    if meant:
        return f"{shown(answer)} is no SPDX licence; did you mean {meant}?"
    return (
        f"{shown(answer)} is no SPDX licence; write one of https://spdx.org/licenses, such as {', '.join(COMMON[:4])}"
    )


def check_data_licence(answer: Any) -> str | None:
    """The licence of data: an SPDX identifier, or terms in words where the data have terms of their own."""
    if isinstance(answer, str) and len(answer.split()) >= 3 and _bare(answer) not in _by_bare_name():
        return check_line(answer)
    return check_licence(answer)
