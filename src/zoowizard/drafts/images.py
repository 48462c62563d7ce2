"""Test images: what one is, and whether it will do.

The header is read first and nothing big is ever unpacked, so a picture that unpacks to more than memory holds is
refused by its size alone.
"""

import math
from collections.abc import Sequence
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
    """Which images a family takes: numpy's names of data types, numbers of channels, and the shortest side."""

    dtypes: tuple[str, ...]
    channels: tuple[int, ...]
    smallest_px: int = SMALLEST_SIDE


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


def describe_image(path: Path, accepts: Accepts = EIGHT_BIT) -> ImageFacts:
    """Look at a PNG, JPEG, BMP or TIFF file, as an image for a family that takes what `accepts` names.

    Raises ZoowizardError, naming the file, where there is none, or it is no such image, damaged or over 178 megapixels.
    """
    facts, _ = _look(path, accepts)
    return facts


def read_image(path: Path, accepts: Accepts = EIGHT_BIT) -> "NDArray[Any]":
    """The pixels of a test image, (y, x) or (y, x, channels), colours in the order red, green, blue.

    Raises ZoowizardError, naming the file, where `check_test_image` finds something wrong.
    """
    facts, pixels = _look(path, accepts)
    if (problem := _unfit(facts, accepts)) or pixels is None:
        raise ZoowizardError(f"{path} {problem}")
    return pixels


def check_test_image(answer: Any, accepts: Accepts = EIGHT_BIT) -> str | None:
    """A readable, flat image of the types that `accepts` names, not constant, 64 x 64 or more; else a sentence."""
    if not isinstance(answer, str | Path) or not str(answer).strip():
        return f"{answer!r} is no path; write the path of an image file, such as images/nuclei.png"
    path = Path(answer).expanduser()
    try:
        problem = _unfit(describe_image(path, accepts), accepts)
    except ZoowizardError as error:
        return str(error)
    return f"{path.name} {problem}" if problem else None


