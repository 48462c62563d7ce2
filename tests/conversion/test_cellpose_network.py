"""The networks of Cellpose with all that Cellpose does around them, against Cellpose itself: 3.1.1.2 in the environment
of the zoo's runner, 4.2.1.1 in this one.
"""

import ast
import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from cellpose import models, transforms
from cellpose_models import MODELS, Picture, cellpose3, cells, trained
from cellpose_sam_models import SMALL, TRUE_SIZE, Size, network_of

from zoowizard.conversion import cellpose_network
from zoowizard.conversion.cellpose_network import (
    Cellpose,
    CellposeSAM,
    padding_px,
    resize,
    tile_starts,
    tile_weights,
)
from zoowizard.environments import clean_variables

FILE = Path(str(cellpose_network.__file__))
ALLOWED = 1e-4
"""Of flows that reach 5 and more; what is left is the order in which single precision numbers are added."""

IN_CELLPOSE_3 = """
import importlib.util, json, sys
import numpy as np, torch
from cellpose.models import CellposeModel
from cellpose.resnet_torch import CPnet

folder, checkpoint, nbase, architecture = sys.argv[1:]
nbase = json.loads(nbase)
spec = importlib.util.spec_from_file_location("architecture", architecture)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
weights = torch.load(checkpoint, weights_only=True)
network = CPnet(list(nbase), 3, 3)
network.load_state_dict(weights)
bare = network.forward
network.forward = lambda tiles: (bare(tiles)[0], torch.zeros(len(tiles), 256))  # eval takes styles of 256 numbers only
model = CellposeModel(gpu=False, pretrained_model=False)
model.net = network
for name, settings in json.load(open(folder + "/settings.json")).items():
    given = np.load(f"{folder}/{name}.npz")
    network.style_on = settings["style"]
    _, flows, _ = model.eval(given["picture"], channels=[1, 2] if given["picture"].ndim == 3 else [0, 0],
                             diameter=settings["diameter"], compute_masks=False)
    ours = module.Cellpose(nbase=nbase, **settings)
    ours.load_state_dict(weights)
    with torch.no_grad():
        image = torch.from_numpy(given["image"])
        found = {"ours": ours(image)[0]}
        if name == "enlarged":
            found["scripted"] = torch.jit.script(ours)(image)[0]
    np.savez(f"{folder}/{name}-answer.npz", truth=np.stack([*flows[1], flows[2]]), **found)
"""


@dataclass(frozen=True)
class Case:
    """A picture, and how big its cells are said to be."""

    shape: tuple[int, int]
    diameter: float
    style: bool = True


CASES: Mapping[str, Case] = {
    "one small tile": Case((97, 130), 17.0),
    "not resized": Case((256, 256), 30.0),
    "enlarged": Case((300, 480), 21.3),
    "reduced": Case((512, 512), 45.0),
    "narrow": Case((40, 600), 33.0),
    "without style": Case((130, 97), 30.0, style=False),
}


def normalised(picture: Picture) -> torch.Tensor:
    """What goes into a package's network: (1, channel, y, x) float32, each channel from its 1st to 99th percentile."""
    channels = np.atleast_3d(picture).transpose(2, 0, 1).astype(np.float32)
    low, high = np.percentile(channels, [1, 99], axis=(1, 2), keepdims=True)
    return torch.from_numpy(((channels - low) / (high - low)).astype(np.float32))[None]


