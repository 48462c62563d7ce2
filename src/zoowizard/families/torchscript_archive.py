"""What a TorchScript file says of its network, read without torch: nothing in it is run.

Sources of the format: torch/csrc/jit/docs/serialization.md of PyTorch (the records), torch/csrc/jit/serialization
(`python_print.cpp`: the code; `pickler.cpp`: the values), torch/export/pt2_archive (exported programs).
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from zoowizard.errors import UnsafeCheckpoint
from zoowizard.families.allowed import danger
from zoowizard.families.literals import AGAIN, MOST_INSTRUCTIONS, DamagedError, Machine
from zoowizard.families.opcodes import run
from zoowizard.families.pickles import LARGEST_PICKLE, followed, printable
from zoowizard.families.stand_ins import Made, Tensor
from zoowizard.families.zips import ZIP, Record, records, unpacked

LARGEST_CODE_BYTES: Final = 8 << 20
"""Of all code together; the largest networks have 2 MB."""
LONGEST_SIGNATURE: Final = 20_000
LONGEST_CALL: Final = 2000
MOST_CALLS: Final = 2000
MOST_MODULES: Final = 200_000
MOST_NUMBERS: Final = 1 << 44
"""In one tensor."""
_PROGRAM: Final = re.compile(
    r"__torch__\..*|torch\.jit\._pickle\.build_\w+list|torch\._utils\._rebuild_qtensor|torch\.per_\w+_affine"
)
"""What the values may name beside what a checkpoint may: torch::jit knows these by name and imports nothing."""
_CUSTOM: Final = re.compile(r"__torch__\.torch\.classes\.(\w+)\.(\w+)")
_OPERATOR: Final = re.compile(r"(?<![\w.\"])ops\.(\w+)\.(\w+)")
_REACHES_OUT: Final = re.compile(
    r"(?:[.\"']\s*(?P<file>save|from_file|read_file|write_file)|\b(?P<call>rpc_a?sync|rpc_remote))\s*[(\"']"
)
"""Operators that read or write files of the computer on which the network is used, or talk to others; as python_print
writes them, and as the parser of torch would take them as well."""
_ARGUMENT: Final = re.compile(r" ?(\w+): ([^=]+)(=.+)?")
_MANGLED: Final = re.compile(r"___torch_mangle_\d+\.")
_STATEFUL: Final = re.compile(r"torch\.(batch_norm|(?:feature_)?(?:alpha_)?dropout_?)\(")
"""What computes one thing while training, and another one afterwards."""
_DEVICE: Final = re.compile(r"torch\.device\(\"(cuda|mps|xpu)[^\"]*\"\)")
_CONVOLUTION: Final = re.compile(r"\.conv(?:\.___torch_mangle_\d+)?\.(?:Lazy)?Conv(Transpose)?([123])d$")


@dataclass(frozen=True)
class Argument:
    """An input of the network: its name, its TorchScript type, and whether it may be left out."""

    name: str
    kind: str
    optional: bool


@dataclass(frozen=True)
class Program:
    """A TorchScript file. `kind` says of which sort: see `SORTS`; of all but `script` nothing else is known.

    `name` is the network's class; `inputs` and `output` (a TorchScript type) are those of its `forward`, None where
    there is none. `tensors` are parameters and buffers by their dotted names, `constants` those of a frozen network;
    `convolution` is the name of the weight of the first convolution, by the order of the modules. `traced` are the
    shapes of the images that it was traced with. `operators` are those that are not of ATen (`torchvision::nms`),
    `classes` the classes written in C++. `training` says that it was traced while training, `device` the device that
    its code asks for. `extra` are the files that its author put in.
    """

    kind: str
    name: str = ""
    inputs: Sequence[Argument] | None = None
    output: str = ""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    constants: Sequence[Tensor] = ()
    convolution: str = ""
    transposed: bool = False
    traced: Sequence[tuple[int, ...]] = ()
    operators: Mapping[str, int] = field(default_factory=dict)
    classes: frozenset[str] = frozenset()
    training: bool = False
    device: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_tensors(self) -> list[Tensor]:
        """Parameters, buffers and constants."""
        return [*self.tensors.values(), *self.constants]


SORTS: Final = ("script", "old script", "mobile", "exported", "compiled", "package")


def read(path: Path) -> Program | None:
    """Read the file at `path`, whatever its size; None where it is no program but perhaps a checkpoint.

    Raises UnsafeCheckpoint where using it could do more than compute, WrongUse where there is no such file, and
    ZoowizardError where it cannot be read; each with one sentence that names the file.
    """
    with followed(path) as file:
        if file.read(4) != ZIP:
            return None
        listed = list(records(file, os.fstat(file.fileno()).st_size))
        sort = _sort(listed)
        return _script(path.name, file, listed) if sort == "script" else Program(sort) if sort else None


def _place(record: Record) -> str:
    """The record's name below the folder of the archive, small: torch looks names up without regard to case."""
    return record.name.decode("utf-8", "replace").replace("\\", "/").partition("/")[2].lower()


