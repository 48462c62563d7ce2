"""What stands in for the things a checkpoint names: it remembers what was said of it and can do nothing."""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final


class Name:
    """A global that the pickle names, such as `torch.nn.modules.conv.Conv2d`. Nothing is imported for it."""

    __slots__ = ("calls", "full", "last")

    def __init__(self, module: str, name: str) -> None:
        """Keep `module` and `name` as Python 3 spells them; `calls` says what calling it stands for, where allowed."""
        self.full = f"{_NEW_SPELLING.get(module, module)}.{name}"
        self.last = name
        self.calls = CALLED.get(self.full)


class Made:
    """An object that the pickle would make: of which `kind`, from which `args`, with which `state`."""

    __slots__ = ("args", "kind", "state")

    def __init__(self, kind: str, args: Any = (), state: Any = None) -> None:
        """Remember `kind` (the full name of the class or function) and what it was given."""
        self.kind = kind
        self.args = args
        self.state = state

    def attribute(self, name: str) -> Any:
        """The attribute `name` of the state that was set, or None."""
        return self.state.get(name) if isinstance(self.state, dict) else None


class Tensor:
    """A tensor by its `shape` and `dtype` alone (the torch name, such as `HalfStorage`); `trained` for a parameter.

    `place` says where its numbers lie: (key of the storage, numbers in the storage, numbers before its first one), as
    the file has it.
    """

    __slots__ = ("dtype", "place", "size", "trained")

    def __init__(self, size: Any, dtype: str, trained: bool = False, place: tuple[Any, Any, Any] | None = None) -> None:
        """Remember what can be known without reading the weights; `size` is as the file has it."""
        self.size = size
        self.dtype = dtype
        self.trained = trained
        self.place = place

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes; () where the file says nothing sensible."""
        size = self.size if isinstance(self.size, tuple | list) and len(self.size) <= 64 else ()
        return tuple(size) if all(isinstance(length, int) and 0 <= length < 1 << 40 for length in size) else ()

    @property
    def numel(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)


class Opaque:
    """Something too big to look into, or that does not matter."""

    __slots__ = ()


OPAQUE: Final = Opaque()

_NEW_SPELLING: Final = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def _tensor(args: tuple[Any, ...]) -> Tensor:
    """`torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)`."""
    storage = args[0]
    if not isinstance(storage, Made):
        return Tensor(args[2], "")
    key, numel = storage.args if isinstance(storage.args, tuple) and len(storage.args) == 2 else (None, None)
    return Tensor(args[2], storage.kind, place=(key, numel, args[1]))


def _parameter(args: tuple[Any, ...]) -> Any:
    """`torch._utils._rebuild_parameter(tensor, requires_grad, hooks)`."""
    tensor = args[0]
    if not isinstance(tensor, Tensor):
        return OPAQUE
    return Tensor(tensor.size, tensor.dtype, trained=True, place=tensor.place)


def _mapping(args: tuple[Any, ...]) -> dict[Any, Any]:
    """`collections.OrderedDict(pairs)`; pairs are only written by other protocols than torch's, so they are dropped."""
    if not args:
        return {}
    return dict(args[0]) if isinstance(args[0], dict) else {}


def _members(args: tuple[Any, ...]) -> list[Any]:
    """`set(members)`, kept as a list: hashing what a hostile file holds can take for ever."""
    return list(args[0]) if args and isinstance(args[0], list | tuple) else []


def _first(args: tuple[Any, ...]) -> Any:
    """`torch.jit._pickle.restore_type_tag(value, type)`, which gives the value back."""
    return args[0] if args else OPAQUE


def _size(args: tuple[Any, ...]) -> Any:
    return args[0] if args and isinstance(args[0], tuple) else ()


def _path(args: tuple[Any, ...]) -> str:
    """A path, as text that nothing opens."""
    return "/".join(part for part in args if isinstance(part, str)).replace("//", "/")


def _encoded(args: tuple[Any, ...]) -> Any:
    """`_codecs.encode(text, "latin1")`: how protocol 2 writes bytes."""
    if isinstance(args[0], str) and len(args) > 1 and args[1] == "latin1":
        return args[0].encode("latin-1", "replace")
    return OPAQUE


_NUMPY_FORMATS: Final = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "b1": "?"}


def _scalar(args: tuple[Any, ...]) -> Any:
    """`numpy.core.multiarray.scalar(dtype, bytes)`: a plain number again."""
    dtype, raw = args[0], args[1] if len(args) > 1 else None
    code = dtype.args[0] if isinstance(dtype, Made) and dtype.args else None
    form = _NUMPY_FORMATS.get(code) if isinstance(code, str) else None
    if form is None or not isinstance(raw, bytes) or len(raw) != struct.calcsize(form):
        return OPAQUE
    return struct.unpack("<" + form, raw)[0]


def _kept(kind: str) -> Callable[[tuple[Any, ...]], Made]:
    return lambda args: Made(kind, args)


def _dropped(args: tuple[Any, ...]) -> Opaque:
    return OPAQUE


_NAMESPACES: Final = (
    "ultralytics.utils.IterableSimpleNamespace",
    "ultralytics.yolo.utils.IterableSimpleNamespace",
    "ultralytics.cfg.IterableSimpleNamespace",
)
CALLED: Final[Mapping[str, Callable[[tuple[Any, ...]], Any]]] = {
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "builtins.set": _members,
    "builtins.frozenset": _members,
    "torch.Size": _size,
    "torch.device": _dropped,
    "torch.jit._pickle.restore_type_tag": _first,
    "torch.serialization._get_layout": _dropped,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "_codecs.encode": _encoded,
    "numpy.dtype": _kept("numpy.dtype"),
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _dropped for core in ("core", "_core")},
    **{f"pathlib.{kind}": _path for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")},
    **{f"pathlib._local.{kind}": _path for kind in ("PosixPath", "WindowsPath")},
    **{f"datetime.{kind}": _dropped for kind in ("datetime", "date", "time", "timedelta", "timezone")},
    **{kind: _kept(kind) for kind in _NAMESPACES},
    "torchvision.transforms.functional.InterpolationMode": _dropped,
}
"""The only functions and classes that a pickle may call, each with what it stands for here.

Everything else may at most be made empty and have its attributes set. A constructor is not harmless:
`ultralytics.nn.tasks.SegmentationModel({"activation": "…"})` evaluates the text that it is given.
"""


def parameters(network: Any) -> Sequence[Tensor]:
    """Every distinct parameter of a `torch.nn.Module` stand-in and of the modules in it, in the order of the file."""
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    waiting: list[Any] = [network]
    while waiting:
        module = waiting.pop()
        if not isinstance(module, Made) or id(module) in seen:
            continue
        seen.add(id(module))
        own, below = module.attribute("_parameters"), module.attribute("_modules")
        for tensor in own.values() if isinstance(own, dict) else ():
            if isinstance(tensor, Tensor):
                found[id(tensor)] = tensor
        waiting.extend(reversed(list(below.values())) if isinstance(below, dict) else ())
    return list(found.values())
