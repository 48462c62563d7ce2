"""One row of the event's table for each model, folded from its draft, its jobs and its receipts. Nothing is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol

from zoowizard.agreement import in_words
from zoowizard.board.columns import COLUMNS
from zoowizard.board.uploads import PENDING, Standing, note_of, status_of
from zoowizard.drafts.completeness import missing, problems
from zoowizard.drafts.draft import Draft
from zoowizard.drafts.fields import Field
from zoowizard.jobs.states import UNDERWAY

LONGEST_NOTE = 100


class BuildJob(Protocol):
    """What a row needs to know of a job."""

    @property
    def kind(self) -> str:
        """`build` for the jobs that make a package."""
        ...

    @property
    def state(self) -> str:
        """One of the states of `zoowizard.jobs.state.Job`."""
        ...

    @property
    def reason(self) -> str | None:
        """Why it ended so, in a sentence."""
        ...

    @property
    def outcome(self) -> Mapping[str, Any] | None:
        """What the job left behind, with `status` and `parity` or `agreement` where it came so far."""
        ...


class Receipt(Protocol):
    """What a row needs to know of an upload."""

    @property
    def confirmed(self) -> bool:
        """Whether the server has confirmed every byte."""
        ...


@dataclass(frozen=True)
class Row:
    """One model in the table; the fields are its columns, see `COLUMNS`."""

    model_name: str
    category: str
    description: str
    status: str
    metadata_complete: str
    exported: str
    uploaded: str
    notes: str

    def cells(self) -> tuple[str, ...]:
        """The row's texts in the order of `COLUMNS`."""
        return (
            self.model_name,
            self.category,
            self.description,
            self.status,
            self.metadata_complete,
            self.exported,
            self.uploaded,
            self.notes,
        )

    def by_column(self) -> dict[str, str]:
        """The row as a mapping from the table's column names."""
        return dict(zip(COLUMNS, self.cells(), strict=True))


def fold(
    draft: Draft,
    fields: Sequence[Field],
    jobs: Sequence[BuildJob],
    receipts: Sequence[Receipt] = (),
    built_from: Mapping[str, Any] | None = None,
    uploads: Sequence[Standing] = (),
) -> Row:
    """The row of one model. `fields` are all its questions, `jobs` its jobs and `uploads` with the newest first.

    `built_from` are the values that the newest build had; where the draft holds others by now, the notes say so.

    Status is `Not Started` (only files were read), `In Progress` (answers, no package yet), `Testing` (a job is at it),
    `Failed`, `Tested`, or what `status_of` says of an upload. Exported is `Yes` only where the newest build that was
    not cancelled passed, Uploaded only where a server has confirmed every byte.
    """
    wrong = problems(draft, fields)
    lacking = [*(["model"] if draft.checkpoint is None else []), *missing(draft, fields)]
    builds = [job for job in jobs if job.kind == "build"]
    underway = any(job.state in UNDERWAY for job in builds)
    cancelled = bool(builds) and builds[0].state == "cancelled"
    ended = next((job for job in builds if job.state not in (*UNDERWAY, "cancelled")), None)
    exported = (
        ended is not None and ended.state == "passed" and (ended.outcome or {}).get("status", "passed") == "passed"
    )
    upload = _foremost(uploads)
    uploaded = any(receipt.confirmed for receipt in receipts) and not (upload is not None and upload.state == "gone")
    notes = _notes(ended, underway, exported, wrong, lacking, cancelled, _is_outdated(draft, built_from))
    if exported and not (underway or wrong or lacking or _is_outdated(draft, built_from)):
        notes = _short(_failed_there(jobs)) or notes
    return Row(
        model_name=_text(draft, "name") or draft.id,
        category=_text(draft, "category"),
        description=_text(draft, "description"),
        status=_status(draft, ended, underway, exported, uploaded, upload),
        metadata_complete="Yes" if not wrong and not lacking else "No",
        exported="Yes" if exported else "No",
        uploaded="Yes" if uploaded else "No",
        notes=notes if upload is None or underway else _with_upload(upload, notes, ended),
    )


