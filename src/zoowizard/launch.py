"""Starting jobs for drafts and packages, and trying again: where they run, and whether there is room."""

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from zoowizard.atomic import free_bytes, write_bytes
from zoowizard.drafts.draft import Draft
from zoowizard.drafts.store import Workspace, drafts, load, save
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.families.package_contents import DESCRIPTIONS
from zoowizard.history import history
from zoowizard.jobs import warm
from zoowizard.jobs.engines import engine_of
from zoowizard.jobs.folder import create, read_spec
from zoowizard.jobs.settings import JobSettings, read_settings
from zoowizard.jobs.slots import priority_of
from zoowizard.jobs.state import Job, list_jobs
from zoowizard.upload.contents import sha256_of
from zoowizard.upload.job import HANDED_TOKEN
from zoowizard.upload.package import Package
from zoowizard.upload.state import model_of
from zoowizard.workflow import probe_work, unready, unready_to_probe

TIME_LIMIT_S = 4 * 3600.0
Where = Literal["here", "zoo", "both"]
"""In which versions a package is tested: those that are installed here, those of the zoo's runner, or both."""
COPIES_IN_WORKSPACE: Final = 3
"""So often a build holds the weights at least, as 32-bit numbers: in two formats, and one or both in the archive."""


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
    workspace. They run where `settings` say, or else those of the workspace. Raises ZoowizardError where an answer is
    missing or wrong, the packages could not be saved there, or the disk has too little room.
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


def retry(workspace: Workspace, job: Job, settings: JobSettings | None = None, token: str = "") -> Path:
    """Build a model again after `job` has ended, with the answers as they are now; gives the new job's folder.

    What that job did already and still holds is not done again. One that ran into its time limit gets twice the time.
    It runs where `settings` say, or else as `settings_of_retry` gives them. An upload goes on where it was, as
    `start_upload` does, which may be given a `token`. Raises ZoowizardError where the job is neither a build nor an
    upload, or still runs, and as `start_build` does.
    """
    if job.kind not in ("build", "upload"):
        raise WrongUse(f"{job.id}: is no build and no upload, so there is nothing to go on with; start it anew")
    if not job.over:
        does = "waits for its turn" if job.state == "queued" else "still runs"
        raise WrongUse(f"{job.id}: {does}; wait for its end, or cancel it first")
    if job.kind == "upload":
        return _start_upload(job.folder.parent, job.model, read_spec(job.folder).work, token)
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
    where: Where = "here",
) -> Path:
    """Start the job that tests any package; gives its folder, where the report goes unless `output` is given."""
    described = _description(package)
    if output is not None:
        _require_writable(output)
    work = {
        "package": str(described.absolute()),
        "output": None if output is None else str(output.absolute()),
        "umask": _umask(),
        "where": where,
    }
    wanted = (workspace.root / "jobs", "test", package.stem, work)
    [folder] = _start(workspace, [wanted], time_limit_s, settings, priority)
    return folder


def start_zoo_test(workspace: Workspace, built: Job) -> Path:
    """Start the job that tests the package of a build in the versions of the zoo's runner; gives the job's folder.

    It is kept among the jobs of the model. Raises ZoowizardError where the package is gone, or was changed since.
    """
    outcome = built.outcome or {}
    package = Path(str(outcome.get("package", "")))
    if not package.is_file():
        raise ZoowizardError(f"{package}: is not there any more; build the model again")
    if package.stat().st_size != outcome.get("size"):
        raise ZoowizardError(f"{package}: was changed since it was built; build the model again")
    work = {"package": str(package), "output": None, "umask": _umask(), "where": "zoo", "sha256": outcome.get("sha256")}
    wanted = (workspace.jobs(built.model), "test", built.model, work)
    [folder] = _start(workspace, [wanted], TIME_LIMIT_S, None, 0)
    return folder


def start_predict(
    workspace: Workspace,
    package: Path,
    source: Path,
    output: Path,
    asked: Mapping[str, Any],
    time_limit_s: float = TIME_LIMIT_S,
    settings: JobSettings | None = None,
    priority: int = 0,
) -> Path:
    """Start the job that applies a package to the image or folder `source`; gives the job's folder.

    `asked` is what `zoowizard.prediction.job.run` wants to be told beside these. Raises ZoowizardError where one of
    them is not there, or nothing could be saved in `output`.
    """
    described = _description(package)
    if not source.exists():
        raise WrongUse(f"{source}: there is no such file; give an image, a folder of images, or an OME-Zarr")
    if source.absolute() == output.absolute():
        raise WrongUse(f"{output}: is the input, too; choose another place for the output")
    _require_writable(output.parent)
    places = {"package": str(described.absolute()), "input": str(source.absolute()), "output": str(output.absolute())}
    work = {**asked, **places, "umask": _umask()}
    wanted = (workspace.root / "jobs", "predict", package.stem, work)
    [folder] = _start(workspace, [wanted], time_limit_s, settings, priority)
    return folder


