"""A file of a package that lies on a server: fetched with a bound, or said why it cannot be had."""

import ipaddress
import shutil
import socket
from pathlib import Path
from typing import Final

import httpx

from zoowizard.errors import ZoowizardError

TIMEOUT: Final = httpx.Timeout(60, connect=10)
CHUNK_BYTES: Final = 1 << 18


def fetch(address: str, target: Path) -> None:
    """Save what lies at a web address as `target`, as far as the disk has room.

    Raises ZoowizardError, a reason in a few words, where it cannot be had; nothing of it is left then.
    """
    try:
        with (
            target.open("wb") as file,
            httpx.Client(
                timeout=TIMEOUT, follow_redirects=True, max_redirects=5, event_hooks={"request": [_require_elsewhere]}
            ) as client,
            client.stream("GET", address) as answer,
        ):
            if answer.status_code != 200:
                raise ZoowizardError(f"the server answers {answer.status_code}")
            left = shutil.disk_usage(target.parent).free // 2
            for chunk in answer.iter_bytes(CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    raise ZoowizardError("the disk has too little room for it")
                file.write(chunk)
    except BaseException as problem:
        target.unlink(missing_ok=True)
        if isinstance(problem, httpx.ConnectError | httpx.ConnectTimeout):
            raise ZoowizardError("the server cannot be reached; is there a network?") from problem
        if isinstance(problem, httpx.HTTPError | httpx.InvalidURL | OSError):
            raise ZoowizardError(f"it cannot be fetched ({type(problem).__name__})") from problem
        raise


def _require_elsewhere(request: httpx.Request) -> None:
    """Raise ZoowizardError for a server that answers only to the computer that asks.

    There (169.254.169.254) the computers of clouds have their keys, and what is fetched goes into a package.
    """
    try:
        found = socket.getaddrinfo(request.url.host, None)
    except (OSError, UnicodeError):
        return  # no such name: the connection will say so
    if any(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_link_local for one in found):
        raise ZoowizardError("no package may name this address: only the computer that asks for it is answered there")
