"""The commands. The screens are loaded only for the command that shows them.

Standard output holds the answer of a command and nothing else (with --json: nothing but the JSON); questions, progress
and problems go to standard error. Exit codes: see `zoowizard.errors.ExitCode`.
"""

import argparse
import io
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from zoowizard import __version__
from zoowizard.cli.board import board
from zoowizard.cli.build import build
from zoowizard.cli.delete import delete
from zoowizard.cli.doctor import doctor
from zoowizard.cli.jobs import jobs
from zoowizard.cli.login import login, logout, whoami
from zoowizard.cli.models import answers, demo, identify, test
from zoowizard.cli.output import AnswersMissing, print_json, printable_lines
from zoowizard.cli.predict import add_predict, predict
from zoowizard.cli.probe import add_probe, probe
from zoowizard.cli.screen import new, open_board, serve
from zoowizard.cli.settings import add_engine_flags, settings
from zoowizard.cli.upload import upload
from zoowizard.cli.uploads import uploads
from zoowizard.errors import ExitCode, ZoowizardError

EXIT_CODES = "exit codes: 0 done, 1 failed, 2 wrong use, 3 answers missing, 4 refused as unsafe"
DEMO = "zoowizard-demo"
WORKSPACE = "where drafts and jobs are kept"
BARE = {"command": open_board, "workspace": None, "plain": False}
"""What `zoowizard` alone means: who opens the board need not wait until all other commands are described."""