@pytest.fixture(scope="module", params=["gray", "two-channel"])
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What cellpose 3 and our network in its environment say of each case; and what ours says here."""
    name, folder = request.param, tmp_path_factory.mktemp("cellpose3")
    how, weights = MODELS[name], torch.load(trained(name), weights_only=True)
    settings, here = {}, {}
    for case_name, case in CASES.items():
        picture = cells(case.shape, case.diameter, 12, how.channels)
        np.savez(folder / f"{case_name}.npz", picture=picture, image=normalised(picture).numpy())
        settings[case_name] = {"diameter": case.diameter, "channels": how.channels, "style": case.style}
        network = Cellpose(nbase=how.nbase, **settings[case_name])
        network.load_state_dict(weights)
        with torch.no_grad():
            here[case_name] = network(normalised(picture))[0].numpy()
    (folder / "settings.json").write_text(json.dumps(settings))
    asked = [folder, trained(name), json.dumps(how.nbase), FILE]
    environment = clean_variables() | {"CELLPOSE_LOCAL_MODELS_PATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [cellpose3(), "-I", "-c", IN_CELLPOSE_3, *asked]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return {case: dict(np.load(folder / f"{case}-answer.npz")) | {"here": here[case]} for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_flows_are_those_of_cellpose_3_here_and_in_the_versions_of_the_zoo(
    case: str, answers: dict[str, dict[str, Any]]
) -> None:
    truth = answers[case]["truth"]
    assert truth.shape == (3, *CASES[case].shape)
    assert np.abs(truth).max() > 3  # there are cells
    for what, flows in answers[case].items():
        assert np.abs(flows - truth).max() < ALLOWED, what


def test_a_file_of_true_size_fits_to_its_last_name() -> None:
    weights = torch.load(trained("true-size"), weights_only=True)
    Cellpose().load_state_dict(weights, strict=True)
    assert set(Cellpose().state_dict()) == set(weights)


@pytest.mark.parametrize(
    ("settings", "of_cellpose_2"),
    [
        ({}, (-2.8493176, 4.1448588, 1.9208152, 3.1862783)),
        ({"style": False, "concatenation": False}, (-3.8967218, 3.7859495, 3.4374175, 3.2950618)),
        ({"residual": False, "concatenation": False}, (-0.2203170, 3.1987784, 0.5286136, 1.3088212)),
        ({"residual": False}, (0.0408956, 3.1103542, 0.3829969, 1.1788516)),
    ],
)
def test_networks_that_only_cellpose_2_could_train(settings: dict[str, bool], of_cellpose_2: tuple[float, ...]) -> None:
    # flows at a pixel and their mean, as `resnet_torch.CPnet` of cellpose 2.2.3 gave them for these weights
    network = Cellpose(nbase=[2, 4, 8], channels=2, tiled=False, **{"concatenation": True, **settings})
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            wave = torch.arange(tensor.numel(), dtype=torch.float64).add(len(name)).sin().reshape(tensor.shape)
            tensor.copy_(wave / tensor[0].numel() ** 0.5 if tensor.dim() > 1 else 1 + wave / 2)
    image = torch.arange(2 * 16 * 16, dtype=torch.float64).sin().float().reshape(1, 2, 16, 16)
    with torch.no_grad():
        flows = network(image)[0]
    assert [*flows[:, 5, 9].tolist(), flows.abs().mean().item()] == pytest.approx(of_cellpose_2, abs=1e-5)


def sam(network: Any, size: Size, **settings: Any) -> CellposeSAM:
    """Our network with the weights of Cellpose's."""
    sizes = {"width": size.width, "depth": size.depth, "heads": size.heads}
    wide = [index for index, block in enumerate(network.encoder.blocks) if len(block.attn.rel_pos_h) == 127]
    ours = CellposeSAM(**sizes, wide=wide, **settings)
    ours.load_state_dict(network.state_dict())
    return ours


def flows_of_cellpose_4(network: Any, picture: Picture, diameter: float | None) -> Picture:
    """What `CellposeModel.eval` says, with this network in it."""
    model = models.CellposeModel.__new__(models.CellposeModel)  # which would read or fetch a file
    model.net, model.backbone, model.device = network, "sam_vitl", torch.device("cpu")
    axis = {"channel_axis": 2} if picture.ndim == 3 else {}
    _, flows, _ = model.eval(picture, diameter=diameter, compute_masks=False, **axis)
    return np.stack([*flows[1], flows[2]])


