"""Test images of any network, 2-D or 3-D, with any number of channels: what is in the file, and which axis is which.

As in `drafts/images.py`, the header is read first, and what unpacks to too much is refused by its size alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zoowizard.drafts.images import TIFF_ENDINGS, Accepts, read_image
from zoowizard.errors import ZoowizardError

if TYPE_CHECKING:
    from numpy.typing import NDArray

AXES: Final = ("yx", "cyx", "yxc", "zyx", "czyx", "zcyx", "zyxc")
"""What the axes of a file can be: z, y and x of space, c for channels."""
DTYPES: Final = ("uint8", "uint16", "int16", "float32")
MOST_BYTES: Final = 1 << 30
SMALLEST_PX: Final = 32
SMALLEST_DEPTH_PX: Final = 8
MOST_CHANNELS: Final = 512
FEW_CHANNELS: Final = 5
PICTURES: Final = (".png", ".jpg", ".jpeg")
ENDINGS: Final = (*TIFF_ENDINGS, *PICTURES, ".npy")
_PICTURE: Final = Accepts(("uint8", "uint16"), (1, 3), smallest_px=1)


@dataclass(frozen=True)
class StackFacts:
    """What an image file holds: `shape` without axes of length 1, `dtype` in numpy's words.

    `axes` are the letters of its axes in their order (of `AXES`) where the file tells them for certain, else None.
    """

    shape: tuple[int, ...]
    dtype: str
    axes: str | None


def stack_facts(path: Path) -> StackFacts:
    """What is in a TIFF, PNG, JPEG or `.npy` file; of TIFF and `.npy` the header only.

    Raises ZoowizardError, naming the file, where it is none of these, damaged, or larger than 1 GB when unpacked.
    """
    return _facts(path, _state(path))


def _state(path: Path) -> tuple[int, ...]:
    """What is another where the file is another. Raises ZoowizardError where there is none."""
    try:
        told = path.stat()
    except (OSError, ValueError):
        raise ZoowizardError(f"{path} does not exist; write the path of an image file") from None
    if not path.is_file():
        raise ZoowizardError(f"{path} is no file; write the path of an image file")
    return told.st_ino, told.st_mtime_ns, told.st_size


@lru_cache(maxsize=64)
def _facts(path: Path, state: tuple[int, ...]) -> StackFacts:
    """Asked again with every answer: the file is looked at where it changed only."""
    return _read(path, False)[0]


def axes_of(path: Path) -> str | None:
    """The letters of the file's axes where it tells them for certain: a plane, an RGB picture, a TIFF that names them.

    None where it does not, or cannot be read.
    """
    try:
        return stack_facts(path).axes
    except ZoowizardError:
        return None


def possible_axes(facts: StackFacts, spatial: int | None, channels: int | None) -> tuple[tuple[str, ...], str | None]:
    """What the axes can be, the likely ones first, and the one that is taken without asking, or None.

    `spatial` (2 or 3) and `channels` are those of the network, where they are known.
    """
    by_number = tuple(one for one in AXES if len(one) == len(facts.shape))
    likely = [one for one in by_number if _fits(one, facts.shape, spatial, channels)]
    ordered = (*likely, *(one for one in by_number if one not in likely))
    if facts.axes is not None:
        return ordered, facts.axes if facts.axes in likely else None
    known = len(by_number) == 1 or (spatial is not None and len(likely) == 1)
    return ordered, ordered[0] if known and likely else None


def _fits(axes: str, shape: Sequence[int], spatial: int | None, channels: int | None) -> bool:
    size = dict(zip(axes, shape, strict=True))
    if spatial is not None and ("z" in axes) != (spatial == 3):
        return False
    return size.get("c", 1) == channels if channels is not None else size.get("c", 1) <= MOST_CHANNELS


def check_stack(answer: Any) -> str | None:
    """An image file of the types in `DTYPES`, large enough, not constant; else a sentence that says what would be."""
    if not isinstance(answer, str | Path) or not str(answer).strip():
        return f"{answer!r} is no path; write the path of an image file, such as images/stack.tif"
    path = Path(answer).expanduser()
    try:
        return _problem(path, _state(path))
    except ZoowizardError as error:
        return str(error)


@lru_cache(maxsize=64)
def _problem(path: Path, state: tuple[int, ...]) -> str | None:
    """A large stack takes its time: it is read once as long as it stays as it is. Raises ZoowizardError."""
    problem = _unfit(_facts(path, state)) or _without_picture(_read(path)[1])
    return f"{path.name} {problem}" if problem else None


def check_expected(answer: Any) -> str | None:
    """A file with numbers in one to four axes, of which those of length 1 do not count; else a sentence."""
    if not isinstance(answer, str | Path) or not str(answer).strip():
        return f"{answer!r} is no path; write the path of a file, such as images/expected.tif"
    path = Path(answer).expanduser()
    try:
        facts = stack_facts(path)
    except ZoowizardError as error:
        return str(error)
    if len(facts.shape) not in (2, 3, 4):
        return f"{path.name} has {len(facts.shape)} axes; save an image of 2 to 4 axes, channels first"
    return None


def read_stack(path: Path, axes: str) -> "NDArray[Any]":
    """The image as (channel, (z,) y, x), as recorded; `axes` are the letters of the file's axes, one of `AXES`.

    Raises ZoowizardError where `check_stack` finds something wrong, or the file has another number of axes.
    """
    import numpy as np

    facts, pixels = _read(path)
    problem = _unfit(facts) or _without_picture(pixels)
    if problem is None and len(axes) != len(facts.shape):
        problem = f"has {len(facts.shape)} axes ({_size(facts.shape)}), not those of {axes}; answer image_axes anew"
    if problem:
        raise ZoowizardError(f"{path} {problem}")
    given = pixels[np.newaxis] if "c" not in axes else np.moveaxis(pixels, axes.index("c"), 0)
    if min(given.shape[-2:]) < SMALLEST_PX or (given.ndim == 4 and given.shape[1] < SMALLEST_DEPTH_PX):
        raise ZoowizardError(f"{path} {_too_small(facts.shape)}")
    return np.ascontiguousarray(given)


def read_expected(path: Path) -> "NDArray[Any]":
    """The numbers or labels in a file, (channel, (z,) y, x) or without channels, without other axes of length 1.

    Raises ZoowizardError where it cannot be read.
    """
    import numpy as np

    facts, pixels = _read(path)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0) if facts.axes in ("yxc", "zyxc") else pixels)


def likely_axes(facts: StackFacts) -> str:
    """What the axes are taken for where nobody has said it, to show the image: few values at either end are channels.

    Empty where the file has another number of axes than an image.
    """
    choices, told = possible_axes(facts, None, None)
    for axes in (told, *(one for one in choices if "c" in one)):
        if axes is not None and ("c" not in axes or facts.shape[axes.index("c")] <= FEW_CHANNELS):
            return axes
    return next((one for one in choices if "c" not in one), choices[0] if choices else "")


def middle_plane(image: "NDArray[Any]") -> "NDArray[Any]":
    """Of an image (channel, (z,) y, x) the plane in the middle, (y, x) or (y, x, 2 or 3), of three channels at most."""
    import numpy as np

    plane = image[:, image.shape[1] // 2] if image.ndim == 4 else image
    return plane[0] if len(plane) == 1 else np.moveaxis(plane[:3], 0, -1)


def _unfit(facts: StackFacts) -> str | None:
    if facts.dtype not in DTYPES:
        return f"holds {facts.dtype} values; save it as {', '.join(DTYPES[:-1])} or {DTYPES[-1]}"
    if len(facts.shape) not in (2, 3, 4):
        what = "save one image of it, with z, y, x and channels at most" if len(facts.shape) > 4 else "save an image"
        return f"has {len(facts.shape)} axes ({_size(facts.shape)}); {what}"
    if 0 in facts.shape or sum(side >= SMALLEST_PX for side in facts.shape) < 2:
        return _too_small(facts.shape)
    return None


def _too_small(shape: Sequence[int]) -> str:
    return f"is {_size(shape)}; use one of at least {SMALLEST_PX} pixels along y and x, and {SMALLEST_DEPTH_PX} along z"


def _without_picture(pixels: "NDArray[Any]") -> str | None:
    least, largest = pixels.min(), pixels.max()
    if not (abs(float(least)) < float("inf") and abs(float(largest)) < float("inf")):
        return "holds values that are no finite numbers (NaN or infinity); save it with a number in every pixel"
    if least == largest:
        return f"has the same value ({float(least):g}) everywhere; use an image with something in it"
    return None


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(side) for side in shape)


def _read(path: Path, whole: bool = True) -> "tuple[StackFacts, NDArray[Any]]":
    """The facts of a file, and its pixels of the same shape; where not `whole`, those may be none."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ZoowizardError(f"{path} ends in none of {', '.join(ENDINGS)}; save the image as TIFF or .npy")
    try:
        _state(path)
        if path.stat().st_size == 0:
            raise ZoowizardError(f"{path} is empty (0 bytes); use an image file with something in it")
        if ending in TIFF_ENDINGS:
            return _of_tiff(path, whole)
        if ending == ".npy":
            return _of_npy(path, whole)
        return _of_picture(path)
    except ZoowizardError:
        raise
    except MemoryError:
        raise _too_large(path) from None
    except OSError as error:
        if error.errno:
            reason = (error.strerror or type(error).__name__).lower()
            raise ZoowizardError(f"{path} cannot be opened ({reason}); allow reading it") from error
        raise _unreadable(path) from error
    except Exception as error:  # a damaged file may raise anything
        raise _unreadable(path) from error


