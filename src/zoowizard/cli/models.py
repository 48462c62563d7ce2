"""The commands that take a model through: demo, identify, answers, test; see `cli.build` for the way itself."""

import argparse
import sys
from pathlib import Path

from zoowizard.cli.build import build, finish
from zoowizard.cli.output import print_json, printable_lines, workspace_of
from zoowizard.cli.settings import settings_of
from zoowizard.errors import ExitCode, WrongUse


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
    given.paths, given.answers, given.called = [run], [sample / "answers.yaml"], None
    given.time_limit, given.priority = 60.0, 0
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
    from zoowizard.workflow import choose_one, open_draft, questions_for

    if given.output is not None and given.output.exists():
        raise WrongUse(f"{given.output}: is there already; choose another name, so that no answer is lost")
    draft = open_draft(workspace_of(given), choose_one(given.path), given.called)
    text = template(draft, questions_for(draft))
    if given.output is None:
        print(text, end="")
    else:
        write_text(given.output, text)
        print(given.output)
    return ExitCode.DONE


def test(given: argparse.Namespace) -> int:
    """Run the zoo's own tests on any package."""
    from zoowizard.launch import start_test

    workspace, limit_s = workspace_of(given), given.time_limit * 60
    settings = settings_of(given, workspace.root)
    return finish(
        [start_test(workspace, given.package, given.output, limit_s, settings, given.priority, given.where)], given
    )
