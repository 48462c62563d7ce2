"""What a Cellpose model and the files beside it tell: values for the draft, evidence, and what is suspicious."""

import re
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.draft import CHECKPOINT, DEFAULT, Value
from zoowizard.families.cellpose_keys import State
from zoowizard.families.cellpose_log import CHANNELS, Training
from zoowizard.families.cellpose_names import BUILT_IN
from zoowizard.families.cellpose_run import Beside
from zoowizard.families.epochs import name_and_epoch
from zoowizard.families.family import Warning
from zoowizard.families.pickles import printable
from zoowizard.families.tensors import single_number

NON_COMMERCIAL: Final = "CC-BY-NC-4.0"
FLAT: Final = "2-D images; not measured in 3-D"
CITATIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "1": {
        "text": "Stringer, Wang, Michaelos and Pachitariu, Cellpose: a generalist algorithm for cellular segmentation, "
        "Nature Methods, 2021",
        "doi": "10.1038/s41592-020-01018-x",
    },
    "2": {
        "text": "Pachitariu and Stringer, Cellpose 2.0: how to train your own model, Nature Methods, 2022",
        "doi": "10.1038/s41592-022-01663-4",
    },
    "3": {
        "text": "Stringer and Pachitariu, Cellpose3: one-click image restoration for improved cellular segmentation, "
        "Nature Methods, 2025",
        "doi": "10.1038/s41592-025-02595-5",
    },
    "sam": {
        "text": "Pachitariu, Rariden and Stringer, Cellpose-SAM: superhuman generalization for cellular segmentation, "
        "bioRxiv, 2025",
        "doi": "10.1101/2025.04.28.651001",
    },
}
_USUAL_NORMALISATION: Final = {
    "lowhigh": "None", "percentile": "None", "normalize": "True", "sharpen_radius": "0", "smooth_radius": "0",
    "tile_norm_blocksize": "0", "invert": "False",
}  # fmt: skip
"""What `CellposeModel.eval` does by itself (`normalize_default` in `cellpose/models.py`)."""
_DATES: Final = (
    (re.compile(r"(20\d\d)_(\d\d)_(\d\d)_\d\d_\d\d_\d\d"), "{}-{}-{}"),
    (re.compile(r"CP_(20\d\d)(\d\d)(\d\d)_\d{6}"), "{}-{}-{}"),
)


def diameter(path: Path, state: State, name: str) -> float | None:
    """A diameter in pixels that a checkpoint holds, as a float32 is spelt; None where it makes no sense."""
    number = single_number(path, state.looked, state.tensors.get(name))
    return shortest(number) if number is not None and 0 < number < 100_000 else None


def shortest(number: float) -> float:
    """The shortest decimal number that is the same float32."""
    packed = struct.pack("<f", number)
    spelt = (float(f"{number:.{digits}g}") for digits in range(1, 10))
    return next((one for one in spelt if struct.pack("<f", one) == packed), number)


def evidence(checkpoint: Path, there: Beside, holds: str) -> list[str]:
    """What the model is known by, in short sentences."""
    told = [f"the checkpoint holds {holds}"]
    if there.epochs:
        names = ", ".join(printable(one.name) for one in there.epochs[:20])
        more = f" and {len(there.epochs) - 20} more" if len(there.epochs) > 20 else ""
        told.append(f"of the same training are there: {names}{more}")
    if there.size_model is not None:
        told.append(f"{printable(there.size_model.name)}, its size model, is there (a pickle, which is not opened)")
    told += [f"{printable(one.name)} holds the losses" for one, _ in there.losses.values()]
    if there.log is not None:
        alone = "" if there.named else ", under another name; it is the only one there"
        told.append(f"{printable(there.log.name)} tells of the training{alone}")
    if there.mask is not None:
        told.append(f"{printable(there.mask.name)} marks an image as one for training or testing")
    return told


