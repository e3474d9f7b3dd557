"""Architecture parameters of cells: a softmax over the operations of every edge.

Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, sec. 2.2 and 2.4. The strength of
an edge is the probability of its strongest operation, none not counted. A node of the derived
network reads the two strongest edges, by their strongest operations.

The expected cost needs that choice as a probability. It is taken as two draws without replacement,
one edge by `p_i = s_i^(1/t) / sum_j s_j^(1/t)` for strengths s and a temperature t, so that

    P({i, j}) = p_i p_j / (1 - p_i) + p_i p_j / (1 - p_j).

The most likely pair is the derived one. The operations of an edge are drawn apart from that, so a
slot (pair, operation on its first edge, operation on its second edge) has the weight
`P({i, j}) p_i(a) p_j(b)`: which edge an operation belongs to depends on the pair, and decisions
taken as independent would mix the operations of different edges.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwnas.errors import RunError, SpaceError
from hwnas.spaces import SearchSpace
from hwnas.supernet.cell_supernet import Edge, cell_layout

__all__ = ["PAIR_TEMPERATURE", "CellDistribution", "CellSlots", "pair_probabilities"]

Row = npt.NDArray[np.uint8]

INITIAL_DEVIATION = 1e-3  # of the parameters; Liu et al., released code
PAIR_TEMPERATURE = 0.25
"""Sharp enough that a strength twice as large is 16 times as likely to be drawn first."""

_SMALLEST = 1e-12


class CellSlots:
    """From distributions over edges and operations to rows and to slots of compiled costs.

    Args:
        space: A space of cells whose nodes read two edges.

    Attributes:
        layout: Of the cells.
        edges: As in `MixedCells`: owner by owner, node by node, source by source.

    Raises:
        SpaceError: It is another space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.layout = cell_layout(space)
        if self.layout.edges != "pairs":
            raise SpaceError(
                f"in {space.name} every edge keeps any subset of the operations; this strategy "
                "chooses two edges of one operation a node: search cells-digits or darts, or "
                "choose a strategy for subsets, such as gold-nas"
            )
        self.nodes = tuple(
            (owner, node) for owner in self.layout.owners for node in self.layout.node_numbers
        )
        self.edges = tuple(
            Edge(owner, node, source) for owner, node in self.nodes for source in range(node)
        )
        self._index = {edge: i for i, edge in enumerate(self.edges)}
        self._column = {decision.name: i for i, decision in enumerate(space.decisions)}
        self._blocks = self._blocks_of_nodes()
        self._order = {key: self._order_of(*key) for key in self.nodes}

    @property
    def operations(self) -> int:
        """Number k of operations, none not counted."""
        return len(self.layout.operations)

    def edges_of(self, owner: str, node: int) -> slice:
        """Where the edges that a node reads stand in `edges`."""
        first = self._index[Edge(owner, node, 0)]
        return slice(first, first + node)

    def weights(
        self, operations: Tensor, pairs: Mapping[tuple[str, int], Tensor]
    ) -> dict[int, Tensor]:
        """Joint weights of the slots of all nodes, by block, for `expected_of_slots`.

        Args:
            operations: `(e, k)` probabilities of the operations of each edge that is read.
            pairs: Per owner and node `(n (n - 1) / 2,)` probabilities of the pairs of its n edges,
                in the order of `itertools.combinations`.
        """
        found: dict[int, Tensor] = {}
        for owner, node in self.nodes:
            p = operations[self.edges_of(owner, node)]
            first, second = torch.tensor(list(combinations(range(node), 2))).T
            pair = pairs[owner, node]
            joint = pair[:, None, None] * p[first][:, :, None] * p[second][:, None, :]
            slots = joint.reshape(-1)[self._order[owner, node]]
            found.update(dict.fromkeys(self._blocks[owner, node], slots))
        return found

    def row(self, kept: Mapping[Edge, int]) -> Row:
        """Canonical row `(d,)` of the network that keeps these edges.

        Args:
            kept: Edge to the index of its operation, two edges a node.

        Raises:
            SpaceError: A node has another number of edges.
        """
        row = np.zeros(len(self.space.decisions), dtype=np.uint8)
        for owner, node in self.nodes:
            names = {
                edge.source: (self.layout.operations[operation].name,)
                for edge, operation in kept.items()
                if (edge.owner, edge.node) == (owner, node)
            }
            for name, option in self.layout.options(owner, node, names).items():
                column = self._column[name]
                row[column] = self.space.decisions[column].options.index(option)
        canonical: Row = self.space.canonicalise(row[None])[0]
        return canonical

    def preference(
        self, operations: Tensor, strengths: Tensor, temperature: float = PAIR_TEMPERATURE
    ) -> list[npt.NDArray[np.float64]]:
        """Log-probability of each option of each decision, `(k,)` a decision.

        Those of operations are for the two strongest edges of a node.

        Args:
            operations: `(e, k)`.
            strengths: `(e,)`.
            temperature: Of the pairs.
        """
        found = [np.zeros(int(count)) for count in self.space.option_counts]
        logs = operations.detach().clamp(min=_SMALLEST).log()
        for owner, node in self.nodes:
            part = self.edges_of(owner, node)
            pairs = list(combinations(range(node), 2))
            pair = pair_probabilities(strengths[part].detach(), temperature)
            log_pair = pair.clamp(min=_SMALLEST).log().tolist()
            columns = {
                name: self._column[decision]
                for name, decision in self.layout.decisions(owner, node).items()
            }
            options = self.space.decisions[columns["inputs"]].options
            for (i, j), value in zip(pairs, log_pair, strict=True):
                found[columns["inputs"]][options.index((i, j))] = value
            derived = pairs[int(pair.argmax())]
            for name, source in zip(("first", "second"), derived, strict=True):
                names = self.space.decisions[columns[name]].options
                for operation, value in zip(
                    self.layout.operations, logs[part][source].tolist(), strict=True
                ):
                    found[columns[name]][names.index(operation.name)] = value
        return found

    # Private -----------------------------------------------------------------------------------

    def _blocks_of_nodes(self) -> dict[tuple[str, int], list[int]]:
        index = {block.name: i for i, block in enumerate(self.space.blocks)}
        found: dict[tuple[str, int], list[int]] = {key: [] for key in self.nodes}
        for cell in self.layout.cells:
            for node in self.layout.node_numbers:
                block = index[self.layout.block(cell, node)]
                found[self.layout.owner(cell), node].append(block)
        return found

    def _order_of(self, owner: str, node: int) -> Tensor:
        """For each slot of a node's blocks, where its weight stands in (pair, first, second)."""
        decisions = self.layout.decisions(owner, node)
        columns = self.space.columns_of(self._blocks[owner, node][0])
        parts = {self._column[name]: part for part, name in decisions.items()}
        names = [operation.name for operation in self.layout.operations]
        pairs = list(combinations(range(node), 2))
        order = []
        for choice in self.space.slots(self._blocks[owner, node][0]):
            chosen = {
                parts[column]: self.space.decisions[column].options[option]
                for column, option in zip(columns, choice, strict=True)
            }
            pair = pairs.index(tuple(chosen["inputs"]))  # type: ignore[arg-type]
            first, second = names.index(str(chosen["first"])), names.index(str(chosen["second"]))
            order.append((pair * len(names) + first) * len(names) + second)
        return torch.tensor(order)


