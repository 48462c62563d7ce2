"""SLURM's states and reasons in plain words, and the names of the files that a job on a cluster has besides.

Source of the words: squeue(1), "JOB STATE CODES" and "JOB REASON CODES".

slurm.json     under which name and number it was submitted (`slurm_state.Submission`)
to-be-ended    made by a person's cancel, before SLURM is told
stopped.json   what the supervisor knew when the cluster told it to stop (Result), for when SLURM has forgotten it
"""

from typing import Final

from zoowizard.jobs.states import Ending

SUBMISSION, CANCEL, STOPPED = "slurm.json", "to-be-ended", "stopped.json"
WAITING: Final = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
WORKING: Final = ("RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")

ENDED: Final[dict[str, tuple[Ending, str]]] = {
    "OUT_OF_MEMORY": ("out-of-memory", "it ran out of the memory that it got on the cluster, so SLURM ended it"),
    "TIMEOUT": ("timed-out", "SLURM ended it at the time limit of the cluster"),
    "DEADLINE": ("timed-out", "SLURM ended it at its deadline"),
    "PREEMPTED": ("preempted", "SLURM ended it to make room for a job that goes first"),
    "NODE_FAIL": ("node-failed", "the computer of the cluster that it ran on failed"),
    "BOOT_FAIL": ("node-failed", "the computer of the cluster that it was given could not be started"),
    "CANCELLED": ("cancelled", "it was cancelled from outside zoowizard, with scancel or by the cluster"),
    "REVOKED": ("cancelled", "it was taken over by another cluster"),
    "FAILED": ("died", "it ended on the cluster without leaving a result; the log may say why"),
    "COMPLETED": ("died", "it ended on the cluster without leaving a result; the log may say why"),
}
"""SLURM's state → how the job ended, and in one sentence why."""

_REASONS: Final = (
    ("Resources", "waiting for free room on the cluster"),
    ("Priority", "waiting on the cluster: other jobs go first"),
    ("PartitionDown", "waiting: the partition is switched off"),
    ("PartitionInactive", "waiting: the partition is switched off"),
    (
        "PartitionTimeLimit",
        "it will never start: it asks for more time than the partition grants; cancel it, and give less",
    ),
    ("PartitionNodeLimit", "it will never start: it asks for more than the partition has; cancel it, and ask for less"),
    ("PartitionConfig", "waiting: the partition does not grant what it asks for"),
    ("ReqNodeNotAvail", "waiting: the computers that it could run on are down, or reserved for others"),
    ("Nodes required for job are DOWN", "waiting: the computers that it could run on are down, or reserved for others"),
    ("NodeDown", "waiting: a computer that it needs is down"),
    ("BadConstraints", "it will never start: no computer of the cluster has what it asks for; cancel it"),
    ("BeginTime", "waiting: SLURM starts it at a later time"),
    ("DependencyNeverSatisfied", "it will never start: a job that it waits for has failed; cancel it"),
    ("Dependency", "waiting for another job to end"),
    ("JobHeldUser", "held back by you; `scontrol release` lets it go"),
    ("JobHeldAdmin", "held back by the administrators of the cluster"),
    ("launch failed requeued held", "held back: its computer could not start it; cancel it, and try again"),
    ("JobLaunchFailure", "held back: its computer could not start it; cancel it, and try again"),
    ("JobArrayTaskLimit", "waiting for other jobs that were started with it"),
    ("InvalidAccount", "it will never start: the account is not valid; cancel it, and set another"),
    ("InvalidQOS", "it will never start: the QOS is not valid; cancel it, and set another"),
    ("Licenses", "waiting for a licence"),
    ("Reservation", "waiting for a reservation"),
    ("Prolog", "waiting: its computer is being made ready"),
    ("Cleaning", "waiting: it is being cleaned up"),
    ("QOS", "waiting: the limits of the QOS are reached"),
    ("MaxJobs", "waiting: you have as many jobs as the cluster allows"),
    ("Assoc", "waiting: the limits of your account are reached"),
    ("Max", "waiting: the limits of your account are reached"),
)


def why_it_waits(reason: str) -> str:
    """SLURM's reason in a few plain words, with the reason itself, so that an administrator can be asked."""
    if reason in ("", "None", "(null)"):
        return "waiting on the cluster"
    words = next((words for beginning, words in _REASONS if reason.startswith(beginning)), "waiting on the cluster")
    return f"{words} (SLURM: {reason})"
