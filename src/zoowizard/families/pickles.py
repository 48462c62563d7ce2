"""Look into a torch checkpoint without running it, and without torch.

Only the pickle is read, never the weights. Sources of the formats: `torch.serialization` (`_save`, `_legacy_save`,
`_legacy_load`), miniz (how torch itself finds a record) and PKWARE's APPNOTE 4.3 and 4.5.3.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from zoowizard.errors import UnsafeCheckpoint, WrongUse, ZoowizardError
from zoowizard.families.allowed import danger
from zoowizard.families.literals import AGAIN, DamagedError, Machine
from zoowizard.families.opcodes import run

LARGEST_PICKLE: Final = 32 << 20
"""Bytes. Training writes 0.1 to 1 MB."""
LARGEST_DIRECTORY: Final = 32 << 20
"""Bytes of a zip's list of records: more than 300 000 tensors."""

_ZIP: Final = b"PK\x03\x04"
_PICKLE: Final = b"\x80"
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_HEAD: Final = 16 << 20
_END: Final = struct.Struct("<4s4H2IH")
_END64_PLACE: Final = struct.Struct("<4sIQI")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_RECORD: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s5H3I2H")


@dataclass(frozen=True)
class Looked:
    """What a checkpoint holds: its root out of stand-ins (see `stand_ins`) and every global that it names."""

    root: Any
    names: tuple[str, ...]


def look(path: Path) -> Looked:
    """Look into the torch checkpoint at `path`, whatever its size.

    Raises UnsafeCheckpoint where loading it could run code, WrongUse where there is no such file, and ZoowizardError
    where it cannot be read or is no torch checkpoint; each with one sentence that names the file.
    """
    with opened(path) as file:
        try:
            return _look(path.name, file)
        except (DamagedError, zlib.error) as problem:
            reason = str(problem) if isinstance(problem, DamagedError) else f"is a damaged zip{AGAIN}"
            raise ZoowizardError(f"{printable(path.name)} {reason}.") from None
        except (MemoryError, RecursionError):
            raise ZoowizardError(f"{printable(path.name)} is built to use up memory; it is not read.") from None


def starts_like_a_checkpoint(path: Path) -> bool:
    """Whether the file begins as torch's files do (zip or pickle); False also where it cannot be read."""
    try:
        with opened(path) as file:
            head = file.read(4)
    except ZoowizardError:
        return False
    return head == _ZIP or head[:1] == _PICKLE


