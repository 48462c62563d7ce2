"""What every conversion hands to packaging: tensors, weights, and the native framework to compare with.

A conversion is a module with these four names:

    USES: tuple[str, ...]                                                  the draft's values that shape its result
    ACCEPTS: Accepts                                                       which test images it takes
    convert(checkpoint, values, image, folder, step) -> Converted          weights go to `folder`
    native(checkpoint, values, facts, folder) -> Native                    the framework again, nothing is converted

and, where it needs them, these:

    preload(folder) -> None                          imports what it would import late; `folder` may be written to
    read_image(checkpoint, values) -> Array          the test image, where that is no picture that `ACCEPTS` names
    reads(checkpoint, values) -> Sequence[Path]      files beside the checkpoint that its result depends on, too

`values` holds what `USES` names and nothing else, so that the same checkpoint, values and image give the same result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from zoowizard.errors import ZoowizardError

Array = NDArray[Any]
LOWEST_MEAN_IOU: Final = 0.95
"""Below this a package does not do what the model does, whatever the reason, and is not handed out."""

MOST_APART: Final = 1e-3
"""Of an output's spread: up to here the values of a package are those of the framework."""


class NotMeasured(ZoowizardError):
    """The native framework cannot be asked here; the message says why, as a sentence without a full stop."""


@dataclass(frozen=True)
class TensorDescription:
    """One input or output tensor in the words of the bioimage.io format, with its test tensor.

    `axes`, `data` and `processing` are written to the description as they are, the last as `preprocessing` of an input
    and as `postprocessing` of an output. `test_tensor` has all `axes`, batch included; `sample` is the same as an image
    whose axes are the letters of `sample_axes` in their order: z, y, x and c; where that is empty, it is (y, x) or
    (y, x, channel).
    """

    id: str
    description: str
    axes: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any]
    test_tensor: Array
    sample: Array
    processing: Sequence[Mapping[str, Any]] = ()
    sample_axes: str = ""


@dataclass(frozen=True)
class Weights:
    """One weights file; `entry` are its keys in the description (`pytorch_version`, `opset_version`).

    `files` are further files that it needs beside it in the package, named in `entry` (the source of an architecture).
    """

    weight_format: str
    path: Path
    entry: Mapping[str, Any]
    parent: str | None = None
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class Difference:
    """How far the package is from the framework in one number, `what` it is in words, and up to where it is right."""

    what: str
    value: float
    allowed: float


@dataclass(frozen=True)
class Native:
    """The model in its own framework, to compare with.

    `to_input` makes the input tensor (all axes, one batch) of a test image, (y, x) or (y, x, channel), of the types
    that `ACCEPTS` names, or as `read_image` gives it; of several inputs all tensors, by id. `predict` gives the label
    image (y, x) that the framework draws on such an image; None where the package gives no labels. `outputs` gives what
    the framework has for the package's outputs, by id, all axes, to be compared value by value. Both raise NotMeasured
    where the framework is not there. `to_labels` makes that label image of the package's outputs, by id; None where the
    first output is one. `differences` measures on such an image what the labels do not show (flows). `pictures` gives
    the images to compare on, by name; None for views of the test image that suit a small network, and where there is no
    `predict` for the image and a part of it. A package whose label images agree less than `lowest_mean_iou`, or whose
    outputs differ more than `most_apart`, a part of their spread (standard deviation), is not handed out. `close` lets
    go of the framework.
    """

    to_input: Callable[[Array], Array | Mapping[str, Array]]
    predict: Callable[[Array], Array] | None = None
    outputs: Callable[[Array], Mapping[str, Array]] | None = None
    to_labels: Callable[[Mapping[str, Array]], Array] | None = None
    differences: Callable[[Array], Sequence[Difference]] | None = None
    pictures: Callable[[Array], Mapping[str, Array]] | None = None
    lowest_mean_iou: float = LOWEST_MEAN_IOU
    most_apart: float = MOST_APART
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Converted:
    """A converted model. All but `native` can be kept on a disk.

    `framework` names the model's own framework with its version. `notes` are sentences that people should read before
    they use the model. `facts` are what only the conversion could tell, to be shown in the card (JSON values, with the
    same names as a draft's). `labels` is the label image (y, x) of the test image, for the cover; None where it is the
    sample of the first output. `shown` are two pictures, (y, x) or (y, x, 1 to 3), of input and output, for the cover
    of a package without labels. `elsewhere_per_million` says how many of a million values of the test output the zoo's
    own runner, with its older libraries, is known to give otherwise. `kept` are files beside the weights that `native`
    asks for, also in a later run that takes this conversion over. `described` are further entries of the description
    (JSON values): of `config`, `covers` and `attachments` they stand beside packaging's own, of all else below them;
    `beside` are the files in the folder of the weights that these name.
    """

    inputs: Sequence[TensorDescription]
    outputs: Sequence[TensorDescription]
    weights: Sequence[Weights]
    native: Native
    framework: str
    notes: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    labels: Array | None = None
    shown: tuple[Array, Array] | None = None
    elsewhere_per_million: float = 0.0
    kept: Sequence[Path] = ()
    described: Mapping[str, Any] = field(default_factory=dict)
    beside: Sequence[Path] = ()
