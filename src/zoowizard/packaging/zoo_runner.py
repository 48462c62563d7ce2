"""The tests of a package in the versions that the zoo's own runner has, in an environment of their own.

Each weight format is tested by a process of its own that runs the script `zoo_child.py`, on the CPU. What it says is
told apart: what cannot run there at all, and what runs and predicts something else, and how far from the test output.
"""

import json
import math
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from zoowizard.environments import NoEnvironment, clean_variables, interpreter
from zoowizard.errors import ZoowizardError
from zoowizard.jobs.steps import Step, Steps
from zoowizard.library import zoo_child
from zoowizard.packaging.report import Drift, FormatReport, ZooRun

SCRIPT: Final = Path(zoo_child.__file__)
LEFT_OUT: Final = {
    "keras_hdf5": "TensorFlow",
    "keras_v3": "TensorFlow",
    "tensorflow_js": "TensorFlow",
    "tensorflow_saved_model_bundle": "TensorFlow",
}
"""Weight formats of which the environment has no engine: it is large enough as it is."""
ADVICE: Final = (
    (r"opset", "the runner's onnxruntime 1.20.1 knows ONNX up to opset 21; export it with that or an older one"),
    (
        r"IR version",
        "the runner's onnxruntime 1.20.1 knows ONNX IR up to version 10; export it with that or an older one",
    ),
    (
        r"No module named|cannot import name|has no attribute|Unknown builtin op|Unsupported operator|Could not find",
        "the runner's versions lack something that it uses; write the network without it",
    ),
    (
        r"failed finding central directory|version .* of .*(format|file)|produced file format|deserialize",
        "it was written by a newer version than the runner has; save it with torch 2.5 or an older one",
    ),
    (r"rdf\.yaml|validat|format_version|Input should", "the runner reads descriptions up to format 0.5.10"),
)
"""What the library's words (a pattern) mean here, and what would be right."""


GET: Final = "get the zoo's versions"
TEST: Final = "test in the zoo's versions"
"""The names of the steps."""


def run_there(description: Path, formats: Sequence[str], folder: Path, steps: Steps, alone: bool) -> ZooRun:
    """Build the environment where it is not there, and test in it.

    Where it cannot be had, that is the answer; `alone`, with nothing else to answer, it is an error: ZoowizardError.
    """
    with steps.step(GET) as step:
        try:
            python = interpreter("zoo", step.progress)
        except NoEnvironment as why:
            said = f"not tested in the zoo's versions: {why}"
            if alone:
                raise ZoowizardError(said) from why
            steps.note("warning", f"{said[:1].upper()}{said[1:]}.")
            step.note = "cannot be had here"
            return ZooRun(not_tested=str(why))
        step.note = "bioimageio.core 0.10.4, torch 2.5.1"
    with steps.step(TEST) as step:
        found = run(python, description, formats, folder, step)
        if found.not_tested and alone:
            raise ZoowizardError(f"not tested in the zoo's versions: {found.not_tested}")
        step.note = found.not_tested or ", ".join(
            f"{one.weight_format} {one.status or 'not tested'}" for one in found.formats
        )
    return found


def run(python: Path, description: Path, formats: Sequence[str], folder: Path, step: Step) -> ZooRun:
    """Test the weight formats of an unpacked package one after another; `folder` is for what the library unpacks."""
    reports: list[FormatReport] = []
    environment: dict[str, str] = {}
    for number, name in enumerate(formats):
        step.progress(number / len(formats), name)
        if name in LEFT_OUT:
            why = f"{name}: not tested: {LEFT_OUT[name]} is left out of these versions"
            reports.append(FormatReport(name, None, warnings=(why,)))
            continue
        said, ending = _asked(python, description, name, folder)
        environment |= said.get("environment", {})
        reports.append(format_report(name, said, ending))
    if all(one.status is None for one in reports):
        return ZooRun(not_tested="; ".join(text for one in reports for text in one.warnings) or "it has no weights")
    return ZooRun(tuple(reports), environment)


def _asked(python: Path, description: Path, name: str, folder: Path) -> tuple[dict[str, Any], str]:
    """All that the process said, and how it ended where it did not end well."""
    variables = clean_variables() | {
        "BIOIMAGEIO_CACHE_PATH": str(folder / "zoo-cache"),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // 2))),
    }
    said: dict[str, Any] = {}
    with subprocess.Popen(
        [python, "-I", SCRIPT, description, name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=variables,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                said |= _object(line)
        except BaseException:
            process.kill()
            raise
    code = process.returncode
    if code == 0 and "status" in said:
        return said, ""
    if code == -9:
        return said, "its process was killed, which is what happens when memory runs out"
    return said, f"its process {'crashed' if code < 0 else 'ended'} (exit code {code})"


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ZoowizardError(f"the test with the runner's versions said what is no JSON object: {line[:200]!r}")
    return found


def format_report(name: str, said: Mapping[str, Any], ending: str) -> FormatReport:
    """What one process said, as a report with plain errors."""
    apart: Mapping[str, Mapping[str, float]] = said.get("differences") or {}
    drift = None
    if apart:
        largest = max(_number(one["max_abs"]) for one in apart.values())
        drift = Drift(largest, max(_number(one["mismatched_per_million"]) for one in apart.values()))
    errors: list[str] = []
    if ending and "status" not in said:
        errors.append(f"{name}: could not be tested: {ending}; the log has the details")
    elif said.get("status") != "passed":
        errors.append(_why(name, said, drift))
    checks = said.get("checks") or ()
    batches = sorted({int(number) for check in checks for number in re.findall(r"batch_size: (\d+)", check)})
    return FormatReport(
        weight_format=name,
        status="failed" if errors else "passed",
        batches=tuple(batches),
        drift=drift,
        seconds=float(said.get("seconds") or 0),
        errors=tuple(errors),
        warnings=tuple(said.get("warnings") or ()),
    )


def _why(name: str, said: Mapping[str, Any], drift: Drift | None) -> str:
    """Why it failed: it cannot run, it runs and predicts something else, or a check of another kind failed."""
    lines = list(said.get("errors") or ())
    first = lines[0] if lines else "the library did not call it passed; the log has the details"
    if drift is None:
        problem = str(said.get("cannot_run") or first)
        return f"{name}: cannot run: {problem}{_advice(' '.join([problem, *lines]))}"
    if drift.mismatched_per_million:
        return (
            f"{name}: runs, but predicts something else: the largest difference is {drift.max_abs:.3g}, and "
            f"{drift.mismatched_per_million:.4g} of a million values are beyond the tolerances"
        )
    return f"{name}: runs, but a check failed: {first}{_advice(' '.join(lines))}"


def _advice(text: str) -> str:
    return next((f" ({advice})" for pattern, advice in ADVICE if re.search(pattern, text, re.IGNORECASE)), "")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
