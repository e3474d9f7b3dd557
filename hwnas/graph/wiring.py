"""A graph as labelled nodes and numbered wires: what keys and encodings read of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwnas.graph.graph import Graph, shape_of

__all__ = ["Wiring", "read_inputs", "wiring_of"]


@dataclass(frozen=True, eq=False)
class Wiring:
    """Nodes are the inputs that something reads, then the operators in the graph's order.

    Args:
        labels: Everything that tells a node apart but for weight values, one a node.
        kinds: Operator types, `input` for inputs.
        inputs: How many of the nodes are inputs.
        wires: Rows (source, destination, input slot of the destination), `(e, 3)` int32.
        outputs: Nodes that the graph returns, in order, `(k,)` int32.
    """

    labels: tuple[bytes, ...]
    kinds: tuple[str, ...]
    inputs: int
    wires: npt.NDArray[np.int32]
    outputs: npt.NDArray[np.int32]


def wiring_of(graph: Graph, context: str = "", order: Sequence[ir.Node] | None = None) -> Wiring:
    """The wiring of a graph.

    Args:
        graph: The graph.
        context: Goes into the labels of the inputs.
        order: Its operators in topological order; by default they stand so in the graph.

    Raises:
        LoweringError: A value has no static shape.
    """
    weights = graph.weights
    labels: list[bytes] = []
    kinds: list[str] = []
    edges: list[tuple[int, int, int]] = []
    index: dict[ir.Value, int] = {}
    for value in read_inputs(graph):
        index[value] = len(labels)
        labels.append(f"input {shape_of(value)} {value.dtype} {context}".encode())
        kinds.append("input")
    inputs = len(labels)
    for node in graph.nodes if order is None else order:
        here = len(labels)
        constants = []
        for slot, operand in enumerate(node.inputs):
            if operand is None:
                continue
            if operand in index:
                edges.append((index[operand], here, slot))
            elif operand.name in weights:
                constants.append(f"{slot}:w{shape_of(operand)}")
            else:
                constants.append(f"{slot}:={_scalar(operand)}")
        results = [f"{shape_of(v)} {v.dtype}" for v in node.outputs]
        labels.append(
            f"{node.domain}:{node.op_type} {_attributes(node)} {constants} {results}".encode()
        )
        kinds.append(node.op_type)
        for value in node.outputs:
            index[value] = here
    outputs = np.array([index[v] for v in graph.outputs], dtype=np.int32)
    wires = np.array(edges, dtype=np.int32).reshape(-1, 3)
    return Wiring(tuple(labels), tuple(kinds), inputs, wires, outputs)


def read_inputs(graph: Graph) -> list[ir.Value]:
    """Data inputs that something reads."""
    return [value for value in graph.inputs if value.uses() or value in graph.outputs]


def _attributes(node: ir.Node) -> str:
    return " ".join(f"{a.name}={_plain(a.value)}" for _, a in sorted(node.attributes.items()))


def _plain(value: object) -> str:
    """As text; floats as the float32 that ONNX stores, so that a loaded graph has the same key."""
    if isinstance(value, float):
        return str(np.float32(value))
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_plain, value))})"
    return repr(value)


def _scalar(value: ir.Value) -> str:
    tensor = value.const_value
    if tensor is None or prod(tensor.shape.numpy()) != 1:
        return f"{value.dtype} {value.shape}"
    return repr(tensor.numpy().item())
