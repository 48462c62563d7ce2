"""Where a package will run: what each tool that opens packages of the zoo takes, and what that says of one package.

This was read in the documentation and the source of the tools, in the versions that `Tool.read` names; nothing was
tried. The rules look at the description, and at the operators of the weights files (`operators`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from zoowizard.packaging.tool_rules import (
    FORMAT_NAMES,
    MAKES_FLOAT,
    Obstacle,
    Package,
    Rule,
    WeightsRule,
    architecture_among,
    axes_as,
    channel_in,
    channels,
    description_to,
    entries,
    float32_only,
    flows_in_2d,
    if_installed,
    image_of,
    in_words,
    operators_of_engine,
    opset_to,
    processing,
    shared_environment,
    single_input,
    single_output,
    sizes_from_image,
    space_axes,
    steps_among,
    torch_to,
)

Runs = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Tool:
    """A tool: in which version its rules were `read`, and where; the weight formats it loads, the one it prefers first.

    `rules` are for the whole package.
    """

    name: str
    read: str
    source: str
    formats: Mapping[str, Sequence[WeightsRule]]
    rules: Sequence[Rule] = ()


@dataclass(frozen=True)
class ToolReport:
    """What is known of one tool and one package: whether it runs there, with which weights, why not, what would help.

    `why` and `remedy` are sentences without a full stop, empty where it runs; `weights` where it does not.
    """

    tool: str
    runs: Runs
    weights: str
    why: str
    remedy: str
    read: str
    source: str


def where_it_runs(package: Package) -> tuple[ToolReport, ...]:
    """What the rules of every tool say of a package."""
    return tuple(_report(tool, package) for tool in TOOLS)


def with_measured(reports: Sequence[ToolReport], passed: bool, why: str) -> tuple[ToolReport, ...]:
    """The same, where the versions of the zoo's runner were tried: what was measured stands before what was read."""
    measured: Runs = "yes" if passed else "no"
    return tuple(
        replace(one, runs=measured, why="" if passed else why, remedy="", read=f"{one.read}; tried here")
        if one.tool == RUNNER
        else one
        for one in reports
    )


def _report(tool: Tool, package: Package) -> ToolReport:
    general = [found for rule in tool.rules if (found := rule(package))]
    by_format = {
        name: [found for rule in rules if (found := rule(package, name))]
        for name, rules in tool.formats.items()
        if name in package.weights
    }
    if by_format:
        name = min(by_format, key=lambda one: [sum(x.certain for x in by_format[one]), len(by_format[one])])
        obstacles = [*general, *by_format[name]]
    else:
        name = ""
        wanted = in_words([FORMAT_NAMES.get(one, one) for one in tool.formats], "or")
        there = in_words([FORMAT_NAMES.get(one, one) for one in package.weights], "and") or "none"
        obstacles = [*general, Obstacle(f"it loads {wanted}, and the weights here are {there}", f"add {wanted}")]
    certain = any(one.certain for one in obstacles)
    return ToolReport(
        tool=tool.name,
        runs="no" if certain else "unknown" if obstacles else "yes",
        weights="" if certain else name,
        why="; ".join(dict.fromkeys(one.why for one in obstacles)),
        remedy="; ".join(dict.fromkeys(one.remedy for one in obstacles)),
        read=tool.read,
        source=tool.source,
    )


BIAPY_TAGS: Final = frozenset(
    {
        *("semantic-segmentation", "segmentation", "instance-segmentation", "detection", "denoising"),
        *("super-resolution", "superresolution", "self-supervision", "classification"),
        *("pix2pix", "image-reconstruction", "image-to-image", "image-restoration"),
    }
)
BIAPY_CLASSES: Final = ("n_classes", "out_channels", "output_channels", "classes")


def workflow_of_biapy(package: Package) -> Obstacle | None:
    """A tag names the workflow."""
    if BIAPY_TAGS & {str(one) for one in package.described.get("tags") or ()}:
        return None
    return Obstacle("it looks for its workflow among the tags", "add a tag such as semantic-segmentation")


