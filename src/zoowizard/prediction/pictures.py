"""Images to be predicted, whatever file they are in: axes by name, pixel sizes, and pixels that are read when asked."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from zoowizard.drafts.images import ENDINGS, MOST_PIXELS, TIFF_ENDINGS
from zoowizard.errors import ZoowizardError

Array = NDArray[Any]
LETTERS: Final = {"t": "time", "c": "channel", "z": "z", "y": "y", "x": "x"}
NAMES: Final = ("time", "channel", "z", "y", "x")
"""The axes of an image, in the order in which OME-Zarr has them."""
FILE_ENDINGS: Final = (*ENDINGS, ".npy")
IN_UM: Final = {
    "micrometer": 1.0,
    "micron": 1.0,
    "um": 1.0,
    "µm": 1.0,
    "\\u00B5m": 1.0,
    "nanometer": 1e-3,
    "nm": 1e-3,
    "millimeter": 1e3,
    "mm": 1e3,
    "angstrom": 1e-4,
    "Å": 1e-4,
    "meter": 1e6,
    "m": 1e6,
    "centimeter": 1e4,
    "cm": 1e4,
}


@dataclass(frozen=True)
class Hints:
    """What an image is expected to be, for files that do not tell their axes: names of axes, number of channels."""

    axes: tuple[str, ...]
    channels: int
    given: str = ""
    """The axes in letters (such as zyx), where the person told them."""


@dataclass(frozen=True)
class Picture:
    """An image: `axes` are names out of NAMES, one for each axis of `pixels`, which is sliced like a numpy array.

    `pixel_size` holds micrometers per pixel of the spatial axes as far as they are known; `identity` tells this very
    image from another; `notes` are sentences for the person.
    """

    name: str
    axes: tuple[str, ...]
    pixels: Any
    pixel_size: Mapping[str, float] = field(default_factory=dict)
    identity: str = ""
    notes: tuple[str, ...] = ()
    ngff: str = ""
    """The version of its OME-Zarr metadata; empty where it is none."""
    chunks: tuple[int, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Pixels along each axis."""
        return dict(zip(self.axes, (int(one) for one in self.pixels.shape), strict=True))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a pixel."""
        kind: np.dtype[Any] = np.dtype(self.pixels.dtype)
        return kind


def read_file(path: Path, hints: Hints, memory_bytes: int) -> Picture:
    """A PNG, JPEG, BMP, TIFF or npy file. Raises ZoowizardError, naming the file, where it is not one of them."""
    ending = path.suffix.lower()
    if ending not in FILE_ENDINGS:
        raise ZoowizardError(f"{path.name} ends in none of {', '.join(FILE_ENDINGS)}; save it as TIFF")
    try:
        status = path.stat()
        if not path.is_file():
            raise ZoowizardError(f"{path} is no file")
    except OSError as problem:
        raise ZoowizardError(f"{path} cannot be opened ({(problem.strerror or '').lower()})") from problem
    identity = f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"
    if status.st_size == 0:
        raise ZoowizardError(f"{path.name} is empty (0 bytes)")
    try:
        if ending == ".npy":
            return _npy(path, hints, identity)
        return (_tiff if ending in TIFF_ENDINGS else _flat)(path, hints, identity, memory_bytes)
    except (ZoowizardError, MemoryError):
        raise
    except Exception as problem:  # a damaged file may raise anything
        raise ZoowizardError(
            f"{path.name} cannot be read as an image: it is damaged or something else; save it anew"
        ) from problem


def named_axes(path: Path, shape: Sequence[int], hints: Hints, known: str = "") -> tuple[tuple[str, ...], str]:
    """Names for the axes of an array, and a sentence where they were guessed.

    `known` are letters that the file tells, with `?` for the ones that it does not. Raises ZoowizardError where they
    cannot be guessed.
    """
    if hints.given:
        if len(hints.given) != len(shape):
            raise ZoowizardError(
                f"--axes {hints.given}: {path.name} has {len(shape)} axes ({_by(shape)}); write a letter for each"
            )
        return tuple(LETTERS[letter] for letter in hints.given), ""
    if known and "?" not in known and len(set(known)) == len(known):
        return tuple(LETTERS[letter] for letter in known), ""
    guess = _guess(shape, hints)
    if guess is None:
        raise ZoowizardError(
            f"{path.name} has {len(shape)} axes ({_by(shape)}) and does not tell which they are; name them, such as "
            "--axes tzyx"
        )
    letters = "".join(next(letter for letter, name in LETTERS.items() if name == one) for one in guess)
    said = f"{path.name} does not tell its axes: {_by(shape)} was taken as {letters}; say otherwise with --axes"
    return guess, said if len(shape) > 2 else ""


def _guess(shape: Sequence[int], hints: Hints) -> tuple[str, ...] | None:
    wanted = tuple(name for name in hints.axes if name in NAMES)
    if len(shape) == 2:
        return ("y", "x")
    spatial = tuple(name for name in wanted if name != "channel")
    if "channel" in wanted and len(shape) == len(spatial) + 1:
        if shape[0] == hints.channels:
            return ("channel", *spatial)
        if shape[-1] == hints.channels:
            return (*spatial, "channel")
    if len(shape) == len(spatial):
        return spatial
    if len(shape) == 3:
        return ("y", "x", "channel") if shape[-1] in (2, 3, 4) else ("z", "y", "x")
    return None


def as_type(pixels: Array, dtype: np.dtype[Any], name: str) -> Array:
    """The same values in the type that the package takes. Raises ZoowizardError where it does not hold them."""
    if dtype.kind == "f" or np.can_cast(pixels.dtype, dtype, "safe"):
        return pixels.astype(dtype, copy=False)
    typed = pixels.astype(dtype)
    if not np.array_equal(typed, pixels):
        least, most = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else (0, 1)
        raise ZoowizardError(
            f"{name} holds {pixels.dtype} values from {pixels.min():g} to {pixels.max():g}, and the package takes "
            f"{dtype} (whole numbers from {least} to {most}): scale it as the training images were"
        )
    return typed


def _by(shape: Sequence[int]) -> str:
    return " x ".join(str(int(side)) for side in shape)


def _npy(path: Path, hints: Hints, identity: str) -> Picture:
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    if pixels.dtype.kind not in "buif":
        raise ZoowizardError(f"{path.name} holds {pixels.dtype} values, and an image holds numbers")
    if pixels.ndim > 2 and pixels.shape[0] == 1 and not hints.given:
        pixels = pixels[0]  # an axis for batches, as test tensors have it
    axes, said = named_axes(path, pixels.shape, hints)
    return Picture(path.name, axes, pixels, identity=identity, notes=(said,) if said else ())


def _flat(path: Path, hints: Hints, identity: str, memory_bytes: int) -> Picture:
    from PIL import Image

    # Only these: Pillow runs Ghostscript for some of the others.
    with Image.open(path, formats=("PNG", "JPEG", "BMP")) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ZoowizardError(f"{path.name} has over 178 megapixels; save it as OME-Zarr")
        with path.open("rb") as file:
            head = file.read(26)
        if head.startswith(b"\x89PNG") and head[24:25] == b"\x10" and len(opened.getbands()) > 1:
            raise ZoowizardError(f"{path.name} is a 16-bit PNG in colour, which cannot be read; save it as TIFF")
        as_numbers = {"1": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "CMYK": "RGB"}
        picture: Image.Image = opened.convert(as_numbers[opened.mode]) if opened.mode in as_numbers else opened
        pixels = np.asarray(picture)
    axes, _ = named_axes(path, pixels.shape, hints, "yx" if pixels.ndim == 2 else "yxc")
    return Picture(path.name, axes, pixels, identity=identity)


def _tiff(path: Path, hints: Hints, identity: str, memory_bytes: int) -> Picture:
    import logging

    logging.getLogger("tifffile").disabled = True  # it reports damage on standard error as well as by exceptions
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        if series.nbytes > memory_bytes // 3:
            raise ZoowizardError(
                f"{path.name} has {series.nbytes / 1e9:.1f} GB, too much for the memory at once; save it as OME-Zarr"
            )
        kept = [
            (side, letter)
            for side, letter in zip(series.shape, series.axes, strict=True)
            if side > 1 or letter in "YX" or hints.given
        ]
        known = "".join({"S": "c"}.get(letter, letter.lower() if letter in "TCZYX" else "?") for _, letter in kept)
        pixels = np.asarray(series.asarray()).reshape([side for side, _ in kept])
        axes, said = named_axes(path, pixels.shape, hints, known)
        size = _tiff_pixel_size(tiff)
    if pixels.dtype.kind not in "buif":
        raise ZoowizardError(f"{path.name} holds {pixels.dtype} values, and an image holds numbers")
    return Picture(path.name, axes, pixels, size, identity, (said,) if said else ())


def _tiff_pixel_size(tiff: Any) -> dict[str, float]:
    """Micrometers per pixel, from the metadata of OME or of ImageJ; nothing where they do not tell.

    Sources: OME-XML's attributes PhysicalSizeX and PhysicalSizeXUnit (µm where there is none); ImageJ writes pixels per
    `unit` into the tags XResolution and YResolution, and the distance of planes as `spacing`.
    """
    if text := tiff.ome_metadata:
        found = {}
        for axis in "xyz":
            size = re.search(rf'PhysicalSize{axis.upper()}="([0-9.eE+-]{{1,40}})"', text)
            unit = re.search(rf'PhysicalSize{axis.upper()}Unit="([^"]{{1,20}})"', text)
            found[axis] = _in_um(size.group(1) if size else None, unit.group(1) if unit else "µm")
        return {axis: size for axis, size in found.items() if size}
    if (told := tiff.imagej_metadata) and (named := str(told.get("unit", ""))) in IN_UM:
        tags = tiff.pages.first.tags
        found = {"z": _in_um(told.get("spacing"), named)}
        for axis, name in (("x", "XResolution"), ("y", "YResolution")):
            if name in tags and tags[name].value[0] and tags[name].value[1]:
                found[axis] = _in_um(tags[name].value[1] / tags[name].value[0], named)
        return {axis: size for axis, size in found.items() if size}
    return {}


def _in_um(size: Any, unit: str) -> float | None:
    try:
        number = float(size) * IN_UM[unit]
    except (TypeError, ValueError, KeyError):
        return None
    return number if 0 < number < 1e9 else None


def write_file(path: Path, pixels: Array, axes: Sequence[str], pixel_size: Mapping[str, float]) -> None:
    """Save a prediction whole or not at all, as TIFF, PNG or npy by the ending of `path`.

    TIFF has its axes and pixel sizes as ImageJ reads them, or as OME where ImageJ has no such type. Raises
    ZoowizardError where PNG cannot hold it, OSError where it cannot be saved.
    """
    beside = path.with_name(f".saving-{secrets.token_hex(8)}")
    try:
        with beside.open("x+b") as file:  # never what lies there, a link that leads elsewhere least of all
            match path.suffix.lower():
                case ".npy":
                    np.save(file, pixels)
                case ".png":
                    _write_png(path, file, pixels)
                case _:
                    _write_tiff(file, pixels, axes, pixel_size)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def require_holds(path: Path, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Raises ZoowizardError where a file of that ending cannot hold an image of such a shape and type."""
    if path.suffix.lower() == ".png" and (len(shape) != 2 or dtype not in (np.uint8, np.uint16)):
        raise ZoowizardError(f"{path.name}: a PNG cannot hold {dtype} values of {_by(shape)}; let it end in .tif")


