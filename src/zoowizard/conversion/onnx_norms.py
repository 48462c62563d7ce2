"""Instance and group normalisation in ONNX, as exact as PyTorch does them.

ONNX Runtime adds the values of a channel one after the other in single precision: where most of an image is ground of
one value, each step rounds the same way, and the outputs of a network differ by up to a hundredth of their spread. In
double precision, and in operators of every opset from 13 on, they do not.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

OPERATOR: Final = "InstanceNormalization"
MEAN_AXES_AS_INPUT: Final = 18
"""From this opset on `ReduceMean` takes its axes as an input."""
_BEFORE: Final = "zoowizard_exact"


def exact(model: onnx.ModelProto) -> bool:
    """Write each `InstanceNormalization` in single precision, as which group normalisation is exported, too, in steps.

    That of https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html: y = scale (x - mean) / sqrt(var + eps) + b,
    mean and variance over all axes behind the channels. Gives whether there was any.
    """
    graph = model.graph
    single = {one.name for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    single |= {
        node.output[0]
        for node in graph.node
        if node.op_type == "Constant" and any(one.t.data_type == onnx.TensorProto.FLOAT for one in node.attribute)
    }
    meant = [one.op_type == OPERATOR and one.input[1] in single for one in graph.node]
    if not any(meant):
        return False
    opset = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    axes = np.array([2], np.int64)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([0, 0, -1], np.int64), f"{_BEFORE}_flat"),
            numpy_helper.from_array(np.array([1, -1, 1], np.int64), f"{_BEFORE}_channels"),
            *([numpy_helper.from_array(axes, f"{_BEFORE}_axes")] if opset >= MEAN_AXES_AS_INPUT else []),
        ]
    )
    nodes: list[NodeProto] = []
    for number, one in enumerate(graph.node):
        if meant[number]:
            eps = next((float(known.f) for known in one.attribute if known.name == "epsilon"), 1e-5)
            name = f"{_BEFORE}_{number}"
            graph.initializer.append(numpy_helper.from_array(np.array(eps, np.float64), f"{name}_eps"))
            nodes += _steps(one, name, opset)
        else:
            nodes.append(one)
    del graph.node[:]
    graph.node.extend(nodes)
    return True


def _steps(one: NodeProto, name: str, opset: int) -> Iterator[NodeProto]:
    image, scale, shift = one.input

    def step(kind: str, inputs: Sequence[str], output: str, **settings: Any) -> NodeProto:
        return helper.make_node(kind, list(inputs), [f"{name}_{output}"], f"{name}_{output}", **settings)

    def mean(of: str, output: str) -> NodeProto:
        if opset >= MEAN_AXES_AS_INPUT:
            return step("ReduceMean", [f"{name}_{of}", f"{_BEFORE}_axes"], output, keepdims=1)
        return step("ReduceMean", [f"{name}_{of}"], output, axes=[2], keepdims=1)

    double = onnx.TensorProto.DOUBLE
    yield step("Shape", [image], "shape")
    yield step("Reshape", [image, f"{_BEFORE}_flat"], "rows")
    yield step("Cast", [f"{name}_rows"], "exact", to=double)
    yield mean("exact", "mean")
    yield step("Sub", [f"{name}_exact", f"{name}_mean"], "away")
    yield step("Mul", [f"{name}_away", f"{name}_away"], "squares")
    yield mean("squares", "variance")
    yield step("Add", [f"{name}_variance", f"{name}_eps"], "positive")
    yield step("Sqrt", [f"{name}_positive"], "spread")
    for part, values in (("scale", scale), ("shift", shift)):
        yield step("Cast", [values], f"{part}_exact", to=double)
        yield step("Reshape", [f"{name}_{part}_exact", f"{_BEFORE}_channels"], part)
    yield step("Div", [f"{name}_scale", f"{name}_spread"], "factor")
    yield step("Mul", [f"{name}_away", f"{name}_factor"], "scaled")
    yield step("Add", [f"{name}_scaled", f"{name}_shift"], "sum")
    yield step("Cast", [f"{name}_sum"], "single", to=onnx.TensorProto.FLOAT)
    last = step("Reshape", [f"{name}_single", f"{name}_shape"], "last")
    last.output[0] = one.output[0]
    yield last
