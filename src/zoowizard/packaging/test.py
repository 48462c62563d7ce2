"""A job of the kind `test`: the zoo's own tests of any package, each weight format in a clean process of its own."""

import functools
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from zoowizard.errors import ZoowizardError
from zoowizard.jobs.processes import DEVICE
from zoowizard.jobs.steps import Steps
from zoowizard.packaging import clean
from zoowizard.packaging.archive import DESCRIPTIONS, unpack, why_not_plain
from zoowizard.packaging.report import FormatReport, Report, write

LARGEST_DESCRIPTION: Final = 4_000_000
"""Bytes."""
MOST_POINTS: Final = 5


def run(work: Mapping[str, Any], folder: Path, steps: Steps) -> dict[str, Any]:
    """Test one package. `work`: package (zip or description file), output (a folder for the report, or None), umask.

    Gives the path of the report and the status. Raises ZoowizardError where the package cannot be read.
    """
    package, output = Path(work["package"]), Path(work["output"] or folder)
    clean.warm_up(folder / "bioimageio-cache")
    with steps.step("read"):
        described = _unpacked(package, folder / "contents") if zipfile.is_zipfile(package) else package
        _require_description(described, package.name)
        try:
            formats = clean.in_clean_process(clean.weight_formats, described).result()
        except clean.ProcessDied as problem:
            raise ZoowizardError(f"{package.name}: reading it ended the process; is it damaged?") from problem
        except Exception as problem:
            raise ZoowizardError(f"{package.name} is no bioimage.io model package: {_in_short(problem)}") from problem
    reports, environment = run_tests(described, formats, steps, clean.fit_beside(_weights_bytes(described)))
    report = Report(
        package=package.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        formats=tuple(reports),
        steps=tuple(steps.finished),
        environment={**environment, **used_device()},
    )
    as_json, _ = write(report, output, 0o666 & ~int(work["umask"]))
    if report.status != "passed":
        failed = "; ".join(error for one in reports for error in one.errors)
        raise ZoowizardError(
            f"{package.name}: its tests failed ({as_json.with_suffix('.md')} has the details): {failed}"
        )
    return {"report": str(as_json), "status": report.status, "package": str(package)}


def _unpacked(package: Path, folder: Path) -> Path:
    """The description of a stranger's package, unpacked here: the library would follow what `unpack` refuses."""
    names = {path.name: path for path in unpack(package, folder) if path.parent == folder}
    for name in DESCRIPTIONS:
        if name in names:
            return names[name]
    raise ZoowizardError(f"{package.name} is no bioimage.io package: it has no {DESCRIPTIONS[-1]} at its top")


def _require_description(described: Path, name: str) -> None:
    """Refuse what cannot be a description, before the library wonders about it. Raises ZoowizardError."""
    with described.open("rb") as file:
        content = file.read(LARGEST_DESCRIPTION + 1)
    if content.startswith(b"PK"):
        raise ZoowizardError(f"{name} is a damaged or shortened zip; download or copy it again")
    try:
        fields = yaml.safe_load(content.decode("utf-8")) if len(content) <= LARGEST_DESCRIPTION else None
    except yaml.MarkedYAMLError as problem:
        line = f" in line {problem.problem_mark.line + 1}" if problem.problem_mark else ""
        raise ZoowizardError(f"{name}: {described.name} is no YAML: {problem.problem}{line}") from problem
    except (yaml.YAMLError, ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise ZoowizardError(f"{name} is no bioimage.io package; give the zip of a package, or its rdf.yaml")


def _weights_bytes(description: Path) -> int:
    """The size of the weights files beside a description, of all formats together; 0 for what is not there."""
    described = yaml.safe_load(description.read_text(encoding="utf-8"))
    weights = described.get("weights")
    entries = weights.values() if isinstance(weights, dict) else ()
    names = [one["source"] for one in entries if isinstance(one, dict) and isinstance(one.get("source"), str)]
    files = [description.parent / name for name in names if why_not_plain(name) is None]
    return sum(file.stat().st_size for file in files if file.is_file())


def run_tests(
    package: Path, formats: Sequence[str], steps: Steps, beside: bool
) -> tuple[list[FormatReport], dict[str, str]]:
    """Test every weight format, all `beside` each other or one after another.

    Gives a report a format and the versions of what was used.
    """
    pending = {
        name: functools.cache(functools.partial(clean.in_clean_process, clean.test_format, package, name))
        for name in formats
    }
    for begin in pending.values() if beside else ():
        begin()
    reports: list[FormatReport] = []
    environment: dict[str, str] = {}
    with steps.step("test") as step:
        for number, (name, job) in enumerate(pending.items()):
            step.progress(number / len(pending), name)
            try:
                said = job().result()
            except clean.ProcessDied:
                reports.append(
                    FormatReport(
                        name,
                        "failed",
                        errors=(
                            f"{name}: the test ended without a word, "
                            "which is what happens when memory runs out; the log has the details",
                        ),
                    )
                )
                continue
            environment |= said["environment"]
            reports.append(format_report(name, said))
        step.note = ", ".join(f"{one.weight_format} {one.status}" for one in reports)
    return reports, environment


def used_device() -> dict[str, str]:
    """The device that this job was given, `CPU` or the name of a GPU; nothing where it was not told."""
    device = os.environ.get(DEVICE, "")
    return {"device": device} if device else {}


def format_report(name: str, said: Mapping[str, Any]) -> FormatReport:
    """What a clean process said of one format, as a report."""
    errors = list(said["errors"])
    errors += [
        f"{name}: {framework} was loaded during the test, so it proves nothing" for framework in said["frameworks"]
    ]
    if said["status"] != "passed" and not errors:
        errors.append(f"{name}: the library did not call it passed; the log has the details")
    batches = sorted({int(number) for check in said["checks"] for number in re.findall(r"batch_size: (\d+)", check)})
    return FormatReport(
        weight_format=name,
        status="failed" if errors else "passed",
        batches=tuple(batches),
        seconds=said["seconds"],
        errors=tuple(errors),
        warnings=tuple(said["warnings"]),
    )


def _in_short(problem: BaseException) -> str:
    """The library's list of what is wrong, its beginning, in one line."""
    heading, *points = str(problem).strip().splitlines() or [type(problem).__name__]
    more = f" and {len(points) - MOST_POINTS} more" if len(points) > MOST_POINTS else ""
    return " ".join([heading, "; ".join(point.removeprefix("- ") for point in points[:MOST_POINTS])]).strip() + more
