"""Putting `padded_back` around a network, as a module and in the source that goes into its package."""

import inspect
from collections.abc import Sequence
from typing import Final

from torch import nn

from zoowizard.conversion.probing import padded_back
from zoowizard.conversion.probing.findings import Findings
from zoowizard.conversion.probing.padded_back import PaddedBack

CALLABLE: Final = "padded_network"
PREFIX: Final = "network."
"""Before the names of the parameters, in the state of a network that is padded back."""
Margins = Sequence[Sequence[Sequence[int]]]
"""For each output, and each of its last axes, (before, behind) in px; empty where nothing is to be padded."""


def margins_of(findings: Findings) -> list[list[list[int]]]:
    """What `PaddedBack` takes, from the finding `margins`; empty where no output has to be padded."""
    finding = findings.found.get("margins")
    told = finding.value if finding is not None and isinstance(finding.value, list) else []
    margins = [[_pair(pair) for pair in one.values()] for one in told if isinstance(one, dict)]
    return margins if any(pair != [0, 0] for one in margins for pair in one) else []


def padded(network: nn.Module, margins: Margins) -> nn.Module:
    """The network with outputs of the size of its input, or as it is where `margins` are empty."""
    plain = [[list(pair) for pair in one] for one in margins]
    return PaddedBack(network, plain).train(network.training) if plain else network


def padded_source(source: str, name: str, margins: Margins) -> str:
    """The `source` of an architecture with a function `CALLABLE` that makes its class or function `name`, padded back.

    It takes the same keyword arguments; its parameters have `PREFIX` before their names.
    """
    plain = [[list(pair) for pair in one] for one in margins]
    wrapper = inspect.getsource(padded_back).split('"""', 2)[2].strip()
    made = f'def {CALLABLE}(**kwargs):\n    """As `{name}`, with outputs of the size of the input."""\n'
    return f"{source.rstrip()}\n\n\n{wrapper}\n\n\n{made}    return PaddedBack({name}(**kwargs), {plain})\n"


def _pair(pair: object) -> list[int]:
    return [int(px) for px in pair] if isinstance(pair, list) else [0, 0]
