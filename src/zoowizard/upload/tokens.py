"""Where a token comes from and where it is kept: the environment, the system's keyring, or a file for you alone.

A token is as good as a password. It is never part of a message, an event, a repr or the arguments of a process.
"""

import base64
import contextlib
import json
import os
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zoowizard.atomic import write_bytes
from zoowizard.errors import ZoowizardError
from zoowizard.upload.servers import Server, server_of
from zoowizard.upload.values import moment

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")
VARIABLE: Final = "ZOOWIZARD_TOKEN"
SERVICE: Final = "zoowizard"
FILE: Final = "tokens.json"
KEYRING_WITHIN_S: Final = 20.0
"""A keyring that is locked asks on a screen that may not be there: then the file is taken."""
LONGEST_TOKEN: Final = 16_384


@dataclass(frozen=True)
class Token:
    """A token, and in words where it is from."""

    secret: str = field(repr=False)
    source: str

    @property
    def expires(self) -> datetime | None:
        """When it ends, as it says itself; None where it does not say."""
        return expiry_of(self.secret)


def token_for(server: Server, environment: Mapping[str, str] = os.environ) -> Token | None:
    """The token for a server that the person named: that of `ZOOWIZARD_TOKEN`, else the one that was kept, or None.

    For one that stands in a record there is `token_for_recorded`. Raises ZoowizardError where the file with the tokens
    can be read by others, or is damaged.
    """
    if given := environment.get(VARIABLE, "").strip():
        return Token(given, f"the variable {VARIABLE}")
    ring = usable_keyring()
    if ring is not None:
        kept = _in_time(lambda: ring.get_password(SERVICE, server.base))
        if kept:
            return Token(kept, "the keyring of this computer")
    kept = _read_file().get(server.base)
    return Token(kept, str(file_of_tokens())) if kept else None


def token_for_recorded(server: Server, environment: Mapping[str, str] = os.environ) -> Token | None:
    """The token for a server that stands in a record, which may be somebody else's work.

    That of `ZOOWIZARD_TOKEN` is for the server that `server_of` gives, and for no other one; else as `token_for` does.
    Raises WrongUse where `ZOOWIZARD_SERVER` is no address.
    """
    is_meant = server.base == server_of(environment=environment).base
    return token_for(server, environment if is_meant else {})


def to_hand_over(token: Token | None) -> str:
    """The token that a job has to be given, since it is kept nowhere; empty where the job finds it by itself."""
    return token.secret if token is not None and VARIABLE in token.source else ""


def keep_token(server: Server, secret: str) -> str:
    """Keep a token in the place of an older one; gives in words where. Raises ZoowizardError where it cannot be."""
    ring = usable_keyring()
    if ring is not None:
        _in_time(lambda: ring.set_password(SERVICE, server.base, secret))
        kept = _in_time(lambda: ring.get_password(SERVICE, server.base))
        if kept == secret:
            _change_file(server, None)  # an older one must not come back
            return "the keyring of this computer"
    _change_file(server, secret)
    return str(file_of_tokens())


def forget_token(server: Server) -> bool:
    """Forget what was kept for a server; gives whether there was anything."""
    there = False
    ring = usable_keyring()
    kept = None if ring is None else _in_time(lambda: ring.get_password(SERVICE, server.base))
    if ring is not None and kept:
        _in_time(lambda: ring.delete_password(SERVICE, server.base))
        there = True
    return _change_file(server, None) or there


def file_of_tokens() -> Path:
    """The file in which tokens are kept where there is no keyring."""
    import platformdirs

    return Path(platformdirs.user_config_dir("zoowizard", appauthor=False)) / FILE


def usable_keyring() -> "KeyringBackend | None":
    """The system's keyring, where there is one that keeps anything."""
    import keyring

    def find() -> "KeyringBackend | None":
        ring: KeyringBackend = keyring.get_keyring()
        # its own names for what keeps nothing: fail, null; and a chain that is empty
        keeps_nothing = type(ring).__module__.rpartition(".")[2] in ("fail", "null")
        return None if keeps_nothing or ring.priority <= 0 else ring

    return _in_time(find)


def expiry_of(secret: str) -> datetime | None:
    """When a token ends, as the token itself says (RFC 7519, `exp`); None where it says nothing."""
    try:
        body = secret.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return moment(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _in_time(work: Callable[[], T]) -> T | None:
    """What `work` gives; None where it fails, or takes so long that it waits for somebody who is not there."""
    given: list[T] = []

    def do() -> None:
        with contextlib.suppress(Exception):  # keyrings fail in many ways, and all mean that there is none
            given.append(work())

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    thread.join(KEYRING_WITHIN_S)
    return given[0] if given else None


def _read_file() -> dict[str, str]:
    path = file_of_tokens()
    try:
        found = path.stat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise ZoowizardError(f"{path} can be read by others, and holds your token; close it with `chmod 600`")
        told: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise ZoowizardError(f"{path} cannot be read ({(problem.strerror or '').lower()})") from problem
    except ValueError:
        raise ZoowizardError(f"{path} is damaged; remove it, and run `zoowizard login`") from None
    if not isinstance(told, dict):
        raise ZoowizardError(f"{path} is damaged; remove it, and run `zoowizard login`")
    return {name: secret for name, secret in told.items() if isinstance(secret, str)}


def _change_file(server: Server, secret: str | None) -> bool:
    path = file_of_tokens()
    try:
        kept = _read_file()
    except ZoowizardError:
        if secret is None:
            raise
        kept = {}
    there = server.base in kept
    if secret is None and not there:
        return False
    kept.pop(server.base, None)
    if secret is not None:
        kept[server.base] = secret
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not kept:
            path.unlink(missing_ok=True)
            return there
    except OSError as problem:
        raise ZoowizardError(f"could not change {path}: {(problem.strerror or '').lower()}") from problem
    write_bytes(path, (json.dumps(kept, indent=2) + "\n").encode(), mode=0o600)
    return there
