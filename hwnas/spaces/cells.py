"""Spaces of cells: small directed graphs, repeated, whose edges carry operations.

Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019. Nodes 0 and 1 of a cell are the
results of the two cells before it, brought to one shape; every further node is the sum of
operations on earlier nodes; the result is the concatenation of those further nodes. In a reduction
cell operations on nodes 0 and 1 have stride 2.

`CellLayout` says all of it once. The space reads it, and so does a continuous supernet, which
evaluates every operation of every edge: `edge_graph` is one operation of one edge, with the weight
names that the space gives it.

Differs from the paper: a decision's options go from least to most work, so pairs of nodes 0 and 1
come last, as both have stride 2 in a reduction cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Literal

import onnx_ir as ir

from hwnas.errors import SpaceError
from hwnas.graph import Graph, GraphBuilder, Shape
from hwnas.spaces.cell_operations import Operation, preprocess
from hwnas.spaces.decisions import Decision, Option
from hwnas.spaces.inverted_residual import classifier, conv_unit, network_input
from hwnas.spaces.space import ChoiceBlock, SearchSpace

__all__ = ["INPUTS", "Cell", "CellLayout", "CellSpace", "cell_blocks", "cell_sequence"]

INPUTS = 2
"""Nodes of a cell that are its inputs: 0, the cell before the last one, and 1, the last one."""

Kind = Literal["normal", "reduction"]


@dataclass(frozen=True)
class Cell:
    """One cell of a network.

    Args:
        name: Of the block with its result, and stem of its other blocks.
        kind: `normal`, or `reduction`, which halves the side.
        width: Channels of every node.
        side: Of nodes 0 and 1, in pixels.
        inputs: Names of the blocks whose results become nodes 0 and 1.
        input_strides: At which they do so: 2 where that result is twice as large as the other.
    """

    name: str
    kind: Kind
    width: int
    side: int
    inputs: tuple[str, str]
    input_strides: tuple[int, int]

    @property
    def stride(self) -> int:
        """From nodes 0 and 1 to all others."""
        return 2 if self.kind == "reduction" else 1


@dataclass(frozen=True)
class CellLayout:
    """What the cells of a space are made of.

    Args:
        cells: In order.
        operations: Candidates on every edge, from least to most work.
        nodes: Nodes of a cell beside its inputs; they have the numbers 2 to `nodes + 1`.
        edges: `pairs`: a node reads two earlier ones, by one operation each. `subsets`: an edge
            from every earlier node keeps any subset of the operations; a node that keeps none
            passes on node 0, average-pooled in a reduction cell.
        is_shared: Whether the cells of a kind share their decisions.
    """

    cells: tuple[Cell, ...]
    operations: tuple[Operation, ...]
    nodes: int
    edges: Literal["pairs", "subsets"] = "pairs"
    is_shared: bool = True

    @property
    def node_numbers(self) -> range:
        """Numbers of the nodes that are computed in a cell."""
        return range(INPUTS, INPUTS + self.nodes)

    @property
    def owners(self) -> tuple[str, ...]:
        """What has decisions of its own: kinds of cells where shared, else cells."""
        return tuple(dict.fromkeys(map(self.owner, self.cells)))

    def owner(self, cell: Cell) -> str:
        """Name of the owner of a cell's decisions, their prefix."""
        return cell.kind if self.is_shared else cell.name

    def block(self, cell: Cell, node: int) -> str:
        """Name of the block that makes a node, the inputs included."""
        return f"{cell.name}.input{node}" if node < INPUTS else f"{cell.name}.node{node}"

    def stride(self, cell: Cell, source: int) -> int:
        """Of operations on a node."""
        return cell.stride if source < INPUTS else 1

    def shape(self, cell: Cell, node: int) -> Shape:
        """Of a node, `(1, width, side, side)`."""
        side = cell.side if node < INPUTS else cell.side // cell.stride
        return (1, cell.width, side, side)

    def decisions(self, owner: str, node: int) -> dict[str, str]:
        """Decisions of a node by what they decide.

        Returns:
            For `pairs`: `inputs`, `first` and `second`, the operations on the earlier and on the
            later node of the pair. For `subsets`: `edge0`, `edge1` and so on by source.
        """
        parts = ["inputs", "first", "second"]
        if self.edges == "subsets":
            parts = [f"edge{source}" for source in range(node)]
        return {part: f"{owner}.node{node}.{part}" for part in parts}

    def all_decisions(self) -> tuple[Decision, ...]:
        """All decisions, owner by owner and node by node."""
        return tuple(
            Decision(name, self._options_of(part, node))
            for owner in self.owners
            for node in self.node_numbers
            for part, name in self.decisions(owner, node).items()
        )

    def options(
        self, owner: str, node: int, kept: Mapping[int, tuple[str, ...]]
    ) -> dict[str, Option]:
        """Options of a node's decisions that keep the given edges.

        Args:
            owner: One of `owners`.
            node: Number of the node.
            kept: Source node to names of the operations that stay; sources left out keep none.

        Raises:
            SpaceError: Unknown operation or source, or for `pairs` not two edges of one operation.
        """
        names = [operation.name for operation in self.operations]
        unknown = [name for found in kept.values() for name in found if name not in names]
        unknown += [f"node {source}" for source in kept if not 0 <= source < node]
        if unknown:
            raise SpaceError(f"node {node} of {owner} cannot read {unknown[0]}")
        of = self.decisions(owner, node)
        if self.edges == "subsets":
            return {
                of[f"edge{source}"]: tuple(n for n in names if n in kept.get(source, ()))
                for source in range(node)
            }
        chosen = sorted((source, found) for source, found in kept.items() if found)
        if len(chosen) != 2 or any(len(found) != 1 for _, found in chosen):
            raise SpaceError(f"node {node} of {owner} needs two edges of one operation: {kept}")
        (i, (first,)), (j, (second,)) = chosen
        return {of["inputs"]: (i, j), of["first"]: first, of["second"]: second}

    def pairs(self, node: int) -> tuple[tuple[int, int], ...]:
        """Options of a node's `inputs`."""
        pairs = combinations(range(node), 2)
        return tuple(sorted(pairs, key=lambda p: (sum(i < INPUTS for i in p), p)))

    @property
    def subsets(self) -> tuple[tuple[str, ...], ...]:
        """Options of an edge that keeps any subset of the operations."""
        names = [operation.name for operation in self.operations]
        sizes = range(len(names) + 1)
        return tuple(subset for size in sizes for subset in combinations(names, size))

    def emit_edge(
        self, g: GraphBuilder, x: ir.Value, cell: Cell, source: int, operation: Operation
    ) -> ir.Value:
        """One operation on a node, its weights named `edge{source}/{operation}/...`."""
        return _emit_edge(g, x, source, operation, cell.width, self.stride(cell, source))

    def edge_graph(self, cell: Cell, source: int, operation: Operation) -> Graph:
        """One operation on a node as a graph of its own; identity where it does nothing.

        Its weights have the names of the space's weights less the block that reads the edge,
        `block(cell, node) + "/"`.
        """
        g = GraphBuilder(operation.name)
        x = g.input("input", self.shape(cell, source))
        g.output(self.emit_edge(g, x, cell, source, operation), "output")
        return g.build()

    def _options_of(self, part: str, node: int) -> tuple[Option, ...]:
        names = tuple(operation.name for operation in self.operations)
        if part in ("first", "second"):
            return names
        return self.pairs(node) if part == "inputs" else self.subsets


