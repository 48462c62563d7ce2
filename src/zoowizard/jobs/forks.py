"""A process that has imported what takes long, and forks itself for whoever asks: each fork starts with all of it.

A request goes over a stream socket: a length of 8 bytes, sent together with descriptors (standard input, output and
error, then what the fork shall hold open), and a `Request` as JSON. The answers are lines of JSON. The fork itself
says `{"pid": …}` before it begins, so that one whose asker has given up never begins; the server says
`{"exit": code}` when it has ended, or `{"refused": reason}`.
"""

import array
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from concurrent.futures import Future

MOST_DESCRIPTORS: Final = 32
LARGEST_REQUEST: Final = 64 << 20
SLOWEST_ASKER_S: Final = 2.0
NICE: Final = 10
_LENGTH: Final = struct.Struct("!Q")
_OURS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Request:
    """What a fork shall do: call `target` (`module:function`) with `arguments`; what that gives is its exit code.

    It gets `environment` and the working folder `cwd`. It joins the process group `group`, or leads one of its own
    where that is 0. One that is `bound` is killed when its asker is gone; others go on.
    """

    target: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    cwd: str
    group: int = 0
    bound: bool = False


class Refused(Exception):
    """Nothing was forked, and nothing will be; the message says why."""


class Forked:
    """A process that was forked for us by another one, known by its number and by what that one tells of it."""

    def __init__(self, pid: int, connection: socket.socket, said: bytes) -> None:
        """Made by `ask`."""
        self.pid = pid
        self._connection = connection
        self._said = said
        self._code: int | None = None
        self._watch: int | None = None
        with contextlib.suppress(OSError):  # gone already, so that its server tells; or a system without
            self._watch = os.pidfd_open(pid) if sys.platform == "linux" else None
        connection.setblocking(False)

    def fileno(self) -> int:
        """A descriptor that becomes readable when something is to be heard of it."""
        return self._connection.fileno() if self._connection.fileno() >= 0 or self._watch is None else self._watch

    def poll(self) -> int | None:
        """The exit code, below 0 for a signal; None where it lives. 0 where its server was killed: nobody knows it."""
        if self._code is None and self._connection.fileno() >= 0:
            self._listen()
        if self._code is None and self._connection.fileno() < 0 and not self._lives():
            self._end(0)
        return self._code

    def wait(self) -> int:
        """Wait for its end; gives what `poll` does."""
        while (code := self.poll()) is None:
            select.select([self], [], [])
        return code

    def _listen(self) -> None:
        try:
            said = self._connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        self._said += said
        if self._said.endswith(b"\n"):
            self._end(int(json.loads(self._said)["exit"]))
        elif not said:
            self._connection.close()

    def _lives(self) -> bool:
        return self._watch is not None and not select.select([self._watch], [], [], 0)[0]

    def _end(self, code: int) -> None:
        self._code = code
        self._connection.close()
        if self._watch is not None:
            os.close(self._watch)
            self._watch = None


def ask(connection: socket.socket, request: Request, descriptors: Sequence[int], patience_s: float | None) -> Forked:
    """Ask for a fork that gets `descriptors` (standard input, output, error, and more to hold open).

    Waits `patience_s` for it, None for as long as it takes. Raises Refused where there is none, and there never will
    be. The connection is closed or belongs to the answer.
    """
    body = json.dumps(asdict(request)).encode()
    until = None if patience_s is None else time.monotonic() + patience_s
    connection.settimeout(patience_s)
    try:
        socket.send_fds(connection, [_LENGTH.pack(len(body))], list(descriptors))
        connection.sendall(body)
        said = _first_line(connection, until)
    except TimeoutError:
        # after this the fork cannot say that it begins; what it said before is there to be read
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        said = _first_line(connection, None)
    except OSError as problem:
        connection.close()
        raise Refused(f"the server is gone ({problem.strerror})") from problem
    line, end, more = said.partition(b"\n")
    answer = json.loads(line) if end else {"refused": "no answer came"}
    if "pid" not in answer:
        connection.close()
        raise Refused(answer.get("refused", "it could not become what was asked for"))
    return Forked(int(answer["pid"]), connection, more)


def _first_line(connection: socket.socket, until: float | None) -> bytes:
    said = b""
    while b"\n" not in said:
        if until is not None:
            connection.settimeout(max(0.001, until - time.monotonic()))
        try:
            part = connection.recv(4096)
        except ConnectionError:
            return said
        if not part:
            return said
        said += part
    return said


def accepted(door: socket.socket) -> socket.socket:
    """The next connection of a door that listens at an address."""
    return door.accept()[0]


def handed_over(door: socket.socket) -> socket.socket | None:
    """The next connection of a door that is one end of a socket pair (see `knock`); None where nobody is left."""
    said, descriptors = _received(door, 1)
    if not said:
        return None
    if not descriptors:
        raise OSError("no connection was handed over")
    return socket.socket(fileno=descriptors[0])


def knock(door: socket.socket) -> socket.socket:
    """A new connection to the server at the other end of a socket pair. Raises OSError where that is gone."""
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(door, [b"!"], [theirs.fileno()])
    return ours


