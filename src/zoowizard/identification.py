"""What `zoowizard identify` says to a person."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zoowizard.families.family import Recognition
from zoowizard.families.pickles import printable

LONGEST_VALUE = 68


def is_tree(path: Path, found: Sequence[Recognition]) -> bool:
    """Whether `path` is a folder of many models rather than one of them."""
    return path.is_dir() and [one.path for one in found] != [path]


def in_words(recognition: Recognition, missing: Sequence[str]) -> str:
    """A recognition as lines: what it is and why, what was read and from where, what is missing, what is suspicious."""
    return "\n".join(_lines(recognition, missing))


def _lines(recognition: Recognition, missing: Sequence[str]) -> Iterator[str]:
    yield printable(str(recognition.path))
    if recognition.refused:
        yield f"  {'refused as unsafe' if recognition.unsafe else 'refused'}: {recognition.refused}"
        return
    yield f"  family: {recognition.family or 'unknown'}"
    if recognition.checkpoint is not None and recognition.checkpoint != recognition.path:
        yield f"  checkpoint: {printable(str(recognition.checkpoint))}"
    for evidence in recognition.evidence:
        yield f"  because: {evidence}"
    if recognition.values:
        yield "  read:"
        for name, known in recognition.values.items():
            yield f"    {name:<20} {_short(known.value)}  ({known.origin})"
    if missing:
        yield f"  still missing: {', '.join(missing)}"
    for warning in recognition.warnings:
        yield f"  ! {warning.message}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
