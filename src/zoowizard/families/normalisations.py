"""The normalisations that a person can choose, by short names: what each does to an image before a network sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["none", "divide", "percentiles", "zero-mean", "fixed"]


@dataclass(frozen=True)
class Normalisation:
    """One way to normalise.

    `numbers` of the kind `divide` are one divisor; of `percentiles` two, which become 0 and 1; of `fixed` the mean and
    the spread of an image of 0 to 255, each once for all channels or once a channel: all means, then all spreads.
    `told` says it in words.
    """

    kind: Kind
    numbers: tuple[float, ...]
    told: str


NORMALISATIONS: Final[Mapping[str, Normalisation]] = {
    "none": Normalisation("none", (), "the values as they were recorded"),
    "divide-by-255": Normalisation("divide", (255.0,), "0 to 255 become 0 to 1"),
    "divide-by-65535": Normalisation("divide", (65535.0,), "0 to 65535 become 0 to 1"),
    "percentile-1-99.8": Normalisation("percentiles", (1.0, 99.8), "these percentiles become 0 and 1"),
    "percentile-1-99": Normalisation("percentiles", (1.0, 99.0), "these percentiles become 0 and 1"),
    "percentile-2-98": Normalisation("percentiles", (2.0, 98.0), "these percentiles become 0 and 1"),
    "percentile-0.1-99.9": Normalisation("percentiles", (0.1, 99.9), "these percentiles become 0 and 1"),
    "min-max": Normalisation("percentiles", (0.0, 100.0), "the least value becomes 0, the largest 1"),
    "zero-mean": Normalisation("zero-mean", (), "the image's mean becomes 0, its spread 1"),
    "imagenet": Normalisation(
        "fixed", (123.675, 116.28, 103.53, 58.395, 57.12, 57.375), "mean and spread of ImageNet, for RGB of 0 to 255"
    ),
    "minus-1-to-1": Normalisation("fixed", (127.5, 127.5), "0 to 255 become -1 to 1"),
}
"""By what a person writes, in the order in which they are offered."""
FIND: Final = "find"
"""Try them all, and take the one that agrees best with the expected output."""
