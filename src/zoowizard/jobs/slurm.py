"""The engine for a SLURM cluster: submits jobs, several of a kind as one array, and cancels them.

submitit writes the batch script; it reaches sbatch on standard input, and nothing of it stays on the disk. What is
submitted runs `zoowizard.jobs.slurm_task` in the job's folder, as data: nothing is pickled.
"""

import contextlib
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from uuid import uuid4

from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.jobs.engines import environment
from zoowizard.jobs.folder import RESULT, JobSpec, Slurm, read_spec
from zoowizard.jobs.locks import require_private
from zoowizard.jobs.slurm_says import SlurmMissing, SlurmRefusal, SlurmTrouble, ask, listed
from zoowizard.jobs.slurm_state import (
    Submission,
    claim_submission,
    find,
    read_submission,
    store_id,
    write_down,
)
from zoowizard.jobs.slurm_words import CANCEL
from zoowizard.jobs.state import Job, read_job

SUBMITS_WITHIN_S: Final = 45.0
"""Less than `slurm_state.SUBMITTED_WITHIN_S`: who looks after that may say that it was never submitted."""
ENDS_WITHIN_S: Final = 30.0
GRACE_MINUTES: Final = 5
"""The job's own time limit comes first, so that it can say so; SLURM's is for one that hangs."""
POLL_S: Final = 0.25
_GIVEN_BY_THE_NODE: Final = re.compile(r"(CUDA_VISIBLE_DEVICES|GPU_DEVICE_ORDINAL|ROCR_VISIBLE_DEVICES|TMPDIR)$")


class SlurmEngine:
    """Runs jobs on a SLURM cluster whose computers see the workspace and this Python."""

    def start(self, folders: Sequence[Path]) -> None:
        """Submit the jobs, those that ask for the same as one array; each is submitted at most once.

        Raises ZoowizardError where SLURM does not take them, which is then their result too.
        """
        groups: dict[tuple[Slurm, float | None], list[Path]] = {}
        for folder in folders:
            spec = read_spec(folder)
            groups.setdefault((_asked(spec), spec.time_limit_s), []).append(folder)
        for (asked, time_limit_s), group in groups.items():
            _submit(group, asked, time_limit_s)

    def cancel(self, folder: Path) -> None:
        """End the job, and return when it has ended. Raises ZoowizardError where it could not be ended."""
        cancel(folder)


def _asked(spec: JobSpec) -> Slurm:
    if spec.slurm is None:
        raise ZoowizardError(f"the job {spec.id} was not made for SLURM")
    return spec.slurm


def _submit(folders: Sequence[Path], asked: Slurm, time_limit_s: float | None) -> None:
    name = f"zoowizard-{uuid4().hex}"
    marks = [_mark(folder, name, number if len(folders) > 1 else None) for number, folder in enumerate(folders)]
    try:
        script = _script(folders, asked, _minutes(asked, time_limit_s), name)
    except ZoowizardError as problem:
        raise _refused(folders, str(problem)) from problem
    try:
        said = ask(["sbatch"], SUBMITS_WITHIN_S, script, _for_sbatch(os.environ, asked))
    except SlurmTrouble as problem:
        if _is_there(marks[0], folders[0], str(problem)):
            return
        raise _refused(folders, str(problem)) from problem
    except SlurmRefusal as problem:
        raise _refused(folders, f"SLURM does not take it: {problem}") from problem
    if (number := re.search(r"job (\d+)", said)) is None:
        raise ZoowizardError(f"SLURM answered {said.strip()!r} to sbatch, which names no job; `zoowizard jobs` tells")
    for folder, mark in zip(folders, marks, strict=True):
        store_id(folder, mark, number[1] if mark.index is None else f"{number[1]}_{mark.index}")


def _mark(folder: Path, name: str, index: int | None) -> Submission:
    """Note on the disk that the job is being submitted under this name, before it is."""
    require_private(folder)
    submission = Submission(name=name, index=index, submitted=datetime.now(UTC))
    if not claim_submission(folder, submission):
        raise ZoowizardError(f"the job {folder.name} was started before; to try again, make a new one")
    return submission


