"""Whose turn it is: how many jobs work at once on this computer, and in which order they get a place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Where a job may work.

    `device` is it in words (`CPU`, or the name of a GPU); `environment` is what the worker's environment needs for it.
    The place is ours as long as one of `descriptors` is open, here or in a process that inherited it. `note` tells
    what a person should know, such as a driver that is too old for the GPU to be used; `cpu` is the same place without
    a GPU, None where there is none.
    """

    device: str
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    note: str = ""
    cpu: "Place | None" = None


class Turn:
    """A job's place in the line for this computer's places. Close it when the job has ended."""

    def __init__(self, folder: Path) -> None:
        """Join the line with the job in `folder`."""
        self.reason = ""
        """Why it waits, in a few plain words."""

    def take(self) -> Place | None:
        """The place, where it is our turn and one is free; None where we wait."""
        return Place("CPU")

    def close(self) -> None:
        """Leave the line."""
