"""A picture of few pixels in a terminal: two pixels a cell where it has half blocks and colours, else shades."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from zoowizard.board.markdown import cut
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.terminal import printable

Pixel = tuple[int, int, int]
"""Red, green and blue, each 0 to 255."""
Pixels = Sequence[Sequence[Pixel]]
"""Rows of pixels."""

RAMP: Final = " .:-=+*#%@"
GAMMA: Final = 0.6
"""Makes the dim parts of a picture show: of ten shades, the darkest would be most of a fluorescence image."""
CAPTION_LINES: Final = 1


def pixels_of(answer: Mapping[str, Any]) -> Pixels:
    """The pixels of an answer of `zoowizard.thumbnail`; none where these are no pixels."""
    try:
        raw, width, height = bytes.fromhex(answer["rgb"]), int(answer["width"]), int(answer["height"])
    except (KeyError, TypeError, ValueError):
        return []
    if width <= 0 or len(raw) != 3 * width * height:
        return []
    flat = [(raw[at], raw[at + 1], raw[at + 2]) for at in range(0, len(raw), 3)]
    return [flat[row * width : (row + 1) * width] for row in range(height)]


def fitted(pixels: Pixels, width: int, height: int, mean: bool) -> Pixels:
    """The picture at the most width x height pixels, the aspect ratio kept; never larger than it is.

    A pixel is the mean of those that it stands for, or without `mean`, as labels need it, one of them.
    """
    if not pixels or width < 1 or height < 1:
        return []
    scale = max(len(pixels[0]) / width, len(pixels) / height, 1.0)
    columns, rows = max(1, int(len(pixels[0]) / scale)), max(1, int(len(pixels) / scale))
    shown = []
    for row in range(rows):
        lines = pixels[int(row * scale) : max(int(row * scale) + 1, int((row + 1) * scale))]
        line = []
        for column in range(columns):
            first, last = int(column * scale), max(int(column * scale) + 1, int((column + 1) * scale))
            if mean:
                line.append(_mean([pixel for one in lines for pixel in one[first:last]]))
            else:
                line.append(lines[len(lines) // 2][(first + last - 1) // 2])
        shown.append(line)
    return shown


def _mean(pixels: Sequence[Pixel]) -> Pixel:
    reds, greens, blues = zip(*pixels, strict=True)
    count = len(pixels)
    return sum(reds) // count, sum(greens) // count, sum(blues) // count


def half_blocks(pixels: Pixels) -> list[Strip]:
    """One strip for two rows of pixels: the upper one in the foreground of ▀, the lower one in its background."""
    strips = []
    for number in range(0, len(pixels), 2):
        upper = pixels[number]
        lower = pixels[number + 1] if number + 1 < len(pixels) else [(0, 0, 0)] * len(upper)
        styles = (
            Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below))
            for above, below in zip(upper, lower, strict=True)
        )
        strips.append(Strip([Segment("▀", style) for style in styles], len(upper)).simplify())
    return strips


def shades(pixels: Pixels, dark: bool) -> list[str]:
    """One line for two rows of pixels, in characters that are the brighter the more ink they have (on `dark`)."""
    ramp = RAMP if dark else RAMP[::-1]
    lines = []
    for number in range(0, len(pixels), 2):
        pair = pixels[number : number + 2]
        means = (_mean(column) for column in zip(*pair, strict=True))
        lines.append("".join(ramp[int(_brightness(pixel) ** GAMMA * len(ramp))] for pixel in means))
    return lines


def _brightness(pixel: Pixel) -> float:
    """From 0 to below 1, after ITU-R BT.601."""
    return (299 * pixel[0] + 587 * pixel[1] + 114 * pixel[2]) / 256_000


class PictureView(Widget):
    """A picture below its caption, drawn once. Nothing is drawn again before it has another size or picture."""

    def __init__(self, id: str, labels: bool = False) -> None:
        """`labels`: the colours of the picture are names of objects, between which there is nothing."""
        super().__init__(id=id)
        self._labels = labels
        self._pixels: Pixels = []
        self._caption = ""
        self._strips: list[Strip] = []

    def show(self, answer: Mapping[str, Any] | None, caption: str) -> None:
        """Show an answer of `zoowizard.thumbnail`, or only the caption."""
        pixels = pixels_of(answer) if answer is not None else []
        if (pixels, caption) != (self._pixels, self._caption):
            self._pixels, self._caption = pixels, caption
            self._draw()

    def on_resize(self) -> None:
        """Draw it for the new size."""
        self._draw()

    @property
    def in_colour(self) -> bool:
        """Whether half blocks in colours can be shown, which needs more than the 16 of old terminals."""
        return GLYPHS.blocks and not self.app.no_color and self.app.console.color_system in ("256", "truecolor")

    def _draw(self) -> None:
        width, height = self.size.width, self.size.height - CAPTION_LINES
        small = fitted(self._pixels, width, 2 * height, mean=not self._labels)
        if self.in_colour:
            self._strips = half_blocks(small)
        else:
            self._strips = [Strip([Segment(line)]) for line in shades(small, self.app.current_theme.dark)]
        self.refresh()

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """As wide as there is room."""
        return container.width

    def render_line(self, y: int) -> Strip:
        """The caption, or a line of the picture."""
        base = self.rich_style
        width = self.size.width
        if y < CAPTION_LINES:
            return Strip([Segment(cut(printable(self._caption), width), base + Style(dim=True))]).adjust_cell_length(
                width, base
            )
        strip = self._strips[y - CAPTION_LINES] if y - CAPTION_LINES < len(self._strips) else Strip([])
        return strip.apply_style(base).adjust_cell_length(width, base)
