"""Read protobuf messages out of a file of any size: what is not asked for is passed over, never loaded.

Source of the format: https://protobuf.dev/programming-guides/encoding. Every field counts, and their number is bounded,
so that a hostile file costs a bounded time; texts are cut, and lengths that leave the file are damage.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO, Final

from zoowizard.families.literals import AGAIN, DamagedError

MOST_FIELDS: Final = 1_000_000
"""Many times what the largest networks for images have; passed through in some seconds."""
LONGEST_TEXT: Final = 512
"""Bytes that are kept of a text."""
VARINT: Final = 0
EIGHT_BYTES: Final = 1
LENGTH: Final = 2
FOUR_BYTES: Final = 5

_PIECE: Final = 1 << 16
_MASK: Final = (1 << 64) - 1


class Message:
    """A place in a file of messages. `fields` goes through one message; `left` fields may still be looked at."""

    __slots__ = ("_data", "_file", "_start", "at", "left", "size")

    def __init__(self, file: BinaryIO) -> None:
        """Begin at the first byte of the file."""
        self._file = file
        self._data, self._start = b"", 0
        self.size = os.fstat(file.fileno()).st_size
        self.at = 0
        self.left = MOST_FIELDS

    def fields(self, end: int) -> Iterator[tuple[int, int, int]]:
        """(number, kind, value) of each field from here to `end`, a place in the file.

        The value of a VARINT is its number, without a sign; of the other kinds it is how many bytes follow: they may
        be read before the next field is asked for. Raises DamagedError.
        """
        if end > self.size:
            raise DamagedError(f"is cut short{AGAIN}")
        while self.at < end:
            self.left -= 1
            if self.left < 0:
                raise DamagedError(f"holds more than {MOST_FIELDS:,} parts, far more than networks have")
            tag = self.varint()
            number, kind = tag >> 3, tag & 7
            if kind == VARINT:
                value = self.varint()
                following = self.at
            elif kind in (LENGTH, EIGHT_BYTES, FOUR_BYTES):
                value = self.varint() if kind == LENGTH else 8 if kind == EIGHT_BYTES else 4
                following = self.at + value
            else:
                raise DamagedError(f"is damaged{AGAIN}")
            if following > end or not number:
                raise DamagedError(f"is cut short or damaged{AGAIN}")
            yield number, kind, value
            self.at = following

    def varint(self) -> int:
        """A number of up to 64 bits, without a sign. Raises DamagedError."""
        place = self.at - self._start
        if not 0 <= place <= len(self._data) - 10:
            place = self._load()
        data = self._data
        try:
            byte = data[place]
            if byte < 0x80:  # nearly all are so small
                self.at += 1
                return byte
            value, shift = byte & 0x7F, 7
            while shift < 70:
                place += 1
                byte = data[place]
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    self.at = self._start + place + 1
                    return value & _MASK
                shift += 7
        except IndexError:
            raise DamagedError(f"is cut short{AGAIN}") from None
        raise DamagedError(f"is damaged{AGAIN}")

    def text(self, length: int, longest: int = LONGEST_TEXT) -> str:
        """The next `length` bytes as text, at most `longest` of them."""
        wanted = min(length, longest)
        place = self.at - self._start
        if not 0 <= place <= len(self._data) - wanted:
            place = self._load(wanted)
        return self._data[place : place + wanted].decode("utf-8", "replace")

    def numbers(self, kind: int, value: int) -> list[int]:
        """The signed numbers of a repeated field, packed or one by one. Raises DamagedError."""
        if kind == VARINT:
            return [signed(value)]
        found, end = [], self.at + value
        while kind == LENGTH and self.at < end:
            self.left -= 1
            if self.left < 0:
                raise DamagedError(f"holds more than {MOST_FIELDS:,} parts, far more than networks have")
            found.append(signed(self.varint()))
        return found

    def _load(self, wanted: int = 10) -> int:
        self._file.seek(self.at)
        self._start, self._data = self.at, self._file.read(max(_PIECE, wanted))
        return 0


def signed(value: int) -> int:
    """The number of an int64 or int32 field."""
    return value - (1 << 64) if value >= 1 << 63 else value
