"""Further weight formats of a PyTorch module: TorchScript and ONNX, let in where they give what the module gives.

Each is compared at two shapes, on noise. The zoo's own runner has torch 2.5.1 and onnxruntime 1.20.1, which takes
operators up to opset 21 and files up to IR version 10 (https://onnxruntime.ai/docs/reference/compatibility.html).
"""

import inspect
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from torch import nn

from zoowizard.atomic import write_bytes
from zoowizard.conversion import onnx_norms
from zoowizard.conversion.converted import MOST_APART, Array, Weights
from zoowizard.conversion.probing.apart import in_a_line
from zoowizard.conversion.probing.networks import of_module, of_onnx, tensors_in
from zoowizard.conversion.probing.runs import noise
from zoowizard.conversion.saved_torchscript import save_torchscript
from zoowizard.errors import ZoowizardError

OPSET: Final = 17
DYNAMO_OPSET: Final = 18
NEWEST_OPSET: Final = 21
NEWEST_IR: Final = 10
LARGEST_ONNX_BYTES: Final = 2_000_000_000
Shape = tuple[int, ...]
Run = Callable[[Array], Sequence[Array]]


@dataclass(frozen=True)
class Exporting:
    """How a network is exported: the channels of its `inputs` by name, and the `ids` of its outputs.

    Two `shapes` of a stack that holds all inputs are to check it on. `free` are the axes of every input of which any
    size will do, by their names, and `output_axes` those of each output.
    """

    inputs: Mapping[str, int]
    shapes: tuple[Shape, Shape]
    free: Mapping[int, str]
    output_axes: Sequence[Mapping[int, str]]
    ids: Sequence[str]

    @property
    def channels(self) -> Sequence[int]:
        """Of each input where there are several."""
        return list(self.inputs.values()) if len(self.inputs) > 1 else []


class LeftOut(ZoowizardError):
    """A format that is not made; the message is the sentence that says why."""


def torchscript(module: nn.Module, exporting: Exporting, path: Path, parent: str | None) -> Weights:
    """A module as TorchScript, traced, or scripted where a trace holds for one size only. Raises LeftOut.

    The module is in eval mode and as it stands in the package, its outputs a tensor or a tuple.
    """
    reasons = []
    for how in (_traced, _scripted):
        try:
            scripted = how(module, exporting)
            apart = _apart(of_module(scripted, channels=exporting.channels).run, module, exporting)
        except Exception as problem:
            reasons.append(_in_words(problem))
            continue
        if apart <= MOST_APART:
            save_torchscript(scripted, path)
            return Weights("torchscript", path, {"pytorch_version": version()}, parent)
        reasons.append(_differs(apart))
    raise LeftOut(f"TorchScript was left out: {reasons[0]}.")


def onnx_file(module: nn.Module, exporting: Exporting, path: Path, parent: str | None) -> Weights:
    """Such a module as one ONNX file, by the exporter that comes nearest to the runner's versions. Raises LeftOut."""
    reasons = []
    for how in (_by_trace, _by_export):
        try:
            # warnings are for whoever wrote the network; with gradients, TorchScript plans runs that fail without them
            with warnings.catch_warnings(action="ignore"), torch.no_grad():
                model = _tidied(how(module, exporting))
        except Exception as problem:
            reasons.append(_in_words(problem))
            continue
        write_bytes(path, model.SerializeToString())
        try:
            apart = _apart(of_onnx(path, exporting.channels).run, module, exporting)
        except Exception as problem:
            reasons.append(_in_words(problem))
            continue
        if apart <= MOST_APART:
            return Weights("onnx", path, {"opset_version": opset_of(model)}, parent)
        reasons.append(_differs(apart))
    path.unlink(missing_ok=True)
    raise LeftOut(f"ONNX was left out: {reasons[0]}.")


