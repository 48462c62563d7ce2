"""Which checkpoints are of the same training, by their names: epochs, the best one and the last one.

`unet_epoch_10.pth`, `unet_epoch_20.pth` and `unet_best.pth`; Lightning's `epoch=9-step=100.ckpt` and `last.ckpt`;
CAREamics' `unet_09_step_100_0.5210.ckpt` (epoch, step, loss) and `unet_last.ckpt`; in a folder that is called
`checkpoints` also `unet_10.pth` and `unet_20.pth`. Folds and variants are trainings of their own.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_EPOCH: Final = re.compile(
    r"(?:^|[._-])(?:epochs?|ep|iter|iteration|(?:\d{2,5}_)?step)[=_-]?(\d{1,9})(?![a-z\d])(?:[._-].*)?$", re.IGNORECASE
)
_WITH_LOSS: Final = re.compile(r"_\d{2,5}_step_\d{1,9}_(-?\d{1,6}\.\d{1,6})$")
"""What CAREamics keeps for its loss, and then predicts with the one of the least loss."""
_BARE_EPOCH: Final = re.compile(r"[_-](\d{1,9})$")
_STATE: Final = re.compile(r"(?:^|[._-])(best|last|latest|final)(?=$|[._-])", re.IGNORECASE)
_NOT_EPOCHS: Final = re.compile(r"(?:fold|split|level|depth|seed|scale|stage|class|run|part|v)s?$", re.IGNORECASE)
_RANKS: Final = {"best": 2, "last": 1, "latest": 1, "final": 1}


def training_and_order(path: Path) -> tuple[str, tuple[int, int]] | None:
    """What the checkpoints of one training are called in common, and the place of this one: the best has the highest.

    None where the name tells of no training.
    """
    stem = path.stem
    epoch = epoch_of(path.name)
    if (told := _EPOCH.search(stem)) is not None:
        stem = stem[: told.start()]
    elif path.parent.name == "checkpoints" and (told := _bare(stem)) is not None:
        stem, epoch = stem[: told.start()], int(told[1])
    state = _STATE.search(stem)
    if state is not None:
        stem = stem[: state.start()] + stem[state.end() :]
    if state is None and epoch is None:
        return None
    if (by_loss := _WITH_LOSS.search(path.stem)) is not None:
        return stem.strip("._-").lower() + path.suffix.lower(), (_RANKS["best"], -round(float(by_loss[1]) * 1e6))
    rank = 0 if state is None else _RANKS[state[1].lower()]
    return stem.strip("._-").lower() + path.suffix.lower(), (rank, -1 if epoch is None else epoch)


def epoch_of(name: str) -> int | None:
    """The epoch (or step) that a name tells with that word."""
    told = _EPOCH.search(Path(name).stem)
    return int(told[1]) if told else None


def _bare(stem: str) -> re.Match[str] | None:
    told = _BARE_EPOCH.search(stem)
    return None if told is None or _NOT_EPOCHS.search(stem[: told.start()]) else told


def grouped(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """The paths of one folder by training, of each the one to be packaged first; what tells of none is by itself."""
    trainings: dict[str, list[Path]] = {}
    for path in paths:
        told = training_and_order(path)
        trainings.setdefault(f"/{path.name}" if told is None else told[0], []).append(path)
    for together in trainings.values():
        yield sorted(together, key=lambda one: (training_and_order(one) or ("", (0, 0)))[1], reverse=True)