def start_probe(
    workspace: Workspace,
    draft: Draft,
    time_limit_s: float = TIME_LIMIT_S,
    settings: JobSettings | None = None,
    priority: int = 0,
) -> Path:
    """Start the job that tries every normalisation on the test image of a draft; gives the job's folder.

    Raises ZoowizardError where no normalisation is asked for, or an answer that it needs is missing or wrong.
    """
    if (wanting := unready_to_probe(draft)) is None:
        raise WrongUse(f"{draft.id}: asks for no normalisation, so there is nothing to be tried")
    if wanting:
        raise ZoowizardError("; ".join(f"{name}: {sentence}" for name, sentence in wanting.items()))
    wanted = (workspace.jobs(draft.id), "probe", draft.id, probe_work(draft))
    [folder] = _start(workspace, [wanted], time_limit_s, settings, priority)
    return folder


def package_to_send(workspace: Workspace, named: Path | None, kind: str = "zoo") -> tuple[str | None, Package]:
    """The package that is meant, with what its tests said, and the model that it is of (None where it is of none here).

    `named` is a model of the workspace or the zip of a package; None means the only model with a package that is not in
    a place of this `kind` yet, as receipts name it. Raises WrongUse where it cannot be told.
    """
    if named is None:
        named = _only_one_to_send(workspace, kind)
    if len(named.parts) == 1 and (workspace.folder(str(named)) / "draft.json").is_file():
        model = str(named)
        built = history(workspace, model).built
        outcome = (built.outcome or {}) if built is not None else {}
        if not isinstance(outcome.get("package"), str) or not isinstance(outcome.get("sha256"), str):
            raise WrongUse(f"{model}: has no package that passed its tests; build it with `zoowizard build`")
        return model, _package(workspace, model, outcome, Path(outcome["package"]))
    if not named.is_file():
        raise WrongUse(f"{named}: is no model (`zoowizard board` lists them), and no file; give one of them")
    digest = sha256_of(named)
    for folder in sorted((workspace.root / "models").iterdir()):
        for job in list_jobs(folder / "jobs"):
            outcome = job.outcome or {}
            if job.kind == "build" and job.state == "passed" and outcome.get("sha256") == digest:
                return folder.name, _package(workspace, folder.name, outcome, named.absolute())
    return None, Package(named.absolute(), named.stem, digest, _said_by_a_test(workspace, named))


def _package(workspace: Workspace, model: str, outcome: Mapping[str, Any], archive: Path) -> Package:
    title = load(workspace, model).get("name")
    tests: Literal["passed", "failed"] = "passed" if outcome.get("status") == "passed" else "failed"
    report = Path(outcome["report"]) if isinstance(outcome.get("report"), str) else None
    return Package(archive, title if isinstance(title, str) else model, str(outcome["sha256"]), tests, report)


def _only_one_to_send(workspace: Workspace, kind: str) -> Path:
    waiting = []
    for draft in drafts(workspace)[0]:
        known = history(workspace, draft.id)
        digest = None if known.built is None else (known.built.outcome or {}).get("sha256")
        there = [one for one in known.receipts if one.kind == kind and one.state == "done" and one.sha256 == digest]
        if digest and not there:
            waiting.append(draft.id)
    if len(waiting) != 1:
        several = f"give one of {', '.join(waiting)}" if waiting else "there is no package that is not there yet"
        raise WrongUse(f"upload: which model is to be sent? {several}")
    return Path(waiting[0])


def _said_by_a_test(workspace: Workspace, package: Path) -> Literal["passed", "failed", "unknown"]:
    """What `zoowizard test` said of a package, where it was not changed after that began."""
    found = package.stat()
    for job in list_jobs(workspace.root / "jobs"):
        if job.kind != "test" or job.created is None or job.state not in ("passed", "failed"):
            continue
        if read_spec(job.folder).work.get("package") != str(package.absolute()):
            continue
        is_newer = max(found.st_mtime, found.st_ctime) < job.created.timestamp()
        return ("passed" if job.state == "passed" else "failed") if is_newer else "unknown"
    return "unknown"


def start_upload(workspace: Workspace, folder: Path, token: str = "", target: str = "zoo") -> Path:
    """Start the job that brings what is queued in `folder` (see `upload.state`) to its place; gives the job's folder.

    It runs on this computer, whatever the settings say: computers of a cluster often see no network. A `token` is
    handed over in a file that the job removes when it has read it; else it is looked up where `login` kept it.
    """
    model = model_of(folder)
    parent = workspace.root / "jobs" if model is None else workspace.jobs(model)
    work = {"folder": str(folder.absolute()), "target": target}
    return _start_upload(parent, model or folder.name, work, token)


def _start_upload(parent: Path, model: str, work: Mapping[str, Any], token: str) -> Path:
    job = create(parent, "upload", model, work)
    try:
        if token:
            write_bytes(job / HANDED_TOKEN, token.encode(), mode=0o600)
        engine_of(job).start([job])
    except ZoowizardError:
        (job / HANDED_TOKEN).unlink(missing_ok=True)
        raise
    return job


def all_jobs(workspace: Workspace) -> list[Job]:
    """Every job of the workspace, newest first."""
    folders = [workspace.root / "jobs", *sorted((workspace.root / "models").glob("*/jobs"))]
    return sorted((job for folder in folders for job in list_jobs(folder)), key=lambda job: job.id, reverse=True)


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
    free_bytes(there)


def _require_room(folder: Path, drafts: Sequence[Draft], copies: int) -> None:
    """Refuse to begin where not even so many copies of the weights have room. Raises ZoowizardError."""
    parameters = [draft.get("parameters") for draft in drafts]
    needed = copies * 4 * sum(number for number in parameters if isinstance(number, int))
    free = free_bytes(_nearest(folder))
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
