"""Sums of losses, and curves in the columns of a plot."""

import math

import pytest

from zoowizard.drafts.curves import clean, column_of, columns, losses, metrics, total


def test_losses_are_summed_and_a_gap_stays_a_gap() -> None:
    curves = clean({"train/box": [1, 2, math.nan], "train/seg": [1.5, None, 1], "val/seg": [None, None, None]})
    assert losses(curves) == {"training": [2.5, None, None]}


def test_the_metrics_of_the_masks_stand_for_all() -> None:
    both = {"metrics/mAP50(B)": [0.1], "metrics/mAP50(M)": [0.2], "lr/pg0": [3.0]}
    assert metrics(both) == {"mAP50(M)": [0.2]}
    assert metrics({"metrics/mAP50(B)": [0.1], "metrics/none": [None]}) == {"mAP50(B)": [0.1]}


@pytest.mark.parametrize("told", [None, [], "text", {"train/x": 3}, {"train/x": ["a", True, math.inf, 1e300]}])
def test_what_is_no_curve_gives_nothing_to_draw(told: object) -> None:
    assert losses(clean(told)) == {}


def test_many_epochs_share_a_column_and_few_fill_more() -> None:
    assert columns([1.0, 3.0, None, 5.0], 2) == [2.0, 5.0]
    assert columns([1.0, 2.0], 5) == [1.0, 1.0, 1.0, 2.0, 2.0]
    assert columns([], 3) == [None, None, None]
    assert columns([None, None], 1) == [None]


@pytest.mark.parametrize(("count", "width"), [(40, 32), (3, 32), (1000, 20), (1, 10)])
def test_the_column_of_an_epoch_is_where_it_is_drawn(count: int, width: int) -> None:
    for epoch in {1, count // 2 + 1, count}:
        alone = [1.0 if number == epoch else 0.0 for number in range(1, count + 1)]
        assert columns(alone, width)[column_of(epoch, count, width)] > 0


def test_a_shorter_series_ends_the_sum() -> None:
    assert total([[1.0, 2.0], [1.0]]) == [2.0]
    assert total([]) == []
