"""Operations, parameters and bytes of a graph, counted from its shapes."""

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from hwnas.graph.graph import Graph, shape_of

__all__ = ["GraphCounts", "count_graph", "node_macs"]

BYTES_PER_ELEMENT = 4  # float32
_NORMALISATION_PARTS = ("/mean", "/variance")


@dataclass(frozen=True)
class GraphCounts:
    """What a graph does once, at its own batch size.

    Args:
        macs: Multiply-accumulates of convolutions and matrix products.
        params: Trainable weights; running statistics do not count.
        activation_bytes: Bytes of activations read and written, operator by operator.
        weight_bytes: Bytes of weights read.
        nodes: Operators; a `Constant` is none.
    """

    macs: int
    params: int
    activation_bytes: int
    weight_bytes: int
    nodes: int


def count_graph(graph: Graph) -> GraphCounts:
    """Count a graph.

    Raises:
        LoweringError: A value has no static shape.
    """
    weights = graph.weights
    sizes = {name: prod(shape_of(value)) for name, value in weights.items()}
    still = {*sizes, *graph.model.graph.initializers}  # weights and scalar constants
    still |= {v.name for n in graph.nodes if n.op_type == "Constant" for v in n.outputs}
    operators = [node for node in graph.nodes if node.op_type != "Constant"]
    moved = 0
    for node in operators:
        values = [v for v in (*node.inputs, *node.outputs) if v is not None]
        moved += sum(prod(shape_of(v)) for v in values if v.name not in still)
    return GraphCounts(
        macs=sum(node_macs(node) for node in operators),
        params=sum(n for name, n in sizes.items() if not name.endswith(_NORMALISATION_PARTS)),
        activation_bytes=BYTES_PER_ELEMENT * moved,
        weight_bytes=BYTES_PER_ELEMENT * sum(sizes.values()),
        nodes=len(operators),
    )


def node_macs(node: ir.Node) -> int:
    """Multiply-accumulates of one operator.

    0 for everything but `Conv`, `ConvTranspose`, `Gemm` and `MatMul`. A transposed convolution
    multiplies every input pixel by its whole kernel; what falls outside the result counts too.
    """
    if node.op_type == "Conv":
        weight = _input(node, 1)
        return prod(shape_of(node.outputs[0])) * prod(shape_of(weight)[1:])
    if node.op_type == "ConvTranspose":
        return prod(shape_of(_input(node, 0))) * prod(shape_of(_input(node, 1))[1:])
    if node.op_type == "Gemm":
        transposed = node.attributes.get("transA")
        left = shape_of(_input(node, 0))
        inner = left[0] if transposed is not None and transposed.as_int() else left[1]
        return prod(shape_of(node.outputs[0])) * inner
    if node.op_type == "MatMul":
        return prod(shape_of(node.outputs[0])) * shape_of(_input(node, 0))[-1]
    return 0


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None  # the checker has passed: these inputs are mandatory
    return value
