"""A door before a server: it passes on what is asked, remembers it, and lets go wrong what a test wants to go wrong."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

CHUNK_BYTES = 1 << 16


@dataclass
class Asked:
    """One request as it went through: how many bytes of its body came, and what was answered (0: nothing)."""

    method: str
    path: str
    received: int = 0
    status: int = 0
    authorization: str = ""

    @property
    def function(self) -> str:
        """The last part of the address, without what comes after a question mark."""
        return self.path.partition("?")[0].rstrip("/").rpartition("/")[2]


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that `meets`.

    `status`: answer this, with `body`, and ask nobody. `drop_after`: break off after so many bytes of the request.
    `lose_answer`: pass it on, and break off before the answer. `bytes_per_s`: let the body in that slowly. `hold`: wait
    for this before it is passed on. `happened` is called when one is met, after the other side has done its part.
    """

    meets: Callable[[Asked], bool]
    times: int = 1
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    lose_answer: bool = False
    bytes_per_s: float = 0.0
    hold: threading.Event | None = None
    happened: Callable[[], None] | None = None


class Door:
    """Listens on a port of its own and passes on to the port `behind`."""

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"door": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def clear(self) -> None:
        """No faults, and nothing remembered."""
        with self._lock:
            self.faults.clear()
            self.asked.clear()

    def fails(self, function: str = "", method: str = "", **how: Any) -> Fault:
        """Let requests go wrong whose last part of the address is `function` (any, where empty)."""

        def meets(one: Asked) -> bool:
            return (not function or one.function == function) and (not method or one.method == method)

        fault = Fault(how.pop("meets", meets), **how)
        with self._lock:
            self.faults.append(fault)
        return fault

    def take(self, asked: Asked) -> Fault | None:
        with self._lock:
            self.asked.append(asked)
            for fault in self.faults:
                if fault.times > 0 and fault.meets(asked):
                    fault.times -= 1
                    return fault
        return None

    def names(self) -> list[str]:
        """The functions that were asked for, in their order."""
        return [one.function for one in self.asked]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    door: ClassVar[Door]
    protocol_version = "HTTP/1.1"
    timeout = 300

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _any(self) -> None:
        asked = Asked(self.command, self.path, authorization=self.headers.get("Authorization", ""))
        fault = self.door.take(asked)
        if fault is not None and fault.hold is not None:
            fault.hold.wait(60)
        if fault is not None and fault.status:
            self._swallow(asked)
            self._say(asked, fault.status, list(fault.headers.items()), fault.body)
        else:
            self._pass_on(asked, fault)
        if fault is not None and fault.happened is not None:
            fault.happened()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_OPTIONS = _any  # noqa: N815  (the names are given)

    def _pass_on(self, asked: Asked, fault: Fault | None) -> None:
        behind = http.client.HTTPConnection("127.0.0.1", self.door.behind, timeout=300)
        try:
            behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    behind.putheader(name, value)
            behind.putheader("Connection", "close")
            behind.endheaders()
            left, since = int(self.headers.get("Content-Length") or 0), time.monotonic()
            while left:
                most = CHUNK_BYTES if fault is None or fault.drop_after is None else fault.drop_after - asked.received
                if most <= 0:
                    return self._hang_up()
                chunk = self.rfile.read1(min(left, most))
                if not chunk:
                    return self._hang_up()
                asked.received += len(chunk)
                left -= len(chunk)
                behind.send(chunk)
                if fault is not None and fault.bytes_per_s:
                    time.sleep(max(0.0, asked.received / fault.bytes_per_s - (time.monotonic() - since)))
            if fault is not None and fault.drop_after is not None:
                return self._hang_up()
            answer = behind.getresponse()
            body = answer.read()
            asked.status = answer.status
            if fault is not None and fault.lose_answer:
                return self._hang_up()
            if fault is not None and fault.happened is not None:
                fault.happened()
                fault.happened = None
            self._say(asked, answer.status, answer.getheaders(), body)
        except OSError:
            self._hang_up()
        finally:
            behind.close()

    def _swallow(self, asked: Asked) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        while left and (chunk := self.rfile.read1(min(left, CHUNK_BYTES))):
            asked.received += len(chunk)
            left -= len(chunk)

    def _say(self, asked: Asked, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        asked.status = status
        self.send_response_only(status)
        kept = {"connection", "transfer-encoding", "content-length", "keep-alive"}
        for name, value in headers:
            if name.lower() not in kept:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
