"""What every conversion hands to packaging: tensors, weights, and the native framework to compare with.

A conversion is a module with these three names:

    USES: tuple[str, ...]                                                  the draft's values that shape its result
    convert(checkpoint, values, image, folder, step) -> Converted          weights go to `folder`
    native(checkpoint, values, facts, folder) -> Native                    the framework again, nothing is converted

and, where it imports something only when it converts, this one too:

    preload(folder) -> None                                                imports it; `folder` may be written to

`values` holds what `USES` names and nothing else, so that the same checkpoint, values and image give the same result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class TensorDescription:
    """One input or output tensor in the words of the bioimage.io format, with its test tensor.

    `axes`, `data` and `preprocessing` are written to the description as they are. `test_tensor` has all `axes`,
    batch included; `sample` is the same as a picture, (y, x) or (y, x, channel).
    """

    id: str
    description: str
    axes: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any]
    test_tensor: Array
    sample: Array
    preprocessing: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Weights:
    """One weights file; `entry` are its keys in the description (`pytorch_version`, `opset_version`)."""

    weight_format: str
    path: Path
    entry: Mapping[str, Any]
    parent: str | None = None


@dataclass(frozen=True)
class Native:
    """The model in its own framework, to compare with.

    `to_input` makes the input tensor (all axes, one batch) of a test image, (y, x) or (y, x, channel) uint8.
    `predict` gives the label image (y, x) that the framework draws on such an image.
    """

    to_input: Callable[[Array], Array]
    predict: Callable[[Array], Array]


@dataclass(frozen=True)
class Converted:
    """A converted model. All but `native` can be kept on a disk.

    `framework` names the model's own framework with its version. `notes` are sentences that people should read before
    they use the model. `facts` are what only the conversion could tell, to be shown in the card (JSON values, with the
    same names as a draft's).
    """

    inputs: Sequence[TensorDescription]
    outputs: Sequence[TensorDescription]
    weights: Sequence[Weights]
    native: Native
    framework: str
    notes: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
