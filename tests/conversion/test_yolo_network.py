"""The parts of the label-image wrapper against the libraries that they must agree with."""

import cv2
import numpy as np
import pytest
import torch
import torchvision

from zoowizard.conversion.yolo_network import resize_8bit, suppress_overlaps


@pytest.mark.parametrize(
    ("rows", "columns", "new_rows", "new_columns"),
    [
        (512, 512, 704, 704),
        (512, 512, 256, 256),
        (512, 512, 320, 320),
        (100, 130, 492, 640),
        (1024, 900, 640, 562),
        (64, 65, 512, 520),
        (680, 680, 704, 704),
        (512, 512, 511, 511),
        (3, 700, 2, 512),
        (64, 64, 64, 64),
    ],
)
def test_resize_is_that_of_opencv_to_the_bit(rows: int, columns: int, new_rows: int, new_columns: int) -> None:
    image = np.random.default_rng(rows).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    expected = cv2.resize(image, (new_columns, new_rows), interpolation=cv2.INTER_LINEAR)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    resized = resize_8bit(tensor, new_rows, new_columns)[0].permute(1, 2, 0).numpy()
    assert (resized == expected).all()


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_suppression_is_that_of_torchvision(threshold: float) -> None:
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(800, 2, generator=generator) * 200
    boxes = torch.cat((corners, corners + torch.rand(800, 2, generator=generator) * 60), 1)
    boxes[5:25] = boxes[4]  # the same box many times
    boxes[30:40, 2:] = boxes[30:40, :2]  # boxes without area
    scores = torch.linspace(1, 0.1, 800)
    expected = torchvision.ops.nms(boxes, scores, threshold)
    assert suppress_overlaps(boxes, threshold, 10_000).tolist() == expected.tolist()
    assert suppress_overlaps(boxes, threshold, 7).tolist() == expected[:7].tolist()


def test_no_box_is_left_of_none() -> None:
    assert suppress_overlaps(torch.zeros(0, 4), 0.5, 10).tolist() == []
