"""Any PyTorch network out of a checkpoint and its architecture → state dict, TorchScript and ONNX.

Runs in a job only: it imports torch, and it runs the code of the architecture.
"""

import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from zoowizard.conversion import pytorch_fit, pytorch_state
from zoowizard.conversion.any_network import conversion, formats, probed
from zoowizard.conversion.any_network.formats import Exporting, LeftOut
from zoowizard.conversion.any_network.original import ONLY, Original
from zoowizard.conversion.any_network.probed import Pictured
from zoowizard.conversion.converted import Array, Converted, Native, Weights
from zoowizard.conversion.probing.networks import Network, of_module
from zoowizard.conversion.probing.padding import CALLABLE, PREFIX, Margins, padded, padded_source
from zoowizard.conversion.pytorch_architecture import Architecture, copied, made, require_inputs
from zoowizard.errors import ZoowizardError
from zoowizard.families.arguments import MORE, arguments
from zoowizard.families.arguments import PREFIX as ARGUMENT
from zoowizard.families.further_inputs import parts
from zoowizard.families.pytorch import with_further_inputs
from zoowizard.jobs.steps import Step

ACCEPTS: Final = conversion.ACCEPTS
USES: Final = (
    *conversion.USES,
    "architecture_file",
    "network",
    f"{ARGUMENT}*",
    MORE,
    "state_dict_key",
)
LATE: Final = ("torch.onnx.utils", "torch._dynamo")
"""What PyTorch imports only when it traces and exports."""


def read_image(checkpoint: Path, values: Mapping[str, Any]) -> Array:
    """See `any_network.conversion.read_image`."""
    return conversion.read_image(checkpoint, with_further_inputs(values))


def preload(folder: Path) -> None:
    """Load what `convert` loads late."""
    for name in LATE:
        importlib.import_module(name)


def convert(checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Step) -> Converted:
    """Convert a checkpoint; weights go to `folder`. `image` is that of `read_image`.

    Raises ZoowizardError, in words for a person, where the network cannot be made, where the checkpoint is not its, and
    where the answers do not go with it.
    """
    values = with_further_inputs(values)
    architecture, state, original = _given(checkpoint, values, folder, step)
    assert original.module is not None
    write = functools.partial(_written, architecture, original.module, state, folder)
    return conversion.convert(original, values, image, folder, write, step)


def probe(checkpoint: Path, values: Mapping[str, Any], image: Array, folder: Path, step: Step) -> Pictured:
    """What the network is, and what it gives after each normalisation; see `any_network.probed.probe`.

    Raises ZoowizardError as `convert` does.
    """
    values = with_further_inputs(values)
    _, _, original = _given(checkpoint, values, folder, step)
    return probed.probe(original, values, image, folder, step)


def _given(
    checkpoint: Path, values: Mapping[str, Any], folder: Path, step: Step
) -> tuple[Architecture, dict[str, Tensor], Original]:
    """The network as a person gave it, with its tensors by name, which are saved in `folder` to be loaded again."""
    step.progress(0.02, "making the network")
    architecture = _architecture(values, folder)
    module, state = _loaded(checkpoint, architecture, values)
    with (folder / "weights.pt").open("wb") as file:  # torch ends the whole process where the disk is full
        torch.save(state, file)
    channels = _channels(architecture, module, values)
    load = functools.partial(_network, architecture, folder / "weights.pt", channels)
    return architecture, state, _original(checkpoint, architecture, module, state, channels, load)


def native(checkpoint: Path, values: Mapping[str, Any], facts: Mapping[str, Any], folder: Path) -> Native:
    """The network as the person's own code makes it, without converting; made when it first predicts."""
    values = with_further_inputs(values)

    def load() -> Original:
        architecture = _architecture(values, folder)
        module, state = _loaded(checkpoint, architecture, values)
        channels = _channels(architecture, module, values)
        return _original(
            checkpoint, architecture, module, state, channels, lambda: of_module(module, channels=channels)
        )

    return conversion.native_again(load, values, facts)


