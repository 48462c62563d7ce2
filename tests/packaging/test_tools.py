"""Where a package will run: each rule with a package that it lets in, and one that it keeps out."""

import copy
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import yaml
import zoo_packages
from onnx import TensorProto, helper

from zoowizard.library.clean import in_format_05
from zoowizard.packaging.operators import libraries_of
from zoowizard.packaging.tool_rules import Package
from zoowizard.packaging.tools import TOOLS, ToolReport, where_it_runs, with_measured

RUNNER, ILASTIK, JDLL, QUPATH, BIAPY, CELLMAP = (one.name for one in TOOLS)
Change = Callable[[dict[str, Any]], object]


def told(change: Change = lambda described: None, **libraries: frozenset[str]) -> dict[str, ToolReport]:
    """What is said of the package that doubles images, once it was changed."""
    described = copy.deepcopy(zoo_packages.description())
    change(described)
    return {one.tool: one for one in where_it_runs(Package(described, libraries))}


def only(name: str, **more: Any) -> Change:
    """Leave one weight format."""

    def change(described: dict[str, Any]) -> None:
        described["weights"] = {name: described["weights"][name] | more}

    return change


def outputs(**more: Any) -> Change:
    return lambda described: described["outputs"][0].update(more)


def inputs(**more: Any) -> Change:
    return lambda described: described["inputs"][0].update(more)


def three_d(described: dict[str, Any]) -> None:
    for tensor in (described["inputs"][0], described["outputs"][0]):
        tensor["axes"] = [*tensor["axes"][:2], {"type": "space", "id": "z", "size": 8}, *tensor["axes"][2:]]


def flows(described: dict[str, Any]) -> None:
    described["outputs"][0]["postprocessing"] = [{"id": "cellpose_flow_dynamics", "kwargs": {}}]


def library(described: dict[str, Any]) -> None:
    architecture = {"callable": "UNet", "import_from": "monai.networks.nets", "kwargs": {}}
    described["weights"] = {"pytorch_state_dict": {"source": "state.pt", "architecture": architecture}}


def second(key: str) -> Change:
    return lambda described: described[key].append({**described[key][0], "id": "another"})


def test_a_plain_package_runs_nearly_everywhere() -> None:
    found = told()
    runs = {name: one.runs for name, one in found.items()}
    assert runs == {RUNNER: "yes", ILASTIK: "yes", JDLL: "yes", QUPATH: "yes", BIAPY: "yes", CELLMAP: "no"}
    assert all(not one.why and not one.remedy for one in found.values() if one.runs == "yes")
    assert "get_and_dims" in found[CELLMAP].why
    assert all(one.source.startswith("https://") and one.read for one in found.values())


