"""The way of a model, without a screen: checkpoint → draft → job. The commands and the screens both walk it here."""

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from zoowizard.board.event import event_rows
from zoowizard.board.lines import BoardLine, merged, model_row
from zoowizard.board.rows import Row, fold
from zoowizard.drafts.completeness import all_fields, defaults, is_answered, missing, problems
from zoowizard.drafts.draft import Draft, Value, told_by_event, with_found
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.store import (
    Workspace,
    drafts,
    editing,
    load,
    point_draft,
    remove_unstarted,
    save,
    start_draft,
)
from zoowizard.errors import UnsafeCheckpoint, WrongUse, ZoowizardError
from zoowizard.families.family import Recognition
from zoowizard.families.identify import identify, obstacle
from zoowizard.families.pickles import printable
from zoowizard.families.registry import family
from zoowizard.jobs import warm
from zoowizard.jobs.engines import engine_of
from zoowizard.jobs.folder import create, read_spec
from zoowizard.jobs.settings import JobSettings, read_settings
from zoowizard.jobs.slots import priority_of
from zoowizard.jobs.state import Job, list_jobs
from zoowizard.upload.receipts import receipts

TIME_LIMIT_S = 4 * 3600.0
DESCRIPTIONS: Final = ("rdf.yaml", "bioimageio.yaml")
"""The names that the description in a package's folder may have."""
COPIES_IN_WORKSPACE: Final = 3
"""So often a build holds the weights at least, as 32-bit numbers: in two formats, and one or both in the archive."""


def fields_of(name: str) -> tuple[Field, ...]:
    """All questions that are asked of a model of the family `name`; the common ones where it is empty."""
    return all_fields(family(name).FIELDS if name else ())


def draft_in_memory(recognition: Recognition) -> Draft:
    """What is known of a checkpoint before anybody was asked; nothing is saved."""
    name = recognition.family or ""
    empty = Draft("", name, recognition.checkpoint or recognition.path, "")
    return with_found(empty, _known(recognition))


def missing_from(recognition: Recognition) -> list[str]:
    """The names of the required answers that the files do not give; empty where no family knows the checkpoint."""
    if recognition.family is None:
        return []
    return missing(draft_in_memory(recognition), family(recognition.family).FIELDS)


def choose_one(path: Path) -> Recognition:
    """The one model at `path`, ready to be packaged.

    Raises UnsafeCheckpoint, or WrongUse that lists the candidates, or ZoowizardError that says why it cannot be.
    """
    found = identify(path)
    models = [one for one in found if one.family is not None] or found
    if not models:
        raise WrongUse(f"{path}: no model was found there; give a checkpoint or the folder that training left behind")
    if len(models) > 1:
        listed = "\n".join(f"  {printable(str(one.checkpoint or one.path))}" for one in models)
        raise WrongUse(f"{path}: {len(models)} models were found there; give one of them:\n{listed}")
    [one] = models
    if one.refused:
        raise (UnsafeCheckpoint if one.unsafe else ZoowizardError)(one.refused)
    if reason := obstacle(one):
        raise WrongUse(f"{path}: {reason}")
    return one


def name_of_run(path: Path) -> str:
    """A run is named by its folder: its weights are called best.pt like everybody's."""
    parts: Sequence[str] = path.resolve().parts
    telling = [part for part in parts if part not in ("weights", "best.pt", "last.pt", "/")]
    return Path(telling[-1]).stem if telling and path.is_file() else telling[-1] if telling else path.stem


def open_draft(workspace: Workspace, recognition: Recognition) -> Draft:
    """The saved draft of a checkpoint, brought up to date with what its files tell now."""
    family_name, checkpoint = _packageable(recognition)
    started = start_draft(workspace, family_name, checkpoint, name_of_run(recognition.path))
    _require_family(workspace, started, family_name)
    return brought_up_to_date(started, recognition)