def why_unfit(pixels: "NDArray[Any]", accepts: Accepts) -> str | None:
    """What keeps an image that was read already, (y, x) or (y, x, channels), from being one that `accepts` names.

    A sentence without its subject, such as `is 16-bit; save …`, or None.
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    return _unfit(ImageFacts(pixels.shape, str(pixels.dtype), channels), accepts)


def in_8_bits(pixels: "NDArray[Any]") -> "NDArray[np.uint8]":
    """A test image to look at: (y, x) or (y, x, 3), uint8.

    8-bit grey and RGB are as they are; of all others each channel is stretched by itself, so that dim ones can be seen.
    Two channels become red and green.
    """
    import numpy as np

    if pixels.dtype == np.uint8 and pixels.shape[2:] in ((), (3,)):
        return pixels
    channels = [pixels] if pixels.ndim == 2 else [pixels[..., number] for number in range(pixels.shape[2])]
    shown = [_stretched(channel) for channel in channels]
    if len(shown) == 1:
        return shown[0]
    return np.stack([*shown, np.zeros_like(shown[0])][:3], axis=-1)


def _stretched(channel: "NDArray[Any]") -> "NDArray[np.uint8]":
    import numpy as np

    low, high = np.percentile(channel, (1, 99.7))
    if high <= low:  # hardly anything in it, as in a channel that was left empty
        low, high = float(channel.min()), float(channel.max())
    stretched = (channel.astype(np.float32) - low) * (255 / (high - low) if high > low else 0.0)
    shown: NDArray[np.uint8] = np.clip(np.rint(stretched), 0, 255).astype(np.uint8)
    return shown


def _unfit(facts: ImageFacts, accepts: Accepts) -> str | None:
    size = " x ".join(str(side) for side in facts.shape)
    if facts.stack:
        plane = ", with its channels in the first or the last axis" if 2 in accepts.channels else ""
        return f"is a stack ({size}); save one plane of it as a picture of its own{plane}"
    if facts.alpha:
        return "has an alpha channel (transparency); save it without, as grey or RGB"
    if facts.dtype not in accepts.dtypes:
        found = "is 16-bit" if facts.dtype == "uint16" else f"holds {facts.dtype} values"
        if accepts.dtypes == ("uint8",):
            return f"{found}; save an 8-bit copy, scaled as your training images were"
        return f"{found}; save it as {_or(accepts.dtypes)}"
    if facts.channels not in accepts.channels:
        return f"has {facts.channels} channels; save it with {_or([_CHANNELS[one] for one in accepts.channels])}"
    if min(facts.shape[:2]) < accepts.smallest_px:
        return f"is {size} pixels; use one of at least {accepts.smallest_px} x {accepts.smallest_px}"
    if facts.minimum is None or facts.maximum is None:
        return None
    if not (math.isfinite(facts.minimum) and math.isfinite(facts.maximum)):
        return "holds values that are no finite numbers (NaN or infinity); save it with a number in every pixel"
    if facts.minimum == facts.maximum:
        return f"has the same value ({facts.minimum:g}) everywhere; use an image with objects in it"
    return None


_CHANNELS: Final = {1: "one (grey)", 2: "two", 3: "three (RGB)"}


def _or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _look(path: Path, accepts: Accepts) -> "tuple[ImageFacts, NDArray[Any] | None]":
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
    look_at = _look_at_tiff if path.suffix.lower() in TIFF_ENDINGS else _look_at_picture
    return look_at(path, accepts)


def _reason(error: Exception) -> str:
    return (error.strerror or type(error).__name__).lower() if isinstance(error, OSError) else str(error)


def _too_big(path: Path, pixels: int) -> ZoowizardError:
    return ZoowizardError(f"{path} has {pixels // 1_000_000} megapixels; cut out a piece of at most 2048 x 2048")


def _unreadable(path: Path) -> ZoowizardError:
    return ZoowizardError(f"{path} cannot be read as an image: it is damaged or something else; save it anew as PNG")


def _with_values(facts: ImageFacts, pixels: "NDArray[Any]") -> "tuple[ImageFacts, NDArray[Any]]":
    return replace(facts, minimum=float(pixels.min()), maximum=float(pixels.max())), pixels


def _look_at_picture(path: Path, accepts: Accepts) -> "tuple[ImageFacts, NDArray[Any] | None]":
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
            if _unfit(facts, accepts):
                return facts, None
            if facts.dtype == "uint16" and channels > 1:
                raise ZoowizardError(
                    f"{path} is a 16-bit PNG in colour, of which only 8 bits can be read; save it as TIFF"
                )
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


def _look_at_tiff(path: Path, accepts: Accepts) -> "tuple[ImageFacts, NDArray[Any] | None]":
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
            sides = tuple(int(side) for side, _ in kept)
            if 2 in accepts.channels:
                place = _channel_axis(axes, sides)
                stack = len(tiff.series) > 1 or len(axes) != (2 if place is None else 3)
                alpha = any(int(kind) in (1, 2) for kind in page.extrasamples)  # associated, unassociated
            else:
                place = axes.index("S") if "S" in axes else None
                stack = len(tiff.pages) > 1 or axes not in ("YX", "YXS", "SYX")
                # 4 channels without a word on the fourth are RGBA for whoever shows them.
                alpha = not stack and (bool(page.extrasamples) or (place is not None and sides[place] in (2, 4)))
            channels = 1 if place is None else sides[place]
            shape = sides if stack or place is None else (*sides[:place], *sides[place + 1 :], channels)
            facts = ImageFacts(shape, str(series.dtype), channels, alpha, stack)
            pixels_count = int(np.prod(sides, dtype=np.int64)) if sides else 0
            if not stack and pixels_count > MOST_PIXELS * max(channels, 1):
                raise _too_big(path, pixels_count // max(channels, 1))
            if _unfit(facts, accepts):
                return facts, None
            pixels = np.asarray(series.asarray()).reshape(sides)
        return _with_values(facts, pixels if place is None else np.ascontiguousarray(np.moveaxis(pixels, place, -1)))
    except ZoowizardError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise _unreadable(path) from error
    finally:
        logger.disabled = was_silent


def _channel_axis(axes: str, sides: Sequence[int]) -> int | None:
    """The place of the channels among the axes (tifffile's letters) of a microscope's TIFF; None where it has none.

    An axis that nobody gave a meaning is taken for that where it is as short: (2, y, x) and (y, x, 2) are what one gets
    by writing a plain array, and both come back as pages of rows and columns.
    """
    for place, axis in enumerate(axes):
        if axis in "CS":
            return place
    if len(axes) == 3 and axes[0] in "QI":
        return next((place for place in (0, 2) if sides[place] in (2, 3)), None)
    return None
