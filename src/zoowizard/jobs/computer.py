"""How many jobs this computer bears at once: its cores and its memory, as far as they are granted to us."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from zoowizard.jobs.processes import control_group

CORES_A_JOB: Final = 2
MEMORY_A_JOB_BYTES: Final = 4 << 30


def jobs_at_once() -> int:
    """As many jobs as cores and memory bear; always one."""
    return max(1, min(cores() // CORES_A_JOB, memory_bytes() // MEMORY_A_JOB_BYTES))


def cores() -> int:
    """The cores that this process may use; a container or a batch system often grants fewer than there are."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([there, *(int(granted) for granted in granted_cores(control_group("cpu")))]))


def memory_bytes() -> int:
    """The memory of this computer, or as much of it as is granted to us."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([there, *granted_memory_bytes(control_group("memory"))])


def granted_cores(group: Path | None) -> Iterator[float]:
    """The limits of the control group in the folder `group` and of those above it, in cores.

    Source: cgroups version 2 (`cpu.max`: microseconds in each period, and the period), version 1 (`cpu.cfs_*_us`).
    """
    for folder in _upwards(group):
        quota, _, period = _content(folder / "cpu.max").partition(" ")
        if not period:
            quota, period = _content(folder / "cpu.cfs_quota_us"), _content(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def granted_memory_bytes(group: Path | None) -> Iterator[int]:
    """The limits of the control group in the folder `group` and of those above it, in bytes (versions 2 and 1)."""
    for folder in _upwards(group):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (limit := _content(folder / name)).isdecimal():
                yield int(limit)


def _upwards(group: Path | None) -> Iterator[Path]:
    for folder in () if group is None else (group, *group.parents):
        if not (folder / "cgroup.procs").exists():
            return
        yield folder


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
