"""Puts a native family of graphs together: labels by name, nodes, edges."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

import numpy as np

from hwnas import _core
from hwnas.errors import SpaceError
from hwnas.spaces import DecisionSpace

__all__ = ["FamilyBuilder", "GraphBuilderRows", "Kind"]

Kind = Literal["structure", "operation", "identity", "zero"]

NodeRow = tuple[Sequence[int], Sequence[int]]
EdgeRow = tuple[int, int, Sequence[int], Sequence[int]]


@dataclass
class GraphBuilderRows:
    """One graph: the first nodes are inputs, the last one is the output.

    Args:
        inputs: How many nodes are inputs.
        nodes: Decisions, and the label of each of their combinations.
        edges: Destination, colour, decisions, and the source of each of their combinations.
    """

    inputs: int
    nodes: list[NodeRow] = field(default_factory=list)
    edges: list[EdgeRow] = field(default_factory=list)

    def node(self, label: int) -> int:
        """Add a node that is the same in all architectures; its number."""
        return self.chosen_node((), (label,))

    def chosen_node(self, decisions: Sequence[int], labels: Sequence[int]) -> int:
        """Add a node whose label depends on decisions, the first one most significant."""
        self.nodes.append((decisions, labels))
        return len(self.nodes) - 1

    def edge(self, source: int, destination: int, colour: int = 0) -> None:
        """Add an edge that is there in all architectures."""
        self.edges.append((destination, colour, (), (source,)))

    def chosen_edge(
        self, destination: int, decisions: Sequence[int], sources: Sequence[int], colour: int = 0
    ) -> None:
        """Add an edge whose source depends on decisions; -1 is no edge."""
        self.edges.append((destination, colour, decisions, sources))


class FamilyBuilder:
    """Collects labels and graphs of a space.

    Args:
        space: The space whose rows the graphs stand for.
    """

    def __init__(self, space: DecisionSpace) -> None:
        self._space = space
        self._labels: dict[tuple[str, Kind], int] = {}
        self._symbols: list[int] = []
        self._graphs: list[GraphBuilderRows] = []

    def label(self, name: str, kind: Kind, symbol: int = -1) -> int:
        """Number of a label.

        Args:
            name: All that tells it from others of its kind.
            kind: What its nodes do.
            symbol: Letter that paths spell there; -1 for none.
        """
        key = (name, kind)
        if key not in self._labels:
            self._labels[key] = len(self._labels)
            self._symbols.append(symbol)
        return self._labels[key]

    def graph(self, inputs: int) -> GraphBuilderRows:
        """Begin another graph of each architecture."""
        self._graphs.append(GraphBuilderRows(inputs))
        return self._graphs[-1]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return tuple(name for name, _ in self._labels)

    def build(self) -> _core.GraphFamily:
        """The native family.

        Raises:
            SpaceError: The graphs are beyond its limits.
        """
        hashes = [
            int.from_bytes(blake2b(f"{kind} {name}".encode(), digest_size=8).digest(), "little")
            for name, kind in self._labels
        ]
        try:
            return _core.GraphFamily(
                self._space.option_counts,
                np.array(hashes, dtype=np.uint64),
                [kind for _, kind in self._labels],
                np.array(self._symbols, dtype=np.int32),
                max(self._symbols, default=-1) + 1,
                [(graph.inputs, graph.nodes, graph.edges) for graph in self._graphs],
            )
        except (ValueError, TypeError) as error:
            raise SpaceError(f"{self._space.name} has no graphs to encode: {error}") from error
