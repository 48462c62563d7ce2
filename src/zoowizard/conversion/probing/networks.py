"""A network as probing sees it: arrays in, arrays out, whatever it is made of."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing.padded_back import tensors_of
from zoowizard.errors import ZoowizardError

_ONNX_TYPES: Final[Mapping[str, type[np.generic]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
}


@dataclass(frozen=True)
class Network:
    """A network that was loaded.

    `run` takes an array (batch, channel, (z,) y, x) float32 and gives the outputs; it raises what the framework raises.
    Of a network with several inputs, which all lie on one grid, the array holds the channels of the first, then those
    of the next (`split`).
    `weights` are the shapes of its parameters, first layers first, and `layers` the names of its kinds of layers. With
    a `module`, layers can be left out while it runs. `declared` is the shape of the input where the file tells it, with
    None for what is free.
    """

    run: Callable[[Array], Sequence[Array]]
    weights: Sequence[tuple[int, ...]]
    layers: Sequence[str]
    module: nn.Module | None = None
    declared: tuple[int | None, ...] | None = None


def split(array: Array, channels: Sequence[int], axis: int = 1) -> list[Array]:
    """The inputs in an array that holds the channels of all of them: so many each; one where `channels` are empty."""
    return list(np.split(array, np.cumsum(channels)[:-1], axis)) if channels else [array]


def of_module(module: nn.Module, device: str = "cpu", channels: Sequence[int] = ()) -> Network:
    """A PyTorch module, put in eval mode; its outputs may be a tensor, a sequence, a dictionary, or nested.

    `channels` are those of each input, where there are several.
    """
    module.eval().to(device)

    def run(array: Array) -> list[Array]:
        own = os.getpid()
        try:
            with torch.inference_mode():
                given = module(*tensors_in(array, channels, device))
        except SystemExit as problem:  # it would end whatever runs it, without a word
            raise RuntimeError("it ends its process when it predicts (sys.exit)") from problem
        end_fork(own)
        return [_array(tensor) for tensor in tensors_of(given)]

    layers = {str(getattr(part, "original_name", type(part).__name__)) for part in module.modules()}
    shapes = [tuple(parameter.shape) for parameter in module.parameters()]
    scripted = isinstance(module, torch.jit.ScriptModule)
    return Network(run, shapes, sorted(layers), None if scripted else module)


def end_fork(own: int) -> None:
    """End this process where it is a fork that somebody's code made of process `own`: it would do all work twice."""
    if os.getpid() != own:
        os._exit(0)


def tensors_in(array: Array, channels: Sequence[int], device: str = "cpu") -> list[Tensor]:
    """The inputs in an array, as `split` finds them, for PyTorch."""
    return [torch.from_numpy(np.ascontiguousarray(one)).to(device) for one in split(array, channels)]


def is_flat(module: nn.Module, shape: tuple[int, ...], channels: Sequence[int] = ()) -> bool:
    """Whether it gives a tensor, or a tuple or list of tensors, for an input of `shape`: no dictionary, nothing "
    "nested."""
    with torch.inference_mode():
        given = module(*tensors_in(np.zeros(shape, np.float32), channels))
    return isinstance(given, Tensor) or (
        isinstance(given, tuple | list) and all(isinstance(one, Tensor) for one in given)
    )


def of_torchscript(path: Path, device: str = "cpu", channels: Sequence[int] = ()) -> Network:
    """A TorchScript file; `channels` as those of `of_module`."""
    module: nn.Module = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    return of_module(module, device, channels)


def of_onnx(path: Path, channels: Sequence[int] = ()) -> Network:
    """An ONNX file, run by onnxruntime on the CPU; `channels` as those of `of_module`.

    Raises ZoowizardError where it has another number of inputs, or one of no numbers.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it would print every size that the network refuses
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if len(inputs) != max(1, len(channels)) or any(one.type not in _ONNX_TYPES for one in inputs):
        told = ", ".join(f"{one.name}: {one.type}" for one in inputs)
        raise ZoowizardError(f"{path.name} takes {told}; only networks whose inputs are images can be probed")
    graph = onnx.load(str(path), load_external_data=False).graph

    def run(array: Array) -> list[Array]:
        given = zip(inputs, split(array, channels), strict=True)
        return [np.asarray(one) for one in session.run(None, {one.name: part.astype(_ONNX_TYPES[one.type])
                                                              for one, part in given})]  # fmt: skip

    declared = tuple(size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape)
    if channels and declared:
        declared = (declared[0], sum(channels), *declared[2:])
    shapes = {weight.name: tuple(weight.dims) for weight in graph.initializer}
    used = dict.fromkeys(name for node in graph.node for name in node.input if name in shapes)
    weights = [shapes[name] for name in used]  # in the order of the nodes, which the file's own need not be
    return Network(run, weights, sorted({node.op_type for node in graph.node}), declared=declared or None)


def _array(tensor: Tensor) -> Array:
    tensor = tensor.detach().cpu()
    array: Array = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    return array
