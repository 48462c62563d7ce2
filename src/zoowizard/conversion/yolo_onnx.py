"""The label image of `yolo_network` as one ONNX file.

PyTorch exports the network alone, with free sizes. What stands around it in `yolo_network.LabelImage` is written here a
second time, function for function and in the same order of floating-point operations, in ONNX Script: PyTorch's
exporter translates neither its loops nor its lists. All of it is inlined, so that the file holds standard operators
only.

Sources: those of `yolo_network`, and https://onnx.ai/onnx/operators/.
"""

import io
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

_steps = Opset("zoowizard", 1)


@script(_steps, default_opset=op)
def _inner_size(outer_height: Value, outer_width: Value, height: Value, width: Value) -> tuple[Value, Value]:
    """Sides of the largest image of the shape `height` : `width` within the outer one; all int64 scalars."""
    high, wide = op.Cast(height, to=DOUBLE), op.Cast(width, to=DOUBLE)
    gain = op.Min(op.Cast(outer_height, to=DOUBLE) / high, op.Cast(outer_width, to=DOUBLE) / wide)
    inner_height = op.Max(op.Cast(op.Round(high * gain), to=INT64), 1)
    inner_width = op.Max(op.Cast(op.Round(wide * gain), to=INT64), 1)
    return inner_height, inner_width


@script(_steps, default_opset=op)
def _margin(padding: Value) -> Value:
    """The part of the padding that stands before the image; int64 scalars."""
    return op.Cast(op.Round(op.Cast(padding, to=DOUBLE) / 2.0 - 0.1), to=INT64)


@script(_steps, default_opset=op)
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


@script(_steps, default_opset=op)
def _resize_weights(part: Value) -> tuple[Value, Value]:
    near = op.Cast(op.Round((1.0 - part) * 2048.0), to=INT32)
    far = op.Cast(op.Round(part * 2048.0), to=INT32)
    return near, far


@script(_steps, default_opset=op)
def _resize_8bit(image: Value, height: Value, width: Value) -> Value:
    """`yolo_network.resize_8bit`; 32 bits are enough for its whole numbers."""
    shape = op.Shape(image)
    top, bottom, down, _ = _resize_taps(op.Gather(shape, 2), height)
    left, right, across, outside = _resize_taps(op.Gather(shape, 3), width)
    top_weight, bottom_weight = _resize_weights(op.Unsqueeze(down, [1]))
    left_weight, right_weight = _resize_weights(op.Where(outside, 0.0, across))
    pixels = op.Cast(image, to=INT32)
    rows = op.Gather(pixels, left, axis=3) * left_weight + op.Gather(pixels, right, axis=3) * right_weight
    rows = rows / 16
    upper = op.Gather(rows, top, axis=2) * top_weight / 65536
    lower = op.Gather(rows, bottom, axis=2) * bottom_weight / 65536
    return op.Cast((upper + lower + 2) / 4, to=FLOAT)


@script(_steps, default_opset=op)
def _letterbox(image: Value, image_size: Value, stride: Value) -> tuple[Value, Value, Value]:
    """The network's input, and the shift and gain of the corners x1, y1, x2, y2 of a box (float32, 4 each)."""
    shape = op.Shape(image)
    height, width = op.Gather(shape, 2), op.Gather(shape, 3)
    inner_height, inner_width = _inner_size(image_size, image_size, height, width)
    padding_y, padding_x = (image_size - inner_height) % stride, (image_size - inner_width) % stride
    top, left = _margin(padding_y), _margin(padding_x)

    pixels = op.Round(op.Clip(image, 0.0, 255.0))
    resized = op.Expand(_resize_8bit(pixels, inner_height, inner_width), [1, 3, 1, 1])
    before = op.Concat([0, 0], op.Reshape(top, [1]), op.Reshape(left, [1]), axis=0)
    after = op.Concat([0, 0], op.Reshape(padding_y - top, [1]), op.Reshape(padding_x - left, [1]), axis=0)
    letterboxed = op.Pad(resized, op.Concat(before, after, axis=0), 114.0) / 255.0

    corner = op.Concat(op.Reshape(left, [1]), op.Reshape(top, [1]), axis=0)
    shift = op.Cast(op.Concat(corner, corner, axis=0), to=FLOAT)
    gain_y = op.Cast(inner_height, to=DOUBLE) / op.Cast(height, to=DOUBLE)
    gain_x = op.Cast(inner_width, to=DOUBLE) / op.Cast(width, to=DOUBLE)
    gain = op.Concat(op.Reshape(gain_x, [1]), op.Reshape(gain_y, [1]), axis=0)
    gains = op.Cast(op.Concat(gain, gain, axis=0), to=FLOAT)
    return letterboxed, shift, gains


