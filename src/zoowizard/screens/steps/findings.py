"""What was found in a checkpoint and the files beside it, in lines for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from textual.content import Content

from zoowizard.board.markdown import cut, padded, width_of
from zoowizard.drafts.draft import CHECKPOINT, DEFAULT, GIVEN, Draft
from zoowizard.drafts.fields import Field
from zoowizard.families.family import Recognition
from zoowizard.families.identify import BLOCKING, obstacle
from zoowizard.families.registry import family
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.terminal import printable

FIRST: Final = (
    "architecture", "parameters", "classes", "image_size", "image_size_asked", "input_channels", "metrics",
    "epochs_done", "epochs", "best_epoch", "training_seconds", "trained_on",
)  # fmt: skip
"""The order in which people want to know; what is not here follows by its name."""
EPOCHS: Final = ("epochs_done", "epochs", "best_epoch")
"""These three are one line."""
SHOWN_ELSEWHERE: Final = frozenset({"curves", "test_image"})
LONGEST_LABEL: Final = 20
ROOMY: Final = 50
MOST_LINES: Final = 3


@dataclass(frozen=True)
class Finding:
    """One thing that was found: `origin` says in what; a sentence on its own has no label and no origin."""

    glyph: str
    label: str
    text: str
    origin: str = ""


def findings(draft: Draft, recognition: Recognition | None, fields: Sequence[Field]) -> list[Finding]:
    """What is in the way, what is suspicious, and what was read, in this order."""
    told: list[Finding] = []
    if recognition is not None:
        if (reason := obstacle(recognition)) is not None:
            told.append(Finding(GLYPHS.failed, "", reason))
        others = [one for one in recognition.warnings if one.code not in BLOCKING]
        told += [Finding(GLYPHS.warning, "", one.message) for one in others]
    known = family(draft.family).LABELS if draft.family else {}
    return [*told, *_read(draft, {**known, **{field.name: field.label for field in fields}})]


def _read(draft: Draft, labels: Mapping[str, str]) -> Iterator[Finding]:
    for name in sorted(draft.found, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)):
        known = draft.found[name]
        if known.origin in (DEFAULT, GIVEN) or name in SHOWN_ELSEWHERE or known.value in (None, "", [], {}):
            continue
        if name in EPOCHS:
            if name == next(one for one in EPOCHS if one in draft.found):
                yield Finding(GLYPHS.done, "epochs", _epochs(draft), known.origin)
        elif isinstance(known.value, Mapping) and all(isinstance(one, Mapping) for one in known.value.values()):
            for kind, numbers in known.value.items():
                yield Finding(GLYPHS.done, str(kind), in_words("", numbers), known.origin)
        else:
            label = labels.get(name) or name.removesuffix("_seconds").replace("_", " ")
            yield Finding(GLYPHS.done, label, in_words(name, known.value), known.origin)


def _epochs(draft: Draft) -> str:
    done, asked, best = (draft.get(name) for name in EPOCHS)
    told = f"{done} of {asked}" if done is not None and asked is not None else f"{done or asked}"
    return f"{told}, the best is {best}" if best is not None else told


def in_words(name: str, value: Any) -> str:
    """A value as people say it; its name tells the unit."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {in_words('', one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        listed = ", ".join(in_words("", one) for one in value)
        return f"{len(value)}: {listed}" if name == "classes" else listed
    if isinstance(value, int | float) and name.endswith("_seconds"):
        return _duration(value)
    if isinstance(value, int | float) and name.startswith("image_size"):
        return f"{value} pixels"
    if isinstance(value, int) and value >= 100_000 and name == "parameters":
        return f"{value / 1e6:.1f} million"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def as_content(told: Sequence[Finding], width: int) -> Content:
    """The findings in `width` columns: sign, label and value, below a heading that says from where they are."""
    longest = max((width_of(printable(one.label)) for one in told), default=0)
    label_width = min(longest, LONGEST_LABEL if width >= ROOMY else LONGEST_LABEL - 6, max(1, width - 14))
    lines: list[Content] = []
    origin = ""
    for one in sorted(told, key=lambda one: [other.origin for other in told].index(one.origin)):
        if one.origin != origin:
            origin = one.origin
            lines.append(Content.styled(cut(f"from {_place(printable(origin))}", width), "dim"))
        lines.append(Content.assemble(*_line(one, width, label_width)))
    return Content("\n").join(lines)


def _place(origin: str) -> str:
    return "the checkpoint itself" if origin == CHECKPOINT else f"the file {origin}"


def _line(one: Finding, width: int, label_width: int) -> Iterator[tuple[str, str]]:
    style = {GLYPHS.failed: "$text-error", GLYPHS.warning: "$text-warning"}.get(one.glyph, "$text-success")
    text = " ".join(printable(one.text).split())
    yield (f"{one.glyph} ", style)
    if not one.label:
        yield ("\n  ".join(_wrapped(text, width - 2, 2 * MOST_LINES)), "")
        return
    indent = " " * (label_width + 4)
    yield (f"{padded(cut(printable(one.label), label_width), label_width)}  ", "dim")
    yield (f"\n{indent}".join(_wrapped(text, max(8, width - len(indent)), MOST_LINES)), "bold")


def _wrapped(text: str, width: int, most: int) -> list[str]:
    """The text in lines; the last one ends with an ellipsis where there are too many."""
    lines = [""]
    for word in _words(text, width):
        between = " " if lines[-1] else ""
        if width_of(lines[-1] + between + word) > width:
            lines.append(word)
        else:
            lines[-1] += between + word
    return lines if len(lines) <= most else [*lines[: most - 1], cut(f"{lines[most - 1]} {lines[most]}", width - 1)]


def _words(text: str, width: int) -> Iterator[str]:
    """Words of at most `width` cells; `textwrap` would count letters, and those of East Asia are two cells wide."""
    for word in text.split():
        piece = ""
        for letter in word:
            if width_of(piece + letter) > width:
                yield piece
                piece = ""
            piece += letter
        yield piece