class CellDistribution:
    """One softmax an edge over the operations, and over none if that is wanted.

    Args:
        space: A space of cells whose nodes read two edges.
        rng: Source of the parameters' start, normal with deviation 1e-3.
        with_none: Whether the operation none is a candidate, the last one.

    Attributes:
        slots: Rows and slots of the space.
        parameters: `(e, k)` or `(e, k + 1)` float64 on the CPU, in the order of `slots.edges`.

    Raises:
        SpaceError: It is another space.
    """

    def __init__(
        self, space: SearchSpace, rng: np.random.Generator, *, with_none: bool = True
    ) -> None:
        self.slots = CellSlots(space)
        shape = (len(self.slots.edges), self.slots.operations + int(with_none))
        start = rng.normal(0.0, INITIAL_DEVIATION, shape)
        self.parameters = torch.from_numpy(start).requires_grad_()

    def probabilities(self, kept: Tensor | None = None) -> Tensor:
        """Of the candidates of each edge, `(e, k)` or `(e, k + 1)`, differentiable.

        Args:
            kept: Which candidates the softmax is over, of the same shape; the others have 0.
        """
        logits = self.parameters
        if kept is not None:
            logits = logits.masked_fill(~kept, -torch.inf)
        return logits.softmax(1)

    def edge_weights(self, probabilities: Tensor) -> dict[Edge, Tensor]:
        """Weights for `MixedCells`."""
        return dict(zip(self.slots.edges, probabilities.unbind(0), strict=True))

    def operations(self, probabilities: Tensor) -> Tensor:
        """Probabilities of the operations of an edge that is there: none left out, `(e, k)`."""
        real = probabilities[:, : self.slots.operations]
        return real / real.sum(1, keepdim=True).clamp(min=_SMALLEST)

    def strengths(self, probabilities: Tensor) -> Tensor:
        """Probability of the strongest operation of each edge, `(e,)`."""
        return probabilities[:, : self.slots.operations].amax(1)

    def slot_weights(self, probabilities: Tensor) -> dict[int, Tensor]:
        """Weights of the slots by block, differentiable.

        Args:
            probabilities: As `probabilities` returns them.
        """
        strengths = self.strengths(probabilities)
        pairs = {
            key: pair_probabilities(strengths[self.slots.edges_of(*key)])
            for key in self.slots.nodes
        }
        return self.slots.weights(self.operations(probabilities), pairs)

    def derive(self) -> Row:
        """The two strongest edges of each node, by their strongest operations, `(d,)`.

        Ties go to earlier edges and operations.
        """
        with torch.no_grad():
            probabilities = self.probabilities()
            strengths = self.strengths(probabilities).tolist()
            operations = probabilities[:, : self.slots.operations].argmax(1).tolist()
        kept = {}
        for key in self.slots.nodes:
            part = range(*self.slots.edges_of(*key).indices(len(strengths)))
            for index in sorted(part, key=lambda i: -strengths[i])[:2]:
                kept[self.slots.edges[index]] = operations[index]
        return self.slots.row(kept)

    def preference(self) -> list[npt.NDArray[np.float64]]:
        """Log-probability of each option of each decision."""
        with torch.no_grad():
            probabilities = self.probabilities()
        return self.slots.preference(self.operations(probabilities), self.strengths(probabilities))

    @torch.no_grad()
    def restore(self, parameters: Tensor) -> None:
        """Take parameters back.

        Raises:
            RunError: They are those of another space.
        """
        if parameters.shape != self.parameters.shape:
            raise RunError(
                f"architecture parameters of another space: found shape "
                f"{tuple(parameters.shape)}, {self.slots.space.name} has "
                f"{tuple(self.parameters.shape)}"
            )
        self.parameters.copy_(parameters)


def pair_probabilities(strengths: Tensor, temperature: float = PAIR_TEMPERATURE) -> Tensor:
    """Of each pair of n edges, `(n (n - 1) / 2,)`, in the order of `itertools.combinations`.

    Args:
        strengths: `(n,)`, not negative, two of them positive; edges of strength 0 are never drawn.
        temperature: 0 would be the two strongest ones.
    """
    logs = strengths.clamp(min=_SMALLEST).log() / temperature
    logs = logs.masked_fill(strengths <= 0, -torch.inf)
    count = len(strengths)
    itself = torch.eye(count, dtype=torch.bool)
    second = logs.expand(count, count).masked_fill(itself, -torch.inf).softmax(1)
    ordered = logs.softmax(0)[:, None] * second
    i, j = torch.tensor(list(combinations(range(count), 2))).T
    return ordered[i, j] + ordered[j, i]
