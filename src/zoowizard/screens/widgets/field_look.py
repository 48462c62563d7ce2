"""How a question looks: its line, the sign that carries its state, and what stands under its input."""

from dataclasses import dataclass
from typing import Final

from textual.content import Content

from zoowizard.board.markdown import padded, width_of
from zoowizard.drafts.fields import Need
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.widgets.field_state import FieldState, fitting, one_line

UNTYPABLE: Final = "from an answers file, and no line can say it; type anew to replace it"
LONGEST_KEPT: Final = 40
LONGEST_BENEATH: Final = 60
"""Cells of an answer that is only mentioned."""


@dataclass(frozen=True)
class Columns:
    """How the width of a row is shared: label, value, origin, in cells. The value begins at `left`."""

    label: int
    value: int
    origin: int

    @property
    def left(self) -> int:
        """Marker, label, sign and the spaces between them."""
        return self.label + 5


def columns_of(width: int) -> Columns:
    """Narrow screens lose the origin first."""
    label, origin = (11, 0) if width < 60 else (21, 13) if width < 100 else (33, 17)
    return Columns(label, max(0, width - label - 5 - origin), origin)


@dataclass(frozen=True)
class Judged:
    """What is wrong with what stands in a row now, and what could be better: sentences, or empty.

    `unknown` is it of a path whose file was not looked at yet.
    """

    problem: str = ""
    hint: str = ""
    unknown: bool = False


def head_line(state: FieldState, judged: Judged, width: int, text: str | None, current: bool) -> Content:
    """Marker, label, sign, answer and origin on one line. `text` is what stands in the input, None where folded."""
    columns = columns_of(width)
    label = fitting(state.field.label, columns.label)
    value = state.shown if text is None else ""
    origin = state.origin or ("" if state.answered else state.field.need.value)
    wide = f"you ({state.beneath})"
    if text is None and state.beneath and width_of(value) + width_of(wide) < columns.value + columns.origin:
        origin = wide
    else:
        origin = fitting(origin, columns.origin - 2)
    room = columns.value + columns.origin - width_of(origin) - 2 * bool(origin)
    glyph, style = sign(state, judged, text)
    return Content.assemble(
        ("> " if current else "  ", "bold $accent"),
        (" " * (columns.label - width_of(label)) + label, "bold" if current else ""),
        (f" {glyph} ", style),
        padded(fitting(value, room), room),
        (f"  {origin}" if origin else "", "dim"),
    )


def sign(state: FieldState, judged: Judged, text: str | None) -> tuple[str, str]:
    """The glyph that carries the state of a question, and its colour."""
    if judged.problem:
        return GLYPHS.failed, "$text-error"
    if judged.hint:
        return GLYPHS.warning, "$text-warning"
    if not judged.unknown and (state.answered or (text or "").strip()):
        return GLYPHS.done, "$text-success"
    return (GLYPHS.none if state.field.need is Need.OPTIONAL else GLYPHS.open), "dim"


def note(state: FieldState, judged: Judged, text: str) -> Content:
    """What stands under the input in which `text` stands; nothing where all is well."""
    if judged.problem:
        replaced = state.answered and text.strip() not in ("", state.line)
        kept = f" (until then: {fitting(state.shown, LONGEST_KEPT)})" if replaced else ""
        return Content.styled(f"{GLYPHS.failed} {one_line(judged.problem, '')}{kept}", "$text-error")
    if judged.hint:
        return Content.styled(f"{GLYPHS.warning} {one_line(judged.hint, '')}", "$text-warning")
    if state.answered and state.line is None:
        return Content.styled(UNTYPABLE, "dim")
    if state.beneath:
        return Content.styled(f"{fitting(state.beneath, LONGEST_BENEATH)}; ^r takes that", "dim")
    return Content("")