def version() -> str:
    """Of torch, as a description has it."""
    return torch.__version__.split("+")[0]


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators of a model."""
    return max((int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)


def _traced(module: nn.Module, exporting: Exporting) -> Any:
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.trace(module, _example(exporting), check_trace=False)  # type: ignore[no-untyped-call]


def _scripted(module: nn.Module, exporting: Exporting) -> Any:
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.script(module)


def _by_trace(module: nn.Module, exporting: Exporting) -> onnx.ModelProto:
    written = io.BytesIO()
    torch.onnx.export(
        module,
        _example(exporting),
        written,  # type: ignore[arg-type]  # this exporter takes what can be written to
        dynamo=False,
        opset_version=OPSET,
        input_names=list(exporting.inputs),
        output_names=list(exporting.ids),
        dynamic_axes={
            **{one: dict(exporting.free) for one in exporting.inputs},
            **{one: dict(axes) for one, axes in zip(exporting.ids, exporting.output_axes, strict=True)},
        },
    )
    return onnx.load_model_from_string(written.getvalue())


def _by_export(module: nn.Module, exporting: Exporting) -> onnx.ModelProto:
    free = dict.fromkeys(exporting.free, torch.export.Dim.AUTO)
    program = torch.onnx.export(
        module,
        _example(exporting, 2 if 0 in exporting.free else 1),  # a size of 1 would be taken for the only one
        dynamo=True,
        opset_version=DYNAMO_OPSET,
        input_names=list(exporting.inputs),
        output_names=list(exporting.ids),
        dynamic_shapes=_by_parameter(module, [free for _ in exporting.inputs]),
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _by_parameter(module: nn.Module, each: Sequence[Any]) -> tuple[Any, ...]:
    """What holds for `each` input, as the parameters of `forward` take the inputs: the last may take several."""
    if isinstance(module, torch.jit.ScriptModule):  # it has no signature, and takes as many as it says
        return tuple(each)
    parameters = list(inspect.signature(module.forward).parameters.values())
    plain = [one for one in parameters if one.kind is not one.VAR_POSITIONAL]
    if len(plain) == len(parameters):
        return tuple(each)
    return (*each[: len(plain)], tuple(each[len(plain) :]))


def _tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Exact, without what it remembers of the machine that made it, in the version that the zoo's own runner reads."""
    forget_machine(model)
    onnx_norms.exact(model)
    for field in ("doc_string", "metadata_props"):
        model.ClearField(field)
    model.ir_version = min(model.ir_version, NEWEST_IR)
    if opset_of(model) > NEWEST_OPSET:
        raise ZoowizardError(f"it needs opset {opset_of(model)}, and the zoo's own runner takes {NEWEST_OPSET} at most")
    if model.ByteSize() > LARGEST_ONNX_BYTES:
        raise ZoowizardError("it is over 2 GB, which no file of this format holds")
    onnx.checker.check_model(model)
    return model


def forget_machine(model: onnx.ModelProto) -> bool:
    """Take out what exporters note at every node, as the folders of the code that made it; gives whether there was any.

    What stands at the whole model stays: its author may have written it.
    """
    was_there = False
    graphs: list[Any] = [model.graph, *model.functions]
    for graph in graphs:
        for one in (graph, *graph.node, *getattr(graph, "initializer", ()), *graph.value_info):
            for field in ("doc_string", "metadata_props"):
                if field in one.DESCRIPTOR.fields_by_name and getattr(one, field):
                    one.ClearField(field)
                    was_there = True
    return was_there


def _example(exporting: Exporting, batch: int = 1) -> tuple[torch.Tensor, ...]:
    return tuple(tensors_in(noise((batch, *exporting.shapes[0][1:])), exporting.channels))


def _apart(run: Run, module: nn.Module, exporting: Exporting) -> float:
    """The largest difference from the module at both shapes, in standard deviations of the output."""
    wanted = of_module(module, channels=exporting.channels).run
    return max(largest_difference(run(noise(shape)), wanted(noise(shape))) for shape in exporting.shapes)


def largest_difference(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    """Of all outputs, in standard deviations of what is wanted; infinite where shapes differ."""
    if [one.shape for one in found] != [one.shape for one in wanted]:
        return float("inf")
    worst = 0.0
    for one, other in zip(found, wanted, strict=True):
        there = other.astype(np.float64)
        apart = np.abs(one.astype(np.float64) - there).max(initial=0.0)
        worst = max(worst, float(apart) / (float(there.std()) or 1.0))
    return worst if worst == worst else float("inf")


def _differs(apart: float) -> str:
    if apart == float("inf"):
        return "at another size of the image, it gives an output of another size"
    return f"it differs by {apart:.2g} of the output's spread, where {MOST_APART:g} or less would be right"


def _in_words(problem: Exception) -> str:
    if isinstance(problem, ZoowizardError):
        return str(problem)
    return f"the network could not be converted ({type(problem).__name__}: {in_a_line(problem).rstrip('.')})"
