"""Cell spaces with all operations of all edges at once, each by a weight of its own.

Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, eq. 2: an edge from node i to
node j carries `sum_o w[o] o(x_i)`, and a node is the sum of its edges. With weights of 0 and 1
that keep two edges of one operation it is a network of the space.

The trained weights are those of an `ElasticSupernet` of the space, by the names that it gives
them: a network that is derived from a mixture takes them from there, and so do checkpoints and
exports.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hwnas.errors import SpaceError
from hwnas.lowering.torch_module import TorchPlan
from hwnas.spaces import SearchSpace
from hwnas.spaces.cells import Cell, CellLayout, CellSpace
from hwnas.supernet.elastic import ElasticSupernet

__all__ = ["Edge", "EdgeWeights", "MixedCells", "cell_layout", "one_operation_weights"]


class Edge(NamedTuple):
    """An edge of a cell; cells that share their decisions share it.

    Args:
        owner: One of `CellLayout.owners`.
        node: Number of the node that reads.
        source: Number of the node that is read.
    """

    owner: str
    node: int
    source: int


EdgeWeights = Mapping[Edge, Tensor]
"""Per edge `(k,)` weights of the operations in the order of `CellLayout.operations`, or
`(k + 1,)`: a last entry stands for the operation none, which contributes nothing. Edges that are
left out hand nothing on.
"""


class _Runnable(NamedTuple):
    """One operation on one edge of one cell."""

    plan: TorchPlan
    weights: dict[str, nn.Parameter]


class MixedCells:
    """A network of cells in which edges mix operations.

    Batch normalisations use the statistics of the batch. Operations of weight 0 are not computed,
    so neither their weights nor their entry get a gradient: an optimiser leaves them alone.

    Args:
        supernet: Its weights are mixed. Make it with `zero_residual_scale=False`: all operations
            end in a sum, and starting at zero they would hand nothing on.

    Attributes:
        supernet: The same.
        layout: Of the cells.
        edges: All edges, owner by owner, node by node, source by source.

    Raises:
        SpaceError: It is no space of cells.
    """

    def __init__(self, supernet: ElasticSupernet) -> None:
        self.supernet = supernet
        self.layout = cell_layout(supernet.space)
        self.edges = tuple(
            Edge(owner, node, source)
            for owner in self.layout.owners
            for node in self.layout.node_numbers
            for source in range(node)
        )
        blocks = supernet.space.blocks
        self._cells: dict[int, tuple[Cell, int]] = {
            index: (cell, node)
            for index, block in enumerate(blocks)
            for cell in self.layout.cells
            for node in self.layout.node_numbers
            if block.name == self.layout.block(cell, node)
        }
        self._plans: dict[tuple[str, int, int], TorchPlan] = {}
        self._runnables: dict[tuple[str, int, int, int], _Runnable] = {}

    @property
    def operations(self) -> int:
        """Number k of operations, none not counted."""
        return len(self.layout.operations)

    def edges_into(self, owner: str, node: int) -> tuple[Edge, ...]:
        """Edges that a node reads, by source."""
        return tuple(Edge(owner, node, source) for source in range(node))

    def cells_of(self, owner: str) -> tuple[Cell, ...]:
        """Cells whose decisions these are."""
        return tuple(cell for cell in self.layout.cells if self.layout.owner(cell) == owner)

    def parameters_of(self, edge: Edge, operation: int) -> list[nn.Parameter]:
        """Trained weights of one operation of an edge, of all cells that share the edge."""
        return [
            parameter
            for cell in self.cells_of(edge.owner)
            for parameter in self._runnable(
                cell, edge.node, edge.source, operation
            ).weights.values()
        ]

    def __call__(self, images: Tensor, weights: EdgeWeights) -> Tensor:
        """Logits `(n, classes)`, differentiable in weights and parameters.

        Args:
            images: `(n, c, h, w)`.
            weights: Of the operations. A node without any is zero, or, where edges keep any
                subset, what the space makes of it.

        Raises:
            SpaceError: An edge is unknown, or its weights have another shape.
        """
        self._check(weights)
        results: list[Tensor] = []
        for index in range(len(self.supernet.space.blocks)):
            inputs = [results[source] for source in self.supernet.sources_of(index)] or [images]
            if index in self._cells:
                results.append(self._node(index, inputs, weights))
                continue
            plan = self.supernet.block_plan(index, ())
            fixed = self.supernet.block_weights(index, ())
            results.append(inputs[0] if plan.is_empty else plan(inputs, fixed, training=True)[0])
        return results[-1]

    def mixed_edge(self, cell: Cell, edge: Edge, x: Tensor, weights: Tensor) -> Tensor | None:
        """What an edge hands on; a subclass may mix in another way.

        Args:
            cell: The cell.
            edge: The edge.
            x: Result of the source node.
            weights: `(k,)` or `(k + 1,)`.

        Returns:
            The sum of weighted results; None where no operation is computed.
        """
        total: Tensor | None = None
        scales = weights.to(x.dtype)
        for operation, weight in enumerate(weights[: self.operations].tolist()):
            if weight == 0.0:
                continue
            y = self.operation(cell, edge, operation, x) * scales[operation]
            total = y if total is None else total + y
        return total

    def operation(self, cell: Cell, edge: Edge, operation: int, x: Tensor) -> Tensor:
        """Result of one operation of an edge in a cell.

        Args:
            cell: One of the cells of the edge's owner.
            edge: The edge.
            operation: Index in `CellLayout.operations`.
            x: Result of the source node.
        """
        plan, weights = self._runnable(cell, edge.node, edge.source, operation)
        return x if plan.is_empty else plan([x], weights, training=True)[0]

    # Private -----------------------------------------------------------------------------------

    def _node(self, index: int, inputs: list[Tensor], weights: EdgeWeights) -> Tensor:
        cell, node = self._cells[index]
        total: Tensor | None = None
        for edge in self.edges_into(self.layout.owner(cell), node):
            if edge in weights:
                y = self.mixed_edge(cell, edge, inputs[edge.source], weights[edge])
                if y is not None:
                    total = y if total is None else total + y
        if total is not None:
            return total
        if self.layout.edges == "subsets":
            nothing = (0,) * len(self.supernet.space.columns_of(index))
            plan = self.supernet.block_plan(index, nothing)
            return inputs[0] if plan.is_empty else plan(inputs, {}, training=True)[0]
        return inputs[0].new_zeros(len(inputs[0]), *self.layout.shape(cell, node)[1:])

    def _runnable(self, cell: Cell, node: int, source: int, operation: int) -> _Runnable:
        key = (cell.name, node, source, operation)
        found = self._runnables.get(key)
        if found is None:
            plan = self._plan(cell, source, operation)
            block = self.layout.block(cell, node)
            stored = self.supernet.shared_parameters()
            weights = {
                local: stored[f"{block}/{local}"]
                for local in plan.weight_shapes
                if local not in plan.statistics
            }
            found = self._runnables[key] = _Runnable(plan, weights)
        return found

    def _plan(self, cell: Cell, source: int, operation: int) -> TorchPlan:
        key = (cell.name, source, operation)
        if key not in self._plans:
            graph = self.layout.edge_graph(cell, source, self.layout.operations[operation])
            self._plans[key] = TorchPlan(graph)
        return self._plans[key]

    def _check(self, weights: EdgeWeights) -> None:
        known = set(self.edges)
        for edge, tensor in weights.items():
            if edge not in known:
                raise SpaceError(f"{self.supernet.space.name} has no edge {tuple(edge)}")
            if tensor.ndim != 1 or len(tensor) - self.operations not in (0, 1):
                raise SpaceError(
                    f"weights of edge {tuple(edge)}: expected ({self.operations},) or one more "
                    f"for none, found shape {tuple(tensor.shape)}"
                )


def cell_layout(space: SearchSpace) -> CellLayout:
    """The cells of a space.

    Raises:
        SpaceError: It is not made of cells.
    """
    if not isinstance(space, CellSpace):
        raise SpaceError(
            f"{space.name} is not made of cells whose edges carry operations; choose a space of "
            "cells, such as cells-digits or darts, or another strategy"
        )
    return space.layout


def one_operation_weights(kept: Mapping[Edge, int], operations: int) -> dict[Edge, Tensor]:
    """Weights of 1 for one operation of each edge: a network of the space.

    Args:
        kept: Edge to the index of its operation.
        operations: Number k of operations.
    """
    found = {}
    for edge, operation in kept.items():
        found[edge] = torch.zeros(operations)
        found[edge][operation] = 1.0
    return found