def _script(folders: Sequence[Path], asked: Slurm, minutes: int | None, name: str) -> str:
    """What sbatch is told: a batch script that becomes the job of its number in the array."""
    if find_spec("submitit") is None:
        raise WrongUse("the engine slurm needs the package submitit; install it with `pip install 'zoowizard[slurm]'`")
    from submitit import SlurmExecutor  # takes a tenth of a second

    try:
        executor = SlurmExecutor("/", max_num_timeout=0)
    except RuntimeError as problem:
        raise SlurmMissing("SLURM's commands sbatch and srun are not found on this computer") from problem
    executor.update_parameters(
        job_name=name,
        time=minutes,
        partition=asked.partition or None,
        account=asked.account or None,
        qos=asked.qos or None,
        mem=None if asked.memory_gb is None else f"{math.ceil(asked.memory_gb * 1024)}M",
        cpus_per_task=asked.cores,
        gpus_per_node=asked.gpus or None,
        wckey=None,
        use_srun=False,
        stderr_to_stdout=True,
        additional_parameters={"no-requeue": True, "chdir": "/", "output": "/dev/null"},
        setup=[
            "umask 077",
            f"folders=({' '.join(shlex.quote(str(folder.absolute())) for folder in folders)})",
            'folder="${folders[${SLURM_ARRAY_TASK_ID:-0}]}"',
        ],
    )
    if len(folders) > 1:
        executor.parameters["map_count"] = len(folders)
    python = shlex.quote(sys.executable)
    command = f'exec {python} -P -m zoowizard.jobs.slurm_task "$folder" >>"$folder/log.txt" 2>&1'
    return str(executor._make_submission_file_text(command, name))


def _minutes(asked: Slurm, time_limit_s: float | None) -> int | None:
    """What is asked of SLURM: more than the job's own limit, but no more than the partition grants.

    A job that asks for more than its partition grants would wait for ever. Raises SlurmTrouble, SlurmRefusal.
    """
    if time_limit_s is None:
        return None
    minutes = math.ceil(time_limit_s / 60) + GRACE_MINUTES
    partition = asked.partition or os.environ.get("SBATCH_PARTITION", "")
    for line in ask(["sinfo", "-h", "-o", "%P|%l"]).splitlines():
        name, _, granted = line.partition("|")
        if name.rstrip("*") == partition or (not partition and name.endswith("*")):
            return min(minutes, _granted_minutes(granted) or minutes)
    return minutes


def _granted_minutes(granted: str) -> int | None:
    """Minutes of `days-hours:minutes:seconds`, of which the first parts may be left out; None for no limit."""
    if (found := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d\d)", granted)) is None:
        return None
    days, hours, minutes = (int(part or 0) for part in found.groups()[:3])
    return max(1, (days * 24 + hours) * 60 + minutes)


def _for_sbatch(ours: Mapping[str, str], asked: Slurm) -> dict[str, str]:
    """What sbatch, and then the job, gets to see of our environment: no secrets, and no other wishes than `asked`."""
    wishes = {
        "SBATCH_PARTITION": asked.partition,
        "SBATCH_ACCOUNT": asked.account,
        "SBATCH_QOS": asked.qos,
        "SBATCH_CONSTRAINT": "",
    }
    return {
        name: value
        for name, value in environment(ours).items()
        if not _GIVEN_BY_THE_NODE.match(name) and (not name.startswith("SBATCH_") or wishes.get(name) == "")
    }


def _is_there(mark: Submission, folder: Path, trouble: str) -> bool:
    """Whether the jobs were submitted although sbatch got no answer. Raises SlurmTrouble where that is not known."""
    try:
        return find(folder, mark, fresh=True) is not None
    except SlurmTrouble:
        if "contact" in trouble:  # it was not reached at all
            return False
        raise SlurmTrouble(f"{trouble}; whether it took the job, `zoowizard jobs` will tell") from None


def _refused(folders: Sequence[Path], sentence: str) -> ZoowizardError:
    """Make the refusal the result of the jobs; gives it to be raised."""
    for folder in folders:
        write_down(folder, "failed", sentence)
    return ZoowizardError(sentence)


def cancel(folder: Path) -> Job:
    """End the job, pending or running, and give it as it is when it has ended, which may be well.

    Raises ZoowizardError where SLURM does not answer, or the job does not end.
    """
    require_private(folder)
    if not (folder / RESULT).exists():
        with contextlib.suppress(OSError):  # asked before; or a full disk, on which SLURM's word must do
            (folder / CANCEL).touch(mode=0o600, exist_ok=False)
        never = Submission(name=f"zoowizard-{uuid4().hex}", submitted=datetime.now(UTC))
        if read_submission(folder) is None and claim_submission(folder, never):
            write_down(folder, "cancelled", "it was cancelled before it started")
    told, deadline = False, time.monotonic() + ENDS_WITHIN_S
    while not (job := read_job(folder)).over:
        if time.monotonic() > deadline:
            waits = job.reason or "SLURM was told to end it"
            raise ZoowizardError(f"the job {folder.name} has not ended yet: {waits}; `zoowizard jobs` will tell")
        if not told and (submission := read_submission(folder)) is not None:
            told = _tell_slurm(folder, submission)
        time.sleep(POLL_S)
        listed(fresh=True)
    return job


def _tell_slurm(folder: Path, submission: Submission) -> bool:
    """Have SLURM end the job; False where it does not know it yet. Raises SlurmTrouble where it does not answer."""
    row = find(folder, submission, fresh=True)
    if row is None:
        return False
    with contextlib.suppress(SlurmRefusal):  # it has ended this moment
        ask(["scancel", row.id])
    return True
