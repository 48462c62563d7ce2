"""As whom one is known to the zoo, for the screens: `python -m zoowizard.upload.account who|login ADDRESS`.

A process of its own, for a keyring and a network may keep it waiting. Prints JSON lines. `who` prints one:

    {"known": true, "name": …, "ends": …, "soon": bool, "source": …}    logged in; `soon`: may end during an upload
    {"known": false, "why": …}                                          not logged in, or not any more
    {"known": null, "why": …}                                           nobody could be asked

`login` prints `{"link": …}`, and once the person has logged in there the same as `who`. The token is never printed.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.answers import TokenRefused
from zoowizard.upload.login import LoggedIn, log_in, who_am_i
from zoowizard.upload.servers import server_of


def main(arguments: Sequence[str]) -> int:
    """Ask or log in; gives the exit code."""
    act, address = arguments
    try:
        server = server_of(address)
        if act == "login":
            _print(_told(log_in(server, lambda link: _print({"link": link}))))
        else:
            _print(_told(who_am_i(server)))
    except TokenRefused as problem:
        _print({"known": False, "why": str(problem)})
    except ZoowizardError as problem:
        if act == "login" or isinstance(problem, WrongUse):
            sys.stderr.write(str(problem).encode(errors="backslashreplace").decode() + "\n")
            return problem.exit_code
        _print({"known": None, "why": str(problem)})
    return 0


def _told(known: LoggedIn) -> dict[str, Any]:
    return {
        "known": True,
        "name": known.person.name,
        "ends": known.ends,
        "soon": known.ends_soon,
        "source": known.source,
    }


def _print(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