def _write_png(path: Path, file: IO[bytes], pixels: Array) -> None:
    from imageio import v3 as iio

    require_holds(path, pixels.shape, pixels.dtype)
    file.write(iio.imwrite("<bytes>", pixels, extension=".png"))


def _write_tiff(file: IO[bytes], pixels: Array, axes: Sequence[str], pixel_size: Mapping[str, float]) -> None:
    order = [name for name in ("time", "z", "channel", "y", "x") if name in axes]
    pixels = np.ascontiguousarray(pixels.transpose([axes.index(name) for name in order]))
    letters = "".join({"time": "T", "channel": "C"}.get(name, name.upper()) for name in order)
    if pixels.dtype in (np.uint8, np.uint16, np.float32) and pixels.nbytes < 4e9:
        metadata: dict[str, Any] = {"axes": letters}
        resolution = None
        if "x" in pixel_size and "y" in pixel_size:
            metadata |= {"unit": "um", **({"spacing": pixel_size["z"]} if "z" in pixel_size else {})}
            resolution = (1 / pixel_size["x"], 1 / pixel_size["y"])
        tifffile.imwrite(file, pixels, imagej=True, photometric="minisblack", metadata=metadata, resolution=resolution)
        return
    sizes = {f"PhysicalSize{axis.upper()}": size for axis, size in pixel_size.items()}
    units = {f"PhysicalSize{axis.upper()}Unit": "µm" for axis in pixel_size}
    tifffile.imwrite(
        file, pixels, ome=True, photometric="minisblack", metadata={"axes": letters, **sizes, **units}, bigtiff=True
    )
