"""The size of a pixel, as people write it: `0.32 micrometer`, or height and width: `0.32 x 0.3 micrometer`.

That of a voxel has its depth before them: `2 x 0.32 x 0.3 micrometer`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from zoowizard.drafts import vocabulary
from zoowizard.drafts.checks import check_line, did_you_mean, shown, what_it_is

SHORT_UNITS: Final = {
    "um": "micrometer",
    "\u03bcm": "micrometer",
    "mkm": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "micrometre": "micrometer",
    "nm": "nanometer",
    "nanometre": "nanometer",
    "pm": "picometer",
    "mm": "millimeter",
    "millimetre": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "metre": "meter",
    "å": "angstrom",
    "in": "inch",
}
"""What people write, in small letters, and its name in OME-Zarr 0.5. The micro sign's small letter is a Greek mu."""

NUMBER: Final = r"(?:[0-9]+(?:[.,][0-9]+)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?"
SIZE: Final = re.compile(
    rf"\s*(?P<first>{NUMBER})\s*(?P<inner>[^\W\d_]*?)\s*"
    rf"(?:[xX\u00d7*]\s*(?P<second>{NUMBER})\s*(?P<middle>[^\W\d_]*?)\s*)?"
    rf"(?:[xX\u00d7*]\s*(?P<third>{NUMBER})\s*)?(?P<unit>[^\W\d_]+\.?)?\s*"
)
RIGHT: Final = "write it with its unit, such as 0.32 micrometer or 0.32 x 0.3 micrometer (height x width)"


@dataclass(frozen=True)
class PixelSize:
    """Height `y` and width `x` of one pixel, in `unit`, a name of OME-Zarr 0.5 such as `micrometer`.

    `z` is the depth of a voxel, None where it was not said.
    """

    y: float
    x: float
    unit: str
    z: float | None = None


def parse_pixel_size(text: str) -> PixelSize:
    """Read `0.32 micrometer` or `0.32 x 0.3 micrometer` (height, then width); short units such as um are understood.

    Raises ValueError with a sentence that says what would be right, also for the size of a voxel.
    """
    size = parse_voxel_size(text)
    if size.z is not None:
        raise ValueError(f"{shown(text)} has more than two sizes; {RIGHT}")
    return size


def parse_voxel_size(text: str) -> PixelSize:
    """As `parse_pixel_size`, or `2 x 0.32 x 0.3 micrometer` (depth, height, width). Raises ValueError."""
    sizes, unit = _parts(text)
    numbers = [float(one) for one in sizes]
    if not all(0 < one < 1e9 for one in numbers):
        raise ValueError(f"{shown(text)} is no size that a pixel can have; {RIGHT}")
    return PixelSize(numbers[-2:][0], numbers[-1], unit, numbers[0] if len(numbers) > 2 else None)


def written(text: str) -> str:
    """The same size as the zoo writes it: `0.32um` becomes `0.32 micrometer`. Raises ValueError like the above."""
    sizes, unit = _parts(text)
    return f"{' x '.join(sizes)} {unit}"


def tidy_pixel_size(line: str) -> str:
    """`written`, but what cannot be read is given back as it is, for the check to say what would be right."""
    try:
        return written(line)
    except ValueError:
        return line.strip()


def check_pixel_size(answer: Any) -> str | None:
    """A pixel size with its unit by the name that OME-Zarr has for it."""
    return _check(answer, parse_pixel_size)


def check_voxel_size(answer: Any) -> str | None:
    """The same of a voxel, whose depth may stand before them."""
    return _check(answer, parse_voxel_size)


def _check(answer: Any, parse: Callable[[str], PixelSize]) -> str | None:
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return f"is the number {answer} without a unit; write for example {answer} micrometer"
    if not isinstance(answer, str):
        return f"is {what_it_is(answer)}; write a size with its unit, such as 0.32 micrometer"
    if problem := check_line(answer):
        return problem
    try:
        unit = parse(answer).unit
        right = written(answer)
    except ValueError as problem:
        return str(problem)
    if right == answer:
        return None
    return f"{shown(answer)} is not written as the zoo writes it; write {'' if unit in answer else unit + ': '}{right}"


def _parts(text: str) -> tuple[list[str], str]:
    found = SIZE.fullmatch(re.sub(r"\s*(/|per)\s*(px|pixels?)\s*$", "", text))
    if not found:
        if len(re.findall(NUMBER, text)) > 3:
            raise ValueError(f"{shown(text)} has too many sizes; {RIGHT}")
        raise ValueError(f"{shown(text)} is no pixel size; {RIGHT}")
    sizes = [number.replace(",", ".") for number in (found["first"], found["second"], found["third"]) if number]
    before = [one for one in (found["inner"], found["middle"]) if one]
    unit = found["unit"] or next(iter(before), "")
    if not unit:
        raise ValueError(f"{shown(text)} has no unit; write for example {' x '.join(sizes)} micrometer")
    name = _unit(unit)
    if name is None:
        raise ValueError(f"{shown(unit)} is no unit of length; write micrometer, nanometer or millimeter")
    if any(_unit(one) != name for one in before):
        raise ValueError(f"{shown(text)} has two units; {RIGHT}")
    return sizes, name


def _unit(word: str) -> str | None:
    small = word.casefold().rstrip(".")
    for one in (small, small.removesuffix("s")):
        if one in vocabulary.space_units():
            return one
        if one in SHORT_UNITS:
            return SHORT_UNITS[one]
    return None if small in ("px", "pixel", "pixels") else did_you_mean(small, vocabulary.space_units(), cutoff=0.8)
