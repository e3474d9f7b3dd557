"""The graphs of each kind of space: cells with operations as nodes, or chains of choice blocks.

Spaces of cells are encoded cell by cell: one graph for each kind of cell (or each cell where they
choose by themselves), its operations and sums as nodes. Any other space is one graph of its choice
blocks, labelled by what they emit.
"""

from dataclasses import dataclass
from itertools import product
from typing import Literal

import onnx_ir as ir

from hwnas import _core
from hwnas.encoding.family_builder import FamilyBuilder, GraphBuilderRows
from hwnas.errors import SpaceError
from hwnas.graph import Graph
from hwnas.spaces import CellSpace, DecisionSpace, NasBench101, NasBench201, SearchSpace
from hwnas.spaces.cells import INPUTS, CellLayout, Kind
from hwnas.spaces.nasbench101 import EDGES as EDGES_101
from hwnas.spaces.nasbench101 import OPERATIONS as OPERATIONS_101
from hwnas.spaces.nasbench101 import VERTICES
from hwnas.spaces.nasbench201 import EDGES as EDGES_201
from hwnas.spaces.nasbench201 import OPERATIONS as OPERATIONS_201

__all__ = ["SpaceGraphs", "family_of"]

MOST_COLOURS = 4
SKIP = "skip_connect"


@dataclass(frozen=True, eq=False)
class SpaceGraphs:
    """A family and how its paths are counted.

    Args:
        family: The native family.
        labels: Names of its labels, in order.
        shortest: Symbols of the shortest paths that are columns.
        longest: Symbols of the longest ones; -1 where paths say nothing.
    """

    family: _core.GraphFamily
    labels: tuple[str, ...]
    shortest: int
    longest: int


def family_of(space: DecisionSpace) -> SpaceGraphs:
    """The graphs that the rows of a space stand for.

    Raises:
        SpaceError: The space is none of networks or cells, or has blocks that graphs cannot show.
    """
    if isinstance(space, NasBench201):
        return _nasbench201(space)
    if isinstance(space, NasBench101):
        return _nasbench101(space)
    if isinstance(space, CellSpace):
        return _cells(space)
    if isinstance(space, SearchSpace):
        return _blocks(space)
    raise SpaceError(f"{space.name} has no graphs to encode: it is no space of networks or cells")


def _nasbench201(space: NasBench201) -> SpaceGraphs:
    """Operations are nodes, `none` included: eight nodes in all, 155 words as published."""
    builder = FamilyBuilder(space)
    kinds: dict[str, Literal["zero", "identity"]] = {"none": "zero", SKIP: "identity"}
    labels = [
        builder.label(name, kinds.get(name, "operation"), symbol)
        for symbol, name in enumerate(OPERATIONS_201)
    ]
    graph = builder.graph(inputs=1)
    graph.node(builder.label("input", "structure"))
    node_of = {edge: graph.chosen_node((column,), labels) for column, edge in enumerate(EDGES_201)}
    output = graph.node(builder.label("output", "structure"))
    for (source, node), here in node_of.items():
        if source == 0:
            graph.edge(0, here)
        for (_, end), before in node_of.items():
            if end == source:
                graph.edge(before, here)
        if node == EDGES_201[-1][1]:
            graph.edge(here, output)
    return SpaceGraphs(builder.build(), builder.label_names, 1, 3)


def _nasbench101(space: NasBench101) -> SpaceGraphs:
    builder = FamilyBuilder(space)
    labels = [builder.label(name, "operation", i) for i, name in enumerate(OPERATIONS_101)]
    graph = builder.graph(inputs=1)
    graph.node(builder.label("input", "structure"))
    for vertex in range(VERTICES - 2):
        graph.chosen_node((len(EDGES_101) + vertex,), labels)
    graph.node(builder.label("output", "structure"))
    for column, (source, node) in enumerate(EDGES_101):
        graph.chosen_edge(node, (column,), (-1, source))
    return SpaceGraphs(builder.build(), builder.label_names, 0, VERTICES - 2)


def _cells(space: CellSpace) -> SpaceGraphs:
    layout = space.layout
    builder = FamilyBuilder(space)
    column_of = {decision.name: i for i, decision in enumerate(space.decisions)}
    kinds = {layout.owner(cell): cell.kind for cell in layout.cells}
    for owner in layout.owners:
        graph = builder.graph(INPUTS)
        for _ in range(INPUTS):
            graph.node(builder.label("input", "structure"))
        make = _pair_node if layout.edges == "pairs" else _subset_node
        results = list(range(INPUTS))
        for node in layout.node_numbers:
            columns = {p: column_of[n] for p, n in layout.decisions(owner, node).items()}
            results.append(make(builder, graph, layout, kinds[owner], columns, results))
        output = graph.node(builder.label("output", "structure"))
        for result in results[INPUTS:]:
            graph.edge(result, output)
    return SpaceGraphs(builder.build(), builder.label_names, 0, layout.nodes)


