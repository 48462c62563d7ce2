"""The commands. The screens are loaded only for the command that shows them.

Standard output holds the answer of a command and nothing else (with --json: nothing but the JSON); questions, progress
and problems go to standard error. Exit codes: see `zoowizard.errors.ExitCode`.
"""

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoowizard import __version__
from zoowizard.errors import ExitCode, WrongUse, ZoowizardError

if TYPE_CHECKING:
    from zoowizard.drafts.draft import Draft
    from zoowizard.drafts.store import Workspace
    from zoowizard.jobs.state import Job

EXIT_CODES = "exit codes: 0 done, 1 failed, 2 wrong use, 3 answers missing, 4 refused as unsafe"


class AnswersMissing(ZoowizardError):
    """Required answers are missing, or what is saved does not hold any more, and nobody is there to be asked."""

    exit_code = ExitCode.ANSWERS_MISSING

    def __init__(self, missing: dict[str, str]) -> None:
        """`missing`: field name → what would be right."""
        super().__init__(
            "these answers are missing or wrong (write them into the file that `zoowizard answers` makes, and give it "
            "with --answers):\n" + "\n".join(f"  {name}: {sentence}" for name, sentence in missing.items())
        )
        self.missing = list(missing)


class QuestionsEnded(ZoowizardError):
    """The person closed the input in the middle of the questions."""

    exit_code = ExitCode.ANSWERS_MISSING


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 shows names in other scripts as codes
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):  # what is typed in another coding is a wrong answer, not the end
        sys.stdin.reconfigure(errors="surrogateescape")
    given = _parser().parse_args(arguments)
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
            print(_printable_lines(f"{place}: {(problem.strerror or str(problem)).lower()}"), file=sys.stderr)
        if sys.stdout is not None:  # what is left in it would fail again when the interpreter ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED


