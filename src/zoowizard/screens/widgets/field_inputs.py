"""What answers are typed into: one line, one line with choices, several lines. None of them keeps a person inside."""

from dataclasses import dataclass
from typing import ClassVar, Final

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, TextArea

from zoowizard.screens.widgets.field_state import fitting
from zoowizard.terminal import printable

LONGEST: Final = 50_000
"""Letters that an input takes: over twice what any answer may have, so that too long a text can be shortened in it."""
MOST_LISTED: Final = 6


@dataclass
class LeaveAsked(Message):
    """The person wants to go on to the next question (`by` = 1) or back to the one before (`by` = -1)."""

    by: int


def without_controls(text: str, line_breaks: bool) -> str:
    """What was pasted, without what could steer the terminal; line breaks become spaces where there is one line."""
    lines = [printable(line.replace("\t", " ")) for line in text[:LONGEST].splitlines()]
    return ("\n" if line_breaks else " ").join(lines)


class FieldLine(Input):
    """One line. A text of several lines that is pasted becomes one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "leave(1)", "Next field", show=False, id="line.enter")]

    def __init__(self, text: str) -> None:
        super().__init__(text, compact=True, select_on_focus=False, max_length=LONGEST)
        self.cursor_blink = False

    def action_leave(self, by: int) -> None:
        """Go on to another question."""
        self.post_message(LeaveAsked(by))

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        if line := without_controls(event.text, line_breaks=False):
            self.replace(line, *sorted(self.selection))

    def fill(self, text: str) -> None:
        """Put a text in, as if it had always been there."""
        with self.prevent(Input.Changed):
            self.value = text
        self.cursor_position = len(text)

    @property
    def typed(self) -> str:
        """What stands in it."""
        return self.value


class FieldChoice(FieldLine):
    """One line with a list of choices under it: typing narrows the list, down and enter take from it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "point(1)", "Next choice", show=False, id="choice.down"),
        Binding("up", "point(-1)", "Choice before", show=False, id="choice.up"),
        Binding("enter", "take", "Take the choice", show=False, id="choice.enter"),
    ]

    def __init__(self, text: str, choices: tuple[str, ...]) -> None:
        """`choices` are all that are offered."""
        self.choices = choices
        self.listed = FieldChoices()
        super().__init__(text)
        self._narrow(text)

    def action_point(self, by: int) -> None:
        """Move in the list; off its ends, to the question before or after."""
        here = self.listed.pointed + by
        if not self.listed.shown or here >= len(self.listed.shown) or here < -1:
            self.action_leave(by)
        else:
            self.listed.point(here)

    def action_take(self) -> None:
        """Take the choice that is pointed at, or typed but for the case of its letters, if any, and go on."""
        sought = self.value.strip().casefold()
        taken = self.listed.shown[self.listed.pointed : self.listed.pointed + 1] if self.listed.pointed >= 0 else ()
        taken = taken or tuple(choice for choice in self.choices if choice.casefold() == sought)
        if taken:
            self.value = taken[0]
            self.cursor_position = len(self.value)
        self.action_leave(1)

    def watch_value(self, value: str) -> None:
        """The list follows what is typed."""
        self._narrow(value)

    def _narrow(self, text: str) -> None:
        sought = text.strip().casefold()
        whole = any(sought == choice.casefold() for choice in self.choices)
        near = [choice for choice in self.choices if not sought or whole or sought in choice.casefold()]
        self.listed.offer(tuple(near))

    def on_focus(self) -> None:
        """The list is there while it is of use."""
        self.listed.offer(self.listed.shown, up=True)

    def on_blur(self) -> None:
        """And away when it is not."""
        self.listed.offer(self.listed.shown, up=False)


class FieldChoices(Widget):
    """The choices, a few lines of them around the one that is pointed at."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: tuple[str, ...] = ()
        self.pointed = -1
        self._up = False
        self.display = False

    def offer(self, choices: tuple[str, ...], up: bool | None = None) -> None:
        """Show these, none pointed at; `up` says whether the list is to be seen."""
        self._up = self._up if up is None else up
        if choices != self.shown or up is not None:
            self.shown, self.pointed = choices, -1
        self.display = self._up and bool(choices)
        self.styles.height = min(len(choices), MOST_LISTED) or 1
        self.refresh()

    def point(self, place: int) -> None:
        """Point at the choice at `place`; -1 is none."""
        self.pointed = place
        self.refresh()

    def render(self) -> Content:
        """A line a choice; where there are more, the last line says how many."""
        first = max(0, min(self.pointed - MOST_LISTED + 2, len(self.shown) - MOST_LISTED))
        window = self.shown[first : first + MOST_LISTED]
        left = len(self.shown) - first - len(window)
        lines = []
        for place, choice in enumerate(window, start=first):
            here = place == self.pointed
            said = fitting(("> " if here else "  ") + choice, self.size.width)
            more = f"  and {left} more" if left and place == first + len(window) - 1 else ""
            room = self.size.width - cell_len(said)
            lines.append(Content.assemble((said, "bold $accent" if here else ""), (fitting(more, room), "dim")))
        return Content("\n").join(lines)


class FieldText(TextArea):
    """Several lines: a paragraph, or people and citations one a line. Tab goes on; so do up and down at the ends."""

    def __init__(self, text: str) -> None:
        super().__init__(text, compact=True, soft_wrap=True, tab_behavior="focus", theme="css")
        self.cursor_blink = False
        self.highlight_cursor_line = False
        self.move_cursor(self.document.end)

    def action_cursor_up(self, select: bool = False) -> None:
        """Up, and from the first line to the question before."""
        if not select and self._visual_row() == 0:
            self.post_message(LeaveAsked(-1))
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        """Down, and from the last line to the next question."""
        if not select and self._visual_row() == self.wrapped_document.height - 1:
            self.post_message(LeaveAsked(1))
        else:
            super().action_cursor_down(select)

    def _visual_row(self) -> int:
        return self.wrapped_document.location_to_offset(self.cursor_location).y

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        if text := without_controls(event.text, line_breaks=True):
            self.replace(text, *sorted(self.selection), maintain_selection_offset=False)
            self.move_cursor(self.cursor_location)

    def fill(self, text: str) -> None:
        """Put a text in, as if it had always been there."""
        with self.prevent(TextArea.Changed):
            self.load_text(text)
        self.move_cursor(self.document.end)

    @property
    def typed(self) -> str:
        """What stands in it."""
        return self.text
