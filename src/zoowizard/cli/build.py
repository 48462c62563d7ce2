"""The command `build`, and how a command shows the jobs that it started."""

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoowizard.cli.output import AnswersMissing, QuestionsEnded, print_json, printable_lines, workspace_of
from zoowizard.cli.settings import settings_of
from zoowizard.errors import ExitCode, WrongUse, ZoowizardError

if TYPE_CHECKING:
    from zoowizard.drafts.draft import Draft
    from zoowizard.drafts.store import Workspace
    from zoowizard.jobs.state import Job


def build(given: argparse.Namespace) -> int:
    """Convert, package and test a model, or several together: all are checked before the first is started."""
    from zoowizard.drafts.completeness import deferred, hints
    from zoowizard.launch import start_builds
    from zoowizard.workflow import questions_for, unready

    workspace = workspace_of(given)
    settings = settings_of(given, workspace.root)
    several = len(given.paths) > 1
    if several and given.called is not None:
        raise WrongUse("build: --as names one model; give one PATH with it")
    drafts: list[Draft] = []
    wanting: dict[str, str] = {}
    with contextlib.ExitStack() as held:
        for path, answers in zip(given.paths, _answers(given.paths, given.answers), strict=True):
            draft = open_with_answers(workspace, path, given.called, answers, held, drafts)
            if answers is None and not given.json and not several and sys.stdin.isatty():
                draft = _ask(draft, workspace)
            drafts.append(draft)
            where = f"{path}: " if several else ""
            wanting.update({f"{where}{name}": sentence for name, sentence in unready(draft).items()})
        if wanting:
            raise AnswersMissing(wanting)
        for draft in drafts:
            for name, hint in hints(draft, questions_for(draft)).items():
                print(printable_lines(f"! {_of(draft, several)}{name}: {hint}"), file=sys.stderr)
        limit_s, priority = given.time_limit * 60, given.priority
        folders = start_builds(workspace, drafts, given.output, limit_s, settings, priority)
    more = {}
    for draft, folder in zip(drafts, folders, strict=True):
        more[folder] = {"deferred": deferred(draft, questions_for(draft))}
        for question in more[folder]["deferred"]:
            text = f"? {_of(draft, several)}to be checked when there is a network: {question}"
            print(printable_lines(text), file=sys.stderr)
    return finish(folders, given, more)


def open_with_answers(
    workspace: "Workspace",
    path: Path,
    called: str | None,
    answers: Path | None,
    held: contextlib.ExitStack,
    before: Sequence["Draft"],
) -> "Draft":
    """The draft of the model at `path` with its answers, saved, and held as long as `held`.

    One that is new and `called` is gone again where `held` ends in an error, unless a person answered meanwhile.
    """
    from zoowizard.drafts.answers import changed
    from zoowizard.drafts.store import editing, ids, load, remove_unstarted, save
    from zoowizard.workflow import answered, choose_one, open_draft, read_all

    recognition = choose_one(path)
    there = ids(workspace)
    draft = open_draft(workspace, recognition, called)
    for warning in recognition.warnings:
        print(f"! {printable_lines(warning.message)}", file=sys.stderr)
    if any(draft.id == one.id for one in before):
        raise WrongUse(f"{path}: is the model {draft.id}, which was given before; give each once")
    held.enter_context(editing(workspace, draft.id))

    def leave_nothing(kind: type[BaseException] | None, problem: BaseException | None, _: object) -> None:
        if isinstance(problem, ZoowizardError) and load(workspace, draft.id).given == draft.given:
            remove_unstarted(workspace, draft)

    if called is not None and draft.id not in there:
        held.push(leave_nothing)
    if answers is not None:
        draft = answered(draft, changed(draft, read_all(answers, draft)))
    save(workspace, draft)
    return draft


def _answers(paths: Sequence[Path], given: Sequence[Path] | None) -> list[Path | None]:
    """The answers file of each model: one was given for each in their order, or a folder that holds them by name."""
    from zoowizard.workflow import name_of_run

    if not given:
        return [None] * len(paths)
    if len(given) == 1 and given[0].is_dir():
        found = [given[0] / f"{name_of_run(path)}.yaml" for path in paths]
        if lacking := [str(one) for one in found if not one.is_file()]:
            raise WrongUse(f"--answers: there is no {', no '.join(lacking)}; the file is named as the run's folder is")
        return [*found]
    if len(given) != len(paths):
        raise WrongUse(
            f"--answers: {len(given)} for {len(paths)} models; give one for each, in their order, or a folder that "
            "holds them, each named as its run"
        )
    return [*given]


