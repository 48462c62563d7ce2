"""Cellpose-SAM (cellpose 4) → a package that draws the label image of `CellposeModel.eval`, or gives flows of blocks.

Runs in a job only. What takes gigabytes is done in child processes that end: see `cellpose_sam_work` for the network
and `cellpose_native` for Cellpose itself. Weights are written once at most.
"""

import hashlib
import importlib.metadata
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from zoowizard.conversion import cellpose_network, cellpose_sam_work
from zoowizard.conversion import cellpose_tensors as tensors
from zoowizard.conversion.cellpose_blocks import other_package
from zoowizard.conversion.cellpose_native import Answer, Cellpose
from zoowizard.conversion.cellpose_sam_kind import TRAINED_DIAMETER_PX, Kind, to_input
from zoowizard.conversion.cellpose_sam_views import BLOCK_PX, HALO_PX, SMALLEST_SIDE_PX
from zoowizard.conversion.cellpose_sam_weights import StateDict, check_fits, put_float32, read_state_dict
from zoowizard.conversion.cellpose_sam_work import Outcome, Work, flows_file, in_blocks_file, labels_file
from zoowizard.conversion.converted import (
    LOWEST_MEAN_IOU,
    Array,
    Converted,
    Difference,
    Native,
    TensorDescription,
    Weights,
)
from zoowizard.drafts.images import MICROSCOPY
from zoowizard.environments import NoEnvironment, interpreter
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.computer import memory_bytes
from zoowizard.jobs.steps import Step

ACCEPTS: Final = MICROSCOPY
USES: Final = (
    "diameter",
    "flow_threshold",
    "cellprob_threshold",
    "min_size",
    "package_kind",
    "pixel_size",
    "test_image",
)
PYTHON: Final = Path(sys.executable)
"""That of the environment whose cellpose is asked: ours has cellpose 4."""
MOST_REDRAWN: Final = 1e-4
"""Of a test tensor's pixels, so many at most may get another label by the dynamics of cellpose 3 than by those of 4."""
MOST_ALLOWED: Final = 5e-3
"""The widest tolerance of the format, `mismatched_elements_per_million` of 5000."""
CHANNELS: Final[Mapping[int, Sequence[str]]] = {
    1: ("intensity",),
    2: ("first", "second"),
    3: ("red", "green", "blue"),
}
ALLOWED_FLOW_DIFFERENCE: Final = 1e-3
LOWEST_MEAN_IOU_OF_BLOCKS: Final = 0.5
"""One block by itself is not what Cellpose does, which averages overlapping tiles: it is told how far it is apart."""
ONNX_NEEDS: Final = 7
"""So many times the weights' size in memory: for the 1.23 GB of Cellpose-SAM, ONNX Runtime took 7.1 GB in the zoo's
test. TorchScript took 2.6 GB there, and the state dict 4.3."""
VIT_L: Final[Mapping[str, Any]] = {"width": 1024, "depth": 24, "heads": 16, "wide": [5, 11, 17, 23]}
SPAN_OF_IMAGE: Final = 127
"""Relative positions of a block of Segment Anything that looked at a whole image; the others looked at windows."""


def preload(folder: Path) -> None:
    """Load what `convert` loads late: nothing, its child processes are new ones."""


