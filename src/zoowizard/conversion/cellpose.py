"""Cellpose 1, 2 and 3 (CPnet) → a package that draws the label image of `CellposeModel.eval`, or one of bare flows.

Runs in a job only: it imports torch. Cellpose itself is asked in processes of their own: cellpose 3 in the environment
of the zoo's runner, to compare with, and the one that is installed here, with which the zoo's library draws labels.
"""

import hashlib
import importlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from zoowizard.conversion import cellpose_network
from zoowizard.conversion import cellpose_tensors as tensors
from zoowizard.conversion.cellpose_bare import bare_native, bare_package, offer
from zoowizard.conversion.cellpose_channels import Channels, channels_of
from zoowizard.conversion.cellpose_framework import CELLPOSE_3, Framework
from zoowizard.conversion.cellpose_model import Model, predict, read_state
from zoowizard.conversion.cellpose_network import Cellpose
from zoowizard.conversion.converted import Array, Converted, Difference, Native, NotMeasured, Weights
from zoowizard.drafts.images import MICROSCOPY
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Step

ACCEPTS: Final = MICROSCOPY
USES: Final = (
    "nbase",
    "nout",
    "diam_mean",
    "diam_labels",
    "style",
    "residual",
    "concatenation",
    "cyto_channel",
    "nuclei_channel",
    "diameter",
    "flow_threshold",
    "cellprob_threshold",
    "min_size",
    "package_kind",
    "pixel_size",
    "test_image",
)
LATE: Final = ("torch.onnx.utils", "torch._dynamo")
"""What PyTorch imports only when it traces and exports."""
FLOWS_APART: Final = 1e-3
"""Up to here the flows of a package are those of Cellpose."""
MOST_REDRAWN: Final = 5e-5
"""Of a test tensor's pixels, so many at most may get another label by the dynamics of cellpose 4 than by those of 3."""
SMALLEST_PART_PX: Final = 64

Part = tuple[tuple[int, int], tuple[int, int]]
"""From which row on to which, and from which column on to which."""


def preload(folder: Path) -> None:
    """Load what `convert` loads late."""
    for name in LATE:
        importlib.import_module(name)


def convert(checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Step) -> Converted:
    """Convert a checkpoint; weights go to `folder`.

    `values` are the draft's values; `image` is the test image, (y, x) or (y, x, channel), uint8, uint16 or float32.
    Raises ZoowizardError where the checkpoint is no such network, where the answers do not go with the image, and
    where nothing is found in it.
    """
    values = _filled(values)
    channels = channels_of(values, image)
    step.progress(0.05, "reading the checkpoint")
    model = Model(checkpoint, values, channels, read_state(checkpoint, values))
    network = model.network()
    tensor = channels.to_input(image)
    _require_contrast(tensor, channels)
    framework = Framework(model, folder)
    try:
        framework.start(lambda fraction, note: step.progress(0.1 + 0.6 * fraction, f"{CELLPOSE_3}: {note}"))
        step.progress(0.7, "predicting the test image")
        flows = predict(network, tensor)[0]
        labels = framework.draw(flows)
        if not labels.any():
            raise ZoowizardError(_nothing_found(values))
        step.progress(0.8, "writing the weights")
        if model.is_bare:
            return bare_package(model, framework, image, labels, folder)
        return _labels_package(model, framework, network, image, flows, labels, folder)
    except BaseException:
        framework.close()
        raise


def native(checkpoint: Path, values: Mapping[str, Any], facts: Mapping[str, Any], folder: Path) -> Native:
    """Cellpose again, without converting; started when it first predicts. Raises ZoowizardError."""
    values = _filled(values)
    model = Model(checkpoint, values, Channels.of_facts(facts["channel_choice"]), read_state(checkpoint, values))
    framework = Framework(model, folder)
    return bare_native(model, framework) if model.is_bare else _native(model, framework, facts["test_part"])


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """With Cellpose's own where something was neither found nor answered."""
    mean = float(values.get("diam_mean") or 30.0)
    labels = float(values.get("diam_labels") or mean)
    usual = {"flow_threshold": 0.4, "cellprob_threshold": 0.0, "min_size": 15}
    given = {name: value for name, value in values.items() if value is not None}
    return {"diam_mean": mean, "diam_labels": labels, "diameter": labels, **usual, **given}


