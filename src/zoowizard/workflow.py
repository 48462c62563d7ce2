"""The way of a model to its draft, and onto the board, without a screen. The commands and the screens walk it here."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from zoowizard.board.event import event_rows
from zoowizard.board.lines import BoardLine, merged, model_row
from zoowizard.board.rows import Row, fold
from zoowizard.board.uploads import standings
from zoowizard.drafts.answers import read_answers
from zoowizard.drafts.completeness import all_fields, defaults, is_answered, missing, problems
from zoowizard.drafts.draft import Draft, Value, told_by_event, with_found, with_given
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.questions import FIELDS
from zoowizard.drafts.store import (
    Workspace,
    drafts,
    editing,
    load,
    named_draft,
    point_draft,
    remove_unstarted,
    save,
    start_draft,
)
from zoowizard.errors import UnsafeCheckpoint, WrongUse, ZoowizardError
from zoowizard.families.family import Recognition, files_of
from zoowizard.families.identify import identify, obstacle
from zoowizard.families.network_fields import NORMALISATION
from zoowizard.families.pickles import printable
from zoowizard.families.registry import FAMILIES, family, questions
from zoowizard.jobs.folder import read_spec
from zoowizard.jobs.probed import FILE_STAMPS
from zoowizard.jobs.state import list_jobs
from zoowizard.upload.receipts import receipts

MOST_STEPS: Final = 8
"""So many questions may hang on each other's defaults."""
UNSEEN_BY_NETWORK: Final = frozenset(
    {
        *(field.name for field in FIELDS if field.name != "test_image"),
        *(NORMALISATION.name, "normalisation_over", "output_names", "output_channels"),
    }
)
"""Answers that are not needed to try out normalisations: what all models are asked, and what is found out by trying."""


def fields_of(name: str, values: Mapping[str, Any] = MappingProxyType({})) -> tuple[Field, ...]:
    """All questions that are asked of a model of the family `name`, with those that bare `values` lead to; the common
    ones where the name is empty."""
    return all_fields(questions(name, values) if name else ())


def questions_for(draft: Draft) -> tuple[Field, ...]:
    """All questions that are asked of this model, with those that its answers lead to."""
    return fields_of(draft.family, {name: known.value for name, known in draft.values.items()})


def answered(draft: Draft, answers: Mapping[str, Any]) -> Draft:
    """The draft with checked answers, and with the defaults of the questions that these lead to; nothing is saved."""
    led = defaults(_led_to(draft))
    kept = {name: known for name, known in draft.found.items() if known != led.get(name)}
    now = with_given(replace(draft, found=kept), answers)
    for _ in range(MOST_STEPS):  # a default may be the answer that leads to the next question
        own = {name: known for name, known in defaults(fields_of(now.family)).items() if name not in now.found}
        fuller = with_found(now, {**own, **defaults(_led_to(now))})
        if fuller == now:
            break
        now = fuller
    return now


def _led_to(draft: Draft) -> Sequence[Field]:
    """The questions that only the answers of this model lead to."""
    values = {name: known.value for name, known in draft.values.items()}
    return family(draft.family).asks(values) if draft.family else ()


def read_all(path: Path, draft: Draft) -> dict[str, Any]:
    """The answers in a file, checked; also to the questions to which only they lead. Raises AnswersInvalid."""
    fields, known = questions_for(draft), 0
    while len(fields) != known:
        known = len(fields)
        told = read_answers(path, fields, strict=False)
        fields = questions_for(answered(draft, told))
    return read_answers(path, fields)


def draft_in_memory(recognition: Recognition) -> Draft:
    """What is known of a checkpoint before anybody was asked; nothing is saved."""
    name = recognition.family or ""
    empty = Draft("", name, recognition.checkpoint or recognition.path, "")
    return with_found(empty, _known(recognition))


def missing_from(recognition: Recognition) -> list[str]:
    """The names of the required answers that the files do not give; empty where no family knows the checkpoint."""
    if recognition.family is None:
        return []
    draft = draft_in_memory(recognition)
    return missing(draft, questions_for(draft))


