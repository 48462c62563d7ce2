"""The test input of a package: its own, or one that a person gives in its place."""

import io
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from zoowizard.conversion.converted import Array
from zoowizard.conversion.package_remote import fetch
from zoowizard.drafts.images import MICROSCOPY, read_image
from zoowizard.errors import ZoowizardError
from zoowizard.families import package
from zoowizard.families.package_contents import Contents
from zoowizard.families.package_references import TEST, Reference, references
from zoowizard.families.pickles import printable

LARGEST_TENSOR: Final = 2 << 30
"""Bytes."""


def own_input(checkpoint: Path) -> Array:
    """The first test input of the package, all axes. Raises ZoowizardError where it cannot be had."""
    contents = package.look(checkpoint)
    places = (("test_inputs", 0), ("inputs", 0, "test_tensor"), ("inputs", 0, "test_tensor", "source"))
    named = next((one for one in references(contents.told) if one.role == TEST and one.place in places), None)
    if named is None:
        raise ZoowizardError(
            f"{contents.description} names no test tensor of its first input; give one as test_image (.npy)"
        )
    return array_in(_content(contents, named), named.name)


def _content(contents: Contents, named: Reference) -> bytes:
    if not named.is_remote:
        return contents.read(named.name, LARGEST_TENSOR)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tensor.npy"
        try:
            fetch(named.source, path)
        except ZoowizardError as problem:
            raise ZoowizardError(f"{printable(named.source[:200])} is not in the package, and {problem}") from problem
        return path.read_bytes()


def array_in(content: bytes, name: str) -> Array:
    """The array in the bytes of an `.npy` file, of numbers only. Raises ZoowizardError."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
            raise ValueError
        file.seek(0)
        return np.asarray(np.load(file, allow_pickle=False))
    except Exception:  # numpy reads the header as Python's own syntax, which has its own kinds of errors
        raise ZoowizardError(f"{printable(name)} is no .npy file of numbers, or cut short") from None


def given_input(path: Path, tensor: Mapping[str, Any], like: Array | None) -> Array:
    """The image or array that a person gives, as the input `tensor` of a description wants it; `like` is its own.

    Cut in the middle to sizes that the network takes. Raises ZoowizardError, naming the file.
    """
    said = f"test_image: {printable(path.name)}"
    try:
        letters = _letters(tensor)
        sizes = sizes_of(tensor, len(letters))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise ZoowizardError("the first input of the package is not described as the format wants it") from None
    if path.suffix.lower() == ".npy":
        if path.stat().st_size > LARGEST_TENSOR:
            raise ZoowizardError(f"{said} is over {LARGEST_TENSOR >> 30} GB")
        image = array_in(path.read_bytes(), path.name)
        if image.ndim != len(letters):
            raise ZoowizardError(
                f"{said} has {image.ndim} axes, and the input of the package has {len(letters)}: {', '.join(letters)}"
            )
    else:
        image = _picture(read_image(path, MICROSCOPY), letters, said)
    if like is not None and "c" in letters and image.shape[letters.index("c")] != like.shape[letters.index("c")]:
        raise ZoowizardError(
            f"{said} has {image.shape[letters.index('c')]} channels, and the package takes "
            f"{like.shape[letters.index('c')]}"
        )
    wanted = np.dtype(str(tensor.get("data_type") or _type_of(tensor)))
    if not np.can_cast(image.dtype, wanted, "same_kind") and not np.array_equal(image, image.astype(wanted)):
        raise ZoowizardError(f"{said} has values of the type {image.dtype}, and the package takes {wanted}")
    return np.ascontiguousarray(_cut(image, letters, sizes, said).astype(wanted))


def _picture(picture: Array, letters: Sequence[str], said: str) -> Array:
    """(y, x) or (y, x, channel) with the axes of the input."""
    if not {"y", "x"} <= set(letters) or set(letters) - {"b", "c", "y", "x"}:
        raise ZoowizardError(f"{said}: the input of the package has the axes {', '.join(letters)}; give an .npy file")
    channels = picture[..., None] if picture.ndim == 2 else picture
    if "c" not in letters and channels.shape[-1] != 1:
        raise ZoowizardError(f"{said} has {channels.shape[-1]} channels, and the package takes one")
    axes = {"b": 0, "y": 1, "x": 2, "c": 3}
    whole = channels[None] if "c" in letters else channels[None, ..., 0]
    kept = [one for one in letters if one != "b"]
    ordered = whole.transpose([0, *(axes[one] for one in kept)])
    return ordered if "b" in letters else ordered[0]


def _letters(tensor: Mapping[str, Any]) -> list[str]:
    """The axes of an input in either layout, each as one letter or its id."""
    axes = tensor["axes"]
    if isinstance(axes, str):
        return list(axes)
    short = {"batch": "b", "channel": "c"}
    return [short.get(one["type"]) or str(one.get("id") or one["type"]) for one in axes]


def _type_of(tensor: Mapping[str, Any]) -> str:
    data = tensor.get("data")
    first = data[0] if isinstance(data, list) and data else data
    return str(first.get("type", "float32")) if isinstance(first, Mapping) else "float32"


def sizes_of(tensor: Mapping[str, Any], count: int) -> list[tuple[int, int] | None]:
    """Smallest size and step of each axis of an input in either layout (step 0: this size only); None for any size."""
    axes, shape = tensor["axes"], tensor.get("shape")
    if not isinstance(axes, str):
        return [_size(one.get("size")) for one in axes]
    if isinstance(shape, Mapping):
        return [(int(low), int(step)) for low, step in zip(shape["min"], shape["step"], strict=True)]
    return [(int(one), 0) for one in shape] if isinstance(shape, list) else [None] * count


def _size(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, 0
    return (int(size["min"]), int(size["step"])) if isinstance(size, Mapping) and "step" in size else None


def _cut(image: Array, letters: Sequence[str], sizes: Sequence[tuple[int, int] | None], said: str) -> Array:
    for axis, size in enumerate(sizes):
        if size is None or letters[axis] in ("b", "c"):
            continue
        (low, step), side = size, image.shape[axis]
        if side < low:
            raise ZoowizardError(f"{said} has {side} pixels along {letters[axis]}, and the package takes {low} or more")
        wanted = low + (side - low) // step * step if step else low
        begin = (side - wanted) // 2
        image = image.take(range(begin, begin + wanted), axis=axis)
    return image
