"""Cellpose 4, Cellpose-SAM: recognise a checkpoint, and ask what neither it nor the files beside it can tell."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from zoowizard.drafts.checks import parse_number
from zoowizard.drafts.draft import CHECKPOINT, Value
from zoowizard.drafts.fields import Field, Need
from zoowizard.families import cellpose_told as told
from zoowizard.families.cellpose_fields import LICENCE, PACKAGE_KIND, TEST_IMAGE, THRESHOLDS, check_diameter
from zoowizard.families.cellpose_fields import draws as draws
from zoowizard.families.cellpose_keys import State, Transformer, cpsam, is_cpdino, state_of
from zoowizard.families.cellpose_names import built_in as built_in
from zoowizard.families.cellpose_names import named_like as named_like
from zoowizard.families.cellpose_run import beside
from zoowizard.families.family import Recognition, Warning, asks_no_more
from zoowizard.families.pickles import look as look

NAME = "cellpose_sam"
asks = asks_no_more
LABELS: Mapping[str, str] = {
    "patch_px": "patch side",
    "nout": "outputs",
    "diam_labels": "mean diameter",
    "dtype": "number type",
}
_ENCODERS: Final = {(768, 12): "ViT-B", (1024, 24): "ViT-L", (1280, 32): "ViT-H"}

FIELDS: Sequence[Field] = (
    LICENCE,
    TEST_IMAGE,
    Field(
        "diameter",
        "Cell diameter",
        "Only where cells are far from the 7.5 to 120 pixels that Cellpose-SAM takes as they are: images are then "
        "scaled by 30 over this number. Left out, nothing is scaled, as in Cellpose.",
        "200",
        Need.OPTIONAL,
        "Network",
        "number",
        check_diameter,
        "weights: built into the network",
        parse=parse_number,
    ),
    *THRESHOLDS,
    PACKAGE_KIND,
)


def recognise(path: Path) -> Recognition | None:
    """Look at one file; None where it holds neither Cellpose-SAM nor CPDINO, and for a folder.

    Raises as `pickles.look` does.
    """
    if path.is_dir() or (state := state_of(path)) is None:
        return None
    if is_cpdino(state):
        return _cpdino(path, state)
    network = cpsam(state)
    if network is None:
        return None
    there = beside(path)
    size = _ENCODERS.get((network.width, network.depth), f"ViT, {network.width} wide, {network.depth} deep")
    labels = told.diameter(path, state, "diam_labels")
    values = {
        "architecture": Value(f"Cellpose-SAM ({size})", CHECKPOINT),
        "patch_px": Value(network.patch_px, CHECKPOINT),
        "nout": Value(network.nout, CHECKPOINT),
        "input_channels": Value(3, CHECKPOINT),
        **({} if labels is None else {"diam_labels": Value(labels, CHECKPOINT)}),
        **told.common_values(path, state, there),
        "citations": told.cited("sam"),
        "tags": told.tags(there, "cellpose", "cellpose-sam"),
    }
    if (licence := told.licence(there)) is not None:
        values["license"] = licence
    evidence = told.evidence(path, there, f"Cellpose-SAM ({size}) in {state.dtype or 'an unknown type'}")
    warnings = (*_in_the_way(network), *_suspicions(network, state), *told.suspicions(path, state, there))
    return Recognition(path, NAME, path, tuple(evidence), values, warnings)


def _in_the_way(network: Transformer) -> Iterator[Warning]:
    if network.nout < 3:
        yield Warning("not-segmentation", f"It gives {network.nout} output(s) instead of two flows and a probability.")
    if network.tile_px != 256:
        message = f"It works on tiles of {network.tile_px} pixels; Cellpose-SAM, on tiles of 256, cannot run it."
        yield Warning("not-convertible", message)
    full = dict(_ENCODERS.keys()).get(network.width)
    if full is not None and network.depth < full:
        message = (
            f"It holds {network.depth} of the {full} blocks of its encoder, so the file is not whole. Cellpose would "
            "fill the rest with random weights without a word; copy it again, or train it anew."
        )
        yield Warning("not-convertible", message)


def _suspicions(network: Transformer, state: State) -> Iterator[Warning]:
    if _ENCODERS.get((network.width, network.depth)) != "ViT-L" and network.width != 1024:
        yield Warning(
            "unusual-network",
            f"Its encoder is {network.width} wide and {network.depth} deep; Cellpose's own is 1024 wide and 24 deep "
            "(ViT-L), and loads no other one.",
        )
    if network.nout > 3:
        yield Warning(
            "classes-left-out",
            f"Beside the flows it tells {network.nout - 3} classes of cells. The package gives the cells without their "
            "classes, as Cellpose itself does when it outlines them.",
        )
    if state.dtype in ("bfloat16", "float16"):
        yield Warning(
            "half-precision",
            f"Its weights are kept in {state.dtype}, half as precise as float32; the package computes in float32.",
        )


def _cpdino(path: Path, state: State) -> Recognition:
    """Named, and said why it cannot be packaged."""
    message = (
        "It is Cellpose 4's CPDINO, which needs Meta's dinov3: that is on no package index, its weights have a licence "
        "of their own, and the zoo's environment lacks it. Its network would have to be written anew for a package. "
        "Cellpose-SAM trained on the same images can be packaged."
    )
    values = {
        "architecture": Value("Cellpose CPDINO (DINOv3)", CHECKPOINT),
        "parameters": Value(state.parameters, CHECKPOINT),
    }
    evidence = ("the checkpoint holds Cellpose's CPDINO",)
    return Recognition(path, NAME, path, evidence, values, (Warning("not-convertible", message),))
