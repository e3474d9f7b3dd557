"""Models in float16: weights, activations, inputs and results, without conversions in between."""

import numpy as np
import onnx

from hwnas.errors import LoweringError

__all__ = ["to_float16"]

_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
_STAYS_FLOAT32 = {"Resize": (2,), "Upsample": (1,)}
"""Inputs that ONNX wants as float32 whatever the data is: the scales."""


def to_float16(model: onnx.ModelProto) -> None:
    """Make every float32 value of a model a float16 one, in place.

    Numbers are rounded to the nearest; what is too small for float16 becomes 0.

    Args:
        model: A model in which no operator runs a graph of its own.

    Raises:
        LoweringError: A number is beyond float16's largest, 65504; a weight lies outside the
            file; or an operator runs a graph of its own.
    """
    graph = model.graph
    kept = {
        node.input[index]
        for node in graph.node
        for index in _STAYS_FLOAT32.get(node.op_type, ())
        if index < len(node.input)
    }
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _halve(tensor, tensor.name)
    for node in graph.node:
        if kept.isdisjoint(node.output):
            for attribute in node.attribute:
                _halve_attribute(node, attribute)
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.tensor_type
        if kind.elem_type == _FLOAT and value.name not in kept:
            kind.elem_type = _HALF


def _halve_attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> None:
    if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        raise LoweringError(
            f"operator {node.op_type} ({node.name[:100]!r}) runs a graph of its own: float16 is "
            "not made of such models"
        )
    if attribute.type == onnx.AttributeProto.TENSOR:
        _halve(attribute.t, node.name)
    elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
        attribute.i = _HALF
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        several = attribute.name == "value_floats"
        numbers = np.array(attribute.floats if several else attribute.f, dtype=np.float32)
        tensor = onnx.numpy_helper.from_array(numbers)
        _halve(tensor, node.name)
        attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _halve(tensor: onnx.TensorProto, name: str) -> None:
    if tensor.data_type != _FLOAT:
        return
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise LoweringError(
            f"the value of {name[:100]!r} lies outside the file, which is not opened: save the "
            "model as one file"
        )
    numbers = onnx.numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        halves = numbers.astype(np.float16)
    if not np.array_equal(np.isfinite(numbers), np.isfinite(halves)):
        raise LoweringError(
            f"{name[:100]!r} holds {np.abs(numbers).max():g}; float16 ends at 65504: use bfloat16 "
            "or float32"
        )
    tensor.CopyFrom(onnx.numpy_helper.from_array(halves, tensor.name))
