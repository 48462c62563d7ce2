"""Text on its way to a terminal."""

import shutil
import sys
import textwrap
import unicodedata

WIDEST = 100


def printable(text: str) -> str:
    """`text` without control characters: a name in a file must not steer the terminal."""
    return "".join(letter for letter in text if unicodedata.category(letter)[0] != "C" or letter == " ")


def wrapped(text: str, indent: str = "") -> str:
    """Each line of `text` broken between words where a terminal reads it; a file or a program gets whole lines."""
    if not sys.stderr.isatty():
        return text
    width = min(shutil.get_terminal_size().columns, WIDEST)
    lines = text.split("\n")
    return "\n".join(textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False) for line in lines)
