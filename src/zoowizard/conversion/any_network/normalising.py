"""Which normalisation stands before the network: what was answered, or what agrees best with an expected output."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from zoowizard.conversion.any_network.findings import PATIENT
from zoowizard.conversion.any_network.original import Around, Input, Original, activated
from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing import ranking
from zoowizard.conversion.probing.findings import Findings
from zoowizard.conversion.probing.normalisation import Normalisation, fixed, named, suits
from zoowizard.drafts.stacks import read_expected
from zoowizard.errors import ZoowizardError
from zoowizard.families.further_inputs import NORMALISATION_OF, Part, parts
from zoowizard.families.network_answers import numbers_in
from zoowizard.families.network_fields import ACTIVATIONS
from zoowizard.families.normalisations import FIND

FARTHEST: Final = 0.5
"""From the expected output, as `ranking.Agreement` has it: what is farther away does not agree."""
Steps = Sequence[Mapping[str, Any]]
Normalise = Callable[[Array, Steps], Array]


def inputs_of(
    original: Original, findings: Findings, values: Mapping[str, Any], image: Array
) -> tuple[list[Input], Normalisation, list[str]]:
    """The inputs with their normalisations, that of the first, and the sentence that says how this was found.

    `image` (channel, (z,) y, x) is the whole test image, and behind its channels those of further inputs. Raises
    ZoowizardError where answers do not go together, and where nothing that is tried agrees with the expected output.
    """
    first, *others = parts(values)
    further = [_further(part, values, image.ndim - 1) for part in others]
    chosen, how = _of_first(original, findings, values, image, first, further)
    return [_input(first, chosen), *further], chosen, how


def tried(values: Mapping[str, Any], axes: int) -> tuple[int, Normalise]:
    """The channels of the first input, and what does the steps of a candidate to it in an image of all inputs."""
    first, *others = parts(values)
    return first.channels, _stacked(first, [_further(part, values, axes) for part in others])


def _stacked(first: Part, further: Sequence[Input]) -> Normalise:
    def normalise(image: Array, steps: Steps) -> Array:
        return Around([Input(first.name, first.channels, first.dtype, steps, ""), *further], [], "").normalised(image)

    return normalise


def _further(part: Part, values: Mapping[str, Any], axes: int) -> Input:
    """A further input; as it is recorded where nothing is answered yet."""
    name = f"{NORMALISATION_OF}{part.name}"
    chosen = str(values.get(name) or "none")
    if not suits(chosen, part.channels):
        raise ZoowizardError(f"{name}: {chosen} is for images of 3 channels; {part.path.name} has {part.channels}")
    return _input(part, named(chosen, axes, part.channels, False))


def _input(part: Part, chosen: Normalisation) -> Input:
    return Input(part.name, part.channels, part.dtype, chosen.steps, chosen.name)


def _of_first(
    original: Original,
    findings: Findings,
    values: Mapping[str, Any],
    image: Array,
    first: Part,
    further: Sequence[Input],
) -> tuple[Normalisation, list[str]]:
    channels = first.channels
    means, stds = (numbers_in(values.get(name) or ()) for name in ("normalisation_mean", "normalisation_std"))
    if means or stds:
        return fixed(*_for_channels(means, stds, channels)), []
    chosen = str(values.get("normalisation") or "")
    if chosen == FIND:
        return _found(original, findings, values, image, channels, _stacked(first, further))
    if not suits(chosen, channels):
        raise ZoowizardError(f"normalisation: {chosen} is for images of 3 channels; the test image has {channels}")
    each = values.get("normalisation_over") == "each channel"
    return named(chosen, image.ndim - 1, channels, each), []


def _found(
    original: Original,
    findings: Findings,
    values: Mapping[str, Any],
    image: Array,
    channels: int,
    normalise: Normalise,
) -> tuple[Normalisation, list[str]]:
    if not values.get("expected_output"):
        raise ZoowizardError("normalisation: it can only be found where `expected_output` is given; name it otherwise")
    expected = read_expected(Path(values["expected_output"]).expanduser())
    if not np.isfinite(expected).all():
        raise ZoowizardError(
            "expected_output: it holds values that are no numbers (NaN or infinity), which nothing can be compared with"
        )
    if expected.size == 0 or (expected == expected.flat[0]).all():
        raise ZoowizardError(
            "expected_output: it has the same value everywhere, by which nothing can be told; give that of a test "
            "image with something in it"
        )
    activation = str(values.get("activation") or "none")

    def ranked_after(activation: str) -> ranking.Ranked:
        after = partial(activated, activation=activation)
        return ranking.find(
            original.load,
            findings,
            image,
            expected,
            limits=PATIENT,
            after=after,
            normalise=normalise,
            channels=channels,
        )

    ranked = ranked_after(activation)
    best = ranked.agreements[0]
    if best.difference is None:
        has = " x ".join(map(str, expected.shape))
        gives = " x ".join(map(str, best.outputs[0].shape[1:]))
        raise ZoowizardError(
            f"expected_output: it has {has} values, which do not fit to the test image and what the network gives "
            f"({gives} for the middle of it); give what the model should give for the whole test image, channels first"
        )
    if best.difference > FARTHEST:
        for other in ACTIVATIONS[1:] if activation == "none" else ():
            with_it = ranked_after(other)
            apart = with_it.agreements[0].difference
            if apart is not None and apart <= FARTHEST:
                raise ZoowizardError(
                    f"activation: the expected output is what comes after a {other}: with it, {with_it.sentence()}; "
                    f"choose {other}"
                )
        raise ZoowizardError(
            f"normalisation: nothing that was tried comes near the expected output; {ranked.sentence()}. Name the "
            "normalisation of the training, or check `expected_output` and `activation`"
        )
    doubt = "" if ranked.finding().certain else " That leaves some doubt: check that it is the one of the training."
    return best.normalisation, [
        f"The normalisation was found by trying {len(ranked.agreements)}: {ranked.sentence()}.{doubt}"
    ]


def _for_channels(means: list[float], stds: list[float], channels: int) -> tuple[list[float], list[float]]:
    for name, numbers in (("normalisation_mean", means), ("normalisation_std", stds)):
        if len(numbers) not in (1, channels):
            raise ZoowizardError(f"{name}: it has {len(numbers)} numbers, and the test image has {channels} channels")
        if name == "normalisation_std" and not all(one > 0 for one in numbers):
            raise ZoowizardError(f"{name}: a spread must be above 0")
    each_mean, each_std = (numbers * (channels if len(numbers) == 1 else 1) for numbers in (means, stds))
    return each_mean, each_std
