"""What is drawn of a network's output after each normalisation, and what is said of its values."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from network_files import Model, pytorch_model

from zoowizard.conversion import pytorch
from zoowizard.conversion.any_network.probed import Pictured
from zoowizard.jobs.steps import Steps


def probed(model: Model, **more: Any) -> Pictured:
    values = {**model.values, **more}
    weights = model.folder / "jobs" / "one" / "weights"
    weights.mkdir(parents=True)
    image = pytorch.read_image(model.checkpoint, values)
    with Steps(weights.parent / "events.jsonl").step("probe") as step:
        return pytorch.probe(model.checkpoint, values, image, weights, step)


def test_of_a_volume_its_middle_plane_is_drawn(tmp_path: Path) -> None:
    np.save(tmp_path / "expected.npy", np.zeros((3, 3)))
    model = pytorch_model(tmp_path, "zyx", (12, 40, 36), depth=1, axes=3, width=2)
    given = probed(model, expected_output=str(tmp_path / "expected.npy"))
    assert {(one.shape, one.dtype.name) for one in given.pictures.values()} == {((40, 36), "uint8")}
    assert given.pictures.keys() == {one.picture for one in given.probed.candidates}
    assert not given.probed.is_ranked
    assert "the expected output has 3 x 3 values, which do not fit" in given.probed.sentence


def test_an_output_in_which_nothing_is_to_be_seen_says_so(tmp_path: Path) -> None:
    model = pytorch_model(tmp_path, shape=(300, 520), depth=1)
    saved = torch.load(model.checkpoint, weights_only=True)
    for tensor in saved["state_dict"].values():
        tensor.zero_()
    torch.save(saved, model.checkpoint)
    given = probed(model)
    assert {one.shape for one in given.pictures.values()} == {(150, 256)}
    assert not any(one.any() for one in given.pictures.values())
    assert {one.range_in_words for one in given.probed.candidates} == {"0 everywhere"}

    saved["state_dict"]["module.head.bias"].fill_(float("inf"))
    torch.save(saved, model.checkpoint)
    (tmp_path / "jobs").rename(tmp_path / "before")
    given = probed(model)
    assert {one.range_in_words for one in given.probed.candidates} == {"not all finite"}
