"""The zoo's own test of a model: the service `model-runner` runs it, where the server offers that.

The service answers `test(model_id, stage)` with the id of a run, and `get_test_status(test_run_id)` with what became of
it: {"result": null} while it runs, then {"result": a report} or {"result": {"error": …}}. The newest report is kept as
a file of the artifact `test-report-<model>`, too, whoever asked for it (as the zoo's website uses both).
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from zoowizard.errors import ZoowizardError
from zoowizard.terminal import printable
from zoowizard.upload.hypha import Hypha
from zoowizard.upload.state import Tested, Upload
from zoowizard.upload.values import moment, text

RUNNER: Final = "model-runner"
MOST_REPORT_BYTES: Final = 5_000_000
GIVES_UP_AFTER: Final = timedelta(hours=6)
"""A test that ran this long without a report, of whose run nobody knows, is lost."""


def look(upload: Upload, hypha: Hypha, staged: bool) -> Tested | None:
    """How the zoo's own test of this package stands; asked for, of a draft, where it was not. None where there is none.

    Never waits for a test. Raises ZoowizardError where the server cannot be asked.
    """
    known = upload.tested
    if known is None or known.sha256 != upload.sha256:
        return _start(upload, hypha) if staged else None
    if known.state in ("passed", "failed"):
        return known
    if known.service and (service := hypha.service(known.service)) is not None:
        found = _of_run(known, hypha, service)
        if found is not None:
            return found
    return _of_report(known, upload, hypha, staged)


def _start(upload: Upload, hypha: Hypha) -> Tested | None:
    service = hypha.service(RUNNER)
    if service is None:
        return None
    arguments = {"model_id": upload.alias, "stage": True}
    run = text(hypha.serve(service, "test", arguments, "ask for the zoo's own test"), most=200)
    if not run:
        raise ZoowizardError("the zoo's runner answered something unknown; look at the model's page")
    return Tested(sha256=upload.sha256, service=service, run=run, at=datetime.now(UTC))


def _of_run(known: Tested, hypha: Hypha, service: str) -> Tested | None:
    """What the run says; None where it is not known any more."""
    try:
        status = hypha.serve(service, "get_test_status", {"test_run_id": known.run}, "ask after the zoo's own test")
    except ZoowizardError:
        return None
    if not isinstance(status, dict):
        return None
    result = status.get("result")
    return known if result is None else _ended(known, result)


def _of_report(known: Tested, upload: Upload, hypha: Hypha, staged: bool) -> Tested:
    """What the report says that is kept of the newest test, if that is not older than the question."""
    workspace, slot = upload.collection.partition("/")[0], "staged" if staged else "published"
    kept = hypha.small_file(f"{workspace}/test-report-{upload.alias}", f"{slot}/test_report.json", MOST_REPORT_BYTES)
    try:
        report: Any = json.loads(kept or b"null")
    except (ValueError, RecursionError):
        report = None
    tested_at = moment(report.get("tested_at")) if isinstance(report, dict) else None
    if tested_at is not None and tested_at >= known.at:
        return _ended(known, report)
    if datetime.now(UTC) - known.at > GIVES_UP_AFTER:
        return known.model_copy(update={"state": "lost", "said": "the zoo knows nothing of it any more"})
    return known


def _ended(known: Tested, result: Any) -> Tested:
    told: Mapping[str, Any] = result if isinstance(result, dict) else {}
    if told.get("status") == "passed":
        return known.model_copy(update={"state": "passed", "said": ""})
    return known.model_copy(update={"state": "failed", "said": _why(told)})


def _why(report: Mapping[str, Any]) -> str:
    """The first thing that failed, in one line: {"details": [{"name", "status", "errors": [{"msg"}]}]}."""
    if isinstance(error := report.get("error"), str):
        return printable(" ".join(error.split()))[:300]
    details = report.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and detail.get("status") == "failed":
            errors = detail.get("errors")
            first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
            words = f"{detail.get('name') or 'a check'}: {first.get('msg') or 'failed'}"
            return printable(" ".join(words.split()))[:300]
    return "it did not say why"
