"""The training curves as a small picture for the model card."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from zoowizard.drafts.curves import Curve, clean, losses, metrics

Colour = tuple[int, int, int]

SIZE_PX: Final = (960, 360)
SHARPER: Final = 2
COLOURS: Final[tuple[Colour, ...]] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
)
"""Okabe and Ito, https://jfly.uni-koeln.de/color/."""

INK: Final = (60, 60, 60)
GRID: Final = (225, 225, 225)


@dataclass(frozen=True)
class Panel:
    """One plot: its title, its curves by name."""

    title: str
    curves: Mapping[str, Curve]


def write_curves(curves: Mapping[str, Curve], best_epoch: int | None, path: Path) -> bool:
    """Draw the losses beside the metrics, over the epochs (from 1), as a PNG under 100 KB; False where there are none.

    Series named `train/…` and `val/…` are losses and summed, `metrics/…` are drawn as they are (those of the masks,
    which end in `(M)`, where there are any). `best_epoch` is marked. The same curves give the same bytes.
    """
    panels = _panels(curves)
    if not panels:
        return False
    width, height = (length * SHARPER for length in SIZE_PX)
    picture = Image.new("RGB", (width, height), "white")
    for number, panel in enumerate(panels):
        left, right = number * width // len(panels), (number + 1) * width // len(panels)
        _draw(ImageDraw.Draw(picture), panel, (left, right), height, best_epoch)
    buffer = io.BytesIO()
    picture.resize(SIZE_PX, Image.Resampling.BOX).save(buffer, "PNG", compress_level=9)
    path.write_bytes(buffer.getvalue())
    return True


def _panels(curves: Mapping[str, Curve]) -> list[Panel]:
    known = clean(curves)
    shown = metrics(known)
    of_masks = all(name.endswith("(M)") for name in shown)
    panels = [
        Panel("Loss", losses(known)),
        Panel("Metrics of the masks" if of_masks else "Metrics", dict(list(shown.items())[: len(COLOURS)])),
    ]
    return [panel for panel in panels if panel.curves]


def _draw(
    draw: ImageDraw.ImageDraw, panel: Panel, across: tuple[int, int], height: int, best_epoch: int | None
) -> None:
    font = ImageFont.load_default(13 * SHARPER)
    left, right = across[0] + 60 * SHARPER, across[1] - 16 * SHARPER
    top, bottom = 56 * SHARPER, height - 44 * SHARPER
    epochs = max(len(curve) for curve in panel.curves.values())
    values = [value for curve in panel.curves.values() for value in curve if value is not None]
    low, high = min(*values, 0.0), max(*values, 0.0)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def at(epoch: float, value: float) -> tuple[float, float]:
        return (
            left + (right - left) * ((epoch - 1) / (epochs - 1) if epochs > 1 else 0.5),
            bottom - (bottom - top) * (value - low) / (high - low),
        )

    draw.text((left, 8 * SHARPER), panel.title, INK, ImageFont.load_default(15 * SHARPER))
    for tick in ticks:
        y = at(1, tick)[1]
        draw.line([(left, y), (right, y)], GRID, SHARPER)
        draw.text((left - 8 * SHARPER, y), f"{tick:g}", INK, font, anchor="rm")
    for epoch in sorted({1, epochs, *(round(tick) for tick in _ticks(1, epochs) if 1 < tick < epochs * 0.95)}):
        draw.text((at(epoch, low)[0], bottom + 6 * SHARPER), str(epoch), INK, font, anchor="mt")
    draw.text(((left + right) / 2, height - 4 * SHARPER), "epoch", INK, font, anchor="mb")
    if best_epoch is not None and 1 <= best_epoch <= epochs:
        x = at(best_epoch, low)[0]
        for y in range(top, bottom, 8 * SHARPER):
            draw.line([(x, y), (x, min(y + 4 * SHARPER, bottom))], INK, SHARPER)
    legend = float(left)
    for (name, curve), colour in zip(panel.curves.items(), COLOURS, strict=False):
        _line(draw, [None if value is None else at(epoch, value) for epoch, value in enumerate(curve, 1)], colour)
        draw.line([(legend, 40 * SHARPER), (legend + 14 * SHARPER, 40 * SHARPER)], colour, 3 * SHARPER)
        draw.text((legend + 18 * SHARPER, 40 * SHARPER), name, INK, font, anchor="lm")
        legend += 30 * SHARPER + draw.textlength(name, font)
    draw.line([(left, top), (left, bottom), (right, bottom)], INK, SHARPER)


def _line(draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float] | None], colour: Colour) -> None:
    """Join the points; a gap stays a gap, a lone point becomes a dot."""
    piece: list[tuple[float, float]] = []
    for point in (*points, None):
        if point is not None:
            piece.append(point)
            continue
        if len(piece) > 1:
            draw.line(piece, colour, 2 * SHARPER, joint="curve")
        elif piece:
            draw.circle(piece[0], 3 * SHARPER, colour)
        piece = []


def _ticks(low: float, high: float) -> list[float]:
    """Some four round numbers that span low to high."""
    span = high - low or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, last + (first == last) + 1)]
