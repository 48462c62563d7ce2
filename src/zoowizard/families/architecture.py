"""A network's architecture as source code: its candidates, their signatures and its imports, read without running it.

Everything is read by Python's own `ast`. Of an installed library only the top package is looked up, which imports
nothing; from there on its files are read by their paths.
"""

import ast
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from zoowizard.errors import ZoowizardError
from zoowizard.families.pickles import opened, printable
from zoowizard.families.signatures import Signature, parameters_of

LARGEST_BYTES: Final = 1_000_000
MOST_WORDS: Final = 200_000
"""Names, numbers and signs of one file: its syntax tree takes about 1 kB for each."""
MOST_HOPS: Final = 12
"""So many imports, assignments and base classes are followed from a name to what it stands for."""
_DEFINED = ast.ClassDef | ast.FunctionDef
_WORD: Final = re.compile(rb"\w+|[^\w\s]")
_MODULES: Final = ("Module", "Sequential", "LightningModule")


@dataclass(frozen=True)
class Candidate:
    """Something in a file that may be the network: `name`, and the first line of what its docstring `says`."""

    name: str
    says: str
    is_class: bool


@dataclass(frozen=True)
class Code:
    """One file of Python: its `path`, its syntax tree, and the `package` from which its relative imports count."""

    path: Path
    tree: ast.Module
    package: tuple[str, ...] | None = None


def parsed(path: Path) -> Code:
    """The file at `path`. Raises ZoowizardError where it is missing, over 1 MB, or no Python; each names the file."""
    name = printable(path.name)
    with opened(path) as file:
        told = os.fstat(file.fileno())
        if told.st_size > LARGEST_BYTES:
            raise ZoowizardError(f"{name} is over 1 MB; give the file of Python code that defines the network.")
    return _parsed(path, (told.st_ino, told.st_mtime_ns, told.st_size))


