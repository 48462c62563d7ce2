"""Reading a zarr's files and chunks so that neither takes much more memory than its metadata declare.

A chunk of some hundred bytes may unpack to gigabytes, and a chunk's file may be huge, a pipe or a device. Sources: the
headers of blosc (bytes 4 to 7 are the unpacked size), of zstd (RFC 8878, 3.1.1) and of numcodecs' lz4.
"""

import gzip
import io
import math
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.codecs._v2 import V2Codec
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline
from zarr.storage import LocalStore

from zoowizard.errors import ZoowizardError

LARGEST_CHUNK: Final = 1 << 30
"""Bytes that a chunk may declare."""
SLACK: Final = 1 << 20
"""Bytes: what is packed may be larger than what is in it, by headers and checksums."""
PACKERS: Final = frozenset(("blosc", "gzip", "zlib", "zstd", "lz4"))
PIECE: Final = 1 << 20
ZSTD_BLOCK: Final = 1 << 17
"""No block of zstd unpacks to more bytes."""


class PlainFiles(LocalStore):
    """A folder of which plain files are read, `largest` bytes at once at most."""

    largest = SLACK

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """The content of a file, None where there is none. Raises ZoowizardError where it is too large, or no file."""
        path = self.root / key
        try:
            status = path.stat()
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise ZoowizardError(f"{path} is no plain file, and a zarr holds plain files only")
        wanted = status.st_size
        match byte_range:
            case RangeByteRequest():
                wanted = min(wanted, byte_range.end - byte_range.start)
            case OffsetByteRequest():
                wanted -= byte_range.offset
            case SuffixByteRequest():
                wanted = min(wanted, byte_range.suffix)
        if wanted > self.largest:
            raise ZoowizardError(f"{path} is larger than the metadata of its zarr say; save it anew")
        return await super().get(key, prototype, byte_range)


class BoundedPipeline(BatchedCodecPipeline):
    """Unpacks chunks as zarr does, once each is known to unpack to about what is declared."""

    async def decode_batch(self, chunk_bytes_and_specs: Iterable[tuple[Any, Any]]) -> Iterable[Any]:
        """The chunks' arrays. Raises ZoowizardError for a chunk that would unpack to far more than it declares."""
        chunks = list(chunk_bytes_and_specs)
        names = _names(self)
        for packed, spec in chunks:
            if packed is not None:
                declared = math.prod(spec.shape) * spec.dtype.to_native_dtype().itemsize
                _require_bounded(names, packed, most_for(declared))
        return await super().decode_batch(chunks)


register_pipeline(BoundedPipeline)
zarr.config.set(
    {
        "codec_pipeline.path": f"{__name__}.{BoundedPipeline.__qualname__}",
        # chunks that are under way at once, each by a thread that keeps some memory for itself
        "async.concurrency": 2,
        "threading.max_workers": 2,
    }
)


def most_for(declared: int) -> int:
    """How many bytes may stand, packed or not, for so many declared ones."""
    return 2 * min(declared, LARGEST_CHUNK) + SLACK


def _names(pipeline: BatchedCodecPipeline) -> list[str]:
    """The codecs that unpack bytes into bytes, the first to unpack first."""
    if isinstance(pipeline.array_bytes_codec, V2Codec):
        last = pipeline.array_bytes_codec.compressor
        every = [*(pipeline.array_bytes_codec.filters or ()), *([last] if last else [])]
        return [str(one.codec_id) for one in reversed(every)]
    told = [one.to_dict() for one in reversed(pipeline.bytes_bytes_codecs)]
    return [str(one["name"]).removeprefix("numcodecs.") for one in told]


def _require_bounded(names: Sequence[str], packed: Any, most: int) -> None:
    content = memoryview(packed.as_numpy_array()).cast("B")
    if sum(name in PACKERS for name in names) > 1:
        raise ZoowizardError("its chunks are packed several times over, which is not to be trusted; save it anew")
    for name in names:
        if name == "crc32c":
            content = content[:-4]
        if name in PACKERS and _unpacks_beyond(name, content, most):
            raise ZoowizardError("a chunk unpacks to far more than its zarr says; it is not to be trusted")


def _unpacks_beyond(name: str, content: memoryview, most: int) -> bool:
    match name:
        case "blosc":
            return int.from_bytes(content[4:8], "little") > most
        case "lz4":
            return int.from_bytes(content[:4], "little") > most
        case "zstd":
            return _zstd_bytes(content) > most
    total = 0
    try:
        for piece in _gzip(content) if name == "gzip" else _zlib(content):
            total += len(piece)
            if total > most:
                return True
    except (OSError, EOFError, zlib.error):  # damaged: zarr says so
        return False
    return False


def _gzip(content: memoryview) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        while piece := file.read(PIECE):
            yield piece


def _zlib(content: memoryview) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    left: bytes | memoryview = content
    while left and not unpacker.eof:
        yield unpacker.decompress(left, PIECE)
        left = unpacker.unconsumed_tail


def _zstd_bytes(content: memoryview) -> int:
    """At most so many bytes are in it: what its frames declare, or what all their blocks can hold."""
    total, at = 0, 0
    while at + 5 <= len(content):
        magic = int.from_bytes(content[at : at + 4], "little")
        if magic >> 4 == 0x184D2A5:  # a frame to be skipped
            at += 8 + int.from_bytes(content[at + 4 : at + 8], "little")
            continue
        described = content[at + 4]
        single = described >> 5 & 1
        size_bytes = (single, 2, 4, 8)[described >> 6]
        at += 5 + (1 - single) + (0, 1, 2, 4)[described & 3]
        if size_bytes:
            total += int.from_bytes(content[at : at + size_bytes], "little") + (256 if size_bytes == 2 else 0)
        at += size_bytes
        last = False
        while not last and at + 3 <= len(content):
            head = int.from_bytes(content[at : at + 3], "little")
            last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
            at += 3 + (1 if kind == 1 else size)
            if not size_bytes:
                total += ZSTD_BLOCK if kind == 2 else size
        at += 4 * (described >> 2 & 1)
    return total