def _sort(listed: Sequence[Record]) -> str:
    """Which of SORTS it is by the names of its records; empty where it is none."""
    places = {_place(one) for one in listed}
    whole = {one.name.decode("utf-8", "replace").lower() for one in listed}
    has_code = any(one.startswith("code/") for one in places)
    if "constants.pkl" in places and has_code:
        return "script"
    if "bytecode.pkl" in places:
        return "mobile"
    if any(one.startswith("data/aotinductor/") for one in places):
        return "compiled"
    if "archive_format" in places or any(one.endswith("serialized_exported_program.json") for one in whole):
        return "exported"
    if "model.json" in places and (has_code or any(one.startswith("tensors/") for one in places)):
        return "old script"
    return "package" if ".data/extern_modules" in places else ""


def _script(name: str, file: BinaryIO, listed: Sequence[Record]) -> Program:
    code = _code(file, listed)
    _refuse_what_reaches_out(name, code.values())
    names: set[str] = set()
    left = [MOST_INSTRUCTIONS]
    root = _values(name, file, listed, "data.pkl", names, left)
    constants = _values(name, file, listed, "constants.pkl", names, left)
    traced = _values(name, file, listed, "traced_inputs.pkl", names, left)
    kind = root.kind if isinstance(root, Made) else ""
    inputs, output = _signature(kind, code)
    tensors, convolution, transposed = _tensors(root)
    held = [one for one in constants if isinstance(one, Tensor)] if isinstance(constants, tuple) else []
    if any(one.numel > MOST_NUMBERS for one in (*tensors.values(), *held)):
        raise DamagedError(f"holds a tensor of a size that there cannot be{AGAIN}")
    text = "\n".join(code.values())
    operators = Counter(f"{one[1]}::{one[2]}" for one in _OPERATOR.finditer(text))
    classes = {f"{one[1]}.{one[2]}" for one in _CUSTOM.finditer("\n".join([*names, text]))}
    device = _DEVICE.search(text)
    return Program(
        kind="script",
        name=_MANGLED.sub("", kind).removeprefix("__torch__."),
        inputs=inputs,
        output=output,
        tensors=tensors,
        constants=held,
        convolution=convolution,
        transposed=transposed,
        traced=_shapes(traced),
        operators=operators,
        classes=frozenset(classes),
        training=_was_training(text),
        device=device[1] if device is not None else "",
        extra=_extra(file, listed),
    )


def _code(file: BinaryIO, listed: Sequence[Record]) -> dict[str, str]:
    """The code by the place of its record, without regard to case."""
    found: dict[str, str] = {}
    left = LARGEST_CODE_BYTES
    for record in listed:
        place = _place(record)
        if not place.startswith("code/") or not place.endswith(".py"):
            continue
        if record.size > left:
            raise DamagedError(f"holds code of over {LARGEST_CODE_BYTES >> 20} MB, far more than networks have")
        if place in found:
            raise DamagedError("is a zip with two records of one name, of which torch would read one")
        left -= record.size
        found[place] = unpacked(file, record, LARGEST_CODE_BYTES).decode("utf-8", "replace")
    return found


def _refuse_what_reaches_out(name: str, texts: Iterable[str]) -> None:
    """A network computes. Raises UnsafeCheckpoint for one that does more."""
    for text in texts:
        if (found := _REACHES_OUT.search(text)) is not None:
            raise UnsafeCheckpoint(
                f"{printable(name)} names `{found['file'] or found['call']}`, which would read or write files of the "
                "computer that uses the network, or talk to others; a network does neither."
            )


