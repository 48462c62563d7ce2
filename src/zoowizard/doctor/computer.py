"""What this computer has: GPUs, cores, memory, disks, places for jobs, warm processes."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from zoowizard.doctor.finding import Finding
from zoowizard.errors import ZoowizardError
from zoowizard.jobs import line, warm
from zoowizard.jobs.computer import cores, jobs_at_once, memory_bytes
from zoowizard.jobs.gpus import found
from zoowizard.jobs.housekeeping import readable

LITTLE_MEMORY: Final = 4e9
TOO_LITTLE_MEMORY: Final = 1.5e9
"""Bytes; what a build of a small model takes at the least."""
LITTLE_SPACE: Final = 5e9
TOO_LITTLE_SPACE: Final = 5e8
FEW_FILES: Final = 10_000
"""So many new files a disk should bear."""


def gpus(root: Path) -> Iterator[Finding]:
    """The GPUs, the driver beside the installed torch, and who uses what."""
    there = found()
    if there.problem:
        yield Finding("GPU", "warning", there.problem, "jobs work on the CPU meanwhile, which is slower")
    elif not there.gpus:
        yield Finding("GPU", "ok", "none; jobs work on the CPU")
    driver = f", driver {there.driver} (CUDA {there.cuda})" if there.driver else ""
    used = _memory_used()
    for gpu in there.gpus:
        use = f", {readable(used[gpu.uuid])} in use" if gpu.uuid in used else ""
        work = _who_works(f"gpu-{gpu.uuid}")
        yield Finding("GPU", "ok", f"{gpu.name}, {readable(gpu.memory_bytes)}{use}{driver}; {work}")


def _memory_used() -> dict[str, float]:
    """Bytes in use by the number of the GPU, by whomever; nothing where nvidia-smi does not tell."""
    command = ["nvidia-smi", "--query-gpu=uuid,memory.used", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=15, check=True).stdout
        rows = [row.split(",") for row in told.splitlines()]
        return {uuid.strip(): float(mebibytes) * 2**20 for uuid, mebibytes in rows}
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}


def _who_works(place: str) -> str:
    """Whose job is at a place of this computer."""
    try:
        folder = line.open_shared()
    except (line.Unfit, OSError):
        return "nobody knows whether a job uses it"
    try:
        owners = {ticket.owner for ticket in line.tickets(folder) if ticket.at == place}
        if not owners and line.is_free(folder, place):
            return "no job uses it"
        return "a job of yours uses it" if os.geteuid() in owners else "a job of somebody else uses it"
    except (line.Unfit, OSError):
        return "nobody knows whether a job uses it"
    finally:
        os.close(folder)


def resources(root: Path) -> Iterator[Finding]:
    """Memory, disks, places for jobs, warm processes."""
    yield _memory()
    yield from _disks({"workspace": root, "scratch": Path(tempfile.gettempdir()), "home": Path.home()})
    yield _places()
    yield _warm()


def _memory() -> Finding:
    total, free = memory_bytes(), _available()
    has = f"{readable(total)}, {readable(free)} of it free" if free is not None else readable(total)
    text = f"{has}; {cores()} cores; {_jobs(jobs_at_once())} at once without a GPU"
    room = total if free is None else min(total, free)
    mend = "close other programs, or use a computer with more memory"
    if room < TOO_LITTLE_MEMORY:
        return Finding("memory", "problem", f"{text}; a build needs {readable(TOO_LITTLE_MEMORY)} or more", mend)
    if room < LITTLE_MEMORY:
        return Finding("memory", "warning", f"{text}; a build of a large model needs more", mend)
    return Finding("memory", "ok", text)


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"


def _available() -> int | None:
    """Bytes that programs may still have, where the system tells (Linux)."""
    with contextlib.suppress(OSError, ValueError):
        for told in Path("/proc/meminfo").read_text().splitlines():
            if told.startswith("MemAvailable:"):
                return int(told.split()[1]) * 1024
    return None


def _disks(places: dict[str, Path]) -> Iterator[Finding]:
    """The room on each disk, told once for all that lies on it."""
    by_disk: dict[int, list[str]] = {}
    for name, path in places.items():
        with contextlib.suppress(OSError):
            by_disk.setdefault(path.stat().st_dev, []).append(name)
    for names in by_disk.values():
        path = places[names[0]]
        free, disk = shutil.disk_usage(path).free, os.statvfs(path)
        text = f"{', '.join(names)}: {readable(free)} free ({path})"
        mend = f"`zoowizard jobs clean` frees what old jobs hold; or free some space on the disk of {path}"
        if disk.f_files and disk.f_favail < FEW_FILES:
            yield Finding("disk", "problem", f"{text}, and room for {disk.f_favail} more files only", mend)
        elif free < TOO_LITTLE_SPACE:
            yield Finding("disk", "problem", text, mend)
        else:
            yield Finding("disk", "warning" if free < LITTLE_SPACE else "ok", text, mend if free < LITTLE_SPACE else "")


def _places() -> Finding:
    """Whether people on this computer can take turns."""
    try:
        folder = line.open_shared()
    except (line.Unfit, OSError) as problem:
        text = f"jobs of different people do not take turns here: {problem}"
        return Finding("turns", "warning", text, "name another folder, for all people, in ZOOWIZARD_SLOTS")
    try:
        jobs = line.tickets(folder)
    except OSError as problem:
        return Finding("turns", "warning", f"jobs cannot take turns: {problem}", "see to the folder that is named")
    finally:
        os.close(folder)
    work = sum(1 for ticket in jobs if ticket.at)
    return Finding("turns", "ok", f"{_jobs(work)} at work on this computer, {len(jobs) - work} waiting")


def _warm() -> Finding:
    if os.environ.get("ZOOWIZARD_WARM") == "0":
        return Finding("warm process", "ok", "switched off by ZOOWIZARD_WARM=0: each job loads its libraries anew")
    try:
        running = warm.running()
    except ZoowizardError as problem:
        return Finding("warm process", "warning", str(problem), "each job loads its libraries anew until it is mended")
    if not running:
        return Finding("warm process", "ok", "none; one is started while a model's questions are answered")
    return Finding("warm process", "ok", f"has its libraries loaded (process {', '.join(map(str, running))})")