def take(workspace: Workspace, recognition: Recognition, claimed: Draft | None = None) -> Draft:
    """The draft of the model that a person chose, brought up to date with what its files tell now.

    That is the draft that the checkpoint has already: a claim that had no model yet is then joined to it. Or else it is
    `claimed`, which has this checkpoint from now on and keeps its answers, or a new one. Raises ZoowizardError where it
    cannot be saved, and DraftBusy where a claim has to be joined to a draft that somebody is editing.
    """
    if claimed is None:
        return open_draft(workspace, recognition)
    family_name, checkpoint = _packageable(recognition)
    is_same = claimed.checkpoint is not None and os.path.realpath(claimed.checkpoint) == os.path.realpath(checkpoint)
    found = claimed.found if is_same else told_by_event(claimed)
    pointed = replace(claimed, family=family_name, checkpoint=checkpoint.expanduser().absolute(), found=found)
    taken = point_draft(workspace, brought_up_to_date(pointed, recognition))
    if taken.id == claimed.id:
        return taken
    _require_family(workspace, taken, family_name)
    if claimed.checkpoint is None:
        taken = _joined(workspace, claimed, taken.id)
    return brought_up_to_date(taken, recognition)


def _joined(workspace: Workspace, claimed: Draft, draft_id: str) -> Draft:
    """The other draft with the row and the answers of a claim, which is no longer there."""
    with editing(workspace, draft_id) as now:
        joined = replace(with_found(now, told_by_event(claimed)), given={**claimed.given, **now.given})
        save(workspace, joined)
    remove_unstarted(workspace, claimed)
    return joined


def brought_up_to_date(draft: Draft, recognition: Recognition) -> Draft:
    """The draft with what the files of its checkpoint tell now; nothing is saved."""
    return with_found(draft, _known(recognition))


def _packageable(recognition: Recognition) -> tuple[str, Path]:
    if recognition.family is None or recognition.checkpoint is None:
        raise WrongUse(f"{recognition.path}: there are no weights to package")
    return recognition.family, recognition.checkpoint


def _require_family(workspace: Workspace, draft: Draft, family_name: str) -> None:
    if draft.family != family_name:
        raise ZoowizardError(
            f"{workspace.folder(draft.id) / 'draft.json'}: family: is {draft.family}, but the checkpoint is of the "
            f"family {family_name}; mend it or move it away"
        )


def unready(draft: Draft) -> dict[str, str]:
    """What stands between a draft and a build: field name → sentence. Empty where it can be built."""
    fields = fields_of(draft.family)
    wrong = problems(draft, fields)
    required = [field for field in fields if field.need is Need.REQUIRED]
    lacking = {
        field.name: f"{field.label}: is missing; for example {field.example}"
        for field in required
        if not is_answered(draft.get(field.name))
    }
    return {**lacking, **wrong}


def expect_build(workspace: Workspace, family_name: str) -> None:
    """Load what a build of this family needs while the person answers questions, so that it begins at once.

    Returns at once. It is only to save time: nothing is raised, and nothing done where jobs run on a cluster.
    """
    with contextlib.suppress(ZoowizardError):
        if family_name and read_settings(workspace.root).engine == "local":
            warm.start(family_name)


def start_build(
    workspace: Workspace,
    draft: Draft,
    output: Path | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    settings: JobSettings | None = None,
    priority: int = 0,
    resume: Path | None = None,
) -> Path:
    """Save the draft, start the job that builds it, and give the job's folder; see `start_builds`.

    `resume` is the folder of an earlier build of this model that did not pass: what holds of it is not done again.
    """
    [folder] = start_builds(workspace, [draft], output, time_limit_s, settings, priority, resume)
    return folder


