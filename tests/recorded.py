"""A workspace as it was at one moment, written by hand: the same names, times and numbers on every computer.

All paths are relative to the folder in which the test is, so that no screen shows where that is.
"""

import fcntl
import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from zoowizard.assets import asset
from zoowizard.atomic import write_json
from zoowizard.board.event import import_document
from zoowizard.drafts.answers import read_answers
from zoowizard.drafts.draft import Draft, with_given
from zoowizard.drafts.store import Workspace, open_workspace, save
from zoowizard.jobs.events import Event, Note, Progress, StepDone, StepFailed, StepStarted, to_line
from zoowizard.upload.receipts import Receipt, keep
from zoowizard.upload.servers import server_of
from zoowizard.upload.state import Phase, Said, Upload, folder_of
from zoowizard.workflow import choose_one, draft_in_memory, fields_of

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
HERE, WORKSPACE = Path("models"), Path("workspace")
RUN = HERE / "nuclei-yolo11n"
MODEL = "nuclei-yolo11n"
FOUND_AGO_S = 3.5 * 3600
WHY = "the package in ONNX predicts other objects than ultralytics: 1.3 % of the pixels differ, 0.1 % may"
FAILED: tuple[Event, ...] = (
    StepStarted("convert"),
    StepDone("convert", 5.6, "torchscript, onnx"),
    StepStarted("describe"),
    StepDone("describe", 0.5),
    StepStarted("compare"),
    Progress("compare", 0.9, "bioimageio.core: onnx"),
    StepFailed(
        "compare",
        3.7,
        WHY,
    ),
)
PASSED: tuple[Event, ...] = (
    StepStarted("convert"),
    StepDone("convert", 5.6, "torchscript, onnx"),
    StepStarted("describe"),
    StepDone("describe", 0.5),
    StepStarted("compare"),
    Note("info", "Give whole images, not tiles: every image is resized inside to 512 px."),
    StepDone("compare", 3.7, "mean IoU 1.0000, 100.0000% of pixels identical"),
    StepStarted("package"),
    StepDone("package", 0.1, "25.9 MB"),
    StepStarted("test"),
    StepDone("test", 5.0, "torchscript passed, onnx passed"),
    StepStarted("save"),
    StepDone("save", 0.1, f"{MODEL}.zip"),
)
RUNNING: tuple[Event, ...] = (
    StepStarted("convert"),
    StepDone("convert", 5.6, "torchscript, onnx"),
    StepStarted("describe"),
    StepDone("describe", 0.5),
    StepStarted("compare"),
    Progress("compare", 0.45, "ultralytics 8.4.190: larger"),
)
LOG = """\
loading ultralytics
predicting the test image with ultralytics
Ultralytics 8.4.190 YOLO11n-seg summary (fused): 113 layers, 2,834,763 parameters, 9.6 GFLOPs
tracing the network
converting to ONNX
comparing with the original
Traceback (most recent call last):
  File "zoowizard/packaging/parity.py", line 88, in require_same
    raise ParityError(sentence)
ParityError: onnx: 1.3 % of the pixels differ from what ultralytics predicts; 0.1 % are allowed
"""


def folder_with_a_run() -> None:
    """In the current folder: `models` with the sample run and the test image, as a training of this morning left it."""
    shutil.copytree(asset("sample/nuclei-yolo11n"), RUN)
    shutil.copy(asset("sample/nuclei-512.png"), HERE)
    shutil.copy(asset("sample/answers.yaml"), HERE)
    before = time.time() - FOUND_AGO_S
    for path in [RUN, *RUN.rglob("*")]:
        os.utime(path, (before, before))


def empty_workspace() -> Workspace:
    open_workspace(WORKSPACE)
    return Workspace(WORKSPACE)


