"""Any network in ONNX → the same file as a package, with its weights in it.

Runs in a job only. Sources: https://onnx.ai/onnx/operators/onnx__Pad.html and
https://onnx.ai/onnx/repo-docs/ExternalData.html.
"""

import functools
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnx
import onnxruntime
from onnx import TensorProto, helper

from zoowizard.atomic import write_bytes
from zoowizard.conversion.any_network import conversion, formats, probed
from zoowizard.conversion.any_network.formats import Exporting
from zoowizard.conversion.any_network.original import Original
from zoowizard.conversion.any_network.probed import Pictured
from zoowizard.conversion.converted import Array, Converted, Native, Weights
from zoowizard.conversion.probing.apart import in_a_line
from zoowizard.conversion.probing.networks import of_onnx
from zoowizard.conversion.probing.padding import Margins
from zoowizard.errors import ZoowizardError
from zoowizard.families.further_inputs import parts
from zoowizard.families.onnx import TYPES, beside, look
from zoowizard.families.onnx_graph import Model
from zoowizard.jobs.steps import Step

ACCEPTS: Final = conversion.ACCEPTS
USES: Final = conversion.USES
PADS_AS_INPUT: Final = 11
"""From this opset on `Pad` takes its widths as an input, before as an attribute."""
read_image = conversion.read_image


def reads(checkpoint: Path, values: Mapping[str, Any]) -> Sequence[Path]:
    """The files beside it in which its weights are."""
    return [checkpoint.parent / name for name in beside(checkpoint, look(checkpoint))]


def convert(checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Step) -> Converted:
    """Package an ONNX file; weights go to `folder`. `image` is that of `read_image`.

    Raises ZoowizardError, in words for a person, where it cannot be run, and where the answers do not go with it.
    """
    step.progress(0.02, "loading the network")
    write = functools.partial(_written, checkpoint, folder)
    return conversion.convert(_original(checkpoint, values), values, image, folder, write, step)


def native(checkpoint: Path, values: Mapping[str, Any], facts: Mapping[str, Any], folder: Path) -> Native:
    """The file again, without converting it; loaded when it first predicts."""
    return conversion.native_again(functools.partial(_original, checkpoint, values), values, facts)


def probe(checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Step) -> Pictured:
    """What the network is, and what it gives after each normalisation; see `any_network.probed.probe`."""
    step.progress(0.02, "loading the network")
    return probed.probe(_original(checkpoint, values), values, image, folder, step)


def _original(checkpoint: Path, values: Mapping[str, Any]) -> Original:
    model, given = look(checkpoint), parts(values)
    inputs = model.real_inputs
    if len(inputs) != len(given):
        raise ZoowizardError(
            f"{checkpoint.name}: its network takes {len(inputs)} inputs ({', '.join(one.name for one in inputs)}), and "
            f"{len(given)} are known"
        )
    if wrong := next((one for one in inputs if one.dtype not in TYPES), None):
        raise ZoowizardError(
            f"{checkpoint.name}: its input {wrong.name} is of the type {wrong.dtype or 'of no tensor'}, which the "
            f"zoo's format cannot give to a network; export it with an input of {', '.join(TYPES[:-1])} or {TYPES[-1]}"
        )
    channels = [one.channels for one in given] if len(given) > 1 else []
    try:
        network = of_onnx(checkpoint, channels)
    except ZoowizardError:
        raise
    except Exception as problem:
        raise ZoowizardError(f"{checkpoint.name}: onnxruntime cannot load it: {in_a_line(problem)}") from problem
    return Original(
        load=functools.partial(of_onnx, checkpoint, channels),
        network=network,
        name=checkpoint.name,
        identity=_identity(checkpoint, model),
        framework=f"onnxruntime {onnxruntime.__version__}",
        input_dtypes=[one.dtype for one in inputs],
        channels=channels,
        output_names=["" if one.name[-1:].isdecimal() else one.name for one in model.outputs],  # numbered by exporters
    )


def _identity(checkpoint: Path, model: Model) -> str:
    digest = hashlib.sha256()
    for path in (checkpoint, *(checkpoint.parent / name for name in sorted(beside(checkpoint, model)))):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _written(
    checkpoint: Path, folder: Path, exporting: Exporting, margins: Margins
) -> tuple[Sequence[Weights], Sequence[str]]:
    """The file as it is; anew where its weights lie beside it, where its outputs are padded back, and where it tells of
    the computer that exported it."""
    path, told = folder / "weights.onnx", look(checkpoint)
    entry = {"opset_version": told.opset}
    model = onnx.load(str(checkpoint))
    if not formats.forget_machine(model) and not margins and not told.files:
        shutil.copyfile(checkpoint, path)
        return [Weights("onnx", path, entry)], []
    if model.ByteSize() > formats.LARGEST_ONNX_BYTES:
        raise ZoowizardError(
            f"{checkpoint.name}: with its weights it is over 2 GB, which no single ONNX file holds, and the zoo's own "
            "runner takes no file beside it"
        )
    for output, one in zip(model.graph.output, margins, strict=False):
        _pad(model, output.name, one)
    write_bytes(path, model.SerializeToString())
    how = "its weights were joined into one file" if told.files else ""
    return [Weights("onnx", path, entry)], [f"The ONNX file is written anew: {how}."] if how else []


def _pad(model: onnx.ModelProto, name: str, margins: Sequence[Sequence[int]]) -> None:
    """Pad the output `name` with zeros, or cut it where a margin is below 0."""
    if not any(px for pair in margins for px in pair):
        return
    graph, bare = model.graph, f"{name}_without_margins"
    output = next(one for one in graph.output if one.name == name)
    shape = output.type.tensor_type.shape
    rank = len(shape.dim) or 2 + len(margins)
    before, behind = ([0] * (rank - len(margins)) + [int(pair[end]) for pair in margins] for end in (0, 1))
    for node in graph.node:
        for names in (node.input, node.output):
            for number, one in enumerate(names):
                if one == name:
                    names[number] = bare
    for axis in range(rank - len(margins), len(shape.dim)):
        shape.dim[axis].Clear()
    if formats.opset_of(model) < PADS_AS_INPUT:
        graph.node.append(helper.make_node("Pad", [bare], [name], mode="constant", pads=before + behind, value=0.0))
        return
    widths = f"{name}_margins"
    graph.initializer.append(helper.make_tensor(widths, TensorProto.INT64, [2 * rank], before + behind))
    graph.node.append(helper.make_node("Pad", [bare, widths], [name], mode="constant"))
