"""How far two label images agree: instances matched one to one, and the share of pixels that are the same."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

LabelImage = NDArray[Any]
"""Integers (or floats that hold integers) of any shape; 0 is background, every other number one instance."""


@dataclass(frozen=True)
class Match:
    """How two label images agree, instances being matched one to one where their IoU is at least 0.5.

    The fields from `n_true` to `panoptic_quality` are named and defined as in `stardist.matching` (criterion iou,
    threshold 0.5). The ratios, `mean_iou` among them, are None where both images are empty: there was nothing to
    measure. `mean_iou` is the mean IoU of the matched instances (`mean_matched_score` in stardist), 0 where nothing
    matched. `identical_pixels` is the share of all pixels that are background in both images, or belong in both to
    the same matched pair; how the instances are numbered plays no part. `ap90` is the average precision at an IoU of
    0.9 as Cellpose defines it (`cellpose.metrics.average_precision`): pairs with at least that IoU over these pairs and
    all instances that are in none.
    """

    n_true: int
    n_pred: int
    n_matched: int
    mean_iou: float | None
    identical_pixels: float
    precision: float | None
    recall: float | None
    accuracy: float | None
    f1: float | None
    mean_true_score: float | None
    panoptic_quality: float | None
    ap90: float | None


class ImageParity(TypedDict):
    """The agreement on one image."""

    mean_iou: float | None
    identical_pixels: float
    n_true: int
    n_pred: int
    n_matched: int
    ap90: float | None


class Parity(TypedDict):
    """The agreement on several images: means over them; `mean_iou` and `ap90` over those with an instance."""

    images: int
    mean_iou: float | None
    identical_pixels: float
    ap90: float | None
    per_image: list[ImageParity]


def match(native: LabelImage, predicted: LabelImage) -> Match:
    """Compare two label images of the same shape, `native` being taken for the truth.

    Raises ValueError where the shapes differ, where there are no pixels, or where a value is no whole number of 0
    or more.
    """
    native, predicted = np.asarray(native), np.asarray(predicted)
    if native.shape != predicted.shape:
        raise ValueError(f"label images of different shapes: native {native.shape}, predicted {predicted.shape}")
    if native.size == 0:
        raise ValueError(f"label images without a pixel: shape {native.shape}")
    overlap = _overlap(_numbered(native, "native"), _numbered(predicted, "predicted"))
    n_true, n_pred = overlap.shape[0] - 1, overlap.shape[1] - 1
    shared, iou = _matched(overlap)
    matched, score = int(iou.size), float(iou.sum())
    found90 = int((iou >= 0.9).sum())  # no other pair can come so far: instances do not overlap within an image
    both_background = int(overlap[0, 0])

    def share(part: float, whole: float) -> float | None:
        if n_true == n_pred == 0:
            return None
        return part / whole if whole else 0.0

    return Match(
        n_true=n_true,
        n_pred=n_pred,
        n_matched=matched,
        mean_iou=share(score, matched),
        identical_pixels=(both_background + int(shared.sum())) / native.size,
        precision=share(matched, n_pred),
        recall=share(matched, n_true),
        accuracy=share(matched, n_true + n_pred - matched),
        f1=share(2 * matched, n_true + n_pred),
        mean_true_score=share(score, n_true),
        panoptic_quality=share(2 * score, n_true + n_pred),
        ap90=share(found90, n_true + n_pred - found90),
    )


def parity(pairs: Iterable[tuple[LabelImage, LabelImage]]) -> Parity:
    """Compare pairs of (native, predicted) label images. Raises ValueError as `match` does, and for no pair at all."""
    matches = [match(native, predicted) for native, predicted in pairs]
    if not matches:
        raise ValueError("no images to compare")
    return Parity(
        images=len(matches),
        mean_iou=_mean(one.mean_iou for one in matches),
        identical_pixels=sum(one.identical_pixels for one in matches) / len(matches),
        ap90=_mean(one.ap90 for one in matches),
        per_image=[
            ImageParity(
                mean_iou=one.mean_iou,
                identical_pixels=one.identical_pixels,
                n_true=one.n_true,
                n_pred=one.n_pred,
                n_matched=one.n_matched,
                ap90=one.ap90,
            )
            for one in matches
        ],
    )


def _mean(measured: Iterable[float | None]) -> float | None:
    values = [one for one in measured if one is not None]
    return sum(values) / len(values) if values else None


def _numbered(labels: LabelImage, name: str) -> NDArray[np.int64]:
    """The labels of all pixels, flat, numbered anew without gaps: background stays 0."""
    flat = labels.ravel()
    if flat.dtype.kind not in "buif":
        raise ValueError(f"the {name} label image holds {labels.dtype}, not numbers")
    if flat.dtype.kind == "f" and not (np.isfinite(flat).all() and (flat == np.rint(flat)).all()):
        raise ValueError(f"the {name} label image holds values that are no whole numbers")
    if flat.min() < 0:
        raise ValueError(f"the {name} label image holds negative values")
    largest = int(flat.max())
    if largest > 4 * flat.size + 65536:  # a table of all numbers up to the largest would outgrow the image
        values, places = np.unique(flat, return_inverse=True)
        return places.astype(np.int64) + int(values[0] != 0)
    whole = flat.astype(np.int64)
    table = np.zeros(largest + 1, np.int64)
    table[whole] = 1
    table[0] = 0
    return np.asarray(np.cumsum(table) * table)[whole]


def _overlap(native: NDArray[np.int64], predicted: NDArray[np.int64]) -> "csr_array[np.int64]":
    """Pixels shared by each pair of instances (row: native, column: predicted; 0 is background), kept sparse."""
    shape = (int(native.max()) + 1, int(predicted.max()) + 1)
    return coo_array((np.ones(native.size, np.int64), (native, predicted)), shape=shape).tocsr()


def _matched(overlap: "csr_array[np.int64]") -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Shared pixels and IoU of each matched pair.

    Instances do not overlap within an image, so a pair with IoU > 0.5 excludes every other pair of either: only
    pairs of exactly 0.5 compete, and they all score the same. The largest matching is therefore also the best one,
    and needs no dense matrix.
    """
    true_area: NDArray[np.int64] = np.asarray(overlap.sum(axis=1)).ravel()
    pred_area: NDArray[np.int64] = np.asarray(overlap.sum(axis=0)).ravel()
    pairs = overlap.tocoo()
    true, pred = pairs.coords
    union = true_area[true] + pred_area[pred] - pairs.data
    candidate = (true > 0) & (pred > 0) & (2 * pairs.data >= union)
    true, pred, shared, union = true[candidate], pred[candidate], pairs.data[candidate], union[candidate]
    graph = csr_array((np.ones(true.size, np.int8), (true, pred)), shape=overlap.shape)
    chosen = maximum_bipartite_matching(graph, perm_type="column")[true] == pred
    return shared[chosen], shared[chosen] / union[chosen]
