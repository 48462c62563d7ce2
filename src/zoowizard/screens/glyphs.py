"""The signs that carry a state, always with a word beside them; plain ASCII where the terminal is not UTF-8."""

import locale
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Glyphs:
    """`ellipsis` ends what was cut; `blocks` says whether pictures can be drawn with half blocks."""

    done: str = "✓"
    failed: str = "✗"
    current: str = "●"
    open: str = "○"
    none: str = "·"
    warning: str = "!"
    line: str = "─"
    ellipsis: str = "…"
    blocks: bool = True


ASCII = Glyphs("+", "x", "*", "o", ".", "!", "-", "...", blocks=False)


def _chosen() -> Glyphs:
    asked = os.environ.get("ZOOWIZARD_ASCII", "")
    utf8 = locale.getpreferredencoding(False).lower().replace("-", "") == "utf8"
    return ASCII if asked not in ("", "0") or not utf8 else Glyphs()


GLYPHS = _chosen()
"""The signs for this terminal; `ZOOWIZARD_ASCII=1` asks for the plain ones."""
