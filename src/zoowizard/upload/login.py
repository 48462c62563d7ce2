"""Logging in by a link: it can be opened in a browser anywhere, so this works over SSH, too."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from zoowizard.errors import ZoowizardError
from zoowizard.upload.answers import TokenRefused
from zoowizard.upload.hypha import Hypha, Person
from zoowizard.upload.servers import Server
from zoowizard.upload.tokens import LONGEST_TOKEN, Token, keep_token, token_for
from zoowizard.upload.web import Patience

WAITS_S: Final = 600.0
LOOKS_EVERY_S: Final = 2.0
SOON: Final = timedelta(hours=2)
QUICK: Final = Patience(tries_for_s=10.0)


@dataclass(frozen=True)
class LoggedIn:
    """Who is logged in at which server, with a token that is from `source` (in words)."""

    server: Server
    person: Person
    source: str

    @property
    def ends(self) -> str:
        """When the login ends, in words."""
        return in_words(self.person.expires)

    @property
    def ends_soon(self) -> bool:
        """Whether it may end during an upload."""
        expires = self.person.expires
        return expires is not None and expires - datetime.now(UTC) < SOON


def log_in(
    server: Server,
    show_link: Callable[[str], object],
    waits_s: float = WAITS_S,
    looks_every_s: float = LOOKS_EVERY_S,
) -> LoggedIn:
    """Log in: `show_link` shows a person the link to open; then wait until that is done, and keep the token.

    Raises ZoowizardError where that does not happen in time, or the token cannot be kept.
    """
    with Hypha(server, lambda: "", QUICK) as hypha:
        link, key = hypha.start_login()
        show_link(link)
        until = time.monotonic() + waits_s
        while not (secret := hypha.check_login(key)):
            if time.monotonic() > until:
                raise ZoowizardError("nobody logged in by the link in time; run `zoowizard login` again")
            time.sleep(looks_every_s)
    if len(secret) > LONGEST_TOKEN or not secret.isascii() or not secret.isprintable():
        raise ZoowizardError(f"{server.host} gave a token that is none; is it the server of a model zoo?")
    with Hypha(server, lambda: secret, QUICK) as hypha:
        person = hypha.who()
    return LoggedIn(server, person, keep_token(server, secret))


def who_am_i(server: Server, token: Token | None = None) -> LoggedIn:
    """Who is logged in. Raises TokenRefused where nobody is, or the server does not take the token any more."""
    token = token or token_for(server)
    if token is None:
        raise TokenRefused(f"you are not logged in at {server.host}; run `zoowizard login`")
    if token.expires is not None and token.expires < datetime.now(UTC):
        raise TokenRefused(
            f"your login at {server.host} ended {in_words(token.expires)} (the token is from {token.source}); run "
            "`zoowizard login`"
        )
    with Hypha(server, lambda: token.secret, QUICK) as hypha:
        return LoggedIn(server, hypha.who(), token.source)


def in_words(moment: datetime | None) -> str:
    """A moment for people, in the time of this computer."""
    return "at no time that it tells" if moment is None else moment.astimezone().strftime("on %d %B %Y at %H:%M")
