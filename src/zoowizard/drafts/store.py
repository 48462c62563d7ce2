"""The workspace: one folder a model, files as the record.

ROOT/models/<id>/draft.json   what is known (readable, replaced as a whole)
ROOT/models/<id>/draft.lock   held by whoever edits the draft; says who that is
ROOT/models/<id>/place.json   where the person was, see place.py
ROOT/models/<id>/jobs/        one folder a job
ROOT/models/<id>/packages/    what the jobs built
ROOT/.trash/                  models that were deleted, see zoowizard.deletion
"""

import contextlib
import json
import os
import re
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from zoowizard.atomic import write_json
from zoowizard.drafts.checks import did_you_mean
from zoowizard.drafts.draft import Draft, Value, told_by_event
from zoowizard.drafts.locks import MODELS_LOCK, held
from zoowizard.drafts.locks import DraftBusy as DraftBusy
from zoowizard.drafts.workspace import Workspace as Workspace
from zoowizard.drafts.workspace import open_workspace as open_workspace
from zoowizard.errors import WrongUse, ZoowizardError

VERSION: Final = 1
LONGEST_ID: Final = 48
BIGGEST_DRAFT: Final = 64_000_000


def _is_text(value: Any) -> Any:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("must be a text")
    return value


Text = Annotated[Any, AfterValidator(_is_text)]
"""pydantic's own `str` refuses file names that are no UTF-8, and so would make such a draft unreadable."""


