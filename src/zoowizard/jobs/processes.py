"""What the system tells of this computer and its processes."""

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Final

GRACE_S: Final = 5.0
"""Seconds between the request to stop and the kill."""
NO_LAST_WORD: Final = os.EX_IOERR
"""Exit code of a worker that could not save its last word, as on a full disk."""
GPU_MEMORY: Final = os.EX_TEMPFAIL
"""Exit code of a worker for which the memory of its GPU was too small."""
STOPPED: Final = 128 + signal.SIGTERM
"""Exit code of a worker that was told to stop, and did."""


def whereabouts() -> dict[str, str]:
    """Name of this computer, and of its present boot (empty where the system does not tell)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return {"host": socket.gethostname(), "boot": boot}


def memory_kills() -> int:
    """How many processes the system has killed for want of memory since it started, where it tells (Linux, vmstat)."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def signal_group(group: int, number: int) -> None:
    """Send a signal to all processes of a group, if any is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
