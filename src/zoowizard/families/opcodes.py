"""A pickle machine that cannot run anything: it knows the instructions, and has no way to import or to call.

The instructions are those of Python's `pickletools`. Python's own unpickler is not used, even with a `find_class` of
ours: it still hashes, allocates and recurses as the file says (`LONG_BINPUT`, `BYTEARRAY8`, nested tuples as keys).
Here each instruction costs a bounded time and memory, and their number is bounded.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from zoowizard.families.allowed import may_be_got, may_be_named
from zoowizard.families.stand_ins import OPAQUE, Made, Name

MOST_INSTRUCTIONS: Final = 1_000_000
"""About five times what the largest YOLO writes while training."""
LONGEST_TEXT: Final = 1 << 20
LONGEST_INTEGER: Final = 1 << 10

AGAIN: Final = "; copy it again from where it was trained"

_U2: Final = struct.Struct("<H").unpack_from
_I4: Final = struct.Struct("<i").unpack_from
_U4: Final = struct.Struct("<I").unpack_from
_U8: Final = struct.Struct("<Q").unpack_from
_F8: Final = struct.Struct(">d").unpack_from


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


def run(machine: Machine) -> Any:
    """Follow one pickle from `machine.position` to its STOP; gives what it holds, out of stand-ins.

    Raises DamagedError. What must not be named or called is gathered in `machine.unsafe`; the pickle is followed on, so
    that all of it is found.
    """
    machine.stack, machine.marks, machine.memo = [], [], {}
    try:
        return _follow(machine)
    except (IndexError, KeyError, struct.error) as problem:
        raise DamagedError(f"is cut short or damaged{AGAIN}") from problem
    except (ValueError, TypeError, AttributeError) as problem:
        raise DamagedError(f"holds a damaged pickle{AGAIN}") from problem


def _follow(machine: Machine) -> Any:
    # The most frequent instructions stand here, in the order of how often torch writes them: a call for each would
    # double the time of `identify` on a large folder.
    data, stack, marks, memo = machine.data, machine.stack, machine.marks, machine.memo
    position = machine.position
    for done in range(machine.left):
        code = data[position]
        position += 1
        if code == 0x68:  # BINGET
            stack.append(memo[data[position]])
            position += 1
        elif code == 0x72:  # LONG_BINPUT
            memo[_U4(data, position)[0]] = stack[-1]
            position += 4
        elif code == 0x4B:  # BININT1
            stack.append(data[position])
            position += 1
        elif code == 0x29:  # EMPTY_TUPLE
            stack.append(())
        elif code == 0x28:  # MARK
            marks.append(len(stack))
        elif code == 0x74:  # TUPLE
            start = marks.pop()
            stack[start:] = [tuple(stack[start:])]
        elif code == 0x85:  # TUPLE1
            stack[-1] = (stack[-1],)
        elif code == 0x89:  # NEWFALSE
            stack.append(False)
        elif code == 0x52:  # REDUCE
            args = stack.pop()
            stack[-1] = _called(machine, stack[-1], args)
        elif code == 0x6A:  # LONG_BINGET
            stack.append(memo[_U4(data, position)[0]])
            position += 4
        elif code == 0x4D:  # BININT2
            stack.append(_U2(data, position)[0])
            position += 2
        elif code == 0x2E:  # STOP
            machine.position = position
            machine.left -= done + 1
            return stack.pop()
        else:
            handler = _HANDLERS.get(code)
            if handler is None:
                raise DamagedError(f"holds a byte ({code:#04x}) that is no pickle instruction of a checkpoint")
            machine.position = position
            handler(machine)
            position = machine.position
    raise DamagedError(f"holds more than {MOST_INSTRUCTIONS:,} pickle instructions, far more than training writes")


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


def _line(machine: Machine) -> str:
    end = machine.data.find(b"\n", machine.position, machine.position + LONGEST_TEXT)
    if end < 0:
        raise DamagedError(f"is cut short or damaged{AGAIN}")
    line = machine.data[machine.position : end]
    machine.position = end + 1
    return line.decode("utf-8", "surrogateescape")


def _push(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value)


def _push_new(kind: Callable[[], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(kind())


def _number(read: Callable[[bytes, int], tuple[Any, ...]], size: int) -> Callable[[Machine], None]:
    def handler(machine: Machine) -> None:
        machine.stack.append(read(machine.data, machine.position)[0])
        machine.position += size

    return handler


def _sized(read: Callable[[bytes, int], tuple[Any, ...]], size: int, kind: str) -> Callable[[Machine], None]:
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


def _u1(data: bytes, position: int) -> tuple[int]:
    return (data[position],)


def _old_number(machine: Machine) -> None:
    line = _line(machine)
    known = {"00": False, "01": True}
    if len(line) > LONGEST_INTEGER:
        machine.stack.append(OPAQUE)
    else:
        machine.stack.append(known[line] if line in known else int(line.removesuffix("L")))


def _old_text(machine: Machine) -> None:
    machine.stack.append(_line(machine).strip("'\""))


def _old_float(machine: Machine) -> None:
    machine.stack.append(float(_line(machine)))


def _put_line(machine: Machine) -> None:
    machine.memo[int(_line(machine)[:20])] = machine.stack[-1]


def _get_line(machine: Machine) -> None:
    machine.stack.append(machine.memo[int(_line(machine)[:20])])


def _put_byte(machine: Machine) -> None:
    machine.memo[machine.data[machine.position]] = machine.stack[-1]
    machine.position += 1


def _memoise(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _since_mark(machine: Machine) -> list[Any]:
    start = machine.marks.pop()
    items = machine.stack[start:]
    del machine.stack[start:]
    return items


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def handler(machine: Machine) -> None:
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return handler


def _pop(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _named(machine: Machine, module: str, name: str) -> Name:
    fresh = Name(module, name)
    known = machine.names.setdefault(fresh.full, fresh)
    if known is fresh and not may_be_named(fresh.full):
        machine.unsafe[fresh.full] = None
    return known


def _global(machine: Machine) -> None:
    machine.stack.append(_named(machine, _line(machine), _line(machine)))


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if isinstance(name, str) and isinstance(module, str):
        machine.stack.append(_named(machine, module, name))
    else:
        machine.unsafe["a name that is put together while loading"] = None
        machine.stack.append(OPAQUE)


def _called(machine: Machine, what: Any, args: Any) -> Any:
    if isinstance(what, Name) and what.calls is not None:
        return what.calls(args if isinstance(args, tuple) else ())
    if not isinstance(what, Name):
        machine.unsafe["a call of something that is put together while loading"] = None
        return OPAQUE
    if what.full == "builtins.getattr":
        owner, attribute = args
        if not may_be_got(owner, attribute):
            of = owner.full if isinstance(owner, Name) else "an object"
            machine.unsafe[f"builtins.getattr({of}, {str(attribute)[:60]})"] = None
        return Name(owner.full if isinstance(owner, Name) else "an object", str(attribute)[:60])
    machine.unsafe[what.full if not may_be_named(what.full) else f"{what.full}(…)"] = None
    return OPAQUE


def _instance(machine: Machine) -> None:
    name = _named(machine, _line(machine), _line(machine))
    machine.stack.append(_called(machine, name, tuple(_since_mark(machine))))


def _object(machine: Machine) -> None:
    items = _since_mark(machine)
    machine.stack.append(_called(machine, items[0], tuple(items[1:])))


def _new(machine: Machine, kind: Any, args: Any) -> None:
    if not isinstance(kind, Name):
        machine.unsafe["an object of a type that is put together while loading"] = None
        machine.stack.append(OPAQUE)
    else:
        machine.stack.append(Made(kind.full, args) if kind.calls is None else _called(machine, kind, args))


def _new_object(machine: Machine) -> None:
    args = machine.stack.pop()
    _new(machine, machine.stack.pop(), args)


def _new_object_ex(machine: Machine) -> None:
    machine.stack.pop()
    _new_object(machine)


def _left_alone(machine: Machine, target: Any) -> None:
    if isinstance(target, Name):
        machine.unsafe[f"a change of {target.full} itself"] = None


def _build(machine: Machine) -> None:
    state, target = machine.stack.pop(), machine.stack[-1]
    if isinstance(target, Made):
        target.state = state
    _left_alone(machine, target)


def _set_pairs(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    _left_alone(machine, target)
    if isinstance(target, dict):
        # Only keys whose hash is quick: a tuple nested in itself would be hashed for ever.
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str | bytes | None) or (isinstance(key, int) and abs(key) < 1 << 62):
                target[key] = value


def _set_items(machine: Machine) -> None:
    items = _since_mark(machine)
    _set_pairs(machine, items)


def _set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _set_pairs(machine, [key, value])


def _extend(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    _left_alone(machine, target)
    if isinstance(target, list):
        target.extend(items)


def _append(machine: Machine) -> None:
    item = machine.stack.pop()
    _extend(machine, [item])


def _append_all(machine: Machine) -> None:
    items = _since_mark(machine)
    _extend(machine, items)


def _dict_of(machine: Machine) -> None:
    items = _since_mark(machine)
    machine.stack.append({})
    _set_pairs(machine, items)


def _stored(machine: Machine) -> None:
    """A persistent id: ("storage", type, key, device, numel) in every checkpoint that torch writes."""
    told = machine.stack.pop()
    storage = told[1] if isinstance(told, tuple) and len(told) > 1 else None
    machine.stack.append(Made(storage.last) if isinstance(storage, Name) else OPAQUE)


def _skip(size: int) -> Callable[[Machine], None]:
    def handler(machine: Machine) -> None:
        machine.position += size

    return handler


_HANDLERS: Final[dict[int, Callable[[Machine], None]]] = {
    ord(code): handler
    for code, handler in {
        "\x80": _skip(1), "\x95": _skip(8),
        "N": _push(None), "\x88": _push(True), "}": _push_new(dict), "]": _push_new(list), "\x8f": _push_new(list),
        "J": _number(_I4, 4), "G": _number(_F8, 8),
        "X": _sized(_U4, 4, "text"), "\x8c": _sized(_u1, 1, "text"), "\x8d": _sized(_U8, 8, "text"),
        "B": _sized(_U4, 4, "bytes"), "C": _sized(_u1, 1, "bytes"), "\x8e": _sized(_U8, 8, "bytes"),
        "T": _sized(_I4, 4, "text"), "U": _sized(_u1, 1, "text"), "\x96": _sized(_U8, 8, "bytes"),
        "\x8a": _sized(_u1, 1, "number"), "\x8b": _sized(_I4, 4, "number"),
        "I": _old_number, "L": _old_number, "F": _old_float, "S": _old_text, "V": _old_text,
        "p": _put_line, "g": _get_line, "q": _put_byte, "\x94": _memoise,
        "\x86": _tuple_of(2), "\x87": _tuple_of(3),
        "0": _pop, "1": lambda machine: _since_mark(machine).clear(),
        "2": lambda machine: machine.stack.append(machine.stack[-1]),
        "c": _global, "\x93": _stack_global, "i": _instance, "o": _object,
        "\x81": _new_object, "\x92": _new_object_ex, "b": _build,
        "s": _set_item, "u": _set_items, "a": _append, "e": _append_all, "\x90": _append_all,
        "d": _dict_of, "l": lambda machine: machine.stack.append(_since_mark(machine)),
        "\x91": lambda machine: machine.stack.append(_since_mark(machine)), "Q": _stored,
    }.items()
}  # fmt: skip
