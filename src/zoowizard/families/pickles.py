"""Look into a torch checkpoint without running it, and without torch.

Only the pickle is read, never the weights. Source of the formats: `torch.serialization` (`_save`, `_legacy_save`,
`_legacy_load`).
"""

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

from zoowizard.errors import UnsafeCheckpoint, WrongUse, ZoowizardError
from zoowizard.families.allowed import UNKNOWN, danger
from zoowizard.families.literals import AGAIN, DamagedError, Machine
from zoowizard.families.opcodes import run
from zoowizard.families.zips import ZIP, records, unpacked

TORCH_ENDINGS: Final = (".pt", ".pth", ".ckpt", ".pytorch")
"""How those who train call what `torch.save` writes, in small letters."""
LARGEST_PICKLE: Final = 32 << 20
"""Bytes. Training writes 0.1 to 1 MB."""

_PICKLE: Final = b"\x80"
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_HEAD: Final = 16 << 20


class NotFromTorchSave(ZoowizardError):
    """`torch.save` did not write the file. Another kind of weights may be in it."""


class _AnotherKind(DamagedError):
    """Nothing is damaged, but `torch.save` writes other files."""


@dataclass(frozen=True)
class Storages:
    """Where the numbers of a checkpoint before torch 1.6 lie: from byte `start` on, a storage after the other.

    `keys` are theirs as the file has them; `little_endian` is what it says of its machine.
    """

    start: int
    keys: Any
    little_endian: bool


@dataclass(frozen=True)
class Looked:
    """What a checkpoint holds: its root out of stand-ins (see `stand_ins`) and every global that it names.

    `storages` is None for a zip, in which every storage is a record of its own. Others may look at the same root.
    """

    root: Any
    names: tuple[str, ...]
    storages: Storages | None = None


def look(path: Path) -> Looked:
    """Look into the torch checkpoint at `path`, whatever its size.

    Raises UnsafeCheckpoint where loading it could run code, WrongUse where there is no such file, NotFromTorchSave
    where it is no torch checkpoint, and ZoowizardError where it cannot be read; each with one sentence that names the
    file.
    """
    with opened(path) as file:
        told = os.fstat(file.fileno())
    return _looked(path, (told.st_dev, told.st_ino, told.st_mtime_ns, told.st_ctime_ns, told.st_size))


@lru_cache(maxsize=1)
def _looked(path: Path, state: tuple[int, ...]) -> Looked:
    """Each family looks at the same file in its turn: it is followed once for all of them."""
    with followed(path) as file:
        return _look(path.name, file)


def starts_like_a_checkpoint(path: Path) -> bool:
    """Whether the file begins as torch's files do (zip or pickle); False also where it cannot be read."""
    try:
        with opened(path) as file:
            head = file.read(4)
    except ZoowizardError:
        return False
    return head == ZIP or head[:1] == _PICKLE


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


@contextmanager
def followed(path: Path) -> Iterator[BinaryIO]:
    """The same for a file that is followed: what is wrong with it (DamagedError, zlib.error) is a ZoowizardError."""
    name = printable(path.name)
    with opened(path) as file:
        try:
            yield file
        except _AnotherKind as problem:
            raise NotFromTorchSave(f"{name} {problem}.") from None
        except DamagedError as problem:
            raise ZoowizardError(f"{name} {problem}.") from None
        except zlib.error:
            raise ZoowizardError(f"{name} is a damaged zip{AGAIN}.") from None
        except (MemoryError, RecursionError):
            raise ZoowizardError(f"{name} is built to use up memory; it is not read.") from None


def _look(name: str, file: BinaryIO) -> Looked:
    size = os.fstat(file.fileno()).st_size
    head = file.read(512)
    if head.startswith(ZIP):
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
        raise _AnotherKind("is no torch checkpoint (neither a zip nor a pickle, and torch writes one of the two)")
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
    if pickles == 1:
        return Looked(parts[0], tuple(machine.names))
    machine_told = parts[2] if isinstance(parts[2], dict) else {}
    storages = Storages(machine.position, parts[4], machine_told.get("little_endian") is True)
    return Looked(parts[3], tuple(machine.names), storages)


def _refuse_unsafe(name: str, machine: Machine) -> None:
    if not machine.unsafe:
        return
    first = next(iter(machine.unsafe))
    more = [f"`{printable(other[:100])}`" for other in list(machine.unsafe)[1:6]]
    also = f" It also names {', '.join(more)}{' and more' if len(machine.unsafe) > 6 else ''}." if more else ""
    raise UnsafeCheckpoint(
        f"{printable(name)} names `{printable(first[:100])}`, {danger(first)}.{also}{_way_out(machine)}"
    )


def _way_out(machine: Machine) -> str:
    """How the weights can be got out of a network that was saved as a whole, or beside settings of a class."""
    own = all(danger(name) == UNKNOWN for name in machine.unsafe)
    if not own or any(name.startswith("ultralytics.") for name in machine.names):
        return ""
    return (
        " If you trained it yourself, save its weights alone where it was trained, torch.save(model.state_dict(), …), "
        "and give that file with the network's code."
    )


def _pickle_of_zip(file: BinaryIO, size: int) -> bytes:
    """The bytes of the one `data.pkl` in torch's zip, found as torch finds it. Raises DamagedError."""
    found, script = [], False
    for record in records(file, size):
        if record.last == b"data.pkl":
            found.append(record)
        script = script or record.last == b"constants.pkl"
    if script:
        raise _AnotherKind(
            "is an exported TorchScript program, not a training checkpoint; give the .pt that training wrote"
        )
    if len(found) != 1:
        # torch looks names up without regard to case, so that a second DATA.PKL could be the one that it loads.
        count = "no" if not found else "more than one"
        kind = DamagedError if found else _AnotherKind
        raise kind(f"is a zip with {count} data.pkl in it, so torch.save did not write it")
    return unpacked(file, found[0], LARGEST_PICKLE)
