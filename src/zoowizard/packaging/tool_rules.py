"""Rules by which tools take packages of the zoo, each a small function over the description in format 0.5.

They say nothing of any tool: `tools` puts them together.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Entry = Mapping[str, Any]
"""A part of the description: a tensor, an axis, a weights entry."""


@dataclass(frozen=True)
class Package:
    """What the rules look at. `libraries`: by weight format, from where its operators are that the engine lacks."""

    described: Mapping[str, Any]
    libraries: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def inputs(self) -> list[Entry]:
        """The input tensors."""
        return entries(self.described.get("inputs"))

    @property
    def outputs(self) -> list[Entry]:
        """The output tensors."""
        return entries(self.described.get("outputs"))

    @property
    def weights(self) -> dict[str, Entry]:
        """The weights by format."""
        return weights_of(self.described)


@dataclass(frozen=True)
class Obstacle:
    """Why a tool will not load a package, or will predict something else with it; what would mend that.

    Both are clauses without a full stop. Where it is not `certain`, the tool may load it all the same.
    """

    why: str
    remedy: str
    certain: bool = True


Rule = Callable[[Package], Obstacle | None]
WeightsRule = Callable[[Package, str], Obstacle | None]
"""Looks at one weight format of a package."""


def weights_of(described: Mapping[str, Any]) -> dict[str, Entry]:
    """The weights of a description by format."""
    found = described.get("weights")
    return {name: one for name, one in found.items() if isinstance(one, Mapping)} if isinstance(found, Mapping) else {}


def in_words(names: Sequence[str], joined_by: str) -> str:
    """`a, b or c`."""
    return f" {joined_by} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


FORMAT_NAMES: Final = {
    "pytorch_state_dict": "a PyTorch state dict",
    "torchscript": "TorchScript",
    "onnx": "ONNX",
    "tensorflow_saved_model_bundle": "a TensorFlow SavedModel",
    "tensorflow_js": "TensorFlow.js",
    "keras_hdf5": "Keras HDF5",
    "keras_v3": "Keras 3",
}


def entries(value: Any) -> list[Entry]:
    """The mappings in a list; nothing where it is none."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, Sequence) else []


def _axes(tensor: Entry) -> list[Entry]:
    return entries(tensor.get("axes"))


def _kind(axis: Entry) -> str:
    return str(axis.get("type", ""))


def _letters(tensor: Entry) -> str:
    """The axes of a tensor as `bcyx`."""
    return "".join(
        _kind(one)[:1] if _kind(one) in ("batch", "channel") else str(one.get("id", "?")) for one in _axes(tensor)
    )


def channels(tensor: Entry) -> int | None:
    """How many, None where there is no such axis."""
    for axis in _axes(tensor):
        if _kind(axis) == "channel":
            return len(axis.get("channel_names") or [])
    return None


def _space(tensor: Entry) -> int:
    return sum(_kind(axis) == "space" for axis in _axes(tensor))


def processing(tensors: Iterable[Entry], key: str) -> list[Entry]:
    """All steps of `preprocessing` or `postprocessing`."""
    return [step for tensor in tensors for step in entries(tensor.get(key))]


def _steps(package: Package) -> list[Entry]:
    return [*processing(package.inputs, "preprocessing"), *processing(package.outputs, "postprocessing")]


def _is_label_image(tensor: Entry) -> bool:
    """Whether its values are numbers of objects, from how it is called."""
    names = [name for axis in _axes(tensor) for name in axis.get("channel_names") or []]
    return any(str(name).lower() in LABEL_NAMES for name in [tensor.get("id"), *names])


def _drawn_by(tensor: Entry) -> set[str]:
    """The steps of its postprocessing that draw labels."""
    return {str(one.get("id")) for one in entries(tensor.get("postprocessing"))} & set(FRAMEWORK_OF_STEP)


