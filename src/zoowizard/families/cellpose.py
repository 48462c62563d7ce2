"""Cellpose 1 to 3: recognise a CPnet, and ask what neither it nor the files beside it can tell."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from zoowizard.drafts.checks import check_among, parse_number
from zoowizard.drafts.draft import CHECKPOINT, DEFAULT, Value
from zoowizard.drafts.fields import Field, Need
from zoowizard.drafts.questions import parse_choice
from zoowizard.families import cellpose_told as told
from zoowizard.families.cellpose_fields import LICENCE, PACKAGE_KIND, TEST_IMAGE, THRESHOLDS, check_diameter
from zoowizard.families.cellpose_fields import draws as draws
from zoowizard.families.cellpose_keys import CPnet, State, cpnet, is_segformer, state_of
from zoowizard.families.cellpose_names import built_in as built_in
from zoowizard.families.cellpose_names import named_like as named_like
from zoowizard.families.cellpose_run import Beside, beside
from zoowizard.families.family import Recognition, Warning, asks_no_more
from zoowizard.families.pickles import look as look

NAME = "cellpose"
asks = asks_no_more
LABELS: Mapping[str, str] = {
    "nbase": "channels",
    "nout": "outputs",
    "style": "style vector",
    "residual": "residual",
    "concatenation": "concatenated",
    "diam_mean": "net diameter",
    "diam_labels": "mean diameter",
    "dtype": "number type",
}
USUAL: Final = 30.0
"""Cellpose's own diameter, in pixels."""
_CYTO: Final = ("gray", "red", "green", "blue")
_NUCLEI: Final = ("none", "red", "green", "blue")

FIELDS: Sequence[Field] = (
    LICENCE,
    TEST_IMAGE,
    Field(
        "cyto_channel",
        "Channel of the cells",
        "Which channel shows what is to be found, as the model was trained: gray (all channels together, or the only "
        "one), or red (the first), green (the second), blue (the third). Cellpose's own is gray (chan 0).",
        "gray",
        Need.OPTIONAL,
        "Network",
        "choice",
        check_among(_CYTO),
        "inputs: channel axis",
        parse=parse_choice(_CYTO),
        choices=_CYTO,
        default="gray",
    ),
    Field(
        "nuclei_channel",
        "Channel of the nuclei",
        "Which channel shows the nuclei, where the model was trained with two channels; none where it was not. "
        "Cellpose's own is none (chan2 0).",
        "none",
        Need.OPTIONAL,
        "Network",
        "choice",
        check_among(_NUCLEI),
        "inputs: channel axis",
        parse=parse_choice(_NUCLEI),
        choices=_NUCLEI,
        default="none",
    ),
    Field(
        "diameter",
        "Cell diameter",
        "How many pixels wide cells are in the images that the package is for: they are scaled to the width that the "
        "network was trained at. Left out, the mean of the training's cells where the model holds it; else 30.",
        "30",
        Need.OPTIONAL,
        "Network",
        "number",
        check_diameter,
        "weights: built into the network",
        parse=parse_number,
        default=USUAL,
    ),
    *THRESHOLDS,
    PACKAGE_KIND,
)


def recognise(path: Path) -> Recognition | None:
    """Look at one file; None where it holds neither a CPnet nor the transformer of Cellpose 3, and for a folder.

    Raises as `pickles.look` does.
    """
    if path.is_dir() or (state := state_of(path)) is None:
        return None
    network = cpnet(state)
    if network is None:
        return _transformer(path, state) if is_segformer(state) else None
    there = beside(path)
    kind = _kind(network)
    values = {
        "architecture": Value(kind, CHECKPOINT),
        "nbase": Value(list(network.nbase), CHECKPOINT),
        "nout": Value(network.nout, CHECKPOINT),
        "input_channels": Value(network.nbase[0], CHECKPOINT),
        "style": Value(False, path.name) if "_style_off_" in path.name else Value(True, DEFAULT),
        "residual": Value(network.residual, CHECKPOINT),
        "concatenation": Value(network.concatenation, CHECKPOINT),
        **_diameters(path, state),
        **told.channels(there),
        **told.common_values(path, state, there),
        "citations": told.cited(*_papers(path, there)),
        "tags": told.tags(there, "cellpose"),
    }
    if (licence := told.licence(there)) is not None:
        values["license"] = licence
    warnings = (*_in_the_way(path, network), *_suspicions(path, state, network), *told.suspicions(path, state, there))
    return Recognition(path, NAME, path, tuple(told.evidence(path, there, _holds(network))), values, warnings)


