"""A checkpoint of Cellpose 1, 2 or 3 with what was answered: its tensors, and the networks that are made of them."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoowizard.conversion import cellpose_tensors as tensors
from zoowizard.conversion.cellpose_channels import Channels
from zoowizard.conversion.cellpose_network import Cellpose
from zoowizard.conversion.converted import Array
from zoowizard.errors import ZoowizardError
from zoowizard.families.pickles import look


@dataclass(frozen=True)
class Model:
    """`state` are the tensors of `checkpoint`, float32, by Cellpose's names; `values` are the draft's."""

    checkpoint: Path
    values: Mapping[str, Any]
    channels: Channels
    state: Mapping[str, torch.Tensor]

    @property
    def diam_mean(self) -> float:
        """How wide the network expects cells to be, in pixels."""
        return float(self.values["diam_mean"])

    @property
    def diameter(self) -> float:
        """How wide the cells of the images are, in pixels."""
        return float(self.values["diameter"])

    @property
    def is_bare(self) -> bool:
        """Whether the package is to give the flows of the network alone."""
        return bool(self.values.get("package_kind") == "flows")

    @property
    def thresholds(self) -> dict[str, float]:
        """What makes labels of flows."""
        return tensors.thresholds(self.values)

    def settings(self, tiled: bool = True, diameter: float | None = None) -> dict[str, Any]:
        """The arguments of `Cellpose`, without those that are as usual."""
        usual = {"nout": 3, "style": True, "residual": True, "concatenation": False, "tiled": True}
        given = {
            "nbase": [int(one) for one in self.values["nbase"]],
            "nout": int(self.values.get("nout", 3)),
            "diam_mean": self.diam_mean,
            "diameter": diameter or self.diameter,
            "channels": len(self.channels.names),
            "tiled": tiled,
            **{name: bool(self.values.get(name, usual[name])) for name in ("style", "residual", "concatenation")},
        }
        return {name: value for name, value in given.items() if value != usual.get(name)}

    def network(self, tiled: bool = True, diameter: float | None = None) -> Cellpose:
        """The network with the checkpoint's tensors. Raises ZoowizardError where they do not fit."""
        network = Cellpose(**self.settings(tiled, diameter))
        try:
            network.load_state_dict(dict(self.state))
        except RuntimeError as problem:
            first = (str(problem).splitlines()[1:] or [str(problem)])[0].strip()
            raise ZoowizardError(
                f"{self.checkpoint.name}: its tensors do not make a Cellpose network of "
                f"{', '.join(map(str, self.values['nbase']))} channels: {first}; give the file as Cellpose saved it"
            ) from problem
        return network.eval()

    def arguments(self) -> dict[str, Any]:
        """What `eval` is asked for, by its own names."""
        asked = list(self.channels.asked) if self.channels.asked else None
        return {"diameter": self.diam_mean if self.is_bare else self.diameter, "channels": asked, **self.thresholds}


def read_state(checkpoint: Path, values: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint in float32, by the names that Cellpose gives them. Raises ZoowizardError."""
    look(checkpoint)
    try:
        loaded = torch.load(checkpoint, "cpu", weights_only=True, mmap=zipfile.is_zipfile(checkpoint))
    except Exception as problem:
        lines = str(problem).strip().splitlines() or ["no message"]
        raise ZoowizardError(f"{checkpoint.name}: PyTorch cannot load it: {lines[0]}") from problem
    if not isinstance(loaded, Mapping) or not all(isinstance(one, torch.Tensor) for one in loaded.values()):
        raise ZoowizardError(f"{checkpoint.name}: it is no plain list of tensors; give the file as Cellpose saved it")
    state = {str(name).removeprefix("module."): tensor.float() for name, tensor in loaded.items()}
    for name in ("diam_mean", "diam_labels"):  # which Cellpose 1 did not write
        state.setdefault(name, torch.tensor([float(values[name])]))
    return state


def predict(network: torch.nn.Module, tensor: Array) -> Array:
    """The flows (batch, 3, y, x) of an input tensor (batch, channel, y, x) of any type."""
    with torch.inference_mode():
        flows: Array = network(torch.from_numpy(tensors.normalised(tensor))).numpy()
    return flows
