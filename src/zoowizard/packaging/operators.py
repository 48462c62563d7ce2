"""From where the operators of a weights file are: those that an engine brings, or those of a further library.

In TorchScript they are named in the code of the archive (`torch/csrc/jit/docs/serialization.md` of PyTorch), in ONNX
each node names its domain. Nothing is run.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from zoowizard.packaging.tool_rules import weights_of

LARGEST_CODE_BYTES: Final = 20_000_000
LARGEST_ONNX_BYTES: Final = 300_000_000
TORCHSCRIPT_LIBRARY: Final = re.compile(rb"(?<![\w.])ops\.(\w+)\.")
OPERATORS_OF_TORCH: Final = frozenset({"aten", "prim", "prims", "quantized", "_quantized", "sparse", "inductor"})
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
            found[name] = readers[name](file)
    return found


def _torchscript_libraries(file: Path) -> frozenset[str]:
    """As the code in the archive names them: `ops.torchvision.nms`."""
    found: set[str] = set()
    try:
        with zipfile.ZipFile(file) as archive:
            left = LARGEST_CODE_BYTES
            for entry in archive.infolist():
                if entry.filename.endswith(".py") and entry.file_size <= left:
                    left -= entry.file_size
                    found.update(one.decode() for one in TORCHSCRIPT_LIBRARY.findall(archive.read(entry)))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return frozenset()
    return frozenset(found - OPERATORS_OF_TORCH)


def _onnx_libraries(file: Path) -> frozenset[str]:
    import onnx

    if file.stat().st_size > LARGEST_ONNX_BYTES:
        return frozenset()
    try:
        model = onnx.load_model(str(file), load_external_data=False)
    except Exception:  # protobuf has its own kinds of errors
        return frozenset()
    own = {(one.domain, one.name) for one in model.functions}
    used = {node.domain for node in model.graph.node if (node.domain, node.op_type) not in own}
    return frozenset(used - PLAIN_ONNX)
