"""Is the package the model? Its prediction, by the zoo's own library, beside that of the model's own framework."""

import functools
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from zoowizard.agreement import Agreement, in_words, rounded_up
from zoowizard.conversion.converted import Array, Converted, Difference, NotMeasured, Weights
from zoowizard.conversion.telling import require_following
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Step
from zoowizard.library import clean
from zoowizard.packaging.describe import DEFAULT_TOLERANCES, MOST_MISMATCHED_PER_MILLION
from zoowizard.packaging.matching import Parity, parity
from zoowizard.packaging.pictures import comparison_pictures, views_of
from zoowizard.packaging.report import Drift
from zoowizard.packaging.values import Outputs, agreement, apart, other_shape

NOBODY: Final = "there is nothing that it could be compared with"


@dataclass(frozen=True)
class Comparison:
    """What was measured: the worst parity of the formats that are kept, and how far each is from the test output.

    `parity` is None where the package gives no labels, or where the framework could not be asked, and then
    `not_measured` is the reason. `agreement` is that of the values, None where these were not compared. `differences`
    are those of the values and what the conversion measured besides, each the worst of all images. `left_out` are
    sentences about formats that do not reproduce; `sizes`, (y, x) or (z, y, x), are those of the images.
    """

    parity: Parity | None
    drift: Mapping[str, Drift]
    kept: tuple[Weights, ...]
    left_out: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]
    differences: tuple[Difference, ...] = ()
    not_measured: str = ""
    agreement: Agreement | None = None


@dataclass(frozen=True)
class Underway:
    """What bioimageio.core predicts in clean processes: by weight format, how to ask for it, and its files.

    Asking starts the process, and gives the same one when it is done again. Where they are not to work `beside` each
    other and the framework, none has begun. The files are of the pictures in their order; the one numbered `tested` is
    of the test tensor, and comes after them where no picture is the same. `sizes` are those of the input tensors.
    """

    pictures: Mapping[str, Array]
    predictions: Mapping[str, tuple[Callable[[], "Future[None]"], list[Path]]]
    beside: bool
    tested: int
    sizes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Native:
    """The framework's label images and outputs, and the worst of each difference that it told of."""

    labels: list[Array]
    outputs: list[Outputs]
    differences: tuple[Difference, ...]


def start(converted: Converted, image: Array, description: Path, scratch: Path) -> Underway:
    """Let bioimageio.core run every weight format on several views of `image`; returns at once."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    pictures = _pictures(converted, image)
    first = converted.inputs[0].id
    tensors = [_by_id(converted.native.to_input(picture), first) for picture in pictures.values()]
    sizes = dict.fromkeys(_size(converted.inputs[0].axes, tensor[first]) for tensor in tensors)
    test_tensors = {one.id: one.test_tensor for one in converted.inputs}
    tested = next((number for number, one in enumerate(tensors) if _are_same(one, test_tensors)), len(tensors))
    if tested == len(tensors):
        tensors.append(test_tensors)
    inputs = []
    for number, tensor in enumerate(tensors):
        inputs.append(scratch / f"input-{number}.npz")
        np.savez(inputs[-1], **cast(dict[str, Any], tensor))
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
    return Underway(pictures, predictions, beside, tested, tuple(sizes))


def _pictures(converted: Converted, image: Array) -> Mapping[str, Array]:
    if converted.native.pictures is not None:
        return converted.native.pictures(image)
    return comparison_pictures(image) if converted.native.predict else views_of(image, converted)


def _by_id(tensors: Array | Mapping[str, Array], first: str) -> Mapping[str, Array]:
    return tensors if isinstance(tensors, Mapping) else {first: tensors}


def _size(axes: Sequence[Mapping[str, object]], tensor: Array) -> tuple[int, ...]:
    return tuple(side for axis, side in zip(axes, tensor.shape, strict=True) if axis["type"] == "space")


def _are_same(tensors: Mapping[str, Array], others: Mapping[str, Array]) -> bool:
    return all(np.array_equal(tensor, others[name]) for name, tensor in tensors.items())


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
    truth = native.outputs if isinstance(native, _Native) else []
    if truth and converted.native.predict is None:
        require_following(list(underway.pictures.values()), truth)
    kept: list[Weights] = []
    left_out: list[str] = []
    predicted: dict[str, list[Outputs]] = {}
    drift: dict[str, Drift] = {}
    values: dict[str, dict[str, float]] = {}
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
        predicted[name] = [dict(np.load(path, allow_pickle=False)) for path in files]
        parent = parent_among(kept, weights, converted.weights)
        expected = [*truth, {one.id: one.test_tensor for one in converted.outputs}]
        found = [*predicted[name][: len(truth)], predicted[name][underway.tested]]
        if (shapes := other_shape(expected, found)) and parent is None:
            raise ZoowizardError(f"{_unlike_framework(converted)}: {shapes}; it was not written")
        values[name] = {} if shapes else apart(truth, found[:-1])
        wrong = shapes or _too_far(values[name], converted.native.most_apart)
        if parent is not None and (wrong or (wrong := _unlike(predicted[parent], predicted[name], parent))):
            left_out.append(f"{name} was left out: {wrong}.")
            continue
        drift[name] = _drift(expected[-1:], found[-1:])
        kept.append(weights if parent == weights.parent else replace(weights, parent=parent))
    measured = Comparison(None, drift, tuple(kept), tuple(left_out), underway.sizes)
    if isinstance(native, str):
        return replace(measured, not_measured=native)
    far = [values[one.weight_format] for one in kept]
    outputs = {name: max(one[name] for one in far) for name in far[0]}
    measured = replace(
        measured,
        parity=_worst(converted, native.labels, kept, predicted) if native.labels else None,
        agreement=agreement(len(truth), outputs) if outputs else None,
        differences=(*_differences(outputs, converted.native.most_apart), *native.differences),
    )
    _require_agreement(converted, measured)
    return measured


def parent_among(kept: Sequence[Weights], weights: Weights, all_weights: Sequence[Weights]) -> str | None:
    """The format that these weights were made from; where that is not kept, the one that it was made from itself."""
    parents = {one.weight_format: one.parent for one in all_weights}
    names = {one.weight_format for one in kept}
    parent = weights.parent
    while parent is not None and parent not in names:
        parent = parents.get(parent)
    return parent


def _too_far(values: Mapping[str, float], allowed: float) -> str:
    """What is said of the output that is furthest from the framework's; empty where all are near enough."""
    name, value = max(values.items(), key=lambda one: one[1], default=("", 0.0))
    if value <= allowed:
        return ""
    if math.isinf(value):
        return f"its output “{name}” has values that are no numbers where there should be some"
    return (
        f"its output “{name}” differs by up to {rounded_up(value)} of its spread, where {allowed:g} or less would be "
        "right"
    )


