"""What the families torchscript and onnx say alike of a network that was exported into one file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from zoowizard.drafts.draft import CHECKPOINT, DEFAULT, Value
from zoowizard.drafts.fields import Check, Field
from zoowizard.families import cellmap, network_fields
from zoowizard.families.family import Warning
from zoowizard.families.pytorch_told import name_of

LABELS: Final[Mapping[str, str]] = {
    "spatial_axes_found": "dimensions",
    "inputs_found": "inputs",
    "further_inputs": "further inputs",
    "outputs_found": "outputs",
    "input_shape": "input shape",
    "dtype": "number type",
}
YOLO: Final = Warning(
    "exported-yolo",
    "Ultralytics exported it from a YOLO model: its outputs are boxes and coefficients, no picture. Give the .pt that "
    "training wrote instead, and the package gives the outlined objects.",
)


@dataclass(frozen=True)
class Image:
    """What the network takes as far as the file tells: the number of spatial axes and of channels, None where not."""

    spatial_axes: int | None = None
    channels: int | None = None

    @property
    def in_words(self) -> str:
        """`2-D, 1 input channel`."""
        told = [f"{self.spatial_axes}-D"] if self.spatial_axes is not None else []
        if self.channels is not None:
            told.append(f"{self.channels} input channel{'' if self.channels == 1 else 's'}")
        return ", ".join(told)

    def values(self, path: Path, kind: str, tag: str) -> dict[str, Value]:
        """`architecture`, which begins with `kind`, `name`, `tags`, what is known of the image, what lies beside it."""
        found: dict[str, Any] = {"architecture": ", ".join(filter(None, [f"{kind} network", self.in_words]))}
        if self.spatial_axes is not None:
            found["spatial_axes_found"] = self.spatial_axes
        if self.channels is not None:
            found["input_channels"] = self.channels
        dimensions = [] if self.spatial_axes is None else [f"{self.spatial_axes}d"]
        values = {name: Value(value, CHECKPOINT) for name, value in found.items()}
        values["tags"] = Value([tag, *dimensions], DEFAULT)
        if name := name_of(path):
            values["name"] = Value(name, path.name)
        return {**values, **cellmap.beside(path)}


def image_of(shape: Sequence[int | str | None]) -> Image:
    """What an input of this shape takes, (batch, channel, (z,) y, x); nothing is known of another one."""
    if len(shape) not in (4, 5):
        return Image()
    channels = shape[1]
    return Image(len(shape) - 2, channels if isinstance(channels, int) else None)


def image_of_weight(shape: Sequence[int], transposed: bool, groups: int = 1) -> Image:
    """What a convolution with this weight takes, (out, in, (z,) y, x), transposed (in, out, (z,) y, x)."""
    if len(shape) not in (4, 5):
        return Image()
    channels = shape[0] if transposed else shape[1] * groups
    return Image(len(shape) - 2, channels if 0 < channels < 10_000 else None)


def shape_in_words(shape: Sequence[int | str | None]) -> str:
    """`batch x 2 x ? x ?`."""
    return " x ".join(_axis_in_words(one) for one in shape) or "a single number"


def _axis_in_words(size: int | str | None) -> str:
    """The length or the name of an axis; a name that would be taken for something else is none."""
    if isinstance(size, str) and (not size.isprintable() or " " in size or size.isdecimal()):
        return "?"
    return "?" if size is None else str(size)


def listed(names: Sequence[str], most: int = 5) -> str:
    """`a, b and c`; of many the first ones."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def half_precision(dtype: str) -> Warning:
    """Of weights in bfloat16 or float16."""
    return Warning(
        "half-precision",
        f"Its weights are kept in {dtype}, half as precise as float32, and many tools on a CPU cannot compute with "
        "them: export it with 32-bit weights where you can.",
    )


def in_the_way(message: str) -> Warning:
    """A warning that stands in the way of a package."""
    return Warning("not-convertible", message)


def asks(values: Mapping[str, Any]) -> Sequence[Field]:
    """The further questions about a network; those that its file answers for sure take no other answer."""
    shape = str(values.get("input_shape") or "").split(" x ")
    known = {"spatial_axes": len(shape) - 2, "input_channels_asked": shape[1] if len(shape) > 1 else ""}
    sure = {name: one for name, one in known.items() if len(shape) in (4, 5) and str(one).isdecimal()}
    fixed = [field for field in network_fields.NETWORK_FIELDS if field.name in sure]
    return (*network_fields.asks(values), *(replace(one, check=_only(one.check, sure[one.name])) for one in fixed))


def _only(check: Check, known: Any) -> Check:
    def told(answer: Any) -> str | None:
        if (problem := check(answer)) is not None:
            return problem
        return None if str(answer) == str(known) else f"is another number than the file says, which is {known}"

    return told
