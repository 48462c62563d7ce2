"""Files of weights in the safetensors format, made by hand."""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def safetensors(path: Path, tensors: Mapping[str, tuple[str, list[int]]], **more: Any) -> Path:
    """After https://huggingface.co/docs/safetensors, all numbers 0."""
    header: dict[str, Any] = dict(more)
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(end))
    return path
