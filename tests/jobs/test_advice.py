"""What a person is told to do about a job that did not pass."""

from pathlib import Path

import pytest

from zoowizard.jobs.advice import what_to_do
from zoowizard.jobs.state import Job


def job(state: str, reason: str = "") -> Job:
    return Job("20261121-000000-abcd", "build", "nuclei", state, Path(), reason)


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        ("timed-out", "it was stopped at its time limit of 4 minutes", "twice the time"),
        ("cancelled", "it was cancelled", "Try again"),
        ("died", "it was killed (SIGKILL), most often because the memory ran out", "more memory"),
        ("died", "the computer was restarted while it ran; start it again", "before the restart"),
        ("died", "it crashed: segmentation fault (SIGSEGV); see the log", "Try again"),
        ("failed", "the disk is full: could not save x; free some space and try again", "Free some space"),
        ("failed", "could not save the package to /x: read-only file system; it passed", "only saving is done again"),
        ("failed", "the package's tests failed (/x/report.md has the details): onnx", "The report says"),
        ("failed", "test_image: the model finds nothing in it", "another test image"),
        ("failed", "TypeError: no; the log has the details", "log"),
        ("unreadable", "job.json is not readable JSON", "new build"),
    ],
)
def test_every_end_has_a_way_on(state: str, reason: str, told: str) -> None:
    sentence = what_to_do(job(state, reason))
    assert told in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize("state", ["passed", "running", "starting"])
def test_nothing_is_to_be_done_where_nothing_is_wrong(state: str) -> None:
    assert what_to_do(job(state)) == ""