def arguments_for_biapy(package: Package, weight_format: str) -> Obstacle | None:
    """The arguments of the network are there, and name the number of classes where it segments."""
    architecture = package.weights[weight_format].get("architecture")
    arguments = architecture.get("kwargs") if isinstance(architecture, Mapping) else None
    if not isinstance(arguments, Mapping):
        return Obstacle("it needs the arguments of the architecture", "write them as `kwargs`, even if there are none")
    tags = set(package.described.get("tags") or ())
    semantic = "semantic-segmentation" in tags or ("segmentation" in tags and "instance-segmentation" not in tags)
    if not semantic or any(name in arguments for name in BIAPY_CLASSES):
        return None
    return Obstacle(
        "it looks for the number of classes among the arguments of the architecture",
        f"call that argument {in_words(BIAPY_CLASSES[:2], 'or')}",
    )


def one_step_for_biapy(package: Package) -> Obstacle | None:
    """One normalisation at most, beside a change to float."""
    steps = [
        one
        for one in processing(package.inputs, "preprocessing")
        if not (one.get("id") == "ensure_dtype" and "float" in str((one.get("kwargs") or {}).get("dtype")))
    ]
    known = {"zero_mean_unit_variance", "fixed_zero_mean_unit_variance", "scale_range", "scale_linear"}
    if len(steps) <= 1 and all(one.get("id") in known for one in steps):
        return None
    names = in_words([str(one.get("id")) for one in steps], "and")
    return Obstacle(f"it takes one step of normalisation, and here are {names}", "do the rest inside the network")


def own_postprocessing(package: Package) -> Obstacle | None:
    """BiaPy's check does not look at the postprocessing of the outputs: its workflows bring their own."""
    if not processing(package.outputs, "postprocessing"):
        return None
    return Obstacle(
        "its check says nothing of postprocessing, for which its workflows have their own",
        "package the network's own outputs, without postprocessing",
        False,
    )


def known_to_cellmap_flow(package: Package) -> Obstacle:
    """`BioModelConfig` calls `get_and_dims`, which nothing defines (0.2.1 to 0.2.3, and its main branch since)."""
    return Obstacle(
        "its version 0.2.3 stops while it reads any model of the zoo (`get_and_dims` is missing)",
        "wait for a version in which that is mended, or load the network by a script there",
    )


def one_channel(package: Package) -> Obstacle | None:
    """One channel in the input."""
    if all(channels(one) in (None, 1) for one in package.inputs):
        return None
    return Obstacle("it gives one channel, and the input has several", "package a model for one channel")


def ends_between_0_and_1(package: Package) -> Obstacle | None:
    """It shows outputs cut to 0 to 1."""
    for one in package.outputs:
        last = [step.get("id") for step in entries(one.get("postprocessing"))][-1:]
        data = one.get("data")
        spans = data.get("range") if isinstance(data, Mapping) else None
        if last not in (["sigmoid"], ["softmax"], ["binarize"]) and spans not in ([0, 1], [0.0, 1.0]):
            return Obstacle("it cuts outputs to 0 to 1", "end with a sigmoid, or state the range 0 to 1", certain=False)
    return None


RUNNER: Final = "the zoo's runner"
_TILES: Final = "it predicts tile by tile, so that every tile numbers its objects anew"
_ALL_STEPS: Final = MAKES_FLOAT | {"binarize", "clip", "ensure_dtype", "custom"}

