"""What the system tells of this computer and its processes."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

GRACE_S: Final = 5.0
"""Seconds between the request to stop and the kill."""
NO_LAST_WORD: Final = os.EX_IOERR
"""Exit code of a worker that could not save its last word, as on a full disk."""
GPU_MEMORY: Final = os.EX_TEMPFAIL
"""Exit code of a worker for which the memory of its GPU was too small."""
DEVICE: Final = "ZOOWIZARD_DEVICE"
"""The variable that tells a worker in words on which device it works."""
STOPPED: Final = 128 + signal.SIGTERM
"""Exit code of a worker that was told to stop, and did."""


def whereabouts() -> dict[str, str]:
    """Name of this computer, and of its present boot (empty where the system does not tell)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return {"host": socket.gethostname(), "boot": boot}


def memory_kills(process: int | str = "self") -> Callable[[], int | None]:
    """A counter of the processes that the system killed for want of memory where `process` lives (Linux).

    It counts in the control group of the process, so that the kills of other people and containers are not taken for
    ours, or on the whole computer where there is no such group; it gives None where the system does not tell. It can
    be asked after the process has ended.
    """
    group = control_group("memory", process)
    of_group = [] if group is None else [group / "memory.events", group / "memory.oom_control"]
    counted = next((path for path in of_group if _oom_kills(path) is not None), Path("/proc/vmstat"))
    return lambda: _oom_kills(counted)


def control_group(controller: str, process: int | str = "self") -> Path | None:
    """The folder in which the system tells what `controller` (memory, cpu) grants the process, where it does.

    Source: cgroups(7), versions 1 and 2; the mounts as proc_pid_mountinfo(5) tells them.
    """
    try:
        groups = [line.split(":", 2) for line in Path(f"/proc/{process}/cgroup").read_text().splitlines()]
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    except OSError:
        return None
    for _, controllers, path in sorted(groups, reverse=True):  # version 2 has the number 0: it comes last
        for mount in mounts:
            kind, options = mount[mount.index("-") + 1], mount[-1].split(",")
            fits = kind == "cgroup2" if not controllers else kind == "cgroup" and controller in options
            if not fits or (controllers and controller not in controllers.split(",")):
                continue
            below = os.path.relpath(path, mount[3]) if path.startswith(mount[3]) else "."
            folder = Path(mount[4], below)
            if any(folder.glob(f"{controller}.*")):
                return folder
    return None


def _oom_kills(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def signal_group(group: int, number: int) -> None:
    """Send a signal to all processes of a group, if any is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def in_words(seconds: float) -> str:
    """A time for a person."""
    if seconds == 1:
        return "1 second"
    return f"{seconds:g} seconds" if seconds < 120 else f"{seconds / 60:g} minutes"
