"""What is done with a stranger's package in a clean process: the zoo's library reads it, its network runs."""

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zoowizard import plain_yaml
from zoowizard.conversion.converted import Weights
from zoowizard.errors import ZoowizardError
from zoowizard.families.pickles import printable

NOT_NEW: Final = (
    "holds the very same numbers as the package itself; give the weights of the fine-tuned model, or leave new_weights "
    "out"
)
IN_TORCHSCRIPT: Final = "failed in the TorchScript interpreter"
"""Where PyTorch begins so, what went wrong stands at the end."""
MOST_POINTS: Final = 5
MOST_NAMED: Final = 3


@dataclass(frozen=True)
class Exports:
    """Formats that were made of a state dict, and sentences about those that were not."""

    weights: tuple[Weights, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """How formats are made; see `any_network.formats.Exporting`, of which torch would have to be imported.

    `channels` of each input by its id, two `shapes` of all inputs in one, `free` axes of any size by their names, and
    those of each output by its id.
    """

    channels: Mapping[str, int]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    free: Mapping[int, str]
    free_of_outputs: Mapping[str, Mapping[int, str]]


def in_05(description: Path) -> dict[str, Any]:
    """Inputs, outputs, weights and run mode of a description in the layout 0.5, whatever layout it has.

    Raises ZoowizardError with what the library finds wrong, at most five points of it.
    """
    from bioimageio.spec import InvalidDescr, load_description
    from bioimageio.spec.model.v0_5 import ModelDescr

    with warnings.catch_warnings(action="ignore"):  # of what cannot be known of older layouts
        model = load_description(description, perform_io_checks=False, format_version="latest")
    if isinstance(model, InvalidDescr):
        # first it is read in its own layout; what is wrong with it in others follows from that
        errors: Sequence[Any] = next((one.errors for one in model.validation_summary.details if one.errors), [])
        written = plain_yaml.load(description.read_text(encoding="utf-8"))
        points: dict[str, str] = {}
        for error in errors:  # of one place the library tells all kinds that it could have been: one is enough
            place = _place(error.loc, written)
            if not any(place.startswith(f"{other}.") for other in points):
                points.setdefault(place, _point(error.msg))
        listed = [f"{place}: {point}" if place else point for place, point in points.items()]
        more = f" and {len(listed) - MOST_POINTS} more" if len(listed) > MOST_POINTS else ""
        raise ZoowizardError(
            f"the description of the package does not keep to the format: {'; '.join(listed[:MOST_POINTS])}{more}"
        )
    if not isinstance(model, ModelDescr):
        raise ZoowizardError("the description of the package is not that of a model")
    told = model.model_dump(mode="json", include={"inputs", "outputs", "weights", "run_mode"})
    return {**told, "weights": {name: entry for name, entry in told["weights"].items() if entry is not None}}


def _place(steps: Sequence[Any], written: Any) -> str:
    """Where an error is, in the words of the description: the library names the kinds that it tried, too."""
    walked: list[str] = []
    for number, step in enumerate(steps):
        if isinstance(written, Mapping):
            is_there = step in written
        else:
            is_there = isinstance(written, list) and isinstance(step, int) and step < len(written)
        if is_there:
            written = written[step]
            walked.append(str(step))
        elif number == len(steps) - 1 == len(walked):  # an entry that is missing
            walked.append(str(step))
    return ".".join(walked)


def _point(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()] or ["is wrong"]
    return lines[0].removeprefix("Value error, ")[:200]


def run(predict: Callable[..., None], description: Path, weight_format: str, source: Path, target: Path) -> None:
    """Run a package by `clean.predict`. Raises ZoowizardError with what was first to go wrong."""
    try:
        predict(description, weight_format, [source], [target])
    except Exception as problem:
        raise ZoowizardError(in_a_line(problem)) from problem


def in_a_line(problem: BaseException) -> str:
    """The first line of what was first to go wrong; of several things, of one."""
    seen = problem
    while True:
        inner = seen.exceptions[0] if isinstance(seen, BaseExceptionGroup) else seen.__cause__
        if inner is None:
            lines = str(seen).strip().splitlines() or ["no message"]
            told = lines[-1].strip() if IN_TORCHSCRIPT in lines[0] else lines[0]
            return printable(f"{type(seen).__name__}: {told.removeprefix('RuntimeError: ')[:300]}")
        seen = inner


def adopt(description: Path, source: Path, key: str, target: Path) -> None:
    """Save the state dict `key` of a checkpoint as a plain one that fits the network of the package.

    Raises ZoowizardError where it does not fit, whatever stands before the names of its weights.
    """
    import torch
    from bioimageio.core.backends.pytorch_backend import load_torch_model

    from zoowizard.conversion.pytorch_fit import fits, shapes_of, stripped
    from zoowizard.conversion.pytorch_state import chosen, tensors

    described = _weights_of(description).pytorch_state_dict
    known = load_torch_model(described, load_state=False).state_dict()
    state = chosen(source, key)
    found, wanted = tensors(source, state), shapes_of(known)
    apart: list[str] = []
    for prefix in state.prefixes:
        given = stripped(found, prefix)
        if fits(shapes_of(given), wanted):
            state_dict = {name: given.get(name, one).contiguous() for name, one in known.items()}
            _require_new(state_dict, described, source.name)
            torch.save(state_dict, target)
            return
        apart.append(_why_unfit(wanted, shapes_of(given)))
    raise ZoowizardError(f"new_weights: {source.name} does not fit the network of the package: {min(apart, key=len)}")


def _require_new(state: Mapping[str, Any], described: Any, name: str) -> None:
    """Raise ZoowizardError where the package has these tensors already."""
    from bioimageio.core.backends.pytorch_backend import load_torch_model

    try:
        before = load_torch_model(described, load_state=True, devices=["cpu"]).state_dict()
    except Exception:  # its own weights are missing or damaged: these may well be what mends it
        return
    if all(one.shape == before[key].shape and bool((one == before[key]).all()) for key, one in state.items()):
        raise ZoowizardError(f"new_weights: {name} {NOT_NEW}")


def _why_unfit(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> str:
    """What is different, with the first names."""
    missing = [name for name in wanted if name not in given]
    further = [name for name in given if name not in wanted]
    other = [name for name in wanted if name in given and wanted[name] != given[name]]
    said = []
    if missing:
        said.append(f"{len(missing)} of its {len(wanted)} weights are missing ({_first(missing)})")
    if further:
        said.append(f"{len(further)} belong to another network ({_first(further)})")
    if other:
        shapes = f"{other[0]} is {list(given[other[0]])} instead of {list(wanted[other[0]])}"
        said.append(f"{len(other)} have another shape ({shapes})")
    return ", ".join(said)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (" …" if len(names) > MOST_NAMED else "")


def export(description: Path, made_of: str, formats_wanted: Sequence[str], wanted: Wanted, folder: Path) -> Exports:
    """Make the formats that are wanted of a package's `made_of`; each is compared with it at two shapes."""
    import torch
    from bioimageio.core.backends.pytorch_backend import load_torch_model

    from zoowizard.conversion.any_network import formats

    weights = _weights_of(description)
    loaded: torch.nn.Module
    if made_of == "torchscript":
        path = description.parent / str(weights.torchscript.source.path)
        loaded = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    else:
        loaded = load_torch_model(weights.pytorch_state_dict, load_state=True, devices=["cpu"]).eval()
    exporting = formats.Exporting(
        wanted.channels, wanted.shapes, wanted.free, list(wanted.free_of_outputs.values()), list(wanted.free_of_outputs)
    )
    made, left_out = [], []
    for name, make, file in (
        ("torchscript", formats.torchscript, "weights-torchscript.pt"),
        ("onnx", formats.onnx_file, "weights.onnx"),
    ):
        if name in formats_wanted:
            try:
                made.append(make(loaded, exporting, folder / file, made_of))
            except formats.LeftOut as reason:
                left_out.append(str(reason))
    return Exports(tuple(made), tuple(left_out))


def opset_of(path: Path) -> int:
    """The version of the operators of an ONNX file. Raises ZoowizardError where it is none."""
    import onnx

    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except Exception as problem:  # protobuf has its own kinds of errors
        raise ZoowizardError(f"new_weights: {path.name} is no ONNX file that can be read") from problem
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in model.graph.initializer):
        raise ZoowizardError(
            f"new_weights: {path.name} keeps its numbers in another file; save it as one file "
            "(onnx.save(onnx.load(path), path))"
        )
    try:
        onnx.checker.check_model(model)
    except Exception as problem:
        raise ZoowizardError(f"new_weights: {path.name} is damaged: {in_a_line(problem)}") from problem
    return max((int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)


def without_folders(source: Path, weight_format: str, target: Path) -> None:
    """Copy TorchScript or ONNX without what it remembers of the machine that made it."""
    if weight_format == "torchscript":
        from zoowizard.conversion.saved_torchscript import without_debug_records

        try:
            without_debug_records(source, target)
        except Exception:  # an archive that this version of torch reads, and writes otherwise
            shutil.copyfile(source, target)
        return
    import onnx

    from zoowizard.conversion.any_network.formats import forget_machine

    model = onnx.load_model(str(source), load_external_data=False)
    if forget_machine(model):
        onnx.save_model(model, str(target))
    else:
        shutil.copyfile(source, target)


def _weights_of(description: Path) -> Any:
    from bioimageio.spec import load_model_description

    with warnings.catch_warnings(action="ignore"):
        model = load_model_description(description, perform_io_checks=False)
    return model.weights
