"""A process that forks itself for others: what the forks are, and what happens when somebody is killed."""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from zoowizard.jobs import forks
from zoowizard.jobs.forks import Forked, Refused, Request

TARGETS = """
import json, os, signal, sys, time
from pathlib import Path

LOADED_IN = os.getpid()

def code(number): return int(number)
def leave(number): raise SystemExit(int(number))
def crash(): raise RuntimeError("no such axis")
def kill(number): os.kill(os.getpid(), int(number))

def describe():
    print(json.dumps({
        "loaded_in": LOADED_IN, "parent": os.getppid(), "group": os.getpgrp(), "environment": dict(os.environ),
        "folder": os.getcwd(), "input": sys.stdin.read(), "terminate": signal.getsignal(signal.SIGTERM).name,
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "wakeup": signal.set_wakeup_fd(-1),
        "sockets": sum(os.readlink(f"/proc/self/fd/{n}").startswith("socket") for n in os.listdir("/proc/self/fd")
                       if os.path.lexists(f"/proc/self/fd/{n}")),
    }), flush=True)
    return 0

def wait_for(name):
    Path(name + ".here").touch()
    while not Path(name).exists():
        time.sleep(0.01)
    return 7
"""
SERVER = """
import socket, sys
import targets
from zoowizard.jobs import forks
with socket.socket(socket.AF_UNIX) as door:
    door.bind(sys.argv[1])
    door.listen()
    forks.serve(door, forks.accepted, lambda: sys.argv[2], lambda idle_s: idle_s > float(sys.argv[3]), 0.05)
"""
Until = Callable[..., None]


class Server:
    """A real server in a process of its own, with modules that a test can ask for."""

    def __init__(self, folder: Path, refusal: str = "", idle_s: float = 600) -> None:
        self.folder = folder
        self.address = folder / "door"
        (folder / "targets.py").write_text(TARGETS)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.address), refusal, str(idle_s)],
            env={**os.environ, "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"},
            cwd=folder,
        )
        end = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < end
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.address)) == 0

    def ask(self, target: str, *arguments: str, patience_s: float = 60, **more: object) -> Forked:
        files = {"descriptors": [0, 1, 2], "environment": dict(os.environ), "cwd": str(self.folder), **more}
        descriptors = files.pop("descriptors")
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.address))
        return forks.ask(connection, Request(f"targets:{target}", arguments, **files), descriptors, patience_s)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a name that is short enough for an address."""
    made = Path(tempfile.mkdtemp(prefix="forks-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    made = Server(folder)
    yield made
    made.process.kill()
    made.process.wait()


@pytest.mark.parametrize(
    ("target", "argument", "code"),
    [
        ("code", ["0"], 0),
        ("code", ["75"], 75),
        ("leave", ["143"], 143),
        ("crash", [], 1),
        ("kill", [str(int(signal.SIGKILL))], -signal.SIGKILL),
        ("kill", [str(int(signal.SIGTERM))], -signal.SIGTERM),
        ("no_such_function", [], 1),
    ],
)
def test_how_a_fork_ended_is_told(server: Server, target: str, argument: list[str], code: int) -> None:
    child = server.ask(target, *argument)
    assert child.wait() == code
    assert child.poll() == code
    assert not psutil.pid_exists(child.pid)


def test_a_fork_is_like_a_process_that_was_started(server: Server) -> None:
    out, given = server.folder / "out", server.folder / "given"
    given.write_text("typed")
    environment = {"ONLY": "this", "NO UTF-8": "\udcff"}
    with out.open("wb") as file, given.open("rb") as standard_input:
        child = server.ask(
            "describe",
            descriptors=[standard_input.fileno(), file.fileno(), 2],
            environment=environment,
            cwd=str(server.folder.parent),
        )
    assert child.wait() == 0
    told = json.loads(out.read_text())
    assert told == {
        "loaded_in": server.process.pid,  # it did not load the module again
        "parent": server.process.pid,
        "group": child.pid,
        "environment": environment,
        "folder": str(server.folder.parent),
        "input": "typed",
        "terminate": "SIG_DFL",
        "blocked": 0,
        "wakeup": -1,
        "sockets": 0,
    }


def test_a_fork_joins_a_group(server: Server) -> None:
    leader = server.ask("wait_for", "go")
    member = server.ask("wait_for", "go", group=leader.pid)
    assert os.getpgid(member.pid) == leader.pid
    os.killpg(leader.pid, signal.SIGKILL)
    assert (leader.wait(), member.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
    with pytest.raises(Refused):
        server.ask("code", "0", group=leader.pid)  # that group is gone


def test_a_fork_holds_what_it_was_given_and_the_server_does_not(server: Server) -> None:
    path = server.folder / "lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = server.ask("wait_for", "go", descriptors=[0, 1, 2, lock.fileno()])
        other = server.ask("wait_for", "never")
    with path.open() as look:
        with pytest.raises(BlockingIOError):
            fcntl.flock(look, fcntl.LOCK_SH | fcntl.LOCK_NB)
        (server.folder / "go").touch()
        assert child.wait() == 7
        fcntl.flock(look, fcntl.LOCK_SH | fcntl.LOCK_NB)
    other_lives = other.poll() is None
    os.kill(other.pid, signal.SIGKILL)
    assert other_lives and other.wait() == -signal.SIGKILL


def test_a_killed_server_does_not_end_its_forks(server: Server, until: Until) -> None:
    child = server.ask("wait_for", "go")
    until(lambda: (server.folder / "go.here").exists(), 60)
    server.process.kill()
    server.process.wait()
    assert child.poll() is None
    assert not select.select([child], [], [], 0)[0]
    (server.folder / "go").touch()
    assert child.wait() == 0  # its code is not known any more
    with pytest.raises((Refused, ConnectionRefusedError)):
        server.ask("code", "0")


ASKER = """
import os, socket, sys
from zoowizard.jobs import forks
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
bound = sys.argv[2] == "bound"
child = forks.ask(connection, forks.Request("targets:wait_for", ["go"], {}, sys.argv[3], bound=bound), [0, 1, 2], 60)
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.parametrize("kind", ["bound", "free"])
def test_a_killed_asker_ends_only_what_is_bound(server: Server, kind: str, until: Until) -> None:
    command = [sys.executable, "-c", ASKER, str(server.address), kind, str(server.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        child = psutil.Process(int(asker.stdout.readline()))
        until(lambda: (server.folder / "go.here").exists(), 60)
        asker.kill()
    if kind == "bound":
        until(lambda: not child.is_running(), 60)
    else:
        assert server.ask("code", "0").wait() == 0  # the server has looked at all that came before
        assert child.is_running()
        (server.folder / "go").touch()
        until(lambda: not child.is_running(), 60)


def test_what_nobody_waits_for_any_more_never_begins(server: Server) -> None:
    server.process.send_signal(signal.SIGSTOP)
    with pytest.raises(Refused, match="no answer"):
        server.ask("wait_for", "late", patience_s=0.2)
    server.process.send_signal(signal.SIGCONT)
    assert server.ask("code", "0").wait() == 0
    while psutil.Process(server.process.pid).children():
        time.sleep(0.01)
    assert not (server.folder / "late.here").exists()


def test_several_at_once(server: Server, until: Until) -> None:
    children = [server.ask("wait_for", f"go-{number}") for number in range(8)]
    for number in (5, 2, 7, 0, 1, 3, 6, 4):
        assert children[number].poll() is None
        (server.folder / f"go-{number}").touch()
        assert children[number].wait() == 7
    assert len({child.pid for child in children}) == 8


def test_a_stranger_at_the_door(server: Server) -> None:
    for words in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 7, b"\x00" * 8, (2).to_bytes(8, "big") + b"{}"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(server.address))
            connection.sendall(words)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):  # not all was read
                assert connection.recv(100) == b""
    assert server.ask("code", "3").wait() == 3


