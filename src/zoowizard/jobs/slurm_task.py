"""What runs on a computer of the cluster: `python -m zoowizard.jobs.slurm_task FOLDER` becomes the job's supervisor.

The cluster tells it to stop for many reasons (scancel, time limit, pre-emption, a computer that is taken away). Only
where the person cancelled it with zoowizard is it `cancelled` at once; else the last word is SLURM's, see
`zoowizard.jobs.slurm_state`, and what is known here is kept for the time when SLURM has forgotten it.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from zoowizard.atomic import write_json
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.engines import environment
from zoowizard.jobs.locks import require_private
from zoowizard.jobs.slurm_words import CANCEL, ENDED, STOPPED, SUBMISSION


def main(folder: Path) -> int:
    """Run the job in `folder` to its end; gives the exit code. Raises as the supervisor does."""
    from zoowizard.jobs import supervisor

    require_private(folder)
    given = environment(os.environ)
    os.environ.clear()
    os.environ.update(given)
    _keep_number(folder)
    if (folder / CANCEL).exists():  # while it was being submitted
        from zoowizard.jobs.slurm_state import write_down

        write_down(folder, "cancelled", "it was cancelled before it started")
        return 0
    return supervisor.main(folder, stopped)


def stopped(folder: Path) -> bool:
    """The cluster wants the job to end: keep why, as far as it can be known here. Whether the person cancelled it."""
    if (folder / CANCEL).exists():
        return True
    started = time.time()
    _keep(folder, ENDED["CANCELLED"], started)
    _keep(folder, _why(_shown()), started)
    return False


def _why(shown: str) -> tuple[str, str]:
    """From `scontrol show job`: while a job is ending, its state is COMPLETING, but the cause stands there already."""
    told = dict(word.partition("=")[::2] for word in shown.split())
    if told.get("Reason") == "TimeLimit":
        return ENDED["TIMEOUT"]
    if told.get("PreemptTime", "None") not in ("None", "Unknown", "N/A"):
        return ENDED["PREEMPTED"]
    return ENDED["CANCELLED"]


def _shown() -> str:
    command = ["scontrol", "-o", "show", "job", os.environ.get("SLURM_JOB_ID", "")]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=3).stdout
    return ""


def _keep(folder: Path, word: tuple[str, str], ended: float) -> None:
    status, reason = word
    begun = (folder / "supervisor").stat().st_mtime
    with contextlib.suppress(ZoowizardError):
        write_json(
            folder / STOPPED,
            {
                "status": status,
                "reason": reason,
                "seconds": max(0.0, round(ended - begun, 3)),
                "ended": datetime.fromtimestamp(ended, UTC).isoformat(),
            },
        )


def _keep_number(folder: Path) -> None:
    """Note SLURM's number of the job, in case that whoever submitted it was killed before he could."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    number = f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")
    with contextlib.suppress(ZoowizardError, OSError, ValueError, AttributeError):
        submission = json.loads((folder / SUBMISSION).read_bytes())
        if submission.get("id") is None and number:
            write_json(folder / SUBMISSION, {**submission, "id": number})


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
