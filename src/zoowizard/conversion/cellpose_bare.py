"""The bare network of Cellpose as TorchScript and ONNX, for tools without Python: flows, one block at a time.

Nothing is resized, cut into tiles or averaged inside, so that at the seams it is not Cellpose; by how much is measured.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch

from zoowizard.conversion import cellpose_tensors as tensors
from zoowizard.conversion.cellpose_blocks import in_blocks, other_package
from zoowizard.conversion.cellpose_framework import CELLPOSE_3, Framework
from zoowizard.conversion.cellpose_model import Model, predict
from zoowizard.conversion.cellpose_network import Cellpose
from zoowizard.conversion.converted import Array, Converted, Difference, Native, Weights
from zoowizard.conversion.saved_torchscript import save_torchscript
from zoowizard.errors import ZoowizardError

SMALLEST_SIDE_PX: Final = 64
STEP_PX: Final = 16
HALO_PX: Final = 16
BLOCK_PX: Final = 224
OPSET: Final = 17
LOWEST_MEAN_IOU: Final = 0.8
MEAN_APART: Final = 0.2
"""Up to here the flows of the bare network are those of Cellpose, in the mean over all pixels."""
TRACED_APART: Final = 1e-4


def bare_package(model: Model, framework: Framework, image: Array, labels: Array, folder: Path) -> Converted:
    """The package of flows. `labels` are those that Cellpose draws on `image`, for the cover."""
    picture = at_network_scale(model, image)
    tensor = model.channels.to_input(picture)
    network = model.network(tiled=False)
    flows = predict(network, tensor)
    weights, left_out = _weights(network, tensor.shape[1], folder)
    values = model.values if model.diameter == model.diam_mean else {**model.values, "pixel_size": None}
    return Converted(
        inputs=[
            tensors.input_tensor(
                tensor,
                model.channels.sample(tensor),
                model.channels.names,
                {"min": SMALLEST_SIDE_PX, "step": STEP_PX},
                f"image in which cells are about {model.diam_mean:g} px wide",
                values,
            )
        ],
        outputs=[tensors.flows_tensor(flows, HALO_PX, values)],
        weights=weights,
        native=bare_native(model, framework),
        framework=CELLPOSE_3,
        notes=[*_notes(model), _in_blocks_note(model, framework, network, tensor), *left_out],
        facts={"channel_choice": model.channels.facts, "test_part": None},
        labels=labels,
    )


def bare_native(model: Model, framework: Framework) -> Native:
    """Cellpose, on pictures whose cells have the size that the network knows."""
    networks: list[Cellpose] = []

    def differences(picture: Array) -> list[Difference]:
        if not networks:
            networks.append(model.network(tiled=False))
        truth = framework.ask(picture).flows
        apart = np.abs(predict(networks[0], model.channels.to_input(picture))[0] - truth)
        return [Difference("mean difference of flows and cell probability", float(apart.mean()), MEAN_APART)]

    return Native(
        to_input=model.channels.to_input,
        predict=lambda picture: framework.ask(picture).labels,
        to_labels=lambda outputs: framework.draw(outputs["flows"][0]),
        differences=differences,
        pictures=lambda image: _pictures(at_network_scale(model, image)),
        lowest_mean_iou=LOWEST_MEAN_IOU,
        close=framework.close,
    )


def at_network_scale(model: Model, image: Array) -> Array:
    """The picture with cells of the size that the network knows, cut at the far ends to sides that it takes."""
    rescale = model.diam_mean / model.diameter
    scaled = image if rescale == 1.0 else tensors.resized(image, rescale)
    rows, columns = (side // STEP_PX * STEP_PX for side in scaled.shape[:2])
    if min(rows, columns) < SMALLEST_SIDE_PX:
        raise ZoowizardError(
            f"test_image: with cells {model.diam_mean:g} px wide, as the network knows them, it has {scaled.shape[0]} "
            f"x {scaled.shape[1]} pixels; give one of at least {int(np.ceil(SMALLEST_SIDE_PX / rescale))} pixels a side"
        )
    return np.ascontiguousarray(scaled[:rows, :columns])


def _pictures(picture: Array) -> Mapping[str, Array]:
    rows, columns = (max(SMALLEST_SIDE_PX, side * 3 // 4 // STEP_PX * STEP_PX) for side in picture.shape[:2])
    return {
        "as it is": picture,
        "mirrored and turned": np.ascontiguousarray(np.rot90(picture[:, ::-1])),
        "a corner": np.ascontiguousarray(picture[-rows:, -columns:]),
    }


def _notes(model: Model) -> list[str]:
    return [
        "The package gives flows, not objects: these are made of them by Cellpose's dynamics (in Python "
        f"`cellpose.dynamics.compute_masks`, with a cell probability over {model.thresholds['cellprob_threshold']:g}).",
        f"Give images in which cells are about {model.diam_mean:g} px wide: nothing is resized inside.",
        tensors.ONLY_2D,
    ]


def _whole_and_in_blocks(model: Model, network: Cellpose, tensor: Array) -> tuple[Array, Array]:
    """The flows (3, y, x) of an image at the network's scale: Cellpose's own, by the tiled network, and of blocks."""

    def bare(block: Array) -> Array:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(block)))

    truth = predict(model.network(diameter=model.diam_mean), tensor)[0]
    return truth, in_blocks(bare, tensors.normalised(tensor), BLOCK_PX, HALO_PX)[0]


def _in_blocks_note(model: Model, framework: Framework, network: Cellpose, tensor: Array) -> str:
    """How far a prediction in blocks is from Cellpose's own."""
    truth, found = _whole_and_in_blocks(model, network, tensor)
    apart = np.abs(found - truth)
    same = tensors.precision_at_90(framework.draw(truth), framework.draw(found))
    return (
        f"Predicted in blocks of {BLOCK_PX} px with a halo of {HALO_PX} px, flows and cell probability of the test "
        f"image differ from Cellpose's by {apart.mean():.2g} in the mean and {apart.max():.2g} at most, and of the "
        f"cells that are made of them {same:.1%} are the same (average precision at an IoU of 0.9). A package of "
        "labels has no such difference."
    )


