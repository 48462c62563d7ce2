"""A model whose package is ready to be sent, without the minutes of building it: the package is small and real."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import recorded
from uploads import MIB, a_package

from zoowizard.assets import asset
from zoowizard.drafts.answers import changed, read_answers
from zoowizard.drafts.draft import with_given
from zoowizard.drafts.place import Place, write_place
from zoowizard.drafts.store import Workspace, load, open_workspace, save
from zoowizard.upload.package import Package
from zoowizard.workflow import choose_one, fields_of, open_draft

MODEL = "nuclei-yolo11n"


def _small(folder: Path, name: str, weights: int) -> Package:
    return a_package(folder, weights, name)


def ready_to_send(
    root: Path, weights: int = 7 * MIB, made: Callable[[Path, str, int], Package] = _small
) -> tuple[Workspace, Package]:
    """A workspace with the sample's draft at the step Upload, and a build of it that passed."""
    workspace = open_workspace(root)
    draft = open_draft(workspace, choose_one(asset("sample/nuclei-yolo11n")))
    assert draft.id == MODEL
    answers = read_answers(asset("sample/answers.yaml"), fields_of(draft.family))
    draft = with_given(draft, {**changed(draft, answers), "test_image": str(asset("sample/nuclei-512.png"))})
    save(workspace, draft)
    write_place(workspace, draft.id, Place("upload"))
    return workspace, built_anew(workspace, weights, made=made)


def built_anew(
    workspace: Workspace, weights: int, number: int = 0, made: Callable[[Path, str, int], Package] = _small
) -> Package:
    """Another build that passed; its package is another one for another size of `weights` in bytes."""
    draft = load(workspace, MODEL)
    package = made(workspace.packages(MODEL), MODEL, weights)
    report = package.archive.with_suffix(".json")
    report.write_text("{}")
    outcome = {
        "package": str(package.archive),
        "report": str(report),
        "status": "passed",
        "parity": {"images": 4, "mean_iou": 1.0, "identical_pixels": 1.0},
        "formats": ["onnx"],
        "sha256": package.sha256,
        "size": package.archive.stat().st_size,
    }
    recorded.job(workspace, draft, recorded.PASSED, "passed", outcome=outcome, number=number)
    return replace(package, title=str(draft.get("name")))
