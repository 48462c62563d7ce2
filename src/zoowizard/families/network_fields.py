"""The questions about any network, whatever the file it comes in: its test image, what is done to it, what comes out.

`NETWORK_FIELDS` are asked always; `asks` gives those that answers lead to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts import questions
from zoowizard.drafts.checks import check_among, check_number, parse_list, parse_number
from zoowizard.drafts.completeness import is_answered
from zoowizard.drafts.fields import Check, Field, Need
from zoowizard.drafts.pixels import check_voxel_size
from zoowizard.drafts.questions import parse_choice
from zoowizard.drafts.stacks import AXES, StackFacts, check_expected, check_stack, possible_axes, stack_facts
from zoowizard.errors import ZoowizardError
from zoowizard.families import further_inputs
from zoowizard.families.network_answers import (
    check_channels,
    check_output_names,
    check_sizes,
    check_spread,
    numbers_in,
    parsed_by,
)
from zoowizard.families.normalisations import FIND, NORMALISATIONS

_COMMON: Final[Mapping[str, Field]] = {field.name: field for field in questions.FIELDS}
IMAGE: Final = "Test image"
NETWORK: Final = "Network"
UNSEEN: Final = tuple(NORMALISATIONS)
"""What can be chosen where no expected output is there."""
CHOICES: Final = (FIND, *UNSEEN)
OVER: Final = ("all channels", "each channel")
ACTIVATIONS: Final = ("none", "sigmoid", "softmax")


def _check_find(has_expected: bool) -> Check:
    known = check_among(CHOICES)

    def check(answer: Any) -> str | None:
        if answer == FIND and not has_expected:
            return "can only be found by an expected output: give its file (expected_output), or choose another"
        return known(answer)

    return check


NORMALISATION: Final = Field(
    "normalisation",
    "Normalisation",
    "What was done to the values of the images before the network saw them in training. find: try all, and take the "
    "one that comes nearest to the expected output. "
    + "; ".join(f"{name}: {one.told}" for name, one in NORMALISATIONS.items())
    + ".",
    "percentile-1-99.8",
    Need.REQUIRED,
    NETWORK,
    "choice",
    _check_find(False),
    "inputs: preprocessing",
    parse=parse_choice(UNSEEN),
    choices=UNSEEN,
)
_MEAN: Final = Field(
    "normalisation_mean",
    "Mean of the training",
    "Only where the training took a fixed mean from every image and divided by a fixed spread: the mean of each "
    "channel (or one for all), in the values of the image file. It takes the place of the normalisation.",
    "0.485, 0.456, 0.406",
    Need.OPTIONAL,
    NETWORK,
    "texts",
    parsed_by(numbers_in),
    "inputs: preprocessing",
    parse=parse_list,
)
_SPREAD: Final = replace(
    _MEAN,
    name="normalisation_std",
    label="Spread of the training",
    help="The spread (standard deviation) that belongs to the fixed mean: of each channel, or one for all.",
    example="0.229, 0.224, 0.225",
    check=check_spread,
)
_OVER: Final = Field(
    "normalisation_over",
    "Normalised over",
    "Whether percentiles, mean and spread are those of all channels together or of each channel by itself.",
    "all channels",
    Need.OPTIONAL,
    NETWORK,
    "choice",
    check_among(OVER),
    "inputs: preprocessing",
    parse=parse_choice(OVER),
    choices=OVER,
    default="all channels",
)
_AXES: Final = Field(
    "image_axes",
    "Axes of the image",
    "Which axis of the image file is which, in their order: y and x are rows and columns, z the depth, c the channels.",
    "zyx",
    Need.REQUIRED,
    IMAGE,
    "choice",
    check_among(AXES),
    "inputs: test and sample tensor",
    parse=parse_choice(AXES),
    choices=AXES,
)

VOXEL_SIZE: Final = replace(
    _COMMON["pixel_size"],
    help="How much of the sample one pixel of the training images covers, with its unit; height x width where they "
    "differ, depth x height x width of a volume.",
    check=check_voxel_size,
    goes_to="inputs, outputs: scale and unit of the axes z, y and x",
)


def _sizes(name: str, label: str, words: str, example: str, least: int) -> Field:
    return Field(
        name,
        label,
        f"{words} It is measured; answer only to overrule that: one number for every axis, or one each.",
        example,
        Need.OPTIONAL,
        NETWORK,
        "text",
        check_sizes(least),
        "inputs and outputs: size of the axes",
        parse=str.strip,
    )


NETWORK_FIELDS: Final = (
    replace(
        _COMMON["test_image"],
        help="An image file like those of the training, 2-D or 3-D: TIFF, PNG, JPEG or .npy. Any number of channels; "
        "uint8, uint16, int16 or float32; at least 32 pixels along y and x, 8 along z. A part of it is published with "
        "the model, so it must be yours to give.",
        example="images/stack.tif",
        check=check_stack,
    ),
    Field(
        "expected_output",
        "Expected output",
        "What the model should give for the whole test image, where you have it: numbers as TIFF or .npy, channels "
        "first, or a label image. With it the right normalisation can be found, not guessed.",
        "images/stack_prediction.tif",
        Need.OPTIONAL,
        NETWORK,
        "path",
        check_expected,
        "inputs: preprocessing (found with it); it is not published",
        parse=_COMMON["test_image"].parse,
        leads=True,
    ),
    NORMALISATION,
    _MEAN,
    _SPREAD,
    Field(
        "activation",
        "After the network",
        "What has to be done to the network's output so that it means something: sigmoid or softmax make "
        "probabilities of logits. It becomes a part of the package. none where the network does it itself.",
        "sigmoid",
        Need.OPTIONAL,
        NETWORK,
        "choice",
        check_among(ACTIVATIONS),
        "weights, outputs",
        parse=parse_choice(ACTIVATIONS),
        choices=ACTIVATIONS,
        default="none",
    ),
    Field(
        "output_names",
        "Names of the outputs",
        "What the outputs are called, one name each: small letters, digits and _. Left out: output, or output_1 and "
        "so on.",
        "probability",
        Need.OPTIONAL,
        NETWORK,
        "texts",
        check_output_names,
        "outputs: id",
        parse=parse_list,
    ),
    Field(
        "output_channels",
        "Output channels",
        "What the channels of the first output are, one name each.",
        "background, membrane",
        Need.OPTIONAL,
        NETWORK,
        "texts",
        check_channels,
        "outputs: channel names",
        parse=parse_list,
    ),
    Field(
        "spatial_axes",
        "Dimensions",
        "Whether the network takes planes (2) or volumes (3). It is measured; answer only to overrule that.",
        "3",
        Need.OPTIONAL,
        NETWORK,
        "choice",
        check_among(("2", "3")),
        "inputs: axes",
        parse=parse_choice(("2", "3")),
        choices=("2", "3"),
    ),
    Field(
        "input_channels_asked",
        "Input channels",
        "How many channels the network takes. It is measured; answer only to overrule that.",
        "1",
        Need.OPTIONAL,
        NETWORK,
        "number",
        check_number(1, 512, whole=True),
        "inputs: channel axis",
        parse=parse_number,
    ),
    _sizes(
        "halo",
        "Halo",
        "How many pixels at each side of a block the network needs around it, so that blocks fit together.",
        "y=32 x=32",
        0,
    ),
    _sizes("smallest_input", "Smallest input", "How many pixels the input has at least.", "z=16 y=64 x=64", 1),
    _sizes("input_step", "Step of the input", "By how many pixels the input may grow.", "16", 1),
    VOXEL_SIZE,
)
"""The questions about every network, beside those that all models are asked."""


def asks(values: Mapping[str, Any]) -> Sequence[Field]:
    """The questions that the answers about a network lead to, of its image and its normalisation."""
    facts = _facts_of(values.get("test_image"))
    found: list[Field] = [] if facts is None else [_axes_question(facts, values)]
    expected = is_answered(values.get("expected_output"))
    fixed = [is_answered(values.get(name)) for name in ("normalisation_mean", "normalisation_std")]
    if expected or any(fixed):
        need = Need.OPTIONAL if any(fixed) else Need.REQUIRED
        default = FIND if expected and not any(fixed) else None
        choices = CHOICES if expected else UNSEEN
        check, parse = _check_find(expected), parse_choice(choices)
        found.append(replace(NORMALISATION, need=need, default=default, check=check, parse=parse, choices=choices))
    if fixed == [True, False]:
        found.append(replace(_SPREAD, need=Need.REQUIRED))
    elif fixed == [False, True]:
        found.append(replace(_MEAN, need=Need.REQUIRED))
    elif all(fixed):
        found.append(replace(_SPREAD, check=_check_as_many(values["normalisation_mean"])))
    if facts is not None and "c" in (values.get("image_axes") or facts.axes or ""):
        found.append(_OVER)
    return [*found, *further_inputs.questions(values)]


def network_axes(values: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The network's dimensions (2 or 3) and input channels, as answered, or else as its weights let guess."""
    told = values.get("spatial_axes") or values.get("spatial_axes_found")
    channels = values.get("input_channels_asked") or values.get("input_channels")
    spatial = {"2": 2, "3": 3}.get(str(told))
    return spatial, int(channels) if isinstance(channels, int | float) else None


