"""A job that does small real work, and misbehaves on demand: to see whether jobs work on this computer."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Steps


def run(work: Mapping[str, Any], folder: Path, steps: Steps) -> dict[str, Any]:
    """Do what `work["do"]` lists, one step each: `[{"wait": seconds}, {"fail": sentence}, …]`, see `_do`.

    Gives `{"done": number of steps, "bytes": written by the steps}`. Raises what the list asks for.
    """
    written = 0
    for number, action in enumerate(work.get("do", []), start=1):
        for verb, value in action.items():
            with steps.step(f"{number} {verb}") as step:
                if verb == "wait":
                    _wait(float(value), step.progress)
                elif verb == "write":
                    written += (folder / "filler").write_bytes(b"0" * int(value))
                else:
                    _do(verb, value, steps)
                step.note = str(value)
    return {"done": len(steps.finished), "bytes": written}


def _wait(seconds: float, progress: Callable[[float, str], None]) -> None:
    started = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        progress(passed / seconds, f"{passed:.0f} s")
        time.sleep(min(0.02, seconds - passed))


def _do(verb: str, value: Any, steps: Steps) -> None:
    match verb:
        case "print":
            print(value, flush=True)
        case "say":
            steps.note("info", str(value))
        case "fail":
            raise ZoowizardError(str(value))
        case "crash":
            raise RuntimeError(str(value))
        case "exit":
            raise SystemExit(int(value))
        case "signal":
            os.kill(os.getpid(), int(value))
        case "allocate":  # bytes, each page touched
            bytearray(int(value))[::4096] = b"1" * -(-int(value) // 4096)
        case "gpu-memory":  # too small, as torch says it, where there is a GPU to be seen
            if os.environ.get("CUDA_VISIBLE_DEVICES") != "":
                raise RuntimeError(f"CUDA out of memory. Tried to allocate {value}")
        case "child":  # seconds; a process of its own in the same group
            child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({float(value)})"])
            print(f"child {child.pid}", flush=True)
        case "deaf":  # hears no request to stop
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case _:
            raise ZoowizardError(f"work.do: there is no {verb!r}; there are wait, write, print, say, fail and others")
