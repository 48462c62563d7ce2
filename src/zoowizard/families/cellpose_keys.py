"""Which network a state dict is of, by the names and shapes of its tensors.

Sources: `cellpose/resnet_torch.py` (CPnet; 2.3 for networks that are not residual or that concatenate, 3.1 for the
rest), `cellpose/segformer.py` (3.1), `cellpose/vit.py` (4.2) and `cellpose/vit_sam.py` (4.0).
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from zoowizard.families.pickles import Looked, look
from zoowizard.families.stand_ins import Tensor

DTYPES: Final[Mapping[str, str]] = {
    "FloatStorage": "float32",
    "BFloat16Storage": "bfloat16",
    "HalfStorage": "float16",
    "DoubleStorage": "float64",
}
DIAMETERS: Final = ("diam_mean", "diam_labels")
_FIRST: Final = re.compile(r"downsample\.down\.(res|conv)_down_(\d{1,2})\.conv\.conv_0\.2\.weight")
_BLOCK: Final = re.compile(r"encoder\.blocks\.(\d{1,3})\.")
_BUFFERS: Final = ("running_mean", "running_var", "num_batches_tracked")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class State:
    """The state dict of a checkpoint: its tensors by name, without the `module.` that training on many GPUs adds."""

    looked: Looked
    tensors: Mapping[str, Tensor]
    parallel: bool

    def shape(self, name: str) -> Shape:
        """The shape of a tensor; () where there is none."""
        return self.tensors[name].shape if name in self.tensors else ()

    @property
    def dtype(self) -> str:
        """The type of most of its weights, in numpy's words; empty where it is another one."""
        counted = Counter(one.dtype for one in self.tensors.values() if one.dtype in DTYPES)
        return DTYPES[counted.most_common(1)[0][0]] if counted else ""

    @property
    def parameters(self) -> int:
        """How many numbers training could change."""
        return sum(one.numel for name, one in self.tensors.items() if not name.endswith(_BUFFERS))


@dataclass(frozen=True)
class CPnet:
    """Cellpose's own network. `nbase` are its channels from the image on; `wrong` what does not fit its shapes."""

    nbase: tuple[int, ...]
    nout: int
    residual: bool
    concatenation: bool
    volumetric: bool
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transformer:
    """Cellpose-SAM's network: channels and number of blocks of its encoder, pixels a patch, outputs."""

    width: int
    depth: int
    patch_px: int
    tile_px: int
    nout: int


def state_of(path: Path) -> State | None:
    """The state dict at `path`; None where the file holds none. Raises as `look` does."""
    looked = look(path)
    root = looked.root
    if not isinstance(root, dict) or not root:
        return None
    tensors = {name: one for name, one in root.items() if isinstance(name, str) and isinstance(one, Tensor)}
    parallel = bool(tensors) and all(name.startswith("module.") for name in tensors)
    return State(
        looked, {name.removeprefix("module.") if parallel else name: one for name, one in tensors.items()}, parallel
    )


def cpnet(state: State) -> CPnet | None:
    """The CPnet that a state dict is of; None where it is of another network."""
    found = {int(told[2]): (told[1], name) for name in state.tensors if (told := _FIRST.fullmatch(name))}
    output = state.shape("output.2.weight")
    kinds = {kind for kind, _ in found.values()}
    if not found or not output or len(kinds) != 1 or sorted(found) != list(range(len(found))):
        return None
    shapes = [state.shape(found[number][1]) for number in range(len(found))]
    if any(len(shape) not in (4, 5) for shape in shapes):
        return None
    nbase = (shapes[0][1], *(shape[0] for shape in shapes))
    residual = kinds == {"res"}
    up = "res" if residual else "conv"
    first_style = state.shape(f"upsample.up.{up}_up_0.conv.conv_1.full.weight")
    concatenation = bool(first_style) and first_style[0] == 2 * nbase[1]
    network = CPnet(nbase, output[0], residual, concatenation, len(shapes[0]) == 5)
    return replace(network, wrong=tuple(_wrong(state, network, shapes[0][2:])))


def _wrong(state: State, network: CPnet, kernel: Shape) -> list[str]:
    """The names that are missing, too many, or of another shape than the network's; Cellpose would pass over them."""
    wanted = dict(_expected(network, kernel))
    there = {name: one.shape for name, one in state.tensors.items() if name not in DIAMETERS}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def _expected(network: CPnet, kernel: Shape) -> Iterator[tuple[str, Shape]]:
    """Every tensor of a CPnet with its shape, but the diameters."""
    one = (1,) * len(kernel)
    kind, steps = ("res", 4) if network.residual else ("conv", 2)
    down = network.nbase
    for number in range(len(down) - 1):
        place = f"downsample.down.{kind}_down_{number}"
        for step in range(steps):
            before = down[number] if step == 0 else down[number + 1]
            yield from _convolution(f"{place}.conv.conv_{step}", before, down[number + 1], kernel, 2)
        if network.residual:
            yield from _convolution(f"{place}.proj", down[number], down[number + 1], one, 1)
    up = (*down[1:], down[-1])
    for number in range(len(up) - 1):
        place, after = f"upsample.up.{kind}_up_{number}", up[number]
        yield from _convolution(f"{place}.conv.conv_0", up[number + 1], after, kernel, 2)
        for step in range(1, steps):
            before = 2 * after if network.concatenation and step == 1 else after
            yield from _convolution(f"{place}.conv.conv_{step}.conv", before, after, kernel, 2)
            yield f"{place}.conv.conv_{step}.full.weight", (before, down[-1])
            yield f"{place}.conv.conv_{step}.full.bias", (before,)
        if network.residual:
            yield from _convolution(f"{place}.proj", up[number + 1], after, one, 1)
    yield from _convolution("output", up[0], network.nout, one, 2)


def _convolution(place: str, before: int, after: int, kernel: Shape, at: int) -> Iterator[tuple[str, Shape]]:
    """A batch normalisation and, as number `at`, a convolution."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        yield f"{place}.0.{name}", (before,)
    yield f"{place}.0.num_batches_tracked", ()
    yield f"{place}.{at}.weight", (after, before, *kernel)
    yield f"{place}.{at}.bias", (after,)


def cpsam(state: State) -> Transformer | None:
    """The Cellpose-SAM network that a state dict is of; None where it is of another one."""
    readout, positions = state.shape("W2"), state.shape("encoder.pos_embed")
    if len(readout) != 4 or len(positions) != 4 or "encoder.patch_embed.proj.weight" not in state.tensors:
        return None
    depth = len({told[1] for name in state.tensors if (told := _BLOCK.match(name))})
    patch = readout[2]
    return Transformer(positions[3], depth, patch, positions[1] * patch, readout[1])


def is_cpdino(state: State) -> bool:
    """Whether it is of Cellpose 4's other transformer, on DINOv3."""
    return "encoder.cls_token" in state.tensors and len(state.shape("W2")) == 4


def is_segformer(state: State) -> bool:
    """Whether it is of the transformer of Cellpose 3."""
    return "diam_mean" in state.tensors and any(name.startswith("net.encoder.") for name in state.tensors)
