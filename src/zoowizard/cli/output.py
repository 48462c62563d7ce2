"""What all commands share: how they answer, and what they say when answers are missing."""

import argparse
import json
from typing import TYPE_CHECKING

from zoowizard.errors import ExitCode, ZoowizardError

if TYPE_CHECKING:
    from zoowizard.drafts.store import Workspace


class AnswersMissing(ZoowizardError):
    """Required answers are missing, or what is saved does not hold any more, and nobody is there to be asked."""

    exit_code = ExitCode.ANSWERS_MISSING

    def __init__(self, missing: dict[str, str]) -> None:
        """`missing`: field name → what would be right."""
        super().__init__(
            "these answers are missing or wrong (write them into the file that `zoowizard answers` makes, and give it "
            "with --answers):\n" + "\n".join(f"  {name}: {sentence}" for name, sentence in missing.items())
        )
        self.missing = list(missing)


class QuestionsEnded(ZoowizardError):
    """The person closed the input in the middle of the questions."""

    exit_code = ExitCode.ANSWERS_MISSING


def workspace_of(given: argparse.Namespace) -> "Workspace":
    """The workspace that was named, or the person's own; made if need be."""
    from zoowizard.drafts.workspace import open_workspace

    return open_workspace(given.workspace)


def print_json(answer: object) -> None:
    """The answer for a program, on standard output."""
    print(json.dumps(answer, ensure_ascii=True, indent=2, allow_nan=False))


def printable_lines(text: str) -> str:
    """Lines that cannot steer the terminal, whatever names are in them."""
    from zoowizard.terminal import printable

    return "\n".join(printable(line) for line in text.split("\n"))
