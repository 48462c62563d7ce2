"""Test images: what one is, and whether it will do.

The header is read first and nothing big is ever unpacked, so a picture that unpacks to more than memory holds is
refused by its size alone.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zoowizard.errors import ZoowizardError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_PIXELS: Final = 178_000_000
"""Pillow's own bound for a picture that is no bomb (twice its MAX_IMAGE_PIXELS), used for TIFF as well."""
SMALLEST_SIDE: Final = 64
TIFF_ENDINGS: Final = (".tif", ".tiff")
ENDINGS: Final = (".png", ".jpg", ".jpeg", ".bmp", *TIFF_ENDINGS)


@dataclass(frozen=True)
class Accepts:
    """Which images a family takes: numpy's names of data types, and numbers of channels."""

    dtypes: tuple[str, ...]
    channels: tuple[int, ...]


EIGHT_BIT: Final = Accepts(("uint8",), (1, 3))
MICROSCOPY: Final = Accepts(("uint8", "uint16", "float32"), (1, 2, 3))
"""As microscopes write them: a TIFF with two or three channels has them in its first or its last axis."""


@dataclass(frozen=True)
class ImageFacts:
    """What an image file holds. `shape` is (y, x), (y, x, channels) or that of the whole stack.

    `dtype` is numpy's name; `minimum` and `maximum` are grey values, None where the pixels were not read because the
    header already tells that the image will not do.
    """

    shape: tuple[int, ...]
    dtype: str
    channels: int
    alpha: bool = False
    stack: bool = False
    minimum: float | None = None
    maximum: float | None = None


def describe_image(path: Path) -> ImageFacts:
    """Look at a PNG, JPEG, BMP or TIFF file.

    Raises ZoowizardError, naming the file, where there is none, or it is no such image, damaged or over 178 megapixels.
    """
    facts, _ = _look(path)
    return facts


def read_image(path: Path) -> "NDArray[np.uint8]":
    """The pixels of a test image: (y, x) or (y, x, 3), uint8, colours in the order red, green, blue.

    Raises ZoowizardError, naming the file, where `check_test_image` finds something wrong.
    """
    facts, pixels = _look(path)
    if (problem := _unfit(facts)) or pixels is None:
        raise ZoowizardError(f"{path} {problem}")
    return pixels


def check_test_image(answer: Any) -> str | None:
    """A readable, flat, 8-bit image, grey or RGB, not constant, 64 x 64 or more; else a sentence with its name."""
    if not isinstance(answer, str | Path) or not str(answer).strip():
        return f"{answer!r} is no path; write the path of an image file, such as images/nuclei.png"
    path = Path(answer).expanduser()
    try:
        problem = _unfit(describe_image(path))
    except ZoowizardError as error:
        return str(error)
    return f"{path.name} {problem}" if problem else None


def _unfit(facts: ImageFacts) -> str | None:
    size = " x ".join(str(side) for side in facts.shape)
    if facts.stack:
        return f"is a stack ({size}); save one plane of it as a picture of its own"
    if facts.alpha:
        return "has an alpha channel (transparency); save it without, as grey or RGB"
    if facts.dtype == "uint16":
        return "is 16-bit; save an 8-bit copy, scaled as your training images were"
    if facts.dtype != "uint8":
        return f"holds {facts.dtype} values; save an 8-bit copy, scaled as your training images were"
    if facts.channels not in (1, 3):
        return f"has {facts.channels} channels; save it with one (grey) or three (RGB)"
    if min(facts.shape[:2]) < SMALLEST_SIDE:
        return f"is {size} pixels; use one of at least {SMALLEST_SIDE} x {SMALLEST_SIDE}"
    if facts.minimum is not None and facts.minimum == facts.maximum:
        return f"has the same value ({facts.minimum:g}) everywhere; use an image with objects in it"
    return None


def _look(path: Path) -> "tuple[ImageFacts, NDArray[np.uint8] | None]":
    try:
        if not path.exists():
            raise ZoowizardError(f"{path} does not exist; write the path of an image file")
        if not path.is_file():
            raise ZoowizardError(f"{path} is no file; write the path of an image file")
        if path.stat().st_size == 0:
            raise ZoowizardError(f"{path} is empty (0 bytes); use an image file with objects in it")
        if path.suffix.lower() not in ENDINGS:
            raise ZoowizardError(f"{path} ends in none of {', '.join(ENDINGS)}; save it as PNG or TIFF")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise ZoowizardError(f"{path} cannot be opened ({_reason(error)}); allow reading it") from error
    return _look_at_tiff(path) if path.suffix.lower() in TIFF_ENDINGS else _look_at_picture(path)


