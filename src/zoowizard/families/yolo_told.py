"""What a YOLO run tells: values for the draft."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, Final

from zoowizard.drafts.draft import CHECKPOINT, DEFAULT, Value
from zoowizard.families.family import Warning
from zoowizard.families.stand_ins import Made, parameters
from zoowizard.families.yolo_run import RunFiles, find_picture, finite

STRIDE: Final = 32
CITATION: Final = {"text": "Jocher et al., Ultralytics YOLO", "url": "https://github.com/ultralytics/ultralytics"}

_NUMBERS: Final = ("precision", "recall", "mAP50", "mAP50-95")
_AUGMENTATIONS: Final = (
    "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr", "bgr",
    "mosaic", "mixup", "cutmix", "copy_paste", "multi_scale",
)  # fmt: skip
_ARCHITECTURE: Final = re.compile(r"yolo(v?)(\d{1,2})([a-z]?)((?:-[a-z0-9]+)*)", re.IGNORECASE)
_MOST_ITEMS: Final = 200_000


@dataclass(frozen=True)
class Told:
    """All that was read of one run. `done` are the checkpoint's arguments, `asked` those of args.yaml."""

    run: RunFiles
    contents: Mapping[Any, Any]
    network: Made | None
    interrupted: bool
    done: Mapping[str, Any]
    asked: Mapping[str, Any]
    task: str
    curves: Mapping[str, Sequence[Any]]
    curves_origin: str
    data: Mapping[Any, Any]
    data_file: Path | None
    problems: Sequence[Warning] = field(default_factory=tuple)

    def argument(self, name: str) -> Value | None:
        """An argument of the training with its origin: as it was done where that is known, else as it was asked."""
        if self.done.get(name) is not None:
            return Value(self.done[name], CHECKPOINT)
        if self.asked.get(name) is not None:
            return Value(plain(self.asked[name]), "args.yaml")
        return None


def plain(told: Any, depth: int = 6) -> Any:
    """A JSON value out of what a file holds, NaN as None; anything else, too deep or too much becomes None."""
    return _plain(told, depth, [_MOST_ITEMS])