def choose_one(path: Path) -> Recognition:
    """The one model at `path`, ready to be packaged.

    Raises UnsafeCheckpoint, or WrongUse that lists the candidates, or ZoowizardError that says why it cannot be.
    """
    found = identify(path)
    models = [one for one in found if one.family is not None] or found
    models = [one for one in models if not _is_made_of_a_model(one)] or models
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


def _is_made_of_a_model(recognition: Recognition) -> bool:
    return recognition.family is not None and files_of(family(recognition.family)).made_of_models


def name_of_run(path: Path) -> str:
    """A run is named by its folder: its weights are called best.pt like everybody's."""
    parts: Sequence[str] = path.resolve().parts
    unnamed = {"/", *(name for one in FAMILIES for name in files_of(one).unnamed)}
    telling = [part for part in parts if part.lower() not in unnamed]
    return Path(telling[-1]).stem if telling and path.is_file() else telling[-1] if telling else path.stem


def open_draft(workspace: Workspace, recognition: Recognition, called: str | None = None) -> Draft:
    """The saved draft of a checkpoint, brought up to date with what its files tell now.

    Where `called` is given, that of this name: several models can be made of one checkpoint, with other answers.
    """
    family_name, checkpoint = _packageable(recognition)
    if called is None:
        started = start_draft(workspace, family_name, checkpoint, name_of_run(recognition.path))
    elif not called.strip():
        raise WrongUse("--as is empty; write the name of the model that shall be made of this checkpoint")
    else:
        started = named_draft(workspace, family_name, checkpoint, called)
    _require_family(workspace, started, family_name)
    return brought_up_to_date(started, recognition)


def another(workspace: Workspace, draft_id: str) -> Draft:
    """Another draft of the same checkpoint with the same answers, for a package of another kind.

    Raises ZoowizardError where no checkpoint was chosen yet, or it cannot be saved.
    """
    draft = load(workspace, draft_id)
    if draft.checkpoint is None:
        raise ZoowizardError(f"{draft_id}: no model was chosen for it yet")
    return named_draft(workspace, draft.family, draft.checkpoint, f"{draft_id}-copy")


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
    fields = questions_for(draft)
    wrong = problems(draft, fields)
    required = [field for field in fields if field.need is Need.REQUIRED]
    lacking = {
        field.name: f"{field.label}: is missing; for example {field.example}"
        for field in required
        if not is_answered(draft.get(field.name))
    }
    return {**lacking, **wrong}


def unready_to_probe(draft: Draft) -> dict[str, str] | None:
    """What stands between a draft and trying what its network gives after each normalisation, as `unready` says it.

    None where no normalisation is asked for.
    """
    if all(field.name != NORMALISATION.name for field in questions_for(draft)):
        return None
    return {name: sentence for name, sentence in unready(draft).items() if name not in UNSEEN_BY_NETWORK}


def probe_work(draft: Draft) -> dict[str, Any]:
    """What a job of the kind `probe` shall do for a draft with a checkpoint.

    It is the same as long as nothing has changed that the network sees: answers, or files that they name.
    """
    values = {name: known.value for name, known in draft.values.items() if name not in UNSEEN_BY_NETWORK}
    files = {one.name: values[one.name] for one in questions_for(draft) if one.kind == "path" and values.get(one.name)}
    stamps = {name: _stamp(path) for name, path in {**files, "checkpoint": draft.checkpoint}.items()}
    return {"family": draft.family, "checkpoint": str(draft.checkpoint), "values": values, FILE_STAMPS: stamps}


def _stamp(path: object) -> list[int]:
    try:
        found = Path(str(path)).expanduser().stat()
    except (OSError, ValueError):
        return []
    return [found.st_mtime_ns, found.st_size]


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
    uploads = standings(workspace, draft.id, jobs)
    return fold(draft, questions_for(draft), jobs, receipts(workspace, draft.id), built_from, uploads)


def _known(recognition: Recognition) -> dict[str, Value]:
    if recognition.family is None:
        return dict(recognition.values)
    told = {name: known.value for name, known in recognition.values.items()}
    return {**defaults(fields_of(recognition.family, told)), **recognition.values}