def sample_draft(answered: bool = True, **answers: Any) -> Draft:
    """The draft of the sample run; with the answers of the sample, or with none."""
    draft = replace(draft_in_memory(choose_one(RUN)), id=MODEL, checkpoint=RUN / "weights" / "best.pt")
    draft = replace(draft, created="2026-03-14T09:00:00+00:00")
    if answered:
        told = read_answers(HERE / "answers.yaml", fields_of("yolo"))
        draft = with_given(draft, {**told, "test_image": str(HERE / "nuclei-512.png")})
    return with_given(draft, answers)


def write_place(workspace: Workspace, step: str, field: str = "", **typed: str) -> None:
    write_json(workspace.folder(MODEL) / "place.json", {"step": step, "field": field, "typed": typed})


def job(
    workspace: Workspace,
    draft: Draft,
    events: Sequence[Event],
    status: str = "",
    reason: str = "",
    begun: float = NOON.timestamp(),
    outcome: Mapping[str, Any] | None = None,
    number: int = 0,
    uploads_from: Path | None = None,
) -> Path:
    """The folder of a build of the draft; without a `status` one that is at work as long as its lock is held.

    One of a higher `number` is newer. `uploads_from` is the folder of an upload, at which it works instead.
    """
    stamp = datetime.fromtimestamp(NOON.timestamp(), UTC)
    name = f"{stamp:%Y%m%d-%H%M%S}-abc{'defgh'[number]}"
    folder = workspace.jobs(draft.id) / name
    folder.mkdir(parents=True, mode=0o700)
    work = {
        "family": draft.family,
        "checkpoint": str(draft.checkpoint),
        "values": {name: known.value for name, known in draft.values.items()},
        "output": str(workspace.packages(draft.id)),
    }
    kind = "build" if uploads_from is None else "upload"
    work = work if uploads_from is None else {"folder": str(uploads_from)}
    spec = {"version": 1, "id": name, "kind": kind, "model": draft.id, "created": NOON.isoformat(), "work": work}
    write_json(folder / "job.json", {**spec, "time_limit_s": 3600.0})
    seconds, lines = 0.0, []
    for event in events:
        seconds += getattr(event, "seconds", 0.0)
        lines.append(to_line(event, begun + seconds) + "\n")
    (folder / "events.jsonl").write_text("".join(lines))
    (folder / "log.txt").write_text(LOG if status == "failed" else LOG.partition("Traceback")[0])
    (folder / "lock").write_text("")
    if status:
        result = {"status": status, "reason": reason, "exit_code": 0, "seconds": seconds, "ended": NOON.isoformat()}
        write_json(folder / "result.json", {**result, "outcome": outcome})
    return folder


def held(folder: Path) -> int:
    """Be the process of this job: it is at work until the descriptor is closed."""
    descriptor = os.open(folder / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def passed(workspace: Workspace, draft: Draft) -> Path:
    """A build that passed, with a package whose bytes are the same everywhere."""
    package = workspace.packages(draft.id) / f"{draft.id}.zip"
    package.parent.mkdir(parents=True)
    with zipfile.ZipFile(package, "w", zipfile.ZIP_STORED) as archive:
        for name, size in FILES.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 3, 14, 12, 0, 0)), b"-" * size)
    report = package.with_suffix(".json")
    report.write_text("{}")
    outcome = {
        "package": str(package),
        "report": str(report),
        "status": "passed",
        "parity": {"images": 4, "mean_iou": 1.0, "identical_pixels": 1.0},
        "formats": ["torchscript", "onnx"],
        "warnings": ["Missing `maintainers` or any author in `authors` with a specified `github_user` name."],
        "sha256": hashlib.sha256(package.read_bytes()).hexdigest(),
        "size": package.stat().st_size,
    }
    folder = job(workspace, draft, PASSED, "passed", outcome=outcome)
    (folder / "contents").mkdir()
    np.save(folder / "contents" / "test_labels.npy", drawn_labels())
    return folder


