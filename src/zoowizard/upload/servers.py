"""Which server of a model zoo is meant: the zoo's own, or another one for tests and for zoos of one's own."""

import hashlib
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from zoowizard.errors import WrongUse

ZOO: Final = "https://hypha.aicell.io"
COLLECTION: Final = "bioimage-io/bioimage.io"
VARIABLE: Final = "ZOOWIZARD_SERVER"


@dataclass(frozen=True)
class Server:
    """A Hypha server by its address (`https://host[:port]`, no slash at the end), and its collection of models."""

    base: str
    collection: str = COLLECTION

    @property
    def host(self) -> str:
        """Name and port, for people."""
        return urlsplit(self.base).netloc

    @property
    def mark(self) -> str:
        """A short name for folders and files, another one for each server."""
        return hashlib.sha256(f"{self.base} {self.collection}".encode()).hexdigest()[:12]


def server_of(asked: str | None = None, environment: Mapping[str, str] = os.environ) -> Server:
    """The server that was asked for, else that of `ZOOWIZARD_SERVER`, else the zoo's own.

    Raises WrongUse for what is no address, and for one without encryption that is not on this computer: everybody on
    the way could read the token.
    """
    text = (asked or environment.get(VARIABLE) or ZOO).strip()
    return Server(base_of(text, "--server" if asked else VARIABLE, ZOO))


def base_of(text: str, named: str, example: str) -> str:
    """The address of a server without a slash at its end. `named` is where it was written, `example` a right one.

    Raises WrongUse as `server_of` does.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or parts.query or parts.fragment:
        raise WrongUse(f"{named}: {_shown(text)} is no address of a server; write for example {example}")
    if parts.scheme == "http" and not _is_here(host):
        raise WrongUse(f"{named}: {_shown(text)} is without encryption, so others could read the token; write https://")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(text: str) -> str:
    """What was written, without a password that may be in it."""
    return text.rpartition("@")[2][:200]
