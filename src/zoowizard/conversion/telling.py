"""Whether test outputs can tell the right network from a wrong one: some would agree with anything.

And what is told with a package that others must not be told.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from zoowizard.conversion.converted import Array
from zoowizard.errors import ZoowizardError

Outputs = Mapping[str, Array]
"""The output tensors of one prediction by id."""
_FOLDERS: Final = re.compile(r"(?<![\w.:/])/(?:[\w.+@-]+/)+")


def require_telling(outputs: Outputs) -> None:
    """Raise ZoowizardError where an output of the test image holds NaN, or all of them are the same value everywhere.

    The zoo's tests find no difference where an output is NaN (`nan > tolerance` is false), and none that matters where
    it is constant.
    """
    for name, output in outputs.items():
        if output.dtype.kind == "f" and np.isnan(output).any():
            raise ZoowizardError(
                f"for the test image the network gives values that are no numbers (NaN, in the output “{name}”), by "
                "which nothing can be tested: are its weights damaged, did its training diverge, or is the image not "
                "normalised as in the training?"
            )
    if outputs and all(_is_constant(one) for one in outputs.values()):
        name, output = next(iter(outputs.items()))
        value = f" ({float(output.flat[0]):g})" if output.size else ""
        raise ZoowizardError(
            f"for the test image the network gives the same value everywhere{value} (output “{name}”), by which "
            "nothing can be tested; give an image of what it was trained on, or check its weights and normalisation"
        )


def _is_constant(output: Array) -> bool:
    return output.size == 0 or bool((output == output.flat[0]).all())


def require_following(pictures: Sequence[Array], given: Sequence[Outputs]) -> None:
    """Raise ZoowizardError where a network gives the very same images for different ones of the same size.

    `given` are its outputs for the `pictures`. Outputs that are no images may well be the same.
    """
    for picture, one in zip(pictures[1:], given[1:], strict=True):
        images = [name for name, output in one.items() if output.ndim >= 4 and min(output.shape[-2:]) > 1]
        differs = picture.shape == pictures[0].shape and not np.array_equal(picture, pictures[0])
        if differs and images and all(np.array_equal(one[name], given[0][name]) for name in images):
            raise ZoowizardError(
                "whatever the image, the network gives the same, so that no test of it tells anything: it does not use "
                "its input, or its weights are not those of the training"
            )


def without_folders(sentence: str) -> str:
    """A sentence that goes into a package, of the paths in it the files' names only: folders tell of the computer."""
    return _FOLDERS.sub("…/", sentence)
