"""A job of the kind `build`: checkpoint and answers → package, tests, parity, report."""

import contextlib
import importlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from zoowizard.conversion.converted import Array, Converted, Weights
from zoowizard.conversion.telling import require_telling, without_folders
from zoowizard.drafts.images import MICROSCOPY, read_image, why_unfit
from zoowizard.errors import ZoowizardError
from zoowizard.families.registry import family, questions
from zoowizard.jobs.build_steps import BUILD_STEPS, KEPT
from zoowizard.jobs.folder import runs_before
from zoowizard.jobs.steps import Step, Steps
from zoowizard.library import clean
from zoowizard.library.archive import sha256, write_archive
from zoowizard.packaging import compare, describe, resume
from zoowizard.packaging.card import Validation, model_card
from zoowizard.packaging.cover import write_cover, write_cover_of_pictures
from zoowizard.packaging.curves import write_curves
from zoowizard.packaging.operators import libraries_of
from zoowizard.packaging.origin import Origin, origin
from zoowizard.packaging.pictures import picture_of, shown_of
from zoowizard.packaging.report import FormatReport, Report, Tolerances, write
from zoowizard.packaging.settings import own_questions, settings_of
from zoowizard.packaging.test import run_tests, used_device
from zoowizard.packaging.tool_rules import Package
from zoowizard.packaging.tools import ToolReport, where_it_runs

_BESIDE: Final = "beside the checkpoint: "


def run(work: Mapping[str, Any], folder: Path, steps: Steps) -> dict[str, Any]:
    """Build one model. `work`: family, checkpoint, values (bare, by name), name of the file, output folder, umask.

    With `resume`, the folder of an earlier build of the model, what holds of that one is not done again, nor what holds
    of those that it went on with. Gives the paths of package and report, the status, and what was measured. Raises
    ZoowizardError with a sentence for a person where the model cannot be packaged.
    """
    values: dict[str, Any] = dict(work["values"])
    checkpoint = Path(work["checkpoint"])
    earlier = list(runs_before(folder))  # itself too: it begins again where the memory of the GPU was too small
    clean.warm_up(folder / "bioimageio-cache")
    family(work["family"]).look(checkpoint)  # once more: it may have been changed since it was identified

    with steps.step("convert") as step:
        image, files = _read(work["family"], checkpoint, values)
        made_from = origin(work["family"], checkpoint, image, values, files)
        tested = _tested_before(earlier, folder, made_from, steps)
        converted = None if tested else _converted(work, image, made_from, earlier, folder, steps, step)
        step.note = step.note or KEPT
    if converted is None:
        for name in [name for name in BUILD_STEPS if name not in ("convert", "save")]:
            with steps.step(name) as step:
                step.note = KEPT
    else:
        tested = _tested(work, values | dict(converted.facts), image, converted, made_from, earlier, folder, steps)
        resume.keep_tested(folder, tested, made_from)
    with steps.step("save") as step:
        outcome = _hand_over(tested, Path(work["output"]), 0o666 & ~int(work["umask"]))
        step.note = outcome["package"]
    return outcome


def _read(family_name: str, checkpoint: Path, values: Mapping[str, Any]) -> tuple[Array, dict[str, Path]]:
    """The test image, and the files by what names them on which the package depends besides."""
    conversion = importlib.import_module(f"zoowizard.conversion.{family_name}")
    used = _used(conversion.USES, values)
    if hasattr(conversion, "read_image"):
        image = conversion.read_image(checkpoint, used)
    else:
        image = read_image(Path(values["test_image"]), MICROSCOPY)
        if problem := why_unfit(image, conversion.ACCEPTS):
            raise ZoowizardError(f"{values['test_image']} {problem}")
    named = [one.name for one in questions(family_name, values) if one.kind == "path" and one.name != "test_image"]
    files = {name: Path(values[name]).expanduser() for name in named if values.get(name)}
    beside = conversion.reads(checkpoint, used) if hasattr(conversion, "reads") else ()
    return image, files | {_BESIDE + os.path.relpath(path, checkpoint.parent): path for path in beside}