@pytest.fixture(scope="module")
def small() -> Any:
    return network_of(SMALL)


@pytest.mark.parametrize(
    ("shape", "diameter", "channels"),
    [
        ((256, 256), None, 1),
        ((300, 200), None, 2),
        ((60, 500), None, 3),
        ((97, 130), 17.0, 3),
        ((250, 400), 45.0, 1),
        ((230, 260), 26.0, 2),
    ],
)
def test_flows_are_those_of_cellpose_4(
    small: Any, shape: tuple[int, int], diameter: float | None, channels: int
) -> None:
    picture = cells_of(shape, channels)
    truth = flows_of_cellpose_4(small, picture, diameter)
    with torch.no_grad():
        flows = sam(small, SMALL, diameter=diameter, channels=channels)(normalised(picture))[0].numpy()
    assert np.abs(truth).max() > 3
    assert np.abs(flows - truth).max() < ALLOWED


@pytest.mark.slow
def test_flows_are_those_of_cellpose_4_with_a_network_of_true_size() -> None:
    network = network_of(TRUE_SIZE)
    ours = sam(network, TRUE_SIZE, channels=1)
    assert ours.encoder.blocks[5].attn.rel_pos_h.shape == CellposeSAM().encoder.blocks[5].attn.rel_pos_h.shape
    for shape in ((256, 256), (300, 200)):
        truth = flows_of_cellpose_4(network, cells_of(shape, 1), None)
        with torch.no_grad():
            flows = ours(normalised(cells_of(shape, 1)))[0].numpy()
        assert np.abs(flows - truth).max() < ALLOWED


def cells_of(shape: tuple[int, int], channels: int) -> Picture:
    """Channels that differ: (y, x) uint8, or (y, x, channels)."""
    of_each = [cells(shape, 24, 12, seed=channel) for channel in range(channels)]
    return of_each[0] if channels == 1 else np.stack(of_each, axis=-1)


def test_weights_of_half_precision_are_calculated_with_in_single(small: Any) -> None:
    half = {name: tensor.bfloat16() for name, tensor in small.state_dict().items()}
    network = sam(small, SMALL, channels=1)
    network.load_state_dict(half)
    assert network.out.weight.dtype == torch.float32
    assert torch.equal(network.out.weight, half["out.weight"].float())


def test_weights_are_not_held_twice(small: Any) -> None:
    weights = small.state_dict()
    assert sam(small, SMALL).state_dict()["out.weight"].data_ptr() == weights["out.weight"].data_ptr()


@pytest.fixture(scope="module", params=["cellpose", "cellpose-sam"])
def networks(request: pytest.FixtureRequest, small: Any) -> Iterator[Any]:
    """A network made anew with other settings."""
    if request.param == "cellpose-sam":
        yield lambda **settings: sam(small, SMALL, channels=1, **settings)
        return
    weights = torch.load(trained("gray"), weights_only=True)

    def make(**settings: Any) -> Cellpose:
        network = Cellpose(nbase=MODELS["gray"].nbase, **settings)
        network.load_state_dict(weights)
        return network

    yield make


def test_images_in_a_batch_do_not_meet(networks: Any) -> None:
    images = torch.cat([normalised(cells((240, 300), 30, 12, seed=seed)) for seed in (1, 2)])
    with torch.no_grad():
        together = networks(batch_size=5)(images)
        apart = torch.cat([networks(batch_size=1)(image[None]) for image in images])
    assert (together - apart).abs().max() < ALLOWED
    assert (together[0] - together[1]).abs().max() > 1


def test_torchscript_of_all_of_it_takes_any_size(networks: Any) -> None:
    network, file = networks(diameter=25.0), io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    file.seek(0)
    scripted = torch.jit.load(file)
    for shape in ((97, 130), (300, 240)):
        image = normalised(cells(shape, 25, 8))
        with torch.no_grad():
            assert (scripted(image) - network(image)).abs().max() < ALLOWED


