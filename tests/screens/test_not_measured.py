"""What nobody could measure is said as that, wherever the agreement stands otherwise."""

from pathlib import Path

import pytest

from zoowizard.cli.build import _print_outcome
from zoowizard.jobs.state import Job
from zoowizard.screens.steps.test_words import parity_in_words

REASON = "cellpose 3 cannot be had here"
OUTCOME = {
    "package": "/out/cells.zip",
    "parity": None,
    "not_measured": REASON,
    "differences": [{"what": "flows", "value": 2.3e-5, "allowed": None}],
}


def test_the_step_says_that_the_agreement_is_not_known() -> None:
    words = parity_in_words(None, REASON)
    assert words.startswith("The package passed its tests.")
    assert words.endswith(f"was not measured: {REASON}.")
    assert parity_in_words(None) == "The package passed its tests."


def test_the_command_says_it_and_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    _print_outcome(Job("20260101-000000-abcd", "build", "cells", "passed", Path("job"), outcome=OUTCOME), "")
    assert capsys.readouterr().out.splitlines() == [
        "package: /out/cells.zip",
        f"parity: not measured: {REASON}",
        "difference: flows: 2.3e-05",
    ]