class CellSpace(SearchSpace):
    """A search space made of cells.

    Args:
        name: Name.
        layout: What the cells are made of; kept as `layout`.
        blocks: All choice blocks, as `cell_blocks` makes them.
        description: One line.
    """

    def __init__(
        self, name: str, layout: CellLayout, blocks: tuple[ChoiceBlock, ...], description: str = ""
    ) -> None:
        super().__init__(name, layout.all_decisions(), blocks, description)
        self.layout = layout


def cell_sequence(kinds: tuple[Kind, ...], *, width: int, side: int) -> tuple[Cell, ...]:
    """Cells one after another behind a block `stem`; a reduction cell doubles the width.

    Args:
        kinds: Of the cells.
        width: Channels of the nodes of the first cell, twice as many if it is a reduction cell.
        side: Of the stem's result, in pixels.

    Raises:
        SpaceError: The side cannot be halved by every reduction cell.
    """
    reductions = kinds.count("reduction")
    if side % 2**reductions:
        raise SpaceError(
            f"a side of {side} pixels behind the stem cannot be halved {reductions} times: "
            "choose another image side"
        )
    cells: list[Cell] = []
    before = last = ("stem", side)
    for position, kind in enumerate(kinds):
        name = f"cell{position}"
        width *= 2 if kind == "reduction" else 1
        strides = (before[1] // last[1], 1)
        cells.append(Cell(name, kind, width, last[1], (before[0], last[0]), strides))
        before, last = last, (name, last[1] // cells[-1].stride)
    return tuple(cells)


def cell_blocks(
    layout: CellLayout,
    *,
    channels: int,
    resolution: int,
    classes: int,
    stem_widths: tuple[int, ...],
    stem_stride: int = 1,
) -> tuple[ChoiceBlock, ...]:
    """The network: image, stem, cells, classifier.

    Args:
        layout: The cells.
        channels: Of the image.
        resolution: Side of the image in pixels.
        classes: Results.
        stem_widths: Channels of the stem's 3x3 convolutions, each with batch norm and ReLU. All
            readers begin with a ReLU, so the last one changes no result; it keeps runtimes from
            fusing those of the readers into the stem, which could then not be timed by itself.
        stem_stride: Of each of them.
    """
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=channels, resolution=resolution))
    ]
    for position, width in enumerate(stem_widths, 1):
        is_last = position == len(stem_widths)
        emit = partial(conv_unit, width=width, kernel=3, stride=stem_stride)
        blocks.append(ChoiceBlock("stem" if is_last else f"stem{position}", emit))
    for cell in layout.cells:
        for node, (source, stride) in enumerate(zip(cell.inputs, cell.input_strides, strict=True)):
            emit = partial(preprocess, width=cell.width, stride=stride)
            blocks.append(ChoiceBlock(layout.block(cell, node), emit, inputs=(source,)))
        for node in layout.node_numbers:
            emit = partial(
                _emit_pair if layout.edges == "pairs" else _emit_subsets,
                operations=layout.operations,
                width=cell.width,
                stride=cell.stride,
            )
            reads = layout.decisions(layout.owner(cell), node)
            earlier = tuple(layout.block(cell, source) for source in range(node))
            blocks.append(ChoiceBlock(layout.block(cell, node), emit, reads, inputs=earlier))
        made = tuple(layout.block(cell, node) for node in layout.node_numbers)
        blocks.append(ChoiceBlock(cell.name, _emit_concatenation, inputs=made))
    blocks.append(ChoiceBlock("classifier", partial(classifier, classes=classes)))
    return tuple(blocks)


