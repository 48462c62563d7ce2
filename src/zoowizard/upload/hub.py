"""Talking to Hugging Face through its own client, huggingface_hub; each failure in one sentence.

Files go by the hub's LFS protocol over HTTP, which takes them as they lie inside the package; its other one, xet, takes
only files of their own on the disk. A hub takes LFS for every repository, whatever it keeps the files in
(https://huggingface.co/docs/hub/xet/legacy-git-lfs).
"""

import contextlib
import io
import logging
import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar, cast
from urllib.parse import urlsplit

from zoowizard import __version__
from zoowizard.errors import ZoowizardError
from zoowizard.terminal import printable
from zoowizard.upload.contents import Piece
from zoowizard.upload.huggingface import HubFile, Place
from zoowizard.upload.values import mapping, text
from zoowizard.upload.web import ANOTHER_TRY, Passing, Patience, Unreachable, again

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

T = TypeVar("T")
ANSWER_WITHIN_S: Final = 120.0
CONNECT_WITHIN_S: Final = 15.0
NOT_UNDERSTOOD: Final = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
"""What huggingface_hub raises of an answer that is not as it should be."""


class LoginRefused(ZoowizardError):
    """Nobody is logged in, or the login does not hold."""


class SwitchedOff(ZoowizardError):
    """The person does not want the hub to be asked now."""


class Unsure(Passing):
    """A commit was not made, because somebody else made one; or it was, but the answer was lost."""


@dataclass(frozen=True)
class Repository:
    """What the hub says of a repository: the last commit of its main branch, and who can see it."""

    commit: str
    private: bool


