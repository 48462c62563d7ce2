"""The state dicts in a checkpoint: where they lie, what they hold, and which one a person means by the model.

Read without torch and without the weights. Averaged copies (EMA) stand first, as those who write them load them for
prediction themselves: timm (`load_state_dict(use_ema=True)`: `state_dict_ema`, `model_ema`) and Real-ESRGAN
(`params_ema`).
"""

import json
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zoowizard.errors import ZoowizardError
from zoowizard.families.pickles import look, opened, printable
from zoowizard.families.stand_ins import Tensor

SAFETENSORS: Final = ".safetensors"
LARGEST_HEADER: Final = 4 << 20
"""Bytes of the header of a safetensors file: more than 25 000 tensors; read as JSON it takes many times as much."""
DEEPEST: Final = 4
MOST_MAPPINGS: Final = 10_000
ROOT: Final = "."
WRAPPERS: Final = ("module.", "_orig_mod.")
"""What DataParallel, AveragedModel and torch.compile put before the name of every weight; no network has it."""
ATTRIBUTES: Final = ("model.", "net.", "network.", "backbone.")
"""Under what names a network is held by the class that trains it; it may also be called so in the network itself."""
COUNTED: Final = "num_batches_tracked"
"""Batches that a batch norm has seen; older versions of torch did not save it, and nothing depends on it."""
BUFFERS: Final = ("running_mean", "running_var", COUNTED, "n_averaged")
LIGHTNING: Final = "pytorch-lightning_version"
DTYPES: Final[Mapping[str, str]] = {
    **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8"},
    **{"ByteStorage": "uint8", "BoolStorage": "bool"},
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"},
    **{"I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"},
}
"""Torch's storages, and the types of safetensors, in numpy's words."""
_AVERAGED: Final = re.compile(r"(?:^|_|\b)(?:ema|averaged|swa)(?:$|_|\b)", re.IGNORECASE)
_USUAL: Final = (
    "state_dict", "model_state_dict", "model_state", "model", "network_weights", "net", "network", "params", "weights",
    "generator", "netG", "teacher",
)  # fmt: skip
_OTHERS: Final = re.compile(r"optim|sched|scaler|loss|discriminator|^netD|critic", re.IGNORECASE)


@dataclass(frozen=True)
class StateDict:
    """One state dict of a checkpoint.

    `key` is where it lies, the keys on the way joined by dots, `.` for the checkpoint itself; `path` are these keys.
    `shapes` and `dtypes` (numpy's words, empty where it is another one) are by the names of the weights without
    `prefix`, which stands before all of them in the file; `left_out` are the full names of those without it.
    `prefixes` are all that may have to be taken away before the names are those of the network, `prefix` first: only a
    network can tell. `averaged` says that it is a mean over the training.
    """

    key: str
    path: tuple[str, ...]
    prefix: str
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    prefixes: tuple[str, ...] = ("",)
    left_out: tuple[str, ...] = ()
    averaged: bool = False

    @property
    def parameters(self) -> int:
        """How many numbers training could change."""
        return sum(_count(shape) for name, shape in self.shapes.items() if not name.endswith(BUFFERS))

    @property
    def in_words(self) -> str:
        """How many tensors it holds; those apart that no network needs."""
        counters = sum(name.endswith(COUNTED) for name in self.shapes)
        without = f" (not counting {counters} {COUNTED})" if counters else ""
        return f"{len(self.shapes) - counters} tensors{without}"

    @property
    def dtype(self) -> str:
        """The type of most of its weights; empty where it is none that is known."""
        counted = Counter(self.dtypes[name] for name in self.shapes if not name.endswith(BUFFERS) and self.dtypes[name])
        return counted.most_common(1)[0][0] if counted else ""


def state_dicts(path: Path) -> Sequence[StateDict]:
    """The state dicts in the torch checkpoint or safetensors file at `path`, the one to be packaged first.

    Raises as `pickles.look` does; ZoowizardError also where the header of a safetensors file is damaged.
    """
    if path.suffix.lower() == SAFETENSORS:
        tensors, _ = read_header(path)
        return [_made((), {name: tensors[name] for name in tensors}, False)] if tensors else []
    return in_mapping(look(path).root)


def in_mapping(root: Any) -> Sequence[StateDict]:
    """The state dicts in what `pickles.look` gave of a checkpoint, the one to be packaged first."""
    lightning = isinstance(root, dict) and LIGHTNING in root
    found = [_made(keys, tensors, lightning) for keys, tensors in _walk(root)]
    return sorted(found, key=_rank)


