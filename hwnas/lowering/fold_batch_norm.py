"""Batch normalisation folded into the convolution before it.

In inference form `y = scale * (conv(x) - mean) / sqrt(variance + epsilon) + bias` is affine in
every channel (Ioffe & Szegedy, Batch Normalization, ICML 2015, algorithm 2, line 11), so it is a
convolution again:

    weight' = weight * factor        factor = scale / sqrt(variance + epsilon)
    bias'   = (bias_of_conv - mean) * factor + bias

Runtimes do the same when they load a model; a folded file is smaller, and what was measured is
what is handed over.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwnas.errors import LoweringError
from hwnas.graph import Graph, shape_of
from hwnas.graph.graph import WEIGHT_MARK
from hwnas.lowering.onnx_model import Weights

__all__ = ["fold_batch_norm"]

_ONNX = ("", "ai.onnx")  # names of the standard operators
_EPSILON = 1e-5  # ONNX's default
_WEIGHT_ENDING = "/weight"

Arrays = dict[str, npt.NDArray[np.float32]]


def fold_batch_norm(graph: Graph, weights: Weights) -> tuple[Graph, Arrays]:
    """A graph without foldable batch normalisations, and its weights.

    Folded is every `BatchNormalization` in inference form whose input is a convolution that nobody
    else reads, and whose weights serve that convolution alone. All others stay as they are.
    Neither argument is changed; arrays that do not change are shared, not copied.

    Args:
        graph: The network.
        weights: Values by name of all weights that the graph leaves unbound; others are ignored.

    Returns:
        The new graph, and the values of its unbound weights. Names stay; a convolution
        `block/conv/weight` that had no bias gets `block/conv/bias`. Numbers are computed in
        float64 and stored as float32.

    Raises:
        LoweringError: A value is missing, of another shape, or gives a number that is not finite.
    """
    model = graph.model.clone()
    values: Arrays = {}
    for name, value in graph.weights.items():
        if value.const_value is None:
            values[name] = _checked(graph, name, weights)
    for node in list(model.graph):
        convolution = _foldable_into(node)
        if convolution is not None:
            _fold(model.graph, convolution, node, values)
    folded = Graph(model)
    unbound = {name for name, value in folded.weights.items() if value.const_value is None}
    return folded, {name: array for name, array in values.items() if name in unbound}


def _foldable_into(node: ir.Node) -> ir.Node | None:
    """The convolution that takes this node in, or None."""
    if not _is_inference_batch_norm(node):
        return None
    x = node.inputs[0]
    assert x is not None
    convolution = x.producer()
    if convolution is None or convolution.op_type != "Conv" or convolution.domain not in _ONNX:
        return None
    if len(x.uses()) != 1 or x.is_graph_output():
        return None
    own = [value for value in convolution.inputs[1:] if value is not None]
    if any(len(value.uses()) != 1 or not _is_weight(value) for value in own):
        return None
    return convolution


def _is_inference_batch_norm(node: ir.Node) -> bool:
    if node.op_type != "BatchNormalization" or node.domain not in _ONNX:
        return False
    training = node.attributes.get("training_mode")
    if (training is not None and training.as_int()) or len(node.outputs) != 1:
        return False
    return all(value is not None and _is_weight(value) for value in node.inputs[1:])


def _is_weight(value: ir.Value) -> bool:
    return value.is_initializer() or WEIGHT_MARK in value.meta


def _fold(graph: ir.Graph, convolution: ir.Node, norm: ir.Node, values: Arrays) -> None:
    weight = convolution.inputs[1]
    assert weight is not None
    scale, shift, mean, variance = (_double(value, values) for value in norm.inputs[1:])
    found = norm.attributes.get("epsilon")
    epsilon = _EPSILON if found is None else found.as_float()
    bias = convolution.inputs[2] if len(convolution.inputs) > 2 else None
    offset = np.zeros_like(mean) if bias is None else _double(bias, values)
    with np.errstate(all="ignore"):  # what is not finite is refused below, by name
        factor = scale / np.sqrt(variance + epsilon)
        kernel = _double(weight, values)
        kernel = kernel * factor.reshape(-1, *(1,) * (kernel.ndim - 1))
        offset = (offset - mean) * factor + shift
    if bias is None:
        bias = ir.Value(
            name=_bias_name(graph, weight), shape=ir.Shape(mean.shape), type=weight.type
        )
        bias.meta[WEIGHT_MARK] = True
        graph.inputs.append(bias)
        convolution.resize_inputs(3)
        convolution.replace_input_with(2, bias)
    _store(weight, kernel, values, norm)
    _store(bias, offset, values, norm)

    used = [value for value in norm.inputs[1:] if value is not None]
    result, kept = norm.outputs[0], convolution.outputs[0]
    if result.is_graph_output():
        kept.name, result.name = result.name, None
    result.replace_all_uses_with(kept, replace_graph_outputs=True)
    graph.remove(norm, safe=True)
    for value in used:
        if not value.uses() and value.name is not None:
            values.pop(value.name, None)
            if value.is_initializer():
                graph.initializers.pop(value.name)
            if value.is_graph_input():
                graph.inputs.remove(value)


def _bias_name(graph: ir.Graph, weight: ir.Value) -> str:
    stem = (weight.name or "").removesuffix(_WEIGHT_ENDING)
    taken = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    name = f"{stem}/bias"
    while name in taken:
        name += "_folded"
    return name


def _checked(graph: Graph, name: str, weights: Weights) -> npt.NDArray[np.float32]:
    array = weights.get(name)
    if array is None:
        raise LoweringError(f"weight {name!r} of {graph.name!r} has no value")
    shape = shape_of(graph.weights[name])
    if array.shape != shape:
        raise LoweringError(f"weight {name!r} is {array.shape}, the graph wants {shape}")
    return array


def _double(value: ir.Value | None, values: Arrays) -> npt.NDArray[np.float64]:
    assert value is not None
    array = values.get(value.name or "")
    if array is None:
        assert value.const_value is not None
        array = value.const_value.numpy()
    return array.astype(np.float64)


def _store(value: ir.Value, array: npt.NDArray[np.float64], values: Arrays, norm: ir.Node) -> None:
    name = value.name or ""
    with np.errstate(over="ignore"):
        stored = array.astype(np.float32)
    if not np.isfinite(stored).all():
        raise LoweringError(
            f"folding {norm.name!r} into {name!r} gives numbers that are not finite: "
            "its variance is negative or its weights are not numbers; train again or mend them"
        )
    if value.const_value is None:
        values[name] = stored
    else:
        value.const_value = ir.tensor(stored, name=name)
