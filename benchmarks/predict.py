"""What `zoowizard predict` costs over plain torch with the same network: a volume in blocks, a folder of images.

Targets: 1.1 of the time of a plain loop over the same blocks and 1.5 of the memory of one row of them; for 100 images
0.9 of the throughput of a plain loop over batches (that is, 1.11 of its time).

    uv run python benchmarks/predict.py [SIDE [ROUNDS]]
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
import torch
import yaml
import zarr
from measure import in_turns, say
from numpy.typing import NDArray

from zoowizard.jobs.steps import Steps
from zoowizard.prediction.blocks import AxisRule, plan_axis
from zoowizard.prediction.images import folder_of_images
from zoowizard.prediction.network import Network, open_package
from zoowizard.prediction.tasks import Asked, Task, tasks_of
from zoowizard.prediction.volume import volume

Array = NDArray[Any]
BLOCK, HALO, IMAGES, BATCH = 96, 16, 100, 16
WIDTH: Final = 16
MEMORY: Final = 16 << 30
ASKED: Final = Asked("", "", "", (BLOCK,), True, MEMORY)


def a_network(dims: int) -> torch.nn.Module:
    """A U-Net of two levels, as wide as small ones are."""
    conv: Any = torch.nn.Conv2d if dims == 2 else torch.nn.Conv3d
    pool: Any = torch.nn.MaxPool2d if dims == 2 else torch.nn.MaxPool3d

    class UNet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = conv(1, WIDTH, 3, padding=1), conv(WIDTH, WIDTH, 3, padding=1)
            self.pool, self.deep = pool(2), conv(WIDTH, 2 * WIDTH, 3, padding=1)
            self.up, self.last = torch.nn.Upsample(scale_factor=2.0), conv(3 * WIDTH, 1, 3, padding=1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            fine = torch.relu(self.second(torch.relu(self.first(image))))
            coarse = self.up(torch.relu(self.deep(self.pool(fine))))
            out: torch.Tensor = self.last(torch.cat([fine, coarse], 1))
            return out

    torch.manual_seed(0)
    return UNet().eval()


def a_package(folder: Path, dims: int) -> Path:
    """The network as a package; gives its description."""
    folder.mkdir()
    network, axes = a_network(dims), "zyx"[3 - dims :]
    example = torch.rand(1, 1, *[64] * dims)
    trace: Any = torch.jit.trace
    trace(network, example).save(str(folder / "weights.pt"))
    np.save(folder / "in.npy", example.numpy())
    np.save(folder / "out.npy", network(example).detach().numpy())
    size = [{"type": "space", "id": axis, "size": {"min": 64, "step": 2}} for axis in axes]
    referred = [
        {**axis, "halo": HALO, "size": {"tensor_id": "raw", "axis_id": axis["id"], "offset": 0}} for axis in size
    ]
    channel = [{"type": "batch"}, {"type": "channel", "channel_names": ["one"]}]
    normalised = {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 1000.0, "std": 300.0}}
    described = {
        "format_version": "0.5.10",
        "type": "model",
        "name": "Benchmark",
        "description": "A network to be measured.",
        "license": "MIT",
        "authors": [{"name": "Ada Lovelace"}],
        "cite": [{"text": "none", "url": "https://example.org"}],
        "inputs": [
            {
                "id": "raw",
                "axes": [*channel, *size],
                "data": {"type": "float32"},
                "test_tensor": {"source": "in.npy"},
                "preprocessing": [normalised],
            }
        ],
        "outputs": [
            {
                "id": "out",
                "axes": [*channel, *referred],
                "data": {"type": "float32"},
                "test_tensor": {"source": "out.npy"},
            }
        ],
        "weights": {"torchscript": {"source": "weights.pt", "pytorch_version": torch.__version__.split("+")[0]}},
    }
    (folder / "rdf.yaml").write_text(yaml.safe_dump(described))
    return folder / "rdf.yaml"


def ours(network: Network, root: Path) -> float:
    """Seconds of our prediction of the volume, with the look at whether its blocks join."""
    network.seams = None
    shutil.rmtree(root / "ours.zarr", ignore_errors=True)
    started = time.perf_counter()
    volume(Task(root / "in.zarr", root / "ours.zarr"), network, ASKED, Steps(root / "events.jsonl"), None)
    return time.perf_counter() - started


def plain(network: torch.nn.Module, root: Path, one_row: bool = False) -> float:
    """Seconds of a plain loop over the same blocks, from zarr to zarr; of `one_row` in the middle, kept in memory."""
    shutil.rmtree(root / "plain.zarr", ignore_errors=True)
    started = time.perf_counter()
    source: Any = zarr.open_array(str(root / "in.zarr"), mode="r")
    [side, _, _] = source.shape
    tile = plan_axis(AxisRule("x", 64, 2, HALO, 0, 2), side, BLOCK).tile  # else it would be other work
    target: Any = zarr.create_array(str(root / "plain.zarr"), shape=source.shape, chunks=(tile,) * 3, dtype="float32")
    row = np.zeros((tile, tile, side), np.float32)
    starts = range(0, side, tile)
    middle = starts[len(starts) // 2 : len(starts) // 2 + 1]  # at the border blocks are smaller
    for z in middle if one_row else starts:
        for y in middle if one_row else starts:
            for x in starts:
                fed = [slice(max(0, one - HALO), min(side, one + tile + HALO)) for one in (z, y, x)]
                block = np.asarray(source[tuple(fed)], np.float32)
                with torch.inference_mode():
                    out = network(torch.from_numpy((block - 1000.0) / 300.0)[None, None])[0, 0].numpy()
                inner = (slice(at - one.start, at - one.start + tile) for at, one in zip((z, y, x), fed, strict=True))
                kept = out[tuple(inner)]
                if one_row:
                    row[: kept.shape[0], : kept.shape[1], x : x + tile] = kept
                else:
                    target[z : z + tile, y : y + tile, x : x + tile] = kept
    return time.perf_counter() - started


def folder_ours(network: Network, root: Path) -> float:
    """Seconds of our prediction of the folder."""
    shutil.rmtree(root / "ours", ignore_errors=True)
    started = time.perf_counter()
    asked = Asked("", "", "", (), True, MEMORY)
    tasks = tasks_of(root / "images", root / "ours")
    folder_of_images(tasks, network, asked, root / "ours", Steps(root / "events.jsonl"))
    return time.perf_counter() - started


def folder_plain(network: torch.nn.Module, root: Path) -> float:
    """Seconds of a plain loop over batches of the same images, from TIFF to TIFF."""
    shutil.rmtree(root / "plain", ignore_errors=True)
    (root / "plain").mkdir()
    started = time.perf_counter()
    paths = sorted((root / "images").iterdir())
    for start in range(0, len(paths), BATCH):
        some = paths[start : start + BATCH]
        images = [tifffile.imread(path).astype(np.float32) for path in some]
        with torch.inference_mode():
            out = network((torch.from_numpy(np.stack(images)[:, None]) - 1000.0) / 300.0).numpy()
        for path, one in zip(some, out, strict=True):
            tifffile.imwrite(root / "plain" / path.name, one[0], imagej=True)
    return time.perf_counter() - started


def _load(weights: Path) -> Any:
    load: Any = torch.jit.load
    return load(str(weights))


def grown(who: str, root: Path) -> float:
    """Megabytes by which the peak memory of a process of its own grows over a loaded network."""
    said = subprocess.run([sys.executable, __file__, who, str(root)], capture_output=True, text=True, check=False)
    if said.returncode:
        raise RuntimeError(said.stderr[-3000:])
    return float(json.loads(said.stdout.splitlines()[-1]))


def in_a_child(who: str, root: Path) -> None:
    """Predict as `who` says and print by how many megabytes the peak memory grew."""
    package = root / "volume/rdf.yaml"
    network: Any = open_package(package, root / "job") if who == "ours" else _load(package.parent / "weights.pt")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew from what is there now
    before = _peak_kb()
    if who == "ours":
        ours(network, root)
    else:
        plain(network, root, one_row=True)
    print(json.dumps((_peak_kb() - before) / 1024))


def _peak_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def main(side: int, rounds: int) -> int:
    """Print the three results; gives 1 where a target is missed."""
    root = Path(tempfile.mkdtemp(prefix="predict-"))
    random = np.random.default_rng(0)
    try:
        source: Any = zarr.create_array(
            str(root / "in.zarr"), shape=(side,) * 3, chunks=(64,) * 3, dtype="uint16", dimension_names=list("zyx")
        )
        source[...] = random.integers(0, 4000, (side,) * 3, dtype=np.uint16)
        network = open_package(a_package(root / "volume", 3), root / "job")
        script: Any = _load(root / "volume/weights.pt")
        ours(network, root), plain(script, root, one_row=True)  # both are warm
        times = in_turns(lambda: ours(network, root), lambda: plain(script, root), rounds)
        met = say(f"{side}³ in blocks, predict / plain loop", *times, 1.1)
        found: Any = zarr.open_array(str(root / "ours.zarr/0"))
        expected: Any = zarr.open_array(str(root / "plain.zarr"))
        print(f"  both give the same within {np.abs(found[...] - expected[...]).max():.1e}")
        mine, row = grown("ours", root), grown("plain", root)
        within = mine <= 1.5 * row
        print(f"  memory: {mine:.0f} MB / {row:.0f} MB of one row = {mine / row:.2f}  (target 1.5: {_met(within)})")
        (root / "images").mkdir()
        for number in range(IMAGES):
            tifffile.imwrite(root / f"images/{number:03}.tif", random.integers(0, 4000, (256, 256), dtype=np.uint16))
        flat = open_package(a_package(root / "flat", 2), root / "job")
        script = _load(root / "flat/weights.pt")
        folder_ours(flat, root), folder_plain(script, root)
        times = in_turns(lambda: folder_ours(flat, root), lambda: folder_plain(script, root), rounds)
        met &= say(f"{IMAGES} images, predict / batched loop", *times, 1 / 0.9)
    finally:
        shutil.rmtree(root)
    return 0 if met and within else 1


def _met(within: bool) -> str:
    return "met" if within else "MISSED"


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] in ("ours", "plain"):
        in_a_child(sys.argv[1], Path(sys.argv[2]))
        sys.exit(0)
    sys.exit(main(*(int(one) for one in (*sys.argv[1:], *("256", "3")[len(sys.argv) - 1 :]))))
