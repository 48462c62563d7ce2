"""What a training checkpoint holds beside its weights, and what lies beside it."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.checks import check_name
from zoowizard.drafts.draft import CHECKPOINT, Value
from zoowizard.errors import ZoowizardError
from zoowizard.families import origins
from zoowizard.families.pickles import TORCH_ENDINGS, opened, printable
from zoowizard.families.stand_ins import Made
from zoowizard.families.state_dicts import LIGHTNING, SAFETENSORS
from zoowizard.families.trainings import training_and_order

LARGEST_YAML: Final = 200_000
MOST_FILES: Final = 5_000
MOST_SETTINGS: Final = 60
LONGEST: Final = 80
ENDINGS: Final = frozenset({*TORCH_ENDINGS, SAFETENSORS})
_SETTINGS: Final = (
    "hyper_parameters", "hparams", "config", "cfg", "args", "init_args", "model_args", "model_kwargs", "model_config",
    "network_kwargs", "kwargs",
)  # fmt: skip
_EPOCHS: Final = ("epoch", "num_epochs", "current_epoch")
_OF_THE_NETWORK: Final = ("model", "network", "net", "architecture", "backbone", *_SETTINGS)
_SAYS_NOTHING: Final = frozenset(
    {"", "model", "models", "checkpoint", "checkpoints", "ckpt", "weights", "net", "network", "state", "state dict"}
    | {"pytorch model", "default", "output", "outputs", "results", "logs", "lightning logs", "tmp", "train", "training"}
)


@dataclass(frozen=True)
class Beside:
    """What lies beside a checkpoint: sentences that are `told`, and a `later` (or better) one of the same training."""

    told: tuple[str, ...] = ()
    later: Path | None = None
    settings: Mapping[str, Any] | None = None
    settings_from: str = ""


def beside(path: Path, root: Any) -> Beside:
    """Look at the names of the files around the checkpoint at `path`, and into the `hparams.yaml` of its training."""
    told = [*origins.told(root)]
    if not told and isinstance(root, dict) and LIGHTNING in root:
        told.append("Lightning wrote it")
    mine = training_and_order(path)
    same = [] if mine is None else sorted(_same_training(path, mine[0]))
    if same:
        names = ", ".join(printable(one.name) for _, one in same[:5])
        told.append(f"of the same training are there: {names}{f' and {len(same) - 5} more' if len(same) > 5 else ''}")
    later = [one for order, one in same if mine is not None and order > mine[1]]
    for folder in (path.parent, path.parent.parent):
        if settings := _read_yaml(folder / "hparams.yaml"):
            told.append("hparams.yaml tells of the training")
            return Beside(tuple(told), later[-1] if later else None, settings, "hparams.yaml")
    return Beside(tuple(told), later[-1] if later else None)


def values_beside(path: Path, root: Any, there: Beside) -> dict[str, Value]:
    """How far the training went and with which settings, by name."""
    found: dict[str, Value] = {}
    if there.settings:
        found["hyper_parameters"] = Value(dict(there.settings), there.settings_from)
    if not isinstance(root, dict):
        return found
    for told in (origins.settings(root), *(root.get(name) for name in _SETTINGS)):
        told = told.state if isinstance(told, Made) else told  # of an `argparse.Namespace`
        if isinstance(told, dict) and (settings := dict(_settings(told))):
            found["hyper_parameters"] = Value(settings, CHECKPOINT)
            break
    epoch = next((root[name] for name in _EPOCHS if name in root), None)
    if type(epoch) is int and 0 <= epoch < 1_000_000:
        # Lightning counts from 0, and writes the number of the epoch that has just ended.
        found["epochs_done"] = Value(epoch + 1 if LIGHTNING in root else epoch, CHECKPOINT)
    step = root.get("global_step")
    if type(step) is int and 0 <= step < 1 << 40:
        found["training_steps"] = Value(step, CHECKPOINT)
    version = root.get(LIGHTNING)
    if isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,30}", version):
        found["lightning_version"] = Value(version, CHECKPOINT)
    return found | origins.values(root)


def name_of(path: Path) -> str:
    """What the model may be called, after its file, or the folder of its training; empty where neither says it."""
    told = training_and_order(path)
    words = path.stem if told is None else told[0].removesuffix(path.suffix.lower())
    words = re.sub(r"[-_]checkpoint$", "", words)  # as BiaPy ends all its names
    for text in (words, *(folder.name for folder in [*path.absolute().parents][:3])):
        name = re.sub(r"[\s_.]+", " ", text).strip(" -")
        if name.lower() not in _SAYS_NOTHING and not re.fullmatch(r"(?:version|fold|run|job)?[ -]?\d*", name.lower()):
            return name if check_name(name) is None else ""
    return ""


def _same_training(path: Path, training: str) -> Iterator[tuple[tuple[int, int], Path]]:
    try:
        with os.scandir(path.parent) as entries:
            for _, entry in zip(range(MOST_FILES), entries, strict=False):
                one = Path(entry.path)
                if entry.name == path.name or one.suffix.lower() not in ENDINGS:
                    continue
                told = training_and_order(one)
                if told is not None and told[0] == training:
                    yield told[1], one
    except OSError:
        return


def _settings(told: Mapping[Any, Any], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The plain settings among what a training wrote down; those of the network itself may lie a level below."""
    count = 0
    for key, value in told.items():
        if not isinstance(key, str) or len(key) > LONGEST or not key.isprintable() or count >= MOST_SETTINGS:
            continue
        count += 1
        if isinstance(value, dict) and key in _OF_THE_NETWORK and depth < 2:
            yield from _settings(value, depth + 1)
        elif _is_plain(value):
            yield key, list(value) if isinstance(value, tuple) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return 0 < len(value) <= 16 and all(_is_plain(one) and not isinstance(one, list | tuple) for one in value)
    if isinstance(value, str):
        return len(value) <= LONGEST and value.isprintable()
    if isinstance(value, float):
        return value - value == 0
    return isinstance(value, bool) or (isinstance(value, int) and abs(value) < 1 << 53)


def _read_yaml(path: Path) -> dict[str, Any]:
    """The plain settings in a file of YAML; {} where it is missing, large, or anything else."""
    if not path.is_file():
        return {}
    import yaml

    from zoowizard.plain_yaml import load

    try:
        with opened(path) as file:
            raw = file.read(LARGEST_YAML + 1)
        told = load(raw) if len(raw) <= LARGEST_YAML else None
    except (ZoowizardError, yaml.YAMLError, ValueError, TypeError, RecursionError):
        return {}
    return dict(_settings(told)) if isinstance(told, dict) else {}