SENDING: tuple[Event, ...] = (
    StepStarted("check"),
    StepDone("check", 0.6, "as ada@example.org"),
    StepStarted("draft"),
    StepDone("draft", 0.5, "bioimage-io/merry-panda"),
    StepStarted("send"),
    Progress("send", 0.42, "1.2 MB of 2.9 MB, 410.0 kB/s, 4 s left"),
)
SAID = Said(
    by="Rita Reviewer", at=NOON, text="Please name the microscope, and what the scale of the training images was."
)


def uploaded(workspace: Workspace, draft: Draft, phase: Phase, status: str = "", *said: Said) -> Path:
    """The record of an upload of the build that passed, to the server that `ZOOWIZARD_SERVER` names."""
    package, server = workspace.packages(draft.id) / f"{draft.id}.zip", server_of()
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    upload = Upload(
        key="0" * 32,
        base=server.base,
        title=str(draft.get("name")),
        package=str(package),
        sha256=digest,
        size=package.stat().st_size,
        phase=phase,
        alias="merry-panda",
        artifact_id="bioimage-io/merry-panda",
        status=status,
        said=list(said),
        seen=NOON if status else None,
        at=NOON,
    )
    folder = folder_of(workspace, server, draft.id, digest)
    folder.mkdir(parents=True, mode=0o700)
    (folder / "upload.json").write_text(upload.model_dump_json())
    where = f"{server.base}/bioimage-io/artifacts/merry-panda?stage=true"
    receipt = Receipt(kind="zoo", where=where, sha256=digest, size=1, state="begun", at=NOON)
    whole = phase in ("verified", "submitted")
    keep(workspace, draft.id, receipt.model_copy(update={"state": "done", "confirmed": True}) if whole else receipt)
    return folder


FILES = {
    "rdf.yaml": 2898,
    "README.md": 4977,
    "cover.png": 24826,
    "curves.png": 23458,
    "sample_image.png": 79861,
    "sample_labels.tif": 104884,
    "test_image.npy": 262272,
    "test_labels.npy": 104870,
    "weights-torchscript.pt": 1170114,
    "weights.onnx": 1149370,
}


def drawn_labels(side: int = 512, every: int = 64, radius: int = 24) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Discs in rows and columns, each with a number of its own."""
    rows, columns = np.mgrid[:side, :side]
    away = np.hypot(rows % every - every // 2, columns % every - every // 2)
    numbers = (rows // every) * (side // every) + columns // every + 1
    return np.where(away < radius, numbers, 0).astype(np.int32)


def many_models() -> tuple[Workspace, list[int]]:
    """A board with a row in every state; gives also the locks of the job that is at work."""
    workspace = empty_workspace()
    import_document(workspace, asset("uploathon.md"))
    sample = sample_draft()
    locks = []
    for number, (name, events, status) in enumerate(
        [
            ("nuclei-testing", RUNNING, ""),
            ("nuclei-failed", FAILED, "failed"),
            ("nuclei-tested", PASSED, "passed"),
            ("nuclei-uploaded", PASSED, "passed"),
        ]
    ):
        draft = replace(with_given(sample, {"name": name}), id=name, created=f"2026-03-14T09:0{number}:00+00:00")
        save(workspace, draft)
        if status == "passed":
            passed(workspace, draft)
        else:
            # what began in the future has been at work for no time at all
            reason = "" if not status else WHY
            begun = NOON.timestamp() if status else datetime(2200, 1, 1, tzinfo=UTC).timestamp()
            folder = job(workspace, draft, events, status, reason, begun)
            locks += [] if status else [held(folder)]
        if name == "nuclei-uploaded":
            keep(
                workspace,
                name,
                Receipt(
                    kind="zoo", where="bioimage.io", sha256="0" * 64, size=1, state="done", confirmed=True, at=NOON
                ),
            )
    begun_only = replace(sample_draft(answered=False, name="Nuclei, only begun"), id="nuclei-begun")
    save(workspace, replace(begun_only, created="2026-03-14T09:05:00+00:00"))
    return workspace, locks