class _StoredValue(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    value: Any
    origin: Text


class _StoredDraft(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    family: Text
    checkpoint: Text
    created: Text
    found: dict[str, _StoredValue]
    given: dict[str, _StoredValue]


def start_draft(workspace: Workspace, family: str, checkpoint: Path, suggestion: str = "") -> Draft:
    """The draft of the checkpoint at this path: the one that is there already, or a new one.

    A new one gets an id made from `suggestion`, or else from the file's name. Raises ZoowizardError where it cannot be
    saved, and where a damaged draft of that name may be the checkpoint's: its answers shall not be lost.
    """
    place = checkpoint.expanduser().absolute()
    with held(workspace.root / MODELS_LOCK):
        readable, damaged = _read_all(workspace)
        return _of_checkpoint(readable, place) or _new(
            workspace, Draft("", family, place, ""), suggestion or checkpoint.stem, damaged
        )


def named_draft(workspace: Workspace, family: str, checkpoint: Path, name: str) -> Draft:
    """The draft of the checkpoint that is called after `name`, or a new one: of one checkpoint there can be several.

    A new one begins with the answers of the oldest draft of that checkpoint, but for the name that people will find it
    by. Raises WrongUse where another model is called so, and ZoowizardError like `start_draft`.
    """
    place = checkpoint.expanduser().absolute()
    with held(workspace.root / MODELS_LOCK):
        readable, damaged = _read_all(workspace)
        there = next((one for one in readable if one.id == slug_of(name)), None)
        if there is None:
            before = _of_checkpoint(readable, place) or Draft("", family, place, "")
            given = {field: known for field, known in before.given.items() if field != "name"}
            found = {field: known for field, known in before.found.items() if field not in told_by_event(before)}
            return _new(workspace, Draft("", family, place, "", found, given), name, damaged)
    if _of_checkpoint([there], place) is None:
        raise WrongUse(
            f"{there.id} is another model, of {there.checkpoint or 'no checkpoint yet'}; choose another name"
        )
    return there


def start_claim(
    workspace: Workspace, found: Mapping[str, Value], suggestion: str, is_it: Callable[[Draft], bool]
) -> Draft:
    """The draft that `is_it` knows, the oldest of them, or a new one without a checkpoint, of which `found` is known.

    Its id is made from `suggestion`. Raises ZoowizardError like `start_draft`.
    """
    with held(workspace.root / MODELS_LOCK):
        readable, damaged = _read_all(workspace)
        there = next((draft for draft in readable if is_it(draft)), None)
        return there or _new(workspace, Draft("", "", None, "", found=found), suggestion, damaged)


def point_draft(workspace: Workspace, pointed: Draft) -> Draft:
    """The other draft that has the checkpoint of `pointed`, as it is; or else `pointed`, saved.

    Raises ZoowizardError where it cannot be saved.
    """
    assert pointed.checkpoint is not None
    with held(workspace.root / MODELS_LOCK):
        readable, _ = _read_all(workspace)
        other = _of_checkpoint([one for one in readable if one.id != pointed.id], pointed.checkpoint)
        if other is None:
            save(workspace, pointed)
        return other or pointed


def _of_checkpoint(readable: Sequence[Draft], place: Path) -> Draft | None:
    real = os.path.realpath(place)
    of_it = (draft for draft in readable if draft.checkpoint and os.path.realpath(draft.checkpoint) == real)
    return next(of_it, None)


def _new(workspace: Workspace, unnamed: Draft, suggestion: str, damaged: Mapping[str, str]) -> Draft:
    slug = slug_of(suggestion)
    for draft_id, problem in damaged.items():
        if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", draft_id):
            raise ZoowizardError(problem)
    taken = {name.casefold() for name in ids(workspace)}
    numbered = (f"{slug}-{number}" for number in count(2))
    draft_id = next(one for one in chain([slug], numbered) if one.casefold() not in taken)
    created = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    draft = replace(unnamed, id=draft_id, created=created)
    save(workspace, draft)
    return draft


def remove_unstarted(workspace: Workspace, draft: Draft) -> None:
    """Remove a draft that became part of another one, or came to nothing. It stays where it has jobs or packages.

    Raises ZoowizardError where its folder may not be changed.
    """
    folder = workspace.folder(draft.id)
    if _holds_anything(workspace.jobs(draft.id)) or _holds_anything(workspace.packages(draft.id)):
        return
    try:
        (folder / "draft.json").unlink(missing_ok=True)
    except OSError as error:
        raise ZoowizardError(f"could not remove {folder}: {(error.strerror or str(error)).lower()}") from error
    shutil.rmtree(folder, ignore_errors=True)  # a lock that is still held may keep the empty folder there


def _holds_anything(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except FileNotFoundError:
        return False
    except OSError:
        return True


def slug_of(name: str) -> str:
    """A short name for a folder from any text: letters and digits of any script in small letters, and dashes.

    >>> slug_of("Nuclei run [best]")
    'nuclei-run-best'
    """
    small = unicodedata.normalize("NFC", name).casefold()
    slug = re.sub(r"[\W_]+", "-", small).strip("-")
    while len(slug.encode()) > LONGEST_ID:
        slug = slug[:-1]
    return slug.strip("-") or "model"


def save(workspace: Workspace, draft: Draft) -> None:
    """Replace the draft on disk as a whole. Raises ZoowizardError; the last good state is then still there.

    A workspace that is gone is not made anew: it may be on a disk that comes back, and would then hide what was saved.
    """
    folder = workspace.folder(draft.id)
    if not folder.parent.is_dir():
        raise ZoowizardError(f"the workspace {workspace.root} is gone; bring it back, or choose another")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ZoowizardError(f"could not make the folder {folder}: {(error.strerror or '').lower()}") from error
    stored = {
        "version": VERSION,
        "family": draft.family,
        "checkpoint": "" if draft.checkpoint is None else str(draft.checkpoint),
        "created": draft.created,
        "given": _to_json(draft.given),
        "found": _to_json(draft.found),
    }
    write_json(folder / "draft.json", stored)


def _to_json(values: Mapping[str, Value]) -> dict[str, Any]:
    return {name: {"value": known.value, "origin": known.origin} for name, known in sorted(values.items())}


def load(workspace: Workspace, draft_id: str) -> Draft:
    """Read a draft. Raises WrongUse where there is none, ZoowizardError naming file and field where it is damaged."""
    path = workspace.folder(draft_id) / "draft.json"
    try:
        if path.stat().st_size > BIGGEST_DRAFT:
            raise ZoowizardError(f"{path} is too big to be a draft; move it away")
        stored = _checked(path, json.loads(path.read_bytes().decode("utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        message = f"there is no draft `{draft_id}` in {workspace.root}; `zoowizard board` lists them"
        raise WrongUse(message) from None
    except OSError as error:
        raise ZoowizardError(f"{path} cannot be read ({(error.strerror or str(error)).lower()})") from error
    except json.JSONDecodeError as error:
        message = f"{path} is no JSON (line {error.lineno}: {error.msg.lower()}); mend it or move it away"
        raise ZoowizardError(message) from error
    except (ValueError, RecursionError) as error:
        raise ZoowizardError(f"{path} is no draft (not readable as UTF-8 JSON); mend it or move it away") from error
    return Draft(
        draft_id,
        stored.family,
        Path(stored.checkpoint) if stored.checkpoint else None,
        stored.created,
        found={name: Value(known.value, known.origin) for name, known in stored.found.items()},
        given={name: Value(known.value, known.origin) for name, known in stored.given.items()},
    )


def _checked(path: Path, data: Any) -> _StoredDraft:
    try:
        return _StoredDraft.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        reason = first["msg"].removeprefix("Value error, ")
        message = f"{path}: {field}: {reason[:1].lower()}{reason[1:]}; mend it or move it away"
        raise ZoowizardError(message) from error


def ids(workspace: Workspace) -> set[str]:
    """The ids of all models, also of those whose drafts cannot be read."""
    return {folder.name for folder in _folders(workspace) if _is_in_use(folder)}


def ids_called(workspace: Workspace, named: str) -> list[str]:
    """The ids of the models that are called so: by their id, or by the name that the board shows."""
    if named in ids(workspace):
        return [named]
    return [draft.id for draft in drafts(workspace)[0] if draft.get("name") == named and named]


def id_of(workspace: Workspace, named: str) -> str:
    """The id of the one model that is called so, see `ids_called`. Raises WrongUse."""
    called = ids_called(workspace, named)
    if len(called) == 1:
        return called[0]
    if called:
        raise WrongUse(f"{len(called)} models are called {named!r}; give one of {', '.join(called)}")
    near = did_you_mean(named, ids(workspace))
    more = f"did you mean {near}?" if near else "`zoowizard board` lists them"
    raise WrongUse(f"there is no model {named!r} in {workspace.root}; {more}")


def drafts(workspace: Workspace) -> tuple[list[Draft], list[str]]:
    """All drafts, the oldest first, and a sentence for each folder whose draft cannot be read."""
    found, damaged = _read_all(workspace)
    return found, list(damaged.values())


def _read_all(workspace: Workspace) -> tuple[list[Draft], dict[str, str]]:
    """All drafts, the oldest first, and by the name of the folder what is wrong with those that cannot be read."""
    found: list[Draft] = []
    damaged: dict[str, str] = {}
    for folder in _folders(workspace):
        try:
            found.append(load(workspace, folder.name))
        except WrongUse:
            continue  # a start that was ended before the first save
        except ZoowizardError as error:
            damaged[folder.name] = str(error)
    return sorted(found, key=lambda draft: (draft.created, draft.id)), damaged


def _folders(workspace: Workspace) -> list[Path]:
    try:
        return sorted(entry for entry in (workspace.root / "models").iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []


def _is_in_use(folder: Path) -> bool:
    try:
        return any(not entry.name.startswith(".saving-") for entry in folder.iterdir())
    except OSError:
        return True


@contextlib.contextmanager
def editing(workspace: Workspace, draft_id: str) -> Iterator[Draft]:
    """Hold a draft while it is edited; gives the draft as it is now.

    Raises DraftBusy, naming who holds it, where another process (or another holder in this one) edits it.
    """
    folder = workspace.folder(draft_id)
    load(workspace, draft_id)
    with held(folder / "draft.lock", wait=False):
        _sweep(folder)
        yield load(workspace, draft_id)


def _sweep(folder: Path) -> None:
    """Remove what a killed process had begun to save; an hour later nobody is at it any more."""
    for left in folder.glob(".saving-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
