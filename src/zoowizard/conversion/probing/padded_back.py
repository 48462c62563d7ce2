"""A network with valid convolutions whose output has the size of its input again: plain PyTorch, for a package.

Its outermost pixels, which the network does not predict, are filled; a halo as wide as the margin cuts them off.
"""

import torch


class PaddedBack(torch.nn.Module):
    """`network` with its outputs padded with `fill`, or cut where a margin is below 0.

    `margins` holds for each output, and each of its last axes, in the order of these, (before, behind) in pixels: for
    (y, x) of one output, [[[20, 20], [20, 20]]]. The outputs come back as the network gives them: a tensor, or a tuple.
    """

    def __init__(self, network: torch.nn.Module, margins: list[list[list[int]]], fill: float = 0.0) -> None:
        super().__init__()
        self.network, self.fill = network, fill
        self.widths = [[px for pair in reversed(output) for px in pair] for output in margins]  # last axis first

    def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The outputs for `image` (batch, channel, (z,) y, x)."""
        given = self.network(image)
        if isinstance(given, torch.Tensor):
            return torch.nn.functional.pad(given, self.widths[0], value=self.fill)
        outputs = given.values() if isinstance(given, dict) else given
        return tuple(
            torch.nn.functional.pad(output, widths, value=self.fill)
            for output, widths in zip(outputs, self.widths, strict=True)
        )