def convert(checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Step) -> Converted:
    """Convert a checkpoint of cellpose 4; weights go to `folder`.

    `values` are the draft's values that `USES` names; `image` is the test image, (y, x) or (y, x, 1 to 3) of uint8,
    uint16 or float32. The test tensor is a part of it: see `cellpose_sam_views`. Raises ZoowizardError where the file
    is no whole Cellpose-SAM, and where no cells are found.
    """
    step.progress(0.02, "reading the weights")
    kind = Kind(values)
    _require_usable(image, kind, values)
    state = read_state_dict(checkpoint)
    settings = _settings(checkpoint, state, kind, 1 if image.ndim == 2 else image.shape[2])
    weights = folder / "weights-pytorch.pt"
    dtype = _dtype(state)
    put_float32(checkpoint, state, weights)
    del state

    work = _work(weights, settings, kind, image, folder)
    candidates = kind.parts(image)
    outcome = cellpose_sam_work.do(work, folder, step.progress)
    if outcome.chosen is None:
        raise ZoowizardError(
            f"test_image: the model finds no cells in {values.get('test_image', 'the test image')} with a cell "
            f"probability threshold of {kind.cellprob_threshold:g} and a flow threshold of {kind.flow_threshold:g}; "
            "give an image of cells like those that it was trained on, or change the thresholds"
        )
    part, redrawn = _least_redrawn(candidates[outcome.chosen :], work, kind, folder, step)
    labels, flows = (np.load(folder / name(_name(part))) for name in (labels_file, flows_file))
    formats = _formats(weights, kind)
    return Converted(
        inputs=[_input(part, kind, values)],
        outputs=[
            tensors.labels_tensor(labels, {**values, **kind.thresholds})
            if kind.labels
            else tensors.flows_tensor(flows[None], HALO_PX, values)
        ],
        weights=_weights(weights, settings, kind, folder, outcome.left_out),
        native=native(checkpoint, values, {}, folder),
        framework=f"cellpose {importlib.metadata.version('cellpose')}",
        notes=[
            *_notes(kind, image, part, dtype, formats),
            *_redrawn(redrawn),
            *_left_out(outcome.left_out),
            *_offer(work, outcome, folder),
        ],
        facts={
            "channels": settings["channels"],
            "test_part_px": [int(side) for side in part.shape[:2]],
        },
        labels=labels,
        elsewhere_per_million=round(1e6 * (redrawn or 0), 1),
        kept=[folder / flows_file(one) for one in work.views],
    )


def native(checkpoint: Path, values: Mapping[str, Any], facts: Mapping[str, Any], folder: Path) -> Native:
    """The model of `convert` in cellpose itself, in float32; loaded, in a child process, when it is first asked.

    `folder` is where `convert` left its flows. Asking raises ZoowizardError where cellpose cannot load the checkpoint.
    """
    kind = Kind(values)
    started: list[Cellpose] = []
    last: list[tuple[Array, Answer]] = []

    def ask(picture: Array) -> Answer:
        if not last or last[0][0] is not picture:
            if not started:
                started.append(Cellpose(PYTHON, folder / "cellpose"))
                started[0].load({"checkpoint": str(checkpoint.resolve())})
            last[:] = [(picture, started[0].ask(picture, kind.arguments(picture)))]
        return last[0][1]

    def differences(picture: Array) -> Sequence[Difference]:
        ours = np.load(folder / flows_file(_name(picture)))
        apart = float(np.abs(ours - ask(picture).flows).max())
        return (Difference("largest difference of flows and cell probability", apart, ALLOWED_FLOW_DIFFERENCE),)

    def close() -> None:
        last.clear()
        while started:
            started.pop().close()

    return Native(
        to_input=to_input,
        predict=lambda picture: ask(picture).labels,
        to_labels=None if kind.labels else lambda outputs: kind.labels_of(outputs["flows"][0]),
        differences=differences if kind.labels else None,
        pictures=kind.views,
        lowest_mean_iou=LOWEST_MEAN_IOU if kind.labels else LOWEST_MEAN_IOU_OF_BLOCKS,
        close=close,
    )


def _input(part: Array, kind: Kind, values: Mapping[str, Any]) -> TensorDescription:
    tensor = to_input(part)
    return tensors.input_tensor(
        tensor,
        part,
        CHANNELS[tensor.shape[1]],
        {"min": SMALLEST_SIDE_PX, "step": 1} if kind.labels else BLOCK_PX,
        "image of cells, its channels in any order" + ("" if kind.labels else "; one block of a larger one"),
        values,
    )


def _least_redrawn(
    parts: Sequence[Array], work: Work, kind: Kind, folder: Path, step: Step
) -> tuple[Array, float | None]:
    """The part, or piece of the first, that cellpose 3 draws most as cellpose 4 does, and what share of it differs.

    The zoo's runner draws labels with cellpose 3, today's library with cellpose 4. Where only one of them cuts a cell
    in two, all that follow are numbered otherwise; the fewer cells there are, the less often that happens. The first
    part, and None, where cellpose 3 cannot be asked.
    """
    if not kind.labels:
        return parts[0], None
    try:
        python = interpreter("zoo", lambda fraction, note: step.progress(0.95, f"cellpose 3: {note}"))
    except NoEnvironment:
        return parts[0], None
    third = Cellpose(python, folder / "cellpose-3")
    best, least = parts[0], 1.0
    tried = [*parts, *kind.pieces(parts[0])]
    try:
        for number, part in enumerate(tried):
            name = _name(part)
            if number == 1:
                _predict_also(tried[1:], work, folder, step)
            if not (folder / labels_file(name)).exists():  # it has no cells
                continue
            as_3 = third.draw(np.load(folder / flows_file(name)), kind.thresholds)
            share = float((np.load(folder / labels_file(name)) != as_3).mean())
            if share < least:
                best, least = part, share
            if least <= MOST_REDRAWN:
                break
    finally:
        third.close()
    return best, least


