"""How far the values of a package are from those of the model's own framework, in words.

Light: the report, the card, the commands, the board and the screens all say it so.
"""

import math
from collections.abc import Mapping
from decimal import ROUND_UP, Context
from typing import Any, Final, TypedDict

_TWO_DIGITS: Final = Context(prec=2, rounding=ROUND_UP)


class Agreement(TypedDict):
    """The largest difference of any value on some images, as a part of the spread of its output.

    `apart` is that of the output that agrees least, `outputs` that of each by its id. The spread is the standard
    deviation of what the framework gives.
    """

    images: int
    apart: float
    outputs: dict[str, float]


def in_words(agreement: Any) -> str:
    """`within 2.4e-07 of the output's spread, on 4 images`; empty for what is no Agreement, as in an older record."""
    apart = apart_of(agreement)
    if apart is None:
        return ""
    whose = "the outputs' spread" if len(agreement.get("outputs") or ()) > 1 else "the output's spread"
    near = f"within {rounded_up(apart)} of {whose}" if apart else "the very same values"
    images = agreement.get("images")
    return f"{near}, on {images} image{'' if images == 1 else 's'}" if isinstance(images, int) else near


def apart_of(agreement: Any) -> float | None:
    """The largest difference as a part of the spread; None for what is no Agreement."""
    apart = agreement.get("apart") if isinstance(agreement, Mapping) else None
    if isinstance(apart, bool) or not isinstance(apart, int | float) or not 0 <= apart < math.inf:
        return None
    return float(apart)


def rounded_up(apart: float) -> str:
    """A number in two digits, never less than it is."""
    return f"{float(_TWO_DIGITS.create_decimal(apart)):.2g}"
