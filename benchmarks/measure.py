"""Time commands as whole processes, in turns, so that a machine whose speed drifts slows both alike."""

import contextlib
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What one run cost: seconds by the clock, seconds of CPU with all its children, peak memory of one process."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def cost_of(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end. Raises RuntimeError with what it said where it fails."""
    started = time.perf_counter()
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    said = child.stdout.read() if child.stdout else b""
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command} failed:\n{said.decode(errors='replace')[-3000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def peak_memory_of(command: Sequence[str], every_s: float = 0.3) -> float:
    """Run a command to its end; gives the most memory, in GB, that it and all that it started had at one time.

    Memory that several processes share counts once (PSS), and files that are mapped count as far as they are in memory.
    What it started is known by its environment: a job outlives its command, and is no child of it any more. Raises
    RuntimeError as `cost_of` does.
    """
    mark = f"ZOOWIZARD_MEASURED={secrets.token_hex(8)}"
    name, value = mark.split("=")
    peak_kb = 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(cost_of, command, {**os.environ, name: value})
        while not running.done():
            peak_kb = max(peak_kb, sum(_pss_kb(process) for process in _marked(mark.encode())))
            time.sleep(every_s)
        running.result()
    return peak_kb * 1024 / 1e9


def _marked(mark: bytes) -> list[Path]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(process)
    return found


def _pss_kb(process: Path) -> int:
    with contextlib.suppress(OSError):
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def in_turns(first: Callable[[], float], second: Callable[[], float], rounds: int) -> tuple[float, float, list[float]]:
    """Run both, `rounds` times in turns; gives the median of each and the ratio first / second of each round."""
    pairs = [(first(), second()) for _ in range(rounds)]
    ours, theirs = zip(*pairs, strict=True)
    return statistics.median(ours), statistics.median(theirs), [one / other for one, other in pairs]


def say(name: str, ours: float, theirs: float, ratios: Sequence[float], bound: float | None) -> bool:
    """Print one line of result; gives whether the median ratio is within the bound."""
    ratio = statistics.median(ratios)
    within = bound is None or ratio <= bound
    target = "" if bound is None else f"  (target {bound:g}: {'met' if within else 'MISSED'})"
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{name:<44} {ours:8.2f} s / {theirs:8.2f} s = {ratio:6.2f}  [{spread}]{target}", flush=True)
    return within


def zoowizard(*arguments: object) -> list[str]:
    """The command line of a zoowizard command, run by this Python."""
    return [sys.executable, "-m", "zoowizard", *map(str, arguments)]
