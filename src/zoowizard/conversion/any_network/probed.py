"""What a network is, and a picture of what it gives after each normalisation: for a person to choose by."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from zoowizard.conversion.any_network.findings import PATIENT, found, value, value_in_words
from zoowizard.conversion.any_network.normalising import tried
from zoowizard.conversion.any_network.original import Original, activated
from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing import ranking
from zoowizard.conversion.probing.findings import OVERRULED, Findings
from zoowizard.drafts.stacks import read_expected
from zoowizard.jobs.probed import LONGEST_PICTURE_PX, Candidate, Probed, Told
from zoowizard.jobs.steps import Step

LABELS: Final = {
    "spatial_axes": "Dimensions",
    "channels": "Input channels",
    "sizes": "Sizes that it takes",
    "halo": "Halo",
    "outputs": "Outputs",
    "margins": "Margins",
    "tiling": "Blocks",
    "batch": "Batches",
    "deterministic": "Two runs",
    "perils": "Dangerous sizes",
}
"""What findings are about, in the order in which people are told of them. Range and kind are those on noise."""
OVERRULED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "spatial_axes": ("spatial_axes",),
    "channels": ("input_channels_asked",),
    "sizes": ("smallest_input", "input_step"),
    "halo": ("halo",),
}
"""The answers that take the place of a finding."""


@dataclass(frozen=True)
class Pictured:
    """What was found and tried, and the pictures of the candidates by their name: uint8, (y, x) or (y, x, 3)."""

    probed: Probed
    pictures: Mapping[str, Array]


def probe(original: Original, values: Mapping[str, Any], image: Array, folder: Path, step: Step) -> Pictured:
    """Find out what a network is, and try every normalisation on the test image (channel, (z,) y, x).

    What is found is kept, and taken over, as `found` does; `folder` is where weights go. `values` need no normalisation
    in them. Raises ZoowizardError, in words for a person, where the network does not run or takes no such image.
    """
    step.progress(0.1, "finding out what the network is")
    findings = found(original, values, image, folder, lambda part, note: step.progress(0.1 + 0.6 * part, note))
    step.progress(0.7, "trying the normalisations")
    expected = read_expected(Path(values["expected_output"]).expanduser()) if values.get("expected_output") else None
    after = partial(activated, activation=str(values.get("activation") or "none"))
    channels, normalise = tried(values, image.ndim - 1)
    ranked = ranking.find(
        original.load, findings, image, expected, limits=PATIENT, after=after, normalise=normalise, channels=channels
    )
    step.progress(0.95, "drawing the pictures")
    channel_axis, axes = value(findings, "outputs")[0]["channel_axis"], image.ndim - 1
    candidates, pictures = [], {}
    for one in ranked.agreements:
        shown = _plane(after(one.outputs[0])[0], axes, channel_axis is not None)
        candidate = _candidate(one, shown, channels)
        candidates.append(candidate)
        pictures[candidate.picture] = _picture(shown)
    probed = Probed(findings=told_of(findings), candidates=tuple(candidates), **_said(ranked, expected))
    return Pictured(probed, pictures)


def told_of(findings: Findings) -> tuple[Told, ...]:
    """What was found, and what could not be, with how it is known and by which answers it can be overruled."""
    told: list[Told] = []
    for name, label in LABELS.items():
        one, why = findings.found.get(name), findings.missing.get(name)
        if one is not None:
            evidence = f"{value_in_words(one.value)}, {OVERRULED}" if one.evidence == OVERRULED else one.evidence
        elif why is not None:
            evidence = f"could not be found out: {why}"
        if (one or why) and evidence not in [before.evidence for before in told]:
            certain, by = one is not None and one.certain, OVERRULED_BY.get(name, ())
            told.append(Told(name=name, label=label, evidence=evidence, certain=certain, overruled_by=by))
    return tuple(told)


def _said(ranked: ranking.Ranked, expected: Array | None) -> dict[str, Any]:
    sentence = ranked.sentence()
    if expected is not None and ranked.agreements[0].difference is None:
        has = " x ".join(map(str, expected.shape))
        sentence = f"the expected output has {has} values, which do not fit to the test image, so nothing was compared"
    return {"sentence": sentence, "refused": dict(ranked.refused)}


def _candidate(one: ranking.Agreement, shown: Array, channels: int) -> Candidate:
    chosen = one.normalisation
    over = ""
    if channels > 1 and any(step["kwargs"].get("axes") for step in chosen.steps):
        over = "each channel" if chosen.each_channel else "all channels"
    finite = shown[np.isfinite(shown)]
    return Candidate(
        normalisation=chosen.id,
        over=over,
        name=chosen.name,
        difference=one.difference if one.difference is None or np.isfinite(one.difference) else None,
        picture=f"{chosen.id}{'-each' if chosen.each_channel else ''}.png",
        lowest=float(finite.min()) if finite.size else 0.0,
        highest=float(finite.max()) if finite.size else 0.0,
        all_finite=finite.size == shown.size,
    )


def _plane(output: Array, axes: int, has_channels: bool) -> Array:
    """The middle plane of an output ((channel,) (z,) y, x), as float64 (channel, y, x)."""
    whole = output.astype(np.float64)
    whole = whole if has_channels and whole.ndim == axes + 1 else whole.reshape(-1, *whole.shape[-axes:])
    return whole[:, whole.shape[1] // 2] if axes == 3 else whole


def _picture(plane: Array) -> Array:
    """A plane (channel, y, x) to look at: one channel grey, two red and green, of more the first three as RGB."""
    channels = [_stretched(one) for one in plane[:3]]
    coloured = np.stack([*channels, np.zeros_like(channels[0])][:3], axis=-1)
    picture = channels[0] if len(channels) == 1 else coloured
    scale = LONGEST_PICTURE_PX / max(picture.shape[:2])
    if scale >= 1:
        return picture
    rows, columns = (max(1, round(side * scale)) for side in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BOX))


def _stretched(channel: Array) -> Array:
    finite = channel[np.isfinite(channel)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    if high <= low and finite.size:
        low, high = finite.min(), finite.max()
    clean = np.nan_to_num(channel, nan=low, posinf=high, neginf=low)
    return np.clip(np.rint((clean - low) * (255 / ((high - low) or 1.0))), 0, 255).astype(np.uint8)
