"""Runs the checks side by side, each group in a process of its own with a time limit: a disk or a driver may hang."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from zoowizard.doctor.finding import Finding


@dataclass(frozen=True)
class Group:
    """Checks that are done by one process: the function `checks` (module:name) gives the findings.

    It is ended after `within_s` seconds; `mend` says what to do then.
    """

    checks: str
    within_s: float
    mend: str


GROUPS: Final[Mapping[str, Group]] = {
    "installation": Group(
        "zoowizard.doctor.installation:packages", 60, "see whether the disk that Python is installed on answers"
    ),
    "torch": Group(
        "zoowizard.doctor.installation:computes",
        180,
        "importing torch takes seconds from a local disk: install zoowizard on one, or try again when it is less busy",
    ),
    "GPU": Group("zoowizard.doctor.computer:gpus", 60, "a driver that does not answer needs the computer restarted"),
    "computer": Group(
        "zoowizard.doctor.computer:resources", 30, "see whether the disks of this computer answer (`df`)"
    ),
    "workspace": Group(
        "zoowizard.doctor.workspace:workspace",
        30,
        "its disk does not answer: see to the network, or choose another with --workspace",
    ),
    "session": Group("zoowizard.doctor.session:session", 30, "try again"),
    "SLURM": Group("zoowizard.doctor.session:slurm", 60, "ask those who run the cluster whether it is up"),
}


def examine(root: Path, groups: Sequence[str] = tuple(GROUPS)) -> Iterator[Finding]:
    """The findings for the workspace `root`, in the order of `groups`, as soon as they are there."""
    with ThreadPoolExecutor(len(groups)) as threads:
        for findings in threads.map(lambda name: _asked(name, GROUPS[name], root), groups):
            yield from findings


def _asked(name: str, group: Group, root: Path) -> list[Finding]:
    """What the process says that does the checks of a group; that it does not say it is a finding too."""
    command = [sys.executable, "-P", "-m", "zoowizard.doctor.examine", group.checks, str(root)]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        said, complaint = child.communicate(timeout=group.within_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # not waited for: whoever hangs in a driver or on a disk does not hear it
        return [Finding(name, "problem", f"did not answer within {group.within_s:g} seconds", group.mend)]
    try:
        return [Finding(**one) for one in json.loads(said)]
    except (ValueError, TypeError):
        lines = complaint.decode(errors="replace").strip().splitlines()
        ended = f"the check ended with code {child.returncode}: {lines[-1] if lines else 'no message'}"
        return [Finding(name, "problem", ended, "run it again; where it stays so, report it")]


def main(checks: str, root: Path) -> int:
    """The child process: prints the findings of one group as JSON; gives the exit code."""
    module, function = checks.split(":")
    findings = getattr(importlib.import_module(module), function)(root)
    sys.stdout.write(json.dumps([asdict(one) for one in findings]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
