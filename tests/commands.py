"""Running zoowizard as a person does: in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GPUS = os.environ.get("CUDA_VISIBLE_DEVICES")
"""The GPUs that may be used, as this computer says it: to be read before the tests are kept from them."""


@dataclass(frozen=True)
class Ran:
    """A command that was run as a person runs it."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def run_zoowizard(arguments: Sequence[str | Path], cwd: Path | None = None, **variables: str) -> Ran:
    """Run the command in a process of its own, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "zoowizard", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Demo:
    """What `zoowizard demo --json` left behind."""

    ran: Ran
    output: Path
    workspace: Path

    @property
    def package(self) -> Path:
        return Path(self.ran.json()["package"])