def offer(model: Model, framework: Framework, image: Array) -> list[str]:
    """What a package of labels says of the one of flows; nothing where the image is too small for that."""
    try:
        tensor = model.channels.to_input(at_network_scale(model, image))
    except ZoowizardError:
        return []
    truth, found = _whole_and_in_blocks(model, model.network(tiled=False), tensor)
    drawn = framework.draw(truth)
    return [other_package(drawn, framework.draw(found))] if drawn.any() else []


def _weights(network: Cellpose, channels: int, folder: Path) -> tuple[list[Weights], list[str]]:
    """TorchScript, and ONNX or the sentence that says why not."""
    path = folder / "weights-torchscript.pt"
    example = torch.rand(1, channels, 128, 128)
    traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
    other = torch.rand(2, channels, 80, 112)
    with torch.inference_mode():
        apart = float((traced(other) - network(other)).abs().max())
    if not apart <= TRACED_APART:
        raise ZoowizardError(f"the network cannot be written as TorchScript: what was traced is {apart:.2g} off")
    save_torchscript(traced, path)
    version = {"pytorch_version": torch.__version__.split("+")[0]}
    weights = [Weights("torchscript", path, version)]
    try:
        exported = _onnx(network, channels, folder / "weights.onnx")
    except Exception as problem:
        reason = f"{type(problem).__name__}: {(str(problem).strip().splitlines() or ['no message'])[0]}"
        return weights, [f"ONNX was left out: the network could not be converted ({reason})."]
    return [*weights, exported], []


def _onnx(network: Cellpose, channels: int, path: Path) -> Weights:
    free = {0: "batch", 2: "y", 3: "x"}
    torch.onnx.export(
        network,
        (torch.rand(1, channels, 128, 128),),
        path,
        dynamo=False,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["flows"],
        dynamic_axes={"image": free, "flows": free},
    )
    return Weights("onnx", path, {"opset_version": OPSET}, parent="torchscript")
