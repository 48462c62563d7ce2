"""What to do about a job that did not pass, in one or two plain sentences."""

from typing import Final

from zoowizard.jobs.state import Job

_BY_STATE: Final = {
    "timed-out": "Try again: it gets twice the time. On a computer that is busy or slow, give more with --time-limit.",
    "out-of-memory": "Close other programs, or use a computer with more memory (on a cluster, ask for more), then try "
    "again: what was done before is kept.",
    "preempted": "More urgent work of the cluster took its place. Try again: what was done before is kept.",
    "node-failed": "The computer that it ran on failed, not the model. Try again: what was done before is kept.",
    "lost": "Nobody knows what became of it, and it does not run any more. Try again: what was done before is kept.",
    "cancelled": "Nothing is lost. Try again: what was done already is kept.",
    "unreadable": "Its folder is damaged or not yours alone. Start a new build; your answers are kept.",
}
_UNDERWAY: Final = {
    "queued": "Its turn comes by itself, also when you leave. Cancel it if you do not want it any more.",
    "unknown": "It may well go on: zoowizard asks again. If the cluster stays silent, ask those who run it.",
}
_SAYS_WHAT_WOULD_BE_RIGHT: Final = "; "
"""What is wrong stands before it in a sentence for people, and what to do about it after."""
_CLUSTERS_LIMIT: Final = "time limit of the cluster"
_BY_REASON: Final = (
    (("disk is full",), "Free some space on that disk, then try again: what was done already is kept."),
    (
        ("could not save the package",),
        "See that the folder is there and can be written, then try again: only saving is done again.",
    ),
    (("tests failed",), "The report says which test, and why. Open it, mend the answer or the model, and build again."),
    (
        ("does not predict what",),
        "The conversion is not faithful to this model. Open the log, and report it with the checkpoint's kind.",
    ),
    (("test_image:",), "Choose another test image in the step Check, then try again."),
    (("restarted while",), "Try again: what was done before the restart is kept."),
    (("not for want of memory",), "Try again: what was done before is kept."),
    (("memory",), _BY_STATE["out-of-memory"]),
    (("is a copy",), "Try again: what holds of it is taken over."),
    (("never started", "never submitted", "while it waited"), "Try again: nothing is lost."),
    (
        ("SLURM does not take it",),
        "The cluster does not grant what was asked for: change it with `zoowizard settings`, then try again.",
    ),
    (("SLURM does not answer", "SLURM did not answer"), "Try again when the cluster answers: nothing is lost."),
    (("could not start on the cluster",), "Put both on a disk that the whole cluster shares, then try again."),
    (("is not found on this computer",), "Start it from a login node of the cluster, or set the engine to local."),
    (
        (_CLUSTERS_LIMIT,),
        "Choose a partition that grants more time (`sinfo` lists them), then try again: what was done before is kept.",
    ),
    (("time limit",), _BY_STATE["timed-out"]),
)


def what_to_do(job: Job) -> str:
    """What a person can do now about a job that waits or did not pass; empty for one that runs or passed.

    It is empty too where the reason says itself what would be right.
    """
    if not job.over or job.state == "passed":
        return _UNDERWAY.get(job.state, "")
    if job.state in _BY_STATE and _CLUSTERS_LIMIT not in job.reason:
        return _BY_STATE[job.state]
    for signs, sentence in _BY_REASON:
        if any(sign in job.reason for sign in signs):
            return sentence
    if job.state == "died":
        return "Most often the memory ran out, or the computer was restarted. Try again, with other programs closed."
    if _SAYS_WHAT_WOULD_BE_RIGHT in job.reason and "the log" not in job.reason:
        return ""
    return "The log tells more: look at its end, mend what it names, then try again."
