"""What an ONNX file says of its network, read without the onnx library and without the weights.

Source of the format: onnx/onnx.proto of ONNX 1.23. The library itself would load the whole file, weights and all.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from zoowizard.families.literals import AGAIN, DamagedError
from zoowizard.families.pickles import followed, printable
from zoowizard.families.protobuf import LENGTH, VARINT, Message, signed

MOST_TENSORS: Final = 100_000
MOST_PORTS: Final = 10_000
"""Inputs or outputs; of old exporters every weight is one."""
MOST_KINDS: Final = 10_000
"""Of operators; ONNX itself has some 200."""
MOST_AXES: Final = 64
MOST_NUMBERS: Final = 1 << 44
"""In one tensor."""
_POINTER: Final = "version https://git-lfs"
DEEPEST: Final = 32
"""Graphs within graphs (the branches of an If)."""
TYPES: Final = (
    "undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16",
    "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz",
    "float8e5m2", "float8e5m2fnuz", "uint4", "int4", "float4e2m1", "float8e8m0", "uint2", "int2",
)  # fmt: skip
"""`TensorProto.DataType` by its number."""
_BITS: Final = {
    "float32": 32, "uint8": 8, "int8": 8, "uint16": 16, "int16": 16, "int32": 32, "int64": 64, "bool": 8, "float16": 16,
    "float64": 64, "uint32": 32, "uint64": 64, "complex64": 64, "complex128": 128, "bfloat16": 16,
}  # fmt: skip
_FEWEST_BITS: Final = {name: 8 if "int" in name else bits for name, bits in _BITS.items()} | {
    "float16": 8, "bfloat16": 8
}  # fmt: skip
"""Whole and half numbers may be written in one byte each; of types that are not here nothing is expected."""
_FLOATS: Final = frozenset({"float32", "float64", "float16", "bfloat16"})
_CONVOLUTIONS: Final = frozenset({"Conv", "ConvTranspose", "ConvInteger", "QLinearConv"})


@dataclass(frozen=True)
class Port:
    """An input or output. `shape` is None where the file does not tell it; an axis is a length, a name, or None.

    `dtype` is numpy's word, and empty where this is no tensor (a list or mapping of them).
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class Weight:
    """A tensor of the network by its shape; `external` is (file, first byte, bytes or None) where it lies beside."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    external: tuple[str, int, int | None] | None = None


@dataclass
class Model:
    """An ONNX model. `operators` counts (domain, operator), those of subgraphs and functions too.

    `files` says how many bytes are needed of each file of external data; `first` is the first convolution's weight and
    its groups; `parameters` the numbers in weights that are floating point.
    """

    ir_version: int = 0
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    operators: Counter[tuple[str, str]] = field(default_factory=Counter)
    functions: set[tuple[str, str]] = field(default_factory=set)
    weights: dict[str, Weight] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    parameters: int = 0
    types: Counter[str] = field(default_factory=Counter)
    convolution: tuple[str, str, int] | None = None
    has_graph: bool = False

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators."""
        return max(self.opsets.get("", 0), self.opsets.get("ai.onnx", 0))

    @property
    def real_inputs(self) -> list[Port]:
        """The inputs that somebody has to give: old exporters list the weights as inputs, too."""
        return [one for one in self.inputs if one.name not in self.weights]


def read(path: Path) -> Model:
    """Read the ONNX file at `path`, whatever its size.

    Raises WrongUse where there is no such file, and ZoowizardError where it cannot be read or is no ONNX file; each
    with one sentence that names the file.
    """
    with followed(path) as file:
        message, model = Message(file), Model()
        if message.text(min(message.size, len(_POINTER))) == _POINTER:
            raise DamagedError("is only the pointer of git LFS; fetch the file itself with: git lfs pull")
        _model(message, message.size, model)
        if not model.has_graph or not model.ir_version:
            raise DamagedError(f"is no ONNX file, or one that is cut short{AGAIN}")
        if not model.outputs:
            raise DamagedError(f"is an ONNX file whose network has no outputs{AGAIN}")
    return model


def _model(message: Message, end: int, model: Model) -> None:
    version = ""
    for number, kind, value in message.fields(end):
        if number == 1 and kind == VARINT:
            model.ir_version = value
        elif kind != LENGTH:
            continue
        elif number == 2:
            model.producer = message.text(value)
        elif number == 3:
            version = message.text(value)
        elif number == 7:
            model.has_graph = True
            _graph(message, message.at + value, model, 0)
        elif number == 8:
            domain, told = _opset(message, message.at + value)
            if len(model.opsets) < MOST_KINDS:
                model.opsets[domain] = max(told, model.opsets.get(domain, 0))
        elif number == 14:
            key, text = _pair(message, message.at + value, 4096)
            if len(model.metadata) < 1000:
                model.metadata[key] = text
        elif number == 25:
            _function(message, message.at + value, model)
    model.producer = f"{model.producer} {version}".strip()


