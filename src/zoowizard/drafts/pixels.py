"""The size of a pixel, as people write it: `0.32 micrometer`, or height and width: `0.32 x 0.3 micrometer`."""

import re
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
    rf"\s*(?P<y>{NUMBER})\s*(?P<inner>[^\W\d_]*?)\s*(?:[xX\u00d7*]\s*(?P<x>{NUMBER})\s*)?(?P<unit>[^\W\d_]+\.?)?\s*"
)
RIGHT: Final = "write it with its unit, such as 0.32 micrometer or 0.32 x 0.3 micrometer (height x width)"


@dataclass(frozen=True)
class PixelSize:
    """Height `y` and width `x` of one pixel, in `unit`, a name of OME-Zarr 0.5 such as `micrometer`."""

    y: float
    x: float
    unit: str


def parse_pixel_size(text: str) -> PixelSize:
    """Read `0.32 micrometer` or `0.32 x 0.3 micrometer` (height, then width); short units such as um are understood.

    Raises ValueError with a sentence that says what would be right.
    """
    sizes, unit = _parts(text)
    y, x = float(sizes[0]), float(sizes[-1])
    if not (0 < y < 1e9 and 0 < x < 1e9):
        raise ValueError(f"{shown(text)} is no size that a pixel can have; {RIGHT}")
    return PixelSize(y, x, unit)


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
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return f"is the number {answer} without a unit; write for example {answer} micrometer"
    if not isinstance(answer, str):
        return f"is {what_it_is(answer)}; write a size with its unit, such as 0.32 micrometer"
    if problem := check_line(answer):
        return problem
    try:
        unit = parse_pixel_size(answer).unit
        right = written(answer)
    except ValueError as problem:
        return str(problem)
    if right == answer:
        return None
    return f"{shown(answer)} is not written as the zoo writes it; write {'' if unit in answer else unit + ': '}{right}"


def _parts(text: str) -> tuple[list[str], str]:
    found = SIZE.fullmatch(re.sub(r"\s*(/|per)\s*(px|pixels?)\s*$", "", text))
    if not found:
        if len(re.findall(NUMBER, text)) > 2:
            raise ValueError(f"{shown(text)} has more than two sizes; {RIGHT}")
        raise ValueError(f"{shown(text)} is no pixel size; {RIGHT}")
    sizes = [number.replace(",", ".") for number in (found["y"], found["x"]) if number]
    inner, unit = found["inner"], found["unit"] or found["inner"]
    if not unit:
        raise ValueError(f"{shown(text)} has no unit; write for example {' x '.join(sizes)} micrometer")
    name = _unit(unit)
    if name is None:
        raise ValueError(f"{shown(unit)} is no unit of length; write micrometer, nanometer or millimeter")
    if inner and _unit(inner) != name:
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