STEP = [{"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 1.0, "std": 2.0}}]
SOFTMAX = [{"id": "softmax", "kwargs": {"axis": "channel"}}]
GROWS = [{"type": "index", "id": "index", "size": {"min": 1}}, {"type": "channel", "channel_names": ["x", "y"]}]
RULES: list[tuple[str, Change, str, str]] = [
    (RUNNER, only("onnx", opset_version=22), "no", "up to opset 21, and this is 22"),
    (RUNNER, only("onnx", opset_version=21), "yes", ""),
    (
        RUNNER,
        only("torchscript", pytorch_version="2.15.0+cpu"),
        "unknown",
        "PyTorch is 2.5.1, and TorchScript was written",
    ),
    (RUNNER, only("torchscript", pytorch_version="2.5.1"), "yes", ""),
    (RUNNER, only("pytorch_state_dict", pytorch_version="2.15"), "yes", ""),
    (RUNNER, library, "unknown", "monai must be installed there"),
    (RUNNER, only("pytorch_state_dict", dependencies={"source": "env.yaml"}), "unknown", "does not serve it"),
    (RUNNER, lambda one: one.update(format_version="0.5.12"), "unknown", "the format up to 0.5.10, and this is 0.5.12"),
    (RUNNER, lambda one: one.update(format_version="0.5.12", covers=[{"source": "c.png"}]), "no", "up to 0.5.10"),
    (RUNNER, lambda one: one.update(format_version="0.4.10"), "yes", ""),
    (RUNNER, flows, "yes", ""),
    (RUNNER, lambda one: (flows(one), three_d(one)), "no", "fails on 3-D images"),
    (RUNNER, lambda one: one.update(weights={"keras_v3": {"source": "w"}}), "no", "the weights here are Keras 3"),
    (ILASTIK, only("onnx"), "no", "it loads a PyTorch state dict or TorchScript, and the weights here are ONNX"),
    (ILASTIK, second("inputs"), "no", "it takes one input, and this package has 2"),
    (ILASTIK, second("outputs"), "no", "it takes one output, and this package has 2"),
    (ILASTIK, three_d, "yes", ""),
    (ILASTIK, outputs(axes=[{"type": "batch"}, {"type": "space", "id": "y", "size": 9}]), "no", "needs a channel axis"),
    (ILASTIK, flows, "no", "lacks what draws labels by cellpose_flow_dynamics"),
    (ILASTIK, outputs(id="labels"), "unknown", "every tile numbers its objects anew"),
    (JDLL, only("onnx", opset_version=19), "no", "up to opset 18, and this is 19"),
    (JDLL, only("onnx", opset_version=18), "yes", ""),
    (JDLL, only("torchscript"), "unknown", "PyTorch is 2.0.0"),
    (JDLL, only("pytorch_state_dict"), "unknown", "JDLL's Python environment"),
    (JDLL, inputs(data={"type": "uint8"}), "unknown", "JDLL's Python environment"),
    (
        JDLL,
        lambda one: (inputs(data={"type": "uint8"})(one), only("torchscript")(one)),
        "unknown",
        "this one takes uint8",
    ),
    (JDLL, lambda one: (inputs(data={"type": "uint8"})(one), only("onnx")(one)), "no", "this one takes uint8"),
    (JDLL, inputs(data={"type": "uint8"}, preprocessing=STEP), "yes", ""),
    (JDLL, outputs(postprocessing=SOFTMAX), "no", "does not know softmax"),
    (JDLL, outputs(axes=GROWS), "no", "know the size of the outputs beforehand"),
    (QUPATH, only("onnx"), "unknown", "the ONNX engine"),
    (QUPATH, only("pytorch_state_dict"), "no", "TorchScript, a TensorFlow SavedModel or ONNX"),
    (QUPATH, three_d, "no", "it takes 2-D images, and these are 3-D"),
    (QUPATH, inputs(preprocessing=STEP), "no", "leaves out fixed_zero_mean_unit_variance"),
    (QUPATH, outputs(id="labels"), "no", "it makes a pixel classifier of the output"),
    (BIAPY, only("torchscript"), "no", "it loads a PyTorch state dict, and the weights here are TorchScript"),
    (BIAPY, lambda one: one.update(tags=["nuclei"]), "no", "looks for its workflow among the tags"),
    (BIAPY, lambda one: one["inputs"][0]["axes"].reverse(), "no", "the axes bcyx or bczyx, and the input has xycb"),
    (BIAPY, inputs(preprocessing=STEP * 2), "no", "takes one step of normalisation"),
    (BIAPY, inputs(preprocessing=STEP), "yes", ""),
    (BIAPY, outputs(postprocessing=SOFTMAX), "unknown", "says nothing of postprocessing"),
    (
        BIAPY,
        lambda one: one["weights"]["pytorch_state_dict"]["architecture"].update(kwargs={"depth": 3}),
        "no",
        "number of classes among the arguments",
    ),
    (CELLMAP, outputs(), "no", "it cuts outputs to 0 to 1"),
]


@pytest.mark.parametrize(("tool", "change", "runs", "why"), RULES, ids=[f"{one[0]}-{one[3][:40]}" for one in RULES])
def test_each_rule(tool: str, change: Change, runs: str, why: str) -> None:
    found = told(change)[tool]
    assert (found.runs, why in found.why) == (runs, True), found
    assert bool(found.remedy) == (runs != "yes"), "what would make it a yes is said where it is none"


def test_operators_of_torchvision_are_named(tmp_path: Path) -> None:
    """A real TorchScript file with torchvision's nms: its engines elsewhere know no torchvision."""
    import torchvision

    class Suppressing(torch.nn.Module):
        def forward(self, boxes: torch.Tensor) -> torch.Tensor:
            return torchvision.ops.nms(boxes, boxes[:, 0], 0.5)

    described = zoo_packages.description()
    torch.jit.script(Suppressing()).save(str(tmp_path / "script.pt"))
    libraries = libraries_of(described, tmp_path)
    assert libraries == {"torchscript": frozenset({"torchvision"})}
    found = {one.tool: one for one in where_it_runs(Package(described | {"weights": {
        "torchscript": described["weights"]["torchscript"]}}, libraries))}  # fmt: skip
    for tool in (RUNNER, ILASTIK, JDLL, QUPATH):
        assert found[tool].runs == "no"
        assert "it has no operators of torchvision" in found[tool].why


DOMAIN = helper.make_opsetid("", 17)


def test_operators_of_other_domains_in_onnx_are_named(tmp_path: Path) -> None:
    image = helper.make_tensor_value_info("raw", TensorProto.FLOAT, [1])
    far = helper.make_tensor_value_info("doubled", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Odd", ["raw"], ["doubled"], domain="org.lab")], "g", [image], [far])
    domains = [DOMAIN, helper.make_opsetid("org.lab", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains), str(tmp_path / "net.onnx"))
    assert libraries_of(zoo_packages.description(), tmp_path) == {"onnx": frozenset({"org.lab"})}


def test_operators_within_a_branch_in_onnx_are_named(tmp_path: Path) -> None:
    far = helper.make_tensor_value_info("far", TensorProto.FLOAT, [1])
    image, which = (helper.make_tensor_value_info(name, kind, [1]) for name, kind in (("raw", 1), ("which", 9)))
    branches = {
        branch: helper.make_graph([helper.make_node("Odd", ["raw"], ["far"], domain=domain)], branch, [], [far])
        for branch, domain in (("then_branch", "org.lab"), ("else_branch", "own"))
    }
    own = helper.make_function("own", "Odd", ["x"], ["y"], [helper.make_node("Abs", ["x"], ["y"])], [DOMAIN])
    graph = helper.make_graph([helper.make_node("If", ["which"], ["far"], **branches)], "g", [image, which], [far])
    domains = [DOMAIN, helper.make_opsetid("org.lab", 1), helper.make_opsetid("own", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, functions=[own]), str(tmp_path / "net.onnx"))
    assert libraries_of(zoo_packages.description(), tmp_path) == {"onnx": frozenset({"org.lab"})}


def test_damaged_weights_tell_nothing(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no model")
    (tmp_path / "script.pt").write_bytes(b"no archive")
    assert libraries_of(zoo_packages.description(), tmp_path) == {"onnx": frozenset(), "torchscript": frozenset()}


def test_plain_weights_need_no_further_library(tmp_path: Path) -> None:
    zoo_packages.package(tmp_path)
    assert libraries_of(zoo_packages.description(), tmp_path) == {"onnx": frozenset(), "torchscript": frozenset()}
    with zipfile.ZipFile(tmp_path / "script.pt") as archive:
        assert any(name.endswith(".py") for name in archive.namelist()), "there is code that was looked at"


@pytest.mark.parametrize(
    "described", [{}, {"weights": 3, "inputs": "x", "outputs": [7]}, {"inputs": [{}], "outputs": [{}]}]
)
def test_what_is_no_description_is_no_error(described: dict[str, Any]) -> None:
    assert {one.runs for one in where_it_runs(Package(described))} == {"no"}


def test_what_was_tried_stands_before_what_is_documented() -> None:
    documented = tuple(told().values())
    passed, failed = with_measured(documented, True, ""), with_measured(documented, False, "onnx: cannot run: too new")
    assert passed[0].runs == "yes" and passed[0].read.endswith("tried here")
    assert (failed[0].runs, failed[0].why) == ("no", "onnx: cannot run: too new")
    assert passed[1:] == failed[1:] == documented[1:]


def test_a_description_in_an_older_format_is_understood(tmp_path: Path) -> None:
    """Format 0.4, in which axes were letters and a network was named beside its weights."""
    zoo_packages.package(tmp_path)
    now = zoo_packages.description()
    kept = {
        name: now[name]
        for name in ("type", "name", "description", "license", "authors", "cite", "tags", "documentation")
    }
    tensor = {"axes": "bcyx", "data_type": "float32"}
    older = kept | {
        "format_version": "0.4.10",
        "covers": [],
        "timestamp": "2024-01-01T00:00:00",
        "test_inputs": ["test_in.npy"],
        "test_outputs": ["test_out.npy"],
        "inputs": [{"name": "raw", **tensor, "shape": {"min": [1, 1, 32, 32], "step": [0, 0, 16, 16]}}],
        "outputs": [
            {
                "name": "doubled",
                **tensor,
                "shape": {"reference_tensor": "raw", "scale": [1, 1, 1, 1], "offset": [0, 0, 0, 0]},
                "postprocessing": [{"name": "sigmoid"}],
            }
        ],
        "weights": {"onnx": {"source": "net.onnx", "opset_version": 17}},
    }
    (tmp_path / "rdf.yaml").write_text(yaml.safe_dump(older))
    described = in_format_05(tmp_path / "rdf.yaml")
    assert described["format_version"] == "0.4.10"
    found = {one.tool: one for one in where_it_runs(Package(described, libraries_of(described, tmp_path)))}
    assert {name: one.runs for name, one in found.items()} == {
        RUNNER: "yes",
        ILASTIK: "no",
        JDLL: "yes",
        QUPATH: "unknown",
        BIAPY: "no",
        CELLMAP: "no",
    }
