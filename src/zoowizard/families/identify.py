"""What is this file or folder? Answered without running any of it."""

import os
import re
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.locks import MODELS_LOCK
from zoowizard.errors import UnsafeCheckpoint, WrongUse, ZoowizardError
from zoowizard.families.epochs import name_and_epoch, order
from zoowizard.families.family import Recognition, files_of
from zoowizard.families.kin import kin
from zoowizard.families.pickles import (
    TORCH_ENDINGS,
    NotFromTorchSave,
    look,
    opened,
    printable,
    starts_like_a_checkpoint,
)
from zoowizard.families.registry import FAMILIES, family
from zoowizard.families.trainings import grouped

ENDINGS: Final = (*TORCH_ENDINGS, *(ending for one in FAMILIES for ending in files_of(one).endings))
"""What is called so is a model, or should be."""
SHARED_ENDINGS: Final = tuple(ending for one in FAMILIES for ending in files_of(one).shared)
"""What is called so may be a model."""
WORTH_PROCESSES: Final = 8
"""From so many folders on, other processes are worth their start."""
BLOCKING: Final = frozenset({"no-weights", "not-segmentation", "not-convertible"})
"""The codes of the warnings that stand in the way of a package."""
SMALLEST_BARE: Final = 100_000
"""Bytes. The smallest models without an ending have 26 MB; what is smaller than this is not looked into."""
MOST_BARE: Final = 500
"""So many files without an ending are looked into in one folder."""
_BARE: Final = re.compile(r"[^.]+(?:\.\d\w*)*")
_PASSED_OVER: Final = frozenset({"node_modules", "__pycache__", "site-packages", "venv", "lost+found"})


def identify(path: Path) -> list[Recognition]:
    """Look at a file, a run folder, or a tree with many of each, in the order of their names.

    A run folder is one Recognition, whatever checkpoints it holds. In a tree, files of no known family are listed only
    where they are torch checkpoints, and folders that cannot be read are listed as refused. Directories are not entered
    through symbolic links. Raises WrongUse where there is nothing at `path`.
    """
    try:
        os.lstat(path)
        is_folder = path.is_dir()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        known = next((told for family in FAMILIES if (told := family.built_in(path)) is not None), "")
        raise WrongUse(f"{printable(str(path))} does not exist. {known}".rstrip()) from None
    except OSError as problem:
        return [Recognition(path, None, refused=f"{printable(str(path))} cannot be reached: {problem.strerror}.")]
    if not is_folder:
        return [_file(path)]
    found = _tree(path)
    if not found:
        sentence = f"{printable(str(path))} holds no checkpoint and no run folder of a family that zoowizard knows."
        return [Recognition(path, None, refused=sentence)]
    return found


def _file(path: Path) -> Recognition:
    """A file that was asked for by name: always an answer, a refusal if need be."""
    named_so = is_called(path.name, ENDINGS)
    try:
        with opened(path):
            pass
        if (found := _of_shared_ending(path)) is not None:
            return found
        if named_so or starts_like_a_checkpoint(path):
            return _known(path) or _unknown(path)
    except UnsafeCheckpoint as problem:
        return _refused(path, problem)
    except ZoowizardError as problem:
        # Many kinds of files are zips: only one that is called a checkpoint has to be one.
        if (
            named_so
            or _BARE.fullmatch(path.name)
            or isinstance(problem, WrongUse)
            or not starts_like_a_checkpoint(path)
        ):
            return _refused(path, problem)
    return Recognition(path, None, evidence=(f"no family that zoowizard knows has files like {printable(path.name)}",))


def _known(path: Path) -> Recognition | None:
    """What the first family that knows it says. Raises what it raises, NotFromTorchSave only where none knows it."""
    foreign = None
    # Those first whose ending it has: to others it may look like a file of theirs, and a damaged one.
    for one in sorted(FAMILIES, key=lambda one: not is_called(path.name, files_of(one).endings)):
        try:
            if (found := one.recognise(path)) is not None:
                return found
        except NotFromTorchSave as problem:
            foreign = foreign or problem
    if foreign is not None:
        raise foreign
    return None


def _unknown(path: Path) -> Recognition:
    root = look(path).root
    keys = [str(key) for key in root][:5] if isinstance(root, dict) else []
    holds = f"a mapping with {', '.join(printable(key[:40]) for key in keys)}" if keys else "no mapping"
    known = kin(root)
    why = f"its weights are {known}" if known else "no family that zoowizard knows writes such a one"
    return Recognition(path, None, path, evidence=(f"it is a torch checkpoint that holds {holds}", why))