def _require_contrast(tensor: Array, channels: Channels) -> None:
    empty = tensors.empty_channels(tensor)
    if not empty:
        return
    name = channels.names[empty[0]]
    if name == "nuclei":
        raise ZoowizardError(
            "test_image: its channel of the nuclei is empty (the same value nearly everywhere), and a package cannot "
            "scale such a channel; give an image that shows nuclei, or set `nuclei_channel` to none"
        )
    raise ZoowizardError(
        f"test_image: its channel of the {name} is empty (the same value nearly everywhere); give an image with cells "
        "in it, or choose another `cyto_channel`"
    )


def _nothing_found(values: Mapping[str, Any]) -> str:
    return (
        f"test_image: the model finds no cells in {values.get('test_image', 'the test image')} at a diameter of "
        f"{float(values['diameter']):g} px and a cell probability over {float(values['cellprob_threshold']):g}; give "
        "an image of what it was trained on, set `diameter` to the width of its cells, or lower `cellprob_threshold`"
    )


def _labels_package(
    model: Model, framework: Framework, network: Cellpose, image: Array, flows: Array, labels: Array, folder: Path
) -> Converted:
    part, part_labels = _test_part(model, framework, network, image, flows, labels)
    tensor = model.channels.to_input(_cut(image, part))
    side = tensors.smallest_side(lambda y, x: _runs(network, tensor.shape[1], y, x))
    whole = part == _parts(image)[0]
    return Converted(
        inputs=[
            tensors.input_tensor(
                tensor,
                model.channels.sample(tensor),
                model.channels.names,
                {"min": side, "step": 1},
                f"image of any size, with cells about {model.diameter:g} px wide",
                model.values,
            )
        ],
        outputs=[tensors.labels_tensor(part_labels, model.values)],
        weights=[_state_dict(model, folder)],
        native=_native(model, framework, None if whole else part),
        framework=CELLPOSE_3,
        notes=[
            *_notes(model),
            *_steps_note(model, framework, image),
            *([] if whole else [_part_note(image, tensor)]),
            *offer(model, framework, image),
        ],
        facts={"channel_choice": model.channels.facts, "test_part": None if whole else [list(one) for one in part]},
        labels=labels,
    )


def _state_dict(model: Model, folder: Path) -> Weights:
    """The state dict, with the architecture as a file of its own beside it."""
    weights, source = folder / "weights.pt", folder / "cellpose_network.py"
    with weights.open("wb") as file:  # torch ends the whole process where it opened the file and the disk is full
        torch.save({name: tensor.clone() for name, tensor in model.state.items()}, file)
    shutil.copyfile(cellpose_network.__file__, source)
    architecture = {
        "source": source.name,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "callable": Cellpose.__name__,
        "kwargs": model.settings(),
    }
    entry = {"pytorch_version": torch.__version__.split("+")[0], "architecture": architecture}
    return Weights("pytorch_state_dict", weights, entry, files=[source])


def _runs(network: torch.nn.Module, channels: int, y: int, x: int) -> bool:
    try:
        with torch.inference_mode():
            flows = network(torch.rand(1, channels, y, x))
    except (RuntimeError, ValueError, ZeroDivisionError):
        return False
    return bool(flows.shape == (1, 3, y, x) and flows.isfinite().all())


