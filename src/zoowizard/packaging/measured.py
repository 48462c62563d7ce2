"""What was measured of a package, in the words of the model card."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zoowizard.agreement import Agreement
from zoowizard.packaging.markdown import table, text
from zoowizard.packaging.report import (
    FormatReport,
    agreement_sentence,
    difference_cells,
    not_measured_sentence,
    parity_sentence,
    ratio,
    ratio_or_none,
)
from zoowizard.packaging.tools import ToolReport

if TYPE_CHECKING:
    from zoowizard.conversion.converted import Difference
    from zoowizard.packaging.matching import Parity

RECOMMENDATION: Final = "Check the results on {} before relying on them. The model is not meant for diagnosis."
OF_LABELS: Final = (
    "Annotate a few images that the training has not seen, run the package on them, and compare its instances with "
    "the annotation: precision, recall and F1 at an IoU of 0.5, average precision over 0.5 to 0.95."
)
OF_VALUES: Final = (
    "Take a few images that the training has not seen, with what the model should give for them. Run the package on "
    "them and compare: for images the correlation, the peak signal-to-noise ratio (PSNR) and the structural similarity "
    "(SSIM); for probabilities and classes precision, recall and F1 at the threshold that you will use."
)

OF_EITHER: Final = (
    "Take a few images that the training has not seen, with what the model should give for them. Run the package on "
    "them, and compare."
)


@dataclass(frozen=True)
class Validation:
    """What was measured, for the Validation section.

    `framework` is the native framework with its version; `curves` is the file name, beside the card, of the picture
    of the training curves; `notes` are sentences about what the measurements do not show. `not_measured` says why there
    is neither `parity` of labels nor `agreement` of values where the framework could not be asked. `gives_labels` says
    whether the package draws objects; None where that is not known before it is built. `tools` say where it will run.
    """

    framework: str = "the native framework"
    parity: "Parity | None" = None
    formats: Sequence[FormatReport] = ()
    curves: str | None = None
    notes: Sequence[str] = ()
    differences: "Sequence[Difference]" = ()
    not_measured: str = ""
    agreement: Agreement | None = None
    gives_labels: bool | None = True
    tools: Sequence[ToolReport] = ()


def recommendation(validation: Validation) -> str:
    """What to do before anybody relies on the model."""
    known = "annotated images of your own" if validation.gives_labels else "images of your own with a known answer"
    return RECOMMENDATION.format(known)


def how_to_validate(validation: Validation) -> str:
    """How people find out how good it is on images of their own."""
    if validation.gives_labels is None:
        return OF_EITHER
    return OF_LABELS if validation.gives_labels else OF_VALUES


def agreement_section(validation: Validation) -> str:
    """How far the package is from the native framework; nothing where that was not looked at."""
    said = []
    if validation.parity is not None:
        said.append(parity_sentence(validation.parity))
    if validation.agreement is not None:
        said.append(agreement_sentence(validation.agreement))
    if not said and validation.not_measured:
        said.append(text(not_measured_sentence(validation.not_measured)))
    against = f"The package, run with bioimageio.core, against {text(validation.framework)}."
    differences = table(
        ("Largest difference", "Value"),
        [(text(what), found) for what, found in map(difference_cells, validation.differences)],
    )
    parts = [" ".join([against, *said]) if said else "", _parity_table(validation.parity), differences]
    return "\n\n".join(filter(None, parts))


def _parity_table(parity: "Parity | None") -> str:
    if parity is None:
        return ""
    rows = [
        (
            str(place),
            ratio_or_none(one["mean_iou"]),
            ratio(one["identical_pixels"]),
            str(one["n_true"]),
            str(one["n_pred"]),
            ratio_or_none(one["ap90"]),
        )
        for place, one in enumerate(parity["per_image"], start=1)
    ]
    return table(
        ("Image", "Mean IoU", "Identical pixels", "Instances, native", "Instances, package", "AP at IoU 0.9"), rows
    )


def reproducibility(formats: Sequence[FormatReport]) -> str:
    """What the tests said, format by format; a column stays out where nothing is known for it."""
    columns: dict[str, list[str]] = {
        "Weights": [text(one.weight_format) for one in formats],
        "Tests": [one.status or "" for one in formats],
        "Largest difference": [f"{one.drift.max_abs:.3g}" if one.drift else "" for one in formats],
        "Mismatched elements per million": [
            f"{one.drift.mismatched_per_million:.4g}" if one.drift else "" for one in formats
        ],
        "Image sizes": [", ".join(" x ".join(map(str, size)) for size in one.sizes) for one in formats],
        "Batch sizes": [", ".join(map(str, one.batches)) for one in formats],
    }
    known = {name: column for name, column in columns.items() if any(column)}
    rows = [[cell or "not measured" for cell in row] for row in zip(*known.values(), strict=True)]
    return table(list(known), rows)
