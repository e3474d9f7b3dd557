"""The heaviest path through a graph."""

from collections.abc import Callable, Iterable
from math import inf

import onnx_ir as ir

from hwnas.graph.graph import Graph

__all__ = ["critical_path", "heaviest_path"]


def critical_path(graph: Graph, weigh: Callable[[ir.Node], float]) -> float:
    """Weight of the heaviest path from any node or input to an output, 0 without operators.

    Args:
        graph: The graph.
        weigh: Weight of an operator, at least 0.
    """
    weight = _weights(graph, weigh, graph.inputs, floor=0.0)
    return max((weight.get(value, 0.0) for value in graph.outputs), default=0.0)


def heaviest_path(
    graph: Graph, source: ir.Value, result: ir.Value, weigh: Callable[[ir.Node], float]
) -> float:
    """Weight of the heaviest path from one value to another, minus infinity without any.

    Args:
        graph: The graph.
        source: Where paths begin.
        result: Where they end; the source itself is at 0.
        weigh: Weight of an operator.
    """
    return _weights(graph, weigh, (source,), floor=-inf).get(result, -inf)


def _weights(
    graph: Graph, weigh: Callable[[ir.Node], float], sources: Iterable[ir.Value], floor: float
) -> dict[ir.Value, float]:
    """Heaviest path to each value that one leads to; `floor` is where other operands stand."""
    weight: dict[ir.Value, float] = dict.fromkeys(sources, 0.0)
    for node in graph.nodes:
        before = [weight.get(value, floor) for value in node.inputs if value is not None]
        heaviest = max(before, default=floor)
        if heaviest > -inf:
            for value in node.outputs:
                weight[value] = heaviest + weigh(node)
    return weight