TOOLS: Final = (
    Tool(
        RUNNER,
        "bioimageio.core 0.10.4, spec 0.5.10.2, torch 2.5.1, onnxruntime 1.20.1 (opset 21), without TensorFlow",
        "https://github.com/bioimage-io/bioengine",
        {
            "pytorch_state_dict": (
                architecture_among(frozenset({"careamics", "cellpose", "stardist", "timm", "torch", "torchvision"})),
                shared_environment,
            ),
            "torchscript": (torch_to("2.5.1"), operators_of_engine, shared_environment),
            "onnx": (opset_to(21), operators_of_engine, shared_environment),
        },
        (description_to("0.5.10"), flows_in_2d),
    ),
    Tool(
        "ilastik",
        "ilastik 1.4.2 with tiktorch 26.5 (bioimageio.core 0.10.2, PyTorch 2.7, no ONNX, no cellpose, no stardist)",
        "https://github.com/ilastik/ilastik/blob/main/ilastik/applets/neuralNetwork/modelStateControl.py",
        {
            "pytorch_state_dict": (architecture_among(frozenset({"torch", "torchvision", "pytorch3dunet"})),),
            "torchscript": (torch_to("2.7"), operators_of_engine),
        },
        (
            single_input,
            single_output,
            channel_in("outputs"),
            space_axes(2, 3),
            steps_among(_ALL_STEPS, "lacks what draws labels by"),
            sizes_from_image,
            image_of("what the labels are drawn from", _TILES, False),
        ),
    ),
    Tool(
        "deepImageJ (Fiji) through JDLL",
        "JDLL 0.6.3, whose newest engines are PyTorch 2.0.0 and ONNX with opset 18; it runs state dicts in Python",
        "https://github.com/bioimage-io/JDLL/blob/main/src/main/resources/availableDLVersions.json",
        {
            "torchscript": (torch_to("2.0.0"), operators_of_engine, float32_only),
            "onnx": (opset_to(18), operators_of_engine, float32_only),
            "tensorflow_saved_model_bundle": (float32_only,),
            "pytorch_state_dict": (
                if_installed("JDLL's Python environment"),
                architecture_among(frozenset({"torch", "torchvision", "biapy"})),
            ),
        },
        (
            steps_among(
                frozenset(
                    {
                        *("binarize", "clip", "ensure_dtype", "fixed_zero_mean_unit_variance", "scale_linear"),
                        *("scale_range", "sigmoid", "zero_mean_unit_variance"),
                    }
                ),
                "does not know",
            ),
            sizes_from_image,
        ),
    ),
    Tool(
        "QuPath",
        "QuPath 0.6.0 with its extension for the zoo 0.2.0, which makes pixel classifiers (BioimageIoTools.java)",
        "https://github.com/qupath/qupath/tree/main/qupath-core-processing",
        {
            "torchscript": (operators_of_engine,),
            "tensorflow_saved_model_bundle": (),
            "onnx": (if_installed("the ONNX engine"), operators_of_engine),
        },
        (
            single_input,
            single_output,
            space_axes(2, 2),
            channel_in("inputs"),
            steps_among(
                frozenset(
                    {
                        *("binarize", "clip", "ensure_dtype", "scale_linear", "scale_range"),
                        *("sigmoid", "zero_mean_unit_variance"),
                    }
                ),
                "leaves out",
            ),
            sizes_from_image,
            image_of("probabilities", "it makes a pixel classifier of the output", True),
        ),
    ),
    Tool(
        "napari/BiaPy",
        "BiaPy 3.6, the check that it makes of every model of the zoo",
        "https://github.com/BiaPyX/BiaPy/blob/master/biapy/models/__init__.py",
        {"pytorch_state_dict": (arguments_for_biapy,)},
        (single_input, workflow_of_biapy, axes_as("bcyx", "bczyx"), one_step_for_biapy, own_postprocessing),
    ),
    Tool(
        "CellMap-flow",
        "CellMap-flow 0.2.3 with bioimageio.core 0.7.0",
        "https://github.com/janelia-cellmap/cellmap-flow/blob/0.2.3/cellmap_flow/models/models_config.py",
        {"pytorch_state_dict": (), "torchscript": (operators_of_engine,), "onnx": (operators_of_engine,)},
        (known_to_cellmap_flow, single_input, one_channel, ends_between_0_and_1),
    ),
)
"""In the order in which they are told."""