def _opset(message: Message, end: int) -> tuple[str, int]:
    domain, version = "", 0
    for number, kind, value in message.fields(end):
        if number == 1 and kind == LENGTH:
            domain = message.text(value)
        elif number == 2 and kind == VARINT:
            version = signed(value)
    return domain, version


def _pair(message: Message, end: int, longest: int = 512) -> tuple[str, str]:
    """StringStringEntryProto."""
    pair = {1: "", 2: ""}
    for number, kind, value in message.fields(end):
        if number in pair and kind == LENGTH:
            pair[number] = message.text(value, longest)
    return pair[1], pair[2]


def _function(message: Message, end: int, model: Model) -> None:
    """A function of the file's own: what it is made of counts, and calling it needs no library."""
    told = {1: "", 10: ""}
    for number, kind, value in message.fields(end):
        if kind != LENGTH:
            continue
        if number in told:
            told[number] = message.text(value)
        elif number == 7:
            _node(message, message.at + value, model, 1)
        elif number == 9:
            domain, version = _opset(message, message.at + value)
            model.opsets.setdefault(domain, version)
    if len(model.functions) < MOST_KINDS:
        model.functions.add((told[10], told[1]))


def _graph(message: Message, end: int, model: Model, depth: int) -> None:
    """The network itself at depth 0: only its inputs and outputs are the model's."""
    if depth > DEEPEST:
        raise DamagedError(f"holds graphs within graphs, more than {DEEPEST} deep, which no exporter writes")
    for number, kind, value in message.fields(end):
        if kind != LENGTH:
            continue
        stop = message.at + value
        if number == 1:
            _node(message, stop, model, depth)
        elif number == 5:
            _keep(model, _tensor(message, stop))
        elif number == 15:  # of a sparse tensor only the values are weights
            for part, form, length in message.fields(stop):
                if part == 1 and form == LENGTH:
                    _keep(model, _tensor(message, message.at + length))
        elif number in (11, 12) and depth == 0:
            ports = model.inputs if number == 11 else model.outputs
            if len(ports) >= MOST_PORTS:
                raise DamagedError(f"has more than {MOST_PORTS:,} inputs or outputs")
            ports.append(_port(message, stop))


def _keep(model: Model, weight: Weight) -> None:
    if len(model.weights) >= MOST_TENSORS:
        raise DamagedError(f"holds more than {MOST_TENSORS:,} tensors, far more than networks have")
    model.weights[weight.name] = weight
    _count(model, weight)


def _count(model: Model, weight: Weight) -> None:
    if weight.dtype in _FLOATS:
        model.parameters += math.prod(weight.shape)
        model.types[weight.dtype] += math.prod(weight.shape)
    if weight.external is not None:
        location, start, length = weight.external
        whole = math.prod(weight.shape) * _BITS.get(weight.dtype, 8) // 8
        if location not in model.files and len(model.files) >= MOST_KINDS:
            raise DamagedError(f"names more than {MOST_KINDS:,} files of external data")
        needed = start + (whole if length is None else length)
        model.files[location] = max(needed, model.files.get(location, 0))


def _node(message: Message, end: int, model: Model, depth: int) -> None:
    operator, domain, groups = "", "", 1
    inputs: list[str] = []
    for number, kind, value in message.fields(end):
        if kind != LENGTH:
            continue
        if number == 1 and len(inputs) < 2:
            inputs.append(message.text(value))
        elif number == 4:
            operator = message.text(value)
        elif number == 7:
            domain = message.text(value)
        elif number == 5:
            name, whole = _attribute(message, message.at + value, model, depth)
            groups = whole if name == "group" and whole is not None else groups
    key = ("" if domain == "ai.onnx" else domain, operator)
    if key not in model.operators and len(model.operators) >= MOST_KINDS:
        raise DamagedError(f"names more than {MOST_KINDS:,} kinds of operators")
    model.operators[key] += 1
    if model.convolution is None and operator in _CONVOLUTIONS and len(inputs) == 2:
        model.convolution = (operator, inputs[1], groups)


