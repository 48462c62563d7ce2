"""The lines above and below the board's table; each is drawn only where its text changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from textual.content import Content
from textual.widgets import Static

from zoowizard.screens.glyphs import GLYPHS
from zoowizard.screens.widgets.board_rows import fitted, one_line

LONGEST_NAME = 24
TITLE = "zoowizard  board"


class BoardTitle(Static):
    """`zoowizard  board`, how the rows are sorted, and on the right how many there are of each kind."""

    _shown: tuple[str, str] | None = None
    _said: tuple[str, str] = ("", "")

    def __init__(self) -> None:
        """It stands there from the first picture on, before anything was counted."""
        super().__init__(Content.styled(TITLE, "bold"))

    def show(self, order: str, counts: str, rows: int, of: int) -> None:
        """`rows` of `of` models stand in the table."""
        filtered = "" if rows == of else f"{rows} of {of}"
        self._said = "   ".join(word for word in (order, filtered) if word), counts
        self._draw()

    def on_resize(self) -> None:
        """The right end has moved."""
        self._shown = None
        self._draw()

    def _draw(self) -> None:
        left, right = self._said
        room = self.size.width
        start = TITLE if room >= 50 else "board"
        right = right if cell_len(right) + len(start) + 2 <= room else ""
        middle = fitted("   " + left if left else "", max(0, room - len(start) - cell_len(right)))
        if (middle, right) != self._shown:
            self._shown = (middle, right)
            self.update(Content.assemble((start, "bold"), (middle, "dim"), right), layout=False)


class BoardLineText(Static):
    """One line of pieces; where there is no room for all, it says how many are left out."""

    _pieces: tuple[str, ...] = ()
    _shown: str | None = None

    def show(self, pieces: Sequence[str]) -> None:
        """Each piece stays whole, if it is not the only one there is room for."""
        self._pieces = tuple(one_line(piece) for piece in pieces if piece)
        self._draw()

    def on_resize(self) -> None:
        """There may be room for more or fewer pieces."""
        self._draw()

    def _draw(self) -> None:
        room = max(1, self.size.width)
        number = len(self._pieces)
        while number > 1 and cell_len(self._line(number)) > room:
            number -= 1
        line = fitted(self._line(number), room).rstrip()
        if line != self._shown:
            self._shown = line
            self.update(Content(line), layout=False)

    def _line(self, number: int) -> str:
        left_out = len(self._pieces) - number
        pieces = [*self._pieces[:number], *([f"and {left_out} more"] if left_out else [])]
        return "   ".join(pieces)


def counted(counts: Mapping[str, int]) -> str:
    """`2 running · 1 failed · 9 uploaded`; kinds of which there are none stay out."""
    return f" {GLYPHS.none} ".join(f"{number} {kind}" for kind, number in counts.items() if number)


def in_words(running: Sequence[Mapping[str, Any]]) -> list[str]:
    """A piece for each job: `nuclei-unet: compare 3/6  0:21`, or why it waits."""
    return [_in_words(job) for job in running]


def _in_words(job: Mapping[str, Any]) -> str:
    name = one_line(job["model"])
    name = fitted(name, LONGEST_NAME).rstrip() if cell_len(name) > LONGEST_NAME else name
    place = f" {job['number']}/{job['of']}" if job["of"] and job["number"] else ""
    if job["seconds"] is None:
        return f"{name}: {one_line(job['step'])}"
    minutes, seconds = divmod(job["seconds"], 60)
    return f"{name}: {one_line(job['step'])}{place}  {minutes}:{seconds:02d}"
