"""How far values are apart, in words that never claim more than was measured."""

from typing import Any

import pytest

from zoowizard.agreement import apart_of, in_words, rounded_up


@pytest.mark.parametrize(
    ("apart", "said"), [(2.31e-7, "2.4e-07"), (2.4e-7, "2.4e-07"), (0.000999, "0.001"), (0.31, "0.31"), (1.0, "1")]
)
def test_rounded_up_to_two_digits(apart: float, said: str) -> None:
    assert rounded_up(apart) == said
    assert float(said) >= apart * (1 - 1e-12)


@pytest.mark.parametrize(
    "odd", [None, "?", {}, {"apart": None}, {"apart": "1"}, {"apart": -1}, {"apart": float("nan")}]
)
def test_what_is_no_agreement_says_nothing(odd: Any) -> None:
    assert apart_of(odd) is None
    assert in_words(odd) == ""


def test_one_image_and_the_very_same_values() -> None:
    assert in_words({"images": 1, "apart": 0, "outputs": {"a": 0}}) == "the very same values, on 1 image"
