"""Is the package the model? Its prediction, by the zoo's own library, beside that of the model's own framework."""

import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zoowizard.conversion.converted import Array, Converted, Difference, NotMeasured, Weights
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Step
from zoowizard.packaging import clean
from zoowizard.packaging.describe import DEFAULT_TOLERANCES, MOST_MISMATCHED_PER_MILLION
from zoowizard.packaging.matching import Parity, parity
from zoowizard.packaging.pictures import comparison_pictures
from zoowizard.packaging.report import Drift

Outputs = Mapping[str, Array]
"""The output tensors of one prediction by id."""


@dataclass(frozen=True)
class Comparison:
    """What was measured: the worst parity of the formats that are kept, and how far each is from the test output.

    `parity` is None where the framework could not be asked, and `not_measured` the reason. `differences` are what the
    conversion measured besides, each the worst of all images. `left_out` are sentences about formats that do not
    reproduce; `sizes` (y, x) are those of the images.
    """

    parity: Parity | None
    drift: Mapping[str, Drift]
    kept: tuple[Weights, ...]
    left_out: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]
    differences: tuple[Difference, ...] = ()
    not_measured: str = ""


@dataclass(frozen=True)
class Underway:
    """What bioimageio.core predicts in clean processes: by weight format, how to ask for it, and its files.

    Asking starts the process, and gives the same one when it is done again. Where they are not to work `beside` each
    other and the framework, none has begun. The files are of the pictures in their order; the one numbered `tested` is
    of the test tensor, and comes after them where no picture is the same.
    """

    pictures: Mapping[str, Array]
    predictions: Mapping[str, tuple[Callable[[], "Future[None]"], list[Path]]]
    beside: bool
    tested: int


@dataclass(frozen=True)
class _Native:
    """The framework's label images, and the worst of each difference that it told of."""

    labels: list[Array]
    differences: tuple[Difference, ...]


