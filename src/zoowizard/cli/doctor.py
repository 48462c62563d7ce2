"""The command `doctor`."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from zoowizard.cli.output import print_json
from zoowizard.errors import ExitCode

if TYPE_CHECKING:
    from zoowizard.doctor.finding import Finding

SIGNS = {"ok": "+", "warning": "!", "problem": "x"}


def doctor(given: argparse.Namespace) -> int:
    """Look whether this computer is fit for the work, and say how to mend what is not."""
    from zoowizard.doctor.examine import examine
    from zoowizard.doctor.session import terminal
    from zoowizard.drafts.workspace import place_of_workspace
    from zoowizard.terminal import printable

    findings: list[Finding] = []

    def tell(finding: "Finding") -> None:
        findings.append(finding)
        if not given.json:
            print(printable(f"{SIGNS[finding.state]} {finding.name:<13} {finding.text}"), flush=True)
            if finding.mend:
                print(printable(f"{'':<16}{finding.mend}"), flush=True)

    for finding in terminal():
        tell(finding)
    for finding in examine(place_of_workspace(given.workspace)):
        tell(finding)
    worst = next((state for state in ("problem", "warning") if any(one.state == state for one in findings)), "ok")
    if given.json:
        print_json({"status": worst, "checks": [asdict(one) for one in findings]})
    return ExitCode.FAILED if worst == "problem" else ExitCode.DONE
