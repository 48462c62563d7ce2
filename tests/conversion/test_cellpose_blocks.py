"""What blocks are put together to, and what is said of it."""

import numpy as np
import pytest
import torch

from zoowizard.conversion.cellpose_blocks import in_blocks, other_package
from zoowizard.conversion.converted import Array


@pytest.mark.parametrize("shape", [(64, 64), (100, 61), (33, 130)])
def test_blocks_of_a_network_that_looks_no_further_than_the_halo_are_the_whole(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv2d(2, 3, 17, padding=8).eval()

    def predict(block: Array) -> Array:
        assert block.shape == (1, 2, 64, 64)
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(block)))

    image = np.random.default_rng(0).random((1, 2, *shape), np.float32)
    with torch.inference_mode():
        padded = np.pad(image, [(0, 0), (0, 0), (8, 8), (8, 8)], "reflect")
        truth = torch.nn.functional.conv2d(torch.from_numpy(padded), network.weight, network.bias).numpy()
    found = in_blocks(predict, image, 64, 8)
    assert found.shape == (1, 3, *shape)
    assert np.abs(found - truth).max() < 1e-5


def test_the_share_of_cells_that_are_the_same_is_told() -> None:
    truth = np.zeros((40, 40), np.uint16)
    truth[2:12, 2:12], truth[20:30, 20:30] = 1, 2
    moved = np.where(truth == 2, 0, truth)
    moved[24:34, 20:30] = 7
    assert "100.0% of the test image's cells are the same" in other_package(truth, truth + (truth > 0))
    assert "33.3% of the test image's cells are the same" in other_package(truth, moved)  # 1 of 2 found, 1 invented
