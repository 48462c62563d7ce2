"""Which part of a test image goes into a package, and how wide a halo that leaves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

import numpy as np

from zoowizard.conversion.any_network.findings import value, value_in_words
from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing.findings import Finding, Findings, declared_sizes
from zoowizard.conversion.probing.probe import AXES
from zoowizard.errors import ZoowizardError

LARGEST_PX: Final[Mapping[int, tuple[int, ...]]] = {2: (512, 512), 3: (64, 128, 128)}
"""Of a test tensor, so that packages stay small; the network may ask for more."""


USUAL_PX: Final[Mapping[int, int]] = {2: 64, 3: 32}
"""Along each axis: on less, a norm over the few pixels that are left deep in a network makes much of rounding."""


def axes_of(image: Array) -> tuple[str, ...]:
    """The spatial axes of an image (channel, (z,) y, x)."""
    return AXES[4 - image.ndim :]


def within(findings: Findings, image: Array, sides: Mapping[str, float]) -> tuple[Findings, list[str]]:
    """The findings with a halo that leaves sizes as small as the test image, and a sentence where it is smaller.

    `sides` are those of a pixel, for the axes of which they are known. Raises ZoowizardError where the image is smaller
    than what the network takes.
    """
    sizes, outputs = value(findings, "sizes"), value(findings, "outputs")
    known: Any = findings.found["halo"].value if "halo" in findings.found else {}
    halos: dict[str, int] = dict(known)
    margins = value(findings, "margins")
    notes = []
    for axis, size in zip(axes_of(image), image.shape[1:], strict=True):
        least, step, found = int(sizes[axis]["min"]), int(sizes[axis]["step"]), int(halos.get(axis, 0))
        if least > size:
            raise ZoowizardError(
                f"test_image: it has {size} px along {axis}, and the network takes {least} px at least; give a larger "
                "one"
            )
        scales = [Fraction(one["scale"][axis]).limit_denominator(64) for one in outputs if axis in one["scale"]]
        unit = math.lcm(*(scale.denominator for scale in scales)) if scales else 1
        cut = max(
            (
                math.ceil(max(one[axis]) / told["scale"][axis])
                for one, told in zip(margins, outputs, strict=True)
                if axis in one
            ),
            default=0,
        )
        if found % unit:
            raise ZoowizardError(f"halo: along {axis} it must be a multiple of {unit} px, as an output is smaller")
        if not step:
            halos.pop(axis, None)
            continue
        scaled = [
            halo
            for halo in range(2 * found + 8 * unit)
            if halo % unit == 0 and _is_whole(halo, scales, sides.get(axis))
        ]
        wide = next((halo for halo in scaled if halo >= found), found)
        fits = [halo for halo in reversed(scaled) if halo <= wide and _declared(least, step, halo) <= size]
        whole = [halo for halo in fits if halo == wide or (least - 2 * halo) % step == 0]
        halos[axis] = next(iter(whole or fits))
        if found < cut:
            raise ZoowizardError(
                f"halo: the network leaves out {cut} px at each end along {axis}, which are padded; say {cut} px at "
                "least"
            )
        if halos[axis] < cut:
            raise ZoowizardError(
                f"test_image: it has {size} px along {axis}; the network leaves out {cut} px at each end, so that "
                f"blocks have {_declared(least, step, cut)} px at least: give a larger one"
            )
        if halos[axis] < found:
            notes.append(
                f"The halo along {axis} is {halos[axis]} px instead of the {found} px that the network looks, because "
                f"the test image has only {size} px there: predict the whole length along {axis} at once, or give a "
                "larger test image and build again."
            )
    before = findings.found.get("halo")
    if before is None or halos != known:
        said = before.evidence if before else findings.missing.get("halo", "it was not looked for")
        taken = Finding(
            dict(halos), f"{said}; {value_in_words(halos)} are taken", before is not None and before.certain
        )
        findings = replace(findings, found={**findings.found, "halo": taken})
    return findings, notes


def _is_whole(halo: int, scales: Sequence[Fraction], side: float | None) -> bool:
    """Whether the zoo's library, which computes the halo of the input from that of the outputs and the sides of their
    pixels, comes to a whole number: with some sides, as 0.03, rounding makes 9.000000000000002 of 9."""
    if side is None:
        return True
    return all((float(round(halo * scale)) * (side / float(scale)) / side).is_integer() for scale in scales if scale)


def _declared(least: int, step: int, halo: int) -> int:
    return least + -(-max(0, 2 * halo + 1 - least) // step) * step


def middle(findings: Findings, image: Array, most: Sequence[int]) -> tuple[slice, ...]:
    """The middle of the image, as large as the network takes and no larger than `most` px along each axis."""
    part = [slice(None)]
    for axis, size, limit in zip(axes_of(image), image.shape[1:], most, strict=True):
        wanted = fitting(declared_sizes(findings)[axis], min(size, limit))
        part.append(slice((size - wanted) // 2, (size - wanted) // 2 + wanted))
    return tuple(part)


def fitting(declared: Mapping[str, int], most: int) -> int:
    """The largest size that is declared and not above `most`; the least where even that is."""
    least, step = declared["min"], declared["step"]
    return least + max(0, most - least) // step * step if step else least


def two_shapes(findings: Findings, channels: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two input shapes that the network takes, with other sizes along every axis, where it takes several.

    The first has a batch of one. So has the second where images of a batch change each other.
    """
    sizes: Any = value(findings, "sizes")
    batches = findings.found.get("batch")
    first, second = [1, channels], [2 if batches is None or batches.value else 1, channels]
    for number, axis in enumerate(sizes):
        least, step = int(sizes[axis]["min"]), int(sizes[axis]["step"])
        start = least + -(-max(0, USUAL_PX[len(sizes)] - least) // step) * step if step else least
        first.append(start + number * step)
        second.append(start + (max(2, -(-start // (2 * step))) + number % 2) * step if step else start)
    return tuple(first), tuple(second)


def pictures(findings: Findings, image: Array) -> dict[str, Array]:
    """Views of the test image in sizes that the network takes; the first one is the test tensor."""
    most = LARGEST_PX[image.ndim - 1]
    tested = np.ascontiguousarray(image[middle(findings, image, most)])
    smaller = [max(1, size * 3 // 5) for size in tested.shape[1:]]
    views = {
        "as it is": tested,
        "mirrored": tested[..., ::-1],
        "a smaller part": image[middle(findings, image, smaller)],
        "another shape, turned over": image[middle(findings, image, [*smaller[:-1], most[-1]])][..., ::-1, :],
    }
    shapes = [view.shape for view in views.values()]
    return {
        name: np.ascontiguousarray(view)
        for number, (name, view) in enumerate(views.items())
        if number < 2 or view.shape not in shapes[:number]
    }
