"""Cellpose checkpoints that find cells, trained for seconds by the real cellpose 3 in the zoo's runner's environment.

    model = trained("gray")          # trained once a session
    picture = cells((200, 256), diameter=30, count=14)

Run as a script by that environment's Python, it trains them; so nothing is imported here that it does not have.
"""

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[Any]


@dataclass(frozen=True)
class Trained:
    """How a checkpoint is trained: on images of `channels` channels, the second being nuclei."""

    nbase: tuple[int, ...]
    channels: int
    epochs: int
    learning_rate: float


MODELS: Final = {
    "gray": Trained((2, 8, 16, 32), 1, 20, 0.01),
    "two-channel": Trained((2, 8, 16, 32), 2, 20, 0.01),
    "true-size": Trained((2, 32, 64, 128, 256), 1, 14, 0.005),
}
"""`true-size` is 26.6 MB, like every model that is trained with Cellpose 2 and 3."""
TRAINED_ON: Final = 8


def cells(shape: tuple[int, int], diameter: float, count: int, channels: int = 1, seed: int = 0) -> Picture:
    """Bright cells that do not overlap, with nuclei in the second channel: uint8 (y, x) or (y, x, 2)."""
    picture, _ = cells_and_labels(shape, diameter, count, seed)
    return picture[..., 0] if channels == 1 else picture


def cells_and_labels(shape: tuple[int, int], diameter: float, count: int, seed: int = 0) -> tuple[Picture, Picture]:
    """`cells` of two channels, and which pixel belongs to which cell (y, x) int32."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    cell, nucleus = np.full(shape, 20.0), np.full(shape, 10.0)
    for _ in range(40 * count):
        if labels.max() == count:
            break
        y, x = random.uniform((0, 0), shape)
        long, short = diameter / 2 * random.uniform(0.85, 1.15), diameter / 2 * random.uniform(0.75, 1.05)
        turn, brightness = random.uniform(0, np.pi), random.uniform(90, 180)
        along = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
        across = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
        distance = (along / long) ** 2 + (across / short) ** 2
        inside = distance < 1
        if inside.sum() > 20 and not labels[inside].any():
            labels[inside] = labels.max() + 1
            cell[inside] += brightness * (1 - distance[inside] / 2)
            nucleus[distance < 0.2] += 120
    picture = np.stack([cell + random.normal(0, 6, shape), nucleus + random.normal(0, 4, shape)], axis=-1)
    return picture.clip(0, 255).astype(np.uint8), labels


@functools.cache
def cellpose3() -> Path:
    """The Python that has cellpose 3.1.1.2, built once a machine."""
    from zoowizard.environments import interpreter

    return interpreter("zoo")


@functools.cache
def trained(name: str) -> Path:
    """A checkpoint of `MODELS`, as cellpose 3 writes it: `models/NAME` without an ending, in a folder of its own."""
    from zoowizard.environments import clean_variables

    folder = Path(tempfile.mkdtemp(prefix="zoowizard-cellpose-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [cellpose3(), "-I", __file__, name, folder]
    offline = {"CELLPOSE_LOCAL_MODELS_PATH": str(folder), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=clean_variables() | offline, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return folder / "models" / name


def _train(name: str, folder: str) -> None:
    import torch
    from cellpose import train
    from cellpose.resnet_torch import CPnet

    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)
    how = MODELS[name]
    shown = [cells_and_labels((96, 96), (24, 30, 36)[seed % 3], 8, seed) for seed in range(TRAINED_ON)]
    network = CPnet(list(how.nbase), 3, 3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3  # as few steps as here are not enough for cellpose's 0.05
    train.train_seg(
        network,
        train_data=[picture if how.channels == 2 else picture[..., 0] for picture, _ in shown],
        train_labels=[labels for _, labels in shown],
        channels=[1, 2] if how.channels == 2 else [0, 0],
        batch_size=2,
        n_epochs=how.epochs,
        learning_rate=how.learning_rate,
        weight_decay=1e-5,
        SGD=False,
        min_train_masks=0,
        nimg_per_epoch=TRAINED_ON,
        bsize=64,
        rescale=True,
        save_path=folder,
        model_name=name,
    )


if __name__ == "__main__":
    _train(sys.argv[1], sys.argv[2])
