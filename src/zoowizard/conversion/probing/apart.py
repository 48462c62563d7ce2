"""A network in a process of its own: what it does there (crash, hang, eat memory) takes nothing with it.

The process is forked by a server that has imported torch and never run it: a process that has run a network has
threads, and a fork of it would wait for them for ever.
"""

import contextlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from zoowizard.conversion.probing.networks import Network
from zoowizard.errors import ZoowizardError
from zoowizard.families.pickles import printable

P = ParamSpec("P")
T = TypeVar("T")
_END_S: Final = 5.0
_SLOWER: Final = 30
"""What takes so many times as long as the slowest run before, and some seconds more, hangs."""


@dataclass(frozen=True)
class Limits:
    """How much probing may take: seconds in all and of one run, and bytes of memory, all beside loading the network."""

    seconds: float = 120.0
    run_seconds: float = 60.0
    memory_bytes: int = 8 << 30


USUAL: Final = Limits()


class Refused(Exception):
    """The network gave no answer. The message says why; `died` where its process ended or had to be ended."""

    def __init__(self, why: str, died: bool = False) -> None:
        super().__init__(why)
        self.died = died


class Spent(Exception):
    """The time is over."""


class Apart:
    """A network in a process of its own, which is started again after it died. To be used in a `with` statement.

    `load` is called in that process, and so it must be picklable: a function of a module, or a partial of one.
    """

    def __init__(self, load: Callable[[], Network], limits: Limits) -> None:
        self.limits = limits
        self.runs = 0
        self._slowest_s: float | None = None
        self._load = load
        self._until: float | None = None
        self._process: ForkServerProcess | None = None
        self._connection: Connection | None = None
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["torch", "zoowizard.conversion.probing.networks"])

    def __enter__(self) -> "Apart":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def call(self, function: Callable[Concatenate[Network, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function`, which runs the network once, gives for it and the arguments; all of it must be picklable.

        Raises Refused where the network raised, died, or took too long, Spent where no time is left, and ZoowizardError
        where it cannot even be loaded.
        """
        if self._connection is None:
            self._start()
        assert self._connection is not None
        self.runs += 1
        with contextlib.suppress(ConnectionError):  # it has died: heard below
            self._connection.send((function, args, kwargs))
        started, patience = time.monotonic(), self.limits.run_seconds
        if self._slowest_s is not None:
            patience = min(patience, _END_S + _SLOWER * self._slowest_s)
        well, answer = self._answer(patience)
        if not well:
            raise Refused(str(answer))
        self._slowest_s = max(self._slowest_s or 0.0, time.monotonic() - started)
        given: T = answer
        return given

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=_serve, args=(theirs, self._load, self.limits.memory_bytes), daemon=True
        )
        self._process.start()
        theirs.close()
        self._connection = ours
        try:
            well, why = self._answer(self.limits.seconds)
        except Refused as problem:
            raise ZoowizardError(f"the network could not be loaded: {problem}") from problem
        if not well:
            self._end()
            raise ZoowizardError(f"the network could not be loaded: {why}")
        self._until = self._until or time.monotonic() + self.limits.seconds

    def _answer(self, patience_s: float) -> tuple[bool, Any]:
        assert self._connection is not None and self._process is not None
        left = self.limits.seconds if self._until is None else self._until - time.monotonic()
        try:
            if left > 0 and self._connection.poll(min(left, patience_s)):
                well, answer = self._connection.recv()
                return bool(well), answer
        except (EOFError, ConnectionError):
            self._process.join(_END_S)
            code = self._process.exitcode
            self._end()
            raise Refused(_in_words(code), died=True) from None
        self._end()
        if left <= patience_s and self._until is not None:
            raise Spent
        raise Refused(f"it takes longer than {patience_s:.3g} s", died=True)

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._connection = self._process = None


def _in_words(code: int | None) -> str:
    if code is None or code >= 0:
        return "it ended its process"
    if -code == signal.SIGKILL:
        return "its process was killed, which the system does where memory is short"
    return f"it crashed its process ({signal.Signals(-code).name})"


def _end_with_asker() -> None:
    """A run that hangs would outlive whoever asked for it, and with it the server that it was forked from."""
    asker = parent_process()
    assert asker is not None

    def watch() -> None:
        wait([asker.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _serve(connection: Connection, load: Callable[[], Network], memory_bytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_asker()
    try:
        network = load()
    except Exception as problem:
        connection.send((False, in_a_line(problem)))
        return
    _limit_memory(memory_bytes)
    connection.send((True, None))
    while True:
        try:
            function, args, kwargs = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer = True, function(network, *args, **kwargs)
        except Exception as problem:
            answer = False, in_a_line(problem)
        connection.send(answer)


def _limit_memory(most_bytes: int) -> None:
    """Let an allocation fail before the system kills whoever is largest (Linux; elsewhere there is no such limit)."""
    import torch

    if sys.platform != "linux" or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # the driver reserves far more than it uses
        return
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            limit = int(line.split()[1]) * 1024 + most_bytes
            resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def in_a_line(problem: BaseException) -> str:
    """The line of what an exception says that tells most."""
    said = str(problem).strip().splitlines() or [type(problem).__name__]
    of_torchscript = said[0].startswith("The following operation failed")  # the rest is its call stack
    return printable(said[-1 if of_torchscript else 0].removeprefix("RuntimeError: ")[:300])