@script(_steps, default_opset=op)
def _binned_distances(distances: Value, bins: Value) -> Value:
    """(batch, 4 · bins, anchors) → the mean bin (batch, anchors, 4); `bins` is 0, 1, 2, … in float32."""
    split = op.Reshape(distances, op.Concat([0, 4], op.Shape(bins), [-1], axis=0))
    return op.MatMul(op.Softmax(op.Transpose(split, perm=[0, 3, 1, 2]), axis=-1), bins)


@script(_steps, default_opset=op)
def _decode(distances: Value, letterboxed: Value, level_strides: Value) -> Value:
    """Distances (batch, anchors, 4) as corners (batch, anchors, 4) in pixels of the letterboxed image."""
    shape = op.Shape(letterboxed)
    anchors = op.ConstantOfShape([0, 3])
    for level in range(op.Size(level_strides)):
        level_stride = op.Gather(level_strides, level)
        rows, columns = op.Gather(shape, 2) / level_stride, op.Gather(shape, 3) / level_stride
        size = op.Concat(op.Reshape(rows, [1]), op.Reshape(columns, [1]), axis=0)
        x = op.Expand(op.Unsqueeze(op.Cast(op.Range(0, columns, 1), to=FLOAT) + 0.5, [0]), size)
        y = op.Expand(op.Unsqueeze(op.Cast(op.Range(0, rows, 1), to=FLOAT) + 0.5, [1]), size)
        pixels = op.Expand(op.Cast(level_stride, to=FLOAT), size)
        new = op.Concat(op.Reshape(x, [-1, 1]), op.Reshape(y, [-1, 1]), op.Reshape(pixels, [-1, 1]), axis=1)
        anchors = op.Concat(anchors, new, axis=0)
    centre, stride = op.Slice(anchors, [0], [2], [1]), op.Slice(anchors, [2], [3], [1])
    low = centre - op.Slice(distances, [0], [2], [2])
    high = centre + op.Slice(distances, [2], [4], [2])
    middle, extent = (low + high) / 2.0 * stride, (high - low) * stride
    return op.Concat(middle - extent / 2.0, middle + extent / 2.0, axis=2)


@script(_steps, default_opset=op)
def _choose(
    boxes: Value, scores: Value, confidence: Value, overlap_iou: Value, max_objects: Value
) -> tuple[Value, Value]:
    """`LabelImage.choose`: anchors and classes of the instances of `boxes` (anchors, 4), `scores` (classes, anchors)."""
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


@script(_steps, default_opset=op)
def _interpolation_taps(size_in: Value, size_out: Value) -> tuple[Value, Value, Value]:
    scale = op.Cast(op.Cast(size_in, to=DOUBLE) / op.Cast(size_out, to=DOUBLE), to=FLOAT)
    source = op.Max((op.Cast(op.Range(0, size_out, 1), to=FLOAT) + 0.5) * scale - 0.5, 0.0)
    last = op.Cast(size_in - 1, to=FLOAT)
    first = op.Min(op.Floor(source), last)
    second = op.Min(first + 1.0, last)
    return op.Cast(first, to=INT64), op.Cast(second, to=INT64), source - first


@script(_steps, default_opset=op)
def _interpolate(
    plane: Value, top: Value, bottom: Value, down: Value, left: Value, right: Value, across: Value
) -> Value:
    # columns before rows, while there are few rows: `yolo_network` does it the other way round, with the same sums
    wide = op.Gather(plane, left, axis=1) * (1.0 - across) + op.Gather(plane, right, axis=1) * across
    below = op.Unsqueeze(down, [1])
    return op.Gather(wide, top, axis=0) * (1.0 - below) + op.Gather(wide, bottom, axis=0) * below


@script(_steps, default_opset=op)
def _paint(logits: Value, corners: Value, kinds: Value, height: Value, width: Value) -> tuple[Value, Value]:
    """`yolo_network.paint`: a flat label image and the class of each label (float32; the first is the background's).

    `corners` (n, 4) are whole pixels within the image, and no box is empty.
    """
    shape = op.Shape(logits)
    rows, columns = op.Gather(shape, 1), op.Gather(shape, 2)
    inner_height, inner_width = _inner_size(rows * 4, columns * 4, height, width)
    padding_y, padding_x = rows * 4 - inner_height, columns * 4 - inner_width
    uneven = op.Max(padding_y % 4, padding_x % 4) > 0
    uneven_halves = op.Max(padding_y % 8, padding_x % 8) > 0
    enlarge = op.Where(uneven, 4, op.Where(uneven_halves, 2, 1))
    large_rows, large_columns = rows * enlarge, columns * enlarge
    inner_height, inner_width = _inner_size(large_rows, large_columns, height, width)
    margin_y, margin_x = _margin(large_rows - inner_height), _margin(large_columns - inner_width)
    large_top, large_bottom, large_down = _interpolation_taps(rows, large_rows)
    large_left, large_right, large_across = _interpolation_taps(columns, large_columns)
    top, bottom, down = _interpolation_taps(inner_height, height)
    left, right, across = _interpolation_taps(inner_width, width)
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


