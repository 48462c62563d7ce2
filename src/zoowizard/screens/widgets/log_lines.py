"""The lines of a log: only those that are seen are drawn, once for each batch that came.

Textual's own Log lays out the whole screen again for every batch and draws its scrollbars beside it: five times the
bytes, which a slow connection feels.
"""

from collections.abc import Iterable
from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.events import MouseScrollDown, MouseScrollUp
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from zoowizard.jobs.log_tail import MOST_LINES

SIDEWAYS = 16
"""So many cells a key moves to the side."""
BY_WHEEL = 3


class LogLines(Widget, can_focus=True):
    """Lines under keys. It stays at the end while lines come, but for where the person has moved up."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", id="log.up", show=False),
        Binding("down,j", "move(1)", "Down", id="log.down", show=False),
        Binding("pageup", "move_page(-1)", "Page up", id="log.page-up", show=False),
        Binding("pagedown,space", "move_page(1)", "Page down", id="log.page-down", show=False),
        Binding("home,g", "first", "To the top", id="log.first", show=False),
        Binding("end,G", "last", "To the newest", id="log.last", show=False),
        Binding("left", "sideways(-1)", "To the left", id="log.left", show=False),
        Binding("right", "sideways(1)", "To the right", id="log.right", show=False),
    ]

    class Moved(Message):
        """Other lines are seen, because the person wants it."""

    def __init__(self, *, classes: str | None = None) -> None:
        """There are no lines yet."""
        super().__init__(classes=classes)
        self.lines: list[str] = []
        self.top = 0
        """The first line that is seen, from 0."""
        self.left = 0
        self.at_end = True

    def add(self, lines: Iterable[str]) -> None:
        """More lines; of very many the oldest are forgotten."""
        self.lines += [line.expandtabs() for line in lines]
        if (over := len(self.lines) - MOST_LINES) > 0:
            del self.lines[:over]
            self.top = max(0, self.top - over)
        if self.at_end:
            self.top = self._last_top
        self.refresh()

    def clear(self) -> None:
        """No lines again."""
        self.lines, self.top, self.left, self.at_end = [], 0, 0, True
        self.refresh()

    def go(self, top: int) -> None:
        """Let this line be the first that is seen, or the last one that leaves no empty lines below."""
        self.top = min(max(0, top), self._last_top)
        self.at_end = self.top == self._last_top
        self.refresh()

    @property
    def bottom(self) -> int:
        """The line after the last that is seen."""
        return min(len(self.lines), self.top + self.size.height)

    @property
    def _last_top(self) -> int:
        return max(0, len(self.lines) - max(1, self.size.height))

    def render_line(self, y: int) -> Strip:
        """One line, cut at both sides."""
        number = self.top + y
        text = self.lines[number] if number < len(self.lines) else ""
        seen = Strip([Segment(text)]).crop(self.left, self.left + self.size.width).text
        return Strip([Segment(set_cell_size(seen, self.size.width), self.rich_style)])

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as there are; only asked for where the height is auto."""
        return len(self.lines)

    def on_resize(self) -> None:
        """The end may be elsewhere."""
        self.go(self._last_top if self.at_end else self.top)

    def _move(self, top: int) -> None:
        self.go(top)
        self.post_message(self.Moved())

    def action_move(self, by: int) -> None:
        """Move by lines."""
        self._move(self.top + by)

    def action_move_page(self, by: int) -> None:
        """Move by pages, of which one line is seen in both."""
        self._move(self.top + by * max(1, self.size.height - 1))

    def action_first(self) -> None:
        """Show the oldest lines."""
        self._move(0)

    def action_last(self) -> None:
        """Show the newest lines, and stay there."""
        self._move(self._last_top)

    def action_sideways(self, by: int) -> None:
        """Show what is cut off at the side."""
        longest = max((len(line) for line in self.lines[self.top : self.bottom]), default=0)
        self.left = min(max(0, self.left + by * SIDEWAYS), max(0, longest - SIDEWAYS))
        self.refresh()

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """The wheel moves by a few lines."""
        event.stop()
        self._move(self.top - BY_WHEEL)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """The wheel moves by a few lines."""
        event.stop()
        self._move(self.top + BY_WHEEL)
