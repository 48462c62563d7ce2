"""Cellpose-SAM checkpoints that find cells although nothing was trained: random weights, a last layer that is solved.

The features of the random network hold what is around a pixel; a linear map from them to the flows of known cells is
found by least squares, in seconds.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

Picture = NDArray[Any]
TILE_PX: Final = 256
FLOW_SCALE: Final = 5.0
"""Cellpose trains its networks on flows times five."""


@dataclass(frozen=True)
class Size:
    """The size of the network's encoder."""

    width: int
    depth: int
    heads: int


TRUE_SIZE: Final = Size(1024, 24, 16)
SMALL: Final = Size(96, 3, 4)
"""As small as it goes: everything that the true one has, in half a second a tile."""


def cells(shape: tuple[int, int], seed: int = 0, channels: int = 0, radius: tuple[float, float] = (8, 14)) -> Picture:
    """Bright round cells with a rim that fades, on noise: (y, x) uint8, or (y, x, channels) where channels is given."""
    picture, _ = cells_and_flows(shape, seed, radius)
    if not channels:
        return picture
    others = [cells_and_flows(shape, seed + 100 * number, radius)[0] for number in range(1, channels)]
    return np.stack([picture, *others], axis=-1)


def cells_and_flows(
    shape: tuple[int, int], seed: int, radius: tuple[float, float]
) -> tuple[Picture, NDArray[np.float32]]:
    """A picture (y, x) uint8, and what a perfect network says of it: (3, y, x) flow down, flow right, cell logit."""
    random = np.random.default_rng(seed)
    bright, truth = np.zeros(shape), np.zeros((3, *shape), np.float32)
    truth[2] = -5
    centres: list[tuple[float, float, float]] = []
    for _ in range(shape[0] * shape[1] // 60):
        r = random.uniform(*radius)
        y, x = random.uniform((r, r), (shape[0] - r, shape[1] - r))
        if any(np.hypot(y - other[0], x - other[1]) <= 1.02 * (r + other[2]) for other in centres):
            continue
        centres.append((y, x, r))
        around = tuple(
            slice(max(0, int(centre - r)), min(side, int(centre + r) + 2))
            for centre, side in zip((y, x), shape, strict=True)
        )
        rows, columns = np.meshgrid(*(np.arange(one.start, one.stop) for one in around), indexing="ij")
        dy, dx = y - rows, x - columns
        distance = np.hypot(dy, dx)
        inside = distance < r
        bright[around][inside] = 1 - (distance[inside] / r) ** 2 * 0.8
        truth[0][around][inside] = FLOW_SCALE * (dy / np.maximum(distance, 1))[inside]
        truth[1][around][inside] = FLOW_SCALE * (dx / np.maximum(distance, 1))[inside]
        truth[2][around][inside] = 5
    return np.clip(30 + 180 * bright + random.normal(0, 3, shape), 0, 255).astype(np.uint8), truth


@contextmanager
def encoder_of(size: Size) -> Iterator[None]:
    """Let cellpose build encoders of this size."""
    from segment_anything import sam_model_registry
    from segment_anything.build_sam import _build_sam

    true = sam_model_registry["vit_l"]
    every = range(size.depth // 4 - 1, size.depth, size.depth // 4) if size.depth > 4 else [size.depth - 1]
    sam_model_registry["vit_l"] = lambda checkpoint=None: _build_sam(
        encoder_embed_dim=size.width,
        encoder_depth=size.depth,
        encoder_num_heads=size.heads,
        encoder_global_attn_indexes=list(every),
        checkpoint=checkpoint,
    )
    try:
        yield
    finally:
        sam_model_registry["vit_l"] = true


def network_of(size: Size, seed: int = 0) -> Any:
    """Cellpose's own network (cellpose 4) with random weights that finds the cells of `cells`."""
    from cellpose.transforms import normalize99
    from cellpose.vit import CPSAM

    torch.manual_seed(seed)
    with encoder_of(size):
        net = CPSAM(dtype=torch.float32).eval()
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if "rel_pos" in name or "pos_embed" in name:
                tensor.normal_(0, 0.05)
            elif name.endswith(("attn.proj.weight", "mlp.lin2.weight")):
                tensor.mul_(0.25)  # what comes in is still to be seen in what comes out
        features, targets = [], []
        hook = net.out.register_forward_pre_hook(lambda _, given: features.append(given[0]))
        for number in range(4):
            picture, truth = cells_and_flows((TILE_PX, TILE_PX), 1000 + number, (8, 14))
            tile = np.zeros((1, 3, TILE_PX, TILE_PX), np.float32)
            tile[0, 0] = normalize99(picture)
            net(torch.from_numpy(tile))
            targets.append(torch.nn.functional.pixel_unshuffle(torch.from_numpy(truth)[None], net.ps))
        hook.remove()
        seen = torch.cat([one[0].flatten(1) for one in features], 1).T.double()
        wanted = torch.cat([one[0].flatten(1) for one in targets], 1).T.double()
        seen = torch.cat([seen, torch.ones(len(seen), 1, dtype=torch.float64)], 1)
        solved = torch.linalg.lstsq(seen.T @ seen + torch.eye(seen.shape[1]) * 1e-3, seen.T @ wanted).solution
        net.out.weight.copy_(solved[:-1].T[..., None, None])
        net.out.bias.copy_(solved[-1])
    return net


def write_checkpoint(path: Path, size: Size, dtype: torch.dtype = torch.float32) -> Path:
    """A checkpoint as cellpose 4 writes it: the plain state dict."""
    net = network_of(size).to(dtype)
    net.save_model(os.fspath(path))
    return path


PYTHON_WITH_SMALL_ENCODER = """#!{python}
import runpy, sys
sys.path.insert(0, {tests!r})
from cellpose_sam_models import SMALL, encoder_of
with encoder_of(SMALL):
    runpy.run_path(sys.argv[-1], run_name="__main__")
"""


def python_with_small_encoder(folder: Path) -> Path:
    """An interpreter that runs a script with a cellpose which builds networks of the size `SMALL`, and no others."""
    path = folder / "python"
    path.write_text(PYTHON_WITH_SMALL_ENCODER.format(python=sys.executable, tests=str(Path(__file__).parent)))
    path.chmod(0o755)
    return path
