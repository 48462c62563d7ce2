"""What a prediction has done already, on disk beside its results, so that it can go on after any death."""

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from zoowizard.errors import ZoowizardError

LONGEST_LINE: Final = 100_000_000
"""Bytes: no list of what is done is longer."""


class Record:
    """A file of lines, each written after what it tells of is on disk; a line that was torn by a death does not count.

    The first line says which prediction it is. It is held for ourselves as long as this lives.
    """

    def __init__(self, path: Path, run: Mapping[str, Any], overwrite: bool) -> None:
        """Open or begin the record of the prediction `run`.

        Raises ZoowizardError where it is of another prediction (unless `overwrite`: then it begins anew), or another
        process is at it; OSError where it cannot be written.
        """
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe is not waited for
        self._descriptor = os.open(path, flags, 0o666)
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            raise ZoowizardError(f"{path} is no plain file, and what is done is kept there; move it away")
        self.done: set[str] = set()
        self.told: dict[str, Any] = {}
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise ZoowizardError(f"another prediction is being written there ({path}); wait for its end") from None
        lines, end = _read(self._descriptor)
        self.resumed = bool(lines) and lines[0] == {"run": dict(run)}
        if lines and not self.resumed and not overwrite:
            os.close(self._descriptor)
            raise ZoowizardError(
                f"{path.parent} holds the beginning of another prediction (another package, image or block size); "
                "choose another place, or give --overwrite"
            )
        if self.resumed:
            for line in lines[1:]:
                if "done" in line:
                    self.done.add(str(line["done"]))
                elif "key" in line:
                    self.told[str(line["key"])] = line.get("value")
            os.ftruncate(self._descriptor, end)
            os.lseek(self._descriptor, 0, os.SEEK_END)
        else:
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            self._write({"run": dict(run)})

    def finish(self, key: str) -> None:
        """Tell that `key` is done; its data must be on disk before."""
        self._write({"done": key})
        self.done.add(key)

    def tell(self, key: str, value: Any) -> None:
        """Keep a value that takes long to find."""
        self._write({"key": key, "value": value})
        self.told[key] = value

    def close(self, remove: bool) -> None:
        """Let go of it; `remove` where nothing is left to do."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _write(self, line: Mapping[str, Any]) -> None:
        rest = (json.dumps(line) + "\n").encode()
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


@contextmanager
def held(record: Record, failed: Mapping[str, str]) -> Iterator[None]:
    """The record goes when all is done; else it stays for the next run of the same."""
    try:
        yield
    except BaseException:
        record.close(remove=False)
        raise
    record.close(remove=not failed)


def _read(descriptor: int) -> tuple[list[dict[str, Any]], int]:
    """The whole lines, and where the last of them ends."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        content = file.read(LONGEST_LINE)
    lines: list[dict[str, Any]] = []
    end = 0
    for raw in content.splitlines(keepends=True):
        try:
            line = json.loads(raw) if raw.endswith(b"\n") else None
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict):
            break
        lines.append(line)
        end += len(raw)
    return lines, end