def _emit_pair(
    g: GraphBuilder,
    *nodes: ir.Value,
    inputs: tuple[int, int],
    first: str,
    second: str,
    operations: tuple[Operation, ...],
    width: int,
    stride: int,
) -> ir.Value:
    kept = {inputs[0]: (first,), inputs[1]: (second,)}
    return _emit_sum(g, nodes, kept, operations, width, stride)


def _emit_subsets(
    g: GraphBuilder,
    *nodes: ir.Value,
    operations: tuple[Operation, ...],
    width: int,
    stride: int,
    **edges: tuple[str, ...],
) -> ir.Value:
    kept = {source: edges[f"edge{source}"] for source in range(len(nodes))}
    if not any(kept.values()):
        return nodes[0] if stride == 1 else g.average_pool(nodes[0], 3, stride=stride)
    return _emit_sum(g, nodes, kept, operations, width, stride)


def _emit_sum(
    g: GraphBuilder,
    nodes: tuple[ir.Value, ...],
    kept: Mapping[int, tuple[str, ...]],
    operations: tuple[Operation, ...],
    width: int,
    stride: int,
) -> ir.Value:
    """Sum of the kept operations, in the order of their work: equal work has one key."""
    order = [operation.name for operation in operations]
    edges = []
    for source, names in kept.items():
        at = stride if source < INPUTS else 1
        edges.append((at, sorted(map(order.index, names)), source))
    total = None
    for at, indices, source in sorted(edges):
        for index in indices:
            y = _emit_edge(g, nodes[source], source, operations[index], width, at)
            total = y if total is None else g.add(total, y)
    assert total is not None
    return total


def _emit_edge(
    g: GraphBuilder, x: ir.Value, source: int, operation: Operation, width: int, stride: int
) -> ir.Value:
    with g.scope(f"edge{source}"), g.scope(operation.name):
        return operation.emit(g, x, width, stride)


def _emit_concatenation(g: GraphBuilder, *nodes: ir.Value) -> ir.Value:
    return g.concat(nodes)
