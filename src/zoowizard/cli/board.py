"""The command `board`: the event's tracking table, out of a document, on the terminal, and back into the document."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zoowizard.cli.output import print_json, printable_lines, workspace_of
from zoowizard.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from zoowizard.drafts.store import Workspace


def board(given: argparse.Namespace) -> int:
    """Print the table, take it out of a Markdown document, or write its cells back."""
    if given.action == "show" and given.file is not None:
        raise WrongUse(f"board show takes no file; `zoowizard board import {given.file}` takes the table out of it")
    if given.action != "show" and given.file is None:
        raise WrongUse(
            f"board {given.action}: name the Markdown file, for example zoowizard board {given.action} FILE.md"
        )
    workspace = workspace_of(given)
    if given.action == "import":
        return _import(workspace, given.file, given.json)
    if given.action == "export":
        return _export(workspace, given.file, given.json)
    return _show(workspace, given)


def _show(workspace: "Workspace", given: argparse.Namespace) -> int:
    from zoowizard.board.markdown import render, render_plain
    from zoowizard.workflow import board_lines

    lines, problems = board_lines(workspace)
    rows = [line.row for line in lines]
    if given.json:
        print_json([row.by_column() for row in rows])
    elif given.markdown:
        print(render(rows), end="")
    else:
        print(render_plain(rows, shutil.get_terminal_size((80, 24)).columns), end="")
    return _tell(problems)


def _import(workspace: "Workspace", document: Path, as_json: bool) -> int:
    from zoowizard.board.event import import_document

    done = import_document(workspace, document)
    if as_json:
        print_json({"new": done.new, "known": done.known, "gone": done.gone, "oddities": list(done.oddities)})
    else:
        gone = f", {done.gone} no longer in it" if done.gone else ""
        print(f"{printable_lines(str(document))}: {done.new} new rows, {done.known} known ones{gone}")
    for sentence in done.oddities:
        print(f"! {printable_lines(sentence)}", file=sys.stderr)
    return ExitCode.DONE


def _export(workspace: "Workspace", document: Path, as_json: bool) -> int:
    from zoowizard.board.event import export_document
    from zoowizard.workflow import board_lines

    lines, problems = board_lines(workspace)
    done = export_document(workspace, document, lines)
    if as_json:
        print_json(
            {"cells_changed": done.cells_changed, "rows_changed": done.rows_changed, "rows_added": done.rows_added}
        )
    else:
        name = printable_lines(str(document))
        print(f"{name}: {done.cells_changed} cells in {done.rows_changed} rows changed, {done.rows_added} rows added")
    return _tell(problems)


def _tell(problems: list[str]) -> int:
    for problem in problems:
        print(f"! {printable_lines(problem)}", file=sys.stderr)
    return ExitCode.FAILED if problems else ExitCode.DONE
