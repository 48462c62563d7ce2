"""A network made of an architecture: a file of Python code, or a name in an installed library, and its arguments.

The code of the file is run here, which is in a job only, from a copy in the job's folder.
"""

import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import nn

from zoowizard.conversion.any_network.findings import NEEDS_GPU
from zoowizard.conversion.probing.apart import in_a_line
from zoowizard.conversion.probing.networks import end_fork
from zoowizard.errors import ZoowizardError

MODULE: Final = "zoowizard_architecture"
_ARGUMENT: Final = re.compile(r"argument:? '(\w+)'")


@dataclass(frozen=True)
class Architecture:
    """What a network is made with: `name` in the `file`, or a dotted one in a library where there is none.

    `file` is the copy that is run, `called` the name of the person's own file.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    called: str = ""

    @property
    def module(self) -> str:
        """The module of the library."""
        return self.name.rpartition(".")[0]

    @property
    def callable(self) -> str:
        """The class or function in the file or module."""
        return self.name.rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.callable}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


def copied(source: Path, folder: Path) -> Path:
    """A copy of the architecture's file in a folder of its own. Raises ZoowizardError where it cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "architecture.py"
    try:
        shutil.copyfile(source, target)
    except OSError as problem:
        reason = (problem.strerror or type(problem).__name__).lower()
        raise ZoowizardError(f"architecture_file: {source} cannot be read: {reason}") from problem
    return target


def made(architecture: Architecture) -> nn.Module:
    """The network, in eval mode. Raises ZoowizardError, in words for a person, where it cannot be made."""
    own = os.getpid()
    maker = found(architecture)
    try:
        network = maker(**architecture.arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:
        raise ZoowizardError(_why_not_made(architecture, problem)) from problem
    finally:
        end_fork(own)
    if not isinstance(network, nn.Module):
        raise ZoowizardError(
            f"network: {architecture} gives {_a(network)}, which is no network of PyTorch (torch.nn.Module); name the "
            "class of the network, or a function that returns one"
        )
    return network.eval()


def found(architecture: Architecture) -> Any:
    """The class or function, imported. Raises ZoowizardError where that fails."""
    module = _of_library(architecture) if architecture.file is None else _of_file(architecture, architecture.file)
    maker = getattr(module, architecture.callable, None)
    if not callable(maker):
        where = architecture.called or architecture.module
        raise ZoowizardError(f"network: there is no class or function {architecture.callable} in {where}")
    return maker


def defaults_of(architecture: Architecture) -> dict[str, Any]:
    """The arguments that the class or function itself has a value for. Raises as `found` does."""
    try:
        parameters = inspect.signature(found(architecture)).parameters
    except (TypeError, ValueError):  # what is not written in Python has none
        return {}
    return {name: one.default for name, one in parameters.items() if one.default is not one.empty}


def _of_file(architecture: Architecture, file: Path) -> Any:
    name = f"{MODULE}_{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    before, own = file.read_bytes(), os.getpid()
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look for it there
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:
        del sys.modules[name]
        raise ZoowizardError(_why_not_run(architecture.called, problem)) from problem
    finally:
        end_fork(own)
    if file.read_bytes() != before:
        raise ZoowizardError(
            f"architecture_file: {architecture.called} changes its own file when it is loaded, so that the package "
            "would hold another code than the one that was tested; take that out of it"
        )
    return module


def _of_library(architecture: Architecture) -> Any:
    try:
        return importlib.import_module(architecture.module)
    except ImportError as problem:
        missing = problem.name if isinstance(problem, ModuleNotFoundError) and problem.name else architecture.module
        raise ZoowizardError(
            f"network: {architecture.name} needs {missing}, which is not installed here; install it beside zoowizard"
        ) from problem
    except (Exception, SystemExit) as problem:
        raise ZoowizardError(f"network: {architecture.module} cannot be imported: {_line(problem)}") from problem


def _why_not_run(called: str, problem: BaseException) -> str:
    if isinstance(problem, ModuleNotFoundError) and problem.name:
        return (
            f"architecture_file: {called} imports {problem.name}, which is not installed here; install it beside "
            "zoowizard, or take what is needed of it into the file"
        )
    if isinstance(problem, ImportError) and "relative import" in str(problem):
        return (
            f"architecture_file: {called} imports from files beside it, and a package holds one file; put all that the "
            "network needs into one file"
        )
    if NEEDS_GPU.search(str(problem)):
        return _gpu(f"architecture_file: {called}", "when it is loaded", problem)
    return f"architecture_file: {called} fails when it is loaded: {_line(problem)}"


def _why_not_made(architecture: Architecture, problem: BaseException) -> str:
    if isinstance(problem, TypeError) and (named := _ARGUMENT.search(str(problem))):
        name = named[1]
        if "unexpected keyword" in str(problem):
            return f"argument_{name}: {architecture.callable} takes no argument of that name"
        if "missing" in str(problem):
            return f"argument_{name}: {architecture.callable} needs it; say with which value the network was trained"
    if isinstance(problem, ModuleNotFoundError) and problem.name:
        return f"network: {architecture} needs {problem.name}, which is not installed here; install it beside zoowizard"
    if NEEDS_GPU.search(str(problem)):
        return _gpu(f"network: {architecture}", "when it is made", problem)
    return f"network: {architecture} fails: {_line(problem)}{_hint(architecture, problem)}"


def _gpu(what: str, when: str, problem: BaseException) -> str:
    return (
        f"{what} needs a GPU {when} ({_line(problem)}); take `.cuda()` and `device=` out of it: a package must also "
        "run where there is none"
    )


def _hint(architecture: Architecture, problem: BaseException) -> str:
    """The argument at which the code stumbled, where the message names it or holds its value."""
    known = {**defaults_of(architecture), **architecture.arguments}
    named = [name for name in known if re.search(rf"\b{re.escape(name)}\b", str(problem))]
    return f"; check argument_{named[0]}" if named else "; check its arguments"


def require_inputs(architecture: Architecture, network: nn.Module, given: int) -> None:
    """Raises ZoowizardError where `forward` does not take as many inputs as images are given."""
    try:
        parameters = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [one for one in parameters if one.kind in plain]
    wanted = [one.name for one in known if one.default is one.empty]
    if len(wanted) > given:
        raise ZoowizardError(
            f"further_inputs: {architecture.callable} takes {len(wanted)} inputs ({', '.join(wanted)}), and the first "
            f"{given} are known; write what the others are called ({', '.join(wanted[given:])}), and give an image for "
            "each"
        )
    if len(known) < given and not any(one.kind is one.VAR_POSITIONAL for one in parameters):
        every = ", ".join(one.name for one in known)
        raise ZoowizardError(
            f"further_inputs: {architecture.callable} takes {len(known)} inputs ({every}), and {given} are given"
        )


def _a(given: object) -> str:
    return "nothing" if given is None else f"a {type(given).__name__}"


def _line(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {in_a_line(problem).rstrip('.')}"
