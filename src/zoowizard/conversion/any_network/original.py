"""A network as a person gave it, whatever it is made of, and as it stands in its package."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import nn

from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing.networks import Network
from zoowizard.conversion.probing.normalisation import normalised
from zoowizard.conversion.probing.padding import Margins

INPUT_ID: Final = "image"


@dataclass(frozen=True)
class Original:
    """The network as it was given.

    `load` makes it in another process (`probe`), `network` was made here. `name` is its file for people; `identity` a
    hash of all that it is made of. `framework` is what it runs in, with the version; `input_dtype` what it takes.
    `module` is there for networks of PyTorch.
    """

    load: Callable[[], Network]
    network: Network
    name: str
    identity: str
    framework: str
    input_dtype: str = "float32"
    module: nn.Module | None = None


@dataclass(frozen=True)
class Around:
    """What stands around the network in its package.

    `steps` are the normalisation, entries of `preprocessing`; `margins` those of `padded_back`, empty where nothing is
    padded; `activation` (none, sigmoid, softmax) comes after the first output.
    """

    steps: Sequence[Mapping[str, Any]]
    margins: Margins
    activation: str

    def outputs(self, network: Network, image: Array) -> list[Array]:
        """The outputs for an image (channel, (z,) y, x) as it was recorded; each with all axes."""
        given = list(network.run(normalised(image, self.steps)[None]))
        if self.margins:
            given = [padded(output, margins) for output, margins in zip(given, self.margins, strict=True)]
        return [activated(given[0], self.activation), *given[1:]]


def padded(output: Array, margins: Sequence[Sequence[int]]) -> Array:
    """An output with zeros as wide as `margins` around its last axes; cut where they are below 0."""
    widths = [(0, 0)] * (output.ndim - len(margins)) + [(int(before), int(behind)) for before, behind in margins]
    kept = tuple(
        slice(max(0, -before), size - max(0, -behind))
        for (before, behind), size in zip(widths, output.shape, strict=True)
    )
    return np.pad(output[kept], [(max(0, before), max(0, behind)) for before, behind in widths])


def activated(output: Array, activation: str) -> Array:
    """An output (batch, channel, …) after `sigmoid` or `softmax` over its channels; as it is for `none`."""
    if activation == "none":
        return output
    exact = output.astype(np.float64)
    if activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-np.clip(exact, -700, 700))), np.float32)
    raised = np.exp(exact - exact.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)
