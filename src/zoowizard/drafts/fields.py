"""The questions, as data: the form, the plain prompts, the answers file and the documentation come from this list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Check = Callable[[Any], str | None]
"""Takes an answer; gives None where it is right, or one plain sentence that says what would be right."""


class Need(StrEnum):
    """How much the zoo wants an answer. Only a missing REQUIRED answer stops a build."""

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    OPTIONAL = "optional"


@dataclass(frozen=True)
class Field:
    """One question.

    `name` is the key in drafts and answers files. `kind` says what an answer looks like: `text`, `paragraph`,
    `number`, `choice`, `texts` (a list of texts), `people` (a list of mappings), `citations`, `path`.
    `parse` turns a line typed at a prompt into such an answer (raises ValueError with a sentence).
    `choices` are the allowed answers, or only suggestions where `open_choice` is true.
    `hint` gives a sentence about an answer that is allowed but could be better; it stops nothing.
    `deferred` names what only the network could tell about an answer, or gives None.
    `leads` says that required questions hang on this one: it is asked before them, even where it may be left out.
    `as_json` says that an answers file may give any value to a text, which is kept as JSON.
    """

    name: str
    label: str
    help: str
    example: str
    need: Need
    group: str
    kind: str
    check: Check
    goes_to: str
    parse: Callable[[str], Any] = str
    choices: Sequence[str] = ()
    open_choice: bool = False
    default: Any = None
    hint: Check = lambda answer: None
    deferred: Callable[[Any], str | None] = lambda answer: None
    leads: bool = False
    as_json: bool = False
