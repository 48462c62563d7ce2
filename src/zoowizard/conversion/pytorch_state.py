"""The tensors of a checkpoint, by the names that the network has for them.

Nothing of a checkpoint is run: what is no tensor or plain value is left out.
"""

import json
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from zoowizard.conversion.probing.apart import in_a_line
from zoowizard.errors import ZoowizardError
from zoowizard.families.pickles import look, opened, printable
from zoowizard.families.state_dicts import SAFETENSORS, StateDict, read_header, state_dicts

_TYPES: Final = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
    "int16": torch.int16,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
}
"""By what `families.state_dicts` calls them."""


class _Inert:
    """Stands for an object of a class that is not loaded: numbers of numpy, or what a trainer keeps beside weights."""

    def __new__(cls, *args: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        return None

    def __setstate__(self, state: Any) -> None:
        return None


class _InertMapping:
    """The same of settings, which may be a kind of dictionary: torch fills none but its own and Python's."""

    def __new__(cls, *args: Any) -> Any:
        return OrderedDict()


def chosen(checkpoint: Path, key: str) -> StateDict:
    """The state dict that `key` names. Raises ZoowizardError where the checkpoint has no such."""
    every = state_dicts(checkpoint)
    if not every:
        raise ZoowizardError(f"{printable(checkpoint.name)} holds no state dict: no tensors with the names of layers")
    found = next((one for one in every if one.key == key), None) if key else every[0]
    if found is None:
        known = ", ".join(one.key for one in every)
        raise ZoowizardError(f"state_dict_key: the checkpoint has no {key}; it has {known}")
    return found


def tensors(checkpoint: Path, state: StateDict) -> dict[str, Tensor]:
    """All tensors of a state dict on the CPU by their full names. Raises ZoowizardError where they cannot be read."""
    if checkpoint.suffix.lower() == SAFETENSORS:
        return _of_safetensors(checkpoint)
    look(checkpoint)
    try:
        loaded = _loaded(checkpoint)
        for name in state.path:
            loaded = loaded[name]
    except ZoowizardError:
        raise
    except Exception as problem:
        name = printable(checkpoint.name)
        raise ZoowizardError(f"{name}: PyTorch cannot load it: {in_a_line(problem)}") from problem
    return {str(name): one.detach() for name, one in loaded.items() if isinstance(one, Tensor)}


def _loaded(checkpoint: Path) -> Any:
    """What torch loads, with inert objects in place of those of classes that it does not know."""
    if not zipfile.is_zipfile(checkpoint):
        return torch.load(checkpoint, "cpu", weights_only=True)
    unknown = torch.serialization.get_unsafe_globals_in_checkpoint(checkpoint)
    inert = [
        # each a class of its own: torch knows them by their names
        (type(name.rpartition(".")[2], (_Inert if name.startswith("numpy.") else _InertMapping,), {}), name)
        for name in unknown
    ]
    with torch.serialization.safe_globals(inert):  # type: ignore[arg-type]  # pairs with names are taken, too
        return torch.load(checkpoint, "cpu", weights_only=True, mmap=True)


def _of_safetensors(checkpoint: Path) -> dict[str, Tensor]:
    """Read by hand; for the format see `families.state_dicts.read_header`."""
    known, _ = read_header(checkpoint)
    found = {}
    with opened(checkpoint) as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header: Mapping[str, Any] = json.loads(file.read(length))
        for name, (shape, dtype) in known.items():
            if dtype not in _TYPES:
                raise ZoowizardError(f"{printable(checkpoint.name)}: {name} has a type of numbers that is not known")
            start, end = header[name]["data_offsets"]
            file.seek(8 + length + start)
            raw = bytearray(file.read(end - start))
            try:
                flat = torch.frombuffer(raw, dtype=_TYPES[dtype]) if raw else torch.empty(0, dtype=_TYPES[dtype])
                found[name] = flat.reshape(shape)
            except (RuntimeError, ValueError) as problem:
                raise ZoowizardError(
                    f"{printable(checkpoint.name)} is damaged: {name} has no {shape} numbers"
                ) from problem
    return found
