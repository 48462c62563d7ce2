"""The families that there are. A new one is a module here, one in `conversion/`, and its name in this list."""

from types import ModuleType
from typing import Final, cast

from zoowizard.errors import WrongUse
from zoowizard.families import cellpose, cellpose_sam, yolo
from zoowizard.families.family import Family

_MODULES: Final[tuple[ModuleType, ...]] = (yolo, cellpose, cellpose_sam)
FAMILIES: Final = tuple(cast(Family, module) for module in _MODULES)


def family(name: str) -> Family:
    """The family of that name. Raises WrongUse where there is none."""
    for one in FAMILIES:
        if name == one.NAME:
            return one
    known = ", ".join(one.NAME for one in FAMILIES)
    raise WrongUse(f"`{name}` is no family that zoowizard knows; it knows {known}.")
