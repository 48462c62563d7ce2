"""Single runs of a network, each a function for `Apart.call`; what goes back to the asker is small."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from zoowizard.conversion.converted import Array
from zoowizard.conversion.probing.networks import Network

Shapes = tuple[tuple[int, ...], ...]
"""The shapes of all outputs, batch and channels included."""
Along = Sequence[tuple[int, int]]
"""Outputs by number, and which of their axes is looked at."""

_OVER_THE_IMAGE: Final = {"instance_norm", "group_norm", "layer_norm", "adaptive_avg_pool2d", "adaptive_avg_pool3d"}


class _Traced(TorchFunctionMode):
    """Lets what is not a number through `argmax`, which would make a number of it.

    `local` passes by layers that look at the whole image, so that what is left is what convolutions see.
    """

    def __init__(self, local: bool) -> None:
        super().__init__()
        self.local = local

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if self.local and name in _OVER_THE_IMAGE and args:
            return args[0]
        if name == "argmax" and (len(args) > 1 or "dim" in (kwargs or {})):
            return torch.amax(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


@contextmanager
def _plain_convolutions() -> Iterator[None]:
    """Convolutions as sums of products: fast ones (Winograd, Fourier) mix what lies beside each other on the way."""
    backends = torch.backends
    with (
        warnings.catch_warnings(action="ignore"),  # oneDNN says of what it cannot do here, which is not asked of it
        backends.cudnn.flags(enabled=False),
        backends.mkldnn.flags(enabled=False),
        backends.nnpack.flags(enabled=False),
    ):
        yield


def noise(shape: Sequence[int], seed: int = 0) -> Array:
    """Normal noise (float32), the same for the same shape."""
    return np.random.default_rng(seed).standard_normal(tuple(shape), dtype=np.float32)


def facts(network: Network) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...], tuple[int | None, ...] | None, bool]:
    """Shapes of the weights, names of the layers, the declared shape of the input, whether there is a module."""
    return tuple(network.weights), tuple(network.layers), network.declared, network.module is not None


def shapes(network: Network, shape: tuple[int, ...]) -> Shapes:
    """The shapes of the outputs for an input of `shape`. Raises ValueError where there are none, or empty ones."""
    given = tuple(tuple(output.shape) for output in network.run(noise(shape)))
    if not given or any(0 in sizes for sizes in given):
        raise ValueError("it gives nothing")
    return given


def outputs(network: Network, array: Array) -> list[Array]:
    """The outputs themselves."""
    return list(network.run(array))


def finite(
    network: Network, shape: tuple[int, ...], axis: int, start: int, stop: int, along: Along, local: bool
) -> list[Array]:
    """Where outputs do not depend on the input outside [start, stop) along `axis`: for each of `along`, bool.

    What depends on a pixel that is not a number is not a number itself, through every layer and however small the
    weight. `local` passes by the layers that look at the whole image; only with a module.
    """
    array = noise(shape)
    before, after = [slice(None)] * len(shape), [slice(None)] * len(shape)
    before[axis], after[axis] = slice(0, start), slice(stop, None)
    array[tuple(before)] = array[tuple(after)] = np.nan
    with _Traced(local), _plain_convolutions():
        given = network.run(array)
    found: list[Array] = []
    for output, one in along:
        lines = np.moveaxis(given[output], one, 0).reshape(given[output].shape[one], -1)
        found.append(np.asarray(~np.isnan(lines).any(axis=1)))
    return found


def tile_errors(
    network: Network,
    shape: tuple[int, ...],
    axis: int,
    start: int,
    stop: int,
    along: Along,
    starts: Sequence[int],
    seeds: int = 1,
) -> list[Array]:
    """How far the prediction of the tile [start, stop) along `axis` is from that of the whole, for each of `along`.

    float64 (2, size): the largest and the root mean square error of each line, in units of the standard deviation of
    the whole output, in which the tile begins at `starts`. The worst of `seeds` inputs; all runs count as one.
    """
    tile = [slice(None)] * len(shape)
    tile[axis] = slice(start, stop)
    errors: list[Array] = []
    for seed in range(seeds):
        array = noise(shape, seed)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # its rounding would be seen as a difference
            whole, part = network.run(array), network.run(np.ascontiguousarray(array[tuple(tile)]))
        found = []
        for (output, one), first in zip(along, starts, strict=True):
            there = np.moveaxis(whole[output].astype(np.float64), one, 0)
            here = np.moveaxis(part[output].astype(np.float64), one, 0)
            apart = np.abs(here - there[first : first + len(here)]).reshape(len(here), -1)
            lines = np.stack([apart.max(axis=1), np.sqrt((apart**2).mean(axis=1))])
            found.append(lines / (float(there.std()) or 1.0))
        errors = [np.maximum(a, b) for a, b in zip(errors, found, strict=True)] if errors else found
    return errors
