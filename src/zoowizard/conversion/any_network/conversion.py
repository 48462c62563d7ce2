"""Any network → a package: probed, normalised, described, and in all weight formats that give what it gives."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from zoowizard.conversion.any_network import sizes, tensors
from zoowizard.conversion.any_network.findings import found, in_words, value
from zoowizard.conversion.any_network.formats import Exporting
from zoowizard.conversion.any_network.normalising import inputs_of
from zoowizard.conversion.any_network.original import Around, Input, Original
from zoowizard.conversion.converted import Array, Converted, Native, Weights
from zoowizard.conversion.probing.findings import Finding, Findings, from_json
from zoowizard.conversion.probing.networks import Network, is_flat
from zoowizard.conversion.probing.normalisation import Normalisation
from zoowizard.conversion.probing.outputs import kind_of
from zoowizard.conversion.probing.padding import Margins, margins_of
from zoowizard.conversion.probing.runs import noise
from zoowizard.drafts.images import Accepts
from zoowizard.drafts.stacks import DTYPES, MOST_CHANNELS, read_stack
from zoowizard.errors import ZoowizardError
from zoowizard.families import further_inputs
from zoowizard.jobs.steps import Step

ACCEPTS: Final = Accepts(DTYPES, tuple(range(1, MOST_CHANNELS + 1)))
USES: Final = (
    "test_image",
    "image_axes",
    "expected_output",
    "normalisation",
    "normalisation_over",
    "normalisation_mean",
    "normalisation_std",
    "activation",
    "output_names",
    "output_channels",
    "spatial_axes",
    "input_channels_asked",
    "halo",
    "smallest_input",
    "input_step",
    "pixel_size",
    *further_inputs.USES,
)
"""The answers that shape a package of any network."""
_FAR_BEYOND: Final = 20.0
_ENOUGH_PX: Final[Mapping[int, tuple[int, ...]]] = {2: (256, 256), 3: (32, 64, 64)}
"""To see what an output looks like."""
_BOUND: Final = ("probabilities", "softmax", "mask", "labels")


Write = Callable[[Exporting, Margins], tuple[Sequence[Weights], Sequence[str]]]
"""Writes the weights of a network whose outputs are padded so; gives them, and sentences about what was left out."""


def read_image(checkpoint: Path, values: Mapping[str, Any]) -> Array:
    """The test image (channel, (z,) y, x) as it was recorded, and behind its channels those of further inputs.

    Raises ZoowizardError where one cannot be read, or they do not lie on one grid.
    """
    stacks = [read_stack(part.path, part.axes) for part in further_inputs.parts(values)]
    return stacks[0] if len(stacks) == 1 else np.concatenate(stacks)


def convert(
    original: Original, values: Mapping[str, Any], image: Array, folder: Path, write: Write, step: Step
) -> Converted:
    """Package a network; `folder` is where weights go, `image` that of `read_image`.

    Raises ZoowizardError where the answers do not go with it.
    """
    step.progress(0.1, "finding out what the network is")
    probed = found(original, values, image, folder, lambda part, note: step.progress(0.1 + 0.5 * part, note))
    _require_steady(probed)
    findings, fewer = sizes.within(probed, image, tensors.sides_of(values))
    step.progress(0.6, "the normalisation")
    inputs, chosen, how = inputs_of(original, findings, values, image)
    around = Around(inputs, _margins(original, findings, len(image)), str(values.get("activation") or "none"))
    tensor = np.ascontiguousarray(image[sizes.middle(findings, image, sizes.LARGEST_PX[image.ndim - 1])])
    step.progress(0.65, "predicting the test image")
    outputs = around.outputs(original.network, tensor)
    looks = _looks(original.network, findings, around, image)
    after = {"sigmoid": "probabilities", "softmax": "softmax"}.get(around.activation, str(looks[0].value))
    kinds = [after, *(str(one.value) for one in looks[1:])]
    ids = tensors.output_ids(values, len(outputs), inputs, original.output_names)
    described = tensors.output_tensors(dict(zip(ids, outputs, strict=True)), kinds, findings, around, values)
    step.progress(0.7, "writing the weights")
    weights, left_out = write(_exporting(findings, inputs, ids), around.margins)
    return Converted(
        inputs=tensors.input_tensors(tensor, findings, around, values, original.input_dtypes),
        outputs=described,
        weights=weights,
        native=_native(lambda: original, findings, around, ids),
        framework=original.framework,
        notes=[*in_words(probed), *_outputs_in_words(around, looks), *how, *fewer, *left_out],
        facts={
            "spatial_axes": str(image.ndim - 1),
            "input_channels": inputs[0].channels,
            **({"normalisation": chosen.id, "normalisation_over": _over(chosen)} if chosen.id else {}),
            "normalised_by": chosen.name,
            "inputs": [asdict(one) for one in inputs],
            "margins": [[list(pair) for pair in one] for one in around.margins],
            "output_ids": ids,
            "output_kinds": kinds,
            "findings": json.loads(findings.to_json()),
        },
    )


def _require_steady(findings: Findings) -> None:
    steady = findings.found.get("deterministic")
    if steady is not None and steady.value is False and "nan" in steady.evidence:
        raise ZoowizardError(
            "network: it gives values that are no numbers (NaN) for any image, so that no package of it can be tested; "
            "are the weights damaged, or did the training diverge?"
        )
    if steady is not None and steady.value is False:
        raise ZoowizardError(
            f"network: {steady.evidence}, so that no package of it can be tested; take out what is random when it "
            "predicts, such as a dropout that is left on"
        )


def _over(chosen: Normalisation) -> str:
    return "each channel" if chosen.each_channel else "all channels"


def native_again(load: Callable[[], Original], values: Mapping[str, Any], facts: Mapping[str, Any]) -> Native:
    """The network of `convert` again, without converting it; `load` is called when it first predicts."""
    findings = from_json(json.dumps(facts["findings"]))
    inputs = [Input(**one) for one in facts["inputs"]]
    around = Around(inputs, facts["margins"], str(values.get("activation") or "none"))
    return _native(functools.cache(load), findings, around, facts["output_ids"])


def _native(load: Callable[[], Original], findings: Findings, around: Around, ids: Sequence[str]) -> Native:
    """The network as it was given, with all that stands around it in the package, to compare with."""
    return Native(
        to_input=lambda picture: _tensors(around, picture),
        outputs=lambda picture: dict(zip(ids, around.outputs(load().network, picture), strict=True)),
        pictures=lambda image: sizes.pictures(findings, image),
    )


def _tensors(around: Around, picture: Array) -> Array | dict[str, Array]:
    names = [one.name for one in around.inputs]
    tensors = [part[None] for part in around.parts(picture)]
    return tensors[0] if len(tensors) == 1 else dict(zip(names, tensors, strict=True))


def _margins(original: Original, findings: Findings, channels: int) -> Margins:
    """What is padded back; margins of 0 where the outputs only have to be laid flat, which the zoo's library asks."""
    margins = margins_of(findings)
    shape = sizes.two_shapes(findings, channels)[0]
    if margins or original.module is None or is_flat(original.module, shape, original.channels):
        return margins
    return [[[0, 0] for _ in one["axes"]] for one in value(findings, "outputs")]


