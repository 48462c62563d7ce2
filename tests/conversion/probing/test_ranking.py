"""The normalisation of a network is found by the output that is expected of it."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from probed_networks import unet

from zoowizard.conversion.probing.findings import Findings
from zoowizard.conversion.probing.normalisation import Normalisation, candidates, fixed, normalised
from zoowizard.conversion.probing.probe import probe
from zoowizard.conversion.probing.ranking import Ranked, find
from zoowizard.errors import ZoowizardError

Image = NDArray[Any]
LOAD = partial(unet, depth=2, channels=3, outputs=2)
VALID = partial(unet, depth=2, channels=3, outputs=2, valid=True)


@pytest.fixture(scope="module")
def findings() -> Findings:
    return probe(LOAD)


@pytest.fixture(scope="module")
def findings_of_valid() -> Findings:
    return probe(VALID)


def image(dtype: type, height: int = 120, width: int = 100) -> Image:
    """Three channels of different brightness, with a few very bright pixels."""
    rng = np.random.default_rng(7)
    values = rng.gamma(2.0, [[[12.0]], [[25.0]], [[6.0]]], (3, height, width))
    values[:, ::17, ::13] *= 5
    return (values * (180 if dtype is np.uint16 else 1)).clip(0, np.iinfo(dtype).max).astype(dtype)


def predicted(load: Any, picture: Image, normalisation: Normalisation) -> Image:
    network = load()
    whole: Image = network.run(normalised(picture, normalisation.steps)[None])[0]
    return whole[0]


def named(name: str, dtype: type = np.uint8) -> Normalisation:
    return next(one for one in candidates(2, 3, np.dtype(dtype)) if one.name == name)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("as it is", np.uint8),
        ("divided by 255", np.uint8),
        ("divided by 65535", np.uint16),
        ("percentile 1 becomes 0, percentile 99.8 becomes 1, each channel by itself", np.uint16),
        ("percentile 2 becomes 0, percentile 98 becomes 1, all channels together", np.uint8),
        ("mean 0, spread 1, each channel by itself", np.uint8),
        ("mean 0, spread 1, all channels together", np.uint16),
        ("mean and spread of ImageNet", np.uint8),
    ],
)
def test_the_right_one_is_best(name: str, dtype: type, findings: Findings) -> None:
    picture = image(dtype)
    ranked = find(LOAD, findings, picture, predicted(LOAD, picture, named(name, dtype)))
    best = ranked.agreements[0]
    assert best.normalisation.name == name
    assert best.difference is not None and best.difference < 1e-5
    assert ranked.lead is not None and ranked.lead > 10
    finding = ranked.finding()
    assert finding.certain and name in finding.evidence
    for step in best.normalisation.steps:
        if step["id"] in ("scale_range", "zero_mean_unit_variance"):
            assert "y" in step["kwargs"]["axes"] and "batch" not in step["kwargs"]["axes"]


def test_only_what_no_cut_has_changed_is_compared(findings_of_valid: Findings) -> None:
    """The network takes the middle of the image, and gives less of it."""
    picture = image(np.uint8, 123, 109)
    right = named("mean 0, spread 1, each channel by itself")
    network = VALID()
    padded = np.pad(normalised(picture, right.steps), [(0, 0), (20, 21), (20, 23)])
    expected = network.run(padded[None, :, :160, :148])[0][0]
    whole = np.zeros((2, 123, 109), np.float32)
    whole[:, : expected.shape[1], : expected.shape[2]] = expected[:, :123, :109]
    ranked = find(VALID, findings_of_valid, picture, whole)
    assert ranked.agreements[0].normalisation == right
    assert ranked.agreements[0].difference is not None and ranked.agreements[0].difference < 1e-5


def test_label_images_rank_by_where_objects_are(findings: Findings) -> None:
    picture = image(np.uint8)
    right = named("percentile 1 becomes 0, percentile 99.8 becomes 1, each channel by itself")
    channel = predicted(LOAD, picture, right)[0]
    labels = (channel > np.median(channel)).astype(np.uint16) * 7
    ranked = find(LOAD, findings, picture, labels)
    assert ranked.agreements[0].normalisation.name.startswith("percentile ")
    assert not ranked.finding().certain  # labels cannot tell one percentile from the next


def test_numbers_of_the_training_are_tried_first_of_all(findings: Findings) -> None:
    picture, own = image(np.uint8), fixed([20.0, 40.0, 10.0], [11.0, 22.0, 5.0])
    ranked = find(LOAD, findings, picture, predicted(LOAD, picture, own), also=[own])
    assert ranked.agreements[0].normalisation == own


def test_without_an_expected_output_each_is_shown(findings: Findings) -> None:
    ranked: Ranked = find(LOAD, findings, image(np.uint8), None)
    assert ranked.lead is None
    assert "nothing tells" in ranked.finding().evidence and not ranked.finding().certain
    assert {one.outputs[0].shape for one in ranked.agreements} == {(1, 2, 120, 100)}
    assert len({one.normalisation.name for one in ranked.agreements}) == len(ranked.agreements) > 8


def test_an_image_that_is_too_small(findings_of_valid: Findings) -> None:
    with pytest.raises(ZoowizardError, match="the test image has 30 px along y; this network takes 44 px at least"):
        find(VALID, findings_of_valid, image(np.uint8, 30, 60), None)


@pytest.mark.parametrize(("dtype", "offset"), [(np.uint8, 0), (np.uint16, 0), (np.uint16, 60_000)])
def test_the_steps_are_those_of_bioimageio(dtype: type, offset: int, tmp_path: Path) -> None:
    """The library that runs packages reads each candidate, and makes the same of an image, also of a dim one on a
    bright ground, of which single precision would not hold the mean."""
    from bioimageio.core import Sample, Tensor
    from bioimageio.core.proc_setup import get_pre_and_postprocessing
    from bioimageio.spec import InvalidDescr, build_description

    (tmp_path / "network.pt").write_bytes(b"none")
    axes: list[dict[str, Any]] = [{"type": "batch"}, {"type": "channel", "channel_names": ["r", "g", "b"]}]
    axes += [{"type": "space", "id": axis, "size": size} for axis, size in (("y", 120), ("x", 100))]
    picture = image(dtype) if not offset else image(np.uint8) + np.array(offset, dtype)
    before = {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}
    for normalisation in candidates(2, 3, picture.dtype):
        described = {
            "format_version": "0.5.4",
            "type": "model",
            "name": "no network",
            "inputs": [{"id": "image", "axes": axes, "preprocessing": [before, *normalisation.steps]}],
            "outputs": [{"id": "same", "axes": axes}],
            "weights": {"torchscript": {"source": str(tmp_path / "network.pt"), "pytorch_version": "2.5"}},
        }
        description = build_description(described)
        assert not isinstance(description, InvalidDescr), description.validation_summary.format()
        tensor = Tensor.from_numpy(picture[None], dims=("batch", "channel", "y", "x"))
        sample = Sample(members={"image": tensor}, stat={}, id="image")
        get_pre_and_postprocessing(description, dataset_for_initial_statistics=[]).pre(sample)
        theirs = sample.members["image"].to_numpy()[0]
        np.testing.assert_allclose(normalised(picture, normalisation.steps), theirs, rtol=1e-5, atol=1e-6)