def _attribute(message: Message, end: int, model: Model, depth: int) -> tuple[str, int | None]:
    """An attribute's name, and its number where it is a whole one; graphs and tensors in it are looked at."""
    name, whole = "", None
    for number, kind, value in message.fields(end):
        if number == 3 and kind == VARINT:
            whole = signed(value)
        elif kind != LENGTH:
            continue
        elif number == 1:
            name = message.text(value)
        elif number in (5, 10):
            _count(model, _tensor(message, message.at + value))
        elif number in (6, 11):
            _graph(message, message.at + value, model, depth + 1)
    return name, whole


def _tensor(message: Message, end: int) -> Weight:
    """A TensorProto without its numbers. Raises DamagedError where it holds fewer than it says."""
    name, dtype, there = "", "undefined", 0
    shape: list[int] = []
    external: dict[str, str] = {}
    is_external = False
    for number, kind, value in message.fields(end):
        if number == 1:
            shape += message.numbers(kind, value)
            if len(shape) > MOST_AXES:
                raise DamagedError(f"holds a tensor of more than {MOST_AXES} axes")
        elif number == 2 and kind == VARINT:
            dtype = TYPES[value] if value < len(TYPES) else f"type {value}"
        elif number == 8 and kind == LENGTH:
            name = message.text(value)
        elif number == 13 and kind == LENGTH and len(external) < 100:
            key, text = _pair(message, message.at + value)
            external[key] = text
        elif number == 14 and kind == VARINT:
            is_external = value == 1
        elif number in (4, 5, 6, 7, 9, 10, 11):
            there += value if kind == LENGTH else 1
    if any(length < 0 for length in shape) or math.prod(shape) > MOST_NUMBERS:
        raise DamagedError(f"holds a tensor of a size that there cannot be{AGAIN}")
    place = _place(external, name) if is_external else None
    if place is not None:
        there = place[2] if place[2] is not None else math.prod(shape) * _BITS.get(dtype, 8) // 8
    if there < math.prod(shape) * _FEWEST_BITS.get(dtype, 0) // 8:
        told = " x ".join(str(length) for length in shape)
        raise DamagedError(
            f"says that `{printable(name[:60])}` is {told} numbers, and holds only {there} bytes of them{AGAIN}"
        )
    return Weight(name, dtype, tuple(shape), place)


def _place(external: dict[str, str], name: str) -> tuple[str, int, int | None]:
    numbers = {key: external.get(key, "") for key in ("offset", "length")}
    if any(text and not (text.isascii() and text.isdigit() and len(text) < 19) for text in numbers.values()):
        raise DamagedError(f"says of `{printable(name[:60])}` no place in the file beside it that there can be{AGAIN}")
    if not external.get("location"):
        raise DamagedError(f"does not say in which file the numbers of `{printable(name[:60])}` are{AGAIN}")
    return external["location"], int(numbers["offset"] or 0), int(numbers["length"]) if numbers["length"] else None


def _port(message: Message, end: int) -> Port:
    """ValueInfoProto."""
    name, dtype = "", ""
    shape: tuple[int | str | None, ...] | None = None
    for number, kind, value in message.fields(end):
        if number == 1 and kind == LENGTH:
            name = message.text(value)
        elif number == 2 and kind == LENGTH:
            for part, form, length in message.fields(message.at + value):
                if part == 1 and form == LENGTH:  # tensor_type; the others are lists, mappings, what may be missing
                    dtype, shape = _tensor_type(message, message.at + length)
    return Port(name, dtype, shape)


def _tensor_type(message: Message, end: int) -> tuple[str, tuple[int | str | None, ...] | None]:
    dtype = "undefined"
    shape: list[int | str | None] | None = None
    for number, kind, value in message.fields(end):
        if number == 1 and kind == VARINT:
            dtype = TYPES[value] if value < len(TYPES) else f"type {value}"
        elif number == 2 and kind == LENGTH:
            shape = []
            for part, form, length in message.fields(message.at + value):
                if part == 1 and form == LENGTH:
                    shape.append(_axis(message, message.at + length))
                    if len(shape) > MOST_AXES:
                        raise DamagedError(f"holds a tensor of more than {MOST_AXES} axes")
    return dtype, None if shape is None else tuple(shape)


def _axis(message: Message, end: int) -> int | str | None:
    axis: int | str | None = None
    for number, kind, value in message.fields(end):
        if number == 1 and kind == VARINT:
            length = signed(value)
            axis = length if length > 0 else None
        elif number == 2 and kind == LENGTH:
            axis = message.text(value, 60) or None
    return axis
