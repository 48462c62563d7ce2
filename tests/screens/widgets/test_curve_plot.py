"""The curves of a training as text."""

import math
from typing import Any

import pytest

from zoowizard.board.markdown import width_of
from zoowizard.screens.widgets.curve_plot import bars, plot

FALLING = [10 / epoch for epoch in range(1, 21)]
RUN = {
    "train/box_loss": FALLING,
    "val/box_loss": [*FALLING[:10], *[2.0 + n / 10 for n in range(10)]],
    "metrics/mAP50-95(M)": [n / 25 for n in range(20)],
    "metrics/mAP50(M)": [n / 20 for n in range(20)],
    "metrics/mAP50(B)": [n / 20 for n in range(20)],
}


def text(values: dict[str, Any], width: int = 32, height: int = 14, blocks: bool = True) -> list[str]:
    return [line for line, _ in plot(values, width, height, blocks)]


def test_losses_metrics_and_the_best_epoch_in_words() -> None:
    lines = text({"curves": RUN, "best_epoch": 17, "epochs": 30})
    assert len(lines) == 14
    assert lines[0] == "training loss 10 to 0.5"
    assert lines[3] == "validation loss 10 to 2.9"
    assert text({"curves": RUN}, 60)[3] == "validation loss 10 to 2.9, lowest 1"
    assert lines[-1] == "best epoch 17 of 30"
    assert lines[-2].startswith("1 ")
    assert lines[-2].endswith("20")
    mark = lines[-2].index("^")
    assert 16 / 20 * 32 <= mark < 17 / 20 * 32
    assert not any("(B)" in line for line in lines)
    assert max(width_of(line) for line in lines) <= 32


def test_a_falling_curve_falls() -> None:
    upper, lower = bars([8.0, 6.0, 4.0, 2.0, None], 2.0, 8.0, 2, blocks=True)
    assert (upper, lower) == ("█▃   ", "██▆▁ ")
    upper, lower = bars([8.0, 6.0, 4.0, 2.0, None], 2.0, 8.0, 2, blocks=False)
    assert (upper, lower) == ("|:   ", "||:. ") or (upper, lower) == ("|.   ", "|||. ")


def test_without_blocks_all_is_ascii() -> None:
    assert all(line.isascii() for line in text({"curves": RUN, "best_epoch": 3}, blocks=False))


@pytest.mark.parametrize("height", range(1, 40))
def test_it_fits_into_any_height(height: int) -> None:
    for width in (20, 32, 100):
        lines = text({"curves": RUN, "best_epoch": 20, "epochs": 20}, width, height)
        assert 0 < len(lines) <= height
        assert max(width_of(line) for line in lines) <= width
        assert height < 2 or any("best epoch 20" in line for line in lines)


@pytest.mark.parametrize(
    "curves",
    [
        {"train/loss": [None, math.nan, 2.0, None, 1.0, math.inf, 1e300]},
        {"metrics/mAP50(M)": [0.0]},
        {"metrics/mAP50(M)": [0.0] * 50},
        {"train/loss": [-3.0, -5.0], "metrics/[/x]\x1b[31m of 漢字": [1e-9, 2e-9]},
        {f"metrics/m{number}": [number, 2 * number] for number in range(1, 30)},
        {"train/loss": [float(n) for n in range(3000)], "val/loss": [1.0]},
    ],
)
def test_odd_runs_are_drawn_too(curves: dict[str, list[Any]]) -> None:
    lines = text({"curves": curves, "best_epoch": "x", "epochs": None}, 40, 20)
    assert len(lines) > 2
    assert "\x1b" not in "".join(lines)
    assert max(width_of(line) for line in lines) <= 40


@pytest.mark.parametrize("curves", [None, {}, {"train/loss": []}, {"train/loss": [None, math.nan]}, {"lr/pg0": [1.0]}])
def test_nothing_to_draw(curves: object) -> None:
    assert text({"curves": curves, "best_epoch": 1}) == []
