"""Operators of ONNX as operators of TensorFlow Lite.

Codes and options go by their names in LiteRT's `schema.fbs`, versions by `op_version.cc`.

Its padding `SAME` gives the odd row to the end, ONNX's pads are the same on both sides: at a
stride of 2 the two differ, and the image is padded by an operator of its own, which XNNPACK fuses
into a convolution.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwnas.graph import Shape, shape_of
from hwnas.lowering.tflite_lowering import (
    TfliteLowering,
    constant_tensor,
    file_order,
    float_attribute,
    int_attribute,
    ints_attribute,
    refused,
    result_shape,
)
from hwnas.lowering.tflite_network import RELU6, Options, TfliteTensor

__all__ = ["OPERATORS", "Lower"]

SAME, VALID = 0, 1
"""Values of `Padding` in the schema."""

Lower = Callable[[TfliteLowering, ir.Node], None]


def _conv(lowering: TfliteLowering, node: ir.Node) -> None:
    x = lowering.first(node)
    kernel = lowering.weight(node, 1)
    if kernel.ndim != 4:
        raise refused(node, f"it convolves over {kernel.ndim - 2} axes, 2 can be written")
    channels, per_group, *sides = kernel.shape
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = lowering.weight(node, 2) if has_bias else np.zeros(channels, np.float32)
    group, dilation = int_attribute(node, "group", 1), ints_attribute(node, "dilations", (1, 1))
    reach = [d * (side - 1) + 1 for d, side in zip(dilation, sides, strict=True)]
    x, options = _window(lowering, node, x, reach, ints_attribute(node, "strides", (1, 1)))
    options |= {"dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}
    depthwise = per_group == 1 and group > 1
    if depthwise:
        options["depthMultiplier"] = channels // group
        kernel = kernel.transpose(1, 2, 3, 0)
    else:
        kernel = kernel.transpose(0, 2, 3, 1)
    operands = [
        x,
        constant_tensor(f"{node.name}/kernel", kernel),
        constant_tensor(f"{node.name}/bias", bias),
    ]
    if depthwise:
        version = 2 if max(dilation) > 1 else 1
        lowering.emit(
            node, "DEPTHWISE_CONV_2D", operands, result_shape(node), options, version=version
        )
    else:
        version = 6 if group > 1 else 1
        lowering.emit(node, "CONV_2D", operands, result_shape(node), options, version=version)


def _conv_transpose(lowering: TfliteLowering, node: ir.Node) -> None:
    x = lowering.first(node)
    kernel = lowering.weight(node, 1)
    plain = {"pads": 0, "output_padding": 0, "dilations": 1, "group": 1}
    given = {name: node.attributes[name].value for name in plain if name in node.attributes}
    if kernel.ndim != 4 or any(np.any(np.not_equal(v, plain[k])) for k, v in given.items()):
        raise refused(node, "only two axes without pads, dilation and groups can be written")
    channels = kernel.shape[1]
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = lowering.weight(node, 2) if has_bias else np.zeros(channels, np.float32)
    shape, stride = result_shape(node), ints_attribute(node, "strides", (1, 1))
    operands = [
        constant_tensor(f"{node.name}/shape", np.array(shape, np.int32)),
        constant_tensor(f"{node.name}/kernel", kernel.transpose(1, 2, 3, 0)),
        x,
        constant_tensor(f"{node.name}/bias", bias),
    ]
    options: Options = {"padding": VALID, "strideH": stride[0], "strideW": stride[1]}
    lowering.emit(node, "TRANSPOSE_CONV", operands, shape, options, version=3)


def _average_pool(lowering: TfliteLowering, node: ir.Node) -> None:
    x = lowering.first(node)
    kernel, stride = _pooling(node)
    before = x
    x, options = _window(lowering, node, x, kernel, stride)
    options |= {"filterHeight": kernel[0], "filterWidth": kernel[1]}
    if x is before or int_attribute(node, "count_include_pad", 0):
        lowering.emit(node, "AVERAGE_POOL_2D", [x], result_shape(node), options)
        return
    inside = np.zeros(x.shape[1:3], np.float32)
    top, left, *_ = ints_attribute(node, "pads", (0, 0, 0, 0))
    inside[top : top + before.shape[1], left : left + before.shape[2]] = 1
    windows = np.lib.stride_tricks.sliding_window_view(inside, tuple(kernel))
    counts = windows[:: stride[0], :: stride[1]].sum((2, 3))
    factor = (kernel[0] * kernel[1] / counts).astype(np.float32)[None, :, :, None]
    mean = lowering.emit(
        node, "AVERAGE_POOL_2D", [x], result_shape(node), options, suffix="with_padding"
    )
    factors = constant_tensor(f"{node.name}/per_count", factor)
    lowering.emit(node, "MUL", [mean, factors], result_shape(node))


def _max_pool(lowering: TfliteLowering, node: ir.Node) -> None:
    kernel, stride = _pooling(node)
    lowest = float(np.finfo(np.float32).min)
    x, options = _window(lowering, node, lowering.first(node), kernel, stride, fill=lowest)
    options |= {"filterHeight": kernel[0], "filterWidth": kernel[1]}
    lowering.emit(node, "MAX_POOL_2D", [x], result_shape(node), options)


def _pooling(node: ir.Node) -> tuple[Sequence[int], Sequence[int]]:
    kernel, dilation = (
        ints_attribute(node, "kernel_shape", ()),
        ints_attribute(node, "dilations", (1, 1)),
    )
    if len(kernel) != 2 or any(d != 1 for d in dilation) or int_attribute(node, "ceil_mode", 0):
        raise refused(node, "only undilated windows over 2 axes that round down can be written")
    return kernel, ints_attribute(node, "strides", (1, 1))


def _window(
    lowering: TfliteLowering,
    node: ir.Node,
    x: TfliteTensor,
    reach: Sequence[int],
    stride: Sequence[int],
    fill: float = 0.0,
) -> tuple[TfliteTensor, Options]:
    """The image, padded if `SAME` would pad it otherwise, and padding and stride of the window."""
    mode = node.attributes.get("auto_pad")
    if mode is not None and mode.as_string() not in ("NOTSET", "VALID"):
        raise refused(node, f"auto_pad {mode.as_string()!r}; give explicit pads")
    pads = ints_attribute(node, "pads", (0, 0, 0, 0))
    begin, end = pads[:2], pads[2:]
    options: Options = {"strideH": stride[0], "strideW": stride[1]}
    same = []
    for side, span, step in zip(x.shape[1:3], reach, stride, strict=True):
        total = max((-(-side // step) - 1) * step + span - side, 0)
        same.append((total // 2, total - total // 2))
    if list(zip(begin, end, strict=True)) == same:
        return x, options | {"padding": SAME}
    options["padding"] = VALID
    if not any(pads):
        return x, options
    widths = np.array([(0, 0), *zip(begin, end, strict=True), (0, 0)], dtype=np.int32)
    shape = tuple(side + sum(pair) for side, pair in zip(x.shape, widths.tolist(), strict=True))
    operands = [x, constant_tensor(f"{node.name}/pads", widths)]
    code = "PAD"
    if fill:
        code = "PADV2"
        operands.append(constant_tensor(f"{node.name}/fill", np.array(fill, np.float32)))
    return lowering.emit(node, code, operands, shape, suffix="padded"), options


def _batch_normalization(lowering: TfliteLowering, node: ir.Node) -> None:
    x = lowering.first(node)
    if int_attribute(node, "training_mode", 0) or len(x.shape) not in (2, 4):
        raise refused(node, "only inference form on 2 or 4 axes can be written")
    scale, bias, mean, variance = (
        lowering.weight(node, slot).astype(np.float64) for slot in range(1, 5)
    )
    factor = scale / np.sqrt(variance + float_attribute(node, "epsilon", 1e-5))
    factors = constant_tensor(f"{node.name}/factor", factor)
    y = lowering.emit(node, "MUL", [x, factors], x.shape, suffix="scaled")
    offsets = constant_tensor(f"{node.name}/offset", bias - mean * factor)
    lowering.emit(node, "ADD", [y, offsets], x.shape)


def _gemm(lowering: TfliteLowering, node: ir.Node) -> None:
    weight = lowering.weight(node, 1) * np.float32(float_attribute(node, "alpha", 1.0))
    if int_attribute(node, "transA", 0):
        raise refused(node, "its first operand is transposed")
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = lowering.weight(node, 2) if has_bias else np.zeros(1, np.float32)
    bias = bias * np.float32(float_attribute(node, "beta", 1.0))
    _fully_connected(
        lowering, node, weight if int_attribute(node, "transB", 0) else weight.T, bias
    )


def _matmul(lowering: TfliteLowering, node: ir.Node) -> None:
    weight = lowering.weight(node, 1)
    if weight.ndim != 2:
        raise refused(node, f"its weight has {weight.ndim} axes, not 2")
    _fully_connected(lowering, node, weight.T, np.zeros(1, np.float32))


def _fully_connected(
    lowering: TfliteLowering, node: ir.Node, weight: npt.NDArray[Any], bias: npt.NDArray[Any]
) -> None:
    x = lowering.first(node)
    features = weight.shape[0]
    if len(x.shape) != 2 or bias.size not in (1, features):
        raise refused(node, f"it multiplies {x.shape} and adds {bias.shape}; matrices only")
    operands = [
        x,
        constant_tensor(f"{node.name}/kernel", weight),
        constant_tensor(f"{node.name}/bias", np.broadcast_to(bias.reshape(-1), (features,))),
    ]
    lowering.emit(node, "FULLY_CONNECTED", operands, result_shape(node))


def _clip(lowering: TfliteLowering, node: ir.Node) -> None:
    bounds: list[float | None] = []
    for slot, name in ((1, "min"), (2, "max")):
        given = node.inputs[slot] if slot < len(node.inputs) else None
        if given is not None:
            bounds.append(float(lowering.weight(node, slot).item()))
        else:
            bounds.append(float_attribute(node, name, np.nan) if name in node.attributes else None)
    low, high = bounds
    x = lowering.first(node)
    if (low, high) == (0.0, 6.0):
        lowering.emit(node, "RELU6", [x], x.shape)
    elif (low, high) == (0.0, None):
        lowering.emit(node, "RELU", [x], x.shape)
    elif low is None and high is None:
        _identity(lowering, node)
    else:
        if low is not None:
            bound = constant_tensor(f"{node.name}/low", np.array(low, np.float32))
            suffix = "" if high is None else "from_below"
            x = lowering.emit(node, "MAXIMUM", [x, bound], x.shape, suffix=suffix)
        if high is not None:
            bound = constant_tensor(f"{node.name}/high", np.array(high, np.float32))
            lowering.emit(node, "MINIMUM", [x, bound], x.shape)


def _hard_sigmoid(lowering: TfliteLowering, node: ir.Node) -> None:
    """`clip(alpha x + beta, 0, 1)` as `relu6(6 alpha x + 6 beta) / 6`."""
    x = lowering.first(node)
    slope, shift = 6 * float_attribute(node, "alpha", 0.2), 6 * float_attribute(node, "beta", 0.5)
    if abs(slope - 1) > 1e-6:  # the attribute is a float32
        factor = constant_tensor(f"{node.name}/slope", np.array(slope, np.float32))
        x = lowering.emit(node, "MUL", [x, factor], x.shape, suffix="sloped")
    offset = constant_tensor(f"{node.name}/shift", np.array(shift, np.float32))
    clipped = {"fusedActivationFunction": RELU6}
    x = lowering.emit(node, "ADD", [x, offset], x.shape, clipped, suffix="clipped")
    sixth = constant_tensor(f"{node.name}/sixth", np.array(1 / 6, np.float32))
    lowering.emit(node, "MUL", [x, sixth], x.shape)


def _elementwise(code: str) -> Lower:
    def lower(lowering: TfliteLowering, node: ir.Node) -> None:
        shape = result_shape(node)
        operands = []
        for value in node.inputs:
            assert value is not None
            array = lowering.constant(value)
            if array is not None and array.ndim < len(shape):
                array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
                array = array.transpose(file_order(array.ndim))
                operands.append(constant_tensor(value.name or "", array))
                continue
            tensor = lowering.tensor(value, node)
            if len(tensor.shape) != len(shape) and tensor.shape not in ((), (1,)):
                raise refused(node, f"it broadcasts {tensor.shape} to {shape}; reshape it first")
            operands.append(tensor)
        lowering.emit(node, code, operands, shape)

    return lower


def _same_shape(code: str) -> Lower:
    def lower(lowering: TfliteLowering, node: ir.Node) -> None:
        x = lowering.first(node)
        lowering.emit(node, code, [x], x.shape)

    return lower


def _global_average_pool(lowering: TfliteLowering, node: ir.Node) -> None:
    x = lowering.first(node)
    if len(x.shape) != 4:
        raise refused(node, f"it averages {x.shape}, only images can be written")
    axes = constant_tensor(f"{node.name}/axes", np.array([1, 2], np.int32))
    lowering.emit(node, "MEAN", [x, axes], result_shape(node), {"keepDims": True})


def _concat(lowering: TfliteLowering, node: ir.Node) -> None:
    parts = [lowering.tensor(value, node) for value in node.inputs if value is not None]
    rank = len(parts[0].shape)
    axis = file_order(rank).index(int_attribute(node, "axis", 1) % rank)
    lowering.emit(node, "CONCATENATION", parts, result_shape(node), {"axis": axis})


def _slice(lowering: TfliteLowering, node: ir.Node) -> None:
    x = lowering.first(node)
    rank = len(x.shape)
    given = [lowering.weight(node, slot).tolist() for slot in range(1, len(node.inputs))]
    starts, ends = given[0], given[1]
    axes = given[2] if len(given) > 2 else list(range(len(starts)))
    if len(given) > 3 and any(step != 1 for step in given[3]):
        raise refused(node, f"its steps are {given[3]}, not 1")
    begin, size = [0] * rank, list(x.shape)
    for axis, start, end in zip(axes, starts, ends, strict=True):
        place = file_order(rank).index(axis % rank)
        first, last, _ = slice(start, end).indices(x.shape[place])
        begin[place], size[place] = first, last - first
    operands = [
        x,
        constant_tensor(f"{node.name}/begin", np.array(begin, np.int32)),
        constant_tensor(f"{node.name}/size", np.array(size, np.int32)),
    ]
    lowering.emit(node, "SLICE", operands, result_shape(node))


def _reshape(lowering: TfliteLowering, node: ir.Node) -> None:
    """In the order of the graph's axes, which differs from the file's where a side is lost."""
    x, wanted = lowering.first(node), shape_of(node.outputs[0])
    value = node.inputs[0]
    assert value is not None
    given = shape_of(value)
    deep = min(len(given), len(wanted)) > 3
    if deep and (given[0], given[-2:]) == (wanted[0], wanted[-2:]):
        _reshaped(lowering, node, x, result_shape(node), "")
        return
    if _is_turned(given):
        x = _transposed(lowering, node, x, _inverse(file_order(len(given))), "graph_order")
    turned = _is_turned(wanted)
    x = _reshaped(
        lowering,
        node,
        x,
        wanted if turned else result_shape(node),
        suffix="reshaped" if turned else "",
    )
    if turned:
        _transposed(lowering, node, x, file_order(len(wanted)), "")


def _transpose(lowering: TfliteLowering, node: ir.Node) -> None:
    x = lowering.first(node)
    rank = len(x.shape)
    moved = ints_attribute(node, "perm", tuple(reversed(range(rank))))
    order = file_order(rank)
    _transposed(lowering, node, x, [order.index(moved[axis]) for axis in order], "")


def _is_turned(shape: Shape) -> bool:
    """Whether a tensor lies otherwise in memory in the file than in the graph."""
    return len(shape) > 3 and prod(shape[1:-2]) != 1 and prod(shape[-2:]) != 1


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(axis) for axis in range(len(order))]


def _transposed(
    lowering: TfliteLowering, node: ir.Node, x: TfliteTensor, order: Sequence[int], suffix: str
) -> TfliteTensor:
    axes = constant_tensor(f"{node.name}/order", np.array(order, np.int32))
    shape = tuple(x.shape[axis] for axis in order)
    return lowering.emit(node, "TRANSPOSE", [x, axes], shape, suffix=suffix)


def _reshaped(
    lowering: TfliteLowering, node: ir.Node, x: TfliteTensor, shape: Shape, suffix: str
) -> TfliteTensor:
    new = constant_tensor(f"{node.name}/shape", np.array(shape, np.int32))
    options = {"newShape": list(shape)}
    return lowering.emit(node, "RESHAPE", [x, new], shape, options, suffix=suffix)


def _identity(lowering: TfliteLowering, node: ir.Node) -> None:
    x = lowering.first(node)
    if not node.outputs[0].is_graph_output():
        lowering.alias(node, x)
        return
    _reshaped(lowering, node, x, x.shape, "")


def _nothing(lowering: TfliteLowering, node: ir.Node) -> None:
    """A constant is looked up by who reads it."""


OPERATORS: dict[str, Lower] = {
    "Add": _elementwise("ADD"),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _nothing,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Flatten": _reshape,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _same_shape("HARD_SWISH"),
    "Identity": _identity,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mul": _elementwise("MUL"),
    "Relu": _same_shape("RELU"),
    "Reshape": _reshape,
    "Sigmoid": _same_shape("LOGISTIC"),
    "Slice": _slice,
    "Transpose": _transpose,
}
"""ONNX operator to what writes a node of it."""
