"""Read the scalars of a TensorBoard event file, without TensorBoard.

Sources: TFRecord framing (tensorflow/core/lib/io/record_writer.h), `event.proto` and `summary.proto` of TensorBoard,
the protobuf wire format. Checksums are not verified: a damaged record ends the reading.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from zoowizard.families.pickles import opened

LARGEST_FILE: Final = 64 << 20
LARGEST_SCALAR_RECORD: Final = 1 << 12
"""Bytes. Longer records hold graphs and pictures, which are passed over."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_scalars(path: Path) -> dict[str, dict[int, float]]:
    """The scalars of one event file: series name → step → value (the last one written for a step).

    Reads at most LARGEST_FILE bytes, and ends quietly at a record that is cut short (a training that is going on).
    Raises ZoowizardError where the file cannot be read.
    """
    series: dict[str, dict[int, float]] = {}
    with opened(path) as file:
        data = file.read(LARGEST_FILE)
    for start, end in _records(data):
        if end - start > LARGEST_SCALAR_RECORD:
            continue
        try:
            for name, step, value in _event(data[start:end]):
                series.setdefault(name, {})[step] = value
        except (ValueError, IndexError, struct.error):
            break
    return series


def _records(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the records lie: 8 bytes of length, 4 of checksum, the record, 4 of checksum."""
    position = 0
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 8], "little")
        start = position + 12
        if start + length > len(data):
            return
        yield start, start + length
        position = start + length + 4


def _event(record: bytes) -> Iterator[tuple[str, int, float]]:
    """(series, step, value) of each scalar: Event.step is field 2, Event.summary 5, Summary.value 1."""
    step, summaries = 0, []
    for field, kind, content in _fields(record):
        if field == 2 and kind == _VARINT:
            step = int.from_bytes(content, "little")
        elif field == 5 and kind == _BYTES:
            summaries.append(content)
    for summary in summaries:
        for field, kind, content in _fields(summary):
            if field == 1 and kind == _BYTES:
                yield from ((name, step, value) for name, value in _value(content))


def _value(message: bytes) -> Iterator[tuple[str, float]]:
    """Summary.Value: tag is field 1, simple_value 2, tensor 8 (which newer writers use for scalars)."""
    tag, value = "", None
    for field, kind, content in _fields(message):
        if field == 1 and kind == _BYTES:
            tag = content.decode("utf-8", "replace")
        elif field == 2 and kind == _FIXED32:
            value = struct.unpack("<f", content)[0]
        elif field == 8 and kind == _BYTES:
            value = _tensor(content)
    if tag and value is not None:
        yield tag, value


def _tensor(message: bytes) -> float | None:
    """TensorProto of one float: tensor_content is field 4, float_val 5."""
    for field, kind, content in _fields(message):
        if len(content) == 4 and ((field == 4 and kind == _BYTES) or (field == 5 and kind in (_BYTES, _FIXED32))):
            return float(struct.unpack("<f", content)[0])
    return None


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(number, wire type, raw content) of each field; a varint as little-endian bytes. Raises ValueError."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == _VARINT:
            number, end = _varint(message, position)
            yield key >> 3, kind, number.to_bytes(10, "little")
            position = end
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            length, position = _varint(message, position)
        if length is None or position + length > len(message):
            raise ValueError("no protobuf message")
        yield key >> 3, kind, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ValueError("no protobuf message")
