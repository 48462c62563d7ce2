"""What a package holds, as runs of bytes on the disk that can be sent from there: nothing is unpacked that need not be.

Packages store their files as they are; those of others may have them deflated, and these are unpacked beside.
"""

import hashlib
import math
import shutil
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from zoowizard.atomic import NO_ROOM
from zoowizard.errors import ZoowizardError
from zoowizard.upload.state import File, Part

CHUNK_BYTES: Final = 1 << 18
DESCRIPTION: Final = "bioimageio.yaml"
"""As the zoo's website names it."""
DESCRIPTIONS: Final = (DESCRIPTION, "rdf.yaml")
LARGEST_DESCRIPTION: Final = 4_000_000
MOST_FILES: Final = 10_000
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
"""Signature, length of the name, length of the extra field: PKWARE's APPNOTE, 4.3.7."""
_DAMAGE: Final = (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, struct.error, zlib.error)


@dataclass(frozen=True)
class Limits:
    """How files are cut, in bytes: from `multipart_from` on they go in parts of `part_bytes`, `at_once` at a time.

    S3 takes parts of 5 MiB or more, but for the last one, and 10,000 of them at most.
    """

    multipart_from: int = 64 << 20
    part_bytes: int = 16 << 20
    at_once: int = 4
    most_parts: int = 10_000


@dataclass(frozen=True)
class Piece:
    """A run of `size` bytes from `offset` on in a file on the disk."""

    file: Path
    offset: int
    size: int

    def chunks(self, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` on in small pieces. Raises ZoowizardError where the file is shorter by now."""
        left = self.size - start if size is None else size
        with self.file.open("rb") as file:
            file.seek(self.offset + start)
            while left:
                chunk = file.read(min(CHUNK_BYTES, left))
                if not chunk:
                    raise ZoowizardError(f"{self.file} was changed while it was being uploaded; build it again")
                left -= len(chunk)
                yield chunk

    def read(self) -> bytes:
        """All of it, for small ones."""
        return b"".join(self.chunks())


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file. Raises ZoowizardError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise ZoowizardError(f"{path} cannot be read ({(problem.strerror or '').lower()}); build it again") from problem


def members(package: Path, scratch: Path) -> dict[str, Piece]:
    """The files of a package by their paths in it. Deflated ones are unpacked into `scratch`.

    Raises ZoowizardError for what is no package, a damaged one, and one whose names are not plain.
    """
    found: dict[str, Piece] = {}
    try:
        with zipfile.ZipFile(package) as archive, package.open("rb") as raw:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MOST_FILES:
                raise ZoowizardError(f"{package} holds {len(entries)} files; the zoo takes {MOST_FILES} at most")
            for number, entry in enumerate(entries):
                _require_plain(entry, package, found)
                if entry.compress_type == zipfile.ZIP_STORED:
                    found[entry.filename] = _stored(entry, package, raw)
                else:
                    found[entry.filename] = _unpacked(archive, entry, scratch / str(number))
    except _DAMAGE as problem:
        raise ZoowizardError(f"{package} is not a package, or a damaged one; build it again") from problem
    except OSError as problem:
        if problem.errno in NO_ROOM:
            raise ZoowizardError(f"the disk is full: could not unpack {package} into {scratch}") from problem
        raise ZoowizardError(f"{package} cannot be read ({(problem.strerror or '').lower()})") from problem
    return found


def _stored(entry: zipfile.ZipInfo, package: Path, raw: Any) -> Piece:
    raw.seek(entry.header_offset)
    signature, name, extra = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04" or entry.compress_size != entry.file_size:
        raise zipfile.BadZipFile
    return Piece(package, entry.header_offset + _LOCAL_HEADER.size + name + extra, entry.file_size)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> Piece:
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, CHUNK_BYTES)
    return Piece(path, 0, entry.file_size)


def _require_plain(entry: zipfile.ZipInfo, package: Path, before: Mapping[str, Piece]) -> None:
    name = entry.filename
    strange = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name) or "\\" in name or ":" in name
    if strange or any(part in ("", ".", "..") for part in name.split("/")) or name in before:
        raise ZoowizardError(f"{package} holds a file named {name!r}, which cannot be uploaded; build it again")
    if entry.flag_bits & 0x1:
        raise ZoowizardError(f"{package}: {name} is encrypted, so nobody could use it; build it again")


def described(pieces: Mapping[str, Piece], package: Path) -> tuple[str, str, dict[str, Any]]:
    """The name of the description in the package, its text, and what that says.

    Raises ZoowizardError where there is none, or it is no YAML.
    """
    import yaml

    from zoowizard import plain_yaml

    name = next((one for one in DESCRIPTIONS if one in pieces), None)
    if name is None:
        raise ZoowizardError(f"{package} is no package of the zoo: there is no {DESCRIPTION} in it")
    if pieces[name].size > LARGEST_DESCRIPTION:
        raise ZoowizardError(f"{package}: {name} is too big to be a description")
    try:
        text = pieces[name].read().decode("utf-8")
        told = plain_yaml.load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or any(not isinstance(key, str) for key in told):
        raise ZoowizardError(f"{package}: {name} is no YAML that describes a model; build it again")
    return name, text, told


def with_id(text: str, told: Mapping[str, Any], model_id: str, emoji: str) -> str:
    """The description with the id that the zoo gave (and without a status); all else as it was written."""
    import yaml

    wanted = {key: value for key, value in told.items() if key not in ("id", "id_emoji", "status")}
    wanted |= {"id": model_id, **({"id_emoji": emoji} if emoji else {})}
    ours = yaml.safe_dump({key: wanted[key] for key in ("id", "id_emoji") if key in wanted}, allow_unicode=True)
    lines = [line for line in text.splitlines() if not line.startswith(("id:", "id_emoji:", "status:"))]
    written = "\n".join(lines).rstrip("\n") + "\n" + ours
    try:
        if yaml.safe_load(written) == wanted:
            return written
    except (yaml.YAMLError, ValueError):
        pass
    return yaml.safe_dump(wanted, allow_unicode=True, sort_keys=False, width=120)


def as_json(value: Any) -> Any:
    """What a YAML file says, as JSON: dates as ISO 8601; a number that is not finite, which JSON has not, as null."""
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [as_json(one) for one in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def cut(path: str, piece: Piece, limits: Limits) -> File:
    """A file with the parts in which it is sent, and the MD5 of each."""
    size = piece.size
    if size < limits.multipart_from:
        spans = [(0, size)]
    else:
        step = max(limits.part_bytes, -(-size // limits.most_parts))
        spans = [(start, min(step, size - start)) for start in range(0, size, step)]
    parts = [Part(size=length, md5=_md5(piece, start, length)) for start, length in spans]
    return File(path=path, size=size, parts=parts)


def _md5(piece: Piece, start: int, size: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # what servers tell as ETag
    for chunk in piece.chunks(start, size):
        digest.update(chunk)
    return digest.hexdigest()


def etag_of(file: File) -> str:
    """The ETag that the server must tell of the whole file: MD5, or of a multipart upload the MD5 of its parts' MD5."""
    if not file.upload_id:
        return file.parts[0].md5
    joined = b"".join(bytes.fromhex(part.md5) for part in file.parts)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(file.parts)}"
