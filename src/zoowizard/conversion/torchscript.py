"""Any network in TorchScript → the same file as a package, and ONNX where that gives the same.

Runs in a job only: it imports torch, and TorchScript is a program that is run.
"""

import functools
import hashlib
import importlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from zoowizard.conversion.any_network import conversion, formats, probed
from zoowizard.conversion.any_network.formats import Exporting, LeftOut
from zoowizard.conversion.any_network.original import ONLY, Original
from zoowizard.conversion.any_network.probed import Pictured
from zoowizard.conversion.converted import Array, Converted, Native, Weights
from zoowizard.conversion.probing.apart import in_a_line
from zoowizard.conversion.probing.networks import of_module, of_torchscript
from zoowizard.conversion.probing.padding import Margins, padded
from zoowizard.conversion.saved_torchscript import without_debug_records
from zoowizard.errors import ZoowizardError
from zoowizard.families.further_inputs import parts
from zoowizard.jobs.steps import Step

ACCEPTS: Final = conversion.ACCEPTS
USES: Final = conversion.USES
LATE: Final = ("torch.onnx.utils", "torch._dynamo")
"""What PyTorch imports only when it traces and exports."""
read_image = conversion.read_image


def preload(folder: Path) -> None:
    """Load what `convert` loads late."""
    for name in LATE:
        importlib.import_module(name)


def convert(checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Step) -> Converted:
    """Package a TorchScript file; weights go to `folder`. `image` is that of `read_image`.

    Raises ZoowizardError, in words for a person, where it cannot be loaded, and where the answers do not go with it.
    """
    step.progress(0.02, "loading the network")
    original = _original(checkpoint, values)
    assert original.module is not None
    write = functools.partial(_written, checkpoint, original.module, folder)
    return conversion.convert(original, values, image, folder, write, step)


def native(checkpoint: Path, values: Mapping[str, Any], facts: Mapping[str, Any], folder: Path) -> Native:
    """The file again, without converting it; loaded when it first predicts."""
    return conversion.native_again(functools.partial(_original, checkpoint, values), values, facts)


def probe(checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Step) -> Pictured:
    """What the network is, and what it gives after each normalisation; see `any_network.probed.probe`."""
    step.progress(0.02, "loading the network")
    return probed.probe(_original(checkpoint, values), values, image, folder, step)


def _original(checkpoint: Path, values: Mapping[str, Any]) -> Original:
    try:
        module: Any = torch.jit.load(str(checkpoint), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as problem:
        raise ZoowizardError(f"{checkpoint.name}: PyTorch cannot load it: {in_a_line(problem)}") from problem
    given = parts(values)
    _require_inputs(checkpoint, module, len(given))
    channels = [one.channels for one in given] if len(given) > 1 else []
    with checkpoint.open("rb") as file:
        identity = hashlib.file_digest(file, "sha256").hexdigest()
    return Original(
        load=functools.partial(of_torchscript, checkpoint, channels=channels),
        network=of_module(module, channels=channels),
        name=checkpoint.name,
        identity=identity,
        framework=f"PyTorch {formats.version()} (TorchScript)",
        input_dtypes=[*ONLY * len(given)],
        channels=channels,
        module=module,
    )


def _require_inputs(checkpoint: Path, module: Any, given: int) -> None:
    wanted = [one.name for one in module.forward.schema.arguments[1:] if not one.has_default_value()]
    if len(wanted) != given:
        raise ZoowizardError(
            f"{checkpoint.name}: its network takes {len(wanted)} inputs ({', '.join(wanted)}), and {given} are known"
        )


def _written(
    checkpoint: Path, module: nn.Module, folder: Path, exporting: Exporting, margins: Margins
) -> tuple[Sequence[Weights], Sequence[str]]:
    """The file as it is, or anew where its outputs are padded back or laid flat."""
    path = folder / "weights-torchscript.pt"
    whole = padded(module, margins).eval()
    if margins:
        try:
            weights = [formats.torchscript(whole, exporting, path, None)]
        except LeftOut as why:
            raise ZoowizardError(
                f"{checkpoint.name}: its outputs must be brought to the size of the image: {why}"
            ) from why
    else:
        try:
            without_debug_records(checkpoint, path)
        except Exception:  # an archive that this version of torch reads, and writes otherwise
            shutil.copyfile(checkpoint, path)
        weights = [Weights("torchscript", path, {"pytorch_version": formats.version()})]
    whole = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]  # of one piece again
    try:
        weights.append(formats.onnx_file(whole, exporting, folder / "weights.onnx", "torchscript"))
    except LeftOut as why:
        return weights, [str(why)]
    return weights, []