LABEL_NAMES: Final = frozenset({"label", "labels", "instances", "masks", "objects", "class_number", "classes"})
FRAMEWORK_OF_STEP: Final = {"cellpose_flow_dynamics": "cellpose", "stardist_postprocessing": "stardist"}
MAKES_FLOAT: Final = frozenset(
    {
        "fixed_zero_mean_unit_variance",
        "scale_linear",
        "scale_mean_variance",
        "scale_range",
        "sigmoid",
        "softmax",
        "zero_mean_unit_variance",
    }
)


def _type_into_network(tensor: Entry) -> str:
    """The data type that the network is given: that of the tensor after its preprocessing."""
    data = tensor.get("data")
    found = str(data.get("type", "float32")) if isinstance(data, Mapping) else "float32"
    for step in entries(tensor.get("preprocessing")):
        if step.get("id") == "ensure_dtype":
            found = str((step.get("kwargs") or {}).get("dtype", found))
        elif step.get("id") in MAKES_FLOAT:
            found = "float32"
    return found


def _newer(version: Any, than: str) -> bool:
    """Whether `2.15.0+cpu` is newer than `2.7`: as far as both have numbers."""
    one, other = ([int(part) for part in re.findall(r"\d+", str(text).partition("+")[0])] for text in (version, than))
    return one[: len(other)] > other


# Rules


def single_input(package: Package) -> Obstacle | None:
    """One input tensor only."""
    number = len(package.inputs)
    return None if number == 1 else Obstacle(f"it takes one input, and this package has {number}", "join the inputs")


def single_output(package: Package) -> Obstacle | None:
    """One output tensor only."""
    number = len(package.outputs)
    return None if number == 1 else Obstacle(f"it takes one output, and this package has {number}", "give one output")


def channel_in(which: Literal["inputs", "outputs"]) -> Rule:
    """Every input, or output, has a channel axis."""

    def rule(package: Package) -> Obstacle | None:
        tensors = package.inputs if which == "inputs" else package.outputs
        if all(channels(one) is not None for one in tensors):
            return None
        return Obstacle(f"it needs a channel axis in the {which}", f"add a channel axis to the {which}")

    return rule


def space_axes(least: int, most: int) -> Rule:
    """So many space axes in inputs and outputs."""

    def rule(package: Package) -> Obstacle | None:
        numbers = [_space(one) for one in (*package.inputs, *package.outputs)]
        if all(least <= one <= most for one in numbers):
            return None
        kind = f"{least}-D" if least == most else f"{least}-D to {most}-D"
        there = in_words([f"{one}-D" for one in sorted(set(numbers))], "and")
        return Obstacle(f"it takes {kind} images, and these are {there}", f"package a {kind} model")

    return rule


def axes_as(*orders: str) -> Rule:
    """The input has its axes in one of these orders."""

    def rule(package: Package) -> Obstacle | None:
        found = [_letters(one) for one in package.inputs]
        if all(one in orders for one in found):
            return None
        wanted = in_words(orders, "or")
        return Obstacle(
            f"it wants the axes {wanted}, and the input has {', '.join(found)}", f"order the axes as {wanted}"
        )

    return rule


def steps_among(known: frozenset[str], consequence: str) -> Rule:
    """No other pre- and postprocessing than these; `consequence` says what comes of another."""

    def rule(package: Package) -> Obstacle | None:
        others = [str(one.get("id")) for one in _steps(package) if one.get("id") not in known]
        if not others:
            return None
        names = in_words(list(dict.fromkeys(others)), "and")
        remedy = f"do {names} inside the network"
        if "cellpose_flow_dynamics" in others:
            remedy = "build a package of flows of the same model, which gives flows and no objects"
        elif any(one in FRAMEWORK_OF_STEP for one in others):
            remedy = f"package the network's own outputs, without {names}"
        return Obstacle(f"it {consequence} {names}", remedy)

    return rule


def sizes_from_image(package: Package) -> Obstacle | None:
    """No output whose size only the prediction tells."""
    if any(isinstance(size := axis.get("size"), Mapping) and set(size) <= {"min", "max"} and _kind(axis) == "index"
           for one in package.outputs for axis in _axes(one)):  # fmt: skip
        return Obstacle("it must know the size of the outputs beforehand", "give outputs of the size of the image")
    return None