def start_builds(
    workspace: Workspace,
    drafts: Sequence[Draft],
    output: Path | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    settings: JobSettings | None = None,
    priority: int = 0,
    resume: Path | None = None,
) -> list[Path]:
    """Save the drafts, start a job for each that builds it, together, and give the jobs' folders: all or none.

    The packages will be saved in `output`, several in a folder each there, or else in each model's own folder of the
    workspace. They run where
    `settings` say, or else those of the workspace. Raises ZoowizardError where an answer is missing or wrong, the
    packages could not be saved there, or the disk has too little room.
    """
    for draft in drafts:
        if draft.checkpoint is None:
            raise ZoowizardError("choose the model first")
        if wanting := unready(draft):
            raise ZoowizardError("; ".join(f"{name}: {sentence}" for name, sentence in wanting.items()))
    if output is not None:
        _require_writable(output)
        _require_room(output, drafts, 1)
    _require_room(workspace.root, drafts, COPIES_IN_WORKSPACE)
    for draft in drafts:
        save(workspace, draft)
    wanted = [
        (workspace.jobs(draft.id), "build", draft.id, _build(workspace, draft, folder, resume))
        for draft, folder in zip(drafts, _outputs(output, drafts), strict=True)
    ]
    return _start(workspace, wanted, time_limit_s, settings, priority)


def _outputs(output: Path | None, drafts: Sequence[Draft]) -> list[Path | None]:
    """Where each package goes: several get a folder each, for each comes with a report of the same name."""
    if output is None or len(drafts) == 1:
        return [output] * len(drafts)
    return [output / draft.id for draft in drafts]


def _build(workspace: Workspace, draft: Draft, output: Path | None, resume: Path | None) -> dict[str, Any]:
    return {
        "family": draft.family,
        "checkpoint": str(draft.checkpoint),
        "values": {name: known.value for name, known in draft.values.items()},
        "name": draft.id,
        "output": str((output or workspace.packages(draft.id)).absolute()),
        "umask": _umask(),
        "resume": None if resume is None else str(resume.absolute()),
    }


def retry(workspace: Workspace, job: Job, settings: JobSettings | None = None) -> Path:
    """Build a model again after `job` has ended, with the answers as they are now; gives the new job's folder.

    What that job did already and still holds is not done again. One that ran into its time limit gets twice the time.
    It runs where `settings` say, or else as `settings_of_retry` gives them. Raises ZoowizardError where the job is no
    build, or still runs, and as `start_build` does.
    """
    if job.kind != "build":
        raise WrongUse(f"{job.id}: is no build, so there is nothing to go on with; start it anew")
    if not job.over:
        does = "waits for its turn" if job.state == "queued" else "still runs"
        raise WrongUse(f"{job.id}: {does}; wait for its end, or cancel it first")
    draft = load(workspace, job.model)
    if job.folder.parent.resolve() != workspace.jobs(draft.id).resolve():
        raise WrongUse(f"{job.id}: is no job of the model {draft.id}")
    spec = read_spec(job.folder)
    settings = settings or settings_of_retry(workspace, job)
    limit = (spec.time_limit_s or TIME_LIMIT_S) * (2 if job.state == "timed-out" else 1)
    output = Path(spec.work["output"])
    return start_build(workspace, draft, output, limit, settings, priority_of(job.folder), resume=job.folder)


def settings_of_retry(workspace: Workspace, job: Job) -> JobSettings:
    """Where a retry runs: as the workspace's settings say; one that ran on a cluster asks for the same there."""
    settings, asked = read_settings(workspace.root), read_spec(job.folder).slurm
    return settings if asked is None else settings.model_copy(update={"slurm": asked})


def start_test(
    workspace: Workspace,
    package: Path,
    output: Path | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    settings: JobSettings | None = None,
    priority: int = 0,
) -> Path:
    """Start the job that tests any package; gives its folder, where the report goes unless `output` is given."""
    described = _description(package)
    if output is not None:
        _require_writable(output)
    work = {
        "package": str(described.absolute()),
        "output": None if output is None else str(output.absolute()),
        "umask": _umask(),
    }
    wanted = (workspace.root / "jobs", "test", package.stem, work)
    [folder] = _start(workspace, [wanted], time_limit_s, settings, priority)
    return folder


def all_jobs(workspace: Workspace) -> list[Job]:
    """Every job of the workspace, newest first."""
    folders = [workspace.root / "jobs", *sorted((workspace.root / "models").glob("*/jobs"))]
    return sorted((job for folder in folders for job in list_jobs(folder)), key=lambda job: job.id, reverse=True)


