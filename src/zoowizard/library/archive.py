"""The package's zip: written so that the same content gives the same bytes, and unpacked without trusting it."""

import errno
import hashlib
import os
import secrets
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Final

from zoowizard.atomic import NO_ROOM, sync_folder
from zoowizard.errors import ZoowizardError
from zoowizard.families.package_contents import DESCRIPTIONS, MOST_EXPANSION, MOST_FILES, why_not_inside

Progress = Callable[[float, str], object]
"""Is told how much is done, from 0 to 1, and the name of the file at hand."""

CHUNK_BYTES: Final = 1 << 20
TIMESTAMP: Final = (1980, 1, 1, 0, 0, 0)

DAMAGE: Final = (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, struct.error, zlib.error)
"""What zipfile raises for bytes that are no zip, or were one."""


def write_archive(files: Mapping[str, Path], destination: Path, on_progress: Progress | None = None) -> None:
    """Write `files` (name in the package → file on disk) as the zip `destination`, streamed, without compression.

    Zip64 where it must be. The order, the timestamps and the modes are fixed: the same content gives the same bytes.
    Written beside `destination` and renamed when complete. Raises ZoowizardError for a name that is not plain, a
    file that cannot be read, a destination that cannot be written, a full disk; then no part of it is left.
    """
    _check_names(files)
    beside = destination.parent / f".packing-{secrets.token_hex(8)}"
    try:
        total = sum(_size(path) for path in files.values())
        with beside.open("xb") as file:
            _write(file, files, total, on_progress)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(destination)
    except OSError as problem:
        if problem.errno in NO_ROOM:
            message = f"the disk is full: could not write {destination}; free some space and try again"
        else:
            message = f"could not write {destination}: {os.strerror(problem.errno or 0).lower()}"
        raise ZoowizardError(message) from problem
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(destination.parent)


def sha256(path: Path) -> str:
    """The SHA-256 of a file as 64 lowercase hexadecimal digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(package: Path, folder: Path) -> list[Path]:
    """Unpack a package into `folder` (made here, or empty) and give the files' paths, sorted.

    Raises ZoowizardError, with one sentence and nothing left in `folder`, for what is no zip or a damaged one, and
    for one that could do harm: names that climb out of the folder, links, the same name twice, encrypted entries,
    more content than a package can hold or the disk has room for.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ZoowizardError(f"{folder} is not empty: unpack {package.name} into a new folder")
    try:
        with zipfile.ZipFile(package) as archive:
            entries = _safe_entries(archive, package, folder)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                return sorted(_extract(archive, entry, folder) for entry in entries)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    except DAMAGE as problem:
        raise _damaged(package) from problem
    except OSError as problem:
        if problem.errno in (None, errno.EINVAL):  # a false offset, before the beginning of the file
            raise _damaged(package) from problem
        if problem.errno in NO_ROOM:
            raise ZoowizardError(f"the disk is full: could not unpack {package} into {folder}") from problem
        raise ZoowizardError(f"could not unpack {package}: {os.strerror(problem.errno).lower()}") from problem


def _damaged(package: Path) -> ZoowizardError:
    return ZoowizardError(f"{package} is no package that can be opened: it is not a zip, or a damaged one")


def _check_names(files: Iterable[str]) -> None:
    names = sorted(files)
    for name in names:
        if reason := why_not_inside(name):
            raise ZoowizardError(f"`{name}` cannot be a file's name in a package: {reason}")
    if clash := _clash(names):
        raise ZoowizardError(f"`{clash}` would be in the package twice: names must differ in more than case")


def _clash(names: Iterable[str]) -> str | None:
    """The first name that some file system could not tell from another, or that is both a file and a folder."""
    seen: set[str] = set()
    folders: set[str] = set()
    for name in names:
        folded = unicodedata.normalize("NFC", name).casefold()
        parents = {str(parent) for parent in PurePosixPath(folded).parents} - {"."}
        if folded in seen or folded in folders or parents & seen:
            return name
        seen.add(folded)
        folders |= parents
    return None


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except OSError as problem:
        raise ZoowizardError(f"could not read {path}: {os.strerror(problem.errno or 0).lower()}") from problem
    if not stat.S_ISREG(status.st_mode):
        raise ZoowizardError(f"{path} is no file, so it cannot be packed")
    return status.st_size


def _write(file: IO[bytes], files: Mapping[str, Path], total: int, on_progress: Progress | None) -> None:
    done = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        # the description first, so that a reader finds it without the weights
        for name in sorted(files, key=lambda name: (name not in DESCRIPTIONS, name)):
            size = _size(files[name])
            entry = zipfile.ZipInfo(name, TIMESTAMP)
            entry.create_system, entry.external_attr, entry.file_size = 3, (stat.S_IFREG | 0o644) << 16, size
            with _open(files[name]) as source, archive.open(entry, "w") as target:
                packed = 0
                while chunk := source.read(min(CHUNK_BYTES, size - packed)):
                    target.write(chunk)
                    packed += len(chunk)
                    if on_progress is not None:
                        on_progress((done + packed) / total, name)
                if packed != size or source.read(1):
                    raise ZoowizardError(
                        f"{files[name]} changed while it was being packed: wait for whatever writes it"
                    )
            done += size


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as problem:
        raise ZoowizardError(f"could not read {path}: {os.strerror(problem.errno or 0).lower()}") from problem


def _safe_entries(archive: zipfile.ZipFile, package: Path, folder: Path) -> list[zipfile.ZipInfo]:
    """The files in the archive, once nothing in its table of contents speaks against unpacking it."""

    def refuse(reason: str) -> ZoowizardError:
        return ZoowizardError(f"{package} was not unpacked: {reason}")

    entries = archive.infolist()
    if len(entries) > MOST_FILES:
        raise refuse(f"it holds {len(entries)} files, and no package needs more than {MOST_FILES}")
    for entry in entries:
        if reason := why_not_inside(entry.filename.removesuffix("/")):
            raise refuse(f"it holds a file named {entry.filename!r}, and {reason}")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse(f"`{entry.filename}` is a link or a device, and a package holds plain files only")
        if entry.flag_bits & 0x1:
            raise refuse(f"`{entry.filename}` is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refuse(f"`{entry.filename}` is compressed in a way that zip programs need not know")
    files = [entry for entry in entries if not entry.is_dir()]
    if clash := _clash(entry.filename for entry in files):
        raise refuse(f"it holds `{clash}` twice")
    size = package.stat().st_size
    content = sum(entry.file_size for entry in files)
    if sum(entry.compress_size for entry in files) > size or content > MOST_EXPANSION * size:
        raise refuse(f"it claims to hold {_readable(content)} in a file of {_readable(size)}, as zip bombs do")
    free = shutil.disk_usage(_existing(folder)).free
    if content > free:
        raise refuse(f"it holds {_readable(content)} and only {_readable(free)} are free at {folder}")
    return files


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> Path:
    path = folder / entry.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    # Reading ends at the declared size and checks the sum there, so a false size cannot fill the disk.
    with archive.open(entry) as source, path.open("xb") as target:
        shutil.copyfileobj(source, target, CHUNK_BYTES)
    return path


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())


def _readable(size_bytes: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} bytes"
