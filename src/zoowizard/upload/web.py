"""Talking HTTP on networks as they are: what is worth another try, what is not, and each failure in one sentence."""

import contextlib
import json
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx
import tenacity

from zoowizard import __version__
from zoowizard.errors import ZoowizardError

T = TypeVar("T")
ANOTHER_TRY: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524})
"""Answers of a server that may be another one in a moment."""
LONGEST_WAIT_S: Final = 120.0

# httpx tells every address that it asks for, and those of an upload let whoever knows them write.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)


class Passing(ZoowizardError):
    """What may be over in a moment: it is worth another try. `wait_s`: so long the server asked to wait."""

    def __init__(self, sentence: str, wait_s: float = 0.0) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s


class Unreachable(Passing):
    """Nobody was reached: there may be no network."""


@dataclass(frozen=True)
class Patience:
    """How long the same thing is tried again, and the waits between, in seconds: doubled from `first` to `longest`."""

    tries_for_s: float = 300.0
    first_s: float = 0.5
    longest_s: float = 30.0


def again(work: Callable[[], T], patience: Patience, sleep: Callable[[float], None] = time.sleep) -> T:
    """What `work` gives, tried again where it raises Passing, as long as the patience lasts; then that is raised."""
    backing_off = tenacity.wait_exponential_jitter(
        initial=patience.first_s, max=patience.longest_s, jitter=patience.first_s
    )

    def wait(state: tenacity.RetryCallState) -> float:
        problem = state.outcome.exception() if state.outcome else None
        asked = problem.wait_s if isinstance(problem, Passing) else 0.0
        return max(min(asked, LONGEST_WAIT_S), backing_off(state))

    trying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Passing),
        wait=wait,
        stop=tenacity.stop_after_delay(patience.tries_for_s),
        reraise=True,
        sleep=sleep,
    )
    return trying(work)


def open_client(connections: int = 4, answer_s: float = 60.0) -> httpx.Client:
    """A client that heeds the proxy and certificate variables of the environment, and follows no redirection.

    `answer_s`: so long an answer may take, in seconds. Raises ZoowizardError where such a variable cannot be used.
    """
    try:
        return httpx.Client(
            headers={"User-Agent": f"zoowizard/{__version__}", "Accept-Encoding": "identity"},
            event_hooks={"response": [_refuse_encoded]},
            timeout=httpx.Timeout(60.0, connect=15.0, read=answer_s, pool=None),
            limits=httpx.Limits(max_connections=connections + 1, max_keepalive_connections=connections),
        )
    except (ValueError, ImportError):  # of another kind, such as SOCKS
        raise ZoowizardError(
            "the proxy in HTTPS_PROXY or ALL_PROXY cannot be used; it must be like http://proxy.example.org:8080"
        ) from None
    except OSError as problem:
        raise ZoowizardError(
            f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read ({_short(problem)})"
        ) from None


def body_of(content: Mapping[str, Any], host: str, what: str) -> bytes:
    """JSON for `host`, which is asked for `what`. Raises ZoowizardError where it cannot be made.

    It may hold what the server had said itself, as it was.
    """
    try:
        return json.dumps(content, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise ZoowizardError(
            f"{host} could not {what}: what it told before holds a number that is none, or is nested too deep; ask the "
            "zoo's team to mend the draft"
        ) from None


def _refuse_encoded(response: httpx.Response) -> None:
    """Refuse, before it is read, a body that a few bytes could unfold to any size; plain ones were asked for."""
    encodings = {one.strip().lower() for one in response.headers.get("Content-Encoding", "").split(",")}
    if encodings - {"", "identity", "aws-chunked"}:  # the last one is of S3, and folds nothing
        raise ZoowizardError(
            f"{response.request.url.netloc.decode('ascii')} packed its answer, which it was asked not to do; is there "
            "a proxy on the way that does?"
        )


def read_within(response: httpx.Response, most_bytes: int) -> bytes | None:
    """The body of an answer that comes as a stream; None where that is longer."""
    content = bytearray()
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > most_bytes:
            return None
    return bytes(content)


@contextlib.contextmanager
def told_plainly(host: str) -> Iterator[None]:
    """Let what goes wrong on the way to `host` be raised as one sentence; addresses and tokens are not in it."""
    try:
        yield
    except httpx.ProxyError as problem:
        raise Passing(f"the proxy on the way to {host} refused ({_short(problem)}); check HTTPS_PROXY") from None
    except httpx.TimeoutException as problem:
        kind = Unreachable if isinstance(problem, httpx.ConnectTimeout) else Passing
        raise kind(f"{host} did not answer in time; the network may be slow or gone, try again later") from None
    except httpx.UnsupportedProtocol:
        raise ZoowizardError(f"{host}: this is no address of a server, or the proxy's is none; check it") from None
    except httpx.TransportError as problem:
        raise _in_words(problem, host) from None
    except (httpx.InvalidURL, ValueError, ssl.SSLError) as problem:
        raise ZoowizardError(f"{host}: it cannot be asked ({type(problem).__name__}); check HTTPS_PROXY") from None


def _in_words(problem: httpx.TransportError, host: str) -> ZoowizardError:
    causes = list(_causes(problem))
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in causes) or "CERTIFICATE_VERIFY" in str(problem):
        return ZoowizardError(
            f"the certificate of {host} is not to be trusted: the address may be wrong, or somebody reads along; where "
            "your institute has certificates of its own, name their file in SSL_CERT_FILE"
        )
    if any(isinstance(one, ssl.SSLError) for one in causes) or "SSL" in str(problem):
        return ZoowizardError(f"{host} does not speak TLS as it should; check the address, and HTTPS_PROXY")
    if isinstance(problem, httpx.ConnectError):
        unknown = any(isinstance(one, socket.gaierror) for one in causes)
        why = "its name is not known here" if unknown else "nobody answers there"
        return Unreachable(f"{host} could not be reached: {why}; is there a network, and is the address right?")
    return Passing(f"the connection to {host} broke off; the network may be bad, try again")


def _causes(problem: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    now: BaseException | None = problem
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__


def _short(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0][:80] if lines else type(problem).__name__


def wait_asked(response: httpx.Response) -> float:
    """The seconds that a server asks to wait before another try; 0 where it does not."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0
