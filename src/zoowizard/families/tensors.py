"""The number in a tensor that holds only one, out of a torch checkpoint: without torch, and without the weights.

What lies about its place, is packed, or is missing gives no number; nothing here raises but where the file cannot be
opened. Sources: `torch.serialization` (`_save`, `_legacy_save`), and for the legacy storages `THPStorage_writeFileRaw`
(`torch/csrc/serialization.cpp`): a length of 8 bytes, then the numbers.
"""

import math
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from zoowizard.families.literals import DamagedError
from zoowizard.families.pickles import Looked, opened
from zoowizard.families.stand_ins import Tensor
from zoowizard.families.zips import Record, go_to, records

MOST_STORAGES: Final = 100_000
"""So many storages are passed over at most on the way to one: the largest networks have some thousands."""
_SIZE: Final = struct.Struct("<q")


def _brain(raw: bytes) -> float:
    """bfloat16: the upper half of a float32."""
    return float(struct.unpack("<f", b"\0\0" + raw)[0])


def _number(form: str) -> Callable[[bytes], float]:
    return lambda raw: float(struct.unpack(form, raw)[0])


_READ: Final[Mapping[str, tuple[int, Callable[[bytes], float]]]] = {
    "DoubleStorage": (8, _number("<d")),
    "FloatStorage": (4, _number("<f")),
    "HalfStorage": (2, _number("<e")),
    "BFloat16Storage": (2, _brain),
    "LongStorage": (8, _number("<q")),
    "IntStorage": (4, _number("<i")),
    "ShortStorage": (2, _number("<h")),
    "CharStorage": (1, _number("<b")),
    "ByteStorage": (1, _number("<B")),
    "BoolStorage": (1, _number("<?")),
}
"""Bytes of one number and how to read it, by the name of the storage's type."""


def single_number(path: Path, looked: Looked, tensor: Any) -> float | None:
    """The number in a `tensor` of one element of the checkpoint at `path`; None where there is none, or no finite one.

    `looked` is what `look` gave of that file. Raises WrongUse or ZoowizardError where the file cannot be read any more.
    """
    if not isinstance(tensor, Tensor) or tensor.numel != 1 or tensor.dtype not in _READ or tensor.place is None:
        return None
    key, count, before = tensor.place
    whole = isinstance(key, str) and all(type(one) is int and 0 <= one < 1 << 40 for one in (count, before))
    if not whole or before >= count:
        return None
    width, read = _READ[tensor.dtype]
    with opened(path) as file:
        try:
            raw = _in_zip(file, key, count, before, width) if looked.storages is None else None
            if looked.storages is not None and looked.storages.little_endian:
                raw = _in_row(file, looked, key, count, before * width, width)
        except (DamagedError, struct.error, ValueError):
            return None
    value = read(raw) if raw is not None and len(raw) == width else math.nan
    return value if math.isfinite(value) else None


def _in_zip(file: BinaryIO, key: str, count: int, before: int, width: int) -> bytes | None:
    size = os.fstat(file.fileno()).st_size
    listed = list(records(file, size))
    folder = next((one.name[: -len("data.pkl")] for one in listed if one.last == b"data.pkl"), None)
    if folder is None or not key.isascii() or not key.isprintable():
        return None
    wanted = (folder + b"data/" + key.encode("ascii")).lower()
    # Torch looks names up without regard to case: of two nobody can say which it loads.
    found = [one for one in listed if one.name.replace(b"\\", b"/").lower() == wanted]
    order = [one for one in listed if one.last == b"byteorder"]
    if len(found) != 1 or any(_stored(file, one, size, 0, 6) != b"little" for one in order):
        return None
    if found[0].size != count * width:
        return None
    return _stored(file, found[0], size, before * width, width)


def _stored(file: BinaryIO, record: Record, size: int, start: int, length: int) -> bytes | None:
    """`length` bytes of a record that is not packed, from `start` on."""
    if record.method != 0 or record.packed != record.size or start + length > record.size or record.offset > size:
        return None
    if go_to(file, record) != record.name:
        return None
    file.seek(start, os.SEEK_CUR)
    return file.read(length)


def _in_row(file: BinaryIO, looked: Looked, key: str, count: int, start: int, width: int) -> bytes | None:
    """Storage after storage to the one with this `key`; what each is of stands in the checkpoint alone."""
    assert looked.storages is not None
    keys = looked.storages.keys
    if not isinstance(keys, list) or len(keys) > MOST_STORAGES or key not in keys[:MOST_STORAGES]:
        return None
    widths = _widths(looked.root)
    position, size = looked.storages.start, os.fstat(file.fileno()).st_size
    for one in keys:
        file.seek(position)
        length = _SIZE.unpack(file.read(_SIZE.size))[0]
        if one == key:
            file.seek(start, os.SEEK_CUR)
            return file.read(width) if length == count else None
        if not isinstance(one, str) or one not in widths or length < 0:
            return None
        position += _SIZE.size + length * widths[one]
        if position > size:
            return None
    return None


def _widths(root: Any) -> dict[str, int]:
    """The bytes of a number in each storage that the tensors of a plain state dict use."""
    tensors = [one for one in root.values() if isinstance(one, Tensor)] if isinstance(root, dict) else []
    told = [(one.place[0], _READ[one.dtype][0]) for one in tensors if one.place is not None and one.dtype in _READ]
    return {key: width for key, width in told if isinstance(key, str)}
