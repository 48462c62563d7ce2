"""Models that were found, and how one of them is said in two lines."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.content import Content

from zoowizard.board.markdown import cut, width_of
from zoowizard.families.family import Recognition
from zoowizard.families.identify import from_json
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.widgets.path_input import in_words
from zoowizard.terminal import printable

MARGIN = 2


@dataclass(frozen=True)
class Candidate:
    """A model that was found; see `zoowizard.families.nearby.candidate`."""

    recognition: Recognition
    what: str
    modified: float | None
    size: int | None
    obstacle: str | None
    draft: str | None

    @property
    def key(self) -> str:
        """What tells it from the others."""
        return f"{self.recognition.path}\n{self.recognition.checkpoint}"


def from_line(line: Mapping[str, Any]) -> Candidate:
    """The candidate in a line of the search's answer. Raises ZoowizardError where it is none."""
    return Candidate(
        from_json(line),
        str(line.get("what", "")),
        _number(line.get("modified")),
        None if (size := _number(line.get("size"))) is None else int(size),
        line.get("obstacle"),
        line.get("draft"),
    )


def _number(told: object) -> float | None:
    return float(told) if isinstance(told, int | float) else None


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Newest first; those that cannot be packaged last."""
    return sorted(candidates, key=lambda one: (one.obstacle is not None, -(one.modified or 0.0), one.key))


def two_lines(candidate: Candidate, here: Path, now: float, width: int) -> Content:
    """Where it lies, its size and its age; below what it is, whether it has a draft, what is suspicious about it."""
    place = printable(in_words(candidate.recognition.path, here))
    told = [size_in_words(candidate.size), age_in_words(candidate.modified, now)]
    right = f"{told[0]:>8}  {told[1]:<11}" if width >= 50 else ""
    place = tail(place, max(8, width - len(right) - 1))
    gap = " " * max(1, width - width_of(place) - len(right))
    below = printable(candidate.what)
    if candidate.obstacle is not None:
        known = candidate.recognition.family is not None or candidate.recognition.refused
        reason = f"{below}: {printable(candidate.obstacle)}" if known else below
        second = cut(f"{' ' * MARGIN}{GLYPHS.failed} {reason}", width)
        return Content.assemble((f"{place}{gap}{right}\n{second}", "dim"))
    draft = f"   {GLYPHS.current} draft: {printable(candidate.draft)}" if candidate.draft else ""
    warnings = [printable(one.message) for one in candidate.recognition.warnings]
    warned = f"   {GLYPHS.warning} {' '.join(warnings)}" if warnings else ""
    second = cut(f"{' ' * MARGIN}{below}{draft}{warned}", width)
    return Content.assemble((place, "bold"), gap, (right, ""), "\n", second)


def tail(text: str, width: int) -> str:
    """The text, where it is too wide its end: of paths that is what tells them apart."""
    if width_of(text) <= width:
        return text
    kept = text
    while kept and width_of(kept) > width - len(GLYPHS.ellipsis):
        kept = kept[max(1, (width_of(kept) - width) // 2) :]
    return GLYPHS.ellipsis + kept


def size_in_words(size: int | None) -> str:
    """`5.7 MB`; empty where it is not known."""
    if size is None:
        return ""
    number = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def age_in_words(modified: float | None, now: float) -> str:
    """`2 h ago`; empty where it is not known."""
    if modified is None:
        return ""
    seconds = now - modified
    for name, length in (("years", 31_557_600), ("months", 2_629_800), ("days", 86_400), ("h", 3600), ("min", 60)):
        count = int(seconds // length)
        if count >= 1:
            return f"{count} {name.removesuffix('s') if count == 1 else name} ago"
    return "just now"
