"""Which models lie at or below a folder? `python -m zoowizard.families.nearby PATH` tells them as they are found.

Prints one JSON object a line: candidates (as `zoowizard identify --json` has them, and more: see `candidate`), between
them `{"looked": folders}`, and at the end `{"looked": folders, "complete": true or false}`. No checkpoint is run.
"""

import argparse
import json
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zoowizard.errors import ZoowizardError
from zoowizard.families.family import Recognition
from zoowizard.families.identify import as_told, identify, look_in, obstacle

TELL_EVERY_S: Final = 0.5


@dataclass(frozen=True)
class Bounds:
    """How far a search goes: folders looked at, levels below the first one, seconds, and models found."""

    folders: int = 20_000
    depth: int = 12
    seconds: float = 60.0
    models: int = 2_000


def search(path: Path, bounds: Bounds, drafts: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The lines of the answer for what lies at or below `path`, near folders first.

    `drafts` gives the id of the draft by the real path of its checkpoint. Raises WrongUse where there is nothing.
    """
    if not path.is_dir():
        yield from (candidate(one, drafts) for one in identify(path))
        yield {"looked": 0, "complete": True}
        return
    started = told = time.monotonic()
    waiting: deque[tuple[Path, int]] = deque([(path, 0)])
    looked, found, left_out = 0, 0, False
    while waiting and looked < bounds.folders and found < bounds.models:
        if (now := time.monotonic()) - started > bounds.seconds:
            break
        if now - told > TELL_EVERY_S:
            yield {"looked": looked}
            told = now
        folder, depth = waiting.popleft()
        here, below = look_in(folder)
        looked += 1
        for one in here:
            found += 1
            yield candidate(one, drafts)
        if depth < bounds.depth:
            waiting.extend((one, depth + 1) for one in below)
        else:
            left_out = left_out or bool(below)
    yield {"looked": looked, "complete": not waiting and not left_out}


def candidate(recognition: Recognition, drafts: Mapping[str, str]) -> dict[str, Any]:
    """One model in the answer: `to_json`'s object and what people want to see.

    `unsafe`; `modified` (seconds since 1970) and `size` (bytes) of the weights, None where they cannot be told; `what`,
    a short line; `obstacle`, the sentence that says why it cannot be packaged, or None; `draft`, the id of the draft
    that there is of it, or None.
    """
    place = recognition.checkpoint or recognition.path
    try:
        known = place.stat()
    except (OSError, ValueError):
        known = None
    weighed = known is not None and stat.S_ISREG(known.st_mode)
    return {
        **as_told(recognition, []),
        "unsafe": recognition.unsafe,
        "modified": None if known is None else known.st_mtime,
        "size": known.st_size if known is not None and weighed else None,
        "what": in_short(recognition),
        "obstacle": obstacle(recognition),
        "draft": drafts.get(os.path.realpath(place)),
    }


def in_short(recognition: Recognition) -> str:
    """One line for people: `YOLO11n-seg run, 20 of 20 epochs`."""
    if recognition.refused:
        return "refused as unsafe" if recognition.unsafe else "cannot be read"
    if recognition.family is None:
        told = recognition.evidence[0] if recognition.evidence else "nothing in it is familiar"
        holds = told.removeprefix("it is a torch checkpoint that holds ")
        return f"torch checkpoint of another kind: {holds}" if holds != told else told
    values = {name: one.value for name, one in recognition.values.items()}
    name = values.get("architecture") or f"{recognition.family} model"
    # what is called a network, or a program, needs no second word
    is_named = " network" in name or " program" in name
    kind = " run" if recognition.path != recognition.checkpoint else "" if is_named else " checkpoint"
    if "layout" in values:
        return f"{values.get('architecture') or 'bioimage.io'} package, format {values['layout']}"
    done, asked = values.get("epochs_done"), values.get("epochs")
    trained = "" if done is None else f", {done} of {asked} epochs" if asked is not None else f", {done} epochs"
    return f"{name}{kind}{trained}"


def _drafts(workspace: Path | None) -> dict[str, str]:
    if workspace is None:
        return {}
    from zoowizard.drafts.store import Workspace, drafts

    found, _ = drafts(Workspace(workspace))  # of several drafts of one checkpoint the oldest, as `build` takes it
    return {os.path.realpath(one.checkpoint): one.id for one in reversed(found) if one.checkpoint is not None}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the answer; gives 1 where there is nothing at the path, with a sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m zoowizard.families.nearby")
    parser.add_argument("path", type=Path)
    parser.add_argument("--workspace", type=Path, help="mark the models of which it holds a draft")
    for name, of in Bounds.__annotations__.items():
        parser.add_argument(f"--{name}", type=of, default=getattr(Bounds, name))
    given = parser.parse_args(arguments)
    bounds = Bounds(given.folders, given.depth, given.seconds, given.models)
    try:
        for line in search(given.path, bounds, _drafts(given.workspace)):
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
    except ZoowizardError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    except BrokenPipeError:  # nobody listens any more
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