def _architecture(values: Mapping[str, Any], folder: Path) -> Architecture:
    name = str(values.get("network") or "")
    given = values.get("architecture_file")
    if not given:
        if "." not in name:
            raise ZoowizardError(
                "network: give the file of the architecture, or write the dotted name of a network in an installed "
                "library, such as monai.networks.nets.UNet"
            )
        return Architecture(name, arguments(values))
    source = Path(str(given)).expanduser()
    return Architecture(name, arguments(values), copied(source, folder / "architecture"), source.name)


def _loaded(
    checkpoint: Path, architecture: Architecture, values: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network with its tensors, and these by the names that it has for them."""
    told = pytorch_state.chosen(checkpoint, str(values.get("state_dict_key") or ""))
    tensors = pytorch_state.tensors(checkpoint, told)
    module, prefix = pytorch_fit.fitted(architecture, tensors, told.prefixes)
    known = module.state_dict()
    given = pytorch_fit.stripped(tensors, prefix)
    return module, {name: given.get(name, one).clone().contiguous() for name, one in known.items()}


def _channels(architecture: Architecture, module: nn.Module, values: Mapping[str, Any]) -> list[int]:
    """Of each input, where there are several. Raises ZoowizardError where images are missing for some."""
    given = parts(values)
    require_inputs(architecture, module, len(given))
    return [one.channels for one in given] if len(given) > 1 else []


def _network(architecture: Architecture, weights: Path, channels: Sequence[int]) -> Network:
    """In the process of the probing."""
    module = made(architecture)
    module.load_state_dict(torch.load(weights, "cpu", weights_only=True))
    return of_module(module, channels=channels)


def _original(
    checkpoint: Path,
    architecture: Architecture,
    module: nn.Module,
    state: Mapping[str, Tensor],
    channels: Sequence[int],
    load: Callable[[], Network],
) -> Original:
    digest = hashlib.sha256(json.dumps([architecture.name, dict(architecture.arguments)]).encode())
    if architecture.file is not None:
        digest.update(architecture.file.read_bytes())
    for name, tensor in state.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.cpu().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return Original(
        load=load,
        network=of_module(module, channels=channels),
        name=checkpoint.name,
        identity=digest.hexdigest(),
        framework=f"PyTorch {formats.version()}",
        input_dtypes=[*ONLY * max(1, len(channels))],
        channels=channels,
        module=module,
    )


def _written(
    architecture: Architecture,
    module: nn.Module,
    state: Mapping[str, Tensor],
    folder: Path,
    exporting: Exporting,
    margins: Margins,
) -> tuple[Sequence[Weights], Sequence[str]]:
    weights, left_out = [_state_dict(architecture, state, folder, margins)], []
    whole = padded(module, margins).eval()
    makers = {"torchscript": formats.torchscript, "onnx": formats.onnx_file}
    for name, make in makers.items():
        path = folder / ("weights-torchscript.pt" if name == "torchscript" else "weights.onnx")
        try:
            weights.append(make(whole, exporting, path, "pytorch_state_dict"))
        except LeftOut as why:
            left_out.append(str(why))
    return weights, left_out


def _state_dict(architecture: Architecture, state: Mapping[str, Tensor], folder: Path, margins: Margins) -> Weights:
    """The state dict, with the architecture as a file beside it or, of a library's network, by its name."""
    path = folder / "weights.pt"
    prefix = PREFIX if margins else ""
    with path.open("wb") as file:
        torch.save({prefix + name: tensor for name, tensor in state.items()}, file)
    kwargs = {"kwargs": dict(architecture.arguments)} if architecture.arguments else {}
    version = {"pytorch_version": formats.version()}
    if architecture.file is None and not margins:
        named = {"import_from": architecture.module, "callable": architecture.callable, **kwargs}
        return Weights("pytorch_state_dict", path, {**version, "architecture": named})
    if architecture.file is None:
        source = f"from {architecture.module} import {architecture.callable}\n"
    else:
        source = architecture.file.read_text(encoding="utf-8")
    written = folder / "network.py"
    written.write_text(padded_source(source, architecture.callable, margins) if margins else source, encoding="utf-8")
    entry = {
        "source": written.name,
        "sha256": hashlib.sha256(written.read_bytes()).hexdigest(),
        "callable": CALLABLE if margins else architecture.callable,
        **kwargs,
    }
    return Weights("pytorch_state_dict", path, {**version, "architecture": entry}, files=[written])
