"""ONNX: recognise a file, and ask what it cannot tell. Neither its weights nor files beside it are read."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from zoowizard.drafts.draft import CHECKPOINT, Value
from zoowizard.drafts.fields import Field
from zoowizard.errors import UnsafeCheckpoint, ZoowizardError
from zoowizard.families import exported_told as told
from zoowizard.families import further_inputs
from zoowizard.families.exported_told import Image, in_the_way, listed
from zoowizard.families.family import Files, Recognition, Warning
from zoowizard.families.network_fields import NETWORK_FIELDS
from zoowizard.families.onnx_graph import Model, Port, read
from zoowizard.families.pickles import printable

NAME = "onnx"
FIELDS: Sequence[Field] = NETWORK_FIELDS
LABELS: Mapping[str, str] = {
    **told.LABELS,
    "operators": "operators",
    "opset": "opset",
    "producer": "written by",
    "external_data": "weights in",
}
asks = told.asks
SUFFIX: Final = ".onnx"
FILES = Files((SUFFIX,))
NEWEST_OPSET: Final = 21
NEWEST_IR: Final = 10
"""What onnxruntime 1.20.1, that of the zoo's runner, loads; measured."""
OLDEST_OPSET: Final = 7
"""`OnnxWeightsDescr.opset_version` in `bioimageio.spec.model.v0_5`."""
TYPES: Final = ("float32", "float64", "uint8", "uint16")
"""In which the zoo's format can give an image to a network."""
OF_RUNTIME: Final = frozenset({"com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc", "ai.onnx.ml"})
"""Domains of operators that onnxruntime brings beside ONNX's own."""
CONTROL: Final = ("If", "Loop", "Scan")
COUNTED: Final = ("NonMaxSuppression", "NonZero", "Unique")
"""Operators whose results are as long as the image makes them."""
MOST_NAMED: Final = 5


def named_like(name: str) -> bool:
    """Never: ONNX files have an ending."""
    return False


def built_in(path: Path) -> str | None:
    """Nothing is fetched by name."""
    return None


def look(path: Path) -> Model:
    """Read it again, and see that the files beside it are in their place. Raises as `read` and `beside` do,
    ZoowizardError also where one of these is missing."""
    model = read(path)
    sizes = beside(path, model)
    for warning in _missing(model, sizes):
        raise ZoowizardError(f"{printable(path.name)}: {warning.message}")
    return model


def recognise(path: Path) -> Recognition | None:
    """Look at one file; None where it is not called .onnx, and for a folder.

    Raises as `onnx_graph.read` does, UnsafeCheckpoint where it names files that are not beside it.
    """
    if path.suffix.lower() != SUFFIX or path.is_dir():
        return None
    model = read(path)
    sizes = beside(path, model)
    image, how = _image(model)
    dtype = model.types.most_common(1)[0][0] if model.types else ""
    inputs = model.real_inputs
    declared = inputs[0].shape if inputs else None
    own = [name if not domain else f"{domain}::{name}" for domain, name in sorted(model.operators)]
    values = {
        **image.values(path, "ONNX", "onnx"),
        "parameters": Value(model.parameters, CHECKPOINT),
        further_inputs.FURTHER: Value(further_inputs.names_for([one.name for one in inputs[1:]]), CHECKPOINT),
        "inputs_found": Value([_port(one) for one in inputs], CHECKPOINT),
        "outputs_found": Value([_port(one) for one in model.outputs], CHECKPOINT),
        "dtype": Value(dtype, CHECKPOINT),
        "opset": Value(model.opset, CHECKPOINT),
        "operators": Value(own[:200], CHECKPOINT),
        "producer": Value(model.producer, CHECKPOINT),
        "external_data": Value({name: size for name, size in sizes.items() if size is not None}, CHECKPOINT),
    }
    if declared is not None and image.spatial_axes is not None:
        values["input_shape"] = Value(told.shape_in_words(declared), CHECKPOINT)
    kept = {name: one for name, one in values.items() if one.value not in ("", [], {}, 0)}
    warnings = (*_missing(model, sizes), *_in_the_way(model), *_suspicions(model, image, dtype))
    return Recognition(path, NAME, path, tuple(_evidence(model, how)), kept, warnings)


