"""The screens in a browser: the same app behind a web server on this computer, by textual-serve.

Everybody who may log in to this computer can reach its ports, so the address holds a secret: without it the server
shows nothing. No page asks for anything from the internet.
"""

import asyncio
import hmac
import re
import secrets
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web
from rich.console import Console
from textual_serve.server import Server

from zoowizard.errors import ZoowizardError

HOST: Final = "127.0.0.1"
COOKIE: Final = "zoowizard"
WEB_FONT: Final = "https://fonts.googleapis.com/css?family=Roboto%20Mono"
"""What textual-serve's page asks the internet for, though the same font lies beside it."""

PAGES_END_WITHIN_S: Final = 3.0
"""So long the apps behind the pages may take to save and end when the server is told to."""

HOST_HEADER: Final = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9a-f:]+\](:\d+)?")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LocalServer(Server):
    """textual-serve's server, for this computer alone: behind a secret, at whatever port it is forwarded to."""

    def __init__(self, command: str, listening: socket.socket, announce: Callable[[str], None]) -> None:
        """`command` starts the app; `listening` is the socket at which browsers ask; `announce` tells the address."""
        self._announce = announce
        self._listening = listening
        self._secret = secrets.token_urlsafe(24)
        self._pages: set[asyncio.Task[object]] = set()
        super().__init__(command, HOST, listening.getsockname()[1], title="zoowizard")
        self.console = Console(stderr=True, quiet=True)

    @property
    def address(self) -> str:
        """What the person opens in the browser."""
        return f"http://{HOST}:{self.port}/?key={self._secret}"

    async def _make_app(self) -> web.Application:
        app: web.Application = await super()._make_app()
        app.middlewares.append(self._guarded)
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who knows the secret: from the address once, from a cookie after that."""
        if HOST_HEADER.fullmatch(request.host) is None:
            return web.Response(status=400, text="the address is none of this server's")
        cookie = f"{COOKIE}-{self.port}"
        if request.path == "/" and self._is_secret(request.query.get("key", "")):
            welcome = web.HTTPSeeOther("/")
            welcome.set_cookie(cookie, self._secret, httponly=True, samesite="Strict", path="/")
            return welcome
        if not self._is_secret(request.cookies.get(cookie, "")):
            return web.Response(status=403, text="open the address that `zoowizard serve` printed, with its key")
        if request.path == "/ws" and request.headers.get("Origin", "") != f"http://{request.host}":
            return web.Response(status=403, text="another page may not drive this one")
        answer = await handler(request)
        if request.path == "/" and isinstance(answer, web.Response):
            answer.text = self._at_home(answer.text or "", request.host)
        return answer

    def _is_secret(self, told: str) -> bool:
        return hmac.compare_digest(told.encode(), self._secret.encode())

    def _at_home(self, page: str, host: str) -> str:
        """The page as it works behind a forwarded port (`host` is what the browser asked for), and offline."""
        page = page.replace(WEB_FONT, "data:text/css,")
        page = page.replace(f"ws://{HOST}:{self.port}", f"ws://{host}")
        return page.replace(f"http://{HOST}:{self.port}", "")

    async def on_startup(self, app: web.Application) -> None:
        """Say where to look."""
        self._announce(self.address)

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Drive one page; each has an app of its own."""
        page = asyncio.current_task()
        assert page is not None
        self._pages.add(page)
        try:
            return await super().handle_websocket(request)
        finally:
            self._pages.discard(page)

    async def on_shutdown(self, app: web.Application) -> None:
        """Let go of the pages, which would otherwise be waited for as long as somebody looks at one."""
        for page in self._pages:
            page.cancel()

    def serve(self, debug: bool = False) -> None:
        """Serve until ctrl+c or SIGTERM. Requests are not logged: the secret is in one."""
        web.run_app(
            self._make_app(), sock=self._listening, access_log=None, print=None, shutdown_timeout=PAGES_END_WITHIN_S
        )


def serve(workspace_root: Path, port: int, announce: Callable[[str], None]) -> None:
    """Show the screens over this workspace at `port` of this computer, 0 for any free one, until ctrl+c.

    `announce` is called with the address when it can be opened. Raises ZoowizardError where the port is taken.
    """
    command = [sys.executable, "-P", "-m", "zoowizard", "--workspace", str(workspace_root)]
    with _listening(port) as listening:
        LocalServer(shlex.join(command), listening, announce).serve()


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise ZoowizardError(f"port {port} cannot be used ({reason}); choose another with --port") from problem