def test_the_bare_network_becomes_a_trace_and_onnx_that_take_any_size_that_it_takes(networks: Any) -> None:
    network, file = networks(tiled=False), io.BytesIO()
    image = normalised(cells((256, 256), 30, 8))
    only_one_size = isinstance(network, CellposeSAM)
    axes = {0: "batch"} if only_one_size else {0: "batch", 2: "y", 3: "x"}
    with torch.no_grad():
        traced = torch.jit.trace(network, image)
        names: dict[str, Any] = {"input_names": ["image"], "output_names": ["flows"], "opset_version": 17}
        dynamic = {"image": axes, "flows": axes}
        torch.onnx.export(network, (image,), file, dynamo=False, dynamic_axes=dynamic, **names)
        session = onnxruntime.InferenceSession(file.getvalue())
        for shape in [(2, 256, 256)] if only_one_size else [(1, 48, 80), (2, 256, 256)]:
            other = torch.cat([normalised(cells(shape[1:], 30, 4, seed=seed)) for seed in range(shape[0])])
            truth = network(other)
            assert truth.shape == (shape[0], 3, *shape[1:])
            assert (traced(other) - truth).abs().max() < ALLOWED
            assert np.abs(session.run(None, {"image": other.numpy()})[0] - truth.numpy()).max() < ALLOWED


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((97, 130), (171, 229)),
        ((250, 400), (166, 266)),
        ((512, 300), (256, 150)),
        ((3, 900), (2, 2000)),
        ((1, 1), (7, 3)),
    ],
)
def test_resize_is_that_of_opencv(old: tuple[int, int], new: tuple[int, int], channels: int) -> None:
    image = np.random.default_rng(0).normal(size=(*old, channels)).astype(np.float32)
    expected = cv2.resize(image, new[::-1], interpolation=cv2.INTER_LINEAR).reshape(*new, channels)
    resized = resize(torch.from_numpy(image).permute(2, 0, 1)[None], *new, channels == 2)
    assert np.abs(resized[0].permute(1, 2, 0).numpy() - expected).max() < 2e-6


@pytest.mark.parametrize(("tile", "smallest"), [(224, None), (256, (256, 256))])
def test_tiles_lie_where_those_of_cellpose_lie(tile: int, smallest: tuple[int, int] | None) -> None:
    for size in range(1, 1500):
        above, below, *_ = transforms.get_pad_yx(size, size, min_size=smallest)
        assert padding_px(size, tile if smallest else 0) == above + below
        assert (above + below) // 2 == above
        length = size + above + below
        _, places, *_ = transforms.make_tiles(np.zeros((1, length, 1), np.float32), bsize=tile)
        assert tile_starts(length, min(tile, length)) == [start for start, _ in places]


@pytest.mark.parametrize(("tile", "length"), [(224, 224), (224, 1000), (48, 48), (256, 272), (256, 2064)])
def test_tiles_count_for_what_those_of_cellpose_count_for(tile: int, length: int) -> None:
    starts = tile_starts(length, tile)
    places = [[start, start + tile] for start in starts]
    tiles = np.random.default_rng(0).normal(size=(len(starts), 1, tile, tile)).astype(np.float32)
    expected = transforms.average_tiles(tiles, places, [[0, tile]] * len(starts), length, tile)
    weights = tile_weights(length, tile, starts).numpy()
    averaged = np.zeros((1, length, tile), np.float32)
    for start, weight, answer in zip(starts, weights, tiles, strict=True):
        averaged[:, start : start + tile] += answer * weight[:, None]
    assert np.abs(averaged - expected).max() < 1e-5


def test_the_file_stands_alone() -> None:
    tree = ast.parse(FILE.read_text(encoding="utf-8"))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= {"torch", "numpy", *sys.stdlib_module_names}


def test_a_new_network_is_ready_to_predict() -> None:
    assert not any(module.training for network in (Cellpose(), CellposeSAM(depth=1)) for module in network.modules())
