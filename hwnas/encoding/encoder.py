"""Whole populations of one space as numbers, computed in C++.

References: White et al., A Study on Neural Network Encodings, NeurIPS 2020 (adjacency, categorical
and path encodings); White et al., BANANAS, AAAI 2021 (paths); Shervashidze et al.,
Weisfeiler-Lehman Graph Kernels, JMLR 2011.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from hwnas import _core
from hwnas.encoding.families import SpaceGraphs, family_of
from hwnas.encoding.layer_costs import LayerCosts
from hwnas.errors import SpaceError
from hwnas.spaces import DecisionSpace, Population, SearchSpace

__all__ = ["Encoder", "PathForm", "SparseGraphs"]

PathForm = Literal["columns", "dense", "packed"]
Array = TypeVar("Array", bound=npt.NDArray[Any])


@dataclass(frozen=True, eq=False)
class SparseGraphs:
    """A batch of graphs as one, in compressed sparse rows.

    Node `j` of architecture `i` has the number `i * v + j`.

    Args:
        begins: `(n * v + 1,)` int64: the edges to node k are begins[k] to begins[k + 1].
        sources: Where each edge comes from, `(e,)` int64.
        labels: Number of each node's label, `(n * v,)` uint16.
    """

    begins: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint16]


class Encoder:
    """Encodings of the populations of a space.

    Populations are `(n, d)` `uint8`, C-contiguous; nothing is copied, so other arrays are refused.
    Every method takes `out`, an array to write into (reusing one saves the page faults), and
    `threads`, on which no result depends. All raise:

        SpaceError: Wrong type or memory order of the population, an option index out of range (row
            and column are named), or a space without what is asked for.
        TypeError: `out` has another type, shape or memory order.

    Args:
        space: The space. Its graphs are put together when they are first asked for.
    """

    def __init__(self, space: DecisionSpace) -> None:
        self.space = space
        self._paths: dict[int, _core.PathEncoding] = {}

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the nodes' labels stand for, in order."""
        return self._graphs.labels

    @property
    def nodes(self) -> int:
        """Nodes of an architecture's graphs, v."""
        return self._graphs.family.n_nodes

    def one_hot(
        self, population: Population, out: npt.NDArray[np.uint8] | None = None, threads: int = 1
    ) -> npt.NDArray[np.uint8]:
        """Options as 0 and 1, as many columns a decision as it has options, `(n, sum of options)`.

        For spaces of cells this is the adjacency encoding of the literature: 30 columns for
        NAS-Bench-201.
        """
        encoding = self._one_hot
        return self._run(
            encoding.encode, population, (encoding.width,), np.uint8, out, threads=threads
        )

    def slots(
        self, population: Population, out: npt.NDArray[np.uint16] | None = None, threads: int = 1
    ) -> npt.NDArray[np.uint16]:
        """Slot number of each choice block, `(n, blocks)`, as compiled costs number them."""
        blocks = len(self._networks().blocks)
        return self._run(
            self._slots.encode, population, (blocks,), np.uint16, out, threads=threads
        )

    def paths(
        self,
        population: Population,
        form: PathForm = "columns",
        longest: int | None = None,
        out: npt.NDArray[Any] | None = None,
        threads: int = 1,
    ) -> npt.NDArray[Any]:
        """Which words the paths from inputs to output spell; columns go from short to long words.

        Args:
            population: The population.
            form: `columns` (the categorical form): numbers of the columns that are 1 in rising
                order, `(n, most paths)` `uint16`, or `uint32` where 16 bits are too few; the
                largest number fills the rest. `dense`: bytes of 0 and 1, `(n, width)`. `packed`:
                bits, column c in bit c % 8 of byte c // 8.
            longest: Paths of more operations are left out: the truncated encoding. By default none
                is.
            out: Where to write.
            threads: Most threads.
        """
        encoding = self._path_encoding(longest)
        if form == "columns":
            dtype = np.uint16 if encoding.width < 0xFFFF else np.uint32
            shape = (encoding.most_paths,)
            return self._run(encoding.columns, population, shape, dtype, out, threads=threads)
        if form not in ("dense", "packed"):
            raise SpaceError(f"unknown form {form!r} of paths; choose columns, dense or packed")
        packed = form == "packed"
        width = (encoding.width + 7) // 8 if packed else encoding.width
        return self._run(
            encoding.bits, population, (width,), np.uint8, out, packed=packed, threads=threads
        )

    def path_columns(self, longest: int | None = None) -> int:
        """Number of columns of the path encoding."""
        return self._path_encoding(longest).width

    def wl_hash(
        self,
        population: Population,
        iterations: int = 3,
        out: npt.NDArray[np.uint64] | None = None,
        threads: int = 1,
    ) -> npt.NDArray[np.uint64]:
        """A hash of the Weisfeiler-Lehman labels of all iterations, `(n,)`.

        Equal for isomorphic graphs; different ones that refinement cannot tell apart have equal
        hashes, too (`keys` are exact).
        """
        run = self._family.wl_hashes
        return self._run(run, population, (), np.uint64, out, iterations, threads=threads)

    def wl_labels(
        self,
        population: Population,
        iterations: int = 3,
        out: npt.NDArray[np.uint64] | None = None,
        threads: int = 1,
    ) -> npt.NDArray[np.uint64]:
        """Label of each node after each iteration, `(n, iterations + 1, v)`.

        Histograms of these labels, iteration by iteration, are the exact features of the kernel.
        """
        shape = (_turns(iterations), self.nodes)
        run = self._family.wl_labels
        return self._run(run, population, shape, np.uint64, out, iterations, threads=threads)

    def wl_histogram(
        self,
        population: Population,
        iterations: int = 3,
        buckets: int = 64,
        out: npt.NDArray[np.uint16] | None = None,
        threads: int = 1,
    ) -> npt.NDArray[np.uint16]:
        """How many nodes have a label of each bucket, `(n, iterations + 1, buckets)`.

        Labels fall into buckets by their remainder, so different ones may share a column.
        """
        if buckets < 1:
            raise SpaceError(f"{buckets} buckets: wanted at least 1")
        shape = (_turns(iterations), buckets)
        run = self._family.wl_histogram
        return self._run(run, population, shape, np.uint16, out, iterations, threads=threads)

    def keys(
        self, population: Population, out: npt.NDArray[np.uint8] | None = None, threads: int = 1
    ) -> npt.NDArray[np.uint8]:
        """128-bit keys of what the graphs compute, `(n, 16)`.

        Equal exactly where the graphs are isomorphic once skips are contracted and what does not
        reach the output is gone, but for collisions of the hash.
        """
        return self._run(self._family.keys, population, (16,), np.uint8, out, threads=threads)

    def labels(
        self, population: Population, out: npt.NDArray[np.uint16] | None = None, threads: int = 1
    ) -> npt.NDArray[np.uint16]:
        """Number of each node's label, `(n, v)`: the categorical encoding of operators."""
        run = self._family.node_labels
        return self._run(run, population, (self.nodes,), np.uint16, out, threads=threads)

    def operators(
        self, population: Population, out: npt.NDArray[np.uint8] | None = None, threads: int = 1
    ) -> npt.NDArray[np.uint8]:
        """Each node's label as 0 and 1, `(n, v, labels)`."""
        shape = (self.nodes, self._family.n_labels)
        run = self._family.node_one_hot
        return self._run(run, population, shape, np.uint8, out, threads=threads)

    def adjacency(
        self, population: Population, out: npt.NDArray[np.uint8] | None = None, threads: int = 1
    ) -> npt.NDArray[np.uint8]:
        """How many edges lead from a node to another, `(n, v, v)`: [i, destination, source]."""
        shape = (self.nodes, self.nodes)
        run = self._family.adjacency
        return self._run(run, population, shape, np.uint8, out, threads=threads)

    def edges(
        self, population: Population, out: npt.NDArray[np.int32] | None = None, threads: int = 1
    ) -> npt.NDArray[np.int32]:
        """Source and destination of each edge, `(n, most edges, 2)`, -1 behind the last one."""
        shape = (self._family.n_edges, 2)
        run = self._family.padded_edges
        return self._run(run, population, shape, np.int32, out, threads=threads)

    def sparse(self, population: Population, threads: int = 1) -> SparseGraphs:
        """The whole batch as one graph in compressed sparse rows."""
        n, v = len(population), self.nodes
        run = self._family.in_degrees
        degrees: npt.NDArray[np.int32] = self._run(
            run, population, (v,), np.int32, None, threads=threads
        )
        begins = np.zeros(n * v + 1, dtype=np.int64)
        np.cumsum(degrees.ravel(), out=begins[1:])
        sources = np.empty(int(begins[-1]), dtype=np.int64)
        self._family.sparse_sources(population, begins, sources, threads)
        return SparseGraphs(begins, sources, self.labels(population, threads=threads).ravel())

    def costs(
        self, population: Population, out: npt.NDArray[np.float64] | None = None, threads: int = 1
    ) -> npt.NDArray[np.float64]:
        """What layers cost, `(n, 5)`: columns as `LAYER_COSTS` names them."""
        return self._run(
            self._layer_costs.write, population, (5,), np.float64, out, threads=threads
        )

    @property
    def _family(self) -> _core.GraphFamily:
        return self._graphs.family

    @cached_property
    def _graphs(self) -> SpaceGraphs:
        return family_of(self.space)

    @cached_property
    def _one_hot(self) -> _core.OneHot:
        return _core.OneHot(self.space.option_counts)

    @cached_property
    def _slots(self) -> _core.SlotNumbers:
        space = self._networks()
        columns = [list(space.columns_of(block)) for block in range(len(space.blocks))]
        try:
            return _core.SlotNumbers(space.option_counts, columns)
        except ValueError as error:
            raise SpaceError(f"{space.name} has no 16-bit slot numbers: {error}") from error

    @cached_property
    def _layer_costs(self) -> LayerCosts:
        return LayerCosts(self._networks())

    def _networks(self) -> SearchSpace:
        if not isinstance(self.space, SearchSpace):
            raise SpaceError(f"{self.space.name} has no choice blocks: it is no space of networks")
        return self.space

    def _path_encoding(self, longest: int | None) -> _core.PathEncoding:
        graphs = self._graphs
        if graphs.longest < 0:
            raise SpaceError(
                f"{self.space.name} has no path encoding: its networks are no cells, and have one "
                "path each or as many words as networks"
            )
        length = graphs.longest if longest is None else longest
        if length not in self._paths:
            try:
                self._paths[length] = _core.PathEncoding(graphs.family, graphs.shortest, length)
            except (ValueError, TypeError) as error:
                raise SpaceError(f"paths of {self.space.name}: {error}") from error
        return self._paths[length]

    def _run(
        self,
        run: Callable[..., None],
        population: Population,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        out: Array | None,
        *arguments: object,
        **keywords: object,
    ) -> Array:
        """Check the population, call `run(population, *arguments, out, **keywords)`."""
        wanted = len(self.space.decisions)
        if not isinstance(population, np.ndarray) or population.dtype != np.uint8:
            found = getattr(population, "dtype", type(population).__name__)
            raise SpaceError(f"population of {self.space.name} has type {found}, not uint8")
        if population.ndim != 2 or population.shape[1] != wanted:
            raise SpaceError(
                f"population of {self.space.name} has shape {population.shape}, not (n, {wanted})"
            )
        if not population.flags.c_contiguous:
            raise SpaceError(
                f"population of {self.space.name} is not C-contiguous: copy it with "
                "numpy.ascontiguousarray"
            )
        result: Any = np.empty((len(population), *shape), dtype=dtype) if out is None else out
        try:
            run(population, *arguments, out=result, **keywords)
        except ValueError as error:
            raise SpaceError(f"population of {self.space.name}: {error}") from error
        return result  # type: ignore[no-any-return]


def _turns(iterations: int) -> int:
    if iterations < 0:
        raise SpaceError(f"{iterations} iterations: wanted at least 0")
    return iterations + 1