def _refused(path: Path, problem: ZoowizardError) -> Recognition:
    return Recognition(path, None, refused=str(problem), unsafe=isinstance(problem, UnsafeCheckpoint))


def _tree(root: Path) -> list[Recognition]:
    """Level by level, so that the folders of a level, each of which takes its time, can be looked at side by side."""
    found: list[Recognition] = []
    level = [root]
    while level:
        looked_at = _side_by_side(level)
        found += [one for recognitions, _ in looked_at for one in recognitions]
        level = [folder for _, below in looked_at for folder in below]
    return sorted(found, key=lambda one: one.path.parts)


def _side_by_side(folders: Sequence[Path]) -> list[tuple[list[Recognition], list[Path]]]:
    cores = os.cpu_count() or 1
    if cores == 1 or len(folders) < WORTH_PROCESSES or threading.active_count() > 1:  # a fork would lose the threads
        return [look_in(folder) for folder in folders]
    from concurrent.futures import ProcessPoolExecutor

    # what is forked shares what is loaded; an interrupt is for the process that waits
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(min(cores, 8), get_context("fork"), initializer=signal.signal, initargs=ignore) as pool:
        return list(pool.map(look_in, folders))


def look_in(folder: Path) -> tuple[list[Recognition], list[Path]]:
    """What is in one folder, and the folders in it that are still to be looked at (symbolic links are not)."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as problem:
        sentence = f"{printable(str(folder))} cannot be read: {problem.strerror}."
        return [Recognition(folder, None, refused=sentence)], []
    if any(entry.name == MODELS_LOCK for entry in listed):
        return [], []  # a workspace: what lies in it was made of the models, not by their training
    if _is_unpacked(listed):
        return [Recognition(folder, None, refused=_unpacked(folder))], []
    below = [entry.name for entry in listed if _is_folder(entry) and not _is_passed_over(entry.name)]
    run = _known_or_refused(folder)
    if run is not None:
        # Other runs may lie in a run's folder, but the checkpoints in it and in its `weights` are its own.
        return [run], [folder / name for name in below if name != "weights"]
    named = [Path(entry.path) for entry in listed if is_called(entry.name, ENDINGS) and _is_file(entry)]
    bare = [Path(entry.path) for entry in listed if _may_be_bare(entry)]
    shared = [Path(entry.path) for entry in listed if _may_be_shared(entry)]
    found = [*_files(named), *_bare_files(bare), *_shared_files(shared)]
    return sorted(found, key=lambda one: one.path.parts), [folder / name for name in below]


def _known_or_refused(path: Path) -> Recognition | None:
    try:
        return _known(path)
    except ZoowizardError as problem:
        return _refused(path, problem)


def _of_shared_ending(path: Path) -> Recognition | None:
    """What a family says whose files have this ending, which others use as well; None where it has none such."""
    for one in FAMILIES:
        if not is_called(path.name, files_of(one).shared):
            continue
        try:
            if (found := one.recognise(path)) is not None:
                return found
        except ZoowizardError as problem:
            return _refused(path, problem)
    return None


def _shared_files(paths: Sequence[Path]) -> Iterator[Recognition]:
    """Anything may be a zip: what cannot be read is told only where it could do harm, or has a family's name."""
    for path in paths:
        found = _of_shared_ending(path)
        if found is not None and (not found.refused or found.unsafe or _is_named_like_a_model(path)):
            yield found


def _is_named_like_a_model(path: Path) -> bool:
    return any(one.named_like(path.name) for one in FAMILIES)


def _files(paths: Sequence[Path]) -> Iterator[Recognition]:
    """Of the checkpoints of one training only the one to be packaged, where any family may have written them."""
    for together in grouped(paths):
        for path in together:
            found = _known_or_refused(path)
            if found is not None:
                yield found
            elif starts_like_a_checkpoint(path):
                yield _unknown(path)
            if found is not None and found.family is not None and files_of(family(found.family)).one_a_training:
                break


