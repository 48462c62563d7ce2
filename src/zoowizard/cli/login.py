"""The commands `login`, `logout` and `whoami`: as whom one is known to the zoo."""

import argparse
import sys

from zoowizard.cli.output import print_json, printable_lines
from zoowizard.errors import ExitCode


def login(given: argparse.Namespace) -> int:
    """Log in at the zoo by a link that can be opened in any browser, and keep the token."""
    from zoowizard.upload.login import log_in
    from zoowizard.upload.servers import server_of
    from zoowizard.upload.tokens import VARIABLE, token_for

    server = server_of(given.server)

    def show(link: str) -> None:
        print(f"Open this link in a browser, on any computer, and log in there:\n\n  {printable_lines(link)}\n")
        print("waiting until that is done; the link is good for a few minutes", file=sys.stderr, flush=True)
        sys.stdout.flush()

    person = log_in(server, show)
    print(printable_lines(f"logged in at {server.host} as {person.person.name}; this ends {person.ends}"))
    print(printable_lines(f"the token is kept in {person.source}"), file=sys.stderr)
    used = token_for(server)
    if used is not None and used.source == f"the variable {VARIABLE}":
        print(f"! {VARIABLE} is set, and stands before this login", file=sys.stderr)
    return ExitCode.DONE


def logout(given: argparse.Namespace) -> int:
    """Forget the token of a server."""
    from zoowizard.upload.servers import server_of
    from zoowizard.upload.tokens import VARIABLE, forget_token, token_for

    server = server_of(given.server)
    forgotten = forget_token(server)
    print(printable_lines(f"logged out at {server.host}" if forgotten else f"you were not logged in at {server.host}"))
    if token_for(server) is not None:
        print(f"! {VARIABLE} still holds a token; remove it from your environment", file=sys.stderr)
    return ExitCode.DONE


def whoami(given: argparse.Namespace) -> int:
    """Say who is logged in at the zoo, and until when."""
    from zoowizard.upload.login import who_am_i
    from zoowizard.upload.servers import server_of

    known = who_am_i(server_of(given.server))
    expires = known.person.expires
    if given.json:
        print_json(
            {
                "server": known.server.base,
                "account": known.person.account,
                "email": known.person.email,
                "expires": None if expires is None else expires.isoformat(),
                "source": known.source,
            }
        )
    else:
        print(printable_lines(f"{known.person.name} at {known.server.host}; the login ends {known.ends}"))
        print(printable_lines(f"the token is from {known.source}"), file=sys.stderr)
        if known.ends_soon:
            print("! it may end during an upload; `zoowizard login` renews it", file=sys.stderr)
    return ExitCode.DONE
