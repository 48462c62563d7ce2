"""What probing costs: a U-Net of depth 4 and usual width (31 million parameters) on the CPU, target 10 s on 2 cores.

    python benchmarks/probing.py [WIDTH] [AXES]

In a process of its own, from its first import to the last finding; and how many runs of the network it took.
"""

import os
import sys
from functools import partial
from itertools import pairwise

import torch
from measure import cost_of
from torch import Tensor, nn

from zoowizard.conversion.probing.networks import Network, of_module
from zoowizard.conversion.probing.probe import probe

TARGET_S = 10.0
DEPTH = 4


class UNet(nn.Module):
    """Two 3 x 3 convolutions with batch norm a level, max pooling, transposed convolutions."""

    def __init__(self, width: int, axes: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if axes == 2 else nn.Conv3d
        transposed = nn.ConvTranspose2d if axes == 2 else nn.ConvTranspose3d
        norm = nn.BatchNorm2d if axes == 2 else nn.BatchNorm3d
        widths = [width << level for level in range(DEPTH + 1)]

        def block(before: int, after: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for one in (before, after):
                layers += [convolution(one, after, 3, padding=1), norm(after), nn.ReLU()]
            return nn.Sequential(*layers)

        self.down = nn.ModuleList(block(a, b) for a, b in pairwise([1, *widths]))
        self.pool = nn.MaxPool2d(2) if axes == 2 else nn.MaxPool3d(2)
        self.up = nn.ModuleList(transposed(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.merge = nn.ModuleList(block(b, a) for a, b in pairwise(widths))
        self.head = convolution(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 2, (z,) y, x) of an image (batch, 1, (z,) y, x)."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            skips.append(x)
        for level in reversed(range(DEPTH)):
            x = self.merge[level](torch.cat([skips[level], self.up[level](x)], 1))
        logits: Tensor = self.head(x)
        return logits


def load(width: int, axes: int) -> Network:
    """The network, with the weights it was born with."""
    torch.manual_seed(0)
    return of_module(UNet(width, axes))


def main(arguments: list[str]) -> int:
    """Print what it costs; gives 1 where the target is missed."""
    if arguments[:1] == ["here"]:
        findings = probe(partial(load, int(arguments[1]), int(arguments[2])))
        print(f"{findings.runs} runs, {findings.seconds:.2f} s of probing")
        for name, finding in findings.found.items():
            print(f"  {name}: {finding.value}: {finding.evidence}")
        for name, why in findings.missing.items():
            print(f"  {name}: not known: {why}")
        return 0
    width, axes = (*arguments, *("64", "2")[len(arguments) :])
    cost = cost_of([sys.executable, "-P", __file__, "here", width, axes], {**os.environ, "PYTHONPATH": "benchmarks"})
    print(f"depth {DEPTH}, width {width}, {axes} axes: {cost.wall_s:.2f} s, peak {cost.peak_mb:.0f} MB", end="")
    met = cost.wall_s <= TARGET_S
    print(f"  (target {TARGET_S:g} s: {'met' if met else 'MISSED'})")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
