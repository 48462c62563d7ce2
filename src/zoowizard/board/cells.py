"""What stands in a cell: its Markdown as plain text, and any text as Markdown that stays one cell and is only text."""

import html
import re
from typing import Final

LONGEST: Final = 4000
"""Characters of a cell that are read; what a table tells of a model is shorter."""

CODE: Final = re.compile(r"``([^`]+(?:`[^`]+)*)``|`([^`]+)`|<(https?://[^<>\s]*)>|\\([!-/:-@\[-`{-~])")
"""Where nothing but text stands: code, web addresses between angles, and signs after a backslash."""
LINK: Final = re.compile(
    r"!?\[([^\[\]]*)\]"
    r"(?:\((?:<[^<>]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+\"[^\"]*\")?\s*\)|\[[^\[\]]*\])"
)
TAG: Final = re.compile(r"<!--[^<>]*-->|</?[A-Za-z][^<>]*>")
MARKUP: Final = re.compile(r"[\\`<&*_~\[]")
EMPHASIS: Final = re.compile(r"\*+|_+|~~")
ENTITY: Final = re.compile(r"&(?=#?[0-9A-Za-z]+;)")


def plain(markdown: str) -> str:
    """The text of a cell on one line, without markup; of a link its text.

    >>> plain(r"**[YOLO \\| best](https://a.org)** `x*y`")
    'YOLO | best x*y'
    """
    literals: list[str] = []

    def kept(found: re.Match[str]) -> str:
        literals.append(next(part for part in found.groups() if part is not None))
        return f"\0{len(literals) - 1}\0"

    line = one_line(markdown[:LONGEST])
    if not MARKUP.search(line):
        return line
    text = CODE.sub(kept, line.replace("\\|", "|"))
    for _ in range(3):  # a picture in a link in brackets
        text = LINK.sub(r"\1", text)
    text = TAG.sub(lambda tag: " " if tag[0].lower().startswith("<br") else "", text)
    text = html.unescape(_without_emphasis(text)).replace("\xa0", " ")
    return one_line(re.sub("\0([0-9]+)\0", lambda place: literals[int(place[1])], text))


def escaped(text: str) -> str:
    """Any text as the Markdown of one cell that shows it and nothing else."""
    line = re.sub(r"[\\|`\[\]]|(?<=\S)\*|\*(?=\S)|(?<=\S)~", r"\\\g<0>", one_line(text))
    line = re.sub(r"(?<![^\W_])_(?=\S)|(?<=\S)_(?![^\W_])", r"\_", line)
    return ENTITY.sub("&amp;", line).replace("<", "&lt;")


def one_line(text: str) -> str:
    """No line breaks, no control characters: a description must not be able to steer the terminal."""
    if not text.isprintable():
        text = "".join(one if one.isprintable() or one.isspace() else "?" for one in text)
    return " ".join(text.split())


def _without_emphasis(text: str) -> str:
    """Without the signs around what is emphasised; one that stands alone, as in 2 * 3 or my_model, is only a sign."""
    opened: dict[str, range] = {}
    signs: set[int] = set()
    for run in EMPHASIS.finditer(text):
        here = range(*run.span())
        before, after = text[max(0, here.start - 1) : here.start], text[here.stop : here.stop + 1]
        in_word = run[0].startswith("_")
        if run[0] in opened and before.strip() and not (in_word and after.isalnum()):
            signs.update(opened.pop(run[0]), here)
        elif after.strip() and not (in_word and before.isalnum()):
            opened[run[0]] = here
    return "".join(letter for place, letter in enumerate(text) if place not in signs)
