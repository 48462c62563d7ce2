"""Whether a checkpoint's tensors are those of a network, and where not, with which arguments they would be.

That is found by making the network with other values, without memory for its tensors (on torch's meta device), until
names and shapes are those of the checkpoint.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any, Final

import torch
from torch import Tensor, nn

from zoowizard.conversion.pytorch_architecture import Architecture, defaults_of, made
from zoowizard.errors import ZoowizardError
from zoowizard.families.state_dicts import COUNTED

Shapes = Mapping[str, tuple[int, ...]]
MOST_TRIED: Final = 400
MOST_SECONDS: Final = 10.0
FARTHEST: Final = 4
LEAST_CHANNELS: Final = 8
"""A list of smaller numbers is taken for strides or sizes of kernels, not for channels."""
_LEVELS: Final = re.compile(r"depth|level|stage", re.IGNORECASE)
_MOST_IMPLIED: Final = 8
_NAMED: Final = 3
"""So many names are told of what does not fit."""


def fitted(architecture: Architecture, tensors: Mapping[str, Tensor], prefixes: Sequence[str]) -> tuple[nn.Module, str]:
    """The network with the tensors of the checkpoint in it, and which of `prefixes` was taken off their names.

    Raises ZoowizardError, with what would fit where that is found, where no prefix makes them the network's.
    """
    network = made(architecture)
    wanted = shapes_of(network.state_dict())
    for prefix in dict.fromkeys([*prefixes, *_implied(tensors, wanted)]):
        state = stripped(tensors, prefix)
        if fits(shapes_of(state), wanted):
            _load(network, state)
            return network, prefix
    states = [shapes_of(stripped(tensors, prefix)) for prefix in prefixes]
    nearest = max(states, key=lambda one: len(one.keys() & wanted.keys()))
    raise ZoowizardError(mismatch(architecture, nearest, wanted))


def _implied(tensors: Mapping[str, Tensor], wanted: Shapes) -> list[str]:
    """What stands before the names that the network knows, where the checkpoint holds it as a part of something."""
    longest = max(wanted, key=len, default="")
    ends = (name.removesuffix(longest) for name in tensors if longest and name.endswith(f".{longest}"))
    return list(ends)[:_MOST_IMPLIED]


def stripped(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors with `prefix` before their names, without it."""
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


