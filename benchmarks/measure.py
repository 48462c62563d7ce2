"""Time commands as whole processes, in turns, so that a machine whose speed drifts slows both alike."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


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
