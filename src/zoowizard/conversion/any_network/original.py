"""A network as a person gave it, whatever it is made of, and as it stands in its package."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import nn

from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing.networks import Network, split
from zoowizard.conversion.probing.normalisation import normalised
from zoowizard.conversion.probing.padding import Margins

ONLY: Final = ("float32",)


@dataclass(frozen=True)
class Input:
    """An input as it stands in the package: its `name`, how many `channels` it has, in which `dtype` they are recorded,
    and its normalisation, as entries of `preprocessing` and in words."""

    name: str
    channels: int
    dtype: str
    steps: Sequence[Mapping[str, Any]]
    normalised_by: str


@dataclass(frozen=True)
class Original:
    """The network as it was given.

    `load` makes it in another process (`probe`), `network` was made here. `name` is its file for people; `identity` a
    hash of all that it is made of. `framework` is what it runs in, with the version; `input_dtypes` are what each of
    its inputs takes. `channels` are those of each input in a stack that holds them all (`networks.split`), empty for
    one. `output_names` are what its file calls the outputs, where it does. `module` is there for networks of PyTorch.
    """

    load: Callable[[], Network]
    network: Network
    name: str
    identity: str
    framework: str
    input_dtypes: Sequence[str] = ONLY
    channels: Sequence[int] = ()
    output_names: Sequence[str] = ()
    module: nn.Module | None = None


@dataclass(frozen=True)
class Around:
    """What stands around the network in its package.

    `inputs` are normalised each by itself; `margins` are those of `padded_back`, empty where nothing is padded;
    `activation` (none, sigmoid, softmax) comes after the first output.
    """

    inputs: Sequence[Input]
    margins: Margins
    activation: str

    def parts(self, image: Array) -> list[Array]:
        """The image of each input in a stack (channel, (z,) y, x) that holds the channels of all."""
        found = split(image, [one.channels for one in self.inputs], axis=0)
        return [np.ascontiguousarray(part, one.dtype) for part, one in zip(found, self.inputs, strict=True)]

    def normalised(self, image: Array) -> Array:
        """A stack as it was recorded, after the normalisation of each input, float32."""
        return np.concatenate(
            [normalised(part, one.steps) for part, one in zip(self.parts(image), self.inputs, strict=True)]
        )

    def outputs(self, network: Network, image: Array) -> list[Array]:
        """The outputs for a stack (channel, (z,) y, x) as it was recorded; each with all axes."""
        given = list(network.run(self.normalised(image)[None]))
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
