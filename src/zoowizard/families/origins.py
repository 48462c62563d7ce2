"""What the checkpoints of CAREamics and BiaPy tell of their networks, beside the weights.

Sources of the formats: CAREamics 0.2 and 0.3 (`lightning/modules`, `config/data/normalization_config.py`), and 0.1,
which keeps all of its configuration among the hyper-parameters (`config/data/data_model.py`: `image_means` and
`image_stds`, as texts); BiaPy 3.7 (`utils/misc.py`, `save_model`, and `_biapy.py`, `export_model_to_bmz`).
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.draft import CHECKPOINT, DEFAULT, Value

CAREAMICS: Final = Path(__file__).parents[1] / "conversion" / "careamics_network.py"
"""zoowizard's own file of the network of CAREamics, so that a package of it needs no CAREamics."""
_VERSION: Final = re.compile(r"[\w.+-]{1,30}")
_ALIKE: Final = ("architecture", "dropout")
"""What CAREamics writes of its U-Net and what is the same for all, or does nothing in a prediction."""
_STATISTICS: Final = (
    # scheme (none in CAREamics 0.1), what becomes 0, what becomes 1 or is divided by
    ("mean_std", "means", "stds"),
    ("min_max", "mins", "maxes"),
    ("quantile", "lower_quantile_values", "upper_quantile_values"),
)


def told(root: Any) -> Iterator[str]:
    """Sentences that say who wrote the checkpoint, and what that means."""
    if _is_careamics(root):
        version = _mapping(root.get("careamics_info", root.get("hyper_parameters"))).get("version")
        yield f"CAREamics wrote it{_version(version, ' for its format ')}"
        if unet_of(root) is not None:
            yield f"its U-Net is that of zoowizard's own {CAREAMICS.name}, which needs no CAREamics"
            if normalised_by(root) is not None:
                yield "the output is given the values of images again, as CAREamics does"
    elif _is_biapy(root):
        yield (
            f"BiaPy{_version(root['biapy_version'])} wrote it; its export_model_to_bmz leaves the network as model.py, "
            "which is the architecture file, beside a package that can be given here, too"
        )


def settings(root: Any) -> dict[str, Any]:
    """The arguments of the network, by their names; {} where none of these tools wrote the checkpoint."""
    if _is_biapy(root):
        # as its own export sets them: probabilities and not logits, a tensor and not a dictionary of it
        built = {key: one for key, one in _mapping(root.get("model_build_kwargs")).items() if isinstance(key, str)}
        return {**built, "explicit_activations": True, "return_one_tensor": True} if built else {}
    unet = unet_of(root)
    if unet is None:
        return {}
    found = {key: one for key, one in unet.items() if isinstance(key, str) and key not in _ALIKE}
    after = normalised_by(root, "target") or (None if _has_target(root) else normalised_by(root))
    return found if after is None else {**found, "output_mean": list(after[0]), "output_std": list(after[1])}


def values(root: Any) -> dict[str, Value]:
    """Answers of the checkpoint, by the names of the questions."""
    if _is_biapy(root):
        return _of_biapy(root)
    unet = unet_of(root)
    if unet is None:
        return {}
    found = {"architecture_file": Value(str(CAREAMICS), DEFAULT), "network": Value("UNet", DEFAULT)}
    scheme = _normalization(root).get("name")
    if (taken := normalised_by(root)) is not None:
        for name, numbers in zip(("normalisation_mean", "normalisation_std"), taken, strict=True):
            found[name] = Value([repr(one) for one in numbers], CHECKPOINT)
    elif scheme == "none":
        found["normalisation"] = Value("none", CHECKPOINT)
    return found


def own_network(network: Any) -> tuple[Path, dict[str, Any]] | None:
    """zoowizard's own file of a network that a package takes out of CAREamics, and its arguments; None for others.

    `network` is what the package says of its architecture, as 0.5 has it.
    """
    said = _mapping(network)
    if not str(said.get("import_from")).startswith("careamics.models") or said.get("callable") != "UNet":
        return None
    return CAREAMICS, {key: one for key, one in _mapping(said.get("kwargs")).items() if key not in _ALIKE}


