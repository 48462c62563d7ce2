"""What Cellpose's log tells of a training: `run.log` of cellpose 2, 3 and 4, or what a notebook printed.

Sources of the lines: `cellpose/train.py` (3.1.1.2, 4.2.1.1), `cellpose/core.py` (2.2.3), `cellpose/models.py` and
`cellpose/gui/gui.py`.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final

from zoowizard.families.epochs import name_and_epoch

CHANNELS: Final = ("gray", "red", "green", "blue")
"""Cellpose's numbers of colours; of the second channel 0 is none."""
LONGEST_LINE: Final = 2_000
"""Characters; a path is the longest thing that is looked for."""
_STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:,\d+)? ")
_SAVED_AT_END: Final = re.compile(r"(?:saving network parameters|trained and saved) to (?!.*_epoch_\d+\s*$)")
Row = tuple[float | None, float | None]


@dataclass
class Training:
    """One training. `rows` are (loss of training, loss of test images) by epoch from 0, where one was logged.

    `saved` are the paths that it was saved to, as the log has them; `base` is the file that it started from, empty for
    none and None where nothing is said.
    """

    saved: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    rows: dict[int, Row] = field(default_factory=dict)
    epochs: int | None = None
    images: int | None = None
    batch: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    channels: tuple[int, int] | None = None
    base: str | None = None
    normalisation: str = ""
    cellpose: str | None = None
    torch: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    seconds: float = 0.0
    saved_after_row: int = -1

    @property
    def names(self) -> set[str]:
        """The names of the models that it wrote, without the epoch."""
        return {name_and_epoch(file_name(path))[0] for path in self.saved}

    @property
    def epochs_done(self) -> int | None:
        """How many epochs were trained; only every tenth is logged, and the end by what was saved after the last."""
        last = max(self.rows, default=-1)
        if self.epochs:
            last_logged = (self.epochs - 1) // 10 * 10 or (5 if self.epochs > 5 else 0)
            if last == last_logged == self.saved_after_row:
                return self.epochs
        return last + 1 or None

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first line of the training to the last save."""
        by_clock = (self.ended - self.started).total_seconds() if self.started and self.ended else 0.0
        return round(max(by_clock, self.seconds), 1) or None


def file_name(path: str) -> str:
    """The bare name of a file that any system's path leads to."""
    return PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name


def trainings(text: str) -> list[Training]:
    """The trainings of a log in their order; what came before each of them (model, channels, folders) is its own."""
    found: list[Training] = []
    context = Training()
    current = context
    for line in (one[:LONGEST_LINE] for one in text.splitlines()):
        stamp = _STAMP.match(line)
        if ">>> n_epochs=" in line or ">>>> training network with" in line:
            current = _begun(context)
            found.append(current)
            context.folders = []
        for pattern, told, before in _lines():
            if (match := pattern.search(line)) is not None:
                told(context if before else current, match)
        if stamp is not None and current is not context:
            _clock(current, stamp[1], _SAVED_AT_END.search(line) is not None)
    return found


def _begun(context: Training) -> Training:
    return replace(context, saved=[], rows={}, folders=list(context.folders), started=None, ended=None)


def _clock(training: Training, stamp: str, is_save: bool) -> None:
    try:
        now = datetime.fromisoformat(stamp)
    except ValueError:
        return
    training.started = training.started or now
    if is_save:
        training.ended = now
        training.saved_after_row = max(training.rows, default=-1)


def _float(told: str | None) -> float | None:
    try:
        number = float(told) if told is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _row(training: Training, epoch: str, loss: str, test: str | None, seconds: str) -> None:
    # Without test images Cellpose logs a test loss of 0.
    tested = _float(test)
    training.rows[int(epoch)] = (_float(loss), tested if tested else None)
    training.seconds = max(training.seconds, _float(seconds) or 0.0)


def _base(training: Training, path: str) -> None:
    training.base = file_name(path.strip())


def _saved(training: Training, match: re.Match[str]) -> None:
    training.saved.append(match[1].strip())


def _sizes(training: Training, match: re.Match[str]) -> None:
    training.epochs, training.images = int(match[1]), int(match[2])
    if match[3]:
        training.batch = int(match[3])


def _optimizer(training: Training, match: re.Match[str]) -> None:
    training.optimizer, training.learning_rate, training.weight_decay = match[1], _float(match[2]), _float(match[3])


def _old_optimizer(training: Training, match: re.Match[str]) -> None:
    training.learning_rate, training.batch, training.weight_decay = _float(match[1]), int(match[2]), _float(match[3])


def _set(name: str, read: Callable[[re.Match[str]], object]) -> Callable[[Training, re.Match[str]], None]:
    return lambda training, match: setattr(training, name, read(match))


_N: Final = r"(-?[\d.]+(?:e[-+]?\d+)?|nan|inf)"
_Told = Callable[[Training, re.Match[str]], None]
_BEFORE_LINES: Final[Mapping[str, _Told]] = {
    r"cellpose version:\s*(\d[\w.+]{0,30})": _set("cellpose", lambda match: match[1]),
    r"torch version:\s*(\d[\w.+]{0,30})": _set("torch", lambda match: match[1]),
    r"loading model (\S.*)$": lambda training, match: _base(training, match[1]),
    r"training new model starting at model (\S.*)$": lambda training, match: _base(training, match[1]),
    r"no model weights loaded|training from scratch|starting from scratch": _set("base", lambda match: ""),
    r"using channels \[([0-3]), ([0-3])\]": _set("channels", lambda match: (int(match[1]), int(match[2]))),
    r"training with chan = ([0-3]): \w+, chan2 = ([0-3])": _set(
        "channels", lambda match: (int(match[1]), int(match[2]))
    ),
    r"normalizing (\{.{0,1000}\})": _set("normalisation", lambda match: match[1]),
    r"\d+ / \d+ images in (.+) folder have labels": lambda training, match: training.folders.append(match[1]),
}
_OWN_LINES: Final[Mapping[str, _Told]] = {
    r">>> n_epochs=(\d{1,5}), n_train=(\d{1,9})(?:.*?\bbatch_size=(\d{1,6}))?": _sizes,
    rf">>> (AdamW|SGD), learning_rate={_N}, weight_decay={_N}": _optimizer,
    rf">>>> LR: {_N}, batch_size: (\d{{1,6}}), weight_decay: {_N}": _old_optimizer,
    r">>>> ntrain = (\d{1,9})": _set("images", lambda match: int(match[1])),
    r"(?:saving model to|saving network parameters to|trained and saved to) (\S.*)$": _saved,
    rf"(?:^|\] )(\d{{1,5}}), train_loss={_N}, test_loss={_N}, LR={_N}, time {_N}s": lambda training, match: _row(
        training, match[1], match[2], match[3], match[5]
    ),
    rf"Epoch (\d{{1,5}}), Time\s+{_N}s, Loss\s+{_N}(?:, Loss Test\s+{_N})?": lambda training, match: _row(
        training, match[1], match[3], match[4], match[2]
    ),
}


@cache
def _lines() -> Sequence[tuple[re.Pattern[str], _Told, bool]]:
    """The lines that count, what each tells, and whether it tells so before the training that it is of."""
    before = [(re.compile(pattern), told, True) for pattern, told in _BEFORE_LINES.items()]
    return [*before, *((re.compile(pattern), told, False) for pattern, told in _OWN_LINES.items())]
