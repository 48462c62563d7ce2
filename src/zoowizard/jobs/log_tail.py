"""The end of a job's log, as lines that can be shown: what was printed for a terminal cannot steer one."""

import os
import re
from pathlib import Path
from typing import Final

from zoowizard.terminal import printable

MOST_BYTES: Final = 1 << 20
MOST_LINES: Final = 2000
LONGEST_LINE: Final = 1000

_STEERING = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles and links of windows
    r"|\x1b[P^_X][^\x1b]*(?:\x1b\\)?"  # strings for devices
    r"|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]"  # colours, cursor
)
_ERROR = re.compile(
    r"Traceback \(most recent call last\)|^\s*[\w.]*(Error|Exception)\b|\b(fatal|error):", re.IGNORECASE
)


class LogTail:
    """Reads the log `path` on and on, from one megabyte before its end; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self._path = path
        self._begin(None)

    def _begin(self, file: tuple[int, int] | None) -> None:
        self._file = file
        self._offset = 0
        self._rest = b""
        self.shortened = False
        """Whether older lines were passed over."""

    def read(self, over: bool = False) -> list[str]:
        """The lines that came since, at most the last `MOST_LINES`; with `over`, also one whose end never came."""
        try:
            with self._path.open("rb") as log:
                there = os.fstat(log.fileno())
                if self._file != (there.st_dev, there.st_ino) or there.st_size < self._offset:
                    self._begin((there.st_dev, there.st_ino))
                if there.st_size - self._offset > MOST_BYTES:
                    self._offset, self._rest, self.shortened = there.st_size - MOST_BYTES, b"", True
                    log.seek(self._offset - 1)
                    self._offset += len(log.readline()) - 1
                log.seek(self._offset)
                new = log.read(MOST_BYTES)
        except OSError:
            return []
        self._offset += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        if len(self._rest) > MOST_BYTES or (over and self._rest):
            whole, self._rest = [*whole, self._rest[-MOST_BYTES:]], b""
        if len(whole) > MOST_LINES:
            whole, self.shortened = whole[-MOST_LINES:], True
        return [shown(line.decode("utf-8", "replace")) for line in whole]


def shown(line: str) -> str:
    """A line as it would stand on a terminal at the end: a progress bar in its last state, no control characters."""
    plain = _STEERING.sub("", line)
    last = plain.rstrip("\r").rpartition("\r")[2].expandtabs(4)
    text = printable(last).rstrip()
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1] + "…"


def is_error(line: str) -> bool:
    """Whether a line looks like the beginning of an error."""
    return _ERROR.search(line) is not None