def _failed_there(jobs: Sequence[BuildJob]) -> str:
    """Why the newest test since the newest build failed, which is one with the zoo's versions; empty where none did."""
    since = list(takewhile(lambda job: job.kind != "build", jobs))
    test = next((job for job in since if job.kind == "test" and job.state not in (*UNDERWAY, "cancelled")), None)
    return "" if test is None or test.state == "passed" else test.reason or f"with the zoo's versions: {test.state}"


def _foremost(uploads: Sequence[Standing]) -> Standing | None:
    """Of several uploads the one that is at work, else the one that waits for something, else the newest."""
    by_weight = sorted(uploads, key=lambda one: 0 if one.state == "sending" else 1 if one.state in PENDING else 2)
    return by_weight[0] if by_weight else None


def _with_upload(upload: Standing, notes: str, ended: BuildJob | None) -> str:
    """What is to be said of the upload, and then, where there is room, what is known besides."""
    digest = (ended.outcome or {}).get("sha256") if ended is not None and ended.state == "passed" else None
    said = note_of(upload)
    if digest and upload.record is not None and digest != upload.record.sha256 and upload.state not in PENDING:
        said += "; the newest package is not uploaded yet"
    both = f"{said} · {notes}" if notes else said
    return both if len(both) <= LONGEST_NOTE and "\n" not in both else _short(said)


def _is_outdated(draft: Draft, built_from: Mapping[str, Any] | None) -> bool:
    return built_from is not None and {name: known.value for name, known in draft.values.items()} != built_from


def _text(draft: Draft, name: str) -> str:
    known = draft.get(name)
    return known if isinstance(known, str) else ""


def _status(
    draft: Draft, ended: BuildJob | None, underway: bool, exported: bool, uploaded: bool, upload: Standing | None
) -> str:
    if underway:
        return "Testing"
    if upload is not None:
        return status_of(upload)
    if uploaded:
        return "Uploaded"
    if ended is not None:
        return "Tested" if exported else "Failed"
    return "In Progress" if draft.given else "Not Started"


def _notes(
    ended: BuildJob | None,
    underway: bool,
    exported: bool,
    wrong: Mapping[str, str],
    lacking: Sequence[str],
    cancelled: bool,
    outdated: bool,
) -> str:
    if ended is not None and not exported and not underway:
        return _short(ended.reason or f"the build {ended.state}")
    if wrong:
        name, problem = next(iter(wrong.items()))
        return _short(f"{name}: {problem}")
    if lacking:
        return _short(f"missing: {', '.join(lacking)}")
    if cancelled and not underway and not exported:
        return "the last build was cancelled"
    if ended is not None and exported and outdated:
        return "the answers were changed since the package was built: build it again"
    if ended is not None and exported:
        outcome = ended.outcome or {}
        if agreement := in_words(outcome.get("agreement")):
            return _short(f"agreement: {agreement}")
        return _parity(outcome.get("parity"), outcome.get("not_measured"))
    return ""


def _parity(parity: Any, not_measured: Any) -> str:
    """Mean IoU is null where no image held an object, then the pixels alone tell."""
    if not isinstance(parity, Mapping):
        return _short(f"parity: not measured: {not_measured}") if not_measured else ""
    mean_iou, identical = parity.get("mean_iou"), parity.get("identical_pixels")
    parts = []
    if isinstance(mean_iou, int | float):
        parts.append(f"IoU {mean_iou:.3f}")
    if isinstance(identical, int | float):
        # Rounding down: 99.999 % is not all of them.
        parts.append(f"{int(identical * 10_000) / 100:g} % of pixels identical")
    return "parity: " + ", ".join(parts) if parts else ""


def _short(sentence: str) -> str:
    line = " ".join(sentence.split())
    return line if len(line) <= LONGEST_NOTE else line[: LONGEST_NOTE - 1].rstrip() + "…"