Command = Callable[[argparse.Namespace], int]
Adder = Callable[[str, Command, str], argparse.ArgumentParser]
"""Adds a command: its name, what it runs, what it does in a few words."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 shows names in other scripts as codes
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):  # what is typed in another coding is a wrong answer, not the end
        sys.stdin.reconfigure(errors="surrogateescape")
    words = sys.argv[1:] if arguments is None else arguments
    given = _parser().parse_args(words) if words else argparse.Namespace(**BARE)
    try:
        code = _run(given)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\nstopped; what was answered is saved, and a job that runs goes on (`zoowizard jobs`)", file=sys.stderr)
        return 130
    except OSError as problem:
        if not isinstance(problem, BrokenPipeError):
            place = problem.filename or "the answer could not be written"
            print(printable_lines(f"{place}: {(problem.strerror or str(problem)).lower()}"), file=sys.stderr)
        if sys.stdout is not None:  # what is left in it would fail again when the interpreter ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED


def _run(given: argparse.Namespace) -> int:
    command: Command = given.command
    try:
        return command(given)
    except ZoowizardError as problem:
        print(printable_lines(str(problem)), file=sys.stderr)
        if getattr(given, "json", False):
            missing = {"missing": problem.missing} if isinstance(problem, AnswersMissing) else {}
            print_json({"status": "failed", "reason": str(problem), **missing})
        return problem.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zoowizard",
        description="From a trained microscopy model to a tested package of the BioImage Model Zoo (bioimage.io). "
        "Without a command it opens the board: the table of your models, and the way to a new one.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"zoowizard {__version__}")
    parser.add_argument("--workspace", type=Path, metavar="DIR", help=WORKSPACE)
    _plain_flag(parser, False)
    parser.set_defaults(command=open_board)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=EXIT_CODES)
        command.set_defaults(command=run)
        command.add_argument("--workspace", type=Path, metavar="DIR", default=argparse.SUPPRESS, help=WORKSPACE)
        return command

    _add_screens(add)
    _add_models(add)
    _add_zoo(add)
    _add_records(add)
    return parser


def _add_screens(add: Adder) -> None:
    new_model = add("new", new, "open the wizard for a new model")
    new_model.add_argument("path", nargs="?", type=Path, metavar="PATH", help="the model, where you know it already")
    _plain_flag(new_model, argparse.SUPPRESS)  # or it would undo `zoowizard --plain new`

    served = add("serve", serve, "show the screens in a browser on this computer")
    served.add_argument("--port", type=_port, default=8000, metavar="PORT", help="default: %(default)d")


def _add_models(add: Adder) -> None:
    sample = add("demo", demo, "package the sample model that comes with zoowizard, from checkpoint to report")
    sample.add_argument(
        "--output", type=Path, metavar="DIR", default=Path("zoowizard-demo"), help="default: %(default)s"
    )
    _json_flag(sample)

    looked_at = add("identify", identify, "say what a checkpoint, a run folder or a tree of them is")
    looked_at.add_argument("path", type=Path, metavar="PATH")
    _json_flag(looked_at)

    asked = add("answers", answers, "write the commented answers file of a model, to be filled in")
    asked.add_argument("path", type=Path, metavar="PATH")
    asked.add_argument("--output", type=Path, metavar="FILE", help="write it there instead of to standard output")
    _as_option(asked)

    built = add("build", build, "convert, package and test a model, or several together")
    built.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    built.add_argument(
        "--answers",
        action="append",
        type=Path,
        metavar="FILE",
        help="the answers file, see `zoowizard answers`; of several models give one for each in their order, or a "
        "folder that holds RUN.yaml for each",
    )
    built.add_argument(
        "--output", type=Path, metavar="DIR", help="where package and report go; a folder each where they are several"
    )
    _as_option(built)
    _job_flags(built)

    probed = add("probe", probe, "find out what a network is, and what it gives after each normalisation")
    add_probe(probed)
    _as_option(probed)
    _job_flags(probed)

    tested = add("test", test, "run the zoo's own tests on any package")
    tested.add_argument("package", type=Path, metavar="PACKAGE")
    tested.add_argument("--output", type=Path, metavar="DIR", help="where the report goes")
    tested.add_argument(
        "--in",
        dest="where",
        choices=("here", "zoo", "both"),
        default="here",
        help="with the versions that are installed here (the default), those of the zoo's own runner (6 GB, fetched "
        "once), or both",
    )
    _job_flags(tested)

    predicted = add("predict", predict, "apply a package to an image, a folder of images, or a volume of any size")
    add_predict(predicted)
    _job_flags(predicted)


def _add_zoo(add: Adder) -> None:
    for name, run, text in (
        ("login", login, "log in at the zoo, by a link for any browser"),
        ("logout", logout, "forget the login at the zoo"),
        ("whoami", whoami, "say who is logged in at the zoo, and until when"),
    ):
        command = _server_option(add(name, run, text))
        if name == "whoami":
            _json_flag(command)

    sent = _server_option(add("upload", upload, "bring a tested package to the zoo as a draft, or elsewhere"))
    sent.add_argument("package", nargs="?", type=Path, metavar="MODEL|PACKAGE", help="a model's name, or a zip")
    sent.add_argument(
        "--to",
        metavar="PLACE",
        help="zoo (the default), huggingface:OWNER/NAME, or a folder or .zip of this computer",
    )
    sent.add_argument("--public", action="store_true", help="at Hugging Face, where it is private otherwise")
    sent.add_argument("--overwrite", action="store_true", help="in a folder, replace another file of that name")
    sent.add_argument("--submit", action="store_true", help="then ask the zoo's reviewers to look at it")
    sent.add_argument("--new-version", action="store_true", help="as a new version of a model that is published")
    sent.add_argument("--pending", action="store_true", help="go on with all that are queued or were interrupted")
    sent.add_argument("--insist", action="store_true", help="although its tests did not pass; it then says so")
    sent.add_argument("--detach", action="store_true", help="only start it, and let it go on by itself")
    _json_flag(sent)

    listed = add("uploads", uploads, "list what went to the zoo, and what became of it there; or take it back")
    listed.add_argument(
        "--withdraw", metavar="MODEL", help="back from review to a draft; a draft: ask for its deletion"
    )
    listed.add_argument("--reason", metavar="TEXT", help="why, for the zoo's team")
    listed.add_argument("--yes", action="store_true", help="withdraw it without asking again")
    _json_flag(listed)


def _server_option(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--server", metavar="URL", help="another server than the zoo's own (or ZOOWIZARD_SERVER)")
    return command


def _add_records(add: Adder) -> None:
    table = add("board", board, "print the event's tracking table; import it from a Markdown file, export it to one")
    table.add_argument("action", nargs="?", choices=("show", "import", "export"), default="show")
    table.add_argument("file", nargs="?", type=Path, metavar="FILE.md", help="the event's document")
    table.add_argument("--markdown", action="store_true", help="as a Markdown table")
    _json_flag(table)

    gone = add("delete", delete, "delete a model, which then lies in the trash of the workspace for a while")
    gone.add_argument("model", metavar="MODEL", help="its name, as `zoowizard board` lists it")
    gone.add_argument("--yes", action="store_true", help="delete it without asking again")
    _json_flag(gone)

    _json_flag(add("doctor", doctor, "look whether this computer is fit for the work, and say how to mend what is not"))

    listed = add("jobs", jobs, "list jobs and clean up behind them, or follow, cancel, retry or show the log of one")
    actions = ("list", "follow", "cancel", "retry", "log", "priority", "clean")
    listed.add_argument("action", nargs="?", choices=actions, default="list")
    listed.add_argument("id", nargs="?", metavar="ID", help="the job's id, or its beginning or end")
    listed.add_argument("number", nargs="?", type=_priority, metavar="N", help="for `jobs priority`: higher goes first")
    _json_flag(listed)
    cleaned = listed.add_argument_group("only for `jobs clean`")
    cleaned.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    cleaned.add_argument(
        "--keep",
        type=_days,
        metavar="DAYS",
        default=30.0,
        help="log and report of what ended in this time stay, and models deleted in it (default: %(default)g)",
    )
    cleaned.add_argument(
        "--all", action="store_true", help="remove every job that has ended and nothing needs, and empty the trash"
    )
    retried = listed.add_argument_group("only for `jobs retry`; where it runs is else as `zoowizard settings` say")
    add_engine_flags(retried)

    kept = add("settings", settings, "print where jobs run and with what, or change that for this workspace")
    kept.add_argument("name", nargs="?", metavar="NAME", help="the setting")
    kept.add_argument("value", nargs="?", metavar="VALUE", help="its new value; `default` takes it back")
    _json_flag(kept)


def _as_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--as",
        dest="called",
        metavar="NAME",
        help="a model of its own of this name: several can be made of one checkpoint, with other answers",
    )


def _plain_flag(command: argparse.ArgumentParser, default: bool | str) -> None:
    command.add_argument("--plain", action="store_true", default=default, help="ask in plain lines, for screen readers")


def _json_flag(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the answer as JSON, for programs")


def _job_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--time-limit", type=_minutes, metavar="MINUTES", default=240.0, help="default: %(default)g")
    command.add_argument(
        "--priority",
        type=_priority,
        metavar="N",
        default=0,
        help="of your jobs that wait, the one with the higher number goes first, from -1000 to 1000",
    )
    _json_flag(command)
    add_engine_flags(command.add_argument_group("where it runs (default: as `zoowizard settings` say)"))


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of minutes above 0; write for example 30")
    return minutes


def _priority(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 1001
    if not -1000 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is no priority; write a whole number from -1000 to 1000")
    return number


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 <= days < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of days; write for example 30, or 0 for none")
    return days


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is no port; write a number from 1024 to 65535, or 0 for any free one")
    return int(text)
