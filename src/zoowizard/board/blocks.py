"""The lines of a Markdown document in which a table may stand: those outside code, HTML and comments.

As GitHub reads them: https://github.github.com/gfm/#container-blocks and the chapters before it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

LINE: Final = re.compile(r"([^\r\n]*)(\r\n|\n|\r|\Z)")
QUOTE: Final = re.compile(r" {0,3}> ?")
ITEM: Final = re.compile(r" {0,3}(?:[-+*]|[0-9]{1,9}[.)]) {1,4}(?=\S)")
INDENT: Final = re.compile(r" {0,3}(?=[^ \t])")
FENCE: Final = re.compile(r"(`{3,})[^`]*$|(~{3,})")
HEADING_OR_LINE: Final = re.compile(r"#{1,6}(?:[ \t]|$)|([-*_])[ \t]*(?:\1[ \t]*){2,}$")
VERBATIM: Final = re.compile(r"<(?:pre|script|style|textarea)(?:[\s>]|$)", re.IGNORECASE)
VERBATIM_END: Final = re.compile(r".*</(?:pre|script|style|textarea)>", re.IGNORECASE)
HTML: Final = re.compile(
    r"</?(?:address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|"
    r"dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|"
    r"menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|"
    r"track|ul)(?:[\s/>]|$)",
    re.IGNORECASE,
)
DECLARATION: Final = re.compile(r"<!--|<\?|<!\[CDATA\[|<![A-Za-z]")
DECLARATION_ENDS: Final = {
    "<!--": re.compile(r".*-->"),
    "<?": re.compile(r".*\?>"),
    "<![CDATA[": re.compile(r".*\]\]>"),
}
DECLARATION_END: Final = re.compile(r".*>")
BLANK: Final = re.compile(r"[ \t]*$")
DEEPEST: Final = 100
"""So many list items may stand in each other; renderers give up earlier."""


@dataclass(frozen=True, slots=True)
class Block:
    """A line of the document, and what it is in: so many block quotes, and a list item that begins at a column.

    `number` counts from 1. `begin` is where the line begins, `start` where its own text does (after what quotes, lists
    and indents it), `end` where its line ending begins, `after` where the next line does. `marked` says that a list
    item begins on it.
    """

    number: int
    begin: int
    start: int
    end: int
    after: int
    quotes: int
    indent: int
    marked: bool


def blocks(text: str) -> Iterator[Block]:
    """The lines outside code, HTML and comments; where some were left out, the numbers are not consecutive."""
    indents: list[int] = []
    last: Block | None = None
    closing: re.Pattern[str] | None = None
    for number, line in enumerate(LINE.finditer(text), start=1):
        begin, end = line.span(1)
        if closing is not None and last is not None:
            inside = _inside(text, begin, end, last)
            if inside is not None:
                if closing.match(text, inside, end):
                    closing = None
                continue
            closing = None
        start, quotes = _past_quotes(text, begin + text.startswith("\ufeff", begin, end), end)
        if last is None or quotes != last.quotes:
            indents = []
        start, marked = _past_items(text, start, end, indents)
        last = Block(number, begin, start, end, line.end(), quotes, indents[-1] if indents else 0, marked)
        closing = _closing(text, start, end)
        if closing is None:
            yield last
        elif closing is not BLANK and text.startswith("<", start) and closing.match(text, start, end):
            closing = None  # it ends on the line on which it begins


def _past_quotes(text: str, start: int, end: int, most: int = 1000) -> tuple[int, int]:
    quotes = 0
    while quotes < most and (quote := QUOTE.match(text, start, end)):
        start, quotes = quote.end(), quotes + 1
    return start, quotes


def _past_items(text: str, start: int, end: int, indents: list[int]) -> tuple[int, bool]:
    """Go past the indent and the markers of list items; `indents` are the columns at which the open ones begin."""
    line = text[start:end]
    if BLANK.match(line):
        return end, False
    spaces = len(line) - len(line.lstrip(" "))
    while indents and spaces < indents[-1]:
        indents.pop()
    inside, marked = indents[-1] if indents else 0, False
    ruled = _ruled(line)
    while (item := ITEM.match(line, inside)) and inside < ruled and len(indents) < DEEPEST:
        inside, marked = item.end(), True
        indents.append(inside)
    indent = INDENT.match(line, inside)
    return start + (indent.end() if indent else inside), marked


def _ruled(line: str) -> int:
    """From where on a line is nothing but a thematic break; its end where it is none there."""
    bare = line.rstrip(" \t")
    before = bare.rstrip(f"{bare[-1]} \t") if bare[-1] in "-*_" else bare
    return len(before) if bare.count(bare[-1], len(before)) >= 3 else len(line)


def _inside(text: str, begin: int, end: int, opened: Block) -> int | None:
    """Where a line's part of the code or HTML that was opened begins; None where it is outside of its list or quote."""
    start, quotes = _past_quotes(text, begin, end, opened.quotes)
    if quotes < opened.quotes:
        return None
    if BLANK.match(text, start, end):
        return end
    spaces = len(text[start:end]) - len(text[start:end].lstrip(" "))
    return start + opened.indent if spaces >= opened.indent else None


def _closing(text: str, start: int, end: int) -> re.Pattern[str] | None:
    """What a line looks like that ends the code or the HTML that begins here; None where none begins."""
    if fence := FENCE.match(text, start, end):
        mark = fence[1] or fence[2]
        return re.compile(rf" {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
    if declaration := DECLARATION.match(text, start, end):
        return DECLARATION_ENDS.get(declaration[0], DECLARATION_END)
    if VERBATIM.match(text, start, end):
        return VERBATIM_END
    return BLANK if HTML.match(text, start, end) else None
