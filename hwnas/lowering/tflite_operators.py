"""Operators of ONNX as operators of TensorFlow Lite.

Codes and options go by their names in LiteRT's `schema.fbs`, versions by `op_version.cc`.
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
from hwnas.lowering.tflite_network import RELU6, TfliteTensor
from hwnas.lowering.tflite_windows import average_pool, conv, conv_transpose, max_pool

__all__ = ["OPERATORS", "Lower"]

Lower = Callable[[TfliteLowering, ir.Node], None]


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
    "AveragePool": average_pool,
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _nothing,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Flatten": _reshape,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _same_shape("HARD_SWISH"),
    "Identity": _identity,
    "MatMul": _matmul,
    "MaxPool": max_pool,
    "Mul": _elementwise("MUL"),
    "Relu": _same_shape("RELU"),
    "Reshape": _reshape,
    "Sigmoid": _same_shape("LOGISTIC"),
    "Slice": _slice,
    "Transpose": _transpose,
}
"""ONNX operator to what writes a node of it."""
