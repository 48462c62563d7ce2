"""A YOLO segmentation network as one that takes an image of any size and gives a label image, in plain torch.

`LabelImage` wraps the traced network with everything that ultralytics does around it in `model.predict`: the letterbox
resize to the training size, decoding of boxes, non-maximum suppression, assembly of masks, and their way back to the
pixels of the image. It is compiled by TorchScript, holds no operator of torchvision and none that torch 2.0 lacks, and
keeps no tensor on a fixed device.

Sources: `ultralytics.data.augment.LetterBox`, `ultralytics.utils.nms.non_max_suppression`,
`ultralytics.utils.ops.process_mask_native` (what `retina_masks=True` uses), and OpenCV's `resize` for 8-bit images.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Settings:
    """How the network's answer becomes instances; the numbers are those of `model.predict`."""

    image_size: int
    network_channels: int
    stride: int
    level_strides: tuple[int, ...]
    box_bins: int
    confidence: float
    overlap_iou: float
    max_objects: int


def _whole(number: float) -> int:
    return int(round(number))  # noqa: RUF046 (TorchScript's round gives a float)


def _resize_taps(
    size_in: int, size_out: int, clamp_weights: bool, like: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Source indices and 11-bit weights of OpenCV's bilinear resize along one axis.

    Along x OpenCV sets the weight of a neighbour outside of the image to 0 (`clamp_weights`), along y it repeats the
    border row and keeps the weights, which rounds differently.
    """
    out = torch.arange(size_out, device=like.device, dtype=torch.float64)
    source = ((out + 0.5) * (float(size_in) / float(size_out)) - 0.5).to(torch.float32)
    low = torch.floor(source)
    part = source - low
    if clamp_weights:
        part = torch.where((low < 0) | (low >= size_in - 1), torch.zeros_like(part), part)
    first = torch.clamp(low, 0, size_in - 1).to(torch.int64)
    second = torch.clamp(low + 1, 0, size_in - 1).to(torch.int64)
    return first, second, torch.round((1 - part) * 2048).to(torch.int64), torch.round(part * 2048).to(torch.int64)


def resize_8bit(image: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resize of whole numbers from 0 to 255, to the bit as `cv2.resize(…, INTER_LINEAR)` does for uint8.

    `image` is (batch, channel, y, x); gives float32 of (batch, channel, `height`, `width`).
    """
    if image.shape[2] == height and image.shape[3] == width:
        return image
    top, bottom, top_weight, bottom_weight = _resize_taps(image.shape[2], height, False, image)
    left, right, left_weight, right_weight = _resize_taps(image.shape[3], width, True, image)
    pixels = image.to(torch.int64)
    rows = pixels[:, :, :, left] * left_weight + pixels[:, :, :, right] * right_weight
    rows = torch.div(rows, 16, rounding_mode="floor")
    upper = torch.div(rows[:, :, top] * top_weight[:, None], 65536, rounding_mode="floor")
    lower = torch.div(rows[:, :, bottom] * bottom_weight[:, None], 65536, rounding_mode="floor")
    return torch.div(upper + lower + 2, 4, rounding_mode="floor").to(torch.float32)


def _interpolation_taps(size_in: int, size_out: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Source indices and the weight of the second, as torch's bilinear upsampling has them (align_corners=False)."""
    scale = float(size_in) / float(size_out)
    source = torch.clamp((torch.arange(size_out, device=like.device, dtype=torch.float32) + 0.5) * scale - 0.5, min=0)
    first = torch.clamp(torch.floor(source), max=size_in - 1)
    second = torch.clamp(first + 1, max=size_in - 1)
    return first.to(torch.int64), second.to(torch.int64), source - first


def _interpolate(plane: Tensor, rows: tuple[Tensor, Tensor, Tensor], columns: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The pixels of `plane` (y, x) at the given taps, bilinear: (len(rows), len(columns))."""
    top, bottom, down = rows
    left, right, across = columns
    upper, lower = plane[top], plane[bottom]
    upper = upper[:, left] * (1 - across) + upper[:, right] * across
    lower = lower[:, left] * (1 - across) + lower[:, right] * across
    return upper * (1 - down[:, None]) + lower * down[:, None]


def _shifted(taps: tuple[Tensor, Tensor, Tensor], start: int, stop: int, by: int) -> tuple[Tensor, Tensor, Tensor]:
    return taps[0][start:stop] + by, taps[1][start:stop] + by, taps[2][start:stop]


def suppress_overlaps(boxes: Tensor, threshold: float, most: int) -> Tensor:
    """Greedy non-maximum suppression of `boxes` (n, 4: x1, y1, x2, y2), best first; at most `most` indices are kept."""
    x1, y1, x2, y2 = boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3]
    areas = (x2 - x1) * (y2 - y1)
    remaining = torch.arange(boxes.shape[0], device=boxes.device)
    kept: list[Tensor] = []
    while remaining.numel() > 0 and len(kept) < most:
        best, rest = remaining[0], remaining[1:]
        kept.append(best)
        wide = (torch.minimum(x2[best], x2[rest]) - torch.maximum(x1[best], x1[rest])).clamp(min=0)
        high = (torch.minimum(y2[best], y2[rest]) - torch.maximum(y1[best], y1[rest])).clamp(min=0)
        shared = wide * high
        # a box without area has no overlap with itself (0 / 0) and suppresses nothing
        remaining = rest[~(shared / (areas[best] + areas[rest] - shared) > threshold)]
    return torch.stack(kept) if len(kept) > 0 else remaining


def paint(logits: Tensor, boxes: Tensor, classes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Masks, best first, as a label image and a class image, both float32 (`height`, `width`).

    `logits` (n, y, x) are at a quarter of the letterboxed image, `boxes` (n, 4) and the results in pixels of the image.
    Label k is the k-th instance of `model.predict`; where instances overlap, the better one is seen.
    """
    rows, columns = logits.shape[1], logits.shape[2]
    gain = min(4 * rows / height, 4 * columns / width)
    padding = (4 * rows - max(_whole(height * gain), 1)) | (4 * columns - max(_whole(width * gain), 1))
    # the smallest enlargement (1, 2 or 4) at which the letterbox padding ends on whole pixels
    enlarge = 4 // math.gcd(4, padding | (padding // 2))
    gain = min(enlarge * rows / height, enlarge * columns / width)
    inner_height, inner_width = max(_whole(height * gain), 1), max(_whole(width * gain), 1)
    top = _whole((enlarge * rows - inner_height) / 2 - 0.1)
    left = _whole((enlarge * columns - inner_width) / 2 - 0.1)
    enlarged_rows = _interpolation_taps(rows, enlarge * rows, logits)
    enlarged_columns = _interpolation_taps(columns, enlarge * columns, logits)
    image_rows = _interpolation_taps(inner_height, height, logits)
    image_columns = _interpolation_taps(inner_width, width, logits)

    labels = torch.zeros(height, width, device=logits.device)
    kinds = torch.zeros(height, width, device=logits.device)
    corners: list[list[int]] = torch.ceil(boxes).to(torch.int64).tolist()
    instances = 0
    for index in range(logits.shape[0]):
        x1, x2 = max(corners[index][0], 0), min(corners[index][2], width)
        y1, y2 = max(corners[index][1], 0), min(corners[index][3], height)
        if x1 >= x2 or y1 >= y2:
            continue
        plane = logits[index]
        offset_y, offset_x = top, left
        if enlarge > 1:
            # only the rows and columns that the box needs: a box is small, the image is not
            offset_y, offset_x = -int(image_rows[0][y1]), -int(image_columns[0][x1])
            plane = _interpolate(
                plane,
                _shifted(enlarged_rows, top - offset_y, top + int(image_rows[1][y2 - 1]) + 1, 0),
                _shifted(enlarged_columns, left - offset_x, left + int(image_columns[1][x2 - 1]) + 1, 0),
            )
        box_rows, box_columns = _shifted(image_rows, y1, y2, offset_y), _shifted(image_columns, x1, x2, offset_x)
        inside = _interpolate(plane, box_rows, box_columns) > 0
        if not bool(inside.any()):
            continue
        instances += 1
        seen = labels[y1:y2, x1:x2]
        free = inside & (seen == 0)
        labels[y1:y2, x1:x2] = torch.where(free, torch.full_like(seen, instances), seen)
        kinds[y1:y2, x1:x2] = torch.where(free, classes[index] + 1, kinds[y1:y2, x1:x2])
    return labels, kinds


class LabelImage(nn.Module):
    """A segmentation network with everything around it. See the module's text.

    `network` takes a float32 image (batch, 3 or 1, y, x) from 0 to 1, with sides that are multiples of the stride. It
    gives box distances (batch, 4 · bins, anchors), class logits (batch, classes, anchors), mask coefficients (batch,
    32, anchors) and mask prototypes (batch, 32, y / 4, x / 4).
    """

    image_size: Final[int]
    network_channels: Final[int]
    stride: Final[int]
    box_bins: Final[int]
    confidence: Final[float]
    overlap_iou: Final[float]
    max_objects: Final[int]
    padding_grey: Final[float]
    class_offset_px: Final[float]
    most_candidates: Final[int]

    def __init__(self, network: nn.Module, settings: Settings) -> None:
        super().__init__()
        self.network = network
        self.image_size = settings.image_size
        self.network_channels = settings.network_channels
        self.stride = settings.stride
        self.level_strides = list(settings.level_strides)
        self.box_bins = settings.box_bins
        self.confidence = settings.confidence
        self.overlap_iou = settings.overlap_iou
        self.max_objects = settings.max_objects
        self.padding_grey = 114.0
        # ultralytics moves the boxes of each class this far apart, so that classes do not suppress each other
        self.class_offset_px = 7680.0
        self.most_candidates = 30000

    def decode(self, distances: Tensor, height: int, width: int) -> Tensor:
        """Box distances (batch, 4 · bins, anchors) as corners x1, y1, x2, y2 in pixels (batch, anchors, 4)."""
        batch, anchors = distances.shape[0], distances.shape[2]
        if self.box_bins > 1:
            bins = torch.arange(self.box_bins, device=distances.device, dtype=distances.dtype)
            spread = distances.view(batch, 4, self.box_bins, anchors).transpose(2, 1).softmax(1)
            distances = torch.conv2d(spread, bins.view(1, self.box_bins, 1, 1)).view(batch, 4, anchors)
        centres: list[Tensor] = []
        strides: list[Tensor] = []
        for level in self.level_strides:
            rows, columns = height // level, width // level
            y = torch.arange(rows, device=distances.device, dtype=distances.dtype) + 0.5
            x = torch.arange(columns, device=distances.device, dtype=distances.dtype) + 0.5
            centres.append(torch.stack((x.repeat(rows), y.repeat_interleave(columns))))
            strides.append(torch.full((1, rows * columns), float(level), device=distances.device))
        centre, stride = torch.cat(centres, 1), torch.cat(strides, 1)
        low, high = centre - distances[:, :2], centre + distances[:, 2:]
        # through centre and size and back, as ultralytics does: it rounds differently than the corners themselves
        middle, size = (low + high) / 2 * stride, (high - low) * stride
        return torch.cat((middle - size / 2, middle + size / 2), 1).transpose(1, 2)

    def choose(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The anchors that are instances, best first, and their classes.

        `boxes` (anchors, 4), `scores` (anchors, classes); gives two int64 tensors of one length.
        """
        best, kinds = scores.max(1)
        anchors = (best > self.confidence).nonzero().view(-1)
        order = torch.sort(best[anchors], stable=True, dim=0, descending=True)[1][: self.most_candidates]
        anchors = anchors[order]
        kinds = kinds[anchors]
        apart = boxes[anchors] + kinds.to(boxes.dtype)[:, None] * self.class_offset_px
        kept = suppress_overlaps(apart, self.overlap_iou, self.max_objects)
        return anchors[kept], kinds[kept]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """`image` (batch, 1 or 3, y, x) float32 from 0 to 255 → label image and class image (batch, 1, y, x), float32.

        Labels count from 1 in the order of certainty, classes from 1 in the order of the model; 0 is background.
        """
        height, width = image.shape[2], image.shape[3]
        gain = min(self.image_size / height, self.image_size / width)
        inner_height, inner_width = max(_whole(height * gain), 1), max(_whole(width * gain), 1)
        padding_y = (self.image_size - inner_height) % self.stride
        padding_x = (self.image_size - inner_width) % self.stride
        top, left = _whole(padding_y / 2 - 0.1), _whole(padding_x / 2 - 0.1)

        pixels = torch.round(torch.clamp(image, 0, 255))
        resized = resize_8bit(pixels, inner_height, inner_width)
        shape = (image.shape[0], self.network_channels, inner_height + padding_y, inner_width + padding_x)
        letterboxed = torch.full(shape, self.padding_grey, device=image.device)
        letterboxed[:, :, top : top + inner_height, left : left + inner_width] = resized
        distances, class_logits, coefficients, prototypes = self.network(letterboxed / 255)
        boxes = self.decode(distances, letterboxed.shape[2], letterboxed.shape[3])
        scores = class_logits.sigmoid().transpose(1, 2)

        labels: list[Tensor] = []
        kinds: list[Tensor] = []
        shift = torch.tensor([left, top, left, top], device=image.device, dtype=boxes.dtype)
        gain_x, gain_y = inner_width / width, inner_height / height
        gains = torch.tensor([gain_x, gain_y, gain_x, gain_y], device=image.device, dtype=boxes.dtype)
        for index in range(image.shape[0]):
            anchors, chosen_kinds = self.choose(boxes[index], scores[index])
            mask_logits = coefficients[index].transpose(0, 1)[anchors] @ prototypes[index].flatten(1)
            corners = (boxes[index][anchors] - shift) / gains
            painted, painted_kinds = paint(
                mask_logits.view(-1, prototypes.shape[2], prototypes.shape[3]),
                corners,
                chosen_kinds.to(image.dtype),
                height,
                width,
            )
            labels.append(painted)
            kinds.append(painted_kinds)
        return torch.stack(labels)[:, None], torch.stack(kinds)[:, None]


class OnlyLabels(nn.Module):
    """A `LabelImage` of a model with one class: its class image would tell nothing, so it is left out."""

    def __init__(self, label_image: LabelImage) -> None:
        super().__init__()
        self.label_image = label_image

    def forward(self, image: Tensor) -> Tensor:
        """`image` (batch, 1 or 3, y, x) float32 from 0 to 255 → label image (batch, 1, y, x), float32."""
        labels: Tensor = self.label_image(image)[0]
        return labels
