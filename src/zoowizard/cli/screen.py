"""The commands that show the screens: `zoowizard` itself, `new` and `serve`; or ask in plain lines instead."""

import argparse
import os
import sys
from pathlib import Path

from zoowizard.cli.build import build
from zoowizard.cli.output import QuestionsEnded, printable_lines, workspace_of
from zoowizard.errors import ExitCode, WrongUse

NO_SCREEN = "there is no terminal to show the screens on; `zoowizard --help` lists the commands that need none"


def open_board(given: argparse.Namespace) -> int:
    """The command without a name: the board, and from there everything else."""
    return _show(given, wizard=False, path=None)


def new(given: argparse.Namespace) -> int:
    """The wizard for a new model, or for the one at the path."""
    if given.path is not None and not os.path.lexists(given.path):
        raise WrongUse(f"{given.path} does not exist; give a checkpoint or the folder that training left behind")
    return _show(given, wizard=True, path=given.path)


def serve(given: argparse.Namespace) -> int:
    """The same screens in a browser on this computer."""
    from zoowizard.screens.serve import serve as serve_screens

    def announce(address: str) -> None:
        print(f"open this address in a browser (ctrl+c ends it): {address}", file=sys.stderr, flush=True)

    serve_screens(workspace_of(given).root, given.port, announce)
    return ExitCode.DONE


def _show(given: argparse.Namespace, wizard: bool, path: Path | None) -> int:
    if given.plain or os.environ.get("TERM", "dumb") in ("", "dumb"):
        if sys.stdin is None or not sys.stdin.isatty():
            raise WrongUse(NO_SCREEN)
        return _ask_in_lines(given, path)
    if not _has_screen():
        raise WrongUse(NO_SCREEN)
    from zoowizard.screens.app import Opening, ZoowizardApp

    app = ZoowizardApp(workspace_of(given).root, Path.cwd(), Opening(wizard, path))
    app.run()
    for sentence in [app.crash, *app.unsaved] if app.crash else app.unsaved:
        print(printable_lines(sentence), file=sys.stderr)
    return ExitCode.FAILED if app.unsaved or app.return_code else ExitCode.DONE


def _ask_in_lines(given: argparse.Namespace, path: Path | None) -> int:
    """The same way in plain lines, for a dumb terminal or a screen reader: choose a model, answer, build."""
    from zoowizard.prompts import PromptsEnded, choose_model

    try:
        given.paths = [path or choose_model(Path.cwd())]
    except PromptsEnded:
        raise QuestionsEnded("no model was chosen") from None
    given.answers, given.output, given.time_limit, given.priority, given.json = None, None, 240.0, 0, False
    given.called = None
    return build(given)


def _has_screen() -> bool:
    """The screens read the keys from standard input and draw on standard error; a browser has a driver of its own."""
    if os.environ.get("TEXTUAL_DRIVER"):
        return True
    streams = (sys.__stdin__, sys.__stderr__)
    return all(stream is not None and stream.isatty() for stream in streams)
