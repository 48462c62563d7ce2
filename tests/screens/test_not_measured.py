"""What nobody could measure is said as that, wherever the agreement stands otherwise."""

from dataclasses import replace
from pathlib import Path

import pytest

from zoowizard.cli.build import _print_outcome
from zoowizard.drafts.workspace import Workspace
from zoowizard.jobs.state import Job
from zoowizard.screens.situation import Situation
from zoowizard.screens.steps.test_words import parity_in_words
from zoowizard.screens.steps.upload_words import Contents, what_is_sent

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


AGREEMENT = {"images": 4, "apart": 2.31e-7, "outputs": {"probability": 2.31e-7, "edges": 0.0}}


def test_the_step_says_how_far_values_are_apart() -> None:
    near = parity_in_words(None, None, AGREEMENT)
    assert near.endswith("predicts what the model predicts: within 2.4e-07 of the outputs' spread, on 4 images.")
    same = parity_in_words(None, None, {**AGREEMENT, "apart": 0.0})
    assert same == "The package predicts what the model predicts: the very same values, on 4 images."


def test_the_command_says_how_far_values_are_apart(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = {"package": "/out/cells.zip", "parity": None, "not_measured": None, "agreement": AGREEMENT}
    _print_outcome(Job("20260101-000000-abcd", "build", "cells", "passed", Path("job"), outcome=outcome), "")
    said = capsys.readouterr().out.splitlines()
    assert said == ["package: /out/cells.zip", "agreement: within 2.4e-07 of the outputs' spread, on 4 images"]


@pytest.mark.parametrize(("apart", "said"), [(2.31e-7, "within 2.4e-07 of the spread"), (0.0, "predicts the same")])
def test_the_step_upload_says_it_in_a_few_words(apart: float, said: str) -> None:
    situation = Situation(Workspace(Path("none")), Path())
    outcome = {"parity": None, "agreement": {**AGREEMENT, "apart": apart}, "warnings": []}
    built = Job("20260101-000000-abcd", "build", "cells", "passed", Path("job"), outcome=outcome)
    assert said in what_is_sent(replace(situation, built=built), Contents(), 80).plain