def printable(text: str) -> str:
    """The text with everything that could play with a terminal, or cannot be written as UTF-8, spelt out."""
    shown = (one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return "".join(shown)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading, never waiting on a pipe. Raises WrongUse or ZoowizardError with a sentence."""
    name = printable(path.name)
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise WrongUse(f"{printable(str(path))} does not exist.") from None
    except PermissionError:
        raise ZoowizardError(f"{name} may not be read by you: ask its owner for read permission.") from None
    except OSError as problem:
        raise ZoowizardError(f"{name} cannot be opened: {problem.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        kind = os.fstat(descriptor)
        if not stat.S_ISREG(kind.st_mode):
            raise WrongUse(f"{name} is no regular file but a pipe, a device or a socket.")
        if kind.st_size == 0:
            raise ZoowizardError(f"{name} is empty (0 bytes); copy it again from where it was trained.")
        try:
            yield file
        except OSError as problem:
            raise ZoowizardError(f"{name} cannot be read: {problem.strerror}.") from None


def _look(name: str, file: BinaryIO) -> Looked:
    size = os.fstat(file.fileno()).st_size
    head = file.read(512)
    if head.startswith(_ZIP):
        machine = Machine(_pickle_of_zip(file, size))
        pickles = 1
    elif head.startswith(_PICKLE):
        file.seek(0)
        machine = Machine(file.read(_LEGACY_HEAD))
        # Before torch 1.6: a magic number, a version, the machine's sizes, the checkpoint, the keys of its storages.
        # torch unpickles all five.
        pickles = 5
        if head[257:262] == b"ustar":
            raise DamagedError("is a tar archive, which torch would open in another way")
    else:
        raise DamagedError("is no torch checkpoint (neither a zip nor a pickle, and torch writes one of the two)")
    parts = []
    try:
        for part in range(pickles):
            parts.append(run(machine))
            if part == 0 and pickles == 5 and parts[0] != _LEGACY_MAGIC and not machine.unsafe:
                raise DamagedError("is a pickle, but none that torch wrote")
    except DamagedError:
        _refuse_unsafe(name, machine)
        raise
    _refuse_unsafe(name, machine)
    return Looked(parts[3 if pickles == 5 else 0], tuple(machine.names))


def _refuse_unsafe(name: str, machine: Machine) -> None:
    if not machine.unsafe:
        return
    first = next(iter(machine.unsafe))
    more = [f"`{printable(other[:100])}`" for other in list(machine.unsafe)[1:6]]
    also = f" It also names {', '.join(more)}{' and more' if len(machine.unsafe) > 6 else ''}." if more else ""
    raise UnsafeCheckpoint(f"{printable(name)} names `{printable(first[:100])}`, {danger(first)}.{also}")


def _pickle_of_zip(file: BinaryIO, size: int) -> bytes:
    """The bytes of the one `data.pkl` in torch's zip, found as torch finds it. Raises DamagedError."""
    directory = _directory(file, size)
    position, found, script = 0, [], False
    while position + _RECORD.size <= len(directory):
        record = _RECORD.unpack_from(directory, position)
        if record[0] != b"PK\x01\x02":
            raise DamagedError(f"is a damaged zip{AGAIN}")
        start = position + _RECORD.size
        name = directory[start : start + record[10]]
        last = name.replace(b"\\", b"/").rpartition(b"/")[2].lower()
        if last == b"data.pkl":
            extra = directory[start + record[10] : start + record[10] + record[11]]
            found.append(_place(record, extra))
        script = script or last == b"constants.pkl"
        position = start + record[10] + record[11] + record[12]
    if script:
        raise DamagedError(
            "is an exported TorchScript program, not a training checkpoint; give the .pt that training wrote"
        )
    if len(found) != 1:
        # torch looks names up without regard to case, so that a second DATA.PKL could be the one that it loads.
        count = "no" if not found else "more than one"
        raise DamagedError(f"is a zip with {count} data.pkl in it, so torch.save did not write it")
    return _record(file, size, *found[0])


def _directory(file: BinaryIO, size: int) -> bytes:
    """The zip's list of records, at most LARGEST_DIRECTORY bytes."""
    tail_size = min(size, 0xFFFF + _END.size + _END64_PLACE.size)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\x05\x06", 0, len(tail) - _END.size + 4)
    if at < 0:
        raise DamagedError(f"is cut short (the end of the zip is missing){AGAIN}")
    length, start = _END.unpack_from(tail, at)[5:7]
    if at >= _END64_PLACE.size and tail[at - _END64_PLACE.size :].startswith(b"PK\x06\x07"):
        file.seek(_END64_PLACE.unpack_from(tail, at - _END64_PLACE.size)[2])
        raw = file.read(_END64.size)
        if len(raw) < _END64.size or not raw.startswith(b"PK\x06\x06"):
            raise DamagedError(f"is a damaged zip{AGAIN}")
        length64, start64 = _END64.unpack(raw)[8:10]
        if length not in (length64, 0xFFFFFFFF) or start not in (start64, 0xFFFFFFFF):
            raise DamagedError("is a zip that says two things about itself")
        length, start = length64, start64
    if length > LARGEST_DIRECTORY:
        raise DamagedError(f"is a zip whose list of records is over {LARGEST_DIRECTORY >> 20} MB")
    if start + length > size:
        raise DamagedError(f"is cut short (the list of the zip's records is missing){AGAIN}")
    file.seek(start)
    return file.read(length)


def _place(record: tuple[Any, ...], extra: bytes) -> tuple[int, int, int, int]:
    """(method, packed size, size, offset) of a record, with the 8-byte numbers where the 4-byte ones are full."""
    numbers = [record[9], record[8], record[16]]
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            wide = list(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            numbers = [wide.pop(0) if number == 0xFFFFFFFF and wide else number for number in numbers]
        position += 4 + length
    whole, packed, offset = numbers
    return record[4], packed, whole, offset


def _record(file: BinaryIO, size: int, method: int, packed: int, whole: int, offset: int) -> bytes:
    """One record's bytes, unpacked, at most LARGEST_PICKLE of them."""
    if max(packed, whole) > LARGEST_PICKLE:
        raise DamagedError(f"holds a data.pkl of over {LARGEST_PICKLE >> 20} MB, far more than training writes")
    if method not in (0, 8):
        raise DamagedError(f"is a zip packed by method {method}, which torch does not read")
    file.seek(offset)
    local = file.read(_LOCAL.size)
    if len(local) < _LOCAL.size or not local.startswith(_ZIP):
        raise DamagedError(f"is a damaged zip{AGAIN}")
    file.seek(sum(_LOCAL.unpack(local)[-2:]), os.SEEK_CUR)
    raw = file.read(packed)
    if len(raw) < packed or (method == 0 and packed != whole):
        raise DamagedError(f"is cut short (its data.pkl is not whole){AGAIN}")
    if method == 0:
        return raw
    unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw, LARGEST_PICKLE)
    if len(unpacked) != whole:
        raise DamagedError(f"is a damaged zip{AGAIN}")
    return unpacked
