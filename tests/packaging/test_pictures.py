"""The images of a comparison are of the type that the test image has."""

import numpy as np
import pytest

from zoowizard.packaging.pictures import comparison_pictures


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [(), (2,), (3,)])
def test_views_keep_type_channels_and_values(dtype: str, channels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 200, (20, 25, *channels)), np.ones((8, 8, *[1] * len(channels)), int))
    image = (coarse / 300 if dtype == "float32" else coarse * (300 if dtype == "uint16" else 1)).astype(dtype)
    views = comparison_pictures(image)
    assert len({view.shape for view in views.values()}) == 4
    for view in views.values():
        assert view.dtype == image.dtype
        assert view.shape[2:] == channels
        assert dtype == "uint8" or (image.min() <= view.min() and view.max() <= image.max())
        assert view.mean() == pytest.approx(image.mean(), rel=0.1)
    larger, smaller = views["larger"], views["smaller"]
    if dtype == "uint16":
        assert len(np.unique(larger)) > 1000, "no 8-bit step lies between"
    for number in range(channels[0] if channels else 1):
        of = (..., number) if channels else ...
        row = image[of][::10, ::10][: smaller.shape[0] // 7, : smaller.shape[1] // 7].astype(float)
        same = smaller[of][::7, ::7][: row.shape[0], : row.shape[1]].astype(float)
        assert np.corrcoef(row.ravel(), same.ravel())[0, 1] > 0.8, "each channel is itself"