def shapes_of(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Their shapes by name; of what is no tensor, none."""
    return {name: tuple(one.shape) for name, one in tensors.items() if isinstance(one, Tensor)}


def fits(given: Shapes, wanted: Shapes) -> bool:
    """Whether these are the same names and shapes."""
    ours, theirs = _of_weight(given), _of_weight(wanted)
    return ours == theirs


def _of_weight(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if not name.endswith(COUNTED) and name != "n_averaged"}


def _load(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    known = network.state_dict()
    full = {name: one for name, one in state.items() if name in known}
    full |= {name: one for name, one in known.items() if name not in full and name.endswith(COUNTED)}
    try:
        network.load_state_dict(full, strict=True)
    except RuntimeError as problem:
        lines = str(problem).strip().splitlines()
        raise ZoowizardError(f"the checkpoint does not go into the network: {lines[-1].strip()}") from problem
    held = [*network.named_parameters(), *network.named_buffers()]
    for name, one in held:
        if name in state and not name.endswith(COUNTED) and not _are_same(one, state[name]):
            raise ZoowizardError(
                f"network: after loading, {name} is not what the checkpoint holds: the network's own code changes what "
                "it loads (load_state_dict, or a hook); take that out of it, or save the weights as they are used"
            )


def _are_same(held: Tensor, given: Tensor) -> bool:
    """Whether a network holds what a checkpoint gave it; NaN are the same here."""
    ours, theirs = held.detach().cpu(), given.detach().cpu().to(held.dtype)
    if ours.shape != theirs.shape:
        return False
    return bool(((ours == theirs) | ((ours != ours) & (theirs != theirs))).all())


def mismatch(architecture: Architecture, given: Shapes, wanted: Shapes) -> str:
    """What does not fit, in words, with the arguments that would make it fit where some are found."""
    ours, theirs = _of_weight(given), _of_weight(wanted)
    if other := would_fit(architecture, given):
        return _try(architecture, other, ours, theirs)
    shared = ours.keys() & theirs.keys()
    if not shared:
        return (
            f"network: the checkpoint is of another architecture than {architecture.callable}: of its {len(ours)} "
            f"tensors (first: {_first(ours)}) none has a name that the network knows (first: {_first(theirs)}); give "
            "the architecture of the training"
        )
    told = []
    if missing := theirs.keys() - shared:
        told.append(f"{len(missing)} of the network are not in the checkpoint (first: {_first(theirs, missing)})")
    if unexpected := ours.keys() - shared:
        told.append(f"{len(unexpected)} of the checkpoint are not in the network (first: {_first(ours, unexpected)})")
    if other_shape := [name for name in theirs if name in shared and ours[name] != theirs[name]]:
        name = other_shape[0]
        told.append(
            f"{len(other_shape)} have another shape ({name}: {_shape(ours[name])} in the checkpoint, "
            f"{_shape(theirs[name])} in the network)"
        )
    return (
        f"the checkpoint does not fit to {architecture}{_blocks(ours, theirs)}: of {len(theirs)} tensors, "
        f"{', '.join(told)}; correct the arguments, or give the architecture of the training"
    )


def would_fit(architecture: Architecture, given: Shapes) -> dict[str, Any]:
    """Arguments with which the network has such tensors, where one or two of them are changed; or none.

    They are changed to values near those that they have, to what the shapes of the tensors suggest, to the other one of
    yes and no, and to their defaults.
    """
    ours, until = _of_weight(given), time.monotonic() + MOST_SECONDS
    device = "meta" if _shapes_on("meta", architecture) is not None else "cpu"
    for number, changed in enumerate(_changes(architecture, given)):
        if number >= MOST_TRIED or time.monotonic() > until:
            break
        shapes = _shapes_on(device, replace(architecture, arguments={**architecture.arguments, **changed}))
        if shapes is not None and fits(ours, shapes):
            return changed
    return {}


def _shapes_on(device: str, architecture: Architecture) -> Shapes | None:
    """The shapes of its tensors, on torch's meta device without memory for them; None where it cannot be made there."""
    try:
        with torch.device(device):
            return shapes_of(made(architecture).state_dict())
    except ZoowizardError:
        return None


def _changes(architecture: Architecture, given: Shapes) -> Iterator[dict[str, Any]]:
    defaults = defaults_of(architecture)
    known = {**defaults, **architecture.arguments}
    others = {name: _others(one, given) for name, one in known.items()}
    for name, one in architecture.arguments.items():
        if name in defaults and defaults[name] != one and defaults[name] not in others[name]:
            others[name].append(defaults[name])
    for name, values in others.items():
        yield from ({name: one} for one in values)
    for first, second in combinations(others, 2):
        for one, other in product(others[first], others[second]):
            yield {first: one, second: other}


def _others(value: Any, given: Shapes) -> list[Any]:
    """What may be meant instead of a whole number, of a list of them, or of yes or no."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, list | tuple) and value and all(type(one) is int for one in value):
        return _other_lists([*value], given)
    if not isinstance(value, int):
        return []
    weights = [shape for shape in given.values() if len(shape) > 2]
    told = [weights[0][0], weights[0][1], weights[-1][0]] if weights else []
    near = [value + step for far in range(1, FARTHEST + 1) for step in (far, -far)]
    return [one for one in dict.fromkeys([*near, *told, 2 * value, value // 2]) if one > 0 and one != value]


def _other_lists(value: list[int], given: Shapes) -> list[list[int]]:
    """The channels of the checkpoint as they grow from level to level, and the list for more or fewer levels."""
    channels: list[int] = []
    for shape in given.values():
        if max(value) >= LEAST_CHANNELS and len(shape) > 2 and shape[0] > max(channels, default=0):
            channels.append(shape[0])
    factor = 2 if sorted(set(value)) == value and len(value) > 1 else 1
    longer = [*value, value[-1] * factor, value[-1] * factor**2]
    found = [channels[:number] for number in range(len(channels), 0, -1)]
    found += [value[:-1], longer[:-1], value[:-2], longer]
    return [one for number, one in enumerate(found) if one and one != value and one not in found[:number]]


def _try(architecture: Architecture, other: Mapping[str, Any], ours: Shapes, theirs: Shapes) -> str:
    had = {**defaults_of(architecture), **architecture.arguments}
    advice = " and ".join(f"{name}={value!r}" for name, value in other.items())
    if len(other) == 1:
        name, value = next(iter(other.items()))
        if _LEVELS.search(name) and isinstance(value, int):
            built = f"the network was built with {had[name]}"
            return f"argument_{name}: the checkpoint has {value} levels, {built}: try {advice}"
    was = " and ".join(f"{name}={had[name]!r}" for name in other)
    fields = ", ".join(f"argument_{name}" for name in other)
    return f"{fields}: the checkpoint fits a network with {advice}, and it was built with {was}: try {advice}"


def _blocks(ours: Shapes, theirs: Shapes) -> str:
    """Which numbered blocks are more or fewer in the checkpoint."""
    here, there = _counted_blocks(ours), _counted_blocks(theirs)
    told = [
        f"{here[name]} blocks {name} where the network has {there[name]}"
        for name in there
        if name in here and here[name] != there[name]
    ]
    return f", as it has {' and '.join(told[:_NAMED])}" if told else ""


def _counted_blocks(shapes: Shapes) -> Counter[str]:
    """By the name before the first number in those of tensors, how many numbers there are."""
    found_blocks = {match.groups() for name in shapes if (match := re.match(r"([\w.]*?[A-Za-z_]\w*)\.(\d+)\.", name))}
    return Counter(str(block) for block, _ in found_blocks)


def _first(shapes: Shapes, among: Any = None) -> str:
    return ", ".join([name for name in shapes if among is None or name in among][:_NAMED])


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"
