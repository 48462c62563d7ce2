"""The curves of a training in a few lines of text: losses on one scale, metrics from 0 up, the best epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from textual.content import Content
from textual.widgets import Static

from zoowizard.board.markdown import cut
from zoowizard.drafts.curves import Curve, clean, column_of, columns, losses, metrics
from zoowizard.screens.glyphs import GLYPHS
from zoowizard.terminal import printable

BLOCKS: Final = " ▁▂▃▄▅▆▇█"
PLAIN: Final = " .:|"
FAVOURITES: Final = ("mAP50-95(M)", "mAP50(M)")


@dataclass(frozen=True)
class Series:
    """One curve with its name, drawn from `low` (the least that can be seen) to `high`."""

    name: str
    curve: Curve
    low: float
    high: float


def series_of(curves: object) -> list[Series]:
    """What is drawn of a draft's `curves`: the two losses, then the metrics that tell most."""
    known = clean(curves)
    summed, scores = losses(known), metrics(known)
    numbers = [value for curve in summed.values() for value in curve if value is not None]
    drawn = [Series(f"{name} loss", curve, min(numbers), max(numbers)) for name, curve in summed.items()]
    chosen = [name for name in FAVOURITES if name in scores] or list(scores)[:2]
    for name in chosen:
        values = [value for value in scores[name] if value is not None]
        shown = f"{name.removesuffix('(M)')} of masks" if name.endswith("(M)") else name
        drawn.append(Series(shown, scores[name], min(0.0, *values), max(0.0, *values)))
    return drawn


def plot(values: Mapping[str, Any], width: int, height: int, blocks: bool) -> list[tuple[str, str]]:
    """The lines of the plot of a draft's bare values (`curves`, `best_epoch`, `epochs`), each with its style.

    Gives [] where there are no curves, and the numbers alone where there is no room for bars.
    """
    drawn = series_of(values.get("curves"))
    if not drawn or width < 12 or height < 1:
        return []
    count = max(len(one.curve) for one in drawn)
    axis = _axis(count, values.get("best_epoch"), values.get("epochs"), width)
    room = height - len(axis)
    if room < 2:  # no bar fits: the numbers alone
        titles = [(_title(one, width), "") for one in drawn]
        return [(axis[-1], "bold"), *titles][:height]
    drawn = drawn[: room // 2]
    tall = max(1, min(4, (room - len(drawn)) // len(drawn)))
    lines = []
    for one in drawn:
        lines.append((_title(one, width), ""))
        lines += [(line, "$text-primary") for line in bars(columns(one.curve, width), one.low, one.high, tall, blocks)]
    return [*lines, (axis[0], "dim"), (axis[1], "bold")]


def _title(one: Series, width: int) -> str:
    """From which number to which; the best one too where it is neither and there is room."""
    known = [value for value in one.curve if value is not None]
    first, last = f"{known[0]:.3g}", f"{known[-1]:.3g}"
    is_loss = one.name.endswith("loss")
    best = f"{(min if is_loss else max)(known):.3g}"
    title = f"{printable(one.name)} {first} to {last}"
    longer = f"{title}, {'lowest' if is_loss else 'highest'} {best}"
    return cut(title if best in (first, last) or len(longer) > width else longer, width)


def bars(shown: Curve, low: float, high: float, tall: int, blocks: bool) -> list[str]:
    """`tall` lines with a bar a column, the lowest line last; a column without a number stays empty."""
    signs = BLOCKS if blocks else PLAIN
    steps = len(signs) - 1
    span = (high - low) or 1.0
    levels = [0 if value is None else 1 + round((value - low) / span * (tall * steps - 1)) for value in shown]
    return [
        "".join(signs[max(0, min(steps, level - row * steps))] for level in levels) for row in reversed(range(tall))
    ]


def _axis(count: int, best: object, asked: object, width: int) -> list[str]:
    """The first and the last epoch below the bars and a mark at the best one; below it the same in words."""
    line = ["1", *" " * (width - 1)]
    line[width - len(str(count)) :] = str(count)
    if not isinstance(best, int) or isinstance(best, bool) or not 1 <= best <= count:
        return ["".join(line), f"epochs 1 to {count}"]
    place = column_of(best, count, width)
    if place >= width - len(str(count)) - 1:
        line[width - len(str(count)) :] = " " * len(str(count))
    line[place] = "^"
    of = max(count, asked) if isinstance(asked, int) else count
    return ["".join(line), cut(f"best epoch {best} of {of}", width)]


class CurvePlot(Static):
    """The plot, drawn for the room that there is."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id, markup=False)
        self._values: Mapping[str, Any] = {}
        self._lines: Sequence[tuple[str, str]] = ()

    def show(self, values: Mapping[str, Any]) -> None:
        """Show a draft's bare values."""
        told = {name: values.get(name) for name in ("curves", "best_epoch", "epochs")}
        if told != self._values:
            self._values = told
            self._draw()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not series_of(self._values.get("curves"))

    def on_resize(self) -> None:
        """Draw it for the new size."""
        self._draw()

    def _draw(self) -> None:
        lines = plot(self._values, self.size.width, self.size.height, GLYPHS.blocks)
        if lines != self._lines:
            self._lines = lines
            self.update(Content("\n").join([Content.styled(text, style) for text, style in lines]))
