"""Values are compared by the spread of what the framework gives."""

import numpy as np
import pytest

from zoowizard.packaging.values import agreement, apart, other_shape, spreads

RNG = np.random.default_rng(0)


def test_the_largest_difference_as_a_part_of_the_spread() -> None:
    native = [{"a": RNG.normal(5, 2, (1, 1, 64, 64)), "b": RNG.normal(0, 100, (1, 2, 8))} for _ in range(2)]
    found = [{name: one.copy() for name, one in outputs.items()} for outputs in native]
    found[1]["a"][0, 0, 3, 4] += 0.5
    assert spreads(native)["a"] == pytest.approx(2, rel=0.05)
    assert apart(native, found) == {"a": pytest.approx(0.25, rel=0.05), "b": 0.0}
    assert agreement(2, apart(native, found))["apart"] == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_an_output_that_is_the_same_everywhere_has_its_size_for_a_spread(value: float) -> None:
    native = [{"a": np.full((1, 1, 50, 50), value, np.float32)}]
    assert spreads(native)["a"] == pytest.approx(value or 1.0)
    assert apart(native, [{"a": native[0]["a"] * np.float32(1 + 1e-6)}])["a"] < 2e-6


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_values_of_every_type(dtype: type) -> None:
    zeros = np.zeros((1, 1, 4, 4), dtype)
    native = zeros.copy()
    native[..., 0] = 1
    assert apart([{"a": native}], [{"a": native}]) == {"a": 0.0}
    assert apart([{"a": native}], [{"a": zeros}])["a"] == pytest.approx(1 / np.sqrt(3 / 16))


def test_no_number_agrees_with_itself_only() -> None:
    native = np.arange(9.0).reshape(1, 1, 3, 3)
    odd = native.copy()
    odd[0, 0, 0] = np.nan, np.inf, -np.inf
    assert apart([{"a": odd}], [{"a": odd}]) == {"a": 0.0}
    assert np.isinf(apart([{"a": odd}], [{"a": native}])["a"])
    assert np.isinf(apart([{"a": native}], [{"a": odd}])["a"])


def test_other_shapes_are_named() -> None:
    native, found = {"a": np.zeros((1, 1, 4, 4))}, {"a": np.zeros((1, 1, 4, 5))}
    assert other_shape([native], [native]) == ""
    assert other_shape([native], [found]) == "the output “a” is of 1 x 1 x 4 x 5, where 1 x 1 x 4 x 4 would be right"
    assert other_shape([native], [{}]) == "there is no output “a”"
