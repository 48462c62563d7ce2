"""A network with valid convolutions gives outputs of the size of its input, and block-wise prediction works with it."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probed_networks import UNet, lively, made, unet

from zoowizard.conversion.probing.findings import Findings, declared_sizes
from zoowizard.conversion.probing.padding import CALLABLE, PREFIX, margins_of, padded, padded_source
from zoowizard.conversion.probing.probe import probe


@pytest.fixture(scope="module")
def findings() -> Findings:
    return probe(partial(unet, depth=2, valid=True))


def test_the_interior_is_that_of_the_network(findings: Findings) -> None:
    network = lively(UNet(2, valid=True))
    whole = padded(network, margins_of(findings))
    image = torch.randn(2, 1, 60, 52)
    with torch.inference_mode():
        given, bare = whole(image), network(image)
    assert given.shape == image.shape
    assert torch.equal(given[:, :, 20:-20, 20:-20], bare)
    assert not given[:, :, :20].any() and not given[:, :, :, -20:].any()


def test_it_can_be_traced_and_pickled(findings: Findings, tmp_path: Path) -> None:
    whole = padded(lively(UNet(2, valid=True)), margins_of(findings))
    traced = torch.jit.trace(whole, torch.randn(1, 1, 60, 60))
    torch.save(whole, tmp_path / "whole.pt")
    again = torch.load(tmp_path / "whole.pt", weights_only=False)
    image = torch.randn(1, 1, 76, 64)
    with torch.inference_mode():
        assert torch.allclose(traced(image), whole(image), atol=1e-6)
        assert torch.equal(again(image), whole(image))


def test_what_a_package_declares_leaves_room_for_the_halo(findings: Findings) -> None:
    assert declared_sizes(findings) == {"y": {"min": 44, "step": 4}, "x": {"min": 44, "step": 4}}
    wider = findings.overruled("halo", {"y": 22, "x": 30})
    assert declared_sizes(wider) == {"y": {"min": 48, "step": 4}, "x": {"min": 64, "step": 4}}


def test_a_network_that_pads_itself_is_left_alone() -> None:
    network = lively(UNet(1))
    assert padded(network, margins_of(probe(partial(unet, depth=1)))) is network


def test_several_outputs_and_axes() -> None:
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"a": x[:, :, 1:-1, 2:-2, 3:-4], "b": torch.nn.functional.pad(x, [2, 2, 0, 0, 0, 0])}

    image = torch.randn(1, 1, 8, 12, 16)
    margins = [[[1, 1], [2, 2], [3, 4]], [[0, 0], [0, 0], [-2, -2]]]
    first, second = padded(Two(), margins)(image)
    assert first.shape == second.shape == image.shape
    assert torch.equal(first[:, :, 1:-1, 2:-2, 3:-4], image[:, :, 1:-1, 2:-2, 3:-4])
    assert torch.equal(second, image)


def test_what_is_nested_is_laid_flat() -> None:
    class Nested(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            return {"a": x, "deep": [x + 1, (x + 2,)], "name": "not an image"}

    image = torch.randn(1, 1, 8, 8)
    given = padded(Nested(), [[[0, 0], [0, 0]]] * 3)(image)
    assert isinstance(given, tuple) and len(given) == 3
    assert all(torch.equal(one, image + number) for number, one in enumerate(given))


def test_the_source_for_a_package_makes_the_same(findings: Findings) -> None:
    source = "from __future__ import annotations\n\n" + inspect.getsource(inspect.getmodule(UNet) or UNet)
    source = source.replace("from zoowizard.conversion.probing.networks import Network, of_module\n", "")
    space: dict[str, Any] = {"__name__": "architecture"}
    exec(compile(padded_source(source, "UNet", margins_of(findings)), "architecture.py", "exec"), space)
    network = lively(UNet(2, valid=True))
    rebuilt = space[CALLABLE](depth=2, valid=True).eval()
    rebuilt.load_state_dict({PREFIX + name: tensor for name, tensor in network.state_dict().items()})
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(rebuilt(image), padded(network, margins_of(findings))(image))


class InDouble(torch.nn.Module):
    """A network without the rounding that differs from block to block: what is left is what its halo leaves."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given: torch.Tensor = self.network(x.double())
        return given.float()


def _value(findings: Findings, name: str) -> Any:
    return findings.found[name].value


def _channels(count: int) -> list[dict[str, Any]]:
    return [{"type": "channel", "channel_names": [f"c{index}" for index in range(count)]}]


def described(findings: Findings, path: Path) -> dict[str, Any]:
    """A package's description, with the sizes and the halo that were found."""
    sizes, halo, told = declared_sizes(findings), _value(findings, "halo"), _value(findings, "outputs")
    scale, count = told[0]["scale"], told[0]["channels"]
    batch: list[dict[str, Any]] = [{"type": "batch"}]
    of_input = [{"type": "space", "id": axis, "size": sizes[axis]} for axis in sizes]
    of_output = [
        {
            "type": "space",
            "id": axis,
            "size": {"tensor_id": "image", "axis_id": axis},
            "halo": int(halo[axis] * scale[axis]),
            "scale": 1 / scale[axis],
        }
        for axis in sizes
    ]
    return {
        "format_version": "0.5.4",
        "type": "model",
        "name": "probed network",
        "inputs": [{"id": "image", "axes": batch + _channels(1) + of_input}],
        "outputs": [{"id": "probability", "axes": batch + _channels(count) + of_output}],
        "weights": {"torchscript": {"source": str(path), "pytorch_version": "2.5"}},
    }


@pytest.mark.parametrize("what", ["valid", "half the size"])
def test_blocks_of_bioimageio_are_the_whole(what: str, tmp_path: Path) -> None:
    """The library that runs packages, with the sizes and halo that were found, lays tiles that fit."""
    from bioimageio.core import Sample, Tensor, create_prediction_pipeline
    from bioimageio.spec import InvalidDescr, build_description

    load = partial(unet, depth=2, valid=True) if what == "valid" else partial(made, "StarDist")
    findings = probe(load)
    network = InDouble(padded(load().module or torch.nn.Identity(), margins_of(findings))).eval()
    torch.jit.trace(network, torch.randn(1, 1, 64, 64)).save(str(tmp_path / "network.pt"))
    description = build_description(described(findings, tmp_path / "network.pt"))
    assert not isinstance(description, InvalidDescr), description.validation_summary.format()
    image = np.random.default_rng(0).standard_normal((1, 1, 384, 384), dtype=np.float32)
    sample = Sample(
        members={"image": Tensor.from_numpy(image, dims=("batch", "channel", "y", "x"))}, stat={}, id="image"
    )
    with create_prediction_pipeline(description, weight_format="torchscript", devices=["cpu"]) as pipeline:
        whole = pipeline.predict_sample_without_blocking(sample).members["probability"].to_numpy()
        blocks = pipeline.predict_sample_with_blocking(sample).members["probability"].to_numpy()
    assert whole.shape == blocks.shape
    assert float(np.abs(whole - blocks).max()) < 1e-6 * float(whole.std())
