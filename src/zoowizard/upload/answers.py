"""What the zoo's server answers, and in which words a person hears of what went wrong."""

import json
from typing import Any, Final

import httpx

from zoowizard.errors import ZoowizardError
from zoowizard.terminal import printable
from zoowizard.upload.web import ANOTHER_TRY, Passing, read_within, wait_asked

MOST_BYTES: Final = 20_000_000
"""Longer no answer is, not even the addresses of thousands of files."""
MOST_WORDS: Final = 10_000


class TokenRefused(ZoowizardError):
    """The token is expired, of another server, or none."""


class NotAllowed(ZoowizardError):
    """The account may not do this."""


class NotThere(ZoowizardError):
    """The server has no such thing."""


class AliasTaken(ZoowizardError):
    """A model of this name is there already."""


def answered(response: httpx.Response, host: str, what: str, token: str) -> Any:
    """What was answered, as JSON, read from the stream. `what` was asked for, in words; `token` is kept out of what is
    said.

    Raises Passing where another try may help, one of the errors above, or ZoowizardError.
    """
    status = response.status_code
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    if 300 <= status < 400 or (status == 200 and not is_json):
        raise ZoowizardError(
            f"something else answered in the place of {host}: this network may want a login in a browser first, or "
            "the address is wrong"
        )
    try:
        content = read_within(response, MOST_BYTES)
        if content is None:
            raise ZoowizardError(f"{host} answered far more than it was asked; is it the server of a model zoo?")
        said = json.loads(content) if is_json else None
        detail = str(said.get("detail") or "")[:MOST_WORDS] if isinstance(said, dict) else ""
    except (ValueError, RecursionError):
        raise Passing(f"the answer of {host} was cut off; try again") from None
    if status == 200:
        return said
    words = _scrubbed(detail, token)
    if status == 401 or ": 401: " in words:
        raise refused(host)
    if "PermissionError" in words or status == 403 or ": 403: " in words:
        raise NotAllowed(
            f"your account may not {what} at {host} ({_last(words)}); log in with the account that may, or ask the "
            "zoo's team for the right"
        )
    if "FileExistsError" in words:
        raise AliasTaken(f"{host} has a model of this name already")
    if "does not exist in the artifact" in words:  # a file of it
        raise NotThere(f"{host} could not {what}: {_last(words)}")
    if status == 404 and (not is_json or words in ("Not Found", "")):
        raise ZoowizardError(f"{host} is no server of a model zoo; check --server and ZOOWIZARD_SERVER")
    if status == 404 and ("does not exist" in words or words == "Artifact not found"):
        raise NotThere(f"{host} could not {what}: {_last(words)}")
    if status == 404:  # a server that is just starting knows none of its services
        raise Passing(f"{host} could not {what} ({_last(words)}); try again later")
    if status in ANOTHER_TRY:
        raise Passing(f"{host} could not {what} (HTTP {status}: {_last(words)}); try again later", wait_asked(response))
    raise ZoowizardError(f"{host} could not {what} (HTTP {status}: {_last(words)})")


def refused(host: str) -> TokenRefused:
    """The error of a token that a server does not take."""
    return TokenRefused(f"{host} does not take your token: it is expired, or of another server; run `zoowizard login`")


def _scrubbed(text: str, token: str) -> str:
    """What a server said, on one line, without the token, should it be in it."""
    plain = printable(" ".join(text.split()))
    return plain.replace(token, "…") if token else plain


def _last(words: str) -> str:
    """The sentence of a server's error, without the names of its exceptions."""
    plain = words.removeprefix("RemoteException: ")
    name, colon, rest = plain.partition(": ")
    if colon and name.rpartition(".")[2].endswith(("Error", "Exception")):
        plain = rest
    return plain.strip("\"' ").rstrip(".")[:200] or "it did not say why"
