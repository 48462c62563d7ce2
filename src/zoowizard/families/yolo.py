"""Ultralytics YOLO: recognise a run or a checkpoint, and ask what neither can tell."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.checks import check_among, check_number, parse_number
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.questions import parse_choice
from zoowizard.errors import UnsafeCheckpoint, WrongUse, ZoowizardError
from zoowizard.families.family import Files, Recognition, Warning, asks_no_more
from zoowizard.families.pickles import NotFromTorchSave, printable
from zoowizard.families.pickles import look as look
from zoowizard.families.stand_ins import Made
from zoowizard.families.yolo_run import RunFiles, curves_of_events, find_data, find_run, read_results, read_yaml
from zoowizard.families.yolo_suspicions import warnings_of
from zoowizard.families.yolo_told import Told, plain, values_of

NAME = "yolo"
FILES = Files(unnamed=("weights", "best.pt", "last.pt"))
asks = asks_no_more
LABELS: Mapping[str, str] = {}

FIELDS: Sequence[Field] = (
    Field(
        "bit_depth",
        "Bit depth of the training images",
        "How many bits a pixel of the training images had. Ultralytics reads 8-bit images, and scales 16-bit ones to 8 "
        "bit while loading them: the package takes 8-bit images in both cases, and says how yours became so.",
        "8",
        Need.REQUIRED,
        "Network",
        "choice",
        check_among(("8", "16")),
        "documentation: How to use",
        parse=parse_choice(("8", "16")),
        choices=("8", "16"),
        hint=lambda answer: (
            "the package takes 8-bit images: people must scale theirs as ultralytics did while training"
            if answer == "16"
            else None
        ),
    ),
    Field(
        "colour",
        "Colour of the images",
        "What goes into the package: grayscale (one channel, repeated inside for the network) or rgb. "
        "Left out, it follows the test image.",
        "grayscale",
        Need.OPTIONAL,
        "Network",
        "choice",
        check_among(("grayscale", "rgb")),
        "inputs: channel axis",
        parse=parse_choice(("grayscale", "rgb")),
        choices=("grayscale", "rgb"),
    ),
    Field(
        "confidence",
        "Confidence threshold",
        "Objects of which the network is less sure than this are left out, from 0 to 1. Ultralytics predicts at 0.25.",
        "0.25",
        Need.OPTIONAL,
        "Network",
        "number",
        check_number(0, 1),
        "weights: built into the network",
        parse=parse_number,
        default=0.25,
    ),
    Field(
        "overlap_iou",
        "Overlap of two objects",
        "Of two objects whose boxes overlap by more than this (intersection over union, 0 to 1), the less sure one is "
        "taken for the same and left out. Ultralytics predicts at 0.7.",
        "0.7",
        Need.OPTIONAL,
        "Network",
        "number",
        check_number(0, 1),
        "weights: built into the network",
        parse=parse_number,
        default=0.7,
    ),
    Field(
        "max_objects",
        "Most objects in an image",
        "At most so many objects are found in one image. Ultralytics stops at 300, which cuts crowded images short.",
        "1000",
        Need.OPTIONAL,
        "Network",
        "number",
        check_number(1, 10_000, whole=True),
        "weights: built into the network",
        parse=parse_number,
        default=1000,
    ),
)

_KINDS: Final = {
    "DetectionModel": "detect",
    "PoseModel": "pose",
    "OBBModel": "obb",
    "ClassificationModel": "classify",
    "SegmentationModel": "segment",
    "YOLOESegModel": "segment",
}
_BUILT_IN: Final = re.compile(r"yolo(?:v[3589]|v10|1[12]|26|e)[\w-]*\.pt")
_MODEL: Final = re.compile(r"ultralytics\.nn\.tasks\.\w+")


def recognise(path: Path) -> Recognition | None:
    """Look at a .pt file, with or without its run folder around it, or at a run folder; None where it is no YOLO's.

    A run folder without a .pt gives what its files tell, and the warning `no-weights`. A checkpoint that cannot be read
    or is unsafe is refused here where the files beside it say that it is a YOLO run; else the error is raised
    (UnsafeCheckpoint, WrongUse, ZoowizardError).
    """
    run = find_run(path)
    if run is None or (run.checkpoint is None and run.args is None):
        return None
    args, args_warnings = _args(run)
    by_args = run.args is not None and isinstance(args.get("task"), str)
    found = Recognition(path, NAME, run.checkpoint, evidence=tuple(_evidence(run)))
    try:
        contents = None if run.checkpoint is None else _contents(run.checkpoint)
    except WrongUse:
        raise
    except ZoowizardError as problem:
        # what the network was exported to lies beside its weights, and is no run
        if not by_args or (isinstance(problem, NotFromTorchSave) and path.suffix in (".onnx", ".torchscript")):
            raise
        contents = None
        found = replace(found, refused=str(problem), unsafe=isinstance(problem, UnsafeCheckpoint))
    else:
        if run.checkpoint is not None and contents is None:
            return None
        if run.checkpoint is None and not by_args:
            return None
    told = _told(run, contents, args)
    warnings = [*args_warnings, *told.problems, *warnings_of(told, found.refused is not None)]
    if contents is not None and told.network is not None:
        found = replace(found, evidence=(*found.evidence, f"the checkpoint holds an {told.network.kind}"))
    return replace(found, values=values_of(told), warnings=tuple(warnings))


def draws(values: Mapping[str, Any]) -> bool:
    """A package of it gives label images."""
    return True


def named_like(name: str) -> bool:
    """Never: ultralytics gives its files an ending."""
    return False


def built_in(path: Path) -> str | None:
    """What to say of a file that is not there but is called like a model that ultralytics fetches; else None."""
    if _BUILT_IN.fullmatch(path.name) is None:
        return None
    return (
        f"{printable(path.name)} is the name of a model that ultralytics fetches from the network, which zoowizard "
        "never does: give the file of your own model."
    )


def _contents(checkpoint: Path) -> dict[Any, Any] | None:
    """The checkpoint's mapping, where it is one of ultralytics'."""
    root = look(checkpoint).root
    if not isinstance(root, dict):
        return None
    networks = [root.get("model"), root.get("ema")]
    if any(isinstance(one, Made) and _MODEL.fullmatch(one.kind) for one in networks):
        return root
    return None


def _args(run: RunFiles) -> tuple[dict[Any, Any], list[Warning]]:
    if run.args is None:
        return {}, []
    try:
        return read_yaml(run.args), []
    except ZoowizardError as problem:
        return {}, [Warning("damaged-args", str(problem))]


def _evidence(run: RunFiles) -> list[str]:
    told = []
    if run.args is not None:
        told.append("args.yaml holds the arguments of an ultralytics training")
    if run.results is not None:
        told.append("results.csv holds its epochs")
    if run.events:
        told.append("TensorBoard events are there")
    if run.checkpoint is not None:
        told.append(f"the weights are taken from {printable(run.checkpoint.name)}")
    if run.others:
        names = ", ".join(printable(one.name) for one in run.others[:5])
        more = f" and {len(run.others) - 5} more" if len(run.others) > 5 else ""
        told.append(f"also there: {names}{more}")
    return told


def _told(run: RunFiles, contents: dict[Any, Any] | None, args: dict[Any, Any]) -> Told:
    contents = contents or {}
    ema, model = contents.get("ema"), contents.get("model")
    # As ultralytics loads it: the averaged weights where they still are, which is until the run is finished off.
    network = ema if isinstance(ema, Made) else model if isinstance(model, Made) else None
    problems: list[Warning] = []
    curves, origin = _curves(run, contents, problems)
    done = plain(contents.get("train_args"))
    done = done if isinstance(done, dict) else {}
    task = _KINDS.get(network.kind.rpartition(".")[2]) if network is not None else None
    data_file = find_data(args.get("data", done.get("data")), run.folder)
    data: dict[Any, Any] = {}
    if data_file is not None:
        try:
            data = read_yaml(data_file)
        except ZoowizardError as problem:
            problems.append(Warning("damaged-data", str(problem)))
    return Told(
        run=run,
        contents=contents,
        network=network,
        interrupted=isinstance(ema, Made),
        done=done,
        asked={str(key): value for key, value in args.items()},
        task=str(task or done.get("task") or args.get("task") or "segment"),
        curves=curves,
        curves_origin=origin,
        data=data,
        data_file=data_file,
        problems=problems,
    )


def _curves(run: RunFiles, contents: dict[Any, Any], problems: list[Warning]) -> tuple[dict[str, list[Any]], str]:
    """The longest record of the epochs: in the checkpoint, in results.csv, in TensorBoard's events."""
    told = plain(contents.get("train_results"))
    own = {str(name).strip(): curve for name, curve in told.items()} if isinstance(told, dict) else {}
    candidates = [({name: list(curve) for name, curve in own.items() if isinstance(curve, list)}, "checkpoint")]
    if run.results is not None:
        try:
            columns, warnings = read_results(run.results)
            candidates.append(({name: list(curve) for name, curve in columns.items()}, "results.csv"))
            problems.extend(warnings)
        except ZoowizardError as problem:
            problems.append(Warning("damaged-results", str(problem)))
    longest = max(candidates, key=lambda one: len(one[0].get("epoch", ())))
    if run.events and not longest[0].get("epoch"):
        events = curves_of_events(run.events)
        longest = ({name: list(curve) for name, curve in events.items()}, "tfevents")
    return longest