def _predict_also(parts: Sequence[Array], work: Work, folder: Path, step: Step) -> None:
    for part in parts:
        np.save(folder / _name(part), tensors.normalised(to_input(part)))
    more = replace(
        work, candidates=[_name(one) for one in parts], views=[], formats=[], every=True, compare_blocks=False
    )
    cellpose_sam_work.do(more, folder, step.progress)


def _require_usable(image: Array, kind: Kind, values: Mapping[str, Any]) -> None:
    name = values.get("test_image", "the test image")
    if not kind.labels and min(image.shape[:2]) < BLOCK_PX:
        size = " x ".join(map(str, image.shape[:2]))
        raise ZoowizardError(
            f"test_image: {name} is {size} pixels, and a package of flows works on blocks of {BLOCK_PX} x {BLOCK_PX}; "
            "give a larger image, or build a package of labels"
        )
    empty = tensors.empty_channels(to_input(image))
    if empty:
        raise ZoowizardError(
            f"test_image: channel {empty[0] + 1} of {name} is empty (the same value nearly everywhere), and a package "
            "cannot scale such a channel; give an image without it"
        )


def _settings(checkpoint: Path, state: StateDict, kind: Kind, channels: int) -> dict[str, Any]:
    """The arguments of `CellposeSAM` by which it is this network. Raises ZoowizardError where it cannot be."""
    patch_px, nout = int(state["W2"].shape[-1]), int(state["W2"].shape[1])
    if nout != 3:
        raise ZoowizardError(
            f"{checkpoint.name}: it gives {nout} outputs; only networks with two flows and a cell probability can be "
            "packaged"
        )
    spans = [state[name] for name in state if name.endswith("attn.rel_pos_h")]
    width = int(state["encoder.pos_embed"].shape[-1])
    encoder = {
        "width": width,
        "depth": len(spans),
        "heads": width // int(spans[0].shape[1]) if spans else 1,
        "wide": [index for index, one in enumerate(spans) if one.shape[0] == SPAN_OF_IMAGE],
    }
    settings: dict[str, Any] = {"patch_px": patch_px, "nout": nout, "channels": channels, "tiled": kind.labels}
    if kind.labels and kind.diameter:
        settings["diameter"] = kind.diameter
    settings |= {name: one for name, one in encoder.items() if one != VIT_L[name]}
    with torch.device("meta"):
        network = cellpose_network.CellposeSAM(**settings).state_dict()
    check_fits(checkpoint, state, network)
    return settings


def _work(weights: Path, settings: Mapping[str, Any], kind: Kind, image: Array, folder: Path) -> Work:
    candidates, views = kind.parts(image), list(kind.views(image).values())
    for picture in (*candidates, *views):
        np.save(folder / _name(picture), tensors.normalised(to_input(picture)))
    return Work(
        weights=str(weights),
        settings=dict(settings),
        candidates=[_name(one) for one in candidates],
        views=[_name(one) for one in views] if kind.labels else [],
        **kind.thresholds,
        formats=_formats(weights, kind),
        blocks=not kind.labels,
        compare_blocks=kind.labels and kind.rescale == 1.0,
    )


def _formats(weights: Path, kind: Kind) -> list[str]:
    has_room = memory_bytes() >= ONNX_NEEDS * weights.stat().st_size
    return ["torchscript", "onnx"] if not kind.labels and has_room else ["torchscript"]


