"""What operators of ONNX need to be written as operators of TensorFlow Lite.

TensorFlow Lite is channels last: a tensor of rank 4 is `(n, h, w, c)`. One whose channels are
apart in several axes has them last too, in their order: `(n, g, c, h, w)` is `(n, h, w, g, c)`.
Tensors of lower rank keep their axes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwnas.errors import LoweringError
from hwnas.graph import Graph, Shape, shape_of
from hwnas.lowering.onnx_model import Weights
from hwnas.lowering.tflite_network import Options, TfliteOperator, TfliteTensor

__all__ = [
    "TfliteLowering",
    "constant_tensor",
    "file_order",
    "float_attribute",
    "int_attribute",
    "ints_attribute",
    "refused",
    "result_shape",
]


class TfliteLowering:
    """Operators so far, and the tensor of each value.

    Args:
        graph: The network.
        weights: A value for every weight that the graph leaves unbound.
    """

    def __init__(self, graph: Graph, weights: Weights) -> None:
        self.operators: list[TfliteOperator] = []
        self.inputs = [TfliteTensor(v.name or "", _file_shape(shape_of(v))) for v in graph.inputs]
        self._graph = graph
        self._weights = weights
        self._tensors = dict(zip(graph.inputs, self.inputs, strict=True))

    def tensor(self, value: ir.Value, node: ir.Node | None) -> TfliteTensor:
        """The tensor of a computed value, or of a constant as a tensor in the file's layout."""
        known = self._tensors.get(value)
        if known is not None:
            return known
        array = self.constant(value)
        if array is None:
            raise refused(node, f"{value.name!r} has no value")
        return constant_tensor(value.name or "", array.transpose(file_order(array.ndim)))

    def first(self, node: ir.Node) -> TfliteTensor:
        """The tensor of a node's first input."""
        value = node.inputs[0]
        if value is None:
            raise refused(node, "it has no input")
        return self.tensor(value, node)

    def constant(self, value: ir.Value | None) -> npt.NDArray[Any] | None:
        """Value of a constant in ONNX's layout; None for what is computed."""
        if value is None:
            return None
        if value.const_value is not None:
            return value.const_value.numpy()
        if value.name in self._graph.weights:
            found = self._weights.get(value.name or "")
            if found is None:
                raise LoweringError(f"weight {value.name!r} of {self._graph.name!r} has no value")
            if found.shape != shape_of(value):
                raise LoweringError(
                    f"weight {value.name!r} is {found.shape}, the graph wants {shape_of(value)}"
                )
            return found
        producer = value.producer()
        if producer is not None and producer.op_type == "Constant":
            if "value_ints" in producer.attributes:
                return np.array(producer.attributes["value_ints"].as_ints(), dtype=np.int64)
            if "value" in producer.attributes:
                return producer.attributes["value"].as_tensor().numpy()
        return None

    def weight(self, node: ir.Node, slot: int) -> npt.NDArray[Any]:
        """An operand that must be constant."""
        array = self.constant(node.inputs[slot])
        if array is None:
            raise refused(node, f"its input {slot} is computed, not a constant")
        return array

    def emit(
        self,
        node: ir.Node,
        code: str,
        inputs: Sequence[TfliteTensor],
        shape: Shape,
        options: Options | None = None,
        *,
        version: int = 1,
        suffix: str = "",
    ) -> TfliteTensor:
        """Append an operator; all but the last of a node have a suffix to their name."""
        value = node.outputs[0]
        name = f"{node.name}/{suffix}" if suffix else value.name or node.name or ""
        result = TfliteTensor(name, shape)
        owner = (node.name or "").split("/")[0] if "/" in (node.name or "") else ""
        self.operators.append(
            TfliteOperator(code, tuple(inputs), result, options or {}, version, owner)
        )
        if not suffix:
            self._tensors[value] = result
        return result

    def alias(self, node: ir.Node, tensor: TfliteTensor) -> None:
        """The node's result is a tensor that is there already."""
        self._tensors[node.outputs[0]] = tensor


def result_shape(node: ir.Node) -> Shape:
    """Shape of a node's only result in the file's layout."""
    return _file_shape(shape_of(node.outputs[0]))


def file_order(rank: int) -> tuple[int, ...]:
    """Axes of a tensor of the graph in the order that they have in the file."""
    if rank < 4:
        return tuple(range(rank))
    return (0, rank - 2, rank - 1, *range(1, rank - 2))


def _file_shape(shape: Shape) -> Shape:
    return tuple(shape[axis] for axis in file_order(len(shape)))


def constant_tensor(name: str, array: npt.NDArray[Any]) -> TfliteTensor:
    """A constant as float32, or as int32 if it holds integers."""
    kind = np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32
    return TfliteTensor(
        name, array.shape, np.ascontiguousarray(array, dtype=kind).reshape(array.shape)
    )


def refused(node: ir.Node | None, why: str) -> LoweringError:
    """The error that names operator and node."""
    which = "the network" if node is None else f"operator {node.op_type!r} of node {node.name!r}"
    return LoweringError(f"{which} cannot be written as TensorFlow Lite: {why}")


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """An attribute, or its default."""
    found = node.attributes.get(name)
    return default if found is None else found.as_int()


def float_attribute(node: ir.Node, name: str, default: float) -> float:
    """An attribute, or its default."""
    found = node.attributes.get(name)
    return default if found is None else found.as_float()


def ints_attribute(node: ir.Node, name: str, default: Sequence[int]) -> Sequence[int]:
    """An attribute, or its default."""
    found = node.attributes.get(name)
    return default if found is None else found.as_ints()
