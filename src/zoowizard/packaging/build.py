"""A job of the kind `build`: checkpoint and answers → package, tests, parity, report."""

import importlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from zoowizard.conversion.converted import Array, Converted, Weights
from zoowizard.drafts.images import read_image
from zoowizard.errors import ZoowizardError
from zoowizard.families.pickles import look
from zoowizard.jobs.steps import Step, Steps
from zoowizard.packaging import clean, describe
from zoowizard.packaging.archive import sha256, write_archive
from zoowizard.packaging.card import Validation, model_card
from zoowizard.packaging.cover import write_cover
from zoowizard.packaging.curves import write_curves
from zoowizard.packaging.matching import Parity, parity
from zoowizard.packaging.pictures import comparison_pictures
from zoowizard.packaging.report import Drift, FormatReport, Report, Tolerances, write
from zoowizard.packaging.test import run_tests

LOWEST_MEAN_IOU: Final = 0.95
"""Below this the package does not do what the model does, whatever the reason, and is not handed out."""


@dataclass(frozen=True)
class Measured:
    """How the package, run by bioimageio.core, compares: with the framework, and each format with the test output."""

    parity: Parity
    drift: Mapping[str, Drift]
    sizes: tuple[tuple[int, ...], ...]


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
    with steps.step("describe") as step:
        package = _Contents(contents, values, converted, provenance)
        package.write_files(image)
        package.write_description(converted.weights, {})
        problems = clean.in_clean_process(clean.validate, contents / describe.DESCRIPTION_FILE).result()
        if problems:
            raise ZoowizardError(f"the description is not valid: {'; '.join(problems)}")
    with steps.step("compare") as step:
        measured, weights, left_out = _compare(converted, image, contents, folder / "comparison", step)
        for sentence in (*converted.notes, *left_out):
            steps.note("info", sentence)
        step.note = _in_short(measured.parity)
    with steps.step("package") as step:
        tolerances = {
            name: describe.suggest_tolerances(drift.mismatched_per_million) for name, drift in measured.drift.items()
        }
        formats = [
            FormatReport(one.weight_format, None, (1, 2), measured.sizes, measured.drift[one.weight_format])
            for one in weights
        ]
        notes = [*converted.notes, *left_out]
        package.write_card(Validation(converted.framework, measured.parity, formats, package.curves, notes))
        package.write_description(weights, tolerances)
        archive = folder / f"{work['name']}.zip"
        write_archive(package.files(weights), archive, step.progress)
        step.note = f"{archive.stat().st_size / 1e6:.1f} MB"
    reports, environment = run_tests(archive, [one.weight_format for one in weights], steps)
    reports = [replace(one, drift=measured.drift[one.weight_format], sizes=measured.sizes) for one in reports]
    report = Report(
        package=archive.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        formats=tuple(reports),
        parity=measured.parity,
        tolerances=max(tolerances.values(), key=lambda one: one.mismatched_elements_per_million),
        steps=tuple(steps.finished),
        notes=tuple(notes),
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

    def write_files(self, image: Array) -> None:
        """Everything but the description and the numbers: tensors, cover, and a first card."""
        describe.write_tensors(self.converted, self.folder)
        write_cover(image, self.converted.outputs[0].sample, self.folder / "cover.png")
        for weights in self.converted.weights:
            target = self.folder / weights.path.name
            target.hardlink_to(weights.path)
        self.write_card(Validation(self.converted.framework, curves=self.curves))

    def write_card(self, validation: Validation) -> None:
        """The model card, once more when there are numbers to show."""
        inputs, outputs = (describe.tensor_notes(one) for one in (self.converted.inputs, self.converted.outputs))
        (self.folder / "README.md").write_text(model_card(self.values, validation, inputs, outputs), encoding="utf-8")

    def write_description(self, weights: Sequence[Weights], tolerances: Mapping[str, Tolerances]) -> None:
        """The description, with the weights that are in."""
        attachments = [self.curves] if self.curves else []
        described = describe.describe(self.values, self.converted, weights, self.provenance, tolerances, attachments)
        describe.write_description(described, self.folder)

    def files(self, weights: Sequence[Weights]) -> dict[str, Path]:
        """The files of the package by their name in it; weights that were left out stay out."""
        left_out = {one.path.name for one in self.converted.weights} - {one.path.name for one in weights}
        return {path.name: path for path in sorted(self.folder.iterdir()) if path.name not in left_out}


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The answers that shape the prediction, to be found again in the description."""
    names = ("image_size", "confidence", "overlap_iou", "max_objects", "colour", "bit_depth")
    return {name: values[name] for name in names if values.get(name) is not None}


def _compare(
    converted: Converted, image: Array, contents: Path, scratch: Path, step: Step
) -> tuple[Measured, list[Weights], list[str]]:
    """Run every weight format through bioimageio.core on several images, and the framework on the same ones.

    Gives what was measured, the weights that reproduce, and a sentence for each format that does not.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    pictures = comparison_pictures(image)
    tensors = [converted.to_input(picture) for picture in pictures.values()]
    tensors.append(np.concatenate([tensors[0], tensors[0][:, :, ::-1, ::-1]]))  # a batch of two
    inputs = []
    for number, tensor in enumerate(tensors):
        inputs.append(scratch / f"input-{number}.npy")
        np.save(inputs[-1], tensor)
    description = contents / describe.DESCRIPTION_FILE
    pending = {}
    for weights in converted.weights:
        outputs = [scratch / f"{weights.weight_format}-{number}.npz" for number in range(len(inputs))]
        job = clean.in_clean_process(clean.predict, description, weights.weight_format, inputs, outputs)
        pending[weights.weight_format] = (job, outputs)
    native = []
    for number, (name, picture) in enumerate(pictures.items()):
        step.progress(number / len(pictures), f"{converted.framework}: {name}")
        native.append(converted.predict_native(picture))

    label_id = converted.outputs[0].id
    kept, left_out, drifts, parities = [], [], {}, {}
    for weights in converted.weights:
        name = weights.weight_format
        job, outputs = pending[name]
        step.progress(0.9, f"bioimageio.core: {name}")
        try:
            job.result()
        except Exception as problem:
            if weights.parent is None:
                raise
            left_out.append(
                f"{name} was left out: bioimageio.core cannot run it ({type(problem).__name__}: {problem})."
            )
            continue
        predicted = [np.load(path)[label_id] for path in outputs]
        drift = _drift(converted, outputs[0])
        batch_differs = float((predicted[-1][:1] != predicted[0]).mean())
        if weights.parent is not None and (
            drift.mismatched_per_million > describe.MOST_MISMATCHED_PER_MILLION or batch_differs > 0
        ):
            left_out.append(
                f"{name} was left out: {drift.mismatched_per_million:.0f} of a million elements differ from "
                f"{weights.parent}, more than the zoo allows."
            )
            continue
        kept.append(weights)
        drifts[name] = drift
        parities[name] = parity(
            (truth, labels[0, 0]) for truth, labels in zip(native, predicted[: len(native)], strict=True)
        )
    worst = min(parities.values(), key=lambda one: (one["mean_iou"] or 0.0, one["identical_pixels"]))
    if (worst["mean_iou"] or 0.0) < LOWEST_MEAN_IOU:
        raise ZoowizardError(
            f"the package does not predict what {converted.framework} predicts: {_in_short(worst)}; it was not written"
        )
    sizes = dict.fromkeys(picture.shape[:2] for picture in pictures.values())
    return Measured(worst, drifts, tuple(sizes)), kept, left_out


def _drift(converted: Converted, predicted: Path) -> Drift:
    """How far the outputs for the test input are from the test outputs, over all outputs."""
    found = np.load(predicted)
    allowed = describe.DEFAULT_TOLERANCES
    largest, mismatched, elements = 0.0, 0, 0
    for tensor in converted.outputs:
        expected = tensor.test_tensor.astype(np.float64)
        apart = np.abs(found[tensor.id] - expected)
        largest = max(largest, float(apart.max(initial=0.0)))
        mismatched += int((apart > allowed.absolute + allowed.relative * np.abs(expected)).sum())
        elements += expected.size
    return Drift(largest, 1e6 * mismatched / max(elements, 1))


def _in_short(measured: Parity) -> str:
    if measured["mean_iou"] is None:
        return "no instances to compare"
    return f"mean IoU {measured['mean_iou']:.4f}, {measured['identical_pixels']:.4%} of pixels identical"


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