def unet_of(root: Any) -> Mapping[str, Any] | None:
    """The arguments of the U-Net in a checkpoint of CAREamics; None for others, and for its other networks."""
    if not _is_careamics(root):
        return None
    model = _mapping(_mapping(_mapping(root.get("hyper_parameters")).get("algorithm_config")).get("model"))
    return model if model.get("architecture") == "UNet" and type(model.get("conv_dims")) is int else None


def normalised_by(root: Any, what: str = "input") -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and spread that CAREamics takes from the `input`, or gives the output back (`target`); one each channel."""
    told = _normalization(root)
    for scheme, low, high in _STATISTICS:
        if told.get("name", "mean_std") != scheme:
            continue
        old = "image" if what == "input" else what
        lows = _numbers(told.get(f"{what}_{low}", told.get(f"{old}_{low}")))
        highs = _numbers(told.get(f"{what}_{high}", told.get(f"{old}_{high}")))
        spreads = highs if scheme == "mean_std" else tuple(b - a for a, b in zip(lows, highs, strict=False))
        if lows and len(lows) == len(spreads) and all(one > 0 for one in spreads):
            return lows, spreads
    return None


def _normalization(root: Mapping[str, Any]) -> Mapping[str, Any]:
    """From CAREamics 0.2 on the settings are a mapping of their own; before, they stand among those of the data."""
    places = ("datamodule_hyper_parameters", "hyper_parameters")
    data = next((one for place in places if (one := _mapping(_mapping(root.get(place)).get("data_config")))), {})
    own = data.get("normalization")
    return own if isinstance(own, dict) else data


def _has_target(root: Any) -> bool:
    """Whether the training had another image as its target: then nothing but that one's statistics are of use."""
    algorithm = _mapping(_mapping(root.get("hyper_parameters")).get("algorithm_config")).get("algorithm")
    return algorithm == "care"


def _of_biapy(root: Mapping[str, Any]) -> dict[str, Value]:
    data = _mapping(_mapping(_mapping(root.get("cfg")).get("DATA")).get("NORMALIZATION"))
    clipped = _mapping(data.get("PERC_CLIP")).get("ENABLE")
    scheme = data.get("TYPE")
    if clipped or not isinstance(scheme, str):
        return {}
    if scheme != "zero_mean_unit_variance":
        return {}
    fixed = _mapping(data.get("ZERO_MEAN_UNIT_VAR"))
    mean, std = _numbers(fixed.get("MEAN_VAL")), _numbers(fixed.get("STD_VAL"))
    if mean and len(mean) == len(std) and all(one > 0 for one in std):
        return {
            "normalisation_mean": Value([repr(one) for one in mean], CHECKPOINT),
            "normalisation_std": Value([repr(one) for one in std], CHECKPOINT),
        }
    return {
        "normalisation": Value("zero-mean", CHECKPOINT),
        "normalisation_over": Value("each channel", CHECKPOINT),
    }


def _is_careamics(root: Any) -> bool:
    """0.1 left no other mark than its configuration."""
    return isinstance(root, dict) and (
        "careamics_info" in root or "algorithm_config" in _mapping(root.get("hyper_parameters"))
    )


def _is_biapy(root: Any) -> bool:
    return isinstance(root, dict) and "biapy_version" in root and "model" in root


def _version(told: Any, before: str = " ") -> str:
    return f"{before}{told}" if isinstance(told, str) and _VERSION.fullmatch(told) else ""


def _numbers(told: Any) -> tuple[float, ...]:
    """One number each channel, which may be written as a text; () for all that is none."""
    listed = told if isinstance(told, list | tuple) else [told]
    try:
        plain = [float(one) for one in listed if isinstance(one, int | float | str) and not isinstance(one, bool)]
    except (ValueError, OverflowError):
        return ()
    right = len(plain) == len(listed) <= 16 and all(math.isfinite(one) and abs(one) < 1e12 for one in plain)
    return tuple(plain) if right else ()


def _mapping(one: Any) -> Mapping[str, Any]:
    return one if isinstance(one, dict) else {}