def _kind(network: CPnet) -> str:
    return "Cellpose CPnet" if network.nout == 3 else "Cellpose CPnet with other outputs"


def _holds(network: CPnet) -> str:
    sizes = ", ".join(str(one) for one in network.nbase)
    what = {1: "an image restored (denoising)", 3: "flows and cell probability"}.get(network.nout, "something else")
    return f"a CPnet of Cellpose 1 to 3 (channels {sizes}); its {network.nout} output(s) are {what}"


def _diameters(path: Path, state: State) -> dict[str, Value]:
    """Models of Cellpose 1 hold no diameters: it took 30 pixels, and 17 for its own model of nuclei."""
    usual = 17.0 if path.name.endswith("nucleitorch_0") else USUAL
    mean, labels = (told.diameter(path, state, name) for name in ("diam_mean", "diam_labels"))
    found = {
        "diam_mean": Value(mean, CHECKPOINT) if mean is not None else Value(usual, DEFAULT),
        "diam_labels": Value(labels, CHECKPOINT) if labels is not None else Value(mean or usual, DEFAULT),
    }
    return {**found, "diameter": found["diam_labels"]}


def _papers(path: Path, there: Beside) -> list[str]:
    """After Cellpose's README: 1 always, 2 for models that people trained, 3 for cyto3 and what started from it."""
    base = (there.training.base if there.training is not None else None) or ""
    third = any(name == "cyto3" or name.endswith("_cp3") for name in (path.name, base))
    return ["1", *([] if told.is_built_in(path) else ["2"]), *(["3"] if third else [])]


def _in_the_way(path: Path, network: CPnet) -> Iterator[Warning]:
    if network.nout == 1:
        message = (
            "It is a Cellpose 3 network that restores images (denoising, deblurring or upsampling); it outlines no "
            "cells. Only networks that segment can become a package yet: this one would need a package whose output "
            "is an image."
        )
        yield Warning("not-segmentation", message)
    elif network.nout != 3 or path.name.startswith("unet"):
        message = (
            f"It is a network of Cellpose's shape with {network.nout} outputs that are not flows (the plain U-Net of "
            "Cellpose 1 and 2, or one of your own); only networks that give two flows and a cell probability can "
            "become a package."
        )
        yield Warning("not-segmentation", message)
    if network.volumetric:
        message = "Its convolutions are three-dimensional (conv_3D); only 2-D networks can become a package."
        yield Warning("not-convertible", message)
    elif network.wrong:
        message = (
            f"Some of its weights are missing or of another shape than the network's: "
            f"{told.refused_evidence(network.wrong)}. Cellpose would pass over that without a word and use random "
            "ones; copy the file again, or train it anew."
        )
        yield Warning("not-convertible", message)


def _suspicions(path: Path, state: State, network: CPnet) -> Iterator[Warning]:
    if not network.residual or network.concatenation:
        yield Warning(
            "old-network",
            "It is a network of Cellpose 1 or 2 that is not residual or that concatenates: Cellpose 3 and 4 cannot "
            "run it any more, so that the package cannot be compared with them.",
        )
    if "_style_off_" in path.name:
        yield Warning(
            "style-off",
            "Its name says that it was trained without the style of the image (style_off). The package leaves the "
            "style out as well; Cellpose itself adds it all the same, so that the two differ.",
        )
    there = [name for name in ("diam_mean", "diam_labels") if name in state.tensors]
    unknown = [name for name in there if told.diameter(path, state, name) is None]
    if unknown:
        yield Warning(
            "no-diameter",
            f"What it holds as {' and '.join(unknown)} is no diameter, or cannot be read: tell the diameter of the "
            "cells yourself.",
        )


def _transformer(path: Path, state: State) -> Recognition:
    """Named, and said why it cannot be packaged."""
    message = (
        "It is the transformer of Cellpose 3 (Segformer with MAnet), which needs the package "
        "segmentation_models_pytorch; the zoo's environment lacks it, and Cellpose 4 cannot load it. Its network would "
        "have to be written anew for a package. A CPnet or Cellpose-SAM trained on the same images can be packaged."
    )
    values = {
        "architecture": Value("Cellpose 3 transformer (Segformer, MAnet)", CHECKPOINT),
        "parameters": Value(state.parameters, CHECKPOINT),
    }
    evidence = ("the checkpoint holds the transformer of Cellpose 3",)
    return Recognition(path, NAME, path, evidence, values, (Warning("not-convertible", message),))
