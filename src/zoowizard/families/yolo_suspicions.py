"""What is suspicious about a YOLO run."""

import math
import re
from typing import Final

from zoowizard.families.family import Warning
from zoowizard.families.yolo_run import finite
from zoowizard.families.yolo_told import (
    STRIDE,
    Told,
    best_epoch,
    epochs_done,
    file_name,
    headline,
    image_sizes,
    whole_number,
)

COMPROMISED: Final = frozenset({"8.3.41", "8.3.42", "8.3.45", "8.3.46"})
"""Releases on PyPI into which a stranger had put a program (December 2024)."""
OVERFIT_EPOCHS: Final = 10
OVERFIT_RISE: Final = 1.05


def warnings_of(told: Told, refused: bool) -> list[Warning]:
    """What is suspicious about the run, each once."""
    checks = (_no_weights, _not_segmentation, _compromised, _rounded, _interrupted, _stopped_early, _scores, _disagree)
    found = [warning for check in checks if (warning := check(told)) is not None]
    return [one for one in found if not (refused and one.code == "no-weights")]


def _no_weights(told: Told) -> Warning | None:
    if told.run.checkpoint is not None:
        return None
    message = "There is metadata only: add the weights (weights/best.pt) to the run folder, or give the .pt itself."
    return Warning("no-weights", message)


def _not_segmentation(told: Told) -> Warning | None:
    if told.task == "segment":
        return None
    kind = told.task if re.fullmatch(r"[a-z]{1,20}", told.task) else "another task"
    message = f"It is a YOLO for `{kind}`; only `segment`, which outlines objects, can become a package."
    return Warning("not-segmentation", message)


def _compromised(told: Told) -> Warning | None:
    version = told.contents.get("version")
    if version not in COMPROMISED:
        return None
    message = (
        f"It was trained with ultralytics {version}, a release into which a stranger had put a program: have the "
        "machine that trained it looked after."
    )
    return Warning("compromised-release", message)


def _rounded(told: Told) -> Warning | None:
    sizes = image_sizes(told)
    asked, used = sizes.get("image_size_asked"), sizes.get("image_size")
    if asked is None or used is None:
        return None
    message = (
        f"Training was asked for images of {asked.value} pixels and used {used.value}: the network halves an image "
        f"until one pixel stands for {STRIDE}, so that its sides must be multiples of {STRIDE}."
    )
    return Warning("image-size-rounded", message)


def _interrupted(told: Told) -> Warning | None:
    epoch = told.contents.get("epoch")
    if not told.interrupted or not isinstance(epoch, int) or epoch < 0:
        return None
    of = told.argument("epochs")
    asked = f" of {of.value}" if of is not None and isinstance(of.value, int) else ""
    message = (
        f"Training was interrupted or is still going on: the checkpoint is of epoch {epoch + 1}{asked} and has not "
        "been finished off. Its weights can be used; they may not be the best ones."
    )
    return Warning("interrupted", message)


def _stopped_early(told: Told) -> Warning | None:
    asked, done = whole_number(told.argument("epochs")), epochs_done(told)
    if told.interrupted or told.network is None or asked is None or done is None or done >= asked.value:
        return None
    best, patience = best_epoch(told), whole_number(told.argument("patience"))
    waited = best is not None and patience is not None and 0 < patience.value <= done - best
    why = f" since nothing got better for {done - best} epochs" if waited and best is not None else ""
    return Warning("stopped-early", f"Training ended after {done} of {asked.value} epochs{why}.")


def _scores(told: Told) -> Warning | None:
    if told.run.checkpoint is None and not told.curves:
        return None
    scores = [score for score in headline(told) if score is not None]
    if not told.curves.get("epoch"):
        return Warning(
            "no-results", "No epochs are recorded (no results.csv, none in the checkpoint): how good it is, is unknown."
        )
    if scores and not any(scores):
        message = "Every mAP of the run is zero: the training has failed, or its labels were not found."
        return Warning("all-zero-metrics", message)
    return _overfitting(told)


def _overfitting(told: Told) -> Warning | None:
    """A heuristic: val/seg_loss well above its minimum for ten epochs while train/seg_loss went on falling."""
    validation = [finite(one) for one in told.curves.get("val/seg_loss", ())]
    training = [finite(one) for one in told.curves.get("train/seg_loss", ())]
    known = [(loss, place) for place, loss in enumerate(validation) if loss is not None]
    if len(known) <= OVERFIT_EPOCHS or len(training) != len(validation):
        return None
    lowest, place = min(known)
    last = [loss for loss, _ in known[-OVERFIT_EPOCHS:]]
    before, after = training[place], training[known[-1][1]]
    if min(last) <= lowest * OVERFIT_RISE or lowest <= 0 or before is None or after is None or after >= before:
        return None
    rise = math.floor(100 * (min(last) / lowest - 1))
    message = (
        f"It looks overfitted: for the last {OVERFIT_EPOCHS} epochs the loss on the validation images (val/seg_loss) "
        f"was {rise} % or more above its lowest, while the one on the training images still fell."
    )
    return Warning("overfitting", message)


def _disagree(told: Told) -> Warning | None:
    keys = ["task", "model", "seed", *([] if told.asked.get("time") else ["epochs"])]
    other = [key for key in keys if _differ(told.asked.get(key), told.done.get(key))]
    if not other:
        return None
    message = (
        f"args.yaml and the checkpoint disagree about {', '.join(other)}: are they of one run? The checkpoint's count."
    )
    return Warning("args-disagree", message)


def _differ(asked: object, done: object) -> bool:
    """Whether two arguments are both known and not the same; of paths only the file's name counts."""
    known = asked is not None and done is not None
    return known and (file_name(asked) or asked) != (file_name(done) or done)