def beside(path: Path, model: Model) -> dict[str, int | None]:
    """The bytes of each file beside the model in which its weights are, None where it is not there.

    Raises UnsafeCheckpoint for a name that leads anywhere else: such a file would be published with the model.
    """
    sizes: dict[str, int | None] = {}
    for name in sorted(model.files):
        climbs = ".." in PurePosixPath(name).parts or ".." in PureWindowsPath(name).parts
        if climbs or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or "\0" in name:
            raise UnsafeCheckpoint(
                f"{printable(path.name)} says that its weights are in {printable(name[:100])}, outside of its own "
                "folder. Save it again with the weights in a file beside it."
            )
        try:
            known = os.lstat(path.parent / name)
        except (OSError, ValueError):
            sizes[name] = None
            continue
        if not stat.S_ISREG(known.st_mode) or _is_elsewhere(path.parent, name):
            raise UnsafeCheckpoint(
                f"{printable(path.name)} says that its weights are in {printable(name[:100])}, which is no file of its "
                "own but a link or a device: put the file itself there."
            )
        sizes[name] = known.st_size
    return sizes


def _is_elsewhere(folder: Path, name: str) -> bool:
    """Whether a folder on the way to the file is a link that leads out."""
    real = os.path.realpath(folder / name)
    return not real.startswith(os.path.join(os.path.realpath(folder), ""))  # noqa: PTH118


def _missing(model: Model, sizes: Mapping[str, int | None]) -> Iterator[Warning]:
    for name, size in sizes.items():
        needed = model.files[name]
        if size is None:
            message = f"Its weights are in the file {printable(name)}, which is missing: put it beside the .onnx again."
            yield Warning("no-weights", message)
        elif size < needed:
            yield Warning(
                "no-weights",
                f"Its weights are in the file {printable(name)}, which has {size} of the {needed} bytes that are "
                "needed: copy it again.",
            )


def _image(model: Model) -> tuple[Image, str]:
    """What the network takes, and how that is known."""
    inputs = model.real_inputs
    shape = inputs[0].shape if inputs else None
    guess, weight = Image(), None
    if model.convolution is not None:
        operator, name, groups = model.convolution
        weight = model.weights.get(name)
        if weight is not None:
            guess = told.image_of_weight(weight.shape, operator == "ConvTranspose", groups)
    declared = told.image_of(shape) if shape is not None else Image()
    if declared.spatial_axes is None:
        how = f"its first convolution fits {guess.in_words}: a guess to confirm" if guess.spatial_axes else ""
        return guess, how
    if declared.channels is None and guess.spatial_axes == declared.spatial_axes and guess.channels is not None:
        image = Image(declared.spatial_axes, guess.channels)
        return image, f"its first convolution takes {guess.channels} channel(s): a guess to confirm"
    return declared, ""


def _port(port: Port) -> str:
    shape = "" if port.shape is None else f", {told.shape_in_words(port.shape)}"
    return f"{port.name} ({port.dtype or 'no tensor'}{shape})"


def _evidence(model: Model, how: str) -> Iterator[str]:
    by = f", written by {printable(model.producer[:60])}" if model.producer else ""
    yield f"it is an ONNX file of opset {model.opset}{by}"
    for words, ports in (("takes", model.real_inputs), ("gives", model.outputs)):
        if ports:
            yield f"it {words} {printable(listed([_port(one) for one in ports], MOST_NAMED)[:300])}"
    if how:
        yield how


def _in_the_way(model: Model) -> Iterator[Warning]:
    inputs = model.real_inputs
    if not inputs or len(inputs) > further_inputs.MOST_INPUTS:
        yield in_the_way(
            f"It takes {len(inputs) or 'no'} inputs; a package is made of a network that takes one image or a few: "
            f"export it so that it takes one to {further_inputs.MOST_INPUTS}."
        )
    else:
        problems = (_no_image(one, inputs[0].shape, len(inputs)) for one in inputs)
        yield from (in_the_way(one) for one in problems if one)
    if any(not one.dtype for one in model.outputs):
        yield in_the_way("One of its outputs is no tensor but a list or mapping: export it so that it gives tensors.")
    if model.opset and model.opset < OLDEST_OPSET:
        yield in_the_way(
            f"It is of opset {model.opset}, and the zoo takes ONNX from opset {OLDEST_OPSET} on: export it again."
        )
    used = sorted({one for one in model.operators if one not in model.functions and _is_foreign(one[0])})
    if used:
        yield in_the_way(
            f"It needs {printable(listed([f'{domain}::{name}' for domain, name in used], MOST_NAMED)[:300])}, which "
            "onnxruntime does not bring: export it with plain operators."
        )


