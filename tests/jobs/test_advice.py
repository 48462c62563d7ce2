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
        ("failed", "TypeError: no; the log has the details", "The log tells more"),
        ("failed", "it ended with exit code 3 and did not say why; the log may", "The log tells more"),
        ("unreadable", "job.json is not readable JSON", "new build"),
        ("out-of-memory", "it ran out of memory, so the system killed it", "more memory"),
        ("preempted", "more urgent work took its place", "Try again"),
        ("node-failed", "its computer failed", "not the model"),
        ("lost", "nobody knows it any more", "Try again"),
        ("died", "it was killed from outside (SIGKILL), but not for want of memory", "is kept"),
        ("died", "it was killed while it waited for its turn; start it again", "nothing is lost"),
        ("died", "it never started: the disk is full, or was; free some space and try again", "Free some space"),
        ("died", "this folder is a copy, made of a job before it had ended; start it again", "Try again"),
        ("timed-out", "SLURM ended it at the time limit of the cluster", "a partition that grants more time"),
        ("node-failed", "the computer of the cluster that it ran on failed", "not the model"),
        ("died", "it was never submitted to SLURM; try again", "nothing is lost"),
        ("died", "it could not start on the cluster: its computers must see the workspace", "cluster shares"),
        ("died", "it was killed on the cluster before it could say why, most often for its memory", "ask for more"),
        ("failed", "SLURM does not take it: Batch job submission failed: Invalid qos", "zoowizard settings"),
        ("failed", "SLURM does not answer (connect failure); it is asked again", "when the cluster answers"),
        ("failed", "SLURM's command sbatch is not found on this computer", "login node"),
        ("queued", "waiting for its turn: 1 job is before it", "comes by itself"),
        ("unknown", "SLURM does not answer", "asks again"),
    ],
)
def test_every_end_has_a_way_on(state: str, reason: str, told: str) -> None:
    sentence = what_to_do(job(state, reason))
    assert told in sentence
    assert sentence.endswith(".")


def test_a_sentence_that_says_what_to_do_is_enough() -> None:
    assert what_to_do(job("failed", "argument_depth: the checkpoint has 3 levels; try depth=3")) == ""


def test_where_the_reason_tells_what_to_do_nothing_is_added() -> None:
    assert what_to_do(job("failed", "halo: is 3, but the network needs 16; write 16, or leave it out")) == ""
    assert "log" in what_to_do(job("failed", "the package gives other values than the network"))


@pytest.mark.parametrize("state", ["passed", "running", "starting"])
def test_nothing_is_to_be_done_where_nothing_is_wrong(state: str) -> None:
    assert what_to_do(job(state)) == ""
