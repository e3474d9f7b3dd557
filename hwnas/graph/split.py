"""A network cut into pieces where its blocks meet."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import onnx_ir as ir

from hwnas.graph.graph import IR_VERSION, OPSET_VERSION, WEIGHT_MARK, Graph

__all__ = ["Piece", "block_of", "block_order", "is_branching", "split_blocks"]


@dataclass(frozen=True, eq=False)
class Piece:
    """Some operators of a network that follow each other.

    Args:
        block: Whose they are; empty for operators of no block.
        graph: The piece as a graph of its own; weights keep their names and what values they have.
        reads: Names, in the network, of the graph's inputs in order.
        writes: Names of its outputs.
    """

    block: str
    graph: Graph
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def block_of(name: str | None) -> str:
    """The block that an operator or value named `block/...` belongs to; empty for none."""
    return name.split("/")[0] if name and "/" in name else ""


def block_order(graph: Graph) -> list[str]:
    """Blocks of a network in the order in which they first appear."""
    return list(dict.fromkeys(block_of(node.name) for node in graph.nodes))


def is_branching(graph: Graph) -> bool:
    """Whether a block reads several values of other blocks, or several blocks read one value."""
    read: dict[str, set[str]] = defaultdict(set)
    reading: dict[str, set[str]] = defaultdict(set)
    weights = graph.weights
    for node in graph.nodes:
        block = block_of(node.name)
        for value in node.inputs:
            if value is None or value.name is None or value.name in weights:
                continue
            producer = value.producer()
            is_data = producer is not None or value in graph.inputs
            if is_data and (producer is None or block_of(producer.name) != block):
                read[block].add(value.name)
                reading[value.name].add(block)
    return any(len(found) > 1 for found in (*read.values(), *reading.values()))


def split_blocks(graph: Graph) -> list[Piece]:
    """Cut a network into runs of operators of one block, in the order in which they execute.

    A block whose operators do not follow each other gives several pieces. Weights of a piece are
    declared in the order in which its operators read them.
    """
    readers: dict[ir.Value, set[int]] = defaultdict(set)
    runs = [(block, list(nodes)) for block, nodes in groupby(graph.nodes, _block)]
    for number, (_, nodes) in enumerate(runs):
        for node in nodes:
            for value in node.inputs:
                if value is not None:
                    readers[value].add(number)
    results = set(graph.outputs)
    pieces = []
    for number, (block, nodes) in enumerate(runs):
        made = [value for node in nodes for value in node.outputs]
        leaving = [v for v in made if v in results or readers[v] - {number}]
        pieces.append(_piece(graph, block, nodes, leaving))
    return pieces


def _block(node: ir.Node) -> str:
    return block_of(node.name)


def _piece(graph: Graph, block: str, nodes: list[ir.Node], leaving: list[ir.Value]) -> Piece:
    weights = graph.weights
    copies: dict[ir.Value, ir.Value] = {}
    inputs: list[ir.Value] = []
    taken: list[ir.Value] = []
    constants: list[ir.Value] = []

    def operand(value: ir.Value | None) -> ir.Value | None:
        if value is None or value in copies:
            return None if value is None else copies[value]
        copy = copies[value] = _copy(value)
        if value.const_value is not None:
            copy.const_value = value.const_value
            constants.append(copy)
        elif value.name in weights:
            copy.meta[WEIGHT_MARK] = True
            taken.append(copy)
        else:
            inputs.append(copy)
        return copy

    made = []
    for node in nodes:
        read = [operand(value) for value in node.inputs]
        written = [copies.setdefault(value, _copy(value)) for value in node.outputs]
        made.append(
            ir.Node(
                node.domain,
                node.op_type,
                read,
                list(node.attributes.values()),
                outputs=written,
                name=node.name,
            )
        )
    model = ir.Model(
        ir.Graph(
            [*inputs, *taken],
            [copies[value] for value in leaving],
            nodes=made,
            initializers=constants,
            opset_imports={"": OPSET_VERSION},
            name=block or "piece",
        ),
        ir_version=IR_VERSION,
    )
    return Piece(block, Graph(model), _names(inputs), _names(leaving))


def _copy(value: ir.Value) -> ir.Value:
    return ir.Value(name=value.name, shape=value.shape, type=value.type)


def _names(values: Iterable[ir.Value]) -> tuple[str, ...]:
    return tuple(value.name or "" for value in values)