def _weights(
    weights: Path, settings: Mapping[str, Any], kind: Kind, folder: Path, left_out: Mapping[str, str]
) -> list[Weights]:
    version = {"pytorch_version": torch.__version__.split("+")[0]}
    torchscript, onnx = folder / cellpose_sam_work.TORCHSCRIPT, folder / cellpose_sam_work.ONNX
    if kind.labels:
        source = folder / Path(cellpose_network.__file__).name
        shutil.copyfile(cellpose_network.__file__, source)
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        network = {"callable": cellpose_network.CellposeSAM.__name__, "kwargs": dict(settings)}
        architecture = {"source": source.name, "sha256": digest, **network}
        made = [Weights("pytorch_state_dict", weights, {**version, "architecture": architecture}, files=[source])]
    else:
        made = []
        weights.unlink()  # what it was converted from is not part of a package of flows
    if torchscript.exists() and "torchscript" not in left_out:
        made.append(Weights("torchscript", torchscript, version, "pytorch_state_dict" if made else None))
    elif not kind.labels:
        raise ZoowizardError(
            f"the network could not be converted to TorchScript: {left_out['torchscript']}; the log has the details"
        )
    if onnx.exists() and "onnx" not in left_out:
        made.append(Weights("onnx", onnx, {"opset_version": cellpose_sam_work.OPSET}, "torchscript"))
    return made


def _name(picture: Array) -> str:
    """The file of a picture as the network sees it, named by what it shows."""
    shown = hashlib.sha256(f"{picture.dtype} {picture.shape} ".encode() + np.ascontiguousarray(picture).tobytes())
    return f"{shown.hexdigest()[:16]}.npy"


def _dtype(state: StateDict) -> str:
    return str(max((one for one in state.values()), key=lambda one: one.numel()).dtype).removeprefix("torch.")


def _notes(kind: Kind, image: Array, part: Array, dtype: str, formats: Sequence[str]) -> list[str]:
    notes = [tensors.ONLY_2D]
    if part.shape != image.shape:
        size, whole = (" x ".join(map(str, one.shape[:2])) for one in (part, image))
        notes.append(
            f"The test tensor is a part of the test image, {size} of its {whole} pixels, and agreement is measured on "
            "parts, too: the network is large, and the zoo's test predicts many times."
        )
    if dtype != "float32":
        notes.append(
            f"The checkpoint holds {dtype}; the package holds the same numbers in float32 and computes in it. By "
            "default Cellpose computes in bfloat16, which changes flows by up to one and single cells; agreement is "
            "measured against `CellposeModel(..., use_bfloat16=False)`."
        )
    else:
        notes.append(
            "Agreement is measured against `CellposeModel(..., use_bfloat16=False).eval`; by default Cellpose 4 "
            "computes in bfloat16, which changes flows by up to one and single cells."
        )
    if kind.labels:
        notes.append("Give whole images, not tiles: the network cuts an image of any size, and averages what overlaps.")
        notes.append(tensors.LARGE)
        if kind.diameter:
            notes.append(
                f"Images are resized inside by {kind.rescale:.3g}, because cells of {kind.diameter:g} pixels were "
                "asked for. Cellpose follows its flows for as many more steps as cells are larger than 30 pixels; the "
                "zoo's library always follows them for 200."
            )
    else:
        notes.append(
            f"It gives flows, not labels, of one block of {BLOCK_PX} x {BLOCK_PX} pixels at a time. Cellpose averages "
            "tiles that overlap, and near the border of a block its flows are others: the agreement given here is that "
            "of the labels made of single blocks."
        )
        if "onnx" not in formats:
            notes.append(
                "ONNX was left out: to test it takes seven times the memory of the weights, which the computer that "
                "made this package does not have."
            )
        if kind.diameter:
            notes.append(
                f"No scaling is built in: resize images by {TRAINED_DIAMETER_PX / kind.diameter:.3g} before, so that "
                f"cells of {kind.diameter:g} pixels have 30."
            )
    return notes


def _redrawn(share: float | None) -> list[str]:
    if not share:
        return []
    so = (
        "the tolerance of the test allows for that"
        if share <= MOST_ALLOWED
        else "no tolerance may be so wide, so the test fails with cellpose 3; try a test image of few cells"
    )
    return [
        f"The zoo's runner draws labels with cellpose 3, which gives {share:.3%} of the test tensor's pixels another "
        f"number than cellpose 4 does: {so}."
    ]


def _offer(work: Work, outcome: Outcome, folder: Path) -> list[str]:
    """What a package of labels says of the one of flows."""
    if not work.compare_blocks or outcome.chosen is None:
        return []
    name = work.candidates[outcome.chosen]
    return [other_package(np.load(folder / labels_file(name)), np.load(folder / in_blocks_file(name)))]


def _left_out(why: Mapping[str, str]) -> list[str]:
    return [f"{name} was left out: the network could not be converted ({reason})." for name, reason in why.items()]