def _reason(error: Exception) -> str:
    return (error.strerror or type(error).__name__).lower() if isinstance(error, OSError) else str(error)


def _too_big(path: Path, pixels: int) -> ZoowizardError:
    return ZoowizardError(f"{path} has {pixels // 1_000_000} megapixels; cut out a piece of at most 2048 x 2048")


def _unreadable(path: Path) -> ZoowizardError:
    return ZoowizardError(f"{path} cannot be read as an image: it is damaged or something else; save it anew as PNG")


def _with_values(facts: ImageFacts, pixels: "NDArray[np.uint8]") -> "tuple[ImageFacts, NDArray[np.uint8]]":
    return replace(facts, minimum=float(pixels.min()), maximum=float(pixels.max())), pixels


def _look_at_picture(path: Path) -> "tuple[ImageFacts, NDArray[np.uint8] | None]":
    import warnings

    import numpy as np
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Only these: Pillow runs Ghostscript for some of the others.
            opened = Image.open(path, formats=("PNG", "JPEG", "BMP"))
        with opened:
            picture: Image.Image = opened
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise _too_big(path, width * height)
            alpha = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
            stack = getattr(picture, "n_frames", 1) > 1
            if picture.mode == "P" and not alpha:
                picture = picture.convert("RGB")
            channels = len(picture.getbands())
            shape = (height, width) if channels == 1 else (height, width, channels)
            facts = ImageFacts(shape, _sample_type(path, picture.mode), channels, alpha, stack)
            if _unfit(facts):
                return facts, None
            return _with_values(facts, np.asarray(picture.convert("L") if picture.mode == "1" else picture))
    except Image.DecompressionBombError:
        raise ZoowizardError(f"{path} has over 178 megapixels; cut out a piece of at most 2048 x 2048") from None
    except ZoowizardError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise _unreadable(path) from error


def _sample_type(path: Path, mode: str) -> str:
    with path.open("rb") as file:
        head = file.read(26)
    if head.startswith(b"\x89PNG") and head[24:25] == b"\x10":
        return "uint16"  # Pillow shows 16-bit RGB as 8-bit
    return {"I;16": "uint16", "I;16B": "uint16", "I;16L": "uint16", "I": "int32", "F": "float32"}.get(mode, "uint8")


def _look_at_tiff(path: Path) -> "tuple[ImageFacts, NDArray[np.uint8] | None]":
    import logging

    import numpy as np
    import tifffile

    logger = logging.getLogger("tifffile")
    was_silent, logger.disabled = logger.disabled, True  # it reports damage on standard error as well as by exceptions
    try:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            page = tiff.pages.first
            kept = [
                (side, axis) for side, axis in zip(series.shape, series.axes, strict=True) if side > 1 or axis in "YX"
            ]
            axes = "".join(axis for _, axis in kept)
            shape = tuple(int(side) for side, _ in kept)
            pixels_count = int(np.prod(shape, dtype=np.int64)) if shape else 0
            stack = len(tiff.pages) > 1 or axes not in ("YX", "YXS", "SYX")
            channels = shape[axes.index("S")] if "S" in axes else 1
            # 4 channels without a word on the fourth are RGBA for whoever shows them.
            alpha = not stack and (bool(page.extrasamples) or channels in (2, 4))
            if axes == "SYX":
                shape = (*shape[1:], channels)
            facts = ImageFacts(shape, str(series.dtype), channels, alpha, stack)
            if not stack and pixels_count > MOST_PIXELS * max(channels, 1):
                raise _too_big(path, pixels_count // max(channels, 1))
            if _unfit(facts):
                return facts, None
            pixels = np.asarray(series.asarray()).reshape([side for side, _ in kept])
        return _with_values(facts, np.moveaxis(pixels, 0, -1) if axes == "SYX" else pixels)
    except ZoowizardError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise _unreadable(path) from error
    finally:
        logger.disabled = was_silent