def common_values(checkpoint: Path, state: State, there: Beside) -> dict[str, Value]:
    """What both families of Cellpose tell in the same words, by name."""
    found: dict[str, Value | None] = {
        "parameters": Value(state.parameters, CHECKPOINT),
        "dtype": Value(state.dtype, CHECKPOINT) if state.dtype else None,
        "dimensions": Value(FLAT, CHECKPOINT),
        **_training(there),
        **_epochs(checkpoint, there),
        "trained_on": _trained_on(checkpoint, there),
        "test_image": Value(str(there.image), there.mask.name) if there.image and there.mask else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _training(there: Beside) -> dict[str, Value | None]:
    training, log = there.training, there.log
    if training is None or log is None:
        return {}
    told = {
        "epochs": training.epochs,
        "batch": training.batch,
        "optimizer": training.optimizer,
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "training_images": training.images,
        "training_seconds": training.duration_s,
        "base_weights": training.base,
        "cellpose_version": training.cellpose,
        "torch_version": training.torch,
    }
    return {name: Value(value, log.name) for name, value in told.items() if value not in (None, "")}


def _epochs(checkpoint: Path, there: Beside) -> dict[str, Value | None]:
    curves: dict[str, list[float | None]] = {}
    origins: list[str] = []
    for kind, name in (("train", "train/loss"), ("test", "val/loss")):
        if kind in there.losses and any(one is not None for one in there.losses[kind][1]):
            path, losses = there.losses[kind]
            curves[name] = list(losses)
            origins.append(path.name)
        elif (logged := _logged(there.training, kind == "test")) and there.log is not None:
            curves[name] = logged
            origins.append(there.log.name)
    longest = max((len(curve) for curve in curves.values()), default=0)
    curves = {name: [*curve, *[None] * (longest - len(curve))] for name, curve in curves.items()}
    done: Value | None = None
    epoch = name_and_epoch(checkpoint.name)[1]
    if epoch is not None:
        done = Value(epoch + 1, checkpoint.name)
    elif "train" in there.losses:
        done = Value(len(there.losses["train"][1]), there.losses["train"][0].name)
    elif there.training is not None and there.training.epochs_done and there.log is not None:
        done = Value(there.training.epochs_done, there.log.name)
    return {"epochs_done": done, "curves": Value(curves, origins[0]) if curves else None}


def _logged(training: Training | None, of_test: bool) -> list[float | None]:
    """One number an epoch out of the log, None where none was written."""
    if training is None or not training.rows:
        return []
    curve: list[float | None] = [None] * (max(training.rows) + 1)
    for epoch, row in training.rows.items():
        curve[epoch] = row[1] if of_test else row[0]
    return curve if any(one is not None for one in curve) else []


def _trained_on(checkpoint: Path, there: Beside) -> Value | None:
    if there.training is not None and there.training.started is not None and there.log is not None:
        return Value(there.training.started.date().isoformat(), there.log.name)
    for pattern, form in _DATES:
        if (told := pattern.search(checkpoint.name)) is not None:
            return Value(form.format(*told.groups()), checkpoint.name)
    if told := re.match(r"cellpose_(1[5-9]\d{8})\.\d+", checkpoint.name):
        return Value(time.strftime("%Y-%m-%d", time.gmtime(int(told[1]))), checkpoint.name)
    return None


def channels(there: Beside) -> dict[str, Value]:
    """The channels that a CPnet was trained with, where the log tells."""
    training, log = there.training, there.log
    if training is None or training.channels is None or log is None:
        return {}
    cyto, nuclei = training.channels
    second = CHANNELS[nuclei] if nuclei else "none"
    return {"cyto_channel": Value(CHANNELS[cyto], log.name), "nuclei_channel": Value(second, log.name)}


def from_scratch(there: Beside) -> bool:
    """Whether the log says that the training started from no weights."""
    return there.training is not None and there.training.base == ""


def tags(there: Beside, *words: str) -> Value:
    """Tags that hold for every model of the family; `nuclei` where the weights that it started from say so."""
    base = (there.training.base if there.training is not None else None) or ""
    seen = "nuclei" if base.startswith("nuclei") else "cells"
    return Value(["instance-segmentation", "2d", seen, *words], DEFAULT)


def suspicions(checkpoint: Path, state: State, there: Beside) -> Iterator[Warning]:
    """What is suspicious about any model of Cellpose's."""
    if state.parallel:
        yield Warning(
            "parallel-names",
            "The names of its weights begin with `module.`, as training on several GPUs writes them: Cellpose 3 finds "
            "none of them in such a file and goes on with random weights without a word. The package gets them all.",
        )
    later = [one for one in there.epochs if _is_later(one, checkpoint)]
    if later:
        yield Warning("not-the-last", f"A later epoch of the same training is there: {printable(later[-1].name)}.")
    training = there.training
    if training is not None and name_and_epoch(checkpoint.name)[1] is None:
        done = training.epochs_done
        if training.epochs and done and done < training.epochs:
            yield Warning(
                "interrupted",
                f"The log ends after about {done} of {training.epochs} epochs: training was interrupted, or is still "
                "going on.",
            )
    if training is not None and (other := _unusual(training.normalisation)):
        yield Warning(
            "normalisation",
            f"It was trained on images that were brought to one scale in another way than Cellpose's own ({other}); "
            "the package does it as Cellpose does by itself.",
        )


def _is_later(one: Path, checkpoint: Path) -> bool:
    epoch, own = name_and_epoch(one.name)[1], name_and_epoch(checkpoint.name)[1]
    return own is not None and (epoch is None or epoch > own)


def _unusual(told: str) -> str:
    """The settings of the normalisation that are not Cellpose's own; percentiles 1 and 99 are."""
    found = dict(re.findall(r"'(\w+)': (\[[^\]]*\]|\([^)]*\)|[^,}]+)", told))
    own = {**_USUAL_NORMALISATION}
    different = [
        f"{name} {value.strip()}"
        for name, value in found.items()
        if name in own and re.sub(r"\.0\b", "", value.strip()) not in (own[name], "[1, 99]", "(1, 99)")
    ]
    return ", ".join(different)


def licence(there: Beside) -> Value | None:
    """The licence that is proposed: Cellpose's own weights were trained on images under non-commercial terms."""
    return None if from_scratch(there) else Value(NON_COMMERCIAL, DEFAULT)


def cited(*keys: str) -> Value:
    """The papers to cite, by the keys of CITATIONS."""
    return Value([dict(CITATIONS[key]) for key in keys], DEFAULT)


def is_built_in(checkpoint: Path) -> bool:
    """Whether the file is called like one of Cellpose's own models."""
    return checkpoint.name in BUILT_IN


def refused_evidence(names: Any) -> str:
    """Some of many names, for a sentence."""
    listed = list(names)
    more = f" and {len(listed) - 2} more" if len(listed) > 2 else ""
    return ", ".join(f"`{printable(name[:80])}`" for name in listed[:2]) + more