def _unreadable(path: Path) -> ZoowizardError:
    return ZoowizardError(f"{path} cannot be read as an image: it is damaged or something else; save it anew as TIFF")


def _too_large(path: Path) -> ZoowizardError:
    return ZoowizardError(f"{path} is larger than {MOST_BYTES >> 30} GB when unpacked; cut out a piece of it")


def _of_npy(path: Path, whole: bool) -> "tuple[StackFacts, NDArray[Any]]":
    import numpy as np

    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    _require_numbers(path, mapped.dtype, mapped.nbytes)
    pixels, dtype = np.squeeze(mapped), mapped.dtype.newbyteorder("=")
    facts = StackFacts(pixels.shape, dtype.name, "yx" if pixels.ndim == 2 else None)
    return facts, pixels.astype(dtype, copy=False) if whole else pixels


def _of_picture(path: Path) -> "tuple[StackFacts, NDArray[Any]]":
    pixels = read_image(path, _PICTURE)
    return StackFacts(pixels.shape, pixels.dtype.name, "yx" if pixels.ndim == 2 else "yxc"), pixels


def _of_tiff(path: Path, whole: bool) -> "tuple[StackFacts, NDArray[Any]]":
    import logging

    import numpy as np
    import tifffile

    logger = logging.getLogger("tifffile")
    was_silent, logger.disabled = logger.disabled, True  # it reports damage on standard error as well as by exceptions
    try:
        with tifffile.TiffFile(path) as tiff:
            if len(tiff.series) != 1:
                raise ZoowizardError(f"{path} holds {len(tiff.series)} images; save the one to be used by itself")
            series = tiff.series[0]
            _require_numbers(path, series.dtype, int(np.prod(series.shape, dtype=np.float64)) * series.dtype.itemsize)
            kept = [(side, axis) for side, axis in zip(series.shape, series.axes, strict=True) if side > 1]
            shape = tuple(int(side) for side, _ in kept)
            facts = StackFacts(shape, series.dtype.newbyteorder("=").name, _letters("".join(axis for _, axis in kept)))
            return facts, np.asarray(series.asarray()).reshape(shape) if whole else np.empty(0)
    finally:
        logger.disabled = was_silent


def _letters(axes: str) -> str | None:
    """tifffile's letters as ours; None where one of them has no meaning (Q, I) or another one (T)."""
    ours = axes.lower().replace("s", "c")
    return ours if ours in AXES else None


def _require_numbers(path: Path, dtype: Any, nbytes: int) -> None:
    if dtype.kind not in "buif":
        raise ZoowizardError(f"{path} holds {dtype} values; save it with one number in every pixel")
    if nbytes > MOST_BYTES:
        raise _too_large(path)