def _values(name: str, file: BinaryIO, listed: Sequence[Record], wanted: str, names: set[str], left: list[int]) -> Any:
    """The root of one of its pickles, out of stand-ins; None where there is none. All globals are added to `names`.

    `left` is how many instructions all pickles together may still have.
    """
    found = [one for one in listed if _place(one) == wanted]
    if len(found) > 1:
        raise DamagedError(f"is a zip with more than one {wanted}, of which torch would read one")
    if not found:
        if wanted == "data.pkl":
            raise DamagedError(f"is a TorchScript file without its data.pkl{AGAIN}")
        return None
    machine = Machine(unpacked(file, found[0], LARGEST_PICKLE), left=left[0])
    try:
        return run(machine)
    finally:
        left[0] = machine.left
        names.update(machine.names)
        bad = [one for one in machine.unsafe if _PROGRAM.fullmatch(one) is None]
        if bad:
            first = printable(bad[0][:100])
            raise UnsafeCheckpoint(f"{printable(name)} names `{first}`, {danger(bad[0])}.") from None


def _signature(kind: str, code: Mapping[str, str]) -> tuple[Sequence[Argument] | None, str]:
    """Inputs and output of the `forward` of class `kind`, out of the text; (None, "") where there is none."""
    folder, _, name = kind.rpartition(".")
    text = code.get(f"code/{folder.replace('.', '/')}.py".lower(), "")
    begins = re.search(rf"^class {re.escape(name)}\(Module\):\n", text, re.MULTILINE) if name else None
    if begins is None:
        return None, ""
    after = text.find("\nclass ", begins.end())
    own = text[begins.end() : after if after >= 0 else None]
    place = own.find("  def forward(")
    if place < 0:
        return None, ""
    start = place + len("  def forward(")
    end = own.find(":\n", start, start + LONGEST_SIGNATURE)
    told, arrow, output = own[start:end].rpartition(") -> ")
    if end < 0 or not arrow:
        return None, ""
    return tuple(_arguments(" ".join(told.split()))), " ".join(output.split())


def _arguments(told: str) -> Iterator[Argument]:
    """Of `self: __torch__.Net, x: Tensor, y: Optional[Tensor]=None` all but the first."""
    for place, one in enumerate(_split(told)):
        read = _ARGUMENT.fullmatch(one)
        if place and read is not None:
            yield Argument(read[1], read[2].strip(), read[3] is not None)


def _was_training(text: str) -> bool:
    """Whether a batch norm that knows the images of its training, or a dropout, is fixed in the state of training."""
    for one in islice(_STATEFUL.finditer(text), MOST_CALLS):
        given = [part.strip() for part in _split(text[one.end() : one.end() + LONGEST_CALL])]
        mean, place = (3, 5) if one[1] == "batch_norm" else (0, 2)
        if len(given) > place and given[place] == "True" and given[mean] != "None":
            return True
    return False


def _split(text: str) -> Iterator[str]:
    """The parts between commas that are in no brackets, up to a bracket that closes what began before."""
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "[(") - (letter in "])")
        if depth < 0:
            yield text[start:place]
            return
        if letter == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _tensors(root: Any) -> tuple[dict[str, Tensor], str, bool]:
    """All tensors by their dotted names; the name of the first convolution's weight, and whether it is transposed."""
    found: dict[str, Tensor] = {}
    convolution, transposed = "", False
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        name, module = waiting.pop()
        if not isinstance(module, Made) or id(module) in seen or not isinstance(module.state, dict):
            continue
        seen.add(id(module))
        if len(seen) > MOST_MODULES:
            raise DamagedError(f"holds more than {MOST_MODULES:,} modules, far more than networks have")
        below = []
        for key, value in module.state.items():
            full = f"{name}.{key}" if name else str(key)
            if isinstance(value, Tensor):
                found[full] = value
            elif isinstance(value, Made) and len(full) < 1000:
                below.append((full, value))
        kind = _CONVOLUTION.search(module.kind)
        if not convolution and kind is not None and isinstance(module.state.get("weight"), Tensor):
            convolution, transposed = f"{name}.weight" if name else "weight", kind[1] is not None
        waiting.extend(reversed(below))
    return found, convolution, transposed


def _shapes(traced: Any) -> list[tuple[int, ...]]:
    """The shapes of the tensors that `forward` was traced with."""
    listed = traced.get("forward") if isinstance(traced, dict) else None
    return [one.shape for one in listed[:20] if isinstance(one, Tensor)] if isinstance(listed, list) else []


def _extra(file: BinaryIO, listed: Sequence[Record]) -> dict[str, str]:
    """The small texts among the files that the author put in."""
    small = [one for one in listed if _place(one).startswith("extra/") and max(one.size, one.packed) <= 1 << 16][:20]
    return {
        _place(one).removeprefix("extra/"): unpacked(file, one, 1 << 16).decode("utf-8", "replace") for one in small
    }