def _unlike(expected: Sequence[Outputs], found: Sequence[Outputs], parent: str) -> str:
    """What is said where a format does not reproduce the one that it was made from; empty where it does."""
    if other_shape(expected, found):
        return f"its outputs have other shapes than those of {parent}"
    share = _drift(expected, found).mismatched_per_million
    return f"{share / 1e6:.2%} of its pixels differ from {parent}" if share > MOST_MISMATCHED_PER_MILLION else ""


def _differences(outputs: Mapping[str, float], allowed: float) -> tuple[Difference, ...]:
    return tuple(
        Difference(f"largest difference of the output “{name}”, of its spread", value, allowed)
        for name, value in outputs.items()
    )


def _asked(converted: Converted, underway: Underway, step: Step) -> _Native | str:
    """What the framework says to all pictures, or why it cannot be asked."""
    native = converted.native
    if native.predict is None and native.outputs is None:
        return NOBODY
    labels: list[Array] = []
    outputs: list[Outputs] = []
    worst: dict[str, Difference] = {}
    try:
        for number, (name, picture) in enumerate(underway.pictures.items()):
            begun = 0.0 if underway.beside else 0.5
            step.progress(begun + (0.9 - begun) * number / len(underway.pictures), f"{converted.framework}: {name}")
            if native.predict is not None:
                labels.append(native.predict(picture))
            if native.outputs is not None:
                given = native.outputs(picture)
                outputs.append({one.id: np.asarray(given[one.id]) for one in converted.outputs})
            for one in native.differences(picture) if native.differences else ():
                if one.what not in worst or not one.value <= worst[one.what].value:  # NaN is the worst
                    worst[one.what] = one
    except NotMeasured as reason:
        return str(reason).strip().rstrip(".")
    return _Native(labels, outputs, tuple(worst.values()))


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
    said = _unlike_framework(converted)
    if measured.parity and (measured.parity["mean_iou"] or 0.0) < converted.native.lowest_mean_iou:
        raise ZoowizardError(f"{said}: {_parity_in_short(measured)}; it was not written")
    for one in measured.differences:
        if not one.value <= one.allowed:
            raise ZoowizardError(
                f"{said}: {one.what}: {one.value:.3g}, where {one.allowed:g} or less would be right; it was not written"
            )


def _unlike_framework(converted: Converted) -> str:
    return f"the package does not predict what {converted.framework} predicts"


def in_short(measured: Comparison) -> str:
    """How far the package agrees, in a few words."""
    if measured.not_measured:
        return f"not measured: {measured.not_measured}"
    return "; ".join(filter(None, [_parity_in_short(measured), in_words(measured.agreement)]))


def _parity_in_short(measured: Comparison) -> str:
    if measured.parity is None:
        return ""
    if measured.parity["mean_iou"] is None:
        return "no instances to compare"
    iou, same = measured.parity["mean_iou"], measured.parity["identical_pixels"]
    return f"mean IoU {iou:.4f}, {same:.4%} of pixels identical"


def _drift(expected: Sequence[Outputs], found: Sequence[Outputs]) -> Drift:
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
