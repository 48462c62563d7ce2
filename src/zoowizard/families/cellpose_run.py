"""What Cellpose leaves beside a model: other epochs, losses, its log, the images it was trained on.

Nothing that is a pickle is opened: neither a size model (`_size.npy`) nor a mask from the GUI (`_seg.npy`).
"""

import array
import math
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from zoowizard.drafts.images import ENDINGS
from zoowizard.errors import ZoowizardError
from zoowizard.families.cellpose_log import Training, trainings
from zoowizard.families.epochs import name_and_epoch, order
from zoowizard.families.pickles import opened

LARGEST_LOG: Final = 4 << 20
LARGEST_NPY: Final = 8 << 20
MOST_FILES: Final = 20_000
MOST_LOGS: Final = 20
TEST_FOLDERS: Final = ("test", "testing", "validation", "val")
_HEADER: Final = re.compile(
    rb"\{'descr': '([<|=]f[48])', 'fortran_order': (?:False|True), 'shape': \((\d{1,7}),\), \}\s*", re.DOTALL
)
_NOT_IMAGES: Final = ("_masks", "_flows", "_cellprob", "_cp_output", "_outlines", "_cp_masks")


@dataclass(frozen=True)
class Beside:
    """What lies beside a model. `epochs` are files of the same training, `others` other models, in their order.

    `losses` are by `train` or `test` with the file that they are from; `training` is what `log` tells of it.
    `image` is an image like those that it was trained on, `mask` the file that says so.
    """

    epochs: tuple[Path, ...] = ()
    size_model: Path | None = None
    losses: Mapping[str, tuple[Path, Sequence[float | None]]] = field(default_factory=dict)
    training: Training | None = None
    log: Path | None = None
    named: bool = True
    image: Path | None = None
    mask: Path | None = None


def beside(checkpoint: Path) -> Beside:
    """What lies around the model at `checkpoint`, which Cellpose writes to `models/` in the folder of the images."""
    stem, _ = name_and_epoch(checkpoint.name)
    files = {one.name: one for one in _listed(checkpoint.parent)}
    epochs = sorted(
        (one for name, one in files.items() if name_and_epoch(name)[0] == stem and one != checkpoint),
        key=lambda one: order(one.name),
    )
    losses = {}
    for kind in ("train", "test"):
        for name in (checkpoint.name, stem):
            one = files.get(f"{name}_{kind}_losses.npy")
            told = read_losses(one) if one is not None else None
            if one is not None and told:
                losses[kind] = (one, told if kind == "train" else _measured(told))
                break
    alone = all(name_and_epoch(name)[0] == stem for name in files if _is_bare(name))
    training, log, named = _training(checkpoint, stem, alone)
    image, mask = _image(checkpoint, training)
    size = files.get(f"{stem}_size.npy")
    return Beside(tuple(epochs), size, losses, training, log, named, image, mask)


def _is_bare(name: str) -> bool:
    return re.fullmatch(r"[^.]+(?:\.\d\w*)*", name) is not None


def _listed(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(MOST_FILES), entries, strict=False):
                if entry.is_file():
                    yield Path(entry.path)
    except OSError:
        return


def read_losses(path: Path) -> list[float | None]:
    """The numbers of a `.npy` file with one axis of floats, NaN as None; [] where it is anything else.

    The header is that of numpy's `lib/format.py`, as numpy writes it; an array of objects would be a pickle.
    """
    try:
        with opened(path) as file:
            raw = file.read(LARGEST_NPY + 1)
    except ZoowizardError:
        return []
    wide = raw[6:7] in (b"\2", b"\3")
    start = 12 if wide else 10
    if not raw.startswith(b"\x93NUMPY") or len(raw) < start or len(raw) > LARGEST_NPY:
        return []
    length = int.from_bytes(raw[8:start], "little")
    header = _HEADER.fullmatch(raw[start : start + length]) if length < 10_000 else None
    if header is None or (header[1].startswith(b"=") and sys.byteorder != "little"):
        return []
    numbers = array.array("d" if header[1].endswith(b"8") else "f")
    body, count = raw[start + length :], int(header[2])
    if len(body) != count * numbers.itemsize:
        return []
    numbers.frombytes(body)
    if sys.byteorder != "little":
        numbers.byteswap()
    return [number if math.isfinite(number) else None for number in numbers]


def _measured(losses: Sequence[float | None]) -> list[float | None]:
    """Cellpose measures on the test images every tenth epoch only, and leaves 0 in between."""
    return [loss or None for loss in losses]


def _training(checkpoint: Path, stem: str, alone: bool) -> tuple[Training | None, Path | None, bool]:
    """The training of this model in a log beside it, or in Cellpose's own log where that names this very file.

    Where the only log tells of one training only, and one model only is there, they belong together whatever the names.
    """
    folders = [checkpoint.parent, *([checkpoint.parent.parent] if checkpoint.parent.name == "models" else [])]
    logs = [one for folder in folders for one in sorted(_listed(folder)) if one.suffix.lower() == ".log"][:MOST_LOGS]
    read = [(log, _read_log(log)) for log in logs]
    for log, told in read:
        mine = [one for one in told if stem in one.names]
        if mine:
            return mine[-1], log, True
    if alone and len(read) == 1 and len(read[0][1]) == 1:
        return read[0][1][0], read[0][0], False
    home = Path.home() / ".cellpose" / "run.log"
    place = os.path.realpath(checkpoint)
    for one in _read_log(home)[::-1]:
        if any(os.path.isabs(path) and os.path.realpath(path) == place for path in one.saved):  # noqa: PTH117
            return one, home, True
    return None, None, True


def _read_log(path: Path) -> Sequence[Training]:
    try:
        told = path.stat()
        if not stat.S_ISREG(told.st_mode) or told.st_size > LARGEST_LOG:
            return []
        return _trainings(path, (told.st_ino, told.st_mtime_ns, told.st_size))
    except (OSError, ZoowizardError):
        return []


@lru_cache(maxsize=MOST_LOGS)
def _trainings(path: Path, state: tuple[int, ...]) -> Sequence[Training]:
    """Read once for all the models beside it. Raises ZoowizardError."""
    with opened(path) as file:
        text = file.read(LARGEST_LOG).decode("utf-8", "replace")
    return tuple(trainings(text)) if "epoch" in text.lower() else ()


def _image(checkpoint: Path, training: Training | None) -> tuple[Path | None, Path | None]:
    """An image with its mask beside it: of the test images where there are any, else of those it was trained on."""
    folder = checkpoint.parent.parent if checkpoint.parent.name == "models" else checkpoint.parent
    told = training.folders if training is not None else []
    logged = [Path(one) for one in told if one.startswith("/") and not one.startswith("//")]
    places = [*logged[1:], *(folder / name for name in TEST_FOLDERS), *(folder.parent / name for name in TEST_FOLDERS)]
    for place in [*places, *logged[:1], folder]:
        found = _with_mask(sorted(_listed(place)))
        if found is not None:
            return found
    return None, None


def _with_mask(files: Sequence[Path]) -> tuple[Path, Path] | None:
    there = {one.name: one for one in files}
    for one in files:
        if one.suffix.lower() not in ENDINGS or one.stem.endswith(_NOT_IMAGES):
            continue
        masks = [f"{one.stem}_masks{ending}" for ending in (".tif", ".tiff", ".png")]
        mask = next((there[name] for name in (*masks, f"{one.stem}_seg.npy") if name in there), None)
        if mask is not None:
            return one.resolve(), mask
    return None