@script(_steps, default_opset=op)
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
    shape = op.Shape(image)
    height, width = op.Gather(shape, 2), op.Gather(shape, 3)
    size = op.Concat(op.Reshape(height, [1]), op.Reshape(width, [1]), axis=0)
    limits = op.Concat(op.Reshape(width, [1]), op.Reshape(height, [1]), axis=0)
    # not op.Sigmoid: the error of ONNX Runtime's is absolute, and changes the order of small scores
    scores = 1.0 / (1.0 + op.Exp(op.Neg(class_logits)))
    plane_shape = op.Slice(op.Shape(prototypes), [2], [4])
    none = op.Expand(0.0, op.Concat([0, 1], size, axis=0))
    labels = op.Identity(none)
    kinds = op.Identity(none)
    for index in range(op.Gather(shape, 0)):
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
            height,
            width,
        )
        image_shape = op.Concat([1, 1], size, axis=0)
        painted_kinds = op.Gather(label_kinds, op.Cast(painted, to=INT64))
        labels = op.Concat(labels, op.Reshape(painted, image_shape), axis=0)
        kinds = op.Concat(kinds, op.Reshape(painted_kinds, image_shape), axis=0)
    return labels, kinds


_FUNCTIONS = (
    _inner_size,
    _margin,
    _resize_taps,
    _resize_weights,
    _resize_8bit,
    _letterbox,
    _binned_distances,
    _decode,
    _choose,
    _interpolation_taps,
    _interpolate,
    _paint,
    _label_images,
)


def _network_graph(network: nn.Module, image_size: int) -> onnx.GraphProto:
    """The network alone, `letterboxed` → `distances`, `class_logits`, `coefficients`, `prototypes`, all sizes free."""
    planes, anchors = {0: "batch", 2: "y", 3: "x"}, {0: "batch", 2: "anchors"}
    names = ["distances", "class_logits", "coefficients", "prototypes"]
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    file = io.BytesIO()
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, image_size, image_size, device=device),),
        file,
        dynamo=False,
        opset_version=OPSET,
        input_names=["letterboxed"],
        output_names=names,
        dynamic_axes={"letterboxed": planes, "prototypes": planes} | dict.fromkeys(names[:3], anchors),
    )
    return onnx.load_from_string(file.getvalue()).graph


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
    return helper.make_node(function.name, inputs, outputs, domain=_steps.domain)


def export_onnx(network: nn.Module, settings: Settings, colour_channels: int, path: Path, two_outputs: bool) -> int:
    """Write the function of `yolo_network.LabelImage` as one ONNX file, and give the version of its operators.

    `network` is what `LabelImage` takes, in evaluation mode. The file's input `image` is float32
    (batch, `colour_channels`: 1 or 3, y, x) from 0 to 255, of any batch and size; its outputs `labels` and, where
    `two_outputs` is asked for, `classes` are float32 (batch, 1, y, x), numbered as by `LabelImage`.
    """
    inner = _network_graph(network, settings.image_size)
    float_values = {"confidence": settings.confidence, "overlap_iou": settings.overlap_iou}
    whole_values = {"image_size": settings.image_size, "stride": settings.stride, "max_objects": settings.max_objects}
    constants = [helper.make_tensor(name, TensorProto.FLOAT, (), [value]) for name, value in float_values.items()]
    constants += [helper.make_tensor(name, TensorProto.INT64, (), [value]) for name, value in whole_values.items()]
    strides = settings.level_strides
    constants.append(helper.make_tensor("level_strides", TensorProto.INT64, (len(strides),), strides))
    before = [_call(_letterbox, ["image", "image_size", "stride"], ["letterboxed", "shift", "gains"])]
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
            ["image", "shift", "gains", "boxes", "class_logits", "coefficients", "prototypes"]
            + ["confidence", "overlap_iou", "max_objects"],
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
    operators = [helper.make_opsetid("", OPSET), helper.make_opsetid(_steps.domain, _steps.version)]
    functions = [function.to_function_proto() for function in _FUNCTIONS]
    for function in functions:
        del function.opset_import[:]
        function.opset_import.extend(operators)
    model = helper.make_model(
        graph, functions=functions, opset_imports=operators, ir_version=IR_VERSION, producer_name="zoowizard"
    )
    model = inline_local_functions(model)
    del model.opset_import[:]
    model.opset_import.append(operators[0])
    _settle_casts(model.graph, _element_types(onnx.shape_inference.infer_shapes(model, strict_mode=True).graph))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return OPSET
