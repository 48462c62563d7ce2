"""OME-Zarr images (OME-NGFF 0.1 to 0.5) as pictures that are read block by block, and predictions written as such.

Sources: ngff.openmicroscopy.org 0.4 and 0.5 (multiscales, axes, coordinateTransformations), the zarr specifications 2
and 3. Nothing in the metadata is trusted: it is bounded in size, codecs that would run code are refused, and so is a
chunk that declares more than memory holds, or unpacks to more than it declares.
"""

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr

from zoowizard.errors import ZoowizardError
from zoowizard.families.package_contents import why_not_inside
from zoowizard.prediction.pictures import IN_UM, LETTERS, Hints, Picture, named_axes
from zoowizard.prediction.unpacking import LARGEST_CHUNK, PlainFiles, most_for

LARGEST_METADATA: Final = 16_000_000
"""Bytes."""
CODECS: Final = frozenset(
    (
        *("bytes", "transpose", "sharding_indexed", "blosc", "gzip", "zstd", "crc32c"),
        *("zlib", "lz4", "shuffle", "delta", "fixedscaleoffset", "numcodecs.zlib", "numcodecs.lz4"),
    )
)
"""The codecs that an image may use: all turn bytes into bytes, and how many is known before. Others, such as `pickle`,
would run what is in them, or fill the memory.
"""
VERSION_2_TYPE: Final = re.compile(r"[<>|][buif][1248]")
VERSION_3_TYPE: Final = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
MARKS: Final = ("zarr.json", ".zattrs", ".zgroup", ".zarray")


def is_zarr(path: Path) -> bool:
    """Whether the folder is an OME-Zarr image, or a zarr array."""
    return path.is_dir() and any((path / mark).is_file() for mark in MARKS)


def open_picture(path: Path, hints: Hints, level: str) -> Picture:
    """The image in the folder `path`, at the full resolution or at the `level` (its name, or its number from 0).

    Raises ZoowizardError, naming the file and field, where it is no such image, or one that cannot be trusted.
    """
    attributes = _attributes(path)
    ngff = attributes.get("ome", attributes)
    scales = ngff.get("multiscales") if isinstance(ngff, dict) else None
    if isinstance(scales, list) and scales and isinstance(scales[0], dict):
        return _multiscale(path, scales[0], str(ngff.get("version") or scales[0].get("version") or ""), hints, level)
    if isinstance(ngff, dict) and ({"plate", "well", "bioformats2raw.layout"} & ngff.keys()):
        raise ZoowizardError(f"{path.name} holds several images; give one of them, such as {path / '0'}")
    if not ((path / ".zarray").is_file() or _json(path / "zarr.json").get("node_type") == "array"):
        raise ZoowizardError(f"{path.name} has no multiscales in its metadata, so it is no OME-Zarr image")
    array, identity = _array(path)
    names = getattr(array.metadata, "dimension_names", None)
    letters = "".join(_letter(name) for name in names) if names and all(names) else ""
    axes, said = named_axes(path, array.shape, hints, letters)
    notes = [said] if said else []
    notes.append(f"{path.name} has no voxel size: whether it fits the package was not looked at")
    return Picture(path.name, axes, array, {}, identity, tuple(notes), "0.5", tuple(array.chunks))


