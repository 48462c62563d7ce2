"""Folders of somebody's computer in a file of weights: TorchScript keeps those of its source, ONNX may, too."""

import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from zoowizard.conversion.converted import Weights
from zoowizard.families.pickles import printable

FOLDER: Final = re.compile(
    rb"/(?:home|Users)/[\w.-]{1,64}/|[A-Za-z]:(?:\\{1,2}|/)Users(?:\\{1,2}|/)[^\\/\x00-\x1f]{1,64}[\\/]"
)
"""A folder by which an account is named, on Linux, macOS and Windows."""
LONGEST: Final = 256
PIECE_BYTES: Final = 1 << 20
MOST_UNPACKED: Final = 1 << 26
"""Bytes, all together: what is compressed in a file of weights is code and what belongs to it, and small."""


def told(weights: Sequence[Weights]) -> list[str]:
    """A sentence for each file of weights, or beside them, that names an account; they stay as they are."""
    files = dict.fromkeys(path for one in weights for path in (one.path, *one.files))
    return [
        f"{printable(path.name)} names folders of the computer on which it was made, and with them somebody's account. "
        "It stays as it was, byte for byte, as it is known by its sha256. A TorchScript or ONNX file that zoowizard "
        "packages on its own, or takes as new_weights, loses them."
        for path in files
        if names_an_account(path)
    ]


def names_an_account(path: Path) -> bool:
    """Whether a folder of a person's account stands in a file, or in what is packed in it. Nothing of it is run."""
    with path.open("rb") as file:
        if _is_in(file, path.stat().st_size):
            return True
    left = MOST_UNPACKED
    try:
        with zipfile.ZipFile(path) as archive:
            for one in archive.infolist():
                if one.compress_type == zipfile.ZIP_STORED or left <= 0:
                    continue
                with archive.open(one) as packed:
                    if _is_in(packed, left):
                        return True
                left -= one.file_size
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return False  # no zip, or one with something in it that only its own reader knows
    return False


def _is_in(file: IO[bytes], most: int) -> bool:
    before = b""
    while most > 0 and (piece := file.read(min(PIECE_BYTES, most))):
        if FOLDER.search(before + piece):
            return True
        before, most = piece[-LONGEST:], most - len(piece)
    return False
