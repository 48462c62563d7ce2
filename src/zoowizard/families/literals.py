"""The state of the pickle machine, and the instructions that put a number or a text from the file on its stack."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from zoowizard.families.stand_ins import OPAQUE, Name

MOST_INSTRUCTIONS: Final = 1_000_000
"""About five times what the largest YOLO writes while training."""
LONGEST_TEXT: Final = 1 << 20
LONGEST_INTEGER: Final = 1 << 10

AGAIN: Final = "; copy it again from where it was trained"

U1: Final = struct.Struct("B").unpack_from
U2: Final = struct.Struct("<H").unpack_from
I4: Final = struct.Struct("<i").unpack_from
U4: Final = struct.Struct("<I").unpack_from
U8: Final = struct.Struct("<Q").unpack_from
F8: Final = struct.Struct(">d").unpack_from


class DamagedError(Exception):
    """The bytes are no pickle, or one that is cut short or beyond all bounds. The message is the end of a sentence."""


@dataclass(slots=True)
class Machine:
    """The state of the machine. `names` are all globals in order, `unsafe` those that must not be, each once."""

    data: bytes
    position: int = 0
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    names: dict[str, Name] = field(default_factory=dict)
    unsafe: dict[str, None] = field(default_factory=dict)
    left: int = MOST_INSTRUCTIONS


def _take(machine: Machine, length: int) -> bytes:
    start = machine.position
    if length < 0 or length > len(machine.data) - start:
        raise DamagedError(f"is cut short or damaged{AGAIN}")
    machine.position = start + length
    return machine.data[start : start + length]


def _skip_or_take(machine: Machine, length: int, longest: int) -> bytes | None:
    """The next `length` bytes, or None (and on past them) where they are too many to be worth a look."""
    if length <= longest:
        return _take(machine, length)
    if length > len(machine.data) - machine.position:
        raise DamagedError(f"is cut short or damaged{AGAIN}")
    machine.position += length
    return None


def line(machine: Machine) -> str:
    """The text up to the end of the line, and on past it."""
    end = machine.data.find(b"\n", machine.position, machine.position + LONGEST_TEXT)
    if end < 0:
        raise DamagedError(f"is cut short or damaged{AGAIN}")
    raw = machine.data[machine.position : end]
    machine.position = end + 1
    return raw.decode("utf-8", "surrogateescape")


def index(machine: Machine) -> int:
    """A place in the memo, in decimal digits on a line."""
    told = line(machine)
    if len(told) > LONGEST_INTEGER:
        raise DamagedError(f"is cut short or damaged{AGAIN}")
    return int(told)


def number(read: Callable[[bytes, int], tuple[Any, ...]], size: int) -> Callable[[Machine], None]:
    """A number of `size` bytes."""

    def handler(machine: Machine) -> None:
        machine.stack.append(read(machine.data, machine.position)[0])
        machine.position += size

    return handler


def sized(read: Callable[[bytes, int], tuple[Any, ...]], size: int, kind: str) -> Callable[[Machine], None]:
    """A length of `size` bytes, then so many bytes of `text`, `bytes` or a `number`."""

    def handler(machine: Machine) -> None:
        length = read(machine.data, machine.position)[0]
        machine.position += size
        raw = _skip_or_take(machine, length, LONGEST_INTEGER if kind == "number" else LONGEST_TEXT)
        if raw is None:
            machine.stack.append(OPAQUE)
        elif kind == "text":
            machine.stack.append(raw.decode("utf-8", "surrogatepass"))
        else:
            machine.stack.append(raw if kind == "bytes" else int.from_bytes(raw, "little", signed=True))

    return handler


def old_number(machine: Machine) -> None:
    """INT and LONG: decimal digits on a line; `00` and `01` are False and True."""
    told = line(machine)
    known = {"00": False, "01": True}
    if len(told) > LONGEST_INTEGER:
        machine.stack.append(OPAQUE)
    else:
        machine.stack.append(known[told] if told in known else int(told.removesuffix("L")))


def old_text(machine: Machine) -> None:
    """STRING and UNICODE. An escape stays as it is written, so that a name spelt with one is never a harmless one."""
    machine.stack.append(line(machine).strip("'\""))


def old_float(machine: Machine) -> None:
    """FLOAT: a decimal number on a line."""
    machine.stack.append(float(line(machine)))