def _used(names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the `values` that a conversion names; `argument_*` are all that begin so."""
    return {name: one for name, one in values.items() if any(fnmatchcase(name, used) for used in names)}


def _tested_before(earlier: Sequence[Path], folder: Path, made_from: Origin, steps: Steps) -> list[Path]:
    """Archive and report of a run before, where they passed and still hold; else nothing."""
    try:
        return resume.of_first(earlier, lambda run: resume.tested_of(run, folder, made_from))
    except resume.NotKept as why:
        if why.begun:
            steps.note("info", f"The package is made and tested again: {why}.")
        return []


def _converted(
    work: Mapping[str, Any],
    image: Array,
    made_from: Origin,
    earlier: Sequence[Path],
    folder: Path,
    steps: Steps,
    step: Step,
) -> Converted:
    """The conversion of the run before, where it still holds; else a new one, kept for a later run."""
    conversion = importlib.import_module(f"zoowizard.conversion.{work['family']}")
    checkpoint = Path(work["checkpoint"])
    values = _used(conversion.USES, work["values"])
    files = {name: one for name, one in made_from.files.items() if name in values or name.startswith(_BESIDE)}
    made_from = made_from.model_copy(update={"values": _used(conversion.USES, made_from.values), "files": files})
    weights_folder = folder / resume.WEIGHTS_FOLDER
    weights_folder.mkdir(exist_ok=True)
    try:
        kept = resume.of_first(earlier, lambda run: resume.conversion_of(run, folder, made_from))
        return replace(kept, native=conversion.native(checkpoint, values, kept.facts, weights_folder))
    except resume.NotKept as why:
        if why.begun:
            steps.note("info", f"The network is converted again: {why}.")
    converted: Converted = conversion.convert(checkpoint, values, image, weights_folder, step)
    require_telling({one.id: one.test_tensor for one in converted.outputs})
    converted = replace(converted, shown=shown_of(converted))
    resume.keep_conversion(folder, converted, made_from)
    step.note = ", ".join(one.weight_format for one in converted.weights)
    return converted


def _tested(
    work: Mapping[str, Any],
    values: Mapping[str, Any],
    image: Array,
    converted: Converted,
    made_from: Origin,
    earlier: Sequence[Path],
    folder: Path,
    steps: Steps,
) -> list[Path]:
    """Package and test what of it is not kept; gives archive and report in `folder`. Raises ZoowizardError."""
    comparison, archive = _packaged_before(earlier, folder, converted, made_from, steps)
    if comparison is None or archive is None:
        comparison, archive = _packaged(work, values, image, converted, comparison, made_from, folder, steps)
    notes = tuple(map(without_folders, (*converted.notes, *comparison.left_out)))
    tolerances = _tolerances(comparison, converted)
    beside = clean.fit_beside(sum(one.path.stat().st_size for one in comparison.kept))
    reports, environment = run_tests(archive, [one.weight_format for one in comparison.kept], steps, beside)
    reports = [replace(one, drift=comparison.drift[one.weight_format], sizes=comparison.sizes) for one in reports]
    report = Report(
        package=archive.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        formats=tuple(reports),
        parity=comparison.parity,
        tolerances=max(tolerances.values(), key=lambda one: one.mismatched_elements_per_million),
        steps=tuple(steps.finished),
        notes=notes,
        environment={**environment, "native framework": converted.framework, **used_device()},
        differences=comparison.differences,
        not_measured=comparison.not_measured,
        agreement=comparison.agreement,
        tools=_tools(clean.in_format_05(archive), folder / resume.WEIGHTS_FOLDER),
    )
    as_json, as_markdown = write(report, folder)
    if report.status != "passed":
        failed = "; ".join(error for one in reports for error in one.errors)
        raise ZoowizardError(f"the package's tests failed ({as_markdown} has the details): {failed}")
    return [archive, as_json, as_markdown]


def _packaged_before(
    earlier: Sequence[Path], folder: Path, converted: Converted, made_from: Origin, steps: Steps
) -> tuple[compare.Comparison | None, Path | None]:
    """Comparison and archive of the run before as far as they still hold, None for what must be done again.

    Where both hold, the steps that made them are said to be kept.
    """
    comparison = archive = None
    try:
        comparison = resume.of_first(earlier, lambda run: resume.comparison_of(run, folder, converted, made_from))
        archive = resume.of_first(earlier, lambda run: resume.packaged_of(run, folder, made_from))
    except resume.NotKept as why:
        if why.begun:
            steps.note("info", f"The package is {'written' if comparison else 'compared'} again: {why}.")
    for name in ("describe", "compare", "package") if archive is not None else ():
        with steps.step(name) as step:
            step.note = KEPT
    return comparison, archive


def _packaged(
    work: Mapping[str, Any],
    values: Mapping[str, Any],
    image: Array,
    converted: Converted,
    before: compare.Comparison | None,
    made_from: Origin,
    folder: Path,
    steps: Steps,
) -> tuple[compare.Comparison, Path]:
    """Describe, compare and package, kept for a later run; gives the comparison, `before` where that holds, and the
    archive. Raises ZoowizardError."""
    with steps.step("describe"):
        settings = settings_of(own_questions(work["family"], values), values, converted.facts)
        provenance = describe.Provenance(work["family"], made_from.checkpoint, settings)
        package = _Contents(folder / "contents", values, converted, provenance)
        package.write_tensors()
        description = package.write_description(converted.weights, {})
        compared = before or compare.start(converted, image, description, folder / "comparison")
        _write_cover(image, converted, package.folder / "cover.png")
    with steps.step("compare") as step:
        if isinstance(compared, compare.Underway):
            comparison = compare.finish(converted, compared, step)
            resume.keep_comparison(folder, comparison, made_from)
            step.note = compare.in_short(comparison)
        else:
            comparison, step.note = compared, KEPT
        notes = tuple(map(without_folders, (*converted.notes, *comparison.left_out)))
        for sentence in notes:
            steps.note("info", sentence)
    with steps.step("package") as step:
        formats = [
            FormatReport(one.weight_format, None, (), comparison.sizes, comparison.drift[one.weight_format])
            for one in comparison.kept
        ]
        package.write_card(
            Validation(
                framework=converted.framework,
                parity=comparison.parity,
                formats=formats,
                curves=package.curves,
                notes=notes,
                differences=comparison.differences,
                not_measured=comparison.not_measured,
                agreement=comparison.agreement,
                gives_labels=converted.shown is None,
                tools=_tools(package.described(comparison.kept), package.folder),
            )
        )
        package.write_description(comparison.kept, _tolerances(comparison, converted))
        archive = folder / f"{work['name']}.zip"
        write_archive(package.files(comparison.kept), archive, step.progress)
        resume.keep_packaged(folder, archive, made_from)
        step.note = f"{archive.stat().st_size / 1e6:.1f} MB"
    return comparison, archive


def _write_cover(image: Array, converted: Converted, path: Path) -> None:
    if converted.shown is not None:
        write_cover_of_pictures(*converted.shown, path)
        return
    labels = converted.outputs[0].sample if converted.labels is None else converted.labels
    # a part of it may be tested, and it may have other axes than a picture
    shown = image if labels.shape == image.shape[:2] else picture_of(converted.inputs[0])
    if labels.shape == shown.shape[:2]:
        write_cover(shown, labels, path)
    else:
        write_cover_of_pictures(shown, picture_of(converted.outputs[0]), path)


def _tools(described: Mapping[str, Any], weights_folder: Path) -> tuple[ToolReport, ...]:
    """Where a package of this description will run."""
    return where_it_runs(Package(described, libraries_of(described, weights_folder)))


def _tolerances(comparison: compare.Comparison, converted: Converted) -> dict[str, Tolerances]:
    """What each weight format is allowed to be apart from the test output, here and with the zoo's own versions."""
    apart = {
        name: max(drift.mismatched_per_million, converted.elsewhere_per_million)
        for name, drift in comparison.drift.items()
    }
    return {name: describe.suggest_tolerances(per_million) for name, per_million in apart.items()}


class _Contents:
    """The folder in which the package's files come together."""

    def __init__(
        self, folder: Path, values: Mapping[str, Any], converted: Converted, provenance: describe.Provenance
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self.values, self.converted, self.provenance = folder, values, converted, provenance
        has_curves = write_curves(values.get("curves") or {}, values.get("best_epoch"), folder / "curves.png")
        self.curves = "curves.png" if has_curves else None

    def write_tensors(self) -> None:
        """Test and sample tensors, and the weights with what belongs to them (linked, not copied)."""
        describe.write_tensors(self.converted, self.folder)
        for path in dict.fromkeys([*_files_of(self.converted.weights), *self.converted.beside]):
            (self.folder / path.name).hardlink_to(path)

    def write_card(self, validation: Validation) -> None:
        """The model card."""
        all_tensors = [*self.converted.inputs, *self.converted.outputs]
        inputs, outputs = (
            describe.tensor_notes(one, all_tensors) for one in (self.converted.inputs, self.converted.outputs)
        )
        card = model_card(self.values, validation, inputs, outputs, own_questions(self.provenance.family, self.values))
        (self.folder / "README.md").write_text(card, encoding="utf-8")

    def described(
        self, weights: Sequence[Weights], tolerances: Mapping[str, Tolerances] = MappingProxyType({})
    ) -> dict[str, Any]:
        """The description as data, with the weights that are in."""
        attachments = [self.curves] if self.curves else []
        return describe.describe(self.values, self.converted, weights, self.provenance, tolerances, attachments)

    def write_description(self, weights: Sequence[Weights], tolerances: Mapping[str, Tolerances]) -> Path:
        """The description, with the weights that are in; gives its path."""
        return describe.write_description(self.described(weights, tolerances), self.folder)

    def files(self, weights: Sequence[Weights]) -> dict[str, Path]:
        """The files of the package by their name in it; what only weights need that were left out stays out."""
        left_out = {one.name for one in _files_of(self.converted.weights)} - {one.name for one in _files_of(weights)}
        return {path.name: path for path in sorted(self.folder.iterdir()) if path.name not in left_out}


def _files_of(weights: Sequence[Weights]) -> list[Path]:
    """The files of all formats, each once: several may need the same."""
    return list(dict.fromkeys(path for one in weights for path in (one.path, *one.files)))


def _hand_over(tested: Sequence[Path], output: Path, mode: int) -> dict[str, Any]:
    """Put archive and report, in this order, where the person wants them; each appears whole or not at all.

    They stay in the job's folder until all of them are there. Gives the job's outcome.
    """
    archive, as_json, _ = tested
    digest, size_bytes = sha256(archive), archive.stat().st_size
    report = json.loads(as_json.read_text(encoding="utf-8"))
    parity = report["parity"]
    try:
        output.mkdir(parents=True, exist_ok=True)
        for path in tested:
            path.chmod(mode)
            _put(path, output / path.name)
    except OSError as problem:
        in_the_way = isinstance(problem, FileExistsError | NotADirectoryError | IsADirectoryError)
        reason = "something else is in its way" if in_the_way else (problem.strerror or str(problem)).lower()
        raise ZoowizardError(
            f"could not save the package to {output}: {reason}; it passed its tests and is kept as {archive}"
        ) from problem
    archive.unlink()
    return {
        "package": str(output / archive.name),
        "report": str(output / as_json.name),
        "status": report["status"],
        "parity": parity and {key: parity[key] for key in ("images", "mean_iou", "identical_pixels")},
        "agreement": report["agreement"],
        "not_measured": report["not_measured"] or None,
        "differences": report["differences"],
        "formats": [one["weight_format"] for one in report["formats"]],
        "warnings": list(dict.fromkeys(text for one in report["formats"] for text in one["warnings"])),
        "sha256": digest,
        "size": size_bytes,
    }


def _put(source: Path, target: Path) -> None:
    """Replace `target` by a link or copy of `source`. Raises OSError; no part of it is left then."""
    beside = target.with_name(f".{target.name}-{source.parent.name}.part")  # two jobs may save here at once
    try:
        beside.unlink(missing_ok=True)
        try:
            beside.hardlink_to(source)
        except OSError:  # another disk, or one without links
            shutil.copy(source, beside)
            with beside.open("rb") as file:
                os.fsync(file.fileno())
        beside.replace(target)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)  # renaming a link over another of the same file leaves both
