"""The questions that both families of Cellpose ask."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from zoowizard.drafts import questions
from zoowizard.drafts.checks import check_among, check_number, parse_number
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.images import MICROSCOPY, check_test_image
from zoowizard.drafts.licences import COMMON
from zoowizard.drafts.questions import parse_choice

_COMMON: Final[Mapping[str, Field]] = {field.name: field for field in questions.FIELDS}
PACKAGE_KINDS: Final = ("labels", "flows")


def _licence_hint(answer: Any) -> str | None:
    if isinstance(answer, str) and "-NC-" in answer:
        return (
            "proposed because Cellpose's own weights (cyto to cyto3, cpsam) were trained partly on images under "
            "non-commercial terms (CC-BY-NC), which may hold for what was trained on from them: you decide; weights "
            "that were trained from nothing are as free as your images"
        )
    return (
        "Cellpose's authors leave it open whether weights inherit the non-commercial terms (CC-BY-NC) of the images "
        "that cyto to cyto3 and cpsam were trained on: if yours started from those, make sure that you may choose this"
    )


def draws(values: Mapping[str, Any]) -> bool:
    """Whether a package of these answers gives label images."""
    return values.get(PACKAGE_KIND.name) != "flows"


def _kind_hint(answer: Any) -> str | None:
    if answer != "flows":
        return None
    return (
        "the flows are not objects yet, and where two blocks meet they differ from Cellpose's; the card says by how "
        "much. A second package with labels can be built of the same model"
    )


LICENCE: Final = replace(
    _COMMON["license"],
    help="Under which licence others may use the weights, as an SPDX identifier (https://spdx.org/licenses). Cellpose "
    "itself is BSD-3-Clause, but its own weights were trained partly on images under CC-BY-NC.",
    example="CC-BY-NC-4.0",
    choices=("CC-BY-NC-4.0", *COMMON),
    hint=_licence_hint,
)
TEST_IMAGE: Final = replace(
    _COMMON["test_image"],
    help="A 2-D image file like those of the training, with cells in it: 8-bit, 16-bit or float32, one to three "
    "channels, at least 64 x 64 pixels, TIFF or PNG. It is published with the model, so it must be yours to give.",
    example="images/cells.tif",
    check=partial(check_test_image, accepts=MICROSCOPY),
)
FLOW_THRESHOLD: Final = Field(
    "flow_threshold",
    "Flow threshold",
    "Cells whose shape fits the flows worse than this are left out; higher keeps more, 0 keeps all. Cellpose's own is "
    "0.4.",
    "0.4",
    Need.OPTIONAL,
    "Network",
    "number",
    check_number(0, 100),
    "outputs: postprocessing",
    parse=parse_number,
    default=0.4,
)
CELLPROB_THRESHOLD: Final = Field(
    "cellprob_threshold",
    "Cell probability threshold",
    "From which output of the network on (a logit, about -6 to 6) a pixel belongs to a cell; lower makes more and "
    "larger cells. Cellpose's own is 0.",
    "0.0",
    Need.OPTIONAL,
    "Network",
    "number",
    check_number(-100, 100),
    "outputs: postprocessing",
    parse=parse_number,
    default=0.0,
)
MIN_SIZE: Final = Field(
    "min_size",
    "Smallest cell",
    "Cells of fewer pixels than this are left out; 0 keeps all. Cellpose's own is 15.",
    "15",
    Need.OPTIONAL,
    "Network",
    "number",
    check_number(0, 1_000_000, whole=True),
    "outputs: postprocessing",
    parse=parse_number,
    default=15,
)
PACKAGE_KIND: Final = Field(
    "package_kind",
    "What the package gives",
    "labels: the label image that Cellpose itself draws, exactly; it runs in tools with Python and in the zoo. flows: "
    "the network's flows and cell probability, as TorchScript and ONNX, for tools without Python (Fiji with "
    "deepImageJ, QuPath), one block of the image at a time; differs from Cellpose at the seams. Both are for 2-D "
    "images: 3-D is not measured; it would take the flows of all three planes joined into one, which the zoo's tools "
    "do not do.",
    "labels",
    Need.OPTIONAL,
    "Network",
    "choice",
    check_among(PACKAGE_KINDS),
    "weights, outputs",
    parse=parse_choice(PACKAGE_KINDS),
    choices=PACKAGE_KINDS,
    default="labels",
    hint=_kind_hint,
)
THRESHOLDS: Final = (FLOW_THRESHOLD, CELLPROB_THRESHOLD, MIN_SIZE)


def check_diameter(answer: Any) -> str | None:
    """A number of pixels that cells can have."""
    return check_number(1, 10_000)(answer)
