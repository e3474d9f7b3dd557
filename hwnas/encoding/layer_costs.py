"""What the layers of networks cost, counted from shapes, for whole populations.

Sums are gathers over the slots of choice blocks. Depth and critical path are exact for networks
of any wiring: every fragment says what its heaviest path from each input weighs, and the heaviest
path through a network is the largest sum of these.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwnas import _core
from hwnas.graph import Graph, count_graph, heaviest_path
from hwnas.graph.counts import node_macs
from hwnas.spaces import Population, SearchSpace

__all__ = ["LAYER_COSTS", "LayerCosts"]

LAYER_COSTS = ("macs", "params", "bytes", "depth", "critical_path_macs")
"""Multiply-accumulates, trainable weights, bytes moved (activations and weights), operators on the
longest path, and multiply-accumulates on the heaviest one."""

_SUMS = 3


class LayerCosts:
    """Layer costs of a space.

    Args:
        space: Its fragments are counted once; that takes as long as emitting them.
    """

    def __init__(self, space: SearchSpace) -> None:
        columns = [list(space.columns_of(block)) for block in range(len(space.blocks))]
        number_of = {block.name: i for i, block in enumerate(space.blocks)}
        inputs = [[number_of[name] for name in space.inputs_of(b)] for b in range(len(columns))]
        counted: dict[str, tuple[float, ...]] = {}
        paths: dict[tuple[int, int], float] = {}
        kept: list[Graph] = []  # so that no id is given twice
        sums: list[npt.NDArray[np.float64]] = []
        depths: list[list[float]] = []
        heaviest: list[list[float]] = []
        for block in range(len(columns)):
            rows, deep, heavy = [], [], []
            for choice in space.slots(block):
                fragment = space.fragment(block, choice)
                if fragment.key not in counted:
                    counted[fragment.key] = _count(fragment.graph)
                rows.append(counted[fragment.key])
                graph = fragment.graph
                for place in range(max(1, len(inputs[block]))):
                    known = (id(graph), place)
                    if known not in paths:
                        kept.append(graph)
                        paths[known] = _heaviest(graph, place, _one)
                        paths[~known[0], place] = _heaviest(graph, place, node_macs)
                    deep.append(paths[known])
                    heavy.append(paths[~known[0], place])
            sums.append(np.array(rows, dtype=np.float64))
            depths.append(deep)
            heaviest.append(heavy)
        self._sums = _core.SlotTable(
            space.option_counts, columns, sums, np.zeros(_SUMS), ["sum"] * _SUMS
        )
        self._longest = [
            _core.LongestPaths(space.option_counts, list(zip(columns, inputs, each, strict=True)))
            for each in (depths, heaviest)
        ]

    def write(
        self, population: Population, out: npt.NDArray[np.float64], threads: int = 1
    ) -> None:
        """Write the costs of a population, `(n, 5)`: sums exact to 1e-6, paths exactly.

        Raises:
            TypeError: Wrong type, shape or memory order.
            ValueError: An option index is out of range; row and column are named.
        """
        if out.shape != (len(population), len(LAYER_COSTS)) or out.dtype != np.float64:
            raise TypeError(f"out has shape {out.shape} and type {out.dtype}, not (n, 5) float64")
        sums = np.empty((len(population), _SUMS), dtype=np.float32)
        self._sums.cost(population, sums, threads)
        out[:, :_SUMS] = sums
        path = np.empty(len(population))
        for column, longest in enumerate(self._longest, _SUMS):
            longest.weigh(population, path, threads)
            out[:, column] = path


def _count(graph: Graph) -> tuple[float, ...]:
    counts = count_graph(graph)
    return (
        float(counts.macs),
        float(counts.params),
        float(counts.activation_bytes + counts.weight_bytes),
    )


def _one(node: ir.Node) -> int:
    return int(node.op_type != "Constant")


def _heaviest(graph: Graph, place: int, weigh: Callable[[ir.Node], int]) -> float:
    sources: Sequence[ir.Value] = graph.inputs
    if not sources:
        return 0.0
    return heaviest_path(graph, sources[place], graph.outputs[0], weigh)
