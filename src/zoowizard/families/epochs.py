"""Which files are of the same training, by their names: `x_epoch_0100` and `x` are."""

import re
from typing import Final

_EPOCH: Final = re.compile(r"_epoch_(\d{1,6})$")


def name_and_epoch(name: str) -> tuple[str, int | None]:
    """`x_epoch_0100` is (x, 100); a name without an epoch has None."""
    told = _EPOCH.search(name)
    return (name[: told.start()], int(told[1])) if told else (name, None)


def order(name: str) -> tuple[bool, int]:
    """Files of one training in the order in which they were written; without an epoch stands the end."""
    epoch = name_and_epoch(name)[1]
    return (epoch is None, epoch or 0)
