"""Locks of the workspace: files that are held while something is edited, and say by whom."""

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from zoowizard.errors import ZoowizardError

MODELS_LOCK: Final = "models.lock"
"""Lies in the folder of every workspace that holds a model."""


class DraftBusy(ZoowizardError):
    """Another process is editing the draft."""


@contextlib.contextmanager
def held(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path` of the workspace. Raises DraftBusy where it is held and nobody wants to `wait`.

    Raises ZoowizardError where it cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"the workspace cannot be written: {path} ({reason}); choose a folder of yours with --workspace"
        raise ZoowizardError(message) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise DraftBusy(
                f"{path.parent.name}: {_holder(descriptor)} is editing this draft; end that first"
            ) from None
        except OSError as error:
            reason = (
                "has no file locks" if error.errno in (errno.ENOLCK, errno.ENOTSUP) else os.strerror(error.errno or 0)
            )
            message = f"the file system of {path.parent} {reason}; choose another workspace with --workspace"
            raise ZoowizardError(message) from error
        with contextlib.suppress(OSError):  # who holds it is for people only; a full disk must not stop the work
            os.ftruncate(descriptor, 0)
            since = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
            holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        return f"another zoowizard (process {said['pid']} on {said['host']}, since {said['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another zoowizard"
