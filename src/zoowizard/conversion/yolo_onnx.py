"""The label image of `yolo_network` as one ONNX file.

PyTorch exports the network alone, with free sizes. What stands around it in `yolo_network.LabelImage` is written here a
second time, function for function and in the same order of floating-point operations, in ONNX Script: PyTorch's
exporter translates neither its loops nor its lists. All of it is inlined, so that the file holds standard operators
only.

Sources: those of `yolo_network`, and https://onnx.ai/onnx/operators/.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import torch
from onnx import TensorProto, helper
from onnx.inliner import inline_local_functions
from onnxscript import script
from onnxscript.values import Opset
from torch import nn

from zoowizard.conversion.yolo_network import Settings

if TYPE_CHECKING:
    # ONNX Script is a language of its own within Python, and its type stubs do not cover it
    Value = Any
    op: Any
else:
    from onnxscript import opset16 as op
    from onnxscript.onnx_types import TensorType as Value

OPSET = 16
IR_VERSION = 8
FLOAT: int = TensorProto.FLOAT
DOUBLE: int = TensorProto.DOUBLE
INT32: int = TensorProto.INT32
INT64: int = TensorProto.INT64
BOOL: int = TensorProto.BOOL

_domain = Opset("zoowizard", 1)
_functions: list[onnx.FunctionProto] = []
_NETWORK_OUTPUTS = ("distances", "class_logits", "coefficients", "prototypes")


def _step(function: Callable[..., Any]) -> Any:
    """Read a function as ONNX Script, and keep it for the file."""
    translated = script(_domain, default_opset=op)(function)
    _functions.append(translated.to_function_proto())
    return translated


@_step
def _inner_size(outer: Value, size: Value) -> Value:
    """The largest (y, x) within `outer` that has the proportions of `size`; int64, 2 each."""
    exact_size = op.Cast(size, to=DOUBLE)
    gain = op.ReduceMin(op.Cast(outer, to=DOUBLE) / exact_size)
    return op.Max(op.Cast(op.Round(exact_size * gain), to=INT64), 1)


@_step
def _margin(padding: Value) -> Value:
    """The part of the padding that stands before the image."""
    return op.Cast(op.Round(op.Cast(padding, to=DOUBLE) / 2.0 - 0.1), to=INT64)


@_step
def _resize_taps(size_in: Value, size_out: Value) -> tuple[Value, Value, Value, Value]:
    ratio = op.Cast(size_in, to=DOUBLE) / op.Cast(size_out, to=DOUBLE)
    out = op.Cast(op.Range(0, size_out, 1), to=DOUBLE)
    source = op.Cast((out + 0.5) * ratio - 0.5, to=FLOAT)
    low = op.Floor(source)
    last = op.Cast(size_in - 1, to=FLOAT)
    outside = op.Or(low < 0.0, low >= last)
    first = op.Cast(op.Min(op.Max(low, 0.0), last), to=INT64)
    second = op.Cast(op.Min(op.Max(low + 1.0, 0.0), last), to=INT64)
    return first, second, source - low, outside


@_step
def _resize_weights(part: Value) -> tuple[Value, Value]:
    near = op.Cast(op.Round((1.0 - part) * 2048.0), to=INT32)
    far = op.Cast(op.Round(part * 2048.0), to=INT32)
    return near, far


@_step
def _resize_8bit(image: Value, size: Value) -> Value:
    """`yolo_network.resize_8bit`; 32 bits are enough for its whole numbers."""
    shape = op.Shape(image)
    top, bottom, down, _ = _resize_taps(op.Gather(shape, 2), op.Gather(size, 0))
    left, right, across, outside = _resize_taps(op.Gather(shape, 3), op.Gather(size, 1))
    top_weight, bottom_weight = _resize_weights(op.Unsqueeze(down, [1]))
    left_weight, right_weight = _resize_weights(op.Where(outside, 0.0, across))
    pixels = op.Cast(image, to=INT32)
    rows = (op.Gather(pixels, left, axis=3) * left_weight + op.Gather(pixels, right, axis=3) * right_weight) / 16
    upper = op.Gather(rows, top, axis=2) * top_weight / 65536
    lower = op.Gather(rows, bottom, axis=2) * bottom_weight / 65536
    return op.Cast((upper + lower + 2) / 4, to=FLOAT)


@_step
def _letterbox(image: Value, image_size: Value, stride: Value, channels: Value) -> tuple[Value, Value, Value]:
    """The network's input, and the shift and gain of the corners x1, y1, x2, y2 of a box (float32, 4 each).

    `channels` is the shape (1, channels, 1, 1) of the network's input.
    """
    size = op.Slice(op.Shape(image), [2], [4])
    inner = _inner_size(op.Expand(image_size, [2]), size)
    padding = (image_size - inner) % stride
    start = _margin(padding)
    resized = op.Expand(_resize_8bit(op.Round(op.Clip(image, 0.0, 255.0)), inner), channels)
    letterboxed = op.Pad(resized, op.Concat([0, 0], start, [0, 0], padding - start, axis=0), 114.0)
    gains = op.Cast(inner, to=DOUBLE) / op.Cast(size, to=DOUBLE)
    corner_shift = op.Cast(op.Gather(start, [1, 0, 1, 0]), to=FLOAT)
    corner_gains = op.Cast(op.Gather(gains, [1, 0, 1, 0]), to=FLOAT)
    return letterboxed / 255.0, corner_shift, corner_gains


@_step
def _binned_distances(distances: Value, bins: Value) -> Value:
    """(batch, 4 · bins, anchors) → the mean bin (batch, anchors, 4); `bins` is 0, 1, 2, … in float32."""
    split = op.Reshape(distances, op.Concat([0, 4], op.Shape(bins), [-1], axis=0))
    return op.MatMul(op.Softmax(op.Transpose(split, perm=[0, 3, 1, 2]), axis=-1), bins)


@_step
def _decode(distances: Value, letterboxed: Value, level_strides: Value) -> Value:
    """Distances (batch, anchors, 4) as corners (batch, anchors, 4) in pixels of the letterboxed image."""
    size = op.Slice(op.Shape(letterboxed), [2], [4])
    centre = op.ConstantOfShape([0, 2])
    stride = op.ConstantOfShape([0, 1])
    for level in range(op.Size(level_strides)):
        level_stride = op.Gather(level_strides, level)
        cells = op.Gather(op.NonZero(op.Expand(1, size / level_stride)), [1, 0])
        centre = op.Concat(centre, op.Transpose(op.Cast(cells, to=FLOAT) + 0.5), axis=0)
        cell_count = op.Slice(op.Shape(cells), [1], [2])
        new = op.Expand(op.Cast(level_stride, to=FLOAT), op.Concat(cell_count, [1], axis=0))
        stride = op.Concat(stride, new, axis=0)
    low = centre - op.Slice(distances, [0], [2], [2])
    high = centre + op.Slice(distances, [2], [4], [2])
    middle, extent = (low + high) / 2.0 * stride, (high - low) * stride
    return op.Concat(middle - extent / 2.0, middle + extent / 2.0, axis=2)


@_step
def _choose(
    boxes: Value, scores: Value, confidence: Value, overlap_iou: Value, max_objects: Value
) -> tuple[Value, Value]:
    """`LabelImage.choose`, for `boxes` (anchors, 4) and `scores` (classes, anchors)."""
    best, kinds = op.ReduceMax(scores, axes=[0], keepdims=0), op.ArgMax(scores, axis=0, keepdims=0)
    anchors = op.Squeeze(op.NonZero(best > confidence), [0])
    count = op.Min(op.Shape(anchors), [30000])
    _, order = op.TopK(op.Gather(best, anchors), count)
    anchors = op.Gather(anchors, order)
    kinds = op.Gather(kinds, anchors)
    apart = op.Gather(boxes, anchors) + op.Unsqueeze(op.Cast(kinds, to=FLOAT), [1]) * 7680.0
    # NonMaxSuppression would turn a box inside out into a proper one: without area it suppresses nothing, as in torch
    low = op.Slice(apart, [0], [2], [1])
    high = op.Max(op.Slice(apart, [2], [4], [1]), low)
    # ranks for scores: no ties, whose order the operator leaves open
    scalar_count = op.Squeeze(count, [0])
    ranks = op.Cast(scalar_count - op.Range(0, scalar_count, 1), to=FLOAT)
    chosen = op.NonMaxSuppression(
        op.Unsqueeze(op.Concat(low, high, axis=1), [0]), op.Unsqueeze(ranks, [0, 1]), max_objects, overlap_iou
    )
    kept = op.Gather(chosen, 2, axis=1)
    kept, _ = op.TopK(kept, op.Shape(kept), largest=0)
    return op.Gather(anchors, kept), op.Gather(kinds, kept)


@_step
def _interpolation_taps(size_in: Value, size_out: Value) -> tuple[Value, Value, Value]:
    scale = op.Cast(op.Cast(size_in, to=DOUBLE) / op.Cast(size_out, to=DOUBLE), to=FLOAT)
    source = op.Max((op.Cast(op.Range(0, size_out, 1), to=FLOAT) + 0.5) * scale - 0.5, 0.0)
    last = op.Cast(size_in - 1, to=FLOAT)
    first = op.Min(op.Floor(source), last)
    second = op.Min(first + 1.0, last)
    return op.Cast(first, to=INT64), op.Cast(second, to=INT64), source - first


@_step
def _interpolate(
    plane: Value, top: Value, bottom: Value, down: Value, left: Value, right: Value, across: Value
) -> Value:
    # columns before rows, while there are few rows: `yolo_network` does it the other way round, with the same sums
    wide = op.Gather(plane, left, axis=1) * (1.0 - across) + op.Gather(plane, right, axis=1) * across
    below = op.Unsqueeze(down, [1])
    return op.Gather(wide, top, axis=0) * (1.0 - below) + op.Gather(wide, bottom, axis=0) * below


@_step
def _paint(logits: Value, corners: Value, kinds: Value, size: Value) -> tuple[Value, Value]:
    """`yolo_network.paint`: a flat label image and the class of each label (float32; the first is the background's).

    `corners` (n, 4) are whole pixels within the image of `size` (y, x), and no box is empty.
    """
    rows_columns = op.Slice(op.Shape(logits), [1], [3])
    padding = rows_columns * 4 - _inner_size(rows_columns * 4, size)
    odd_quarters, odd_halves = op.ReduceMax(padding % 4, keepdims=0) > 0, op.ReduceMax(padding % 8, keepdims=0) > 0
    large = rows_columns * op.Where(odd_quarters, 4, op.Where(odd_halves, 2, 1))
    inner = _inner_size(large, size)
    margin_y, margin_x = op.Split(_margin(large - inner), [1, 1])
    large_top, large_bottom, large_down = _interpolation_taps(op.Gather(rows_columns, 0), op.Gather(large, 0))
    large_left, large_right, large_across = _interpolation_taps(op.Gather(rows_columns, 1), op.Gather(large, 1))
    height, width = op.Gather(size, 0), op.Gather(size, 1)
    top, bottom, down = _interpolation_taps(op.Gather(inner, 0), height)
    left, right, across = _interpolation_taps(op.Gather(inner, 1), width)
    row_starts = op.Unsqueeze(op.Range(0, height, 1) * width, [1])
    column_numbers = op.Range(0, width, 1)

    labels = op.Expand(0.0, op.Reshape(height * width, [1]))
    label_kinds = op.Constant(value_floats=[0.0])
    for index in range(op.Size(kinds)):
        x1, y1, x2, y2 = op.Split(op.Gather(corners, index), [1, 1, 1, 1])
        first_row, last_row = op.Slice(top, y1, y1 + 1), op.Slice(bottom, y2 - 1, y2)
        first_column, last_column = op.Slice(left, x1, x1 + 1), op.Slice(right, x2 - 1, x2)
        start_y, stop_y = first_row + margin_y, last_row + margin_y + 1
        start_x, stop_x = first_column + margin_x, last_column + margin_x + 1
        plane = _interpolate(
            op.Gather(logits, index),
            op.Slice(large_top, start_y, stop_y),
            op.Slice(large_bottom, start_y, stop_y),
            op.Slice(large_down, start_y, stop_y),
            op.Slice(large_left, start_x, stop_x),
            op.Slice(large_right, start_x, stop_x),
            op.Slice(large_across, start_x, stop_x),
        )
        mask = _interpolate(
            plane,
            op.Slice(top, y1, y2) - first_row,
            op.Slice(bottom, y1, y2) - first_row,
            op.Slice(down, y1, y2),
            op.Slice(left, x1, x2) - first_column,
            op.Slice(right, x1, x2) - first_column,
            op.Slice(across, x1, x2),
        )
        inside = op.Reshape(mask > 0.0, [-1])
        places = op.Reshape(op.Slice(row_starts, y1, y2) + op.Slice(column_numbers, x1, x2), [-1])
        seen = op.Gather(labels, places)
        label = op.Cast(op.Shape(label_kinds), to=FLOAT)
        labels = op.ScatterElements(labels, places, op.Where(op.And(inside, seen == 0.0), label, seen))
        is_there = op.Cast(op.ReduceMax(op.Cast(inside, to=INT32)), to=BOOL)
        kind = op.Reshape(op.Gather(kinds, index), [1])
        label_kinds = op.Concat(label_kinds, op.Compress(kind, op.Reshape(is_there, [1])), axis=0)
    return labels, label_kinds


@_step
def _label_images(
    image: Value,
    shift: Value,
    gains: Value,
    boxes: Value,
    class_logits: Value,
    coefficients: Value,
    prototypes: Value,
    confidence: Value,
    overlap_iou: Value,
    max_objects: Value,
) -> tuple[Value, Value]:
    """What `LabelImage.forward` does after the network: label image and class image (batch, 1, y, x), float32."""
    size = op.Slice(op.Shape(image), [2], [4])
    limits = op.Gather(size, [1, 0])
    # not op.Sigmoid: the error of ONNX Runtime's is absolute, and changes the order of small scores
    scores = 1.0 / (1.0 + op.Exp(op.Neg(class_logits)))
    plane_shape = op.Slice(op.Shape(prototypes), [2], [4])
    none = op.Expand(0.0, op.Concat([0, 1], size, axis=0))
    labels = op.Identity(none)
    kinds = op.Identity(none)
    for index in range(op.Gather(op.Shape(image), 0)):
        image_boxes = op.Gather(boxes, index)
        anchors, chosen_kinds = _choose(image_boxes, op.Gather(scores, index), confidence, overlap_iou, max_objects)
        corners = op.Cast(op.Ceil((op.Gather(image_boxes, anchors) - shift) / gains), to=INT64)
        low = op.Max(op.Slice(corners, [0], [2], [1]), 0)
        high = op.Min(op.Slice(corners, [2], [4], [1]), limits)
        extent = op.ReduceMin(high - low, axes=[1], keepdims=0)
        visible = extent > 0
        visible_anchors = op.Compress(anchors, visible)
        weights = op.Transpose(op.Gather(op.Gather(coefficients, index), visible_anchors, axis=1))
        planes = op.MatMul(weights, op.Flatten(op.Gather(prototypes, index)))
        painted, label_kinds = _paint(
            op.Reshape(planes, op.Concat([-1], plane_shape, axis=0)),
            op.Compress(op.Concat(low, high, axis=1), visible, axis=0),
            op.Cast(op.Compress(chosen_kinds, visible) + 1, to=FLOAT),
            size,
        )
        image_shape = op.Concat([1, 1], size, axis=0)
        painted_kinds = op.Gather(label_kinds, op.Cast(painted, to=INT64))
        labels = op.Concat(labels, op.Reshape(painted, image_shape), axis=0)
        kinds = op.Concat(kinds, op.Reshape(painted_kinds, image_shape), axis=0)
    return labels, kinds


def _network_graph(network: nn.Module, channels: int, image_size: int) -> onnx.GraphProto:
    """The network alone, `letterboxed` → `distances`, `class_logits`, `coefficients`, `prototypes`, all sizes free."""
    planes, anchors = {0: "batch", 2: "y", 3: "x"}, {0: "batch", 2: "anchors"}
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            network,
            (torch.zeros(1, channels, image_size, image_size, device=device),),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=["letterboxed"],
            output_names=list(_NETWORK_OUTPUTS),
            dynamic_axes={"letterboxed": planes, "prototypes": planes} | dict.fromkeys(_NETWORK_OUTPUTS[:3], anchors),
        )
        return onnx.load(file).graph


def _element_types(graph: onnx.GraphProto) -> dict[str, int]:
    """The element type of every tensor of an inlined graph and of the graphs within its loops, after type inference."""
    values = [*graph.input, *graph.output, *graph.value_info]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            types |= _element_types(attribute.g)
    return types


def _settle_casts(graph: onnx.GraphProto, types: dict[str, int]) -> None:
    """Make every CastLike, which ONNX Script puts before a literal, a plain Cast: runtimes compute those once."""
    for node in graph.node:
        for attribute in node.attribute:
            _settle_casts(attribute.g, types)
        if node.op_type == "CastLike":
            value, like = node.input
            node.CopyFrom(helper.make_node("Cast", [value], list(node.output), name=node.name, to=types[like]))


def _call(function: Any, inputs: list[str], outputs: list[str]) -> onnx.NodeProto:
    return helper.make_node(function.name, inputs, outputs, domain=_domain.domain)


def export_onnx(network: nn.Module, settings: Settings, colour_channels: int, path: Path, two_outputs: bool) -> int:
    """Write the function of `yolo_network.LabelImage` as one ONNX file, and give the version of its operators.

    `network` is what `LabelImage` takes, in evaluation mode. The file's input `image` is float32
    (batch, `colour_channels`: 1 or 3, y, x) from 0 to 255, of any batch and size; its outputs `labels` and, where
    `two_outputs` is asked for, `classes` are float32 (batch, 1, y, x), numbered as by `LabelImage`.
    """
    inner = _network_graph(network, settings.network_channels, settings.image_size)
    float_values = {"confidence": settings.confidence, "overlap_iou": settings.overlap_iou}
    whole_values = {"image_size": settings.image_size, "stride": settings.stride, "max_objects": settings.max_objects}
    constants = [helper.make_tensor(name, TensorProto.FLOAT, (), [value]) for name, value in float_values.items()]
    constants += [helper.make_tensor(name, TensorProto.INT64, (), [value]) for name, value in whole_values.items()]
    channels = settings.network_channels
    constants.append(helper.make_tensor("channels", TensorProto.INT64, (4,), [1, channels, 1, 1]))
    strides = settings.level_strides
    constants.append(helper.make_tensor("level_strides", TensorProto.INT64, (len(strides),), strides))
    before = [_call(_letterbox, ["image", "image_size", "stride", "channels"], ["letterboxed", "shift", "gains"])]
    read_distances = helper.make_node("Transpose", ["distances"], ["pixel_distances"], perm=[0, 2, 1])
    if settings.box_bins > 1:
        bins = range(settings.box_bins)
        constants.append(helper.make_tensor("bins", TensorProto.FLOAT, (len(bins),), bins))
        read_distances = _call(_binned_distances, ["distances", "bins"], ["pixel_distances"])
    after = [
        read_distances,
        _call(_decode, ["pixel_distances", "letterboxed", "level_strides"], ["boxes"]),
        _call(
            _label_images,
            ["image", "shift", "gains", "boxes", *_NETWORK_OUTPUTS[1:], "confidence", "overlap_iou", "max_objects"],
            ["labels", "classes"],
        ),
    ]
    outputs = ["labels", "classes"] if two_outputs else ["labels"]
    graph = helper.make_graph(
        [*before, *inner.node, *after],
        "label_image",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", colour_channels, "y", "x"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1, "y", "x"]) for name in outputs],
        [*inner.initializer, *constants],
    )
    operators = [helper.make_opsetid("", OPSET), helper.make_opsetid(_domain.domain, _domain.version)]
    for function in _functions:
        # ONNX Script overlooks the calls that stand within a loop
        del function.opset_import[:]
        function.opset_import.extend(operators)
    model = helper.make_model(
        graph, functions=_functions, opset_imports=operators, ir_version=IR_VERSION, producer_name="zoowizard"
    )
    model = inline_local_functions(model)
    del model.opset_import[:]
    model.opset_import.append(operators[0])
    _settle_casts(model.graph, _element_types(onnx.shape_inference.infer_shapes(model, strict_mode=True).graph))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return OPSET
