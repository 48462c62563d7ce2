"""What others wrote into an answer or a token, taken only where it is of the kind that it must be."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from zoowizard.terminal import printable

JOINER: Final = "\u200d"
"""Makes one picture of several, as in some emojis."""
LONGEST_ADDRESS: Final = 8_000
YEARS: Final = range(1970, 9000)
"""Moments in other years are no times of anything here, and near the ends of the calendar no time zone can be had."""


def text(value: Any, most: int = 2_000) -> str:
    """At most `most` letters of a text, without what steers a terminal or cannot be saved; empty where it is none."""
    return printable(value[:most]) if isinstance(value, str) else ""


def texts(value: Any, besides: str = "") -> tuple[str, ...]:
    """The texts of a list, shortened; empty where one would steer a terminal. `besides` may be in them."""
    listed = [one[:100] for one in value if isinstance(one, str)] if isinstance(value, list) else []
    return tuple(one if printable(plain := one.replace(besides, "")) == plain else "" for one in listed)


def address(value: Any) -> str:
    """An address in the web, which is one word of plain letters; empty where it is none."""
    known = isinstance(value, str) and value.startswith(("https://", "http://")) and len(value) <= LONGEST_ADDRESS
    return value if known and value.isascii() and value.isprintable() and " " not in value else ""


def mapping(value: Any) -> Mapping[str, Any]:
    """An object; an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; none where it is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def moment(seconds: Any) -> datetime | None:
    """A moment given in seconds since 1970; None where that is none."""
    try:
        return likely(datetime.fromtimestamp(float(seconds), UTC))
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def likely(at: datetime | None) -> datetime | None:
    """The moment in UTC; None where that is in no year of the zoo."""
    try:
        at = at and at.astimezone(UTC)
    except OverflowError:
        return None
    return at if at is not None and at.year in YEARS else None
