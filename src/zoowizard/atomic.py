"""Saving a file so that a crash, a `kill -9` or a full disk leaves the old one or the new one, never half of either."""

import contextlib
import errno
import json
import math
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from zoowizard.errors import ZoowizardError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text` (UTF-8): written beside it, synced to the disk, then renamed over it.

    The folder must be there; the file's mode follows the umask. Raises ZoowizardError, naming `path`, where it cannot
    be saved (disk or quota full, no permission, no such folder); the old file is then untouched.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes, mode: int | None = None) -> None:
    """Replace the file `path` by `content`; like `write_text`. The file gets the permissions `mode`, if given."""
    beside = path.parent / f".saving-{secrets.token_hex(8)}"
    try:
        try:
            with beside.open("xb") as file:
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as problem:
        if problem.errno in NO_ROOM:
            message = f"the disk is full: could not save {path}; nothing was lost, free some space and try again"
        else:
            message = f"could not save {path}: {os.strerror(problem.errno or 0).lower()}"
        raise ZoowizardError(message) from problem
    sync_folder(path.parent)


def write_json(path: Path, data: Any) -> None:
    """Replace the file `path` by `data` as indented JSON; like `write_text`. Raises TypeError for what is no JSON."""
    text = json.dumps(data, ensure_ascii=False, indent=2)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # a file name that is no UTF-8; escaped, it reads back as the same name
            text = json.dumps(data, indent=2)
    write_text(path, text + "\n")


def free_bytes(folder: Path) -> float:
    """How much room the disk of `folder` has, in bytes; infinite where it does not tell, as some network disks.

    Raises ZoowizardError where nothing can be saved there, as in a folder of the system such as /proc.
    """
    try:
        disk = shutil.disk_usage(folder)
        if disk.total:
            return disk.free
        beside = folder / f".saving-{secrets.token_hex(8)}"
        beside.mkdir()  # it tells of no room at all: only trying tells whether it takes anything
        beside.rmdir()
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise ZoowizardError(f"{folder}: nothing can be saved there ({reason}); choose another folder") from problem
    return math.inf


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk, where its file system can (some network file systems cannot)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
