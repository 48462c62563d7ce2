"""The commands that take a model through: demo, identify, answers, build, test."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoowizard.cli.output import AnswersMissing, QuestionsEnded, print_json, printable_lines, workspace_of
from zoowizard.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from zoowizard.drafts.draft import Draft
    from zoowizard.drafts.store import Workspace


def demo(given: argparse.Namespace) -> int:
    """Package the sample model, from checkpoint to report."""
    from zoowizard.assets import asset
    from zoowizard.board.markdown import render_plain
    from zoowizard.workflow import board_lines

    folder: Path = given.output.absolute()
    sample = asset("sample")
    run = sample / "nuclei-yolo11n"
    if given.workspace is None:
        given.workspace = folder / "workspace"
    print("The sample: a YOLO11n segmentation run on drawn nuclei, and a real image of nuclei.", file=sys.stderr)
    print(f"The same by hand: zoowizard build {run} --answers {sample / 'answers.yaml'}\n", file=sys.stderr)
    given.path, given.answers, given.time_limit = run, sample / "answers.yaml", 60.0
    code = build(given)
    if not given.json:
        lines, _ = board_lines(workspace_of(given))
        print("\n" + render_plain([line.row for line in lines], 80), end="")
    return code


def identify(given: argparse.Namespace) -> int:
    """Say what a file, a run folder or a tree of them is."""
    from zoowizard.families.identify import identify, to_json
    from zoowizard.identification import in_words, is_tree
    from zoowizard.workflow import missing_from

    found = identify(given.path)
    if given.json:
        answers = [to_json(one, missing_from(one)) for one in found]
        print_json(answers if is_tree(given.path, found) else answers[0])
    else:
        print(printable_lines("\n\n".join(in_words(one, missing_from(one)) for one in found)))
        if not found:
            print(f"no model was found in {given.path}", file=sys.stderr)
    if given.json or sys.stdout is None or not sys.stdout.isatty():
        for one in found:  # whoever reads the answer is a program: the person is told as well
            if one.refused:
                print(f"! {printable_lines(one.refused)}", file=sys.stderr)
    if any(one.unsafe for one in found):
        return ExitCode.UNSAFE
    return ExitCode.FAILED if any(one.refused for one in found) or not found else ExitCode.DONE


def answers(given: argparse.Namespace) -> int:
    """Write the commented answers file of a model."""
    from zoowizard.atomic import write_text
    from zoowizard.drafts.answers import template
    from zoowizard.workflow import choose_one, fields_of, open_draft

    draft = open_draft(workspace_of(given), choose_one(given.path))
    text = template(draft, fields_of(draft.family))
    if given.output is None:
        print(text, end="")
    elif given.output.exists():
        raise WrongUse(f"{given.output}: is there already; choose another name, so that no answer is lost")
    else:
        write_text(given.output, text)
        print(given.output)
    return ExitCode.DONE


def build(given: argparse.Namespace) -> int:
    """Convert, package and test a model."""
    from zoowizard.drafts.answers import changed, read_answers
    from zoowizard.drafts.completeness import deferred, hints
    from zoowizard.drafts.draft import with_given
    from zoowizard.drafts.store import editing, save
    from zoowizard.workflow import choose_one, fields_of, open_draft, start_build, unready

    workspace = workspace_of(given)
    recognition = choose_one(given.path)
    draft = open_draft(workspace, recognition)
    fields = fields_of(draft.family)
    for warning in recognition.warnings:
        print(f"! {printable_lines(warning.message)}", file=sys.stderr)
    with editing(workspace, draft.id):
        if given.answers is not None:
            draft = with_given(draft, changed(draft, read_answers(given.answers, fields)))
        save(workspace, draft)
        if given.answers is None and not given.json and sys.stdin.isatty():
            draft = _ask(draft, workspace)
        if wanting := unready(draft):
            raise AnswersMissing(wanting)
        for name, hint in hints(draft, fields).items():
            print(f"! {name}: {printable_lines(hint)}", file=sys.stderr)
        job_folder = start_build(workspace, draft, given.output, given.time_limit * 60)
    questions = deferred(draft, fields)
    for question in questions:
        print(f"? to be checked when there is a network: {printable_lines(question)}", file=sys.stderr)
    return finish(job_folder, given, deferred=questions)


def _ask(draft: "Draft", workspace: "Workspace") -> "Draft":
    from zoowizard.drafts.store import save
    from zoowizard.prompts import PromptsEnded, ask_missing
    from zoowizard.workflow import fields_of

    try:
        return ask_missing(draft, fields_of(draft.family), lambda answered: save(workspace, answered))
    except PromptsEnded:
        sentence = "the questions were ended; what was answered is saved, call the same again to go on"
        raise QuestionsEnded(sentence) from None


def test(given: argparse.Namespace) -> int:
    """Run the zoo's own tests on any package."""
    from zoowizard.workflow import start_test

    job_folder = start_test(workspace_of(given), given.package, given.output, given.time_limit * 60)
    return finish(job_folder, given)


def finish(job_folder: Path, given: argparse.Namespace, **more: object) -> int:
    """Show a job until it has ended, then its result; `more` joins it in the JSON."""
    from zoowizard.progress import watch

    job = watch(job_folder)
    outcome = dict(job.outcome or {})
    steps = [{"name": step.name, "seconds": step.seconds} for step in job.steps if step.state == "done"]
    if job.state == "passed":
        answer = {**outcome, "steps": steps, "job": job.id, **more}
        if given.json:
            print_json(answer)
        else:
            for name in ("package", "report"):
                if outcome.get(name):
                    print(f"{name}: {printable_lines(outcome[name])}")
            if outcome.get("parity"):
                print(f"parity: {_parity_in_words(outcome['parity'])}")
        return ExitCode.DONE
    print(f"the whole log: zoowizard jobs log {job.id}", file=sys.stderr)
    if given.json:
        blank = {"package": None, "report": None, "parity": None}
        print_json({**blank, **outcome, "status": job.state, "reason": job.reason, "steps": steps, "job": job.id})
    return ExitCode.FAILED


def _parity_in_words(parity: dict[str, Any]) -> str:
    iou = "no instances" if parity["mean_iou"] is None else f"mean IoU {parity['mean_iou']:.4f}"
    return f"{iou}, {parity['identical_pixels']:.4%} of pixels identical, on {parity['images']} images"
