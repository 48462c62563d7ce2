"""`zoowizard serve`: the screens in a browser on this computer, for those who have the key and nobody else."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pyte
import pytest
from commands import Demo

WITHIN_S = 120.0
APP_ENDS_WITHIN_S = 60.0
SVG = "http://www.w3.org/2000/svg"
"""The name of a language, at which nothing is asked."""


@dataclass
class Serving:
    """A server that runs, and the address that it printed."""

    child: asyncio.subprocess.Process
    address: str

    @property
    def root(self) -> str:
        return self.address.split("/?")[0]

    @property
    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.child.pid).children(recursive=True)


@pytest.fixture
def workspace(demo: Demo, tmp_path: Path) -> Path:
    shutil.copytree(demo.workspace, tmp_path / "workspace")
    return tmp_path / "workspace"


@pytest.fixture
async def serving(workspace: Path) -> AsyncIterator[Serving]:
    own = ("TEXTUAL", "ZOOWIZARD", "NO_COLOR")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "zoowizard", "serve", "--port", "0", "--workspace", str(workspace),
        cwd=workspace, env={**environment, "LANG": "C.UTF-8"}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stderr is not None
    line = (await asyncio.wait_for(child.stderr.readline(), WITHIN_S)).decode()
    found = re.search(r"http://127\.0\.0\.1:\d+/\?key=\S+", line)
    assert found is not None, line
    yield Serving(child, found[0])
    if child.returncode is None:
        child.kill()
    await child.wait()


class Browser:
    """The page's socket, and what the terminal in the page shows."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    async def wait_for(self, words: str) -> str:
        async with asyncio.timeout(WITHIN_S):
            while words not in self.text:
                message = await self.socket.receive()
                assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), self.text
                if message.type == aiohttp.WSMsgType.BINARY:
                    self._stream.feed(re.sub(rb"\x1b\[[<>=?][0-9;]*\$?[a-zA-Z]", b"", message.data))
        return self.text


async def all_end(processes: list[psutil.Process]) -> bool:
    def lives(one: psutil.Process) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return one.status() != psutil.STATUS_ZOMBIE
        return False

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(APP_ENDS_WITHIN_S):
            while any(lives(one) for one in processes):
                await asyncio.sleep(0.02)
    return not any(lives(one) for one in processes)


async def test_only_who_has_the_key_is_let_in(serving: Serving) -> None:
    async with aiohttp.ClientSession() as stranger:
        for path in ("/", "/?key=wrong", "/ws", "/static/js/textual.js", "/download/x"):
            async with stranger.get(serving.root + path) as answer:
                assert answer.status == 403, path
        async with stranger.get(serving.root + "/", headers={"Host": 'x"><script>'}) as answer:
            assert answer.status == 400
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as person:
        async with person.get(serving.address) as answer:
            page = await answer.text()
            assert answer.status == 200
            assert "key=" not in str(answer.url), "the key would stand in the history"
        named = set(re.findall(r"(?:https?|wss?)://[^\"'\s<>]+", page)) - {SVG}
        assert all(one.startswith(serving.root.replace("http", "ws")) for one in named), named
        for source in re.findall(r'(?:src|href)="(/[^"]+)"', page):
            async with person.get(serving.root + source) as answer:
                assert answer.status == 200, source
        for origin in ("http://evil.example", "null", serving.root + "0", ""):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await person.ws_connect(serving.root + "/ws", headers={"Origin": origin})
            assert refused.value.status == 403, origin


@contextlib.asynccontextmanager
async def connected(serving: Serving) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as person:
        async with person.get(serving.address) as answer:
            assert answer.status == 200
        async with person.ws_connect(
            serving.root + "/ws?width=80&height=24", headers={"Origin": serving.root}
        ) as socket:
            yield Browser(socket)


async def test_the_screens_in_a_browser(serving: Serving) -> None:
    async with connected(serving) as browser:
        await browser.wait_for("Nuclei seg")
        await browser.wait_for("n New")
        apps = serving.children
        assert any("zoowizard.watch" in one.cmdline() for one in apps)
        await browser.socket.send_json(["stdin", "n"])
        await browser.wait_for("1 Model")
        await browser.socket.send_json(["stdin", "\x0f"])
        await browser.wait_for("n New")
        async with connected(serving) as beside:
            await beside.wait_for("Nuclei seg")
            await beside.socket.send_json(["stdin", "\r"])
            await beside.wait_for("2 Check")
    assert await all_end(apps)
    assert await all_end(serving.children)
    assert serving.child.returncode is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_the_end_of_the_server_ends_what_it_started(number: int, serving: Serving) -> None:
    async with connected(serving) as browser:
        await browser.wait_for("Nuclei seg")
        apps = serving.children
        assert apps
        serving.child.send_signal(number)
        async with asyncio.timeout(APP_ENDS_WITHIN_S):
            while not browser.socket.closed:
                await browser.socket.receive()
        code = await asyncio.wait_for(serving.child.wait(), APP_ENDS_WITHIN_S)
        assert code == (-number if number == signal.SIGKILL else 0)
        assert await all_end(apps)
    assert serving.child.stderr is not None
    assert b"Traceback" not in await serving.child.stderr.read()
