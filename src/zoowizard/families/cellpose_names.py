"""What Cellpose calls its models: those that it fetches from the network, and those that it trains.

Sources: `MODEL_NAMES` of `cellpose/models.py` in 3.1.1.2 and 4.2.1.1, and the names of the files that they are kept in.
"""

import re
from pathlib import Path
from typing import Final

BUILT_IN: Final = frozenset(
    {
        "cyto", "cyto2", "cyto3", "nuclei", "cytotorch_0", "cyto2torch_0", "nucleitorch_0", "cyto2_cp3",
        "tissuenet_cp3", "livecell_cp3", "yeast_PhC_cp3", "yeast_BF_cp3", "bact_phase_cp3", "bact_fluor_cp3",
        "deepbacs_cp3", "transformer_cp3", "neurips_cellpose_default", "neurips_cellpose_transformer",
        "neurips_grayscale_cyto2", "CP", "CPx", "TN1", "TN2", "TN3", "LC1", "LC2", "LC3", "LC4", "cpsam",
        "cpsam_v2", "cpdino", "cpdino-vitb",
    }
)  # fmt: skip


_TRAINED: Final = re.compile(r"cellpose_|CP_|cyto|nuclei|cpsam|cpdino|.*_epoch_\d+$")


def named_like(name: str) -> bool:
    """Whether a file is called as Cellpose calls its models."""
    return _TRAINED.match(name) is not None


def built_in(path: Path) -> str | None:
    """What to say of a file that is not there but is called like one of Cellpose's own models; None for other names."""
    if path.name not in BUILT_IN:
        return None
    return (
        f"{path.name} is the name of a model that Cellpose fetches from the network, which zoowizard never does: give "
        f"the file of your own model, or Cellpose's copy (~/.cellpose/models/{path.name}) where it is on this machine."
    )
