"""A terminal as a person has one: a process of zoowizard on a pty, and what stands on its screen."""

import contextlib
import copy
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte

PYTHON = [sys.executable, "-m"]
PATIENCE_S = 120.0
"""So long a test waits for what normally takes a second: computers on which tests run may be busy."""
PRIVATE = re.compile(rb"\x1b\[([<>=?])([0-9;]*)\$?([a-zA-Z])")
BEGUN = re.compile(rb"\x1b(?:\[(?:[<>=?][0-9;]*\$?)?)?\Z")
ALTERNATE_SCREEN = b"1049"


class Terminal:
    """Runs a command on a pty of its own session, whose hangup it gets when the terminal is closed."""

    def __init__(
        self, command: Sequence[str | Path], cwd: Path, columns: int = 80, rows: int = 24, **variables: str
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._begun = b""
        self._main: tuple[object, object] | None = None
        self.bytes = 0
        """How many bytes came over the wire so far."""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                for number in (signal.SIGINT, signal.SIGHUP):  # which a process in the background ignores
                    signal.signal(number, signal.SIG_DFL)
                environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **variables}
                _resize(0, columns, rows)
                os.execvpe(str(command[0]), [str(one) for one in command], environment)
            finally:  # else the child would go on with the tests
                os._exit(127)
        _resize(self._master, columns, rows)
        self.code: int | None = None

    def text(self) -> str:
        """The screen, line by line, without spaces at the ends of lines."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def read(self, seconds: float = 0.1) -> bool:
        """Take in what comes within so many seconds; False where the other side is gone."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:
            return False
        self.bytes += len(data)
        self._show(data)
        return bool(data)

    def _show(self, data: bytes) -> None:
        """Draw it; of the private sequences, which pyte 0.8 takes for text or leaves out, only 1049 shows something."""
        data = self._begun + data
        cut = BEGUN.search(data)
        place, end = 0, cut.start() if cut else len(data)
        self._begun = data[end:]
        for sequence in PRIVATE.finditer(data, 0, end):
            self._stream.feed(data[place : sequence.start()])
            kind, modes, action = sequence.groups()
            if kind == b"?" and action in b"hl" and ALTERNATE_SCREEN in modes.split(b";"):
                self._change_screen(to_alternate=action == b"h")
            place = sequence.end()
        self._stream.feed(data[place:end])

    def _change_screen(self, to_alternate: bool) -> None:
        """Go to the alternate screen, which begins empty, or back to what stood on the main one.

        Private mode 1049 of https://invisible-island.net/xterm/ctlseqs/ctlseqs.html.
        """
        screen = self.screen
        if to_alternate and self._main is None:
            self._main = copy.deepcopy((screen.buffer, screen.cursor))
            screen.erase_in_display(2)
        elif not to_alternate and self._main is not None:
            (screen.buffer, screen.cursor), self._main = self._main, None  # type: ignore[assignment]
            screen.ensure_hbounds()
            screen.ensure_vbounds()

    def wait_for(self, text: str, seconds: float = PATIENCE_S, gone: bool = False) -> str:
        """Read until the text stands on the screen (or is gone from it); gives the screen. Fails showing it."""
        return self.wait_until(
            lambda shown: (text in shown) != gone, f"{text!r} {'stays' if gone else 'never came'}", seconds
        )

    def wait_until(self, holds: Callable[[str], object], otherwise: str, seconds: float = PATIENCE_S) -> str:
        """Read until this holds of the screen; gives the screen. Fails with the words of `otherwise` and the screen."""
        deadline = time.monotonic() + seconds
        while not holds(self.text()):
            assert time.monotonic() < deadline, f"{otherwise}:\n{self.text()}"
            assert self.read() or holds(self.text()), f"it ended, and {otherwise}:\n{self.text()}"
        return self.text()

    def send(self, *keys: str) -> None:
        """Type; names such as `enter` and `ctrl+j` are keys, everything else is text.

        Who sends the next key at once after `escape` may be read as pressing alt with it: wait for what escape does.
        """
        assert "escape" not in keys[:-1], "the next key would be one with alt"
        for key in keys:
            os.write(self._master, KEYS.get(key, key).encode())

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size, as dragging its window does."""
        self.screen.resize(rows, columns)
        _resize(self._master, columns, rows)

    def hang_up(self) -> None:
        """Close the terminal, as a lost connection does: the process gets SIGHUP."""
        os.close(self._master)

    def ended(self, seconds: float = PATIENCE_S) -> int:
        """Wait for the end; gives the exit code, below 0 for a signal."""
        deadline = time.monotonic() + seconds
        while self.code is None:
            with contextlib.suppress(OSError):
                self.read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, f"it goes on:\n{self.text()}"
        return self.code

    def kill(self) -> None:
        """End it at once, as `kill -9` does, if it lives."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with contextlib.suppress(OSError):
            os.close(self._master)


KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "shift+tab": "\x1b[Z",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
    "backspace": "\x7f",
    "f1": "\x1bOP",
    "f2": "\x1bOQ",
    "f6": "\x1b[17~",
    **{f"ctrl+{letter}": chr(ord(letter) - ord("a") + 1) for letter in "abcdefghijklmnopqrstuvwxyz"},
}


def _resize(descriptor: int, columns: int, rows: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
