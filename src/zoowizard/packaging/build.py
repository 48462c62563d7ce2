"""A job of the kind `build`: checkpoint and answers → package, tests, parity, report."""

import importlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zoowizard.conversion.converted import Converted, Weights
from zoowizard.drafts.images import read_image
from zoowizard.errors import ZoowizardError
from zoowizard.families.pickles import look
from zoowizard.jobs.steps import Steps
from zoowizard.packaging import clean, compare, describe
from zoowizard.packaging.archive import sha256, write_archive
from zoowizard.packaging.card import Validation, model_card
from zoowizard.packaging.cover import write_cover
from zoowizard.packaging.curves import write_curves
from zoowizard.packaging.report import FormatReport, Report, Tolerances, write
from zoowizard.packaging.test import run_tests


def run(work: Mapping[str, Any], folder: Path, steps: Steps) -> dict[str, Any]:
    """Build one model. `work`: family, checkpoint, values (bare, by name), name of the file, output folder, umask.

    Gives the paths of package and report, the status, and the parity. Raises ZoowizardError with a sentence for a
    person where the model cannot be packaged.
    """
    values: dict[str, Any] = dict(work["values"])
    checkpoint, output = Path(work["checkpoint"]), Path(work["output"])
    weights_folder, contents = folder / "weights", folder / "contents"
    weights_folder.mkdir(exist_ok=True)
    clean.warm_up(folder / "bioimageio-cache")
    look(checkpoint)  # once more: it may have been changed or removed since it was identified

    with steps.step("convert") as step:
        conversion = importlib.import_module(f"zoowizard.conversion.{work['family']}")
        image = read_image(Path(values["test_image"]))
        converted: Converted = conversion.convert(checkpoint, values, image, weights_folder, step)
        values |= converted.facts
        step.note = ", ".join(one.weight_format for one in converted.weights)
    provenance = describe.Provenance(work["family"], sha256(checkpoint), _settings(values))
    with steps.step("describe"):
        package = _Contents(contents, values, converted, provenance)
        package.write_tensors()
        description = package.write_description(converted.weights, {})
        underway = compare.start(converted, image, description, folder / "comparison")
        write_cover(image, converted.outputs[0].sample, contents / "cover.png")
    with steps.step("compare") as step:
        comparison = compare.finish(converted, underway, step)
        notes = (*converted.notes, *comparison.left_out)
        for sentence in notes:
            steps.note("info", sentence)
        step.note = compare.in_short(comparison.parity)
    names = [one.weight_format for one in comparison.kept]
    with steps.step("package") as step:
        tolerances = {
            name: describe.suggest_tolerances(drift.mismatched_per_million) for name, drift in comparison.drift.items()
        }
        formats = [FormatReport(name, None, (), comparison.sizes, comparison.drift[name]) for name in names]
        package.write_card(Validation(converted.framework, comparison.parity, formats, package.curves, notes))
        package.write_description(comparison.kept, tolerances)
        archive = folder / f"{work['name']}.zip"
        write_archive(package.files(comparison.kept), archive, step.progress)
        step.note = f"{archive.stat().st_size / 1e6:.1f} MB"
    reports, environment = run_tests(archive, names, steps)
    reports = [replace(one, drift=comparison.drift[one.weight_format], sizes=comparison.sizes) for one in reports]
    report = Report(
        package=archive.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        formats=tuple(reports),
        parity=comparison.parity,
        tolerances=max(tolerances.values(), key=lambda one: one.mismatched_elements_per_million),
        steps=tuple(steps.finished),
        notes=notes,
        environment={**environment, "native framework": converted.framework},
    )
    if report.status != "passed":
        as_json, _ = write(report, folder)
        failed = "; ".join(error for one in reports for error in one.errors)
        raise ZoowizardError(f"the package's tests failed ({as_json.with_suffix('.md')} has the details): {failed}")
    return _hand_over(report, archive, output, 0o666 & ~int(work["umask"]))


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
        """Test and sample tensors, and the weights (linked, not copied)."""
        describe.write_tensors(self.converted, self.folder)
        for weights in self.converted.weights:
            (self.folder / weights.path.name).hardlink_to(weights.path)

    def write_card(self, validation: Validation) -> None:
        """The model card."""
        inputs, outputs = (describe.tensor_notes(one) for one in (self.converted.inputs, self.converted.outputs))
        (self.folder / "README.md").write_text(model_card(self.values, validation, inputs, outputs), encoding="utf-8")

    def write_description(self, weights: Sequence[Weights], tolerances: Mapping[str, Tolerances]) -> Path:
        """The description, with the weights that are in; gives its path."""
        attachments = [self.curves] if self.curves else []
        described = describe.describe(self.values, self.converted, weights, self.provenance, tolerances, attachments)
        return describe.write_description(described, self.folder)

    def files(self, weights: Sequence[Weights]) -> dict[str, Path]:
        """The files of the package by their name in it; weights that were left out stay out."""
        left_out = {one.path.name for one in self.converted.weights} - {one.path.name for one in weights}
        return {path.name: path for path in sorted(self.folder.iterdir()) if path.name not in left_out}


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The answers that shape the prediction, to be found again in the description."""
    names = ("image_size", "confidence", "overlap_iou", "max_objects", "colour", "bit_depth")
    return {name: values[name] for name in names if values.get(name) is not None}


def _hand_over(report: Report, archive: Path, output: Path, mode: int) -> dict[str, Any]:
    """Put package and report where the person wants them; each appears whole or not at all."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        target = output / archive.name
        archive.chmod(mode)
        if archive.stat().st_dev == output.stat().st_dev:
            archive.replace(target)
        else:
            beside = output / f".{archive.name}.part"
            try:
                shutil.copy(archive, beside)
                beside.replace(target)
            finally:
                beside.unlink(missing_ok=True)
            archive.unlink()
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise ZoowizardError(
            f"could not save the package to {output}: {reason}; it passed its tests and is kept as {archive}"
        ) from problem
    as_json, _ = write(report, output, mode)
    measured = report.parity
    return {
        "package": str(target),
        "report": str(as_json),
        "status": report.status,
        "parity": None
        if measured is None
        else {key: measured[key] for key in ("images", "mean_iou", "identical_pixels")},
    }
