"""Statistics of an image in pieces are those of numpy on the whole."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoowizard.prediction.statistics import Wanted, measure

Array = NDArray[Any]


def in_pieces(image: Array, thick: int = 7) -> Callable[[], Iterator[Array]]:
    return lambda: (image[:, start : start + thick] for start in range(0, image.shape[1], thick))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("reduced", [(0, 1, 2), (1, 2)])
def test_statistics_in_pieces_are_those_of_the_whole(dtype: str, reduced: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    low = 0 if dtype.startswith("u") else -100
    image = (random.normal(30, 20, (2, 50, 31)) * (1 if dtype == "uint8" else 5)).clip(low, 250).astype(dtype)
    wanted = [
        Wanted("mean", reduced),
        Wanted("std", reduced),
        Wanted("quantile", reduced, 0.0),
        Wanted("quantile", reduced, 0.998),
        Wanted("quantile", reduced, 0.01),
        Wanted("quantile", reduced, 1.0),
        Wanted("quantile", reduced, 0.317, "inverted_cdf"),
    ]
    mean, std, *quantiles = measure(wanted, in_pieces(image))
    whole = image.astype(np.float64)
    np.testing.assert_allclose(mean, whole.mean(axis=reduced), rtol=1e-12)
    np.testing.assert_allclose(std, whole.std(axis=reduced), rtol=1e-12)
    for one, found in zip(wanted[2:], quantiles, strict=True):
        expected = np.quantile(whole, one.q, axis=reduced, method=one.method)  # type: ignore[call-overload]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        assert found.shape == np.shape(expected)