def _of(draft: "Draft", several: bool) -> str:
    return f"{draft.id}: " if several else ""


def _ask(draft: "Draft", workspace: "Workspace") -> "Draft":
    from zoowizard.drafts.store import save
    from zoowizard.launch import expect_build
    from zoowizard.prompts import PromptsEnded, ask_missing
    from zoowizard.workflow import answered, questions_for, unready

    if unready(draft):
        expect_build(workspace, draft.family)
    try:
        return ask_missing(draft, questions_for, answered, lambda told: save(workspace, told))
    except PromptsEnded:
        sentence = "the questions were ended; what was answered is saved, call the same again to go on"
        raise QuestionsEnded(sentence) from None


def finish(
    folders: Sequence[Path], given: argparse.Namespace, more: Mapping[Path, Mapping[str, object]] | None = None
) -> int:
    """Show jobs until they have ended, then their results; or only their ids with --detach.

    `more` joins them in the JSON, which is a list where there are several.
    """
    from zoowizard.progress import watch_all

    if getattr(given, "detach", False):
        return _detach(folders, given)
    jobs = watch_all(folders)
    answers = [_answer(job, (more or {}).get(job.folder, {})) for job in jobs]
    for job in jobs:
        if job.state != "passed":
            print(f"the whole log: zoowizard jobs log {job.id}", file=sys.stderr)
        elif not given.json:
            _print_outcome(job, f"{job.model}: " if len(jobs) > 1 else "")
    if given.json:
        print_json(answers if len(answers) > 1 else answers[0])
    return ExitCode.DONE if all(job.state == "passed" for job in jobs) else ExitCode.FAILED


def _detach(folders: Sequence[Path], given: argparse.Namespace) -> int:
    from zoowizard.jobs.state import read_job

    jobs = [read_job(folder) for folder in folders]
    started = [{"job": job.id, "model": job.model, "state": job.state, "folder": str(job.folder)} for job in jobs]
    if given.json:
        print_json(started if len(started) > 1 else started[0])
    for job in jobs if not given.json else ():
        print(printable_lines(f"{job.id}  {job.model}"))
    if not given.json:
        print("they go on without this terminal; `zoowizard jobs` tells how they are", file=sys.stderr)
    return ExitCode.DONE


def _answer(job: "Job", more: Mapping[str, object]) -> dict[str, Any]:
    outcome = dict(job.outcome or {})
    steps = [{"name": step.name, "seconds": step.seconds} for step in job.steps if step.state == "done"]
    if job.state == "passed":
        return {**outcome, "steps": steps, "job": job.id, **more}
    blank = {"package": None, "report": None, "parity": None, "agreement": None}
    return {**blank, **outcome, "status": job.state, "reason": job.reason, "steps": steps, "job": job.id}


def _print_outcome(job: "Job", whose: str) -> None:
    from zoowizard.agreement import in_words

    outcome = job.outcome or {}
    for name in ("package", "report"):
        if outcome.get(name):
            print(printable_lines(f"{whose}{name}: {outcome[name]}"))
    if outcome.get("parity"):
        print(printable_lines(f"{whose}parity: {_parity_in_words(outcome['parity'])}"))
    if agreement := in_words(outcome.get("agreement")):
        print(f"{whose}agreement: {agreement}")
    elif outcome.get("not_measured"):
        print(printable_lines(f"{whose}parity: not measured: {outcome['not_measured']}"))
    for one in outcome.get("differences") or ():
        print(printable_lines(f"{whose}difference: {one['what']}: {one['value']:.3g}"))


def _parity_in_words(parity: dict[str, Any]) -> str:
    iou = "no instances" if parity["mean_iou"] is None else f"mean IoU {parity['mean_iou']:.4f}"
    return f"{iou}, {parity['identical_pixels']:.4%} of pixels identical, on {parity['images']} images"