def test_a_server_that_refuses(folder: Path) -> None:
    server = Server(folder, refusal="it is still loading")
    try:
        with pytest.raises(Refused, match="it is still loading"):
            server.ask("code", "0")
    finally:
        server.process.kill()
        server.process.wait()


def test_told_to_end_it_takes_no_more_and_waits_for_its_forks(server: Server, until: Until) -> None:
    child = server.ask("wait_for", "go")
    server.process.terminate()
    until(lambda: not server._answers(), 60)
    assert child.poll() is None
    (server.folder / "go").touch()
    assert child.wait() == 7
    assert server.process.wait(60) == 0


def test_it_is_over_when_it_was_idle_and_not_before(folder: Path) -> None:
    server = Server(folder, idle_s=0.3)
    child = server.ask("wait_for", "go")
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(1)
    (folder / "go").touch()
    assert child.wait() == 7
    assert server.process.wait(60) == 0


def test_a_door_that_is_a_socket_pair(until: Until) -> None:
    program = (
        "import socket, sys, os; from zoowizard.jobs import forks;"
        "forks.serve(socket.socket(fileno=int(sys.argv[1])), forks.handed_over)"
    )
    ours, theirs = socket.socketpair()
    with theirs:
        server = subprocess.Popen([sys.executable, "-c", program, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    request = Request("os:getppid", [], {}, "/")
    with ours:
        children = [forks.ask(forks.knock(ours), request, [0, 1, 2], 60) for _ in range(3)]
        assert {child.wait() for child in children} == {server.pid & 0xFF}
    assert server.wait(60) == 0  # nobody is left who could ask
    with pytest.raises(OSError):
        forks.knock(theirs)


def test_a_system_that_is_not_linux(until: Until) -> None:
    program = (
        "import os, socket, sys; from zoowizard.jobs import forks; sys.platform = 'darwin';"
        "[delattr(os, name) for name in ('waitid', 'P_PID', 'WNOWAIT', 'pidfd_open') if hasattr(os, name)];"
        "forks.serve(socket.socket(fileno=int(sys.argv[1])), forks.handed_over)"
    )
    ours, theirs = socket.socketpair()
    with theirs:
        server = subprocess.Popen([sys.executable, "-c", program, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    with ours:
        child = forks.ask(forks.knock(ours), Request("os:getppid", [], {}, "/"), [0, 1, 2], 60)
        assert child.wait() == server.pid & 0xFF
    assert server.wait(60) == 0