def _operation_label(
    builder: FamilyBuilder, symbol: int, name: str, source: int, kind: Kind
) -> int:
    """A skip hands its input through, but for the inputs of a reduction cell."""
    if name != SKIP:
        return builder.label(name, "operation", symbol)
    if kind == "reduction" and source < INPUTS:
        return builder.label(f"{name} reduced", "operation", symbol)
    return builder.label(name, "identity", symbol)


def _pair_node(
    builder: FamilyBuilder,
    graph: GraphBuilderRows,
    layout: CellLayout,
    kind: Kind,
    columns: dict[str, int],
    results: list[int],
) -> int:
    pairs = layout.pairs(len(results))
    made = []
    for place, part in enumerate(("first", "second")):
        # In a normal cell an operation is the same on every node.
        told = pairs if kind == "reduction" else pairs[:1]
        labels = [
            _operation_label(builder, symbol, operation.name, pair[place], kind)
            for pair in told
            for symbol, operation in enumerate(layout.operations)
        ]
        decided = ("inputs", part) if kind == "reduction" else (part,)
        made.append(graph.chosen_node([columns[each] for each in decided], labels))
        sources = [results[pair[place]] for pair in pairs]
        graph.chosen_edge(made[-1], (columns["inputs"],), sources)
    total = graph.node(builder.label("sum", "structure"))
    for operation in made:
        graph.edge(operation, total)
    return total


def _subset_node(
    builder: FamilyBuilder,
    graph: GraphBuilderRows,
    layout: CellLayout,
    kind: Kind,
    columns: dict[str, int],
    results: list[int],
) -> int:
    """One node for each operation of each edge, and one for what a node that keeps none does."""
    absent = builder.label("absent", "zero")
    names = [operation.name for operation in layout.operations]
    made: list[tuple[int, int, list[bool]]] = []
    for source, result in enumerate(results):
        column = columns[f"edge{source}"]
        for symbol, name in enumerate(names):
            present = [name in subset for subset in layout.subsets]
            label = _operation_label(builder, symbol, name, source, kind)
            here = graph.chosen_node((column,), [label if p else absent for p in present])
            graph.chosen_edge(here, (column,), [result if p else -1 for p in present])
            made.append((here, column, present))
    every = tuple(columns[f"edge{source}"] for source in range(len(results)))
    empty = [not any(chosen) for chosen in product(range(len(layout.subsets)), repeat=len(every))]
    passed = (
        builder.label("passed", "identity")
        if kind == "normal"
        else builder.label("passed pooled", "operation")
    )
    here = graph.chosen_node(every, [passed if e else absent for e in empty])
    graph.chosen_edge(here, every, [results[0] if e else -1 for e in empty])
    total = graph.node(builder.label("sum", "structure"))
    graph.edge(here, total)
    for operation, column, present in made:
        graph.chosen_edge(total, (column,), [operation if p else -1 for p in present])
    return total


def _blocks(space: SearchSpace) -> SpaceGraphs:
    """One node a choice block, labelled by the fragment it emits.

    Raises:
        SpaceError: A block takes more results than edges have colours, or one without inputs
            comes after others.
    """
    builder = FamilyBuilder(space)
    number_of = {block.name: i for i, block in enumerate(space.blocks)}
    inputs = sum(not space.inputs_of(block) for block in range(len(space.blocks)))
    graph = builder.graph(inputs)
    symbols: dict[str, int] = {}
    for block, declared in enumerate(space.blocks):
        names = space.inputs_of(block)
        if len(names) > MOST_COLOURS or bool(names) != (block >= inputs):
            raise SpaceError(
                f"{space.name} has no graphs to encode: block {declared.name!r} takes "
                f"{len(names)} results, wanted are none for the first blocks, else at most "
                f"{MOST_COLOURS}"
            )
        columns = space.columns_of(block)
        labels, read = [], []
        for choice in space.slots(block):
            fragment = space.fragment(block, choice)
            kind: Literal["structure", "identity", "operation"] = "operation"
            if not names:
                kind = "structure"
            elif fragment.is_empty:
                kind = "identity"
            name = fragment.key if kind != "identity" else "passed"
            symbol = symbols.setdefault(name, len(symbols)) if kind == "operation" else -1
            labels.append(builder.label(name, kind, symbol))
            read.append([_reads(fragment.graph, i) for i in range(len(names))])
        here = graph.chosen_node(columns, labels)
        for place, name in enumerate(names):
            source = number_of[name]
            sources = [source if reads[place] else -1 for reads in read]
            graph.chosen_edge(here, columns, sources, place)
    return SpaceGraphs(builder.build(), builder.label_names, 0, -1)


def _reads(graph: Graph, place: int) -> bool:
    value: ir.Value = graph.inputs[place]
    return bool(value.uses()) or value in graph.outputs