def _run(given: argparse.Namespace) -> int:
    command: Callable[[argparse.Namespace], int] = given.command
    try:
        return command(given)
    except ZoowizardError as problem:
        print(_printable_lines(str(problem)), file=sys.stderr)
        if getattr(given, "json", False):
            missing = {"missing": problem.missing} if isinstance(problem, AnswersMissing) else {}
            _print_json({"status": "failed", "reason": str(problem), **missing})
        return problem.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zoowizard",
        description="From a trained microscopy model to a tested package of the BioImage Model Zoo (bioimage.io).",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"zoowizard {__version__}")
    parser.set_defaults(command=lambda given: _help(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=EXIT_CODES)
        command.set_defaults(command=run)
        command.add_argument("--workspace", type=Path, metavar="DIR", help="where drafts and jobs are kept")
        return command

    demo = add("demo", _demo, "package the sample model that comes with zoowizard, from checkpoint to report")
    demo.add_argument("--output", type=Path, metavar="DIR", default=Path("zoowizard-demo"), help="default: %(default)s")
    _json_flag(demo)

    identify = add("identify", _identify, "say what a checkpoint, a run folder or a tree of them is")
    identify.add_argument("path", type=Path, metavar="PATH")
    _json_flag(identify)

    answers = add("answers", _answers, "write the commented answers file of a model, to be filled in")
    answers.add_argument("path", type=Path, metavar="PATH")
    answers.add_argument("--output", type=Path, metavar="FILE", help="write it there instead of to standard output")

    build = add("build", _build, "convert, package and test a model")
    build.add_argument("path", type=Path, metavar="PATH")
    build.add_argument("--answers", type=Path, metavar="FILE", help="the answers file, see `zoowizard answers`")
    build.add_argument("--output", type=Path, metavar="DIR", help="where package and report go")
    _job_flags(build)

    test = add("test", _test, "run the zoo's own tests on any package")
    test.add_argument("package", type=Path, metavar="PACKAGE")
    test.add_argument("--output", type=Path, metavar="DIR", help="where the report goes")
    _job_flags(test)

    board = add("board", _board, "print the event's tracking table")
    board.add_argument("--markdown", action="store_true", help="as a Markdown table")
    _json_flag(board)

    jobs = add("jobs", _jobs, "list jobs, or follow, cancel or show the log of one")
    jobs.add_argument("action", nargs="?", choices=("list", "follow", "cancel", "log"), default="list")
    jobs.add_argument("id", nargs="?", metavar="ID", help="the job's id, or its beginning or end")
    _json_flag(jobs)
    return parser


def _json_flag(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the answer as JSON, for programs")


def _job_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--time-limit", type=_minutes, metavar="MINUTES", default=240.0, help="default: %(default)g")
    _json_flag(command)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of minutes above 0; write for example 30")
    return minutes


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return ExitCode.DONE


def _identify(given: argparse.Namespace) -> int:
    from zoowizard.families.identify import identify, to_json
    from zoowizard.identification import in_words, is_tree
    from zoowizard.workflow import missing_from

    found = identify(given.path)
    if given.json:
        answers = [to_json(one, missing_from(one)) for one in found]
        _print_json(answers if is_tree(given.path, found) else answers[0])
    else:
        print(_printable_lines("\n\n".join(in_words(one, missing_from(one)) for one in found)))
        if not found:
            print(f"no model was found in {given.path}", file=sys.stderr)
    if given.json or sys.stdout is None or not sys.stdout.isatty():
        for one in found:  # whoever reads the answer is a program: the person is told as well
            if one.refused:
                print(f"! {_printable_lines(one.refused)}", file=sys.stderr)
    if any(one.unsafe for one in found):
        return ExitCode.UNSAFE
    return ExitCode.FAILED if any(one.refused for one in found) or not found else ExitCode.DONE


def _answers(given: argparse.Namespace) -> int:
    from zoowizard.atomic import write_text
    from zoowizard.drafts.answers import template
    from zoowizard.workflow import choose_one, fields_of, open_draft

    draft = open_draft(_workspace(given), choose_one(given.path))
    text = template(draft, fields_of(draft.family))
    if given.output is None:
        print(text, end="")
    elif given.output.exists():
        raise WrongUse(f"{given.output}: is there already; choose another name, so that no answer is lost")
    else:
        write_text(given.output, text)
        print(given.output)
    return ExitCode.DONE


def _build(given: argparse.Namespace) -> int:
    from zoowizard.drafts.answers import changed, read_answers
    from zoowizard.drafts.completeness import deferred, hints
    from zoowizard.drafts.draft import with_given
    from zoowizard.drafts.store import editing, save
    from zoowizard.workflow import choose_one, fields_of, open_draft, start_build, unready

    workspace = _workspace(given)
    recognition = choose_one(given.path)
    draft = open_draft(workspace, recognition)
    fields = fields_of(draft.family)
    for warning in recognition.warnings:
        print(f"! {_printable_lines(warning.message)}", file=sys.stderr)
    with editing(workspace, draft.id):
        if given.answers is not None:
            draft = with_given(draft, changed(draft, read_answers(given.answers, fields)))
        save(workspace, draft)
        if given.answers is None and not given.json and sys.stdin.isatty():
            draft = _ask(draft, workspace)
        if wanting := unready(draft):
            raise AnswersMissing(wanting)
        for name, hint in hints(draft, fields).items():
            print(f"! {name}: {_printable_lines(hint)}", file=sys.stderr)
        job_folder = start_build(workspace, draft, given.output, given.time_limit * 60)
    questions = deferred(draft, fields)
    for question in questions:
        print(f"? to be checked when there is a network: {_printable_lines(question)}", file=sys.stderr)
    return _finish(job_folder, given, deferred=questions)


def _ask(draft: "Draft", workspace: "Workspace") -> "Draft":
    from zoowizard.drafts.store import save
    from zoowizard.prompts import PromptsEnded, ask_missing
    from zoowizard.workflow import fields_of

    try:
        return ask_missing(draft, fields_of(draft.family), lambda answered: save(workspace, answered))
    except PromptsEnded:
        sentence = "the questions were ended; what was answered is saved, call the same again to go on"
        raise QuestionsEnded(sentence) from None


def _test(given: argparse.Namespace) -> int:
    from zoowizard.workflow import start_test

    job_folder = start_test(_workspace(given), given.package, given.output, given.time_limit * 60)
    return _finish(job_folder, given)


def _finish(job_folder: Path, given: argparse.Namespace, **more: object) -> int:
    """Show a job until it has ended, then its result; `more` joins it in the JSON."""
    from zoowizard.progress import watch

    job = watch(job_folder)
    outcome = dict(job.outcome or {})
    steps = [{"name": step.name, "seconds": step.seconds} for step in job.steps if step.state == "done"]
    if job.state == "passed":
        answer = {**outcome, "steps": steps, "job": job.id, **more}
        if given.json:
            _print_json(answer)
        else:
            for name in ("package", "report"):
                if outcome.get(name):
                    print(f"{name}: {_printable_lines(outcome[name])}")
            if outcome.get("parity"):
                print(f"parity: {_parity_in_words(outcome['parity'])}")
        return ExitCode.DONE
    print(f"the whole log: zoowizard jobs log {job.id}", file=sys.stderr)
    if given.json:
        blank = {"package": None, "report": None, "parity": None}
        _print_json({**blank, **outcome, "status": job.state, "reason": job.reason, "steps": steps, "job": job.id})
    return ExitCode.FAILED


def _parity_in_words(parity: dict[str, Any]) -> str:
    iou = "no instances" if parity["mean_iou"] is None else f"mean IoU {parity['mean_iou']:.4f}"
    return f"{iou}, {parity['identical_pixels']:.4%} of pixels identical, on {parity['images']} images"


def _board(given: argparse.Namespace) -> int:
    from zoowizard.board.markdown import render, render_plain
    from zoowizard.workflow import board_rows

    rows, problems = board_rows(_workspace(given))
    if given.json:
        _print_json([row.by_column() for row in rows])
    elif given.markdown:
        print(render(rows), end="")
    else:
        import shutil

        print(render_plain(rows, shutil.get_terminal_size((80, 24)).columns), end="")
    for problem in problems:
        print(f"! {_printable_lines(problem)}", file=sys.stderr)
    return ExitCode.FAILED if problems else ExitCode.DONE


def _jobs(given: argparse.Namespace) -> int:
    from zoowizard.jobs.engines import LocalEngine
    from zoowizard.jobs.state import read_job
    from zoowizard.progress import watch
    from zoowizard.terminal import printable
    from zoowizard.workflow import all_jobs

    jobs = all_jobs(_workspace(given))
    if given.action == "list":
        if given.json:
            _print_json([_job_json(job) for job in jobs])
        for job in jobs if not given.json else ():
            line = f"{job.id}  {job.state:<10} {job.kind:<6} {job.model}  {job.reason}"
            print(printable(line).rstrip())
        return ExitCode.DONE
    job = _one_job(jobs, given.id)
    if given.action == "log":
        log = job.folder / "log.txt"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        if given.json:
            _print_json({**_job_json(job), "log": text})
        else:
            print(text, end="")
        return ExitCode.DONE
    if given.action == "cancel":
        LocalEngine().cancel(job.folder)
        job = read_job(job.folder)
        if given.json:
            _print_json(_job_json(job))
        else:
            print(f"{job.id}  {job.state}  {printable(job.reason)}")
        return ExitCode.DONE
    job = watch(job.folder)
    if given.json:
        _print_json(_job_json(job))
    return ExitCode.DONE if job.state == "passed" else ExitCode.FAILED


def _one_job(jobs: Sequence["Job"], asked: str | None) -> "Job":
    """The job that is meant: its id, the beginning or the end of it, or the newest where none was named."""
    if asked is None:
        if not jobs:
            raise WrongUse("there are no jobs yet")
        return jobs[0]
    meant = [job for job in jobs if job.id.startswith(asked) or job.id.endswith(asked)]
    if len(meant) != 1:
        several = "more than one job" if meant else "no job"
        raise WrongUse(f"{several} has an id that begins or ends with `{asked}`; `zoowizard jobs` lists them")
    return meant[0]


def _job_json(job: "Job") -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "model": job.model,
        "state": job.state,
        "reason": job.reason,
        "steps": [{"name": step.name, "state": step.state, "seconds": step.seconds} for step in job.steps],
        "folder": str(job.folder),
    }


def _demo(given: argparse.Namespace) -> int:
    from zoowizard.assets import asset
    from zoowizard.board.markdown import render_plain
    from zoowizard.workflow import board_rows

    folder: Path = given.output.absolute()
    sample = asset("sample")
    run = sample / "nuclei-yolo11n"
    if given.workspace is None:
        given.workspace = folder / "workspace"
    print("The sample: a YOLO11n segmentation run on drawn nuclei, and a real image of nuclei.", file=sys.stderr)
    print(f"The same by hand: zoowizard build {run} --answers {sample / 'answers.yaml'}\n", file=sys.stderr)
    given.path, given.answers, given.time_limit = run, sample / "answers.yaml", 60.0
    code = _build(given)
    if not given.json:
        rows, _ = board_rows(_workspace(given))
        print("\n" + render_plain(rows, 80), end="")
    return code


def _workspace(given: argparse.Namespace) -> "Workspace":
    from zoowizard.drafts.store import open_workspace

    return open_workspace(given.workspace)


def _print_json(answer: object) -> None:
    print(json.dumps(answer, ensure_ascii=True, indent=2, allow_nan=False))


def _printable_lines(text: str) -> str:
    from zoowizard.terminal import printable

    return "\n".join(printable(line) for line in text.split("\n"))
