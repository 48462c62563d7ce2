"""Values as Markdown that shows them as they are: they add no headings, links, pictures or HTML, and break no table."""

import math
import re
from collections.abc import Sequence
from typing import Any, Final

from zoowizard.packaging.report import one_line

SPECIAL: Final = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
BLOCK_START: Final = re.compile(r"(\d{1,9}(?=[.)](?:\s|$))|(?=[#+=-]))")


def text(value: Any) -> str:
    """A value as text on one line that Markdown shows as it is; nothing for what is no text or number."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    plain = one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = SPECIAL.sub(lambda found: "\\" + found[0], plain)
    start = BLOCK_START.match(escaped)
    return f"{start[0]}\\{escaped[start.end() :]}" if start else escaped


def paragraphs(value: Any) -> str:
    """A longer text: blank lines part paragraphs, and lines that all begin with a dash stay a list."""
    if not isinstance(value, str):
        return ""
    blocks = []
    for block in re.split(r"\n\s*\n", value.replace("\r\n", "\n")):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        if all(re.match(r"[-*] \S", line) for line in lines):
            blocks += ["\n".join(f"- {text(line[2:])}" for line in lines)]
        else:
            blocks.append(text(block))
    return "\n\n".join(block for block in blocks if block)


def link(value: Any) -> str:
    """A web address as a link; nothing for anything else."""
    is_address = isinstance(value, str) and re.fullmatch(r"https?://[^\s<>\\`\x00-\x20]+", value.strip())
    return f"<{value.strip()}>" if is_address else ""


def number(value: Any) -> str:
    """A number in few digits; nothing for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return ""
    return str(value) if isinstance(value, int) else f"{value:.5g}"


def bullets(lines: Sequence[tuple[str, str]]) -> str:
    """A list of names and values that are Markdown already; without those that are empty."""
    return "\n".join(f"- **{name}:** {value}" for name, value in lines if value)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; nothing where there are no rows or only one column."""
    if not rows or len(header) < 2:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
