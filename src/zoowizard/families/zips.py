"""The zip that torch writes: its list of records, and where the bytes of one of them begin.

Sources of the format: miniz (how torch itself finds a record) and PKWARE's APPNOTE 4.3 and 4.5.3.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from zoowizard.families.literals import AGAIN, DamagedError

LARGEST_DIRECTORY: Final = 32 << 20
"""Bytes of a zip's list of records."""
MOST_RECORDS: Final = 200_000
ZIP: Final = b"PK\x03\x04"

_END: Final = struct.Struct("<4s4H2IH")
_END64_PLACE: Final = struct.Struct("<4sIQI")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_RECORD: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s5H3I2H")


@dataclass(frozen=True, slots=True)
class Record:
    """One record as the zip's list has it: `method` 0 is stored, 8 deflated; sizes and `offset` in bytes."""

    name: bytes
    method: int
    packed: int
    size: int
    offset: int

    @property
    def last(self) -> bytes:
        """The last part of the name, small: torch looks names up without regard to case."""
        return self.name.replace(b"\\", b"/").rpartition(b"/")[2].lower()


def records(file: BinaryIO, size: int) -> Iterator[Record]:
    """The zip's records in the order of its list. Raises DamagedError."""
    directory = _directory(file, size)
    position = count = 0
    while position + _RECORD.size <= len(directory):
        count += 1
        if count > MOST_RECORDS:
            raise DamagedError(f"is a zip of more than {MOST_RECORDS:,} records, far more than networks have")
        fields = _RECORD.unpack_from(directory, position)
        if fields[0] != b"PK\x01\x02":
            raise DamagedError(f"is a damaged zip{AGAIN}")
        start = position + _RECORD.size
        extra = directory[start + fields[10] : start + fields[10] + fields[11]]
        yield Record(directory[start : start + fields[10]], *_place(fields, extra))
        position = start + fields[10] + fields[11] + fields[12]


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
        raw = _at(file, _END64_PLACE.unpack_from(tail, at - _END64_PLACE.size)[2], _END64.size)
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


def _place(fields: tuple[Any, ...], extra: bytes) -> tuple[int, int, int, int]:
    """(method, packed size, size, offset) of a record, with the 8-byte numbers where the 4-byte ones are full."""
    numbers = [fields[9], fields[8], fields[16]]
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            told = extra[position + 4 : position + 4 + length]
            wide = list(struct.unpack_from(f"<{len(told) // 8}Q", told))
            numbers = [wide.pop(0) if number == 0xFFFFFFFF and wide else number for number in numbers]
        position += 4 + length
    whole, packed, offset = numbers
    return fields[4], packed, whole, offset


def _at(file: BinaryIO, offset: int, length: int) -> bytes:
    if offset >= 1 << 63:  # no file is so long, and no system can go there
        return b""
    file.seek(offset)
    return file.read(length)


def go_to(file: BinaryIO, record: Record) -> bytes:
    """Go to where the bytes of a record begin; gives the name that stands there. Raises DamagedError for no record."""
    local = _at(file, record.offset, _LOCAL.size)
    if len(local) < _LOCAL.size or not local.startswith(ZIP):
        raise DamagedError(f"is a damaged zip{AGAIN}")
    length, extra = _LOCAL.unpack(local)[-2:]
    name = file.read(length)
    file.seek(extra, os.SEEK_CUR)
    return name


def unpacked(file: BinaryIO, record: Record, largest: int) -> bytes:
    """The whole of a record, at most `largest` bytes of it. Raises DamagedError, and zlib.error."""
    name = record.last.decode("ascii", "replace")
    if max(record.packed, record.size) > largest:
        raise DamagedError(f"holds a {name} of over {largest >> 20} MB, far more than training writes")
    if record.method not in (0, 8):
        raise DamagedError(f"is a zip packed by method {record.method}, which torch does not read")
    go_to(file, record)
    raw = file.read(record.packed)
    if len(raw) < record.packed or (record.method == 0 and record.packed != record.size):
        raise DamagedError(f"is cut short (its {name} is not whole){AGAIN}")
    if record.method == 0:
        return raw
    whole = zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw, largest)
    if len(whole) != record.size:
        raise DamagedError(f"is a damaged zip{AGAIN}")
    return whole
