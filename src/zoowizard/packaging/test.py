"""A job of the kind `test`: the zoo's own tests of any package, each weight format in a clean process of its own.

They run in the versions that are installed here, in those of the zoo's own runner, or in both.
"""

import functools
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from zoowizard.errors import ZoowizardError
from zoowizard.families.package_contents import why_not_inside
from zoowizard.jobs.processes import DEVICE
from zoowizard.jobs.steps import Steps
from zoowizard.library import clean
from zoowizard.packaging.foreign import opened
from zoowizard.packaging.operators import libraries_of
from zoowizard.packaging.report import FormatReport, Report, ZooRun, write
from zoowizard.packaging.tool_rules import Package
from zoowizard.packaging.tools import ToolReport, where_it_runs, with_measured
from zoowizard.packaging.zoo_runner import run_there

MOST_POINTS: Final = 5


def run(work: Mapping[str, Any], folder: Path, steps: Steps) -> dict[str, Any]:
    """Test one package. `work`: package (zip or description file), output (a folder for the report, or None), umask.

    `where` is here (also where it is not given), zoo or both. Gives the path of the report and the status. Raises
    ZoowizardError where the package cannot be read, or was to be tested in the zoo's versions alone and cannot be.
    """
    package, output = Path(work["package"]), Path(work["output"] or folder)
    where = work.get("where", "here")
    clean.warm_up(folder / "bioimageio-cache")
    with steps.step("read"):
        described, told = opened(package, folder / "contents")
        try:
            formats = clean.in_clean_process(clean.weight_formats, described).result()
            in_05 = clean.in_clean_process(clean.in_format_05, described).result()
        except clean.ProcessDied as problem:
            raise ZoowizardError(f"{package.name}: reading it ended the process; is it damaged?") from problem
        except Exception as problem:
            raise ZoowizardError(f"{package.name} is no bioimage.io model package: {_in_short(problem)}") from problem
    reports: list[FormatReport] = []
    environment: dict[str, str] = {}
    if where != "zoo":
        beside = clean.fit_beside(_weights_bytes(described.parent, told))
        reports, environment = run_tests(described, formats, steps, beside)
    zoo = None if where == "here" else run_there(described, formats, folder, steps, alone=where == "zoo")
    report = Report(
        package=package.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        formats=tuple(reports),
        steps=tuple(steps.finished),
        environment={**environment, **used_device()},
        zoo=zoo,
        tools=_tools(in_05, described.parent, zoo),
    )
    as_json, _ = write(report, output, 0o666 & ~int(work["umask"]))
    if report.status != "passed":
        if where == "zoo" and zoo is not None:
            raise ZoowizardError(f"with the zoo's versions {zoo.failed}; {as_json.with_suffix('.md')} has the details")
        failed = "; ".join([*(error for one in reports for error in one.errors), *_there(zoo)])
        raise ZoowizardError(
            f"{package.name}: its tests failed ({as_json.with_suffix('.md')} has the details): {failed}"
        )
    return {
        "report": str(as_json),
        "status": report.status,
        "package": str(package),
        "zoo": None if zoo is None else _zoo_outcome(zoo),
    }


def _there(zoo: ZooRun | None) -> list[str]:
    return [f"in the zoo's versions: {zoo.failed}"] if zoo is not None and zoo.failed else []


def _zoo_outcome(zoo: ZooRun) -> dict[str, Any]:
    return {
        "passed": None if zoo.not_tested else zoo.passed,
        "not_tested": zoo.not_tested or None,
        "formats": [one.weight_format for one in zoo.formats if one.status == "passed"],
        "versions": dict(zoo.environment),
    }


def _tools(described: Mapping[str, Any], folder: Path, zoo: ZooRun | None) -> tuple[ToolReport, ...]:
    """Where it will run; what was tried of the zoo's runner stands before its rules."""
    tools = where_it_runs(Package(described, libraries_of(described, folder)))
    return tools if zoo is None or zoo.not_tested else with_measured(tools, zoo.passed, zoo.failed)


def _weights_bytes(folder: Path, described: Mapping[str, Any]) -> int:
    """The size of the weights files in the package's folder, of all formats together; 0 for what is not there."""
    weights = described.get("weights")
    entries = weights.values() if isinstance(weights, dict) else ()
    names = [one["source"] for one in entries if isinstance(one, dict) and isinstance(one.get("source"), str)]
    files = [folder / name for name in names if why_not_inside(name) is None]
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