def _plain(told: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth < 0:
        return None
    if isinstance(told, bool | None):
        return told
    if isinstance(told, str):
        return told[:10_000].encode("utf-8", "replace").decode("utf-8")
    if isinstance(told, int):
        return told if abs(told) < 1 << 63 else None
    if isinstance(told, float):
        return finite(told)
    if isinstance(told, list | tuple):
        return [_plain(one, depth - 1, left) for one in told[: left[0] + 1]]
    if isinstance(told, dict):
        pairs = ((key, value) for key, value in told.items() if isinstance(key, str | int))
        return {str(key): _plain(value, depth - 1, left) for key, value in pairs}
    return None


def values_of(told: Told) -> dict[str, Value]:
    """Values by name, for the draft. No local path is among them but that of the test image."""
    found: dict[str, Value | None] = {
        "architecture": _architecture(told),
        "classes": _classes(told),
        "input_channels": _channels(told),
        "parameters": _parameters(told),
        **image_sizes(told),
        **_training(told),
        **_results(told),
        "license": _licence(told),
        "test_image": _test_image(told),
        "citations": Value([CITATION], DEFAULT),
    }
    known = {name: value for name, value in found.items() if value is not None}
    known["tags"] = _tags(known.get("classes"))
    return known


def file_name(told: Any) -> str:
    """The bare name of a file that any system's path leads to."""
    return PureWindowsPath(told).name if isinstance(told, str) else ""


def _architecture(told: Told) -> Value | None:
    described = told.network.attribute("yaml") if told.network is not None else None
    if isinstance(described, dict) and isinstance(described.get("yaml_file"), str):
        scale = described.get("scale")
        name = _spelt(file_name(described["yaml_file"]), scale if isinstance(scale, str) else "")
        if name:
            return Value(name, CHECKPOINT)
    asked = told.argument("model")
    name = _spelt(file_name(asked.value), "") if asked is not None else ""
    return Value(name, asked.origin) if asked is not None and name else None


def _spelt(name: str, scale: str) -> str:
    """`yolo11n-seg.yaml` as Ultralytics writes it, YOLO11n-seg; the stem of a custom description; "" for last.pt."""
    stem = name.rpartition(".")[0] if name.endswith((".pt", ".yaml", ".yml")) else name
    match = _ARCHITECTURE.fullmatch(stem)
    if match is None:
        return "" if name.endswith(".pt") else stem[:60]
    letter, number, size, rest = match.groups()
    return f"YOLO{letter.lower()}{number}{size.lower() or scale.lower()[:1]}{rest.lower()}"


def _classes(told: Told) -> Value | None:
    own = plain(told.network.attribute("names")) if told.network is not None else None
    for names, origin in ((own, CHECKPOINT), (plain(told.data.get("names")), "data.yaml")):
        if isinstance(names, dict) and names and all(key.isdecimal() for key in names):
            names = [names[key] for key in sorted(names, key=int)]
        if isinstance(names, list) and names and all(isinstance(name, str | int) for name in names):
            return Value([str(name) for name in names], origin)
    return None


def _channels(told: Told) -> Value | None:
    if told.network is None:
        return None
    described = told.network.attribute("yaml")
    if isinstance(described, dict):
        for key in ("channels", "ch"):
            if isinstance(described.get(key), int):
                return Value(described[key], CHECKPOINT)
    first = next((one.shape for one in parameters(told.network) if len(one.shape) == 4), None)
    return Value(first[1], CHECKPOINT) if first is not None else None


def _parameters(told: Told) -> Value | None:
    count = sum(one.numel for one in parameters(told.network)) if told.network is not None else 0
    return Value(count, CHECKPOINT) if count else None


def image_sizes(told: Told) -> dict[str, Value | None]:
    """The size that training used (a multiple of the network's largest stride), and the one asked for if another."""
    used = told.argument("imgsz")
    side = _side(used.value) if used is not None else None
    if used is None or side is None:
        return {}
    described = told.network.attribute("yaml") if told.network is not None else None
    of = described.get("yaml_file") if isinstance(described, dict) else told.asked.get("model")
    stride = 2 * STRIDE if isinstance(of, str) and "-p6" in of else STRIDE
    rounded = -(-side // stride) * stride
    asked = _side(told.asked.get("imgsz")) or side
    return {
        "image_size": Value(rounded, used.origin),
        "image_size_asked": Value(asked, "args.yaml" if told.asked.get("imgsz") else used.origin)
        if asked != rounded
        else None,
    }


def _side(told: Any) -> int | None:
    """A size in pixels; the longer side of two."""
    sides = told if isinstance(told, list | tuple) else [told]
    good = [side for side in sides if isinstance(side, int) and not isinstance(side, bool) and 0 < side < 100_000]
    return max(good, default=None)


def _training(told: Told) -> dict[str, Value | None]:
    optimizer, rate = told.argument("optimizer"), told.argument("lr0")
    base = told.argument("pretrained")
    started = told.argument("model")
    base_name = file_name(started.value) if started is not None else ""
    if not base_name.endswith(".pt") and base is not None:
        base_name, started = file_name(base.value), base
    # With `auto` ultralytics chooses the rate itself, and args.yaml still holds the one that was not used.
    chosen_later = optimizer is not None and optimizer.value == "auto"
    on = {}
    for name in _AUGMENTATIONS:
        value = told.argument(name)
        if value is not None and finite(value.value):
            on[name] = value
    version = told.contents.get("version")
    date = told.contents.get("date")
    return {
        "epochs": whole_number(told.argument("epochs")),
        "batch": whole_number(told.argument("batch")),
        "optimizer": optimizer if optimizer and re.fullmatch(r"\w{1,30}", str(optimizer.value)) else None,
        "learning_rate": rate if rate and finite(rate.value) is not None and not chosen_later else None,
        "seed": whole_number(told.argument("seed")),
        "augmentation": Value({name: value.value for name, value in on.items()}, next(iter(on.values())).origin)
        if on
        else None,
        "base_weights": Value(base_name, started.origin) if started and base_name.endswith(".pt") else None,
        "ultralytics_version": Value(version, CHECKPOINT)
        if isinstance(version, str) and re.fullmatch(r"\d+(\.\w{1,20}){1,5}", version)
        else None,
        "trained_on": Value(date[:10], CHECKPOINT)
        if isinstance(date, str) and re.match(r"\d{4}-\d\d-\d\d", date)
        else None,
    }


def whole_number(value: Value | None) -> Value | None:
    """The value where it is a whole number, else None."""
    return value if value is not None and isinstance(value.value, int) and not isinstance(value.value, bool) else None


def _results(told: Told) -> dict[str, Value | None]:
    shown = {
        name: [finite(value) for value in curve]
        for name, curve in told.curves.items()
        if name.startswith(("metrics/", "val/", "train/")) and any(finite(value) is not None for value in curve)
    }
    epochs = epochs_done(told)
    best = best_epoch(told)
    own = plain(told.contents.get("train_metrics"))
    metrics, origin = (own if isinstance(own, dict) else {}), CHECKPOINT
    if not any(name.startswith("metrics/") for name in metrics) and best is not None:
        place = list(told.curves["epoch"]).index(best)
        metrics = {name: curve[place] for name, curve in shown.items() if len(curve) > place}
        origin = told.curves_origin
    by_kind = {
        kind: {number: metrics.get(f"metrics/{number}({letter})") for number in _NUMBERS}
        for kind, letter in (("boxes", "B"), ("masks", "M"))
    }
    good = {
        kind: {number: value for number, value in one.items() if value is not None} for kind, one in by_kind.items()
    }
    good = {kind: one for kind, one in good.items() if one}
    seconds = _seconds(told.curves.get("time", ()))
    return {
        "epochs_done": Value(epochs, told.curves_origin if told.curves.get("epoch") else CHECKPOINT)
        if epochs
        else None,
        "best_epoch": Value(best, told.curves_origin) if best is not None else None,
        "metrics": Value(good, origin) if good else None,
        "curves": Value(shown, told.curves_origin) if shown else None,
        "training_seconds": Value(seconds, told.curves_origin) if seconds else None,
    }


def epochs_done(told: Told) -> int | None:
    """How many epochs were trained, as far as the files tell."""
    epoch = told.contents.get("epoch")
    last = [int(one) for one in told.curves.get("epoch", ()) if finite(one) is not None]
    own = epoch + 1 if isinstance(epoch, int) and 0 <= epoch < 1_000_000 else 0
    return max([own, *last], default=0) or None


def headline(told: Told) -> list[float | None]:
    """mAP50-95 of boxes and masks together, an epoch; what ultralytics takes the best epoch by."""
    curves = [told.curves[name] for name in ("metrics/mAP50-95(B)", "metrics/mAP50-95(M)") if name in told.curves]
    rows = zip(*curves, strict=False)
    return [sum(row) if all(finite(one) is not None for one in row) else None for row in rows]


def best_epoch(told: Told) -> int | None:
    """The epoch whose boxes and masks were best together; None where none was better than nothing."""
    epochs = told.curves.get("epoch", ())
    scored = [(score, -place) for place, score in enumerate(headline(told)) if score and place < len(epochs)]
    epoch = finite(epochs[-max(scored)[1]]) if scored else None
    return int(epoch) if epoch is not None else None


def _seconds(times: Sequence[Any]) -> float | None:
    """Cumulative seconds; a resumed training counts from nothing again."""
    total, before = 0.0, 0.0
    for time in times:
        now = finite(time)
        if now is not None:
            total += now - before if now >= before else now
            before = now
    return round(total, 1) or None


def _licence(told: Told) -> Value | None:
    licence = told.contents.get("license")
    return Value("AGPL-3.0-only", CHECKPOINT) if isinstance(licence, str) and licence.startswith("AGPL-3.0") else None


def _test_image(told: Told) -> Value | None:
    picture = find_picture(told.data, told.data_file) if told.data_file is not None else None
    return Value(str(picture), "data.yaml") if picture is not None else None


def _tags(classes: Value | None) -> Value:
    names = [re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in (classes.value if classes else ())]
    sensible = [name for name in names if re.fullmatch(r"[a-z][a-z0-9-]{2,23}", name)]
    dull = {"object", "item", "class", "background", "foreground"}
    kept = [name for name in sensible if name not in dull and not re.fullmatch(r"(?:class|label|cls)-?\d+", name)]
    listed = list(dict.fromkeys(["instance-segmentation", "2d", "yolo", *kept[:8]]))
    return Value(listed, classes.origin if classes is not None and kept else DEFAULT)
