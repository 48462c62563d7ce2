"""A pickle machine that cannot run anything: it knows the instructions, and has no way to import or to call.

The instructions are those of Python's `pickletools`. Python's own unpickler is not used, even with a `find_class` of
ours: it still hashes, allocates and recurses as the file says (`LONG_BINPUT`, `BYTEARRAY8`, nested tuples as keys).
Here each instruction costs a bounded time and memory, and their number is bounded.
"""

import gc
import struct
from collections.abc import Callable
from typing import Any, Final

from zoowizard.families.allowed import may_be_got, may_be_named
from zoowizard.families.literals import (
    AGAIN,
    F8,
    I4,
    MOST_INSTRUCTIONS,
    U1,
    U2,
    U4,
    U8,
    DamagedError,
    Machine,
    index,
    line,
    number,
    old_float,
    old_number,
    old_text,
    sized,
)
from zoowizard.families.stand_ins import OPAQUE, Made, Name


def run(machine: Machine) -> Any:
    """Follow one pickle from `machine.position` to its STOP; gives what it holds, out of stand-ins.

    Raises DamagedError. What must not be named or called is gathered in `machine.unsafe`; the pickle is followed on, so
    that all of it is found.
    """
    machine.stack, machine.marks, machine.memo = [], [], {}
    # Hundreds of thousands of objects are made and none is let go: the collector would look through them for nothing.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _follow(machine)
    except (IndexError, KeyError, struct.error) as problem:
        raise DamagedError(f"is cut short or damaged{AGAIN}") from problem
    except (ValueError, TypeError, AttributeError) as problem:
        raise DamagedError(f"holds a damaged pickle{AGAIN}") from problem
    finally:
        if collecting:
            gc.enable()


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
            memo[U4(data, position)[0]] = stack[-1]
            position += 4
        elif code == 0x4B:  # BININT1
            stack.append(data[position])
            position += 1
        elif code == 0x29:  # EMPTY_TUPLE
            stack.append(())
        elif code == 0x52:  # REDUCE
            args = stack.pop()
            what = stack[-1]
            if what.__class__ is Name and what.calls is not None and args.__class__ is tuple:
                stack[-1] = what.calls(args)
            else:
                stack[-1] = _called(machine, what, args)
        elif code == 0x28:  # MARK
            marks.append(len(stack))
        elif code == 0x74:  # TUPLE
            start = marks.pop()
            stack[start:] = [tuple(stack[start:])]
        elif code == 0x85:  # TUPLE1
            stack[-1] = (stack[-1],)
        elif code == 0x7D:  # EMPTY_DICT
            stack.append({})
        elif code == 0x89:  # NEWFALSE
            stack.append(False)
        elif code == 0x6A:  # LONG_BINGET
            stack.append(memo[U4(data, position)[0]])
            position += 4
        elif code == 0x4D:  # BININT2
            stack.append(U2(data, position)[0])
            position += 2
        elif code == 0x51:  # BINPERSID
            stack[-1] = _stored(stack[-1])
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


def _push(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value)


def _push_new(kind: Callable[[], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(kind())


def _put_line(machine: Machine) -> None:
    machine.memo[index(machine)] = machine.stack[-1]


def _get_line(machine: Machine) -> None:
    machine.stack.append(machine.memo[index(machine)])


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
    machine.stack.append(_named(machine, line(machine), line(machine)))


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
    name = _named(machine, line(machine), line(machine))
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


def _stored(told: Any) -> Any:
    """A persistent id: ("storage", type, key, device, numel, …) in every checkpoint that torch writes."""
    storage = told[1] if isinstance(told, tuple) and len(told) > 1 else None
    if not isinstance(storage, Name):
        return OPAQUE
    return Made(storage.last, (told[2], told[4]) if len(told) > 4 else ())


def _skip(size: int) -> Callable[[Machine], None]:
    def handler(machine: Machine) -> None:
        machine.position += size

    return handler


_HANDLERS: Final[dict[int, Callable[[Machine], None]]] = {
    ord(code): handler
    for code, handler in {
        "\x80": _skip(1), "\x95": _skip(8),
        "N": _push(None), "\x88": _push(True), "]": _push_new(list), "\x8f": _push_new(list),
        "J": number(I4, 4), "G": number(F8, 8),
        "X": sized(U4, 4, "text"), "\x8c": sized(U1, 1, "text"), "\x8d": sized(U8, 8, "text"),
        "B": sized(U4, 4, "bytes"), "C": sized(U1, 1, "bytes"), "\x8e": sized(U8, 8, "bytes"),
        "T": sized(I4, 4, "text"), "U": sized(U1, 1, "text"), "\x96": sized(U8, 8, "bytes"),
        "\x8a": sized(U1, 1, "number"), "\x8b": sized(I4, 4, "number"),
        "I": old_number, "L": old_number, "F": old_float, "S": old_text, "V": old_text,
        "p": _put_line, "g": _get_line, "q": _put_byte, "\x94": _memoise,
        "\x86": _tuple_of(2), "\x87": _tuple_of(3),
        "0": _pop, "1": lambda machine: _since_mark(machine).clear(),
        "2": lambda machine: machine.stack.append(machine.stack[-1]),
        "c": _global, "\x93": _stack_global, "i": _instance, "o": _object,
        "\x81": _new_object, "\x92": _new_object_ex, "b": _build,
        "s": _set_item, "u": _set_items, "a": _append, "e": _append_all, "\x90": _append_all,
        "d": _dict_of, "l": lambda machine: machine.stack.append(_since_mark(machine)),
        "\x91": lambda machine: machine.stack.append(_since_mark(machine)),
    }.items()
}  # fmt: skip