class Slice(io.BufferedIOBase):
    """A file of a package as huggingface_hub wants to have it; `told` hears how far it was read."""

    def __init__(self, piece: Piece) -> None:
        self._piece, self._at = piece, 0
        self.told: Callable[[int], object] | None = None

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def seekable(self) -> bool:
        """It can be read again."""
        return True

    def tell(self) -> int:
        """Where the next byte is."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go elsewhere."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._piece.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes. Raises ZoowizardError where the package is shorter by now."""
        left = max(0, self._piece.size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        content = b"".join(self._piece.chunks(self._at, wanted))
        self._at += len(content)
        if self.told is not None:
            self.told(self._at)
        return content


class Hub:
    """One repository as one person may use it. `secret` is the token, empty where huggingface_hub finds it itself."""

    def __init__(self, place: Place, secret: str, patience: Patience) -> None:
        from huggingface_hub import HfApi, set_client_factory
        from huggingface_hub.utils import logging as hub_logging
        from huggingface_hub.utils.tqdm import disable_progress_bars

        set_client_factory(lambda: _client(place, patience))
        disable_progress_bars()
        hub_logging.set_verbosity(logging.CRITICAL)  # it logs addresses that let whoever knows them write
        self._place, self._patience = place, patience
        self._api = HfApi(
            endpoint=place.base, token=secret or None, library_name="zoowizard", library_version=__version__
        )

    def who(self, patience: Patience) -> str:
        """The name of the person. Raises LoginRefused where there is no login, or one that may only read."""
        said = mapping(self._ask(self._api.whoami, patience))
        if mapping(mapping(said.get("auth")).get("accessToken")).get("role") == "read":
            raise LoginRefused(
                f"your login at {self._place.host} may only read; make a token with the right to write there, and run "
                "`hf auth login` with it, or set HF_TOKEN"
            )
        return text(said.get("name"), most=100) or "somebody"

    def make(self, public: bool) -> bool:
        """Make the repository; False where there is one of this name already. Raises ZoowizardError."""
        from huggingface_hub.errors import HfHubHTTPError

        def create() -> bool:
            try:
                self._api.create_repo(self._place.repository, private=not public)
            except HfHubHTTPError as problem:
                if problem.response.status_code == 409:
                    return False
                raise
            return True

        return self._ask(create)

    def exists(self) -> bool:
        """Whether the repository is there."""
        return self._ask(lambda: self._api.repo_exists(self._place.repository))

    def look(self) -> Repository:
        """What the hub says of the repository now."""

        def ask() -> Repository:
            found = self._api.model_info(self._place.repository)
            return Repository(text(found.sha), bool(found.private))

        return self._ask(ask)

    def files(self, commit: str) -> "dict[str, RepoFile]":
        """All files of the repository as of a commit, by their paths."""
        from huggingface_hub.hf_api import RepoFile

        def ask() -> "dict[str, RepoFile]":
            tree = self._api.list_repo_tree(self._place.repository, recursive=True, revision=commit or None)
            return {one.path: one for one in tree if isinstance(one, RepoFile) and isinstance(one.path, str)}

        return self._ask(ask)

    def additions(self, pieces: Mapping[str, Piece]) -> Mapping[str, Any]:
        """What `send` and `commit` take, by path: each file is read once, for its hash."""
        from huggingface_hub import CommitOperationAdd

        return {
            path: CommitOperationAdd(path_in_repo=path, path_or_fileobj=cast(BinaryIO, Slice(piece)))
            for path, piece in pieces.items()
        }

    def send(self, additions: Sequence[Any]) -> None:
        """Bring the bytes of the large ones of these files there. What the hub has already is not sent again."""
        repository = self._place.repository
        self._ask(lambda: self._api.preupload_lfs_files(repository, additions, num_threads=1, free_memory=False))

    def commit(self, additions: Sequence[Any], gone: Sequence[str], parent: str, title: str) -> str:
        """Make the files part of the repository, all at once; gives the commit.

        Tried once: raises Unsure where the repository has to be looked at again.
        """
        from huggingface_hub import CommitOperationDelete

        deletions = [CommitOperationDelete(path_in_repo=path, is_folder=False) for path in gone]
        try:
            with _told_plainly(self._place):
                made = self._api.create_commit(
                    self._place.repository,
                    [*additions, *deletions],
                    commit_message=f"Upload {title} with zoowizard {__version__}",
                    parent_commit=parent or None,
                    num_threads=1,
                )
        except Passing as problem:
            raise Unsure(str(problem), problem.wait_s) from problem
        return str(made.oid)

    def _ask(self, work: Callable[[], T], patience: Patience | None = None) -> T:
        def plainly() -> T:
            with _told_plainly(self._place):
                return work()

        return again(plainly, patience or self._patience)


def is_there(file: HubFile, found: "RepoFile | None") -> bool:
    """Whether the hub has exactly this file, by its size and hash."""
    if found is None or (found.lfs.size if found.lfs else found.size) != file.size:
        return False
    return found.lfs.sha256 == file.sha256 if found.lfs else found.blob_id == file.sha1


def _client(place: Place, patience: Patience) -> Any:
    """As huggingface_hub makes it, but it does not wait forever, and does not give up a part of a large file so soon.

    That one would begin the whole file anew where the network is gone for half a minute. And it would tell the login to
    whatever server an answer of the hub names for its next page, or for the verifying of a file.
    """
    import httpx2
    from huggingface_hub.utils._http import default_client_factory

    client: Any = default_client_factory()
    client.timeout = httpx2.Timeout(ANSWER_WITHIN_S, connect=CONNECT_WITHIN_S)
    client.event_hooks = {**client.event_hooks, "request": [*client.event_hooks["request"], _only_at(place)]}
    ask = client.request

    def request(method: str, url: Any, **given: Any) -> Any:
        if method != "PUT":
            return ask(method=method, url=url, **given)

        def put() -> Any:
            if (body := given.get("data")) is not None:
                body.seek(0)
            with _told_plainly(place):
                return ask(method=method, url=url, **given)

        return again(put, patience)

    client.request = request
    return client


def _only_at(place: Place) -> Callable[[Any], None]:
    """Refuses a request that would tell another server than the hub the login."""
    import httpx2

    hub = httpx2.URL(place.base)

    def refuse_elsewhere(request: Any) -> None:
        asked = request.url
        if "authorization" in request.headers and (asked.scheme, asked.netloc) != (hub.scheme, hub.netloc):
            there = printable(asked.netloc.decode())
            raise ZoowizardError(
                f"{place.host} names another server, {there}, which must not be told your login; nothing was sent there"
            )

    return refuse_elsewhere


@contextlib.contextmanager
def _told_plainly(place: Place) -> Iterator[None]:
    """Let what goes wrong be raised as one sentence; addresses and tokens are not in it."""
    try:
        yield
    except ZoowizardError:
        raise
    except Exception as problem:  # huggingface_hub wraps what went wrong in errors of many kinds
        raise _in_words(problem, place) from None


def _in_words(problem: Exception, place: Place) -> Exception:
    import httpx2
    from huggingface_hub.errors import DeviceCodeError, HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    host, causes = place.host, list(_causes(problem))
    for one in causes:
        if isinstance(one, ZoowizardError):
            return one
        if isinstance(one, HfHubHTTPError):
            return _answer_in_words(one, place)
        if isinstance(one, LocalTokenNotFoundError | DeviceCodeError):
            return LoginRefused(f"you are not logged in at {host}; run `hf auth login`, or set HF_TOKEN")
        if isinstance(one, OfflineModeIsEnabled):
            return SwitchedOff("HF_HUB_OFFLINE is set, so nothing is sent; take it away, and try again")
        if isinstance(one, httpx2.ProxyError):
            return Passing(f"the proxy on the way to {host} refused; check HTTPS_PROXY")
        if isinstance(one, httpx2.TimeoutException):
            kind = Unreachable if isinstance(one, httpx2.ConnectTimeout) else Passing
            return kind(f"{host} did not answer in time; the network may be slow or gone, try again later")
        if isinstance(one, httpx2.ConnectError):
            if any(isinstance(cause, ssl.SSLError) for cause in causes) or "CERTIFICATE" in str(one):
                return ZoowizardError(
                    f"the certificate of {host} is not to be trusted: the address may be wrong, or somebody reads along"
                )
            return Unreachable(f"{host} could not be reached; is there a network, and is the address right?")
        if isinstance(one, httpx2.TransportError):
            return Passing(f"the connection to {host} broke off; the network may be bad, try again")
    if isinstance(problem, NOT_UNDERSTOOD):  # no JSON, or another one than huggingface_hub knows
        return Passing(
            f"{host} answered something that Hugging Face does not say; is it behind a login page of the network?"
        )
    return problem


def _answer_in_words(problem: Any, place: Place) -> ZoowizardError:
    """What an answer of the hub, or of the storage to which it sends files, means."""
    status, host = problem.response.status_code, place.host
    asked = urlsplit(str(problem.response.request.url))
    said = printable(problem.server_message or "")[:200].strip().rstrip(".")
    words = f" ({said})" if said else ""
    if asked.netloc != host:
        full = ZoowizardError(f"the storage of {host} has no room for the files{words}")
        # another try asks for another address: this one may have ended
        return full if status == 507 else Passing(f"the storage of {host} did not take a file (HTTP {status})")
    if status == 401 and asked.path.endswith("/whoami-v2"):
        return LoginRefused(
            f"{host} does not accept your login any more; run `hf auth login` again, or renew what HF_TOKEN says"
        )
    if status in (401, 403, 404):
        return ZoowizardError(
            f"you may not write to {place.repository} at {host}{words}: the owner must be you or an organisation of "
            "yours, and the token must have the right to write there"
        )
    if status == 402 or status == 507:
        return ZoowizardError(f"{host} has no room for the files{words}; make some there, or take another owner")
    if status == 412 or (status == 409 and "/commit/" in asked.path):
        return Passing(f"{place.repository} was changed by somebody else at the same time; try again")
    if status in ANOTHER_TRY:
        return Passing(f"{host} is busy or out of order (HTTP {status}); try again later", _wait(problem.response))
    return ZoowizardError(f"{host} did not do what it was asked (HTTP {status}){words}")


def _wait(response: Any) -> float:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def _causes(problem: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    now: BaseException | None = problem
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__
