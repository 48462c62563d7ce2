"""Which channels of a picture a Cellpose network is shown.

Source: `convert_image` and `reshape` in `cellpose.transforms` of cellpose 3.1.1.2.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from zoowizard.conversion.converted import Array
from zoowizard.errors import ZoowizardError

COLOURS: Final = ("red", "green", "blue")


@dataclass(frozen=True)
class Channels:
    """`names` are those of the input tensor; `picks` are the picture's channels in them, empty for the mean of all.

    `asked` is what `eval` is told, by its own numbers; None where it gets the picked channels and no others. `dtype` is
    that of the input tensor.
    """

    names: tuple[str, ...]
    picks: tuple[int, ...]
    asked: tuple[int, int] | None
    dtype: str

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> "Channels":
        """The other way round."""
        asked = facts["asked"]
        return cls(tuple(facts["names"]), tuple(facts["picks"]), asked and (asked[0], asked[1]), facts["dtype"])

    def to_input(self, picture: Array) -> Array:
        """A picture, (y, x) or (y, x, channel), as the tensor (1, channel, y, x)."""
        if picture.ndim == 2:
            planes = picture[None]
        elif self.picks:
            planes = picture[..., list(self.picks)].transpose(2, 0, 1)
        else:  # of equal channels it is exact
            planes = picture.astype(np.float32).mean(axis=-1)[None]
        return np.ascontiguousarray(planes[None], dtype=self.dtype)

    def sample(self, tensor: Array) -> Array:
        """The input tensor as a picture again, (y, x) or (y, x, channel)."""
        return tensor[0, 0] if len(self.names) == 1 else np.ascontiguousarray(tensor[0].transpose(1, 2, 0))

    def shown(self, picture: Array) -> Array:
        """The picture that `eval` is given."""
        return picture if self.asked else self.sample(self.to_input(picture))


def channels_of(values: Mapping[str, Any], image: Array) -> Channels:
    """The channels that were answered, for pictures like the test image.

    Raises ZoowizardError where the answers do not go with the image or with the network.
    """
    taken, dtype = int(values["nbase"][0]), str(image.dtype)
    cells, nuclei = str(values.get("cyto_channel") or "gray"), str(values.get("nuclei_channel") or "none")
    held = 1 if image.ndim == 2 else image.shape[2]
    if taken > 2:
        if held != taken:
            raise ZoowizardError(
                f"test_image: it has {_count(held)}, but the network was made for {taken}; give one with {taken}"
            )
        return Channels(tuple(f"channel{number}" for number in range(taken)), tuple(range(taken)), None, dtype)
    if nuclei != "none" and taken == 1:
        raise ZoowizardError(
            f"nuclei_channel: it is {nuclei}, but the network was made for one channel; set `nuclei_channel` to none"
        )
    if nuclei != "none" and cells == "gray":
        raise ZoowizardError(
            f"cyto_channel: it is gray, with which Cellpose ignores the nuclei; set it to the channel of the cells "
            f"({', '.join(COLOURS)}), or `nuclei_channel` to none"
        )
    if nuclei != "none" and held == 1:
        raise ZoowizardError(
            f"test_image: it is grayscale, but `nuclei_channel` is {nuclei}; give an image with both channels, or set "
            "`cyto_channel` to gray and `nuclei_channel` to none"
        )
    for name, colour in (("cyto_channel", cells), ("nuclei_channel", nuclei)):
        if colour in COLOURS[held:] and held > 1:
            number = COLOURS.index(colour) + 1
            raise ZoowizardError(
                f"{name}: it is {colour}, channel {number}, but the test image has {_count(held)}; set it to one of "
                f"{', '.join(COLOURS[:held])}"
            )
    if cells == "gray" or held == 1:
        is_mean = held > 1 and bool((image != image[..., :1]).any())
        asked = (0, 0) if taken == 2 else None
        return Channels(("cells",), (), asked, "float32" if is_mean else dtype)
    picks = tuple(COLOURS.index(colour) for colour in (cells, nuclei) if colour != "none")
    second = picks[1] + 1 if len(picks) == 2 else 0
    return Channels(("cells", "nuclei")[: len(picks)], picks, (picks[0] + 1, second) if taken == 2 else None, dtype)


def _count(channels: int) -> str:
    return "one channel" if channels == 1 else f"{channels} channels"
