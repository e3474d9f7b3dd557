"""One graph as numbers: key, labels, tensors, paths and costs.

The same native code as for populations (`hwnas.encoding`), which are families of graphs; a single
graph is a family without decisions. Nodes are the inputs that are read, the operators in
topological order, and the output.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwnas import _core
from hwnas.errors import LoweringError
from hwnas.graph.counts import count_graph, node_macs
from hwnas.graph.critical_path import critical_path
from hwnas.graph.graph import Graph
from hwnas.graph.wiring import Wiring, wiring_of

__all__ = ["GraphEncoding", "encode"]

_COLOURS = 4  # input slots that Weisfeiler-Lehman labels tell apart; later ones count as the last
_ROW = np.empty((1, 0), dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class GraphEncoding:
    """Encodings of one graph of v nodes.

    Args:
        graph: The graph.
        vocabulary: Operator types, in the order of one-hot columns and path symbols.
        wiring: Its nodes and wires, in topological order.
    """

    graph: Graph
    vocabulary: tuple[str, ...]
    wiring: Wiring = field(repr=False)

    @cached_property
    def key(self) -> str:
        """128-bit key, 32 hexadecimal digits: of operators, attributes, shapes and wires.

        The same as `kernel_key`.
        """
        wiring = self.wiring
        return _core.canonical_key(wiring.labels, wiring.wires, wiring.outputs).hex()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Operator type of each node, `input` and `output` included."""
        return (*self.wiring.kinds, "output")

    @property
    def edges(self) -> npt.NDArray[np.int32]:
        """Source and destination of each edge by destination, `(e, 2)`."""
        out = np.empty((1, self._family.n_edges, 2), dtype=np.int32)
        self._family.padded_edges(_ROW, out)
        return out.reshape(-1, 2)

    @property
    def adjacency(self) -> npt.NDArray[np.uint8]:
        """How many edges lead from a node to another, `(v, v)`: [destination, source]."""
        v = self._family.n_nodes
        out = np.empty((1, v, v), dtype=np.uint8)
        self._family.adjacency(_ROW, out)
        return out.reshape(v, v)

    @property
    def sparse(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Compressed sparse rows: begins `(v + 1,)`, and the sources of edges to each node."""
        edges = self.edges
        degrees = np.bincount(edges[:, 1], minlength=self._family.n_nodes)
        return np.concatenate([[0], np.cumsum(degrees)]), edges[:, 0].astype(np.int64)

    @property
    def operators(self) -> npt.NDArray[np.uint8]:
        """Operator types as 0 and 1, `(v, vocabulary)`; inputs, output and others have no 1."""
        out = np.zeros((len(self.kinds), len(self.vocabulary)), dtype=np.uint8)
        place = {name: i for i, name in enumerate(self.vocabulary)}
        for node, kind in enumerate(self.kinds):
            if kind in place:
                out[node, place[kind]] = 1
        return out

    def wl_labels(self, iterations: int = 3) -> npt.NDArray[np.uint64]:
        """Weisfeiler-Lehman label of each node after each iteration, `(iterations + 1, v)`.

        They begin with operator, attributes, types and shapes.

        Raises:
            LoweringError: Iterations outside 0 to 64.
        """
        out = np.empty((1, max(iterations, 0) + 1, self._family.n_nodes), dtype=np.uint64)
        try:
            self._family.wl_labels(_ROW, iterations, out)
        except ValueError as error:
            raise LoweringError(f"labels of {self.graph.name}: {error}") from error
        return out.reshape(len(out[0]), -1)

    def wl_hash(self, iterations: int = 3) -> int:
        """A hash of the labels of all iterations.

        Raises:
            LoweringError: Iterations outside 0 to 64.
        """
        out = np.empty(1, dtype=np.uint64)
        try:
            self._family.wl_hashes(_ROW, iterations, out)
        except ValueError as error:
            raise LoweringError(f"hash of {self.graph.name}: {error}") from error
        return int(out[0])

    def paths(self, longest: int) -> npt.NDArray[np.uint32]:
        """Columns of the words of operator types that paths from inputs to the output spell.

        Operators outside the vocabulary spell nothing; words of more than `longest` are left out.

        Raises:
            LoweringError: There are too many columns or paths.
        """
        try:
            encoding = _core.PathEncoding(self._family, 0, longest)
            out = np.empty((1, encoding.most_paths), dtype=np.uint32)
            encoding.columns(_ROW, out)
        except (ValueError, TypeError) as error:
            raise LoweringError(f"paths of {self.graph.name}: {error}") from error
        found: npt.NDArray[np.uint32] = out[out != np.iinfo(np.uint32).max]
        return found

    @cached_property
    def costs(self) -> Mapping[str, float]:
        """MACs, parameters, bytes moved, operators on the longest path, MACs on the heaviest."""
        counts = count_graph(self.graph)
        return {
            "macs": float(counts.macs),
            "params": float(counts.params),
            "bytes": float(counts.activation_bytes + counts.weight_bytes),
            "depth": critical_path(self.graph, lambda node: float(node.op_type != "Constant")),
            "critical_path_macs": critical_path(self.graph, lambda node: float(node_macs(node))),
        }

    @cached_property
    def _family(self) -> _core.GraphFamily:
        wiring = self.wiring
        names = [*wiring.labels, b"output"]
        unique = {
            name: i for i, name in enumerate(dict.fromkeys(zip(names, self.kinds, strict=True)))
        }
        place = {name: i for i, name in enumerate(self.vocabulary)}
        hashes = [
            int.from_bytes(blake2b(name, digest_size=8).digest(), "little") for name, _ in unique
        ]
        nodes = [((), (unique[pair],)) for pair in zip(names, self.kinds, strict=True)]
        edges = [
            (destination, min(slot, _COLOURS - 1), (), (source,))
            for source, destination, slot in wiring.wires.tolist()
        ]
        edges += [
            (len(wiring.labels), min(slot, _COLOURS - 1), (), (source,))
            for slot, source in enumerate(wiring.outputs.tolist())
        ]
        try:
            return _core.GraphFamily(
                np.empty(0, dtype=np.uint8),
                np.array(hashes, dtype=np.uint64),
                [
                    "structure" if kind in ("input", "output") else "operation"
                    for _, kind in unique
                ],
                np.array([place.get(kind, -1) for _, kind in unique], dtype=np.int32),
                len(self.vocabulary),
                [(wiring.inputs, nodes, edges)],
            )
        except (ValueError, TypeError) as error:
            raise LoweringError(f"graph {self.graph.name} cannot be encoded: {error}") from error


def encode(graph: Graph, vocabulary: Sequence[str] | None = None) -> GraphEncoding:
    """Encodings of one graph.

    Args:
        graph: The graph; its operators may stand in any order.
        vocabulary: Operator types; by default those of the graph, sorted. Give one that fits all
            graphs that are to be compared.

    Raises:
        LoweringError: A value has no static shape, or the graph has a cycle; the node is named.
    """
    kinds = sorted({node.op_type for node in graph.nodes}) if vocabulary is None else vocabulary
    return GraphEncoding(graph, tuple(kinds), wiring_of(graph, order=_in_order(graph)))


def _in_order(graph: Graph) -> list[ir.Node]:
    number = {node: i for i, node in enumerate(graph.nodes)}
    edges = [
        (number[producer], here)
        for node, here in number.items()
        for value in node.inputs
        if value is not None and (producer := value.producer()) in number
    ]
    rows = np.array(edges, dtype=np.int32).reshape(-1, 2)
    try:
        order = _core.topological_order(len(number), rows)
    except ValueError as error:
        found = re.search(r"through node (\d+)", str(error))
        name = f" ({graph.nodes[int(found[1])].name!r})" if found else ""
        raise LoweringError(f"graph {graph.name} cannot be encoded: {error}{name}") from error
    return [graph.nodes[i] for i in order.tolist()]
