"""The steps of a build, in their order and in plain words: the worker does them, the screens list them beforehand."""

from collections.abc import Mapping
from typing import Final

BUILD_STEPS: Final[Mapping[str, str]] = {
    "convert": "convert the network",
    "describe": "describe it and draw the cover",
    "compare": "compare with the original",
    "package": "write the package",
    "test": "run the zoo's own tests",
    "save": "save package and report",
}
"""Name of a step in the events → what it does, in a few words."""

RECORDS: Final = ("conversion.json", "compared.json", "packaged.json", "tested.json")
"""What a build writes into its folder of the steps that are done, for one that goes on with it."""

KEPT: Final = "kept from the run before"
"""The note of a step that was not done again."""

STOPPED: Final = "it was stopped"
"""Why a step failed that was ended from outside."""
