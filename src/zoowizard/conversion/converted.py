"""What every conversion hands to packaging: tensors, weights, and the native framework to compare with.

A conversion is a module with these four names:

    USES: tuple[str, ...]                                                  the draft's values that shape its result
    ACCEPTS: Accepts                                                       which test images it takes
    convert(checkpoint, values, image, folder, step) -> Converted          weights go to `folder`
    native(checkpoint, values, facts, folder) -> Native                    the framework again, nothing is converted

and, where it imports something only when it converts, this one too:

    preload(folder) -> None                                                imports it; `folder` may be written to

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


class NotMeasured(ZoowizardError):
    """The native framework cannot be asked here; the message says why, as a sentence without a full stop."""


@dataclass(frozen=True)
class TensorDescription:
    """One input or output tensor in the words of the bioimage.io format, with its test tensor.

    `axes`, `data` and `processing` are written to the description as they are, the last as `preprocessing` of an input
    and as `postprocessing` of an output. `test_tensor` has all `axes`, batch included; `sample` is the same as a
    picture, (y, x) or (y, x, channel).
    """

    id: str
    description: str
    axes: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any]
    test_tensor: Array
    sample: Array
    processing: Sequence[Mapping[str, Any]] = ()


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
    that `ACCEPTS` names. `predict` gives the label image (y, x) that the framework draws on such an image; it raises
    NotMeasured where the framework is not there. `to_labels` makes that label image of the package's outputs, by id;
    None where the first output is one. `differences` measures on such an image what the labels do not show (flows).
    `pictures` gives the images to compare on, by name; None for views of the test image that suit a small network.
    A package whose label images agree less than `lowest_mean_iou` is not handed out. `close` lets go of the framework.
    """

    to_input: Callable[[Array], Array]
    predict: Callable[[Array], Array]
    to_labels: Callable[[Mapping[str, Array]], Array] | None = None
    differences: Callable[[Array], Sequence[Difference]] | None = None
    pictures: Callable[[Array], Mapping[str, Array]] | None = None
    lowest_mean_iou: float = LOWEST_MEAN_IOU
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Converted:
    """A converted model. All but `native` can be kept on a disk.

    `framework` names the model's own framework with its version. `notes` are sentences that people should read before
    they use the model. `facts` are what only the conversion could tell, to be shown in the card (JSON values, with the
    same names as a draft's). `labels` is the label image (y, x) of the test image, for the cover; None where it is the
    sample of the first output. `elsewhere_per_million` says how many of a million values of the test output the zoo's
    own runner, with its older libraries, is known to give otherwise. `kept` are files beside the weights that `native`
    asks for, also in a later run that takes this conversion over.
    """

    inputs: Sequence[TensorDescription]
    outputs: Sequence[TensorDescription]
    weights: Sequence[Weights]
    native: Native
    framework: str
    notes: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    labels: Array | None = None
    elsewhere_per_million: float = 0.0
    kept: Sequence[Path] = ()
