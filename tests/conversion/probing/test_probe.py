"""What is found out about networks of which all is known."""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import probed_networks
import psutil
import pytest
import torch
from numpy.typing import NDArray
from probed_networks import Ending, UNet, broken, lively, made, unet

from zoowizard.conversion.probing import networks
from zoowizard.conversion.probing.apart import Limits
from zoowizard.conversion.probing.findings import Findings, from_json
from zoowizard.conversion.probing.networks import Network
from zoowizard.conversion.probing.probe import probe
from zoowizard.errors import ZoowizardError

Load = Callable[[], Network]
Image = NDArray[np.float32]


def value(findings: Findings, name: str) -> Any:
    return findings.found[name].value


def worst_tile(network: Network, findings: Findings) -> float:
    """How far tiles, laid as bioimageio.core lays them, are from the whole, in standard deviations of the output.

    In double precision, so that rounding does not hide what a halo leaves.
    """
    assert network.module is not None
    network.module.double()
    channels, axes = value(findings, "channels"), list(value(findings, "sizes"))
    block, inner, whole = [], [], []
    for axis in axes:
        least, step, halo = *value(findings, "sizes")[axis].values(), value(findings, "halo")[axis]
        block.append(least + -(-max(0, 2 * halo + step - least) // step) * step)
        inner.append(block[-1] - 2 * halo)
        whole.append(block[-1] + 2 * inner[-1])
    image = np.random.default_rng(5).standard_normal((1, channels, *whole))
    at_once, worst = network.run(image), 0.0
    for row in range(3):
        start = [row * size for size in inner]
        part = tuple(slice(one, one + size) for one, size in zip(start, block, strict=True))
        tile = network.run(np.ascontiguousarray(image[(slice(None), slice(None), *part)]))
        for index, (here, there) in enumerate(zip(tile, at_once, strict=True)):
            ours, theirs = [slice(None)] * here.ndim, [slice(None)] * here.ndim
            told = value(findings, "outputs")[index]
            for number, axis in enumerate(axes):
                scale, before = told["scale"][axis], value(findings, "margins")[index][axis][0]
                halo, place = value(findings, "halo")[axis] * scale, told["axes"][axis]
                assert halo == int(halo)
                first, last = int(halo) - before, int(block[number] * scale - halo) - before
                shift = int(start[number] * scale)
                ours[place], theirs[place] = slice(first, last), slice(first + shift, last + shift)
            apart = np.abs(here[tuple(ours)].astype(np.float64) - there[tuple(theirs)])
            assert apart.size
            worst = max(worst, float(apart.max() / there.std()))
    return worst


CASES: dict[str, tuple[Load, dict[str, tuple[int, int]], dict[str, int]]] = {
    "depth 2": (partial(unet, depth=2, channels=3), {"y": (4, 4), "x": (4, 4)}, {"y": 22, "x": 22}),
    "depth 3, batch norm": (partial(unet, depth=3, norm="batch"), {"y": (8, 8), "x": (8, 8)}, {"y": 48, "x": 48}),
    "depth 4": (partial(unet, depth=4, width=2), {"y": (16, 16), "x": (16, 16)}, {"y": 96, "x": 96}),
    "valid, depth 2": (partial(unet, depth=2, valid=True), {"y": (44, 4), "x": (44, 4)}, {"y": 20, "x": 20}),
    "valid, depth 4": (
        partial(unet, depth=4, width=2, valid=True),
        {"y": (188, 16), "x": (188, 16)},
        {"y": 94, "x": 94},
    ),
    "StarDist": (partial(made, "StarDist"), {"y": (16, 16), "x": (16, 16)}, {"y": 96, "x": 96}),
    "pooling that floors": (partial(made, "Flooring"), {"y": (16, 16), "x": (16, 16)}, {"y": 24, "x": 24}),
    "pooling by 3": (partial(unet, depth=2, pools=[3, 2]), {"y": (6, 6), "x": (6, 6)}, {"y": 33, "x": 33}),
    "resized to any size": (partial(unet, depth=3, resized=True), {"y": (8, 8), "x": (8, 8)}, {"y": 48, "x": 48}),
    "anisotropic volume": (
        partial(unet, depth=2, axes=3, width=2, pools=[(1, 2, 2), (2, 2, 2)]),
        {"z": (2, 2), "y": (4, 4), "x": (4, 4)},
        {"z": 12, "y": 22, "x": 22},
    ),
    "flat kernels": (
        partial(unet, depth=1, axes=3, width=2, pools=[(1, 2, 2)], kernels=(1, 3, 3)),
        {"z": (1, 1), "y": (2, 2), "x": (2, 2)},
        {"z": 0, "y": 8, "x": 8},
    ),
    "two outputs": (partial(made, "Ending", "two"), {"y": (4, 4), "x": (4, 4)}, {"y": 22, "x": 22}),
}


@pytest.mark.parametrize("case", CASES)
def test_sizes_and_halo(case: str) -> None:
    load, sizes, halo = CASES[case]
    findings = probe(load)
    assert not findings.missing
    assert {axis: (one["min"], one["step"]) for axis, one in value(findings, "sizes").items()} == sizes
    assert value(findings, "halo") == halo
    assert value(findings, "tiling")["exact"]
    assert value(findings, "spatial_axes") == len(sizes)
    assert value(findings, "deterministic") and value(findings, "batch")
    assert worst_tile(load(), findings) < 1e-9
    if "valid" not in case:
        less = {axis: max(0, px - max(1, sizes[axis][1] // 2)) for axis, px in halo.items()}
        assert worst_tile(load(), findings.overruled("halo", less)) > 1e-5  # the next smaller halo is not enough


def test_outputs_are_told() -> None:
    findings = probe(partial(made, "Ending", "two"))
    mask, half = value(findings, "outputs")
    assert (mask["channels"], mask["scale"], half["scale"]) == (1, {"y": 1.0, "x": 1.0}, {"y": 0.5, "x": 0.5})
    assert value(findings, "kind") == ["probabilities", "logits"]
    assert findings.found["channels"].value == 1 and findings.found["channels"].certain


def test_valid_convolutions_are_told() -> None:
    findings = probe(partial(unet, depth=2, valid=True))
    assert value(findings, "outputs")[0]["offset"] == {"y": -40, "x": -40}
    assert value(findings, "margins") == [{"y": [20, 20], "x": [20, 20]}]
    assert findings.found["sizes"].evidence == (
        "along y and x sizes from 44 px in steps of 4 give size - 40 px, others are refused or lose pixels"
    )


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_norms_over_the_image_make_tiles_differ(norm: str) -> None:
    findings = probe(partial(unet, depth=2, norm=norm))
    tiling = value(findings, "tiling")
    assert tiling["whole_image"] and not tiling["exact"]
    assert any(norm in layer.lower() for layer in tiling["layers"])
    assert value(findings, "halo") == {"y": 22, "x": 22}  # as far as its convolutions look
    assert worst_tile(unet(depth=2, norm=norm), findings) > 0.05
    assert not findings.found["halo"].certain


def test_attention_looks_at_the_whole_image() -> None:
    findings = probe(partial(made, "Attention"))
    assert value(findings, "sizes")["y"] == {"min": 8, "step": 8}
    assert value(findings, "tiling")["whole_image"] and "MultiheadAttention" in value(findings, "tiling")["layers"]
    assert "depends on the whole image" in findings.found["halo"].evidence


def test_dropout_that_was_left_on() -> None:
    findings = probe(partial(made, "Dropping"))
    assert value(findings, "deterministic") is False
    assert value(findings, "halo") == {"y": 2, "x": 2}
    assert "no two runs are equal" in findings.found["tiling"].evidence


def picture() -> Image:
    """Bright discs on a dark ground."""
    y, x = np.mgrid[:96, :96]
    discs = sum(((y - cy) ** 2 + (x - cx) ** 2 < 60) * 2.0 for cy, cx in ((20, 30), (60, 50), (40, 80)))
    noise = np.random.default_rng(2).normal(0, 0.2, (96, 96))
    return (discs + noise - 0.3).astype(np.float32)[None, None]


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("sigmoid", "probabilities"),
        ("softmax", "softmax"),
        ("argmax", "labels"),
        ("residual", "image"),
        ("logits", "logits"),
    ],
)
def test_kind_of_output(how: str, kind: str) -> None:
    findings = probe(partial(made, "Ending", how), image=picture())
    assert value(findings, "kind") == [kind]
    assert value(findings, "halo") == {"y": 22, "x": 22}
    dtype = value(findings, "outputs")[0]["dtype"]
    assert dtype == ("int64" if how == "argmax" else "float32")


def test_flows_are_known_on_an_image() -> None:
    assert value(probe(partial(made, "Flows"), image=picture()), "kind") == ["flows"]


def test_stardist_is_known_by_its_channels() -> None:
    assert value(probe(partial(made, "RayNetwork")), "kind") == ["stardist"]


@pytest.mark.parametrize("how", ["crash", "hang", "memory"])
def test_a_network_that_fails_badly_at_some_sizes(how: str) -> None:
    limits = Limits(run_seconds=0.5, memory_bytes=1 << 30)
    findings = probe(partial(made, "Perilous", how), limits=limits)
    assert value(findings, "sizes") == {"y": {"min": 4, "step": 4}, "x": {"min": 4, "step": 4}}
    assert value(findings, "halo") == {"y": 22, "x": 22}
    assert not findings.missing
    if how == "crash":
        assert value(findings, "perils")["65 x 4"] == "it crashed its process (SIGSEGV)"
    elif how == "hang":
        assert value(findings, "perils")["65 x 4"] == "it takes longer than 0.5 s"
    else:
        assert "perils" not in findings.found


def test_time_that_is_over_is_said() -> None:
    findings = probe(partial(made, "Perilous", "hang"), limits=Limits(seconds=2))
    assert value(findings, "channels") == 1
    assert findings.missing["sizes"] == "the time of 2 s was over before"
    assert findings.missing["halo"] == "the sizes that it takes are not known"


HANGING = """
import sys
from functools import partial
sys.path.insert(0, sys.argv[1])
if __name__ == "__main__":
    from probed_networks import made
    from zoowizard.conversion.probing.probe import probe
    probe(partial(made, "Perilous", "hang"), on_progress=lambda fraction, note: print(note, flush=True))
"""


def test_nothing_is_left_when_the_job_is_killed(tmp_path: Path) -> None:
    """The network hangs in its own process, and nobody is left to end it but itself."""
    (tmp_path / "hanging.py").write_text(HANGING)
    command = [sys.executable, str(tmp_path / "hanging.py"), str(Path(probed_networks.__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        while "the sizes along y" not in job.stdout.readline():
            assert job.poll() is None
        below = psutil.Process(job.pid).children(recursive=True)
        job.kill()
    assert len(below) >= 2
    for process in below:
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:  # where nobody collects the dead
            time.sleep(0.05)


def test_one_size_only() -> None:
    findings = probe(partial(made, "OneSize"))
    assert value(findings, "sizes") == {"y": {"min": 96, "step": 0}, "x": {"min": 96, "step": 0}}
    assert findings.found["sizes"].evidence == "along y and x only 96 px is taken"
    assert findings.missing["halo"] == "it takes one size only"
    assert value(findings, "outputs")[0]["scale"] == {"y": 1.0, "x": 1.0}


def test_no_input_fits() -> None:
    with pytest.raises(
        ZoowizardError, match="took no input that was tried; it says for 64 x 64 px in 1 channel: expec"
    ):
        probe(partial(made, "Unfit"))


def test_cannot_be_loaded() -> None:
    with pytest.raises(ZoowizardError, match="could not be loaded: No module named 'monai'"):
        probe(broken)


@pytest.mark.parametrize("form", ["torchscript", "onnx"])
@pytest.mark.parametrize("what", ["depth 3", "valid", "instance norm", "argmax", "two outputs"])
def test_files(form: str, what: str, tmp_path: Path) -> None:
    module = {
        "depth 3": lambda: UNet(3, channels=2),
        "valid": lambda: UNet(2, channels=2, valid=True),
        "instance norm": lambda: UNet(2, channels=2, norm="instance"),
        "argmax": lambda: Ending("argmax"),
        "two outputs": lambda: probed_networks.AsTuple(Ending("two")),
    }[what]()
    channels = 1 if what in ("argmax", "two outputs") else 2
    findings = probe(_saved(lively(module), channels, form, tmp_path))
    assert value(findings, "channels") == channels
    halos = {"depth 3": 48, "valid": 20, "argmax": 24, "two outputs": 22}
    step = 8 if what == "depth 3" else 4
    assert value(findings, "sizes")["x"]["step"] == step
    assert value(findings, "tiling")["whole_image"] == (what == "instance norm")
    assert value(findings, "tiling")["exact"] == (what != "instance norm")
    if what in halos:
        assert value(findings, "halo") == {"y": halos[what], "x": halos[what]}
        assert worst_tile(networks.of_module(module), findings) < 1e-9
    else:
        assert any("Instance" in layer for layer in value(findings, "tiling")["layers"])
    assert findings.found["halo"].certain == (what not in ("argmax", "instance norm"))


def _saved(module: torch.nn.Module, channels: int, form: str, folder: Path) -> Load:
    image = torch.randn(1, channels, 64, 64)
    if form == "torchscript":
        torch.jit.trace(module, image, check_trace=False).save(str(folder / "network.pt"))
        return partial(networks.of_torchscript, folder / "network.pt")
    free = {0: "batch", 2: "y", 3: "x"}
    path = folder / "network.onnx"
    torch.onnx.export(module, (image,), path, dynamo=False, input_names=["image"], dynamic_axes={"image": free})
    return partial(networks.of_onnx, path)


def test_findings_are_kept_and_overruled() -> None:
    findings = Findings({}, {"halo": "the time of 4 s was over before"}, 3, 0.5)
    said = from_json(findings.overruled("halo", {"y": 32, "x": 32}).to_json())
    assert said.found["halo"].value == {"y": 32, "x": 32} and said.found["halo"].certain
    assert not said.missing
    with pytest.raises(ZoowizardError, match="probe the network again"):
        from_json('{"found": 1}')