def board_lines(workspace: Workspace) -> tuple[list[BoardLine], list[str]]:
    """The lines of the board: the event's rows, each with the model that it is about, then the other models.

    With them a sentence for each thing that cannot be read.
    """
    events, sentences = event_rows(workspace)
    found, unreadable = drafts(workspace)
    sentences += unreadable
    models = []
    for draft in found:
        try:
            models.append(model_row(draft, board_row(workspace, draft)))
        except ZoowizardError as problem:
            sentences.append(f"{draft.id}: {problem}")
    return merged(events, models), sentences


def board_row(workspace: Workspace, draft: Draft) -> Row:
    """The row of one model."""
    jobs = list_jobs(workspace.jobs(draft.id))
    built = next((job for job in jobs if job.kind == "build" and job.state == "passed"), None)
    built_from = None if built is None else read_spec(built.folder).work.get("values")
    return fold(draft, fields_of(draft.family), jobs, receipts(workspace, draft.id), built_from)


def _description(package: Path) -> Path:
    """The file to test: the package itself, or the description where it is a folder."""
    try:
        if not package.exists():
            raise WrongUse(f"{package}: there is no such file; give the zip of a package, or its rdf.yaml")
        if package.is_file():
            with package.open("rb"):
                return package
        if not package.is_dir():
            raise WrongUse(f"{package}: is no regular file but a pipe, a device or a socket")
        found = [package / name for name in DESCRIPTIONS if (package / name).is_file()]
    except OSError as problem:
        raise ZoowizardError(f"{package}: cannot be read ({(problem.strerror or str(problem)).lower()})") from problem
    if not found:
        raise WrongUse(f"{package}: there is no rdf.yaml in this folder; give the zip of a package, or its rdf.yaml")
    return found[0]


def _require_writable(folder: Path) -> None:
    """Find out before the work, rather than after it, that its result cannot be saved. Raises ZoowizardError."""
    there = _nearest(folder)
    if not there.is_dir():
        raise WrongUse(f"{there}: is no folder, so nothing can be saved in it; choose another with --output")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ZoowizardError(f"{there}: you may not save anything in this folder; choose another with --output")


def _require_room(folder: Path, drafts: Sequence[Draft], copies: int) -> None:
    """Refuse to begin where not even so many copies of the weights have room. Raises ZoowizardError."""
    parameters = [draft.get("parameters") for draft in drafts]
    needed = copies * 4 * sum(number for number in parameters if isinstance(number, int))
    free = shutil.disk_usage(_nearest(folder)).free
    if free < needed:
        need = f"{'this build needs' if len(drafts) == 1 else f'these {len(drafts)} builds need'} {needed / 1e6:.0f} MB"
        raise ZoowizardError(
            f"the disk is full: {folder} has room for {free / 1e6:.0f} MB, and {need} there or more; free some space, "
            "or choose another disk"
        )


def _nearest(folder: Path) -> Path:
    """The folder itself, or what of the way to it is there already."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(one))


def _start(
    workspace: Workspace,
    wanted: Sequence[tuple[Path, str, str, Mapping[str, Any]]],
    time_limit_s: float,
    settings: JobSettings | None,
    priority: int,
) -> list[Path]:
    """Make and start jobs: for each where its folder goes, its kind, its model, its work."""
    asked = settings or read_settings(workspace.root)
    slurm = asked.slurm if asked.engine == "slurm" else None
    folders: list[Path] = []
    try:
        for parent, kind, model, work in wanted:
            folders.append(create(parent, kind, model, work, time_limit_s, slurm, priority))
    except ZoowizardError:
        for folder in folders:  # nobody knows them yet
            shutil.rmtree(folder, ignore_errors=True)
        raise
    engine_of(folders[0]).start(folders)
    return folders


def _umask() -> int:
    """Jobs work with a umask of their own, so that nobody else reads their files; a package is for sharing."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _known(recognition: Recognition) -> dict[str, Value]:
    if recognition.family is None:
        return dict(recognition.values)
    return {**defaults(fields_of(recognition.family)), **recognition.values}
