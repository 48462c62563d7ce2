"""The command `probe`: what a network is, and what it gives after each normalisation."""

import argparse
import contextlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoowizard.cli.build import finish, open_with_answers
from zoowizard.cli.output import AnswersMissing, print_json, printable_lines, workspace_of
from zoowizard.cli.settings import settings_of
from zoowizard.errors import ExitCode, ZoowizardError

if TYPE_CHECKING:
    from zoowizard.jobs.probed import Probed
    from zoowizard.jobs.state import Job


def probe(given: argparse.Namespace) -> int:
    """Find out what a network is, and try every normalisation on its test image."""
    from zoowizard.jobs.probed import read_probed
    from zoowizard.launch import start_probe
    from zoowizard.progress import watch
    from zoowizard.workflow import unready_to_probe

    workspace = workspace_of(given)
    settings = settings_of(given, workspace.root)
    with contextlib.ExitStack() as held:
        draft = open_with_answers(workspace, given.path, given.called, given.answers, held, ())
        if wanting := unready_to_probe(draft):
            raise AnswersMissing(wanting)
        folder = start_probe(workspace, draft, given.time_limit * 60, settings, given.priority)
    if given.detach:
        return finish([folder], given)
    job = watch(folder)
    if job.state != "passed":
        print(f"the whole log: zoowizard jobs log {job.id}", file=sys.stderr)
        if given.json:
            print_json({"status": job.state, "reason": job.reason, "job": job.id})
        return ExitCode.FAILED
    probed = read_probed(folder)
    pictures = folder if given.output is None else _handed_over(probed, folder, given.output)
    if given.json:
        _print_json(probed, job, pictures)
    else:
        _print(probed, pictures)
    return ExitCode.DONE


def add_probe(command: argparse.ArgumentParser) -> None:
    """The arguments of `probe` that are its own."""
    command.add_argument("path", type=Path, metavar="PATH", help="the checkpoint")
    command.add_argument("--answers", type=Path, metavar="FILE", help="the answers file, see `zoowizard answers`")
    command.add_argument("--output", type=Path, metavar="DIR", help="where the pictures go")


def _handed_over(probed: "Probed", folder: Path, output: Path) -> Path:
    """The folder in which the pictures are by now. Raises ZoowizardError where they cannot be saved there."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        for one in probed.candidates:
            shutil.copyfile(folder / one.picture, output / one.picture)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise ZoowizardError(f"{output}: the pictures could not be saved there ({reason}); they are in {folder}") from (
            problem
        )
    return output


def _print_json(probed: "Probed", job: "Job", pictures: Path) -> None:
    told = probed.plain()
    for one in told["candidates"]:
        one["picture"] = str((pictures / one["picture"]).absolute())
    print_json({**told, "status": "passed", "job": job.id})


def _print(probed: "Probed", pictures: Path) -> None:
    for told in probed.findings:
        sure = "" if told.certain else " (a guess)"
        how = f"   [to overrule it: {', '.join(told.overruled_by)}]" if told.overruled_by else ""
        print(printable_lines(f"{told.label}{sure}: {told.evidence}{how}"))
    print()
    rows = [("normalisation", "difference", "output", "picture")] if probed.is_ranked else []
    rows = rows or [("normalisation", "", "output", "picture")]
    for one in probed.candidates:
        name = one.normalisation + (f", {one.over}" if one.over else "")
        apart = "" if one.difference is None else f"{one.difference:.3g}"
        rows.append((name, apart, one.range_in_words, one.picture))
    print("\n".join(printable_lines(line) for line in _in_columns(rows)))
    print(printable_lines(f"pictures: {pictures}"))
    for name, reason in probed.refused.items():
        print(printable_lines(f"{name}: the network gave no answer: {reason}"))
    print(printable_lines(f"{probed.sentence[:1].upper()}{probed.sentence[1:]}."))


def _in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=True) if width]
        lines.append("  ".join(cells).rstrip())
    return lines
