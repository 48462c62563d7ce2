"""Is the package the model? Its prediction, by the zoo's own library, beside that of the model's own framework."""

import shutil
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from zoowizard.conversion.converted import Array, Converted, Weights
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Step
from zoowizard.packaging import clean
from zoowizard.packaging.describe import DEFAULT_TOLERANCES, MOST_MISMATCHED_PER_MILLION
from zoowizard.packaging.matching import Parity, parity
from zoowizard.packaging.pictures import comparison_pictures
from zoowizard.packaging.report import Drift

LOWEST_MEAN_IOU: Final = 0.95
"""Below this the package does not do what the model does, whatever the reason, and is not handed out."""

Outputs = Mapping[str, Array]
"""The output tensors of one prediction by id."""


@dataclass(frozen=True)
class Comparison:
    """What was measured: the worst parity of the formats that are kept, and how far each is from the test output.

    `left_out` are sentences about formats that do not reproduce; `sizes` (y, x) are those of the images.
    """

    parity: Parity
    drift: Mapping[str, Drift]
    kept: tuple[Weights, ...]
    left_out: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Underway:
    """Predictions that bioimageio.core is making in clean processes: by weight format, the process and its files."""

    pictures: Mapping[str, Array]
    predictions: Mapping[str, tuple["Future[None]", list[Path]]]


def start(converted: Converted, image: Array, description: Path, scratch: Path) -> Underway:
    """Let bioimageio.core run every weight format on several views of `image`; returns at once."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    pictures = comparison_pictures(image)
    inputs = []
    for number, picture in enumerate(pictures.values()):
        inputs.append(scratch / f"input-{number}.npy")
        np.save(inputs[-1], converted.native.to_input(picture))
    predictions = {}
    for weights in converted.weights:
        outputs = [scratch / f"{weights.weight_format}-{number}.npz" for number in range(len(inputs))]
        process = clean.in_clean_process(clean.predict, description, weights.weight_format, inputs, outputs)
        predictions[weights.weight_format] = (process, outputs)
    return Underway(pictures, predictions)


def finish(converted: Converted, underway: Underway, step: Step) -> Comparison:
    """Predict the same images with the framework, and compare.

    A format that was made from another one and does not reproduce it is left out. Raises ZoowizardError where the
    package does not predict what the framework does.
    """
    native = []
    for number, (name, picture) in enumerate(underway.pictures.items()):
        step.progress(0.9 * number / len(underway.pictures), f"{converted.framework}: {name}")
        native.append(converted.native.predict(picture))
    kept: list[Weights] = []
    left_out: list[str] = []
    predicted: dict[str, list[Outputs]] = {}
    drift: dict[str, Drift] = {}
    for weights in converted.weights:
        name = weights.weight_format
        process, files = underway.predictions[name]
        step.progress(0.9, f"bioimageio.core: {name}")
        try:
            process.result()
        except Exception as problem:
            if weights.parent is None:
                raise
            left_out.append(
                f"{name} was left out: bioimageio.core cannot run it ({type(problem).__name__}: {problem})."
            )
            continue
        predicted[name] = [dict(np.load(path)) for path in files]
        drift[name] = _drift([{one.id: one.test_tensor for one in converted.outputs}], predicted[name][:1])
        if weights.parent is not None:
            apart = _drift(predicted[weights.parent], predicted[name]).mismatched_per_million
            if apart > MOST_MISMATCHED_PER_MILLION:
                left_out.append(f"{name} was left out: {apart / 1e6:.2%} of its pixels differ from {weights.parent}.")
                del drift[name]
                continue
        kept.append(weights)
    labels = converted.outputs[0].id
    agreement = [
        parity(
            (truth, outputs[labels][0, 0]) for truth, outputs in zip(native, predicted[one.weight_format], strict=True)
        )
        for one in kept
    ]
    worst = min(agreement, key=lambda one: (one["mean_iou"] or 0.0, one["identical_pixels"]))
    if (worst["mean_iou"] or 0.0) < LOWEST_MEAN_IOU:
        raise ZoowizardError(
            f"the package does not predict what {converted.framework} predicts: {in_short(worst)}; it was not written"
        )
    sizes = dict.fromkeys(picture.shape[:2] for picture in underway.pictures.values())
    return Comparison(worst, drift, tuple(kept), tuple(left_out), tuple(sizes))


def in_short(measured: Parity) -> str:
    """A parity in a few words."""
    if measured["mean_iou"] is None:
        return "no instances to compare"
    return f"mean IoU {measured['mean_iou']:.4f}, {measured['identical_pixels']:.4%} of pixels identical"


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