def _bare_files(paths: Sequence[Path]) -> Iterator[Recognition]:
    """Files without an ending: the last one of each training, where it is a checkpoint.

    Anything may be called so, and many things are zips or pickles: what cannot be read is told only where it is called
    as a family calls its models.
    """
    last: dict[str, Path] = {}
    for path in sorted(paths, key=lambda one: order(one.name)):
        last[name_and_epoch(path.name)[0]] = path
    for path in [path for path in sorted(last.values()) if starts_like_a_checkpoint(path)][:MOST_BARE]:
        found = _known_or_refused(path)
        if found is not None and (not found.refused or _is_named_like_a_model(path)):
            yield found
        elif found is None:
            yield _unknown(path)


def _is_unpacked(listed: Sequence["os.DirEntry[str]"]) -> bool:
    """Whether these are the records of torch's zip; `constants.pkl` is among those of an exported program."""
    names = {entry.name for entry in listed}
    return {"data.pkl", "data", "version"} <= names and "constants.pkl" not in names


def _unpacked(folder: Path) -> str:
    name, packed = (shlex.quote(printable(one)) for one in (folder.name, f"{folder.name}.pt"))
    return (
        f"{printable(str(folder))} is a checkpoint that was unpacked like a zip (Safari does so while downloading): "
        f"torch cannot load it. Pack it again, in the folder above: zip -0 -r {packed} {name}"
    )


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def is_called(name: str, endings: tuple[str, ...]) -> bool:
    """Whether a file is called with one of these endings, which are in small letters."""
    small = name.lower()
    return small.endswith(endings) and small not in endings


def may_be_model(entry: "os.DirEntry[str]") -> bool:
    """Whether a file whose name does not tell is worth a look: one of the size of models without an ending, or one with
    an ending that others use as well."""
    return _may_be_bare(entry) or _may_be_shared(entry)


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _may_be_shared(entry: "os.DirEntry[str]") -> bool:
    is_so_called = is_called(entry.name, SHARED_ENDINGS) and not is_called(entry.name, ENDINGS)
    return is_so_called and _is_file(entry) and starts_like_a_checkpoint(Path(entry.path))


def _may_be_bare(entry: "os.DirEntry[str]") -> bool:
    if _BARE.fullmatch(entry.name) is None:
        return False
    try:
        return entry.is_file() and entry.stat().st_size >= SMALLEST_BARE
    except OSError:
        return False


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name in _PASSED_OVER


def obstacle(recognition: Recognition) -> str | None:
    """Why this one cannot become a package, and what would help, in one sentence; None where nothing is in the way."""
    if recognition.refused:
        return recognition.refused
    if recognition.family is None:
        familiar = "; ".join(recognition.evidence) or "nothing in it is familiar"
        return f"It is of no kind that zoowizard can package yet ({familiar})."
    blocking = [one.message for one in recognition.warnings if one.code in BLOCKING]
    if blocking or recognition.checkpoint is not None:
        return " ".join(blocking) or None
    return "There are no weights: add the file that training wrote."


def to_json(recognition: Recognition, missing: Sequence[str]) -> dict[str, Any]:
    """The object that programs read; `missing` are the names of the required answers that are not there yet."""
    return {name: _writable(value) for name, value in as_told(recognition, missing).items()}


def as_told(recognition: Recognition, missing: Sequence[str]) -> dict[str, Any]:
    """The same object with names of files as they are, even where UTF-8 cannot hold them."""
    return {
        "family": recognition.family,
        "path": str(recognition.path),
        "checkpoint": None if recognition.checkpoint is None else str(recognition.checkpoint),
        "evidence": list(recognition.evidence),
        "fields": {name: {"value": one.value, "origin": one.origin} for name, one in recognition.values.items()},
        "missing": list(missing),
        "warnings": [{"code": one.code, "message": one.message} for one in recognition.warnings],
        "refused": recognition.refused,
    }


def from_json(data: Any) -> Recognition:
    """The recognition out of `to_json`'s object, which another process wrote; whether it is `unsafe` may stand there.

    Raises ZoowizardError, naming the field, where it is no such object.
    """
    from pydantic import ValidationError

    from zoowizard.families.recorded import Recorded

    try:
        recorded = Recorded.model_validate(data)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ZoowizardError(f"what was found cannot be read: {where}: {first['msg'].lower()}") from None
    return recorded.recognition()


def _writable(value: Any) -> Any:
    """The value with text that UTF-8 cannot hold (a file's name in another coding) spelt out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [_writable(one) for one in value]
    if isinstance(value, dict):
        return {_writable(name): _writable(one) for name, one in value.items()}
    return value