def _multiscale(path: Path, scale: Mapping[str, Any], version: str, hints: Hints, level: str) -> Picture:
    datasets = [one for one in _list(path, scale, "datasets") if isinstance(one, dict)]
    names = [str(one.get("path")) for one in datasets]
    if not names:
        raise ZoowizardError(f"{path.name}: its multiscales name no datasets")
    if level and level not in names and not (level.isdecimal() and int(level) < len(names)):
        raise ZoowizardError(f"--scale {level}: {path.name} has {', '.join(names)}")
    number = 0 if not level else names.index(level) if level in names else int(level)
    if reason := why_not_inside(names[number]):
        raise ZoowizardError(f"{path.name}: the dataset's path {names[number]!r} is not to be trusted: {reason}")
    array, identity = _array(path / names[number])
    told = _list(path, scale, "axes") or list("tczyx"[-len(array.shape) :])  # before 0.3 the order was fixed
    letters = "".join(_letter(one.get("name") if isinstance(one, dict) else one) for one in told)
    if len(letters) != len(array.shape):
        raise ZoowizardError(f"{path.name}: its metadata names {len(letters)} axes, and its array has {array.ndim}")
    axes, said = named_axes(path, array.shape, hints, letters)
    factors = [_factors(path, one, len(letters)) for one in (scale, datasets[number])]
    size = {}
    for place, name in enumerate(axes):
        unit = told[place].get("unit") if isinstance(told[place], dict) else None
        product = math.prod(one[place] for one in factors if one)
        if name in "zyx" and any(factors) and isinstance(unit, str) and unit in IN_UM and 0 < product < 1e9:
            size[name] = product * IN_UM[unit]
    notes = [said] if said else []
    if not size:
        notes.append(f"{path.name} has no voxel size: whether it fits the package was not looked at")
    ngff = "0.4" if array.metadata.zarr_format == 2 else "0.5"
    return Picture(path.name, axes, array, size, f"{version} {identity}", tuple(notes), ngff, tuple(array.chunks))


def _list(path: Path, told: Mapping[str, Any], field: str) -> list[Any]:
    found = told.get(field)
    if not isinstance(found, list | None):
        raise ZoowizardError(f"{path.name}: `{field}` in its multiscales is no list; save it anew")
    return found or []


def _letter(name: Any) -> str:
    short = str(name).lower()
    return next((letter for letter, long in LETTERS.items() if short in (letter, long)), "?")


def _factors(path: Path, told: Mapping[str, Any], axes: int) -> list[float] | None:
    for one in _list(path, told, "coordinateTransformations"):
        found = one.get("scale") if isinstance(one, dict) and one.get("type") == "scale" else None
        if isinstance(found, list) and len(found) == axes and all(isinstance(each, int | float) for each in found):
            return [float(each) if abs(each) < 1e9 else math.inf for each in found]
    return None