@lru_cache(maxsize=16)
def _parsed(path: Path, state: tuple[int, ...]) -> Code:
    name = printable(path.name)
    with opened(path) as file:
        raw = file.read(LARGEST_BYTES + 1)
    if sum(1 for _ in _WORD.finditer(raw)) > MOST_WORDS:
        raise ZoowizardError(
            f"{name} is no Python of a network: it holds over {MOST_WORDS:,} names and signs; give the network's alone."
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # newer versions of Python print them, with the line
            return Code(path, ast.parse(raw, filename=name))
    except SyntaxError as problem:
        place = f", line {problem.lineno}" if problem.lineno else ""
        said = printable(str(problem.msg)[:200])
        raise ZoowizardError(f"{name} is no Python that can be read ({said}{place}); mend it.") from None
    except (ValueError, RecursionError, MemoryError):
        raise ZoowizardError(f"{name} is no Python: it holds no text, or is nested too deeply.") from None


def candidates(code: Code) -> Sequence[Candidate]:
    """What may be the network, most likely first: networks that no other one is made of, then functions that make one.

    Empty where the file defines no network; building blocks and losses are none.
    """
    defined = {one.name: one for one in _top(code.tree) if isinstance(one, _DEFINED)}
    networks = _networks(defined)
    inside = {
        used.id
        for name in networks
        for used in ast.walk(defined[name])
        if isinstance(used, ast.Name) and used.id != name
    }
    makers = {name for name, one in defined.items() if isinstance(one, ast.FunctionDef) and _makes(one, networks)}
    found = [one for one in defined if one in networks and one not in inside and not one.endswith(("Loss", "Metric"))]
    found += [one for one in defined if one in makers and one not in inside]
    return [_candidate(defined[one]) for one in found if not one.startswith("_")]


def definitions(code: Code) -> Sequence[str]:
    """The names of all classes and functions of a file, in their order."""
    return list(dict.fromkeys(one.name for one in _top(code.tree) if isinstance(one, _DEFINED)))


def signature(code: Code, name: str) -> Signature | None:
    """What the class or function `name` of a file is called with; None where the file has no such name."""
    found = _resolved(code, name, MOST_HOPS)
    return None if found is None else _signature(*found)


def inputs_of(code: Code, name: str) -> Sequence[str] | None:
    """What `forward` of the class `name` takes and has no default for; None where that cannot be told from the file."""
    found = _resolved(code, name, MOST_HOPS)
    for _ in range(MOST_HOPS):
        if found is None:
            break
        code, one = found
        if isinstance(one, ast.FunctionDef):
            made = [_last(part.value.func) for part in ast.walk(one)
                    if isinstance(part, ast.Return) and isinstance(part.value, ast.Call)]  # fmt: skip
            found = _resolved(code, made[0], MOST_HOPS) if len(made) == 1 and made[0] != one.name else None
            continue
        own = next((part for part in one.body if isinstance(part, ast.FunctionDef) and part.name == "forward"), None)
        if own is not None:
            plain = [*own.args.posonlyargs, *own.args.args]
            return [each.arg for each in plain[1 : len(plain) - len(own.args.defaults)]]
        found = next((there for base in one.bases if (there := _resolved(code, _last(base), MOST_HOPS))), None)
    return None


def in_library(dotted: str) -> tuple[Code, str]:
    """The file of an installed library that defines what a dotted name stands for, and its name there.

    Raises ZoowizardError, with a sentence for the name, where there is none.
    """
    *modules, name = dotted.split(".")
    if not modules or not all(part.isidentifier() for part in (*modules, name)):
        raise ZoowizardError(
            "is no dotted name of a library; write one such as monai.networks.nets.UNet, or give the architecture's "
            "file first"
        )
    if _spec(modules[0]) is None:
        raise ZoowizardError(f"needs the library {modules[0]}, which is not installed here")
    code = _module(tuple(modules))
    found = None if code is None else _resolved(code, name, MOST_HOPS)
    if found is None:
        where = ".".join(modules)
        raise ZoowizardError(f"is not found in the installed {where}; is it spelt so, and defined there?")
    return found[0], found[1].name


def missing_imports(code: Code) -> Sequence[str]:
    """The modules that the file imports as soon as it is loaded and that are not there; relative ones with a dot."""
    missing: dict[str, None] = {}
    for one in _top(code.tree):
        if isinstance(one, ast.ImportFrom) and one.level:
            missing["." * one.level + (one.module or "")] = None
        elif isinstance(one, ast.Import | ast.ImportFrom):
            modules = [one.module or ""] if isinstance(one, ast.ImportFrom) else [alias.name for alias in one.names]
            missing.update({name: None for name in modules if _spec(name.partition(".")[0]) is None})
    return list(missing)


def _top(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that loading the file runs; not those that are tried only, or meant for running it by itself."""
    waiting = list(reversed(tree.body))
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, ast.If) and not any(
            word in name for name in _names(one.test) for word in ("TYPE_CHECKING", "__name__", "version")
        ):
            waiting += reversed([*one.body, *one.orelse])
        elif isinstance(one, ast.With):
            waiting += reversed(one.body)
        elif isinstance(one, ast.Try):
            waiting += reversed([part for part in one.body if isinstance(part, _DEFINED)])


def _names(expression: ast.expr) -> Iterator[str]:
    """Names and attributes in it, however deeply it is nested."""
    for one in ast.walk(expression):
        if isinstance(one, ast.Name | ast.Attribute):
            yield one.id if isinstance(one, ast.Name) else one.attr


def _networks(defined: dict[str, _DEFINED]) -> set[str]:
    """The classes that are networks: derived from torch's Module, or from another of these, or with a `forward`."""
    found: set[str] = set()
    for _ in range(MOST_HOPS):
        before = len(found)
        for name, one in defined.items():
            if isinstance(one, ast.ClassDef):
                bases = [_last(base) for base in one.bases]
                forward = any(isinstance(part, ast.FunctionDef) and part.name == "forward" for part in one.body)
                if forward or any(base in found or base in _MODULES for base in bases):
                    found.add(name)
        if len(found) == before:
            break
    return found


def _makes(function: ast.FunctionDef, networks: set[str]) -> bool:
    """Whether a function gives back a network that it has made."""
    made: set[str] = set()
    given: list[ast.expr] = []
    for one in ast.walk(function):
        if isinstance(one, ast.Assign) and isinstance(one.value, ast.Call) and _last(one.value.func) in networks:
            made |= {target.id for target in one.targets if isinstance(target, ast.Name)}
        elif isinstance(one, ast.Return) and one.value is not None:
            given.append(one.value)
    return any(
        (isinstance(one, ast.Call) and (_last(one.func) in networks or _last(one.func) == "Sequential"))
        or (isinstance(one, ast.Name) and one.id in made)
        for one in given
    )


def _candidate(one: _DEFINED) -> Candidate:
    says = (ast.get_docstring(one) or "").strip().split("\n")[0]
    return Candidate(one.name, printable(says[:120]), isinstance(one, ast.ClassDef))


def _last(expression: ast.expr) -> str:
    """`Module` of `torch.nn.Module`; empty for what is no name."""
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""


def _signature(code: Code, one: _DEFINED) -> Signature:
    """Of a class the signature of its `__init__`, or of that of its first base class that has one."""
    for _ in range(MOST_HOPS):
        if isinstance(one, ast.FunctionDef):
            return parameters_of(one.args, False)
        own = next((part for part in one.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
        if own is not None:
            return parameters_of(own.args, True)
        bases = [_last(base) for base in one.bases]
        if not bases or bases[0] in ("Module", "LightningModule"):
            return Signature(())
        found = _resolved(code, bases[0], MOST_HOPS)
        if found is None:
            break
        code, one = found
    return Signature((), more=True)


def _resolved(
    code: Code, name: str, hops: int, seen: set[tuple[Path, str]] | None = None
) -> tuple[Code, _DEFINED] | None:
    """The definition that `name` stands for in a file, through imports and assignments; None where it is not found.

    `seen` are the names that were looked for before, in which files: files import each other.
    """
    seen = set() if seen is None else seen
    if hops <= 0 or (code.path, name) in seen:
        return None
    seen.add((code.path, name))
    stars: list[tuple[str, ...]] = []
    found: tuple[Code, _DEFINED] | None = None
    for one in _top(code.tree):
        if isinstance(one, _DEFINED) and one.name == name:
            found = code, one
        elif isinstance(one, ast.Assign) and any(_last(target) == name for target in one.targets):
            found = _resolved(code, _last(one.value), hops - 1, seen) if isinstance(one.value, ast.Name) else found
        elif isinstance(one, ast.ImportFrom) and (place := _place(code, one)) is not None:
            for alias in one.names:
                if alias.name == "*":
                    stars.append(place)
                elif (alias.asname or alias.name) == name and (there := _module(place)) is not None:
                    found = _resolved(there, alias.name, hops - 1, seen) or found
    for place in [] if found else dict.fromkeys(stars):
        there = _module(place)
        found = found or (None if there is None else _resolved(there, name, hops - 1, seen))
    return found


def _place(code: Code, one: ast.ImportFrom) -> tuple[str, ...] | None:
    """The module that an import names, from the top package on."""
    module = tuple(one.module.split(".")) if one.module else ()
    if not one.level:
        return module
    if code.package is None or one.level - 1 > len(code.package):
        return None
    return (*code.package[: len(code.package) - one.level + 1], *module)


def _module(names: tuple[str, ...]) -> Code | None:
    """A module of an installed library, by its path; None where there is none that can be read."""
    spec = _spec(names[0]) if names else None
    if spec is None:
        return None
    places = [Path(one) for one in spec.submodule_search_locations or ()]
    if not places:
        return _code(Path(spec.origin), names[:0]) if len(names) == 1 and spec.origin else None
    for folder in (place.joinpath(*names[1:]) for place in places):
        if (folder / "__init__.py").is_file():
            return _code(folder / "__init__.py", names)
        if folder.with_suffix(".py").is_file() and len(names) > 1:
            return _code(folder.with_suffix(".py"), names[:-1])
    return None


def _code(path: Path, package: tuple[str, ...]) -> Code | None:
    try:
        return Code(path, parsed(path).tree, package)
    except ZoowizardError:
        return None


def _spec(top: str) -> ModuleSpec | None:
    try:
        return find_spec(top) if top.isidentifier() else None
    except (ImportError, ValueError, AttributeError):
        return None