def _facts_of(answer: Any) -> StackFacts | None:
    if not isinstance(answer, str) or not answer.strip():
        return None
    try:
        facts = stack_facts(Path(answer).expanduser())
    except ZoowizardError:
        return None
    return facts if len(facts.shape) in (2, 3, 4) else None


def _axes_question(facts: StackFacts, values: Mapping[str, Any]) -> Field:
    spatial, channels = network_axes(values)
    choices, default = possible_axes(facts, spatial, channels)
    size = " x ".join(str(side) for side in facts.shape)
    told = f" The file has {size}{'' if facts.axes is None else f' and says that these are {facts.axes}'}."

    def hint(answer: Any) -> str | None:
        if not isinstance(answer, str) or len(answer) != len(facts.shape):
            return None
        count = facts.shape[answer.index("c")] if "c" in answer else 1
        if spatial is not None and ("z" in answer) != (spatial == 3):
            return f"the network's weights look like those of a {spatial}-D one; is the image one for it?"
        if channels is not None and count != channels:
            return f"the network's weights look like {channels} input channel(s), but the image would have {count}"
        return None

    return replace(
        _AXES,
        help=_AXES.help + told,
        choices=choices,
        check=check_among(choices),
        parse=parse_choice(choices),
        example=choices[0],
        default=default,
        hint=hint,
    )


def _check_as_many(mean: Any) -> Check:
    def check(answer: Any) -> str | None:
        problem = check_spread(answer)
        try:
            means = len(numbers_in(mean))
        except ValueError:
            return problem
        if problem is None and len(numbers_in(answer)) != means:
            return f"has {len(answer)} number(s), the mean has {means}; write as many"
        return problem

    return check