def _attributes(path: Path) -> dict[str, Any]:
    found = _json(path / ".zattrs") or _json(path / "zarr.json").get("attributes")
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        with os.fdopen(
            os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb"
        ) as file:  # a pipe is not waited for
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ZoowizardError(f"{path} is no plain file, and a zarr holds plain files only")
            content = file.read(LARGEST_METADATA + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as problem:
        raise ZoowizardError(f"{path} cannot be opened ({(problem.strerror or '').lower()})") from problem
    try:
        found = json.loads(content) if len(content) <= LARGEST_METADATA else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ZoowizardError(f"{path} is no metadata of a zarr: it is damaged, or too large")
    return found


def _array(path: Path) -> tuple[Any, str]:
    """The array in a folder, once nothing in its metadata speaks against reading it, and what identifies it."""
    new, old = (os.path.lexists(path / name) for name in ("zarr.json", ".zarray"))
    if new and old:
        raise ZoowizardError(f"{path} has a zarr.json and a .zarray, so what it holds is not clear; save it anew")
    version = 3 if new else 2
    told = _json(path / ("zarr.json" if new else ".zarray"))
    if not told:
        raise ZoowizardError(f"there is no zarr array at {path}, although the metadata name it")
    if told.get("zarr_format") != version or (new and told.get("node_type") != "array"):
        raise ZoowizardError(f"{path} cannot be opened as a zarr array: its metadata are of something else")
    _require_harmless(path, told)
    store = PlainFiles(path, read_only=True)
    store.largest = LARGEST_METADATA
    try:
        array = zarr.open_array(store, mode="r", zarr_format=3 if new else 2)
        found = array.metadata.to_dict()
    except ZoowizardError:
        raise
    except Exception as problem:  # damaged metadata may raise anything
        raise ZoowizardError(f"{path} cannot be opened as a zarr array: its metadata are wrong") from problem
    assert array.store is store  # it watches over what is read
    _require_harmless(path, found)  # what zarr will follow, as it read it
    if array.dtype.kind not in "buif":
        raise ZoowizardError(f"{path} holds {array.dtype} values, and an image holds numbers")
    if not array.shape or 0 in array.shape or 0 in array.chunks:
        raise ZoowizardError(f"{path} holds no pixels")
    chunk_bytes = math.prod(array.chunks) * array.dtype.itemsize
    if array.shards and len(told["codecs"]) > 1:  # then it is unpacked whole
        chunk_bytes = math.prod(array.shards) * array.dtype.itemsize
    index_bytes = 16 * math.prod(array.shards) // math.prod(array.chunks) if array.shards else 0
    if max(chunk_bytes, index_bytes) > LARGEST_CHUNK:
        size = f"{max(chunk_bytes, index_bytes) / 1e9:.1f} GB"
        raise ZoowizardError(f"{path}: one chunk has {size}; save it in smaller chunks")
    store.largest = most_for(chunk_bytes + index_bytes)
    identity = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return array, f"{path.absolute()} {identity}"


def _require_harmless(path: Path, told: Mapping[str, Any]) -> None:
    """Raises ZoowizardError where an array's metadata name a codec or a type that could run code or fill the memory."""
    try:
        codecs = [(str(one.get("id" if told["zarr_format"] == 2 else "name")), one) for one in _codecs(told)]
    except RecursionError:
        raise ZoowizardError(f"{path} cannot be opened as a zarr array: its metadata are wrong") from None
    kinds = [told.get("dtype" if told["zarr_format"] == 2 else "data_type")]
    if unknown := [name for name, _ in codecs if name.lower() not in CODECS]:
        raise ZoowizardError(
            f"{path}: it is packed with {', '.join(unknown)[:200]}, which is not to be trusted; save it anew"
        )
    if [name for name, _ in codecs].count("sharding_indexed") > 1:
        raise ZoowizardError(f"{path} has shards inside of shards, which cannot be read; save it anew")
    kinds += [one[key] for _, one in codecs for key in ("dtype", "astype") if one.get(key)]
    for kind in kinds:
        if not isinstance(kind, str) or not (VERSION_2_TYPE.fullmatch(kind) or VERSION_3_TYPE.fullmatch(kind)):
            raise ZoowizardError(f"{path} holds {str(kind)[:40]} values, and an image holds numbers")


def _codecs(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All codecs in an array's metadata, those inside shards too."""
    found: list[dict[str, Any]] = []
    for key in ("compressor", "filters", "codecs", "index_codecs"):
        listed = told.get(key)
        for one in listed if isinstance(listed, list | tuple) else [listed] if listed else []:
            codec = one if isinstance(one, dict) else {"id": str(one), "name": str(one)}
            inside = codec.get("configuration")
            found += [codec, *(_codecs(inside) if isinstance(inside, dict) else ())]
    return found


def create(
    path: Path,
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: np.dtype[Any],
    axes: Sequence[str],
    pixel_size: Mapping[str, float],
    ngff: str,
    name: str,
) -> Any:
    """Make an OME-Zarr image of one resolution at `path`, or open it where it was begun; gives its zarr array.

    `pixel_size` is in micrometers; without it the metadata name no scale but 1. Written as OME-NGFF `ngff`, 0.4 or 0.5.
    """
    if (path / "0").is_dir():
        return zarr.open_array(str(path / "0"), mode="r+")
    told: list[Any] = [
        {
            "name": next(letter for letter, long in LETTERS.items() if long == one),
            "type": one if one in ("time", "channel") else "space",
            **({"unit": "micrometer"} if one in pixel_size else {}),
        }
        for one in axes
    ]
    scale: dict[str, Any] = {
        "name": name,
        "axes": told,
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [{"type": "scale", "scale": [pixel_size.get(one, 1.0) for one in axes]}],
            }
        ],
    }
    if ngff == "0.4":
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        group.attrs.update({"multiscales": [{**scale, "version": "0.4"}]})
        more: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    else:
        group = zarr.open_group(str(path), mode="w", zarr_format=3)
        group.attrs.update({"ome": {"version": "0.5", "multiscales": [scale]}})
        more = {"dimension_names": [one["name"] for one in told]}
    return group.create_array("0", shape=tuple(shape), chunks=tuple(chunks), dtype=dtype, fill_value=0, **more)
