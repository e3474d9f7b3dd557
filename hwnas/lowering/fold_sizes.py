"""Sizes that a model computes from sizes, computed.

Exporters that once had free sizes in mind write `Shape`, `Gather` and `Concat` where a constant
would do. With every input size known they are constants; until they are, the sizes of what is
reshaped by them are not known either, because shape inference follows few operators.
"""

import logging
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from hwnas.errors import LoweringError

__all__ = ["SMALL", "fold_sizes"]

log = logging.getLogger(__name__)

SMALL = 64
"""Most elements of a value that is computed; sizes and axes have fewer."""

_MOST_ROUNDS = 64
_STANDARD = ("", "ai.onnx")
_COMPUTED = frozenset(
    {"Add", "And", "Cast", "Ceil", "Concat", "Div", "Equal", "Floor", "Gather", "Greater", "Less"}
    | {"Identity", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "ReduceProd", "Reshape"}
    | {"Slice", "Squeeze", "Sub", "Unsqueeze", "Where"}
)  # none gives more than the product of its inputs' elements
_BY_SHAPE = {"ConstantOfShape": 0, "Expand": 1}  # input that is the shape of the result

Array = npt.NDArray[Any]


def fold_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inferred shapes, and without operators on nothing but small constants.

    A value computed from sizes may be the size of another, so this goes round until nothing
    changes; what is not known after 64 rounds stays unknown.

    Args:
        model: Checked, with known input sizes; it is not changed.

    Raises:
        LoweringError: Shapes do not fit together.
    """
    inferred = _inferred(model)
    for _ in range(_MOST_ROUNDS):
        if not _fold(inferred):
            break
        inferred = _inferred(inferred)
    return inferred


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, UnicodeDecodeError) as error:
        raise LoweringError(f"shapes of {model.graph.name!r} do not fit: {error}") from error


def _fold(model: onnx.ModelProto) -> bool:
    """Make initializers of what can be computed, in place; whether there was any."""
    graph = model.graph
    results = {value.name for value in graph.output}
    values = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if prod(tensor.dims) <= SMALL
    }
    shapes = {v.name: _shape(v) for v in (*graph.input, *graph.value_info)}
    kept = []
    count = len(graph.initializer)
    for node in graph.node:
        found = None
        if len(node.output) == 1 and node.output[0] not in results:
            found = _value(node, values, shapes, model)
        if found is None or found.size > SMALL:
            kept.append(node)
            continue
        values[node.output[0]] = found
        graph.initializer.append(onnx.numpy_helper.from_array(found, node.output[0]))
    if len(kept) == len(graph.node):
        return False
    del graph.node[:]
    graph.node.extend(kept)
    log.debug("%d values of %s computed", len(graph.initializer) - count, graph.name)
    return True


def _value(
    node: onnx.NodeProto,
    values: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...] | None],
    model: onnx.ModelProto,
) -> Array | None:
    """Its result, or None where it is not known or not small."""
    if node.domain not in _STANDARD:
        return None
    if node.op_type == "Constant":
        return _constant(node)
    if node.op_type in ("Shape", "Size"):
        shape = shapes.get(node.input[0])
        if shape is None:
            return None
        if node.op_type == "Size":
            return np.array(prod(shape), np.int64)
        ends = {a.name: a.i for a in node.attribute}
        return np.array(shape[ends.get("start", 0) : ends.get("end")], np.int64)
    if not all(name in values for name in node.input if name):
        return None
    if node.op_type in _BY_SHAPE:
        if prod(values[node.input[_BY_SHAPE[node.op_type]]].tolist()) > SMALL:
            return None
    elif node.op_type not in _COMPUTED:
        return None
    return _evaluated(node, values, model)


def _constant(node: onnx.NodeProto) -> Array | None:
    (attribute,) = node.attribute
    if attribute.name == "value" and prod(attribute.t.dims) <= SMALL:
        return onnx.numpy_helper.to_array(attribute.t)
    numbers = {
        "value_float": (attribute.f, np.float32),
        "value_floats": (attribute.floats, np.float32),
        "value_int": (attribute.i, np.int64),
        "value_ints": (attribute.ints, np.int64),
    }
    if attribute.name not in numbers:
        return None
    value, kind = numbers[attribute.name]
    return np.array(value, kind)


def _evaluated(
    node: onnx.NodeProto, values: Mapping[str, Array], model: onnx.ModelProto
) -> Array | None:
    from onnx.reference import ReferenceEvaluator  # half a second, which most models need not

    inputs = {name: values[name] for name in node.input if name}
    # Values whose type nobody asks for: what is evaluated takes arrays as they come.
    graph = onnx.GraphProto(node=[node], name="fold")
    graph.input.extend(onnx.ValueInfoProto(name=name) for name in inputs)
    graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
    alone = onnx.ModelProto(
        graph=graph, opset_import=model.opset_import, ir_version=model.ir_version
    )
    try:
        with np.errstate(all="ignore"):
            (found,) = ReferenceEvaluator(alone).run(None, inputs)
    except Exception as error:  # whatever numpy says of values that do not fit
        log.debug("%s %s is not computed: %s", node.op_type, node.name, error)
        return None
    return np.asarray(found)


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    sides = kind.shape.dim
    if not all(side.HasField("dim_value") for side in sides):
        return None
    return tuple(side.dim_value for side in sides)
