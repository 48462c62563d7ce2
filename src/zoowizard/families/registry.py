"""The families that there are. A new one is a module here, one in `conversion/`, and its name in this list."""

from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any, Final, cast

from zoowizard.drafts.fields import Field
from zoowizard.errors import WrongUse
from zoowizard.families import cellpose, cellpose_sam, onnx, package, pytorch, torchscript, yolo
from zoowizard.families.family import Family

_MODULES: Final[tuple[ModuleType, ...]] = (yolo, cellpose, cellpose_sam, package, torchscript, onnx, pytorch)
FAMILIES: Final = tuple(cast(Family, module) for module in _MODULES)


def family(name: str) -> Family:
    """The family of that name. Raises WrongUse where there is none."""
    for one in FAMILIES:
        if name == one.NAME:
            return one
    known = ", ".join(one.NAME for one in FAMILIES)
    raise WrongUse(f"`{name}` is no family that zoowizard knows; it knows {known}.")


def questions(name: str, values: Mapping[str, Any] = MappingProxyType({})) -> tuple[Field, ...]:
    """A family's own questions, with those that bare `values` lead to. Raises WrongUse where there is none."""
    one = family(name)
    return tuple({field.name: field for field in (*one.FIELDS, *one.asks(values))}.values())
