"""The way of a model, without a screen: checkpoint → draft → job. The commands and the screens both walk it here."""

import os
from collections.abc import Sequence
from pathlib import Path

from zoowizard.board.rows import Row, fold
from zoowizard.drafts.completeness import all_fields, defaults, is_answered, missing, problems
from zoowizard.drafts.draft import Draft, Value, with_found
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.store import Workspace, drafts, save, start_draft
from zoowizard.errors import UnsafeCheckpoint, WrongUse, ZoowizardError
from zoowizard.families.family import Recognition
from zoowizard.families.identify import identify
from zoowizard.families.registry import family
from zoowizard.jobs.engines import Engine, LocalEngine
from zoowizard.jobs.folder import create, read_spec
from zoowizard.jobs.state import Job, list_jobs

TIME_LIMIT_S = 4 * 3600.0


def fields_of(name: str) -> tuple[Field, ...]:
    """All questions that are asked of a model of the family `name`."""
    return all_fields(family(name).FIELDS)


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
        listed = "\n".join(f"  {one.checkpoint or one.path}" for one in models)
        raise WrongUse(f"{path}: {len(models)} models were found there; give one of them:\n{listed}")
    [one] = models
    if one.refused:
        raise (UnsafeCheckpoint if one.unsafe else ZoowizardError)(one.refused)
    if one.family is None:
        raise WrongUse(f"{path}: no known kind of model ({'; '.join(one.evidence) or 'nothing in it is familiar'})")
    blocking = [warning.message for warning in one.warnings if warning.code in ("no-weights", "not-segmentation")]
    if blocking or one.checkpoint is None:
        raise WrongUse(f"{path}: {'; '.join(blocking) or 'there are no weights; add the .pt file'}")
    return one


def open_draft(workspace: Workspace, recognition: Recognition) -> Draft:
    """The saved draft of a checkpoint, brought up to date with what its files tell now."""
    if recognition.family is None or recognition.checkpoint is None:
        raise WrongUse(f"{recognition.path}: there are no weights to package")
    started = start_draft(workspace, recognition.family, recognition.checkpoint, _suggestion(recognition.path))
    return with_found(started, _known(recognition))


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


def start_build(
    workspace: Workspace,
    draft: Draft,
    output: Path | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    engine: Engine | None = None,
) -> Path:
    """Save the draft, start the job that builds it, and give the job's folder.

    The package will be saved in `output`, or else in the model's own folder of the workspace.
    """
    if wanting := unready(draft):
        raise ZoowizardError("; ".join(f"{name}: {sentence}" for name, sentence in wanting.items()))
    save(workspace, draft)
    work = {
        "family": draft.family,
        "checkpoint": str(draft.checkpoint),
        "values": {name: known.value for name, known in draft.values.items()},
        "name": draft.id,
        "output": str((output or workspace.packages(draft.id)).absolute()),
        "umask": _umask(),
    }
    return _start(create(workspace.jobs(draft.id), "build", draft.id, work, time_limit_s), engine)


def start_test(
    workspace: Workspace,
    package: Path,
    output: Path | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    engine: Engine | None = None,
) -> Path:
    """Start the job that tests any package; gives its folder, where the report goes unless `output` is given."""
    if not package.exists():
        raise WrongUse(f"{package}: there is no such file; give the zip of a package, or its rdf.yaml")
    described = package / "rdf.yaml" if package.is_dir() else package
    work = {
        "package": str(described.absolute()),
        "output": None if output is None else str(output.absolute()),
        "umask": _umask(),
    }
    return _start(create(workspace.root / "jobs", "test", package.stem, work, time_limit_s), engine)


def all_jobs(workspace: Workspace) -> list[Job]:
    """Every job of the workspace, newest first."""
    folders = [workspace.root / "jobs", *sorted((workspace.root / "models").glob("*/jobs"))]
    return sorted((job for folder in folders for job in list_jobs(folder)), key=lambda job: job.id, reverse=True)


def board_rows(workspace: Workspace) -> tuple[list[Row], list[str]]:
    """The rows of the event's table, folded from drafts and jobs, and a sentence for each draft that cannot be read."""
    found, sentences = drafts(workspace)
    rows = []
    for draft in found:
        try:
            rows.append(board_row(workspace, draft))
        except ZoowizardError as problem:
            sentences.append(f"{draft.id}: {problem}")
    return rows, sentences


def board_row(workspace: Workspace, draft: Draft) -> Row:
    """The row of one model."""
    jobs = list_jobs(workspace.jobs(draft.id))
    built = next((job for job in jobs if job.kind == "build" and job.state == "passed"), None)
    built_from = None if built is None else read_spec(built.folder).work.get("values")
    return fold(draft, fields_of(draft.family), jobs, built_from=built_from)


def _start(folder: Path, engine: Engine | None) -> Path:
    (engine or LocalEngine()).start(folder)
    return folder


def _umask() -> int:
    """Jobs work with a umask of their own, so that nobody else reads their files; a package is for sharing."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _known(recognition: Recognition) -> dict[str, Value]:
    if recognition.family is None:
        return dict(recognition.values)
    return {**defaults(fields_of(recognition.family)), **recognition.values}


def _suggestion(path: Path) -> str:
    """A run is named by its folder: its weights are called best.pt like everybody's."""
    parts: Sequence[str] = path.resolve().parts
    telling = [part for part in parts if part not in ("weights", "best.pt", "last.pt", "/")]
    return Path(telling[-1]).stem if telling and path.is_file() else telling[-1] if telling else path.stem
