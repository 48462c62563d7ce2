"""From where the operators of a weights file are: those that an engine brings, or those of a further library."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from zoowizard.errors import ZoowizardError
from zoowizard.families import onnx_graph, torchscript_archive
from zoowizard.families.torchscript import OF_TORCH
from zoowizard.packaging.tool_rules import weights_of

PLAIN_ONNX: Final = frozenset({"", "ai.onnx"})


def libraries_of(described: Mapping[str, Any], folder: Path) -> dict[str, frozenset[str]]:
    """By weight format, the libraries whose operators the weights files in `folder` need beside those of the engine.

    Nothing is run, and a file that cannot be read tells nothing.
    """
    readers = {"torchscript": _torchscript_libraries, "onnx": _onnx_libraries}
    found = {}
    for name, entry in weights_of(described).items():
        source = entry.get("source")
        file = folder / source if isinstance(source, str) and ":" not in source else None
        if name in readers and file is not None and file.is_file():
            try:
                found[name] = readers[name](file)
            except ZoowizardError:
                found[name] = frozenset()
    return found


def _torchscript_libraries(file: Path) -> frozenset[str]:
    program = torchscript_archive.read(file)
    used = {one.partition("::")[0] for one in program.operators} if program is not None else set()
    return frozenset(used - OF_TORCH)


def _onnx_libraries(file: Path) -> frozenset[str]:
    model = onnx_graph.read(file)
    return frozenset({domain for domain, _ in model.operators.keys() - model.functions} - PLAIN_ONNX)