def is_deserted(door: socket.socket) -> bool:
    """Whether nobody holds the other end of a socket pair any more."""
    try:
        return not door.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def in_niced_thread(load: Callable[[], None]) -> "Future[None]":
    """Run `load` in a thread of its own that gives way to whatever else the computer does (where it can: Linux).

    What is forked or started from other threads is not slowed. Its exception is that of the future.
    """
    from concurrent.futures import Future

    loaded: Future[None] = Future()

    def run() -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            load()
        except BaseException as problem:
            traceback.print_exc()
            loaded.set_exception(problem)
        else:
            loaded.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return loaded


@dataclass
class _Children:
    """The forks that live: by process number, where to tell of its end, and whether it is bound to that."""

    by_pid: dict[int, tuple[socket.socket, bool]] = field(default_factory=dict)

    def settle(self) -> None:
        """Tell the end of those that have ended, and kill the bound ones whose asker is gone."""
        bound = [connection for connection, is_bound in self.by_pid.values() if is_bound]
        gone = select.select(bound, [], [], 0)[0]
        for pid, (connection, _) in list(self.by_pid.items()):
            if connection in gone:
                os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            code = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(OSError):
                connection.sendall(_line(exit=code))
            connection.close()
            del self.by_pid[pid]


def serve(
    door: socket.socket,
    take: Callable[[socket.socket], socket.socket | None],
    refuse: Callable[[], str] = lambda: "",
    over: Callable[[float], bool] = lambda idle_s: False,
    look_every_s: float | None = None,
    own: Sequence[int] = (),
) -> None:
    """Fork for whoever comes through the `door`, until there is nobody left who could, or SIGTERM comes, or it is over.

    `take` is `accepted` or `handed_over`. `refuse` gives the reason why it does not fork now, or nothing. `over` is
    asked every `look_every_s` seconds, with the seconds since it had anything to do. Forks do not get the descriptors
    `own`, nor any of ours but those that are open besides. When it is over the door is closed, and the forks that
    live are waited for, so that their askers hear how they ended. For the main thread.
    """
    wake, signalled = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    for number in _OURS:
        signal.signal(number, lambda number, frame: None)
    children, open_, busy_at = _Children(), True, time.monotonic()
    while open_ or children.by_pid:
        bound = [connection for connection, is_bound in children.by_pid.values() if is_bound]
        watched: list[Any] = [wake, *([door] if open_ else []), *bound]
        ready, _, _ = select.select(watched, [], [], look_every_s)
        heard = set(os.read(wake, 4096)) if wake in ready else set()
        children.settle()
        if children.by_pid or door in ready:
            busy_at = time.monotonic()
        if door in ready:
            try:
                connection = take(door)
            except OSError:  # it went away again
                continue
            if connection is None:
                open_ = False
            else:
                _answer(connection, refuse(), children, [door.fileno(), wake, signalled, *own])
        if open_ and (heard & {signal.SIGTERM, signal.SIGINT} or over(time.monotonic() - busy_at)):
            open_ = False
        if not open_:
            door.close()


def _answer(connection: socket.socket, refusal: str, children: _Children, own: list[int]) -> None:
    descriptors: list[int] = []
    try:
        connection.settimeout(SLOWEST_ASKER_S)
        head, descriptors = _received(connection, _LENGTH.size, MOST_DESCRIPTORS)
        [length] = _LENGTH.unpack(head)
        if length > LARGEST_REQUEST or len(descriptors) < 3:
            raise ValueError
        body = b""
        while len(body) < length:
            if not (part := connection.recv(min(1 << 20, length - len(body)))):
                raise ValueError
            body += part
        request = Request(**json.loads(body))
        if refusal:
            connection.sendall(_line(refused=refusal))
            connection.close()
            return
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # none may reach it half made
        try:
            pid = os.fork()
            if pid == 0:
                others = [one.fileno() for one, _ in children.by_pid.values()]
                _become(request, descriptors, connection, [*own, *others], blocked)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        children.by_pid[pid] = (connection, request.bound)
    except (OSError, ValueError, TypeError, struct.error):  # an asker that went away, or no asker at all
        connection.close()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _become(
    request: Request, descriptors: Sequence[int], connection: socket.socket, own: Sequence[int], blocked: Any
) -> NoReturn:
    """In the fork: become what was asked for."""
    code = 1
    try:
        os.setpgid(0, request.group)
        os.chdir(request.cwd)
        connection.sendall(_line(pid=os.getpid()))
        connection.close()
    except OSError:  # whoever asked is gone
        os._exit(code)
    try:
        signal.set_wakeup_fd(-1)
        for number in _OURS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for descriptor in own:
            os.close(descriptor)
        for standard, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(request.environment)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        module, _, name = request.target.partition(":")
        code = int(getattr(importlib.import_module(module), name)(*request.arguments))
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code & 0xFF)


def _received(connection: socket.socket, size: int, most: int = 1) -> tuple[bytes, list[int]]:
    """Up to `size` bytes, and the descriptors that came with them, which no program that is started inherits."""
    numbers = array.array("i")
    said, ancillary, _, _ = connection.recvmsg(
        size, socket.CMSG_SPACE(most * numbers.itemsize), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    )
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    for number in numbers:
        os.set_inheritable(number, False)
    return said, list(numbers)


def _line(**said: int | str) -> bytes:
    return json.dumps(said).encode() + b"\n"
