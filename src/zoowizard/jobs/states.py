"""The states of a job, in one word each. Light: the screens load it before their first paint."""

from typing import Final, Literal

Underway = Literal["starting", "queued", "running", "unknown"]
"""`queued` waits for its turn; `unknown` is on a cluster that does not answer now."""
UNDERWAY: Final[tuple[str, ...]] = ("starting", "queued", "running", "unknown")
"""The states of a job that has not ended, as far as anybody knows."""

Ending = Literal[
    "passed", "failed", "cancelled", "timed-out", "out-of-memory", "preempted", "node-failed", "died", "lost"
]
"""How a job can end. `died` was killed or crashed; `lost` is one of which nobody knows anything any more."""
