"""Bringing files to the server: streamed from the disk, in parts, several at once, and never twice what has arrived.

What arrived is written down part by part. Each part's ETag is the MD5 of what the server has, and must be that of the
package that was tested.
"""

import contextlib
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final
from urllib.parse import urlsplit
from xml.etree import ElementTree

import httpx

from zoowizard.errors import ZoowizardError
from zoowizard.terminal import printable
from zoowizard.upload.answers import NotThere
from zoowizard.upload.contents import Limits, Piece, cut, etag_of
from zoowizard.upload.hypha import LONGEST_URL_S, Hypha
from zoowizard.upload.state import File, Part
from zoowizard.upload.web import ANOTHER_TRY, Passing, Patience, again, open_client, told_plainly, wait_asked

URLS_FOR_S: Final = 24 * 3600
SPARE_S: Final = 60.0
"""An address that ends sooner is taken for ended: clocks differ."""
FULL: Final = ("XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "EntityTooLarge")
LOOKS_EVERY_S: Final = 0.2
WHOLE_FILES: Final = Limits(multipart_from=sys.maxsize)
ATTEMPTS: Final = 3
"""So often a file is begun anew where the server does not know its parts any more, or its addresses do not hold."""

Save = Callable[[], None]
Sent = Callable[[int], object]
"""Is told how many bytes have gone out, all together; less again where a part has to be sent another time."""


class UrlRefused(ZoowizardError):
    """The storage does not take this address any more: it has ended, most often."""


class Sender:
    """Sends the files of one draft. `save` keeps the record of them, and is called before and after each step."""

    def __init__(
        self,
        hypha: Hypha,
        artifact_id: str,
        pieces: Mapping[str, Piece],
        save: Save,
        sent: Sent,
        limits: Limits,
        patience: Patience,
    ) -> None:
        self._hypha, self._artifact_id, self._pieces = hypha, artifact_id, pieces
        self._save, self._sent, self._limits, self._patience = save, sent, limits, patience
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._out: dict[tuple[str, int], int] = {}

    def send(self, files: Sequence[File]) -> None:
        """Send what has not arrived yet. Raises ZoowizardError; what arrived by then is recorded.

        However it ends, nothing goes out any more when this returns, but for what is in the system's own buffers.
        """
        for file in files:
            for number, part in enumerate(file.parts, start=1):
                self._count(file, number, part.size if part.etag or file.done else 0)
        client = open_client(self._limits.at_once, answer_s=120.0)
        pool = ThreadPoolExecutor(self._limits.at_once, thread_name_prefix="upload")
        try:
            self._send_whole(
                [file for file in files if not file.done and not _in_parts(file, self._limits)], client, pool
            )
            for file in files:
                if not file.done and _in_parts(file, self._limits):
                    self._send_parts(file, client, pool)
        finally:
            self._stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            client.close()

    def _send_whole(self, files: Sequence[File], client: httpx.Client, pool: ThreadPoolExecutor) -> None:
        """The files that go in one piece; addresses come for all of them in one call."""
        for attempt in range(ATTEMPTS):
            left = [file for file in files if not file.done]
            old = [file for file in left if file.urls_until < time.time() + SPARE_S or 1 not in file.urls]
            if old:
                asked = {file.path: _weight(file.path) for file in old}
                urls = self._hypha.put_urls(self._artifact_id, asked, URLS_FOR_S)
                for file in old:
                    file.urls, file.urls_until = {1: urls[file.path]}, time.time() + URLS_FOR_S
                self._save()
            if self._send_all([(file, 1) for file in left], client, pool, last=attempt == ATTEMPTS - 1):
                return

    def _send_parts(self, file: File, client: httpx.Client, pool: ThreadPoolExecutor) -> None:
        """A big file. Where its addresses have ended, or the server forgot its parts, it begins anew."""
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            if not file.upload_id or file.urls_until < time.time() + SPARE_S:
                self._begin(file)
            missing = [(file, number) for number, part in enumerate(file.parts, start=1) if not part.etag]
            if self._send_all(missing, client, pool, last) and self._complete(file, last):
                return
            if self._arrived(file):  # the answer was lost, and the file is whole
                return
            file.urls_until = 0.0

    def _begin(self, file: File) -> None:
        begun = self._hypha.start_multipart(
            self._artifact_id, file.path, len(file.parts), _weight(file.path), LONGEST_URL_S
        )
        for number, part in enumerate(file.parts, start=1):
            part.etag = ""
            self._count(file, number, 0)
        file.upload_id, file.urls, file.urls_until = begun.upload_id, dict(begun.urls), time.time() + LONGEST_URL_S
        self._save()

    def _complete(self, file: File, last: bool) -> bool:
        """Put the parts together; False where the server does not know them any more."""
        if any(part.etag != part.md5 for part in file.parts):
            raise ZoowizardError(f"{file.path}: a part is missing, so it was not put together; upload it again")
        try:
            etags = {number: part.etag for number, part in enumerate(file.parts, start=1)}
            self._hypha.complete_multipart(self._artifact_id, file.upload_id, etags)
        except Passing:
            raise
        except ZoowizardError:
            if last and not self._arrived(file):
                raise
            return False
        self._finished(file)
        return True

    def _arrived(self, file: File) -> bool:
        """Whether the server has the whole file, as it tells by its ETag."""
        try:
            [found] = look(self._hypha, self._artifact_id, [file], self._pieces, self._patience)
        except NotThere:
            return False
        if found:
            return False
        self._finished(file)
        return True

    def _finished(self, file: File) -> None:
        file.done, file.urls, file.urls_until = True, {}, 0.0
        self._save()

    def _send_all(
        self, wanted: Sequence[tuple[File, int]], client: httpx.Client, pool: ThreadPoolExecutor, last: bool
    ) -> bool:
        """Send these parts, several at once; False where an address did not hold. Raises what else goes wrong."""
        running: dict[Future[str], tuple[File, int]] = {}
        waiting, refused = list(reversed(wanted)), False
        while waiting or running:
            # some are ready beforehand: saving the record may wait long for a disk that is busy with what is sent
            while waiting and len(running) < 2 * self._limits.at_once and not refused:
                file, number = waiting.pop()
                running[pool.submit(self._send_one, file, number, client)] = (file, number)
            if not running:
                break
            ended = wait(running, timeout=LOOKS_EVERY_S, return_when=FIRST_COMPLETED).done
            self._tell()
            try:
                for future in ended:
                    file, number = running.pop(future)
                    try:
                        file.parts[number - 1].etag = future.result()
                    except UrlRefused:
                        if last:
                            raise
                        refused, file.urls_until = True, 0.0
                        continue
                    if len(file.parts) == 1 and not file.upload_id:
                        file.done, file.urls = True, {}
            finally:
                if ended:
                    self._save()
        return not refused

    def _send_one(self, file: File, number: int, client: httpx.Client) -> str:
        """Send one part, with patience; gives its ETag, which is the MD5 of the part."""
        part, url = file.parts[number - 1], file.urls[number]
        start = sum(one.size for one in file.parts[: number - 1])
        piece = self._pieces[file.path]

        def put() -> str:
            self._count(file, number, 0)
            headers = {"Content-Length": str(part.size), "Content-Type": ""}
            with told_plainly(_host(url)):
                body = self._body(file, number, piece.chunks(start, part.size))
                response = client.put(url, content=body if part.size else b"", headers=headers)
            return _confirmed(response, file.path, part, url)

        return again(put, self._patience, self._sleep)

    def _body(self, file: File, number: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
        out = 0
        for chunk in chunks:
            if self._stop.is_set():
                raise ZoowizardError("the upload was stopped; what has arrived is kept")
            yield chunk
            out += len(chunk)
            self._count(file, number, out)

    def _count(self, file: File, number: int, out: int) -> None:
        with self._lock:
            self._out[file.path, number] = out

    def _tell(self) -> None:
        with self._lock:
            total = sum(self._out.values())
        self._sent(total)  # by this thread alone: who hears it need not know of others

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise ZoowizardError("the upload was stopped; what has arrived is kept")


def look(
    hypha: Hypha, artifact_id: str, files: Sequence[File], pieces: Mapping[str, Piece], patience: Patience
) -> list[str]:
    """What the server has of each file: an empty text where it is every byte of it, else a sentence.

    By the ETag where that is as S3 makes it, or else by getting the file: not every storage hashes the parts of a
    multipart upload in the same way. Raises NotThere where a file is missing.
    """
    urls = hypha.get_urls(artifact_id, [file.path for file in files]) if files else {}
    with open_client() as client:
        return [_look_at(client, file, urls[file.path], pieces[file.path], patience) for file in files]


def _look_at(client: httpx.Client, file: File, url: str, piece: Piece, patience: Patience) -> str:
    few = {"Range": "bytes=0-0"} if file.size else {}

    def ask() -> str:
        with told_plainly(_host(url)), client.stream("GET", url, headers=few) as response:
            if response.status_code in ANOTHER_TRY:
                raise Passing(f"{_host(url)} could not show {file.path}; try again later", wait_asked(response))
            if response.status_code not in (200, 206):
                return f"{file.path} could not be read there (HTTP {response.status_code})"
            etag = response.headers.get("ETag", "").strip('"').lower()
            if etag == etag_of(file):
                return ""
            if not file.upload_id and _is_md5(etag):
                return f"{file.path} is not there as it is here"
        if file.upload_id and etag == cut(file.path, piece, WHOLE_FILES).parts[0].md5:
            return ""
        return _compared(client, file, url, piece)

    return again(ask, patience)


def _compared(client: httpx.Client, file: File, url: str, piece: Piece) -> str:
    """Get the whole file, where the storage tells no MD5, and compare."""
    there, here = hashlib.sha256(), hashlib.sha256()
    with told_plainly(_host(url)), client.stream("GET", url) as response:
        if response.status_code != 200:
            raise Passing(f"{_host(url)} could not show {file.path}; try again later")
        for chunk in response.iter_raw():
            there.update(chunk)
    for chunk in piece.chunks():
        here.update(chunk)
    return "" if there.digest() == here.digest() else f"{file.path} is not there as it is here"


def _confirmed(response: httpx.Response, path: str, part: Part, url: str) -> str:
    """The ETag of a part that has arrived whole. Raises UrlRefused, Passing or ZoowizardError where it has not."""
    status, host = response.status_code, _host(url)
    if status == 200:
        etag = response.headers.get("ETag", "").strip('"').lower()
        if etag == part.md5 or not _is_md5(etag):
            return part.md5  # a storage that tells no MD5 is asked for the file afterwards
        raise Passing(f"{path} did not arrive as it was sent; the network may be bad, or the package was changed")
    code, words = _said(response)
    if status in (401, 403) or code in ("ExpiredToken", "AccessDenied", "SignatureDoesNotMatch"):
        raise UrlRefused(
            f"{host} did not let {path} in ({words or f'HTTP {status}'}); is the clock of this computer right?"
        )
    if status == 507 or code in FULL:
        raise ZoowizardError(f"{host} has no room for {path} ({words or 'it is full'}); tell the zoo's team")
    if status == 404 and code in ("NoSuchUpload", ""):
        raise UrlRefused(f"{host} does not know the upload of {path} any more; upload it again")
    if status in ANOTHER_TRY or code in ("BadDigest", "IncompleteBody", "RequestTimeout", "SlowDown"):
        raise Passing(f"{host} could not take {path} (HTTP {status}); try again later", wait_asked(response))
    raise ZoowizardError(f"{host} did not take {path} (HTTP {status}{': ' + words if words else ''})")


def _said(response: httpx.Response) -> tuple[str, str]:
    """The code and the words of a storage's error."""
    with contextlib.suppress(ElementTree.ParseError, ValueError):
        if len(response.content) < 10_000 and b"<!" not in response.content:  # no entities
            root = ElementTree.fromstring(response.content)
            told = {child.tag.rpartition("}")[2]: child.text or "" for child in root}
            return told.get("Code", ""), printable(told.get("Message", ""))[:100].rstrip(".")
    return "", ""


def _in_parts(file: File, limits: Limits) -> bool:
    return bool(file.upload_id) or len(file.parts) > 1 or file.size >= limits.multipart_from


def _weight(path: str) -> float:
    """What counts as a download of the model: its description, once for each user who gets it."""
    return 1.0 if path in ("bioimageio.yaml", "rdf.yaml") else 0.0


def _is_md5(etag: str) -> bool:
    digest, _, parts = etag.partition("-")
    return len(digest) == 32 and all(one in "0123456789abcdef" for one in digest) and (not parts or parts.isdecimal())


def _host(url: str) -> str:
    return urlsplit(url).netloc