def image_of(kind: str, consequence: str, certain: bool) -> Rule:
    """No label image among the outputs. Of one that a postprocessing draws, the rule for that one says enough."""

    def rule(package: Package) -> Obstacle | None:
        if any(_is_label_image(one) for one in package.outputs if not _drawn_by(one)):
            return Obstacle(f"the output is a label image, and {consequence}", f"package {kind}", certain)
        return None

    return rule


def float32_only(package: Package, weight_format: str) -> Obstacle | None:
    """The network takes float32."""
    types = {_type_into_network(one) for one in package.inputs} - {"float32"}
    if not types:
        return None
    why = f"it gives every network float32, and this one takes {in_words(sorted(types), 'and')}"
    return Obstacle(why, "add `ensure_dtype` float32 to the preprocessing", certain=weight_format == "onnx")


def opset_to(newest: int) -> WeightsRule:
    """ONNX of this opset or an older one."""

    def rule(package: Package, weight_format: str) -> Obstacle | None:
        opset = package.weights[weight_format].get("opset_version")
        if isinstance(opset, int) and opset > newest:
            return Obstacle(
                f"it knows ONNX up to opset {newest}, and this is {opset}", f"export ONNX with opset {newest}"
            )
        return None

    return rule


def torch_to(newest: str) -> WeightsRule:
    """Written by this torch or an older one: a newer one may have written what this one cannot read."""

    def rule(package: Package, weight_format: str) -> Obstacle | None:
        version = package.weights[weight_format].get("pytorch_version")
        if version is None or not _newer(version, newest):
            return None
        why = f"its PyTorch is {newest}, and {FORMAT_NAMES[weight_format]} was written by {version}"
        return Obstacle(why, f"try it there, or export with PyTorch {newest}", certain=False)

    return rule


def operators_of_engine(package: Package, weight_format: str) -> Obstacle | None:
    """No operators of a further library."""
    libraries = package.libraries.get(weight_format)
    if not libraries:
        return None
    names = in_words(sorted(libraries), "and")
    return Obstacle(f"it has no operators of {names}", f"replace the operators of {names}, such as nms, by plain ones")


def if_installed(what: str) -> WeightsRule:
    """It needs a part that the tool does not bring."""
    return lambda package, weight_format: Obstacle(
        f"it needs {what}, which it does not bring", f"install {what}", False
    )


def architecture_among(installed: frozenset[str]) -> WeightsRule:
    """The architecture comes as a file, or from a library that is there."""

    def rule(package: Package, weight_format: str) -> Obstacle | None:
        architecture = package.weights[weight_format].get("architecture")
        module = architecture.get("import_from") if isinstance(architecture, Mapping) else None
        if not isinstance(module, str) or module.split(".")[0] in installed:
            return None
        library = module.split(".")[0]
        return Obstacle(
            f"{library} must be installed there", "put the architecture into one file in the package", False
        )

    return rule


def shared_environment(package: Package, weight_format: str) -> Obstacle | None:
    """It needs no environment of its own."""
    if not package.weights[weight_format].get("dependencies"):
        return None
    return Obstacle(
        "it tests a model with dependencies of its own, and does not serve it", "do without the `dependencies`", False
    )


def description_to(newest: str) -> Rule:
    """A description of this format or an older one."""

    def rule(package: Package) -> Obstacle | None:
        version = package.described.get("format_version")
        if version is None or not _newer(version, newest):
            return None
        covers = package.described.get("covers") or ()
        mapped = any(isinstance(one, Mapping) for one in (*covers, package.described.get("documentation")))
        return Obstacle(
            f"it knows the format up to {newest}, and this is {version}",
            f"write format {newest}, with covers and documentation as plain names",
            certain=mapped,
        )

    return rule


def flows_in_2d(package: Package) -> Obstacle | None:
    """`cellpose_flow_dynamics` of the library fails in 3-D, with an IndexError."""
    if any("cellpose_flow_dynamics" in _drawn_by(one) and _space(one) > 2 for one in package.outputs):
        return Obstacle("cellpose_flow_dynamics fails on 3-D images there", "package the flows")
    return None
