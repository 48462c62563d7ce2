"""Networks with several inputs: an image each, all on the grid of the test image, with channels of their own."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts import questions as common
from zoowizard.drafts.checks import check_among
from zoowizard.drafts.fields import Check, Field, Need
from zoowizard.drafts.questions import parse_choice
from zoowizard.drafts.stacks import AXES, StackFacts, check_stack, stack_facts
from zoowizard.errors import ZoowizardError
from zoowizard.families.network_answers import LONGEST_NAME
from zoowizard.families.normalisations import NORMALISATIONS

MOST_INPUTS: Final = 8
"""Of one network; files may hold any number."""
FURTHER: Final = "further_inputs"
"""The value that holds what the inputs behind the first are called, in their order."""
IMAGE_OF: Final = "image_of_"
NORMALISATION_OF: Final = "normalisation_of_"
USES: Final = (FURTHER, f"{IMAGE_OF}*", f"{NORMALISATION_OF}*")
FIRST: Final = "image"
"""What packages call the first input."""
_PATH: Final = next(one for one in common.FIELDS if one.name == "test_image")


@dataclass(frozen=True)
class Part:
    """The image of one input: its file, the letters of the file's axes, its channels, and its dtype as recorded."""

    name: str
    path: Path
    axes: str
    channels: int
    dtype: str


def names_for(given: Sequence[str]) -> list[str]:
    """What the inputs behind the first are called in packages and answers, up to the last that a network may have;
    `given` are their own names."""
    kept = given[: MOST_INPUTS - 1]
    return tidy_names(kept, [f"input_{number}" for number in range(2, len(kept) + 2)], [FIRST])


def tidy_names(given: Sequence[str], instead: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names as ids of tensors: in small letters, digits and _; `instead` where one is none, or is `taken`."""
    found: list[str] = []
    for one, other in zip(given, instead, strict=True):
        tidy = re.sub(r"[^a-z0-9]+", "_", one.lower()).strip("_")[:LONGEST_NAME]
        fits = tidy.isidentifier() and not iskeyword(tidy) and tidy not in (*taken, *found, *instead)
        found.append(tidy if fits else other)
    return found


def questions(values: Mapping[str, Any]) -> Iterator[Field]:
    """An image and its normalisation for each further input."""
    names = values.get(FURTHER) or ()
    for number, name in enumerate(names, start=2):
        which = f"input {number} of the network ({name})"
        yield Field(
            IMAGE_OF + name,
            f"Image for {name}",
            f"The image file that goes into {which}: of the same size along y and x (and z) as the test image, and of "
            "the same place; a part of it is published, too.",
            f"images/{name}.tif",
            Need.REQUIRED,
            _PATH.group,
            "path",
            _check_image(values, name),
            "inputs: test and sample tensor",
            parse=_PATH.parse,
        )
        yield Field(
            NORMALISATION_OF + name,
            f"Normalisation of {name}",
            f"What was done in training to the values of {which}, to all of its channels together. "
            + "; ".join(f"{id}: {one.told}" for id, one in NORMALISATIONS.items())
            + ".",
            "none",
            Need.REQUIRED,
            "Network",
            "choice",
            check_among(tuple(NORMALISATIONS)),
            "inputs: preprocessing",
            parse=parse_choice(tuple(NORMALISATIONS)),
            choices=tuple(NORMALISATIONS),
        )


def parts(values: Mapping[str, Any]) -> list[Part]:
    """The test image and those of further inputs, in the order of the inputs; only their headers are read.

    Raises ZoowizardError, naming the field, where one is missing, cannot be read, or lies on another grid.
    """
    path, axes = Path(values["test_image"]).expanduser(), str(values["image_axes"])
    facts = stack_facts(path)
    if len(facts.shape) != len(axes):
        raise ZoowizardError(f"image_axes: {path.name} has {len(facts.shape)} axes, not those of {axes}")
    found = [_part(FIRST, path, facts, axes)]
    for name in values.get(FURTHER) or ():
        if not values.get(IMAGE_OF + name):
            raise ZoowizardError(f"{IMAGE_OF}{name}: the network has the input {name} as well; give an image for it")
        found.append(_on_grid(name, Path(values[IMAGE_OF + name]).expanduser(), facts, axes))
    return found


def _check_image(values: Mapping[str, Any], name: str) -> Check:
    def check(answer: Any) -> str | None:
        if problem := check_stack(answer):
            return problem
        try:
            parts({**values, FURTHER: [name], IMAGE_OF + name: answer})
        except (ZoowizardError, KeyError) as problem:  # the test image is not known yet, or wrong itself
            told = str(problem)
            return told.removeprefix(f"{IMAGE_OF}{name}: ") if told.startswith(IMAGE_OF) else None
        return None

    return check


def _part(name: str, path: Path, facts: StackFacts, axes: str) -> Part:
    return Part(name, path, axes, facts.shape[axes.index("c")] if "c" in axes else 1, facts.dtype)


def _on_grid(name: str, path: Path, first: StackFacts, first_axes: str) -> Part:
    """The image of a further input; which of its axes is which is told by the sides of the test image."""
    try:
        facts = stack_facts(path)
    except ZoowizardError as problem:
        raise ZoowizardError(f"{IMAGE_OF}{name}: {problem}") from problem
    sides = _sides(first.shape, first_axes)
    fitting = [one for one in AXES if len(one) == len(facts.shape) and _sides(facts.shape, one) == sides]
    for likely in (facts.axes, first_axes, *fitting[:1]):
        if likely in fitting and (len(fitting) == 1 or likely in (facts.axes, first_axes)):
            return _part(name, path, facts, likely)
    size, wanted = (" x ".join(map(str, one)) for one in (facts.shape, sides.values()))
    raise ZoowizardError(
        f"{IMAGE_OF}{name}: {path.name} is {size}, "
        + ("of which the channels cannot be told; save it with the axes of the test image" if fitting else
           f"and the test image is {wanted} px ({', '.join(sides)}); give one of the same size")
    )  # fmt: skip


def _sides(shape: Sequence[int], axes: str) -> dict[str, int]:
    return {axis: size for axis, size in zip(axes, shape, strict=True) if axis != "c"}