def read_header(path: Path) -> tuple[Mapping[str, tuple[tuple[int, ...], str]], Mapping[str, str]]:
    """The tensors of a safetensors file, name → (shape, dtype), and its metadata. Raises ZoowizardError.

    Source of the format: https://huggingface.co/docs/safetensors, "Format": 8 bytes with the length of the header, the
    header as JSON, the numbers.
    """
    name = printable(path.name)
    with opened(path) as file:
        size = path.stat().st_size
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= LARGEST_HEADER or length + 8 > size:
            raise ZoowizardError(f"{name} is no safetensors file, or cut short; copy it again from where it was saved.")
        raw = file.read(length)
    try:
        header = json.loads(raw)
        if not isinstance(header, dict):
            raise ValueError
        told = header.pop("__metadata__", {})
        tensors = {one: _entry(entry, size - 8 - length) for one, entry in header.items()}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ZoowizardError(f"{name} is damaged (its header cannot be read); copy it again.") from None
    metadata = {key: one for key, one in told.items() if isinstance(one, str)} if isinstance(told, dict) else {}
    return tensors, metadata


def _entry(entry: Any, room: int) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of a tensor whose numbers lie within the `room` bytes that there are. Raises ValueError."""
    shape, (start, end) = tuple(entry["shape"]), entry["data_offsets"]
    whole = all(type(one) is int and 0 <= one < 1 << 40 for one in (*shape, start, end))
    if not whole or len(shape) > 64 or not start <= end <= room or not isinstance(entry["dtype"], str):
        raise ValueError
    return shape, DTYPES.get(entry["dtype"], "")


_Tensors = Mapping[str, tuple[tuple[int, ...], str]]


def _walk(root: Any) -> Iterator[tuple[tuple[str, ...], _Tensors]]:
    """Every mapping that looks like a state dict, with the keys on the way to it, the outer ones first."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), root)]
    seen: set[int] = set()
    for keys, one in waiting:
        if not isinstance(one, dict) or id(one) in seen or len(seen) >= MOST_MAPPINGS:
            continue
        seen.add(id(one))
        tensors = {
            name: (value.shape, DTYPES.get(value.dtype, ""))
            for name, value in one.items()
            if isinstance(name, str) and isinstance(value, Tensor)
        }
        if _is_state_dict(tensors):
            yield keys, tensors
        elif len(keys) < DEEPEST:
            waiting += [((*keys, name), below) for name, below in one.items() if isinstance(name, str)]


def _is_state_dict(tensors: _Tensors) -> bool:
    """Whether these are named as layers name their weights; a mapping of images and labels holds tensors as well."""
    layered = [name for name in tensors if "." in name or name in ("weight", "bias")]
    return any(len(tensors[name][0]) >= 2 for name in layered) and 2 * len(layered) >= len(tensors)


def _made(keys: tuple[str, ...], tensors: _Tensors, lightning: bool) -> StateDict:
    prefix = ""
    while further := next((one for one in WRAPPERS if _all_begin(tensors, prefix + one)), None):
        prefix += further
    under = [prefix + one for one in ATTRIBUTES if _all_begin(tensors, prefix + one)]
    if lightning and (held := _held(tensors)):
        # A LightningModule holds the network as an attribute, beside losses and metrics with tensors of their own.
        under = [held, prefix] if held != prefix else [prefix]
        prefix = held
    prefixes = tuple(dict.fromkeys((prefix, *under, "")))
    named = {name: one for name, one in tensors.items() if name.startswith(prefix) and name != "n_averaged"}
    return StateDict(
        ROOT if not keys else ".".join(keys),
        keys,
        prefix,
        {name.removeprefix(prefix): shape for name, (shape, _) in named.items()},
        {name.removeprefix(prefix): dtype for name, (_, dtype) in named.items()},
        prefixes,
        tuple(name for name in tensors if name not in named),
        bool(keys) and _AVERAGED.search(keys[-1]) is not None,
    )


def _all_begin(tensors: _Tensors, prefix: str) -> bool:
    return all(name.startswith(prefix) for name in tensors if name != "n_averaged")


def _held(tensors: _Tensors) -> str:
    """The attribute of a LightningModule under which nearly all weights are; empty where there is none."""
    counted: Counter[str] = Counter()
    for name, (shape, _) in tensors.items():
        counted[name.partition(".")[0] + "." if "." in name else ""] += _count(shape)
    first, count = counted.most_common(1)[0]
    if first == "" or count < 0.9 * sum(counted.values()) or (first not in ATTRIBUTES and len(counted) == 1):
        return ""
    rest = {name: one for name, one in tensors.items() if name.startswith(first)}
    while further := next((one for one in WRAPPERS if _all_begin(rest, first + one)), None):
        first += further
    return first


def _rank(one: StateDict) -> tuple[bool, bool, int, int]:
    last = one.path[-1] if one.path else ROOT
    plain = _USUAL.index(last) if last in _USUAL else len(_USUAL)
    other = any(_OTHERS.search(key) for key in one.path)
    return other, not one.averaged, 0 if not one.path else 1 + plain, -one.parameters


def _count(shape: Sequence[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count