def _looks(network: Network, findings: Findings, around: Around, image: Array) -> list[Finding]:
    """What each output of the network looks like, by the middle of the test image, far brighter ones, and noise."""
    part = sizes.middle(findings, image, _ENOUGH_PX[image.ndim - 1])
    tensor = around.normalised(image[part])[None]
    inputs = [tensor, noise(tensor.shape), _FAR_BEYOND * tensor, -_FAR_BEYOND * tensor]
    given = [list(network.run(one)) for one in inputs]
    return [
        kind_of(outputs, tensor, told["channel_axis"], image.ndim - 1)
        for outputs, told in zip(zip(*given, strict=True), value(findings, "outputs"), strict=True)
    ]


def _outputs_in_words(around: Around, looks: Sequence[Finding]) -> list[str]:
    told = [
        f"Output{'' if len(looks) == 1 else f' {number}'} of the network: {look.evidence}."
        for number, look in enumerate(looks, start=1)
    ]
    if around.activation != "none":
        many = " Without it the network's output stays within bounds already."
        doubt = many if looks[0].value in _BOUND else ""
        told.append(f"After the network comes a {around.activation}, as postprocessing of its first output.{doubt}")
    if any(px for one in around.margins for pair in one for px in pair):
        told.append(
            "The network has valid convolutions: inside the package its outputs are padded with zeros to the size of "
            "the image, so that blocks fit together; the halo cuts these zeros off."
        )
    return told


def _exporting(findings: Findings, inputs: Sequence[Input], ids: Sequence[str]) -> Exporting:
    told, known = value(findings, "outputs"), value(findings, "sizes")
    batches = findings.found.get("batch")
    free = {0: "batch"} if batches is None or batches.value else {}
    axes = list(known)
    moving = [axis for axis in axes if known[axis]["step"]]
    return Exporting(
        inputs={one.name: one.channels for one in inputs},
        shapes=sizes.two_shapes(findings, sum(one.channels for one in inputs)),
        free=free | {2 + number: axis for number, axis in enumerate(axes) if axis in moving},
        output_axes=[
            free | {place: f"{ids[index]}_{axis}" for axis, place in one["axes"].items() if axis in moving}
            for index, one in enumerate(told)
        ],
        ids=ids,
    )
