"""Peak memory of a graph straight from its definition: which tensors are needed when."""

from math import prod

import onnx_ir as ir

from hwnas.graph import Graph, shape_of
from hwnas.graph.liveness import IN_PLACE

__all__ = ["peak_activation_bytes"]


def peak_activation_bytes(graph: Graph) -> int:
    """Returns the largest number of bytes that exist at once.

    While operator p runs, a tensor exists if it was there before p or is made by p, and is read by
    p or later, or is a result of the graph. An input that nobody reads stays all the time. An
    operator that works in place needs no room for its result where one of its operands has that
    size and is not needed afterwards.

    Args:
        graph: Any graph with static shapes.
    """
    nodes = graph.nodes
    unread = {v for v in graph.inputs if not any(v in node.inputs for node in nodes)}
    made: dict[ir.Value, int] = dict.fromkeys(graph.inputs, -1)
    for position, node in enumerate(nodes):
        made.update(dict.fromkeys(node.outputs, position))

    def is_needed_from(value: ir.Value, position: int) -> bool:
        is_read = any(value in node.inputs for node in nodes[position:])
        return is_read or value in graph.outputs or value in unread

    peaks = [sum(_bytes(value) for value in graph.inputs)]
    for position, node in enumerate(nodes):
        operands = [v for v in made if made[v] < position and is_needed_from(v, position)]
        results = sum(_bytes(value) for value in node.outputs)
        overwritten = node.op_type in IN_PLACE and any(
            _bytes(v) == results and not is_needed_from(v, position + 1)
            for v in operands
            if v in node.inputs
        )
        peaks.append(sum(map(_bytes, operands)) + (0 if overwritten else results))
    return max(peaks)


def _bytes(value: ir.Value) -> int:
    producer = value.producer()
    is_constant = producer is not None and producer.op_type == "Constant"
    return 0 if is_constant else 4 * prod(shape_of(value))
