"""What every conversion hands to packaging: tensors, weights, and the native framework to compare with."""

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
class Converted:
    """A converted model.

    `to_input` makes the input tensor (all axes, one batch) of a test image, (y, x) or (y, x, channel) uint8.
    `predict_native` gives the label image (y, x) that the model's own framework draws on such an image.
    `framework` names it with its version. `notes` are sentences that people should read before they use the model.
    `facts` are what only the conversion could tell, to be shown in the card (same names as a draft's values).
    """

    inputs: Sequence[TensorDescription]
    outputs: Sequence[TensorDescription]
    weights: Sequence[Weights]
    to_input: Callable[[Array], Array]
    predict_native: Callable[[Array], Array]
    framework: str
    notes: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
