"""Joined from blocks, an image comes out as it does whole, up to its outermost pixels, whatever its size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from predictions import cells, ome_zarr, predict
from probed_networks import UNet, lively
from small_packages import Small, make_package

from zoowizard.prediction import blocks

SCALED = {"id": "scale_linear", "kwargs": {"gain": 0.001, "offset": -3.0}}


def scaled(image: Any) -> Any:
    return image[None].astype(np.float32) * np.float32(0.001) + np.float32(-3.0)


def unet(axes: int, **settings: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return lively(UNet(axes=axes, **settings))


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Small]:
    small = Small(pool=(4, 4), halo=24, minimum=52, processing=[SCALED], own=unet(2, norm="batch"))
    return make_package(tmp_path_factory.mktemp("flat") / "package", small), small


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Small]:
    own = unet(3, depth=1, pools=[(1, 2, 2)])
    small = Small(3, pool=(1, 2, 2), halo=10, minimum=24, processing=[SCALED], own=own)
    return make_package(tmp_path_factory.mktemp("deep") / "package", small), small


@pytest.mark.parametrize("block", [88, 120, 200])
@pytest.mark.parametrize("shape", [(192, 256), (200, 132), (201, 163), (98, 91), (20, 301)])
def test_an_image_in_blocks_is_the_whole_image(
    flat: tuple[Path, Small], tmp_path: Path, shape: tuple[int, int], block: int
) -> None:
    package, small = flat
    image = cells(*shape)
    np.save(tmp_path / "a.npy", image)
    predict(package, tmp_path / "a.npy", tmp_path / "out.npy", block=[block])
    whole = small.padded(scaled(image))[0]
    assert whole.std() > 0.1
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), whole, atol=1e-5 * whole.std())


@pytest.mark.parametrize("shape", [(40, 64, 90), (17, 65, 71)])
def test_a_volume_in_blocks_is_the_whole_volume(
    deep: tuple[Path, Small], tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    package, small = deep
    volume = cells(*shape)
    source = ome_zarr(tmp_path / "in.zarr", volume, "zyx")
    predict(package, source, tmp_path / "out.zarr", block=[40])
    whole = small.padded(scaled(volume))[0]
    assert whole.std() > 0.1
    found = zarr.open_array(str(tmp_path / "out.zarr/0"), mode="r")[...]
    np.testing.assert_allclose(found, whole, atol=1e-5 * whole.std())


@pytest.mark.parametrize("kind", ["InstanceNorm", "a halo that is too small"])
def test_a_network_whose_blocks_do_not_join_is_predicted_whole_or_that_is_told(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm, halo = ("instance", 24) if kind == "InstanceNorm" else ("batch", 4)
    small = Small(pool=(4, 4), halo=halo, minimum=52, processing=[SCALED], own=unet(2, norm=norm))
    package = make_package(tmp_path / "package", small)
    image = cells(256, 264)
    image[:, :100] += 20000 if norm == "instance" else 0
    np.save(tmp_path / "a.npy", image)
    said = predict(package, tmp_path / "a.npy", tmp_path / "blocks.npy", block=[120])
    [warning] = said.warnings
    assert "blocks, and they do not join exactly: cut otherwise, they differ by up to" in warning
    whole = small.whole(scaled(image))[0]
    apart = np.abs(np.load(tmp_path / "blocks.npy") - whole).max()
    told = float(warning.partition("by up to ")[2].partition(" ")[0])
    assert 0.05 * apart < told < 20 * apart, "what is told is about what it is"
    monkeypatch.setattr(blocks, "VOXELS_A_BLOCK", 1 << 14)  # as if the image were larger than a block is by itself
    said = predict(package, tmp_path / "a.npy", tmp_path / "whole.npy")
    assert said.warnings == []
    np.testing.assert_allclose(np.load(tmp_path / "whole.npy"), whole, atol=1e-5 * whole.std())


def test_a_network_that_takes_one_size_is_watched_at_its_seams(tmp_path: Path) -> None:
    image = cells(150, 170)
    np.save(tmp_path / "a.npy", image)
    for halo, warns in ((24, False), (2, True)):
        small = Small(pool=(0, 0), halo=halo, minimum=96, processing=[SCALED], own=unet(2, depth=1))
        package = make_package(tmp_path / f"halo-{halo}", small)
        said = predict(package, tmp_path / "a.npy", tmp_path / f"out-{halo}.npy")
        assert [("they do not join exactly" in one) for one in said.warnings] == [True] * warns
