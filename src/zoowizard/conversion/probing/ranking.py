"""Which normalisation a network was trained with: tried on an image, and ranked by the output that is expected."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import JsonValue

from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing import runs
from zoowizard.conversion.probing.apart import USUAL, Apart, Limits, Refused
from zoowizard.conversion.probing.findings import Finding, Findings
from zoowizard.conversion.probing.networks import Network
from zoowizard.conversion.probing.normalisation import Normalisation, candidates, normalised
from zoowizard.errors import ZoowizardError

_MOST_PX: Final = {2: 512, 3: 96}
_CERTAIN_LEAD: Final = 2.0
_NEAR: Final = 0.2
_MOST_TOLD: Final = 1000


@dataclass(frozen=True)
class Agreement:
    """A candidate, the network's `outputs` with it, and its `difference` from what was expected.

    0 is the same, 1 is as far as a picture of one grey; None where nothing was expected. With label images expected,
    it is 1 less the correlation with where there are objects.
    """

    normalisation: Normalisation
    outputs: Sequence[Array]
    difference: float | None


@dataclass(frozen=True)
class Ranked:
    """Candidates, the best first; the second is `lead` times as far from the expected output as the best.

    `refused` are those that the network could not take, with the reason.
    """

    agreements: Sequence[Agreement]
    lead: float | None
    refused: Mapping[str, str]

    def finding(self) -> Finding:
        """The best one as a finding: its `steps`, and all candidates by name with their difference."""
        every: list[JsonValue] = [
            {"name": one.normalisation.name, "steps": _plain(one.normalisation.steps), "difference": one.difference}
            for one in self.agreements
        ]
        best = self.agreements[0]
        near = best.difference is not None and best.difference <= _NEAR
        value: JsonValue = {"name": best.normalisation.name, "steps": _plain(best.normalisation.steps), "tried": every}
        return Finding(value, self.sentence(), near and self.lead is not None and self.lead >= _CERTAIN_LEAD)

    def sentence(self) -> str:
        """The outcome for people."""
        if self.lead is None or self.agreements[0].difference is None:
            return "no expected output was given, so nothing tells which normalisation is right"
        best = self.agreements[0]
        apart = f"{best.difference:.2g} of the expected output's spread"
        if len(self.agreements) == 1:
            return f"“{best.normalisation.name}” comes within {apart}; nothing else could be tried"
        far = f"{self.lead:.3g} times" if self.lead < _MOST_TOLD else f"more than {_MOST_TOLD} times"
        return f"“{best.normalisation.name}” comes within {apart}; the next best is {far} as far"


def find(
    load: Callable[[], Network],
    findings: Findings,
    image: Array,
    expected: Array | None,
    also: Sequence[Normalisation] = (),
    output: int = 0,
    limits: Limits = USUAL,
    after: Callable[[Array], Array] = lambda given: given,
    normalise: Callable[[Array, Sequence[Mapping[str, Any]]], Array] = normalised,
    channels: int | None = None,
) -> Ranked:
    """Run the network on the image with each candidate (and those of `also`), and rank them.

    `load` and `findings` are those of `probe`. `image` (channel, (z,) y, x) is as it was recorded: its statistics are
    those of all of it, while only its middle goes into the network. `expected` is what `output` should be for the whole
    image, (channel, (z,) y, x) or without channels: numbers, or a label image. What is near a cut is not compared.
    `after` is what comes after the network, before that output is compared. Of a network with several inputs, of which
    the candidates are for the first, `normalise` does their steps to the `channels` of that one in the image.

    Raises ZoowizardError where the image is smaller than the network takes, or no candidate can be run.
    """
    part, margins = _middle(findings, image, output)
    agreements, refused = [], {}
    with Apart(load, limits) as network:
        for normalisation in [*also, *candidates(image.ndim - 1, channels or len(image), image.dtype)]:
            array = normalise(image, normalisation.steps)[(slice(None), *part)]
            try:
                given = network.call(runs.outputs, array[None])
            except Refused as problem:
                refused[normalisation.name] = str(problem)
                continue
            if np.isnan(given[output]).any():
                refused[normalisation.name] = "values that are no numbers (NaN)"
                continue
            apart = None if expected is None else difference(after(given[output]), expected, image, part, margins)
            agreements.append(Agreement(normalisation, given, apart))
    if not agreements:
        raise ZoowizardError(
            f"the network took the test image in no normalisation; it says {next(iter(refused.values()))}"
        )
    agreements.sort(key=lambda one: np.inf if one.difference is None else one.difference)
    found = [one.difference for one in agreements if one.difference is not None]
    lead = found[1] / max(found[0], 1e-12) if len(found) > 1 else None
    return Ranked(agreements, None if lead is None else float(lead), refused)


def _middle(findings: Findings, image: Array, output: int) -> tuple[list[slice], list[int]]:
    """The part of the image that goes in, for each spatial axis, and the px of the output near a cut."""
    axes = image.ndim - 1
    told, sizes, halos = (_of(findings, name) for name in ("outputs", "sizes", "halo"))
    part, margins = [], []
    for axis, size in zip(("z", "y", "x")[-axes:], image.shape[1:], strict=True):
        minimum, step = sizes[axis]["min"], sizes[axis]["step"]
        halo = halos.get(axis, 0)
        most = min(size, max(_MOST_PX[axes], minimum, 2 * halo + _MOST_PX[axes] // 2))
        if minimum > most:
            raise ZoowizardError(f"the test image has {size} px along {axis}; this network takes {minimum} px at least")
        wanted = minimum + (most - minimum) // step * step if step else minimum
        start = (size - wanted) // 2 // max(step, 1) * max(step, 1)
        part.append(slice(start, start + wanted))
        margins.append(0 if wanted == size else round(halo * told[output]["scale"].get(axis, 1)))
    return part, margins


def _of(findings: Findings, name: str) -> Any:
    if name in findings.found:
        return findings.found[name].value
    if name == "halo":
        return {}
    raise ZoowizardError(f"the {name} of the network are not known: {findings.missing.get(name, 'probe it first')}")


def _plain(steps: Sequence[Mapping[str, Any]]) -> JsonValue:
    return [{"id": step["id"], "kwargs": dict(step["kwargs"])} for step in steps]


def difference(
    given: Array, expected: Array, image: Array, part: Sequence[slice], margins: Sequence[int]
) -> float | None:
    """See `Agreement`; None where the expected output does not have the sizes of the image's output.

    `given` is (1, channel, (z,) y, x) or without channels.
    """
    axes = image.ndim - 1
    ours = given[0] if given.ndim == axes + 2 else given
    theirs = expected if expected.ndim == axes + 1 else expected[None]
    if theirs.ndim != axes + 1:
        return None
    scales = [size / whole for size, whole in zip(theirs.shape[1:], image.shape[1:], strict=True)]
    cut_ours, cut_theirs = [slice(None)], [slice(None)]
    for axis, (scale, one, away) in enumerate(zip(scales, part, margins, strict=True)):
        wanted = round((one.stop - one.start) * scale)
        before = (wanted - ours.shape[axis + 1]) // 2  # valid convolutions: what is given lies in the middle
        away = min(away, (ours.shape[axis + 1] - 1) // 2)
        start = round(one.start * scale) + before
        cut_ours.append(slice(away, ours.shape[axis + 1] - away))
        cut_theirs.append(slice(start + away, start + ours.shape[axis + 1] - away))
    mine, wanted_values = ours[tuple(cut_ours)].astype(np.float64), theirs[tuple(cut_theirs)].astype(np.float64)
    if mine.shape[1:] != wanted_values.shape[1:]:
        return None
    if np.issubdtype(expected.dtype, np.integer) and not np.issubdtype(given.dtype, np.integer):
        return _from_objects(mine, wanted_values)
    if mine.shape != wanted_values.shape:
        return None
    spread = float(wanted_values.std()) or 1.0
    return float(np.sqrt(np.mean((mine - wanted_values) ** 2))) / spread


def _from_objects(channels: Array, labels: Array) -> float:
    """1 less the best correlation of a channel with where objects are (or are not: a channel of the background)."""
    there = (labels > 0).any(axis=0).ravel().astype(np.float64)
    values = [one.ravel() for one in channels if one.std() > 0]
    if not values or there.std() == 0:
        return 1.0
    return 1.0 - max(abs(float(np.corrcoef(one, there)[0, 1])) for one in values)
