"""The five steps as data: what they are called, when they are done, what must be there before they are entered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from zoowizard.screens.situation import Situation
from zoowizard.screens.steps.check import CheckStep
from zoowizard.screens.steps.describe import DescribeStep
from zoowizard.screens.steps.model import ModelStep
from zoowizard.screens.steps.step import Step
from zoowizard.screens.steps.test import TestStep
from zoowizard.screens.steps.test_words import lacking
from zoowizard.screens.steps.upload import UploadStep


@dataclass(frozen=True)
class StepPlan:
    """One step. `done` says whether nothing is left to do in it, from the situation alone."""

    name: str
    title: str
    make: Callable[[], Step]
    done: Callable[[Situation], bool]


def _has_model(situation: Situation) -> bool:
    return situation.draft is not None and situation.draft.checkpoint is not None


def _is_checked(situation: Situation) -> bool:
    return not {"checkpoint", "test_image"} & lacking(situation).keys()


def _is_described(situation: Situation) -> bool:
    return not lacking(situation).keys() - {"test_image"}


def _is_built(situation: Situation) -> bool:
    return situation.built is not None and situation.built == situation.job and not situation.outdated


STEPS: Final = (
    StepPlan("model", "Model", ModelStep, _has_model),
    StepPlan("check", "Check", CheckStep, _is_checked),
    StepPlan("describe", "Describe", DescribeStep, _is_described),
    StepPlan("test", "Test", TestStep, _is_built),
    StepPlan("upload", "Upload", UploadStep, lambda now: bool(now.receipts)),
)
"""The steps in their order."""


def may_enter(step: StepPlan, situation: Situation) -> str:
    """Empty where the step can be entered, or the sentence that says what comes before it."""
    if step.name != "model" and not _has_model(situation):
        return "choose a model first"
    return ""