def _test_part(
    model: Model, framework: Framework, network: Cellpose, image: Array, flows: Array, labels: Array
) -> tuple[Part, Array]:
    """The largest part of the test image in which cellpose 3 and 4 number the same cells alike, and its labels.

    The zoo's runner draws labels with cellpose 3, today's library with cellpose 4; where only one of them cuts a cell
    in two, all cells that follow are numbered otherwise. The whole image where that holds nowhere or cannot be tried.
    """
    parts = _parts(image)
    for part in parts:
        if part != parts[0]:
            tensor = model.channels.to_input(_cut(image, part))
            if tensors.empty_channels(tensor):
                continue
            flows = predict(network, tensor)[0]
        try:
            as_3 = framework.draw_as_3(flows)
        except NotMeasured:
            break
        here = labels if part == parts[0] else framework.draw(flows)
        if here.any() and (here != as_3).mean() <= MOST_REDRAWN:
            return part, here
    return parts[0], labels


def _parts(image: Array) -> list[Part]:
    """The whole image, then its quarters, ninths and sixteenths of at least 64 px a side."""
    parts: list[Part] = []
    for count in (1, 2, 3, 4):
        rows, columns = (
            [(side * one // count, side * (one + 1) // count) for one in range(count)] for side in image.shape[:2]
        )
        if count == 1 or min(image.shape[:2]) // count >= SMALLEST_PART_PX:
            parts += [(row, column) for row in rows for column in columns]
    return parts


def _cut(image: Array, part: Part) -> Array:
    return np.ascontiguousarray(image[slice(*part[0]), slice(*part[1])])


def _native(model: Model, framework: Framework, part: Part | None) -> Native:
    networks: list[Cellpose] = []

    def differences(picture: Array) -> list[Difference]:
        if not networks:
            networks.append(model.network())
        truth = framework.ask(picture).flows
        apart = np.abs(predict(networks[0], model.channels.to_input(picture))[0] - truth)
        return [Difference("largest difference of flows and cell probability", float(apart.max()), FLOWS_APART)]

    def pictures(image: Array) -> Mapping[str, Array]:
        return {
            "its part that is tested": _cut(image, part or _parts(image)[0]),
            "as it is": image,
            "smaller, mirrored and turned": np.ascontiguousarray(np.rot90(tensors.resized(image, 0.7)[:, ::-1])),
            "larger": tensors.resized(image, 1.3),
        }

    return Native(
        to_input=model.channels.to_input,
        predict=lambda picture: framework.ask(picture).labels,
        differences=differences,
        pictures=pictures if part else None,
        close=framework.close,
    )


def _notes(model: Model) -> list[str]:
    asked = ", ".join(f"{name}={value}" for name, value in model.arguments().items())
    notes = [
        f"Agreement is measured against `CellposeModel.eval(image, {asked})` of {CELLPOSE_3}.",
        f"Cells are taken to be {model.diameter:g} px wide, which is built in: resize images whose cells are much "
        "smaller or larger. Images are normalised, cut into tiles and put together inside, as Cellpose does it: give "
        "whole images.",
        tensors.LARGE,
        tensors.ONLY_2D,
    ]
    if len(model.channels.names) > 1:
        notes.append(
            f"All {len(model.channels.names)} channels must show something: Cellpose ignores an empty channel, but the "
            "zoo's library scales it up to noise."
        )
    return notes


def _steps_note(model: Model, framework: Framework, image: Array) -> list[str]:
    """The library follows the flows for 200 steps, Cellpose for more where cells are large, and fewer where small."""
    if model.diameter == model.diam_mean:
        return []
    try:
        answer = framework.ask(image)
        apart = float((framework.draw_as_3(answer.flows) != answer.labels).mean())
    except NotMeasured:
        return []
    if apart == 0:
        return []
    steps = 200 * model.diameter / model.diam_mean
    return [
        f"The zoo's library follows the flows for 200 steps; Cellpose does so for {steps:.0f} at this diameter, which "
        f"changes {apart:.2%} of the pixels of the test image's labels."
    ]


def _part_note(image: Array, tensor: Array) -> str:
    return (
        f"The test tensor is a part of the test image, {tensor.shape[2]} x {tensor.shape[3]} of {image.shape[0]} x "
        f"{image.shape[1]} pixels, in which cellpose 3 (in the zoo's runner) and cellpose 4 (in today's library) "
        "number the same cells alike."
    )
