"""What a network is: probed once, kept for the next time, and overruled by what a person says of it."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import JsonValue

import zoowizard
from zoowizard.atomic import write_text
from zoowizard.conversion.any_network.original import Original
from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing.apart import Limits
from zoowizard.conversion.probing.findings import OVERRULED, Finding, Findings, from_json
from zoowizard.conversion.probing.probe import AXES, probe
from zoowizard.errors import ZoowizardError
from zoowizard.families.network_answers import sizes_by_axis

PATIENT: Final = Limits(seconds=900.0, run_seconds=300.0)
"""In a job there is time, and large networks of volumes need some."""
NEEDS_GPU: Final = re.compile(r"cuda|nvidia|no gpu|hip driver|mps backend", re.IGNORECASE)
OVER: Final = "was over before"
"""What is missing for want of time is looked for again."""


def found(
    original: Original,
    values: Mapping[str, Any],
    image: Array,
    folder: Path,
    on_progress: Callable[[float, str], None] = lambda fraction, note: None,
) -> Findings:
    """What the network is, as far as it can be found out, with what `values` overrule.

    `image` (channel, (z,) y, x) is the test image. What is found is kept in the job's `folder` for weights, and taken
    from those of other jobs of the model where the network is the same. Raises ZoowizardError where the network does
    not run, or takes no such images.
    """
    axes, channels = _told(values.get("spatial_axes")), _told(values.get("input_channels_asked"))
    if original.channels:
        _require_channels(original.channels[0], channels)
        channels = len(image)
    findings = _probed(original, axes, channels, image, folder, on_progress)
    _require_axes(findings, image)
    if original.channels:
        each = " + ".join(map(str, original.channels))
        told = Finding(len(image), f"{each}, as the images for its inputs have", True)
        findings = replace(findings, found={**findings.found, "channels": told})
    if findings.found["channels"].value != len(image):
        if findings.found["channels"].certain or channels:
            raise ZoowizardError(_other_channels(findings, image, channels is not None))
        findings = _probed(original, axes, len(image), image, folder, on_progress)
    return _overruled(findings, values)


def _require_channels(first: int, asked: int | None) -> None:
    if asked not in (None, first):
        raise ZoowizardError(f"input_channels_asked: you said {asked}, and the test image has {first}")


def value(findings: Findings, name: str) -> Any:
    """What was found. Raises ZoowizardError with the reason where it was not."""
    if name not in findings.found:
        why = findings.missing.get(name, "it was not looked for")
        told = "; so far only networks that give images can be packaged" if "do not follow" in why else ""
        raise ZoowizardError(f"network: its {name} could not be found out: {why}{told}")
    return findings.found[name].value


def _told(answer: Any) -> int | None:
    return int(answer) if answer not in (None, "") else None


def _probed(
    original: Original,
    axes: int | None,
    channels: int | None,
    image: Array,
    folder: Path,
    on_progress: Callable[[float, str], None],
) -> Findings:
    made_from = [original.identity, [*original.channels], axes, channels, zoowizard.__version__, torch.__version__]
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
    name = f"findings-{digest[:32]}.json"
    for kept in folder.parents[1].glob(f"*/{name}"):
        with contextlib.suppress(OSError, ZoowizardError):
            return from_json(kept.read_bytes())
    try:
        findings = probe(original.load, axes, channels, limits=PATIENT, on_progress=on_progress, size=image.shape[1:])
    except ZoowizardError as problem:
        if NEEDS_GPU.search(str(problem)):
            raise ZoowizardError(
                f"network: it needs a GPU to run ({problem}); take `.cuda()` and `device=` out of it, or export it on "
                "the CPU: a package must also run where there is none"
            ) from problem
        raise
    if not any(OVER in why for why in findings.missing.values()):
        write_text(folder.parent / name, findings.to_json())
    return findings


def _require_axes(findings: Findings, image: Array) -> None:
    axes = findings.found["spatial_axes"]
    if axes.value == image.ndim - 1:
        return
    if axes.value == 2:
        raise ZoowizardError(
            f"test_image: it is a volume, and the network takes 2-D images ({axes.evidence}); give one plane, or say "
            "in `image_axes` which axis holds channels"
        )
    raise ZoowizardError(
        f"test_image: it is a 2-D image, and the network takes volumes ({axes.evidence}); give a stack, with its axes "
        "in `image_axes`"
    )


def _other_channels(findings: Findings, image: Array, asked: bool) -> str:
    wanted = findings.found["channels"]
    has = "1 channel" if len(image) == 1 else f"{len(image)} channels"
    takes = f"{wanted.value} channel{'' if wanted.value == 1 else 's'}"
    why = "you said so in `input_channels_asked`" if asked else wanted.evidence
    return (
        f"test_image: it has {has}, and the network takes {takes} ({why}); give an image with {takes}, or correct "
        "`image_axes`"
    )


def _overruled(findings: Findings, values: Mapping[str, Any]) -> Findings:
    """With the sizes and the halo that a person said."""
    axes = AXES[-int(value(findings, "spatial_axes")) :]
    least, step, halo = (
        sizes_by_axis(values[name], axes) if values.get(name) else {}
        for name in ("smallest_input", "input_step", "halo")
    )
    if least or step:
        known: Any = findings.found["sizes"].value if "sizes" in findings.found else {}
        sizes: dict[str, JsonValue] = {}
        for axis in axes:
            one = known.get(axis)
            if axis not in least and one is None:
                raise ZoowizardError(
                    f"smallest_input: the sizes that the network takes could not be found out "
                    f"({findings.missing.get('sizes', 'not looked for')}); say it for {axis} too"
                )
            sizes[axis] = {
                "min": least.get(axis, (one or {}).get("min", 1)),
                "step": step.get(axis, (one or {}).get("step", 1)),
            }
        findings = findings.overruled("sizes", sizes)
    if halo:
        before: Any = findings.found["halo"].value if "halo" in findings.found else {}
        findings = findings.overruled("halo", {**before, **halo})
    return findings


def in_words(findings: Findings) -> list[str]:
    """What people should know of a network before they use its package: a sentence for each, with the evidence."""
    told = []
    for name, words in _WORDS.items():
        finding = findings.found.get(name)
        if finding is not None and finding.evidence == OVERRULED:
            told.append(f"{words}: {value_in_words(finding.value)}, as its author says.")
        elif finding is not None and (name not in _ONLY_WRONG or finding.value is False):
            told.append(f"{words}: {finding.evidence}.")
        elif name in ("sizes", "halo") and name in findings.missing:
            told.append(f"{words}: could not be found out, as {findings.missing[name]}.")
    halo, tiling = (findings.found.get(name) for name in ("halo", "tiling"))
    if halo is not None and tiling is not None and halo.evidence == OVERRULED:
        told.append(f"Blocks: {tiling.evidence}.")
    return told


def value_in_words(value: Any) -> str:
    """A finding's value in words: pixels by axis, or itself."""
    if not isinstance(value, Mapping):
        return str(value)
    parts = []
    for axis, one in value.items():
        px = f"{one['min']} + n x {one['step']}" if isinstance(one, Mapping) else str(one)
        parts.append(f"{px} px along {axis}")
    return ", ".join(parts)


_WORDS: Final = {
    "spatial_axes": "Dimensions of the network",
    "channels": "Channels that it takes",
    "sizes": "Sizes that it takes",
    "halo": "Halo",
    "deterministic": "Not deterministic",
    "batch": "Batches",
    "perils": "Dangerous sizes",
}
_ONLY_WRONG: Final = ("deterministic", "batch")
