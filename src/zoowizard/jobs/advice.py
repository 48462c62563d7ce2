"""What to do about a job that did not pass, in one or two plain sentences."""

from typing import Final

from zoowizard.jobs.state import Job

_BY_STATE: Final = {
    "timed-out": "Try again: it gets twice the time. On a computer that is busy or slow, give more with --time-limit.",
    "cancelled": "Nothing is lost. Try again: what was done already is kept.",
    "unreadable": "Its folder is damaged or not yours alone. Start a new build; your answers are kept.",
}
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
    (("memory",), "Close other programs, or use a computer with more memory, then try again."),
    (("restarted",), "Try again: what was done before the restart is kept."),
    (("time limit",), _BY_STATE["timed-out"]),
)


def what_to_do(job: Job) -> str:
    """What a person can do now about a job that ended without passing; empty for one that runs or passed."""
    if not job.over or job.state == "passed":
        return ""
    if job.state in _BY_STATE:
        return _BY_STATE[job.state]
    for signs, sentence in _BY_REASON:
        if any(sign in job.reason for sign in signs):
            return sentence
    if job.state == "died":
        return "Most often the memory ran out, or the computer was restarted. Try again, with other programs closed."
    return "The log tells more: look at its end, mend what it names, then try again."