def _no_image(port: Port, first: Sequence[int | str | None] | None, count: int) -> str | None:
    """What is wrong with an input of `count`, of which the `first` has that shape."""
    its = f"Its input {printable(port.name[:60])} is" if count > 1 else "Its input is"
    if port.dtype not in TYPES:
        kind = port.dtype or "a list or mapping of tensors"
        return (
            f"Its input {printable(port.name[:60])} is {kind}, which the zoo's format cannot give: export it with a "
            "float32 input."
        )
    if (shape := port.shape) is None:
        return None
    if len(shape) not in (4, 5):
        return (
            f"{its} {told.shape_in_words(shape)}, no image of (batch, channel, y, x) or (batch, channel, z, y, x): "
            "export it with such an input."
        )
    if _has_channels_last(shape):
        return (
            f"{its} {told.shape_in_words(shape)}, with the channels last; a package takes them first: export it with "
            "channels first (tf2onnx does so with --inputs-as-nchw)."
        )
    if isinstance(shape[0], int) and shape[0] > 1:
        return f"It takes batches of {shape[0]} images only: export it with a batch of one, or a free batch axis."
    sides = zip(shape[2:], (first or ())[2:], strict=False)
    if first is not None and (len(shape) != len(first) or any(
        isinstance(one, int) and isinstance(other, int) and one != other for one, other in sides
    )):  # fmt: skip
        return (
            f"{its} {told.shape_in_words(shape)}, and the first one {told.shape_in_words(first)}; a package takes "
            "images of the same size: export it so that it makes the others of these."
        )
    return None


def _is_foreign(domain: str) -> bool:
    return domain != "" and domain not in OF_RUNTIME


def _has_channels_last(shape: Sequence[int | str | None]) -> bool:
    """Whether the last axis can only be the channels: few, where the second one is many or free."""
    last, second = shape[-1], shape[1]
    return isinstance(last, int) and last <= 4 and not (isinstance(second, int) and second <= 16)


def _suspicions(model: Model, image: Image, dtype: str) -> Iterator[Warning]:
    if model.opset > NEWEST_OPSET or model.ir_version > NEWEST_IR:
        yield Warning(
            "new-opset",
            f"It is of opset {model.opset} and IR version {model.ir_version}; the zoo's runner (onnxruntime 1.20.1) "
            f"loads ONNX up to opset {NEWEST_OPSET} and IR version {NEWEST_IR}, deepImageJ up to opset 18: export it "
            "with an older opset_version.",
        )
    extra = sorted({f"{domain}::{name}" for domain, name in model.operators if domain in OF_RUNTIME})
    if extra:
        yield Warning(
            "runtime-operators",
            f"It needs {printable(listed(extra, MOST_NAMED)[:300])}, which onnxruntime brings and other tools do not.",
        )
    if dtype in ("float16", "bfloat16"):
        yield told.half_precision(dtype)
    own = {name for domain, name in model.operators if domain == ""}
    if control := [one for one in CONTROL if one in own]:
        yield Warning(
            "control-flow",
            f"It has {listed(control)} in it: what it computes depends on the image, so that it cannot be tested for "
            "all of them, and some tools cannot load it.",
        )
    if counted := [one for one in COUNTED if one in own]:
        yield Warning(
            "counted-outputs",
            f"It has {listed(counted)} in it: an output may be as long as the image makes it, where the zoo's format "
            "wants sizes that are known beforehand.",
        )
    shape = model.real_inputs[0].shape if model.real_inputs else None
    if shape is not None and image.spatial_axes is not None and all(isinstance(one, int) for one in shape[2:]):
        yield Warning(
            "fixed-size",
            f"It takes images of {told.shape_in_words(shape[2:])} only. Export it with free axes (dynamic_shapes, or "
            "dynamic_axes in the older exporter), so that it takes images of any size.",
        )
    if model.metadata.get("author") == "Ultralytics":
        yield told.YOLO
