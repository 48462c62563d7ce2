"""Label images are compared as stardist does, whatever their instances are called."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from zoowizard.packaging.matching import LabelImage, match, parity


def blobs(seed: int, count: int = 40, side: int = 128) -> LabelImage:
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.int32)
    for label, (y, x) in enumerate(rng.uniform(0, side, (count, 2)), start=1):
        labels[(yy - y) ** 2 + (xx - x) ** 2 < rng.uniform(3, 10) ** 2] = label
    return labels


def by_the_dense_matrix(native: LabelImage, predicted: LabelImage) -> tuple[int, float]:
    """Matched pairs and the sum of their IoU, by the assignment over all pairs, as stardist.matching finds them."""
    masks = [[image == label for label in np.unique(image) if label] for image in (native, predicted)]
    iou = np.array([[(a & b).sum() / (a | b).sum() for b in masks[1]] for a in masks[0]])
    rows, columns = linear_sum_assignment(-(iou >= 0.5).astype(float) - iou / (2 * min(iou.shape)))
    scores = iou[rows, columns]
    return int((scores >= 0.5).sum()), float(scores[scores >= 0.5].sum())


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_assignment_over_all_pairs(seed: int) -> None:
    native = blobs(seed)
    predicted = np.roll(native, (seed, 1), axis=(0, 1))
    predicted[::7] = 0
    found = match(native, predicted)
    matched, score = by_the_dense_matrix(native, predicted)
    assert 0 < found.n_matched == matched
    assert found.mean_iou == pytest.approx(score / matched)
    assert found.precision == pytest.approx(matched / found.n_pred)
    assert found.recall == pytest.approx(matched / found.n_true)
    assert found.mean_true_score == pytest.approx(score / found.n_true)
    assert found.panoptic_quality == pytest.approx(2 * score / (found.n_true + found.n_pred))


def test_numbers_of_the_instances_play_no_part() -> None:
    native = blobs(1)
    other_names = np.random.default_rng(0).permutation(np.arange(1, 1000))
    renamed = np.where(native > 0, other_names[native], 0).astype(np.float32)
    found = match(native, renamed)
    assert (found.mean_iou, found.identical_pixels, found.f1) == (1.0, 1.0, 1.0)
    assert found.n_true == found.n_pred == found.n_matched


def test_very_large_labels_need_no_large_table() -> None:
    native = blobs(2).astype(np.int64)
    assert match(native, np.where(native > 0, native + 10**15, 0)).identical_pixels == 1.0
    assert match(native + 10**15, native + 1).identical_pixels == 1.0


def test_identical_pixels_counts_unmatched_instances_as_different() -> None:
    native = np.zeros((10, 10), np.uint8)
    native[:2] = 1
    native[5:7] = 2
    predicted = native.copy()
    predicted[predicted == 2] = 0
    predicted[9] = 3
    found = match(native, predicted)
    assert found.identical_pixels == pytest.approx(1 - 0.2 - 0.1)
    assert (found.n_true, found.n_pred, found.n_matched, found.mean_iou) == (2, 2, 1, 1.0)


def test_merging_two_instances_is_seen_in_the_pixels() -> None:
    native = np.array([[1, 1, 1, 2, 0]])
    merged = np.array([[7, 7, 7, 7, 0]])
    found = match(native, merged)
    assert found.mean_iou == 0.75
    assert found.identical_pixels == 0.8


def test_iou_of_exactly_one_half_is_matched_once_and_never_worse_than_possible() -> None:
    native = np.array([[1, 1, 2, 2, 2, 2]])
    predicted = np.array([[1, 2, 3, 3, 4, 4]])
    found = match(native, predicted)
    assert (found.n_matched, found.mean_iou) == (2, 0.5)


def test_empty_images() -> None:
    nothing, something = np.zeros((8, 8)), np.ones((8, 8))
    both = match(nothing, nothing)
    assert (both.mean_iou, both.f1, both.identical_pixels) == (None, None, 1.0)
    for one in (match(nothing, something), match(something, nothing)):
        assert (one.mean_iou, one.f1, one.identical_pixels) == (0.0, 0.0, 0.0)


def test_more_than_ten_thousand_instances() -> None:
    native = np.kron(np.arange(1, 14401).reshape(120, 120), np.ones((5, 5), np.int32))
    found = match(native, np.where(native % 3 == 0, 0, native))
    assert (found.n_true, found.n_pred, found.n_matched) == (14400, 9600, 9600)
    assert found.identical_pixels == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("native", "predicted", "says"),
    [
        (np.zeros((4, 5)), np.zeros((5, 4)), r"native \(4, 5\), predicted \(5, 4\)"),
        (np.zeros((0, 5)), np.zeros((0, 5)), "without a pixel"),
        (np.zeros((2, 2)), np.full((2, 2), 0.5), "predicted .* whole numbers"),
        (np.full((2, 2), np.nan), np.zeros((2, 2)), "native .* whole numbers"),
        (np.full((2, 2), -1), np.zeros((2, 2)), "native .* negative"),
    ],
)
def test_what_is_no_pair_of_label_images(native: LabelImage, predicted: LabelImage, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        match(native, predicted)


def test_parity_leaves_images_without_instances_out_of_the_mean_iou() -> None:
    native = np.array([[1, 1, 1, 2, 0]])
    nothing = np.zeros((1, 5))
    found = parity([(native, native), (nothing, nothing), (native, np.array([[7, 7, 7, 7, 0]]))])
    assert found["images"] == 3
    assert found["mean_iou"] == pytest.approx((1 + 0.75) / 2)
    assert found["identical_pixels"] == pytest.approx((1 + 1 + 0.8) / 3)
    assert found["per_image"][1]["mean_iou"] is None
    assert [one["n_matched"] for one in found["per_image"]] == [2, 0, 1]
    assert parity([(nothing, nothing)])["mean_iou"] is None


def test_parity_of_no_images_is_no_parity() -> None:
    with pytest.raises(ValueError, match="no images"):
        parity([])


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_as_cellpose_measures_it(seed: int) -> None:
    from cellpose.metrics import average_precision

    native = blobs(seed)
    predicted = np.where(np.roll(native, 1, axis=0) == native, native, 0)
    predicted[native == 5] = 0
    found = match(native, predicted)
    assert found.ap90 is not None
    assert 0 < found.ap90 < 0.95
    assert found.ap90 == pytest.approx(float(average_precision(native, predicted, [0.9])[0][0]))
    assert match(native, native).ap90 == 1


def test_average_precision_of_several_images() -> None:
    native, nothing = np.array([[1, 1, 1, 2, 0]]), np.zeros((1, 5), int)
    found = parity([(native, native), (nothing, nothing), (native, np.array([[7, 7, 7, 0, 0]]))])
    assert [one["ap90"] for one in found["per_image"]] == [1, None, 0.5]
    assert found["ap90"] == 0.75
    assert parity([(nothing, nothing)])["ap90"] is None