def start(converted: Converted, image: Array, description: Path, scratch: Path) -> Underway:
    """Let bioimageio.core run every weight format on several views of `image`; returns at once."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    pictures = (converted.native.pictures or comparison_pictures)(image)
    tensors = [converted.native.to_input(picture) for picture in pictures.values()]
    test_tensor = converted.inputs[0].test_tensor
    tested = next((number for number, one in enumerate(tensors) if np.array_equal(one, test_tensor)), len(tensors))
    if tested == len(tensors):
        tensors.append(test_tensor)
    inputs = []
    for number, tensor in enumerate(tensors):
        inputs.append(scratch / f"input-{number}.npy")
        np.save(inputs[-1], tensor)
    beside = clean.fit_beside(sum(one.path.stat().st_size for one in converted.weights))
    predictions = {}
    for weights in converted.weights:
        name = weights.weight_format
        outputs = [scratch / f"{name}-{number}.npz" for number in range(len(inputs))]
        ask = functools.cache(
            functools.partial(clean.in_clean_process, clean.predict, description, name, inputs, outputs)
        )
        predictions[name] = (ask, outputs)
        if beside:
            ask()
    return Underway(pictures, predictions, beside, tested)


def finish(converted: Converted, underway: Underway, step: Step) -> Comparison:
    """Predict the same images with the framework, compare, and let go of the framework.

    A format that was made from another one and does not reproduce it is left out. Raises ZoowizardError where the
    package does not predict what the framework does.
    """
    try:
        for number, (name, (ask, _)) in enumerate(underway.predictions.items() if not underway.beside else ()):
            step.progress(0.5 * number / len(underway.predictions), f"bioimageio.core: {name}")
            ask().exception()
        return _compared(converted, underway, step)
    finally:
        converted.native.close()


def _compared(converted: Converted, underway: Underway, step: Step) -> Comparison:
    native = _asked(converted, underway, step)
    kept: list[Weights] = []
    left_out: list[str] = []
    predicted: dict[str, list[Outputs]] = {}
    drift: dict[str, Drift] = {}
    for weights in converted.weights:
        name = weights.weight_format
        ask, files = underway.predictions[name]
        step.progress(0.9, f"bioimageio.core: {name}")
        try:
            ask().result()
        except Exception as problem:
            if weights.parent is None:
                raise
            left_out.append(
                f"{name} was left out: bioimageio.core cannot run it ({type(problem).__name__}: {problem})."
            )
            continue
        predicted[name] = [dict(np.load(path)) for path in files]
        test_outputs = {one.id: one.test_tensor for one in converted.outputs}
        drift[name] = _drift([test_outputs], [predicted[name][underway.tested]])
        if weights.parent is not None:
            apart = _drift(predicted[weights.parent], predicted[name]).mismatched_per_million
            if apart > MOST_MISMATCHED_PER_MILLION:
                left_out.append(f"{name} was left out: {apart / 1e6:.2%} of its pixels differ from {weights.parent}.")
                del drift[name]
                continue
        kept.append(weights)
    sizes = dict.fromkeys(picture.shape[:2] for picture in underway.pictures.values())
    measured = Comparison(None, drift, tuple(kept), tuple(left_out), tuple(sizes))
    if isinstance(native, str):
        return replace(measured, not_measured=native)
    measured = replace(
        measured, parity=_worst(converted, native.labels, kept, predicted), differences=native.differences
    )
    _require_agreement(converted, measured)
    return measured


def _asked(converted: Converted, underway: Underway, step: Step) -> _Native | str:
    """What the framework says to all pictures, or why it cannot be asked."""
    labels: list[Array] = []
    worst: dict[str, Difference] = {}
    try:
        for number, (name, picture) in enumerate(underway.pictures.items()):
            begun = 0.0 if underway.beside else 0.5
            step.progress(begun + (0.9 - begun) * number / len(underway.pictures), f"{converted.framework}: {name}")
            labels.append(converted.native.predict(picture))
            for one in converted.native.differences(picture) if converted.native.differences else ():
                if one.what not in worst or not one.value <= worst[one.what].value:  # NaN is the worst
                    worst[one.what] = one
    except NotMeasured as reason:
        return str(reason).strip().rstrip(".")
    return _Native(labels, tuple(worst.values()))


def _worst(
    converted: Converted, native: Sequence[Array], kept: Sequence[Weights], predicted: Mapping[str, Sequence[Outputs]]
) -> Parity:
    """The parity of the format that agrees least."""
    first = converted.outputs[0].id
    to_labels = converted.native.to_labels or (lambda outputs: outputs[first][0, 0])
    agreement = [
        parity(zip(native, map(to_labels, predicted[one.weight_format][: len(native)]), strict=True)) for one in kept
    ]
    return min(agreement, key=lambda one: (one["mean_iou"] or 0.0, one["identical_pixels"]))


def _require_agreement(converted: Converted, measured: Comparison) -> None:
    """Raise ZoowizardError where the package is not the model."""
    said = f"the package does not predict what {converted.framework} predicts"
    if measured.parity and (measured.parity["mean_iou"] or 0.0) < converted.native.lowest_mean_iou:
        raise ZoowizardError(f"{said}: {in_short(measured)}; it was not written")
    for one in measured.differences:
        if not one.value <= one.allowed:
            raise ZoowizardError(
                f"{said}: {one.what}: {one.value:.3g}, where {one.allowed:g} or less would be right; it was not written"
            )


def in_short(measured: Comparison) -> str:
    """How far the package agrees, in a few words."""
    if measured.parity is None:
        return f"not measured: {measured.not_measured}"
    if measured.parity["mean_iou"] is None:
        return "no instances to compare"
    iou, same = measured.parity["mean_iou"], measured.parity["identical_pixels"]
    return f"mean IoU {iou:.4f}, {same:.4%} of pixels identical"


def _drift(expected: list[Outputs], found: list[Outputs]) -> Drift:
    """How far outputs are from what was expected, over all outputs of all predictions."""
    largest, mismatched, elements = 0.0, 0, 0
    for one, other in zip(expected, found, strict=True):
        for name, tensor in one.items():
            apart = np.abs(other[name].astype(np.float64) - tensor)
            allowed = DEFAULT_TOLERANCES.absolute + DEFAULT_TOLERANCES.relative * np.abs(tensor)
            largest = max(largest, float(apart.max(initial=0.0)))
            mismatched += int((apart > allowed).sum())
            elements += tensor.size
    return Drift(largest, 1e6 * mismatched / max(elements, 1))
