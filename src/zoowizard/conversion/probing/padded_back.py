"""A network with valid convolutions whose output has the size of its input again: plain PyTorch, for a package.

Its outermost pixels, which the network does not predict, are filled; a halo as wide as the margin cuts them off.
"""

import torch


def tensors_of(given: object) -> list[torch.Tensor]:
    """The tensors of what a network returned, in its order; a dictionary and what is nested are laid flat."""
    if isinstance(given, torch.Tensor):
        return [given]
    if isinstance(given, dict):
        given = list(given.values())
    return [tensor for part in given for tensor in tensors_of(part)] if isinstance(given, (list, tuple)) else []


class PaddedBack(torch.nn.Module):
    """`network` with its outputs padded with `fill`, or cut where a margin is below 0.

    `margins` holds for each output, and each of its last axes, in the order of these, (before, behind) in pixels: for
    (y, x) of one output, [[[20, 20], [20, 20]]]. The outputs come back as a tensor, or several as a tuple.
    """

    def __init__(self, network: torch.nn.Module, margins: list[list[list[int]]], fill: float = 0.0) -> None:
        super().__init__()
        self.network, self.fill = network, fill
        self.widths = [[px for pair in reversed(output) for px in pair] for output in margins]  # last axis first

    def forward(self, image: torch.Tensor, *further: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The outputs for `image` (batch, channel, (z,) y, x) and the network's further inputs."""
        padded = [
            torch.nn.functional.pad(output, widths, value=self.fill) if any(widths) else output
            for output, widths in zip(tensors_of(self.network(image, *further)), self.widths, strict=True)
        ]
        return padded[0] if len(padded) == 1 else tuple(padded)
