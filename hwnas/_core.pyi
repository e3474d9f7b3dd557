"""
Native engine of hwnas: costing, encoding and selection on whole populations.
"""

from collections.abc import Sequence
from typing import Annotated, overload

import numpy
from numpy.typing import NDArray


class SlotTable:
    """
    Costs of whole populations from a table of measured slots.

    Choice block b reads the decisions block_decisions[b]; its slots are the combinations of their options, numbered in C order
    (the first decision listed is the most significant). The cost of architecture x in metric j is

        constant[j] + sum over b of block_costs[b][slot_b(x), j]          where reductions[j] is "sum",
        max(constant[j], max over b of block_costs[b][slot_b(x), j])      where reductions[j] is "max".

    NaN in block_costs marks a slot that was not measured: every architecture that uses it costs NaN in that metric. Units are
    those of block_costs. Results agree with the float64 sum to 1e-6 of it (where costs of both signs cancel, also to 1e-12 of
    the terms), and are the same, bit for bit, for every thread count and instruction set.

    Blocks are fused into groups whose merged tables stay in the inner caches (n_groups look-ups an architecture).
    """

    def __init__(self, option_counts: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], block_decisions: Sequence[Sequence[int]], block_costs: Sequence[Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)]], constant: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)], reductions: Sequence[str], instruction_set: str = 'auto') -> None:
        """
        Compile the table; the arguments are copied.

        Args:
            option_counts: options of each decision, (d,) uint8, each at least 1.
            block_decisions: the decisions that each choice block reads, possibly none.
            block_costs: for each choice block its costs, (slots, m) float64, finite or NaN.
            constant: cost of what every architecture has, (m,) float64, 1 <= m <= 8.
            reductions: "sum" or "max" for each metric, m of them.
            instruction_set: "auto" (the best of this processor), "scalar", "avx2" or "avx512".

        Raises:
            TypeError: an array has another dtype or number of dimensions, or is not C-contiguous.
            ValueError: the parts do not fit together, a decision has no option, a block reads a decision twice or one that does not
                exist, a cost is infinite, the costs sum to more than float32 holds, a name is unknown, or the processor lacks the
                instruction set.
        """

    def cost(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """
        Write the costs of a population into out.

        Args:
            population: option indices, (n, d) uint8, C-contiguous; n may be 0.
            out: receives the costs, (n, m) float32, C-contiguous and writable, not overlapping the population.
            threads: most threads to use, at least 1; small populations use fewer.

        Raises:
            TypeError: an array has another dtype or shape, or is not C-contiguous.
            ValueError: an option index is out of range (row, column and value are named; out is then partly written), or threads
                is less than 1.
        """

    def slots(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint32], dict(shape=(None, None), order='C', device='cpu')]) -> None:
        """
        Write the slot number of each choice block into out.

        Args:
            population: option indices, (n, d) uint8, C-contiguous.
            out: receives the slot numbers, (n, n_blocks) uint32, C-contiguous and writable.

        Raises:
            TypeError: an array has another dtype or shape, or is not C-contiguous.
            ValueError: an option index is out of range; row, column and value are named.
        """

    @property
    def n_decisions(self) -> int:
        """Number of decisions d."""

    @property
    def n_metrics(self) -> int:
        """Number of metrics m."""

    @property
    def n_blocks(self) -> int:
        """Number of choice blocks."""

    @property
    def n_groups(self) -> int:
        """Number of groups of fused blocks: look-ups an architecture."""

    @property
    def table_bytes(self) -> int:
        """Bytes of all group tables."""

    @property
    def instruction_set(self) -> str:
        """Instruction set in use: "scalar", "avx2" or "avx512"."""

def canonicalise(population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu')], option_counts: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], parents: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], active: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)]) -> None:
    """
    Set the inactive decisions of a population to option 0, in place.

    Decision c with a parent p = parents[c] is active where p is active and active[c, option of p] is not 0. Decisions are
    visited in ascending order. The result is unchanged by a second call.

    Args:
        population: option indices, (n, d) uint8, C-contiguous and writable; n may be 0.
        option_counts: options of each decision, (d,) uint8, each at least 1.
        parents: the decision that each depends on, (d,) int32: -1 for none, else less than its own number.
        active: for each decision, whether each option of its parent activates it, (d, 256) uint8.

    Raises:
        TypeError: an array has another dtype or shape, or is not C-contiguous.
        ValueError: a parent does not come before its child, a decision has no option, or an option index is out of range (row,
            column and value are named; rows before it may be canonical already, the others are untouched).
    """

def canonical_key(labels: Sequence[bytes], edges: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order='C', device='cpu', writable=False)], outputs: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> bytes:
    """
    128-bit key of a labelled directed acyclic graph, 16 bytes.

    Isomorphic graphs (equal labels, the same wiring slot by slot, the same outputs in order) have equal keys, whatever the order
    of nodes and edges. Graphs that differ in a label, a wire, an input slot, the order of outputs, or in sharing a node where the
    other has two copies, have different keys; nodes from which no output is reached count too. Keys are the same on every
    platform and Python version. They do not resist a deliberate search for collisions.

    Args:
        labels: everything that tells a node apart from others (operator, attributes, dtype, shape), one a node.
        edges: rows (source node, destination node, input slot of the destination), (e, 3) int32.
        outputs: nodes that the graph returns, in order, (k,) int32.

    Raises:
        TypeError: an array has another dtype or shape, or is not C-contiguous.
        ValueError: a node does not exist, a slot is negative, two edges enter one slot of a node, or the graph has a cycle; the
            node is named.
    """

def dataflow_costs(layers: Annotated[NDArray[numpy.int32], dict(shape=(None, 10), order='C', device='cpu', writable=False)], points: Annotated[NDArray[numpy.int64], dict(shape=(None, 6), order='C', device='cpu', writable=False)], dram_bandwidth: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)], energies: Annotated[NDArray[numpy.float64], dict(shape=(None, 4), order='C', device='cpu', writable=False)]) -> tuple[Annotated[NDArray[numpy.float64], dict(shape=(None, None))], Annotated[NDArray[numpy.float64], dict(shape=(None, None))]]:
    """
    Cycles and energy of layers on accelerators, (l, h) each; infinite where impossible.

    Args:
        layers: (l, 10): kind (0 dense, 1 depthwise, 2 streaming), groups, K, C, R, S, OY, OX, strides
            along y and x.
        points: (h, 6): dataflow (0 weight-, 1 output-, 2 row-stationary), PEs, elements per cycle, hop
            latency in cycles, bytes of a PE's buffer and of the shared one (0: as large as needed).
        dram_bandwidth: (h,) in bytes per cycle; 0: never waited for.
        energies: (h, 4) in J: a multiply-accumulate, and moving a byte at a PE's buffer, at the shared
            one and at DRAM.

    Raises:
        ValueError: A size or a code is out of range; the row is named.
    """

def dataflow_parts(layers: Annotated[NDArray[numpy.int32], dict(shape=(None, 10), order='C', device='cpu', writable=False)], points: Annotated[NDArray[numpy.int64], dict(shape=(None, 6), order='C', device='cpu', writable=False)], dram_bandwidth: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.int64], dict(shape=(None, None, None))]:
    """
    What the costs consist of, (l, h, 10); -1 throughout where a layer cannot be mapped.

    In order: cycles without DRAM, multiply-accumulates, reads of inputs and of weights from the shared
    buffer, results written to it, accesses of the PEs' buffers and of the shared one in bytes, bytes
    that double buffering needs of either, bytes to and from DRAM. Arguments as of `dataflow_costs`.
    """

class GraphFamily:
    """
    The graphs that the rows of a space stand for, and their encodings.

    Populations are (n, d) uint8, C-contiguous. Results are written into `out`, C-contiguous and writable; they depend neither on
    `threads` (the most to use; small populations use fewer) nor on the instruction set. Every method raises

        TypeError: an array has another dtype or shape, or is not C-contiguous;
        ValueError: an option index is out of range (row, column and value are named; out is then partly written), or threads is
            less than 1.
    """

    def __init__(self, option_counts: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], label_hashes: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], kinds: Sequence[str], label_symbols: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], symbols: int, graphs: Sequence[tuple[int, Sequence[tuple[Sequence[int], Sequence[int]]], Sequence[tuple[int, int, Sequence[int], Sequence[int]]]]]) -> None:
        """
        Lay out a family; the arguments are copied.

        Args:
            option_counts: options of each decision, (d,) uint8, each at least 1.
            label_hashes: what tells each label from others, (labels,) uint64.
            kinds: "structure", "operation", "identity" (hands the sum of its inputs through) or "zero" for each label.
            label_symbols: letter that paths spell at nodes of each label, -1 for none, (labels,) int32.
            symbols: how many letters there are.
            graphs: for each graph of an architecture (inputs, nodes, edges). The first `inputs` nodes are its inputs, the last one
                is its output. A node is (decisions, labels), its label by the combination of those decisions, the first one most
                significant. An edge is (destination, colour, decisions, sources), likewise; source -1 means no edge. Edges lead to
                nodes of higher number; colours are 0 to 3.

        Raises:
            TypeError: an array has another dtype or shape, or is not C-contiguous.
            ValueError: something named does not exist, an edge leads to a node of lower number, or a graph has more than 4096 nodes
                or 65536 edges; graph and node are named.
        """

    def wl_hashes(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], iterations: int, out: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu')], threads: int = 1, instruction_set: str = 'auto') -> None:
        """
        Write a hash of the Weisfeiler-Lehman labels of all iterations, out (n,) uint64.

        Labels are refined by predecessors and successors apart; iterations is 0 to 64. Isomorphic graphs have equal hashes.
        """

    def wl_labels(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], iterations: int, out: Annotated[NDArray[numpy.uint64], dict(shape=(None, None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """
        Write the label of each node after each iteration, out (n, iterations + 1, nodes) uint64.
        """

    def wl_histogram(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], iterations: int, out: Annotated[NDArray[numpy.uint16], dict(shape=(None, None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """
        Count nodes by label modulo buckets after each iteration, out (n, iterations + 1, buckets) uint16.
        """

    def keys(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """
        Write 128-bit keys of what the graphs compute, out (n, 16) uint8.

        Identities are contracted; zeros, and what only zeros enter, vanish, and so does what does not reach the output. Keys are equal
        exactly where the rest is isomorphic, graph by graph, but for collisions of the hash.

        Raises:
            ValueError: as for all methods; too, a graph has more than 64 nodes or is too regular (the row is named).
        """

    def node_labels(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint16], dict(shape=(None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """Write the number of each node's label, out (n, nodes) uint16."""

    def in_degrees(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """Write how many edges lead to each node, out (n, nodes) int32."""

    def node_one_hot(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint8], dict(shape=(None, None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """Write each node's label as 0 and 1, out (n, nodes, labels) uint8."""

    def adjacency(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint8], dict(shape=(None, None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """
        Write how many edges lead from a node to another, out (n, nodes, nodes) uint8: [i, destination, source].
        """

    def padded_edges(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.int32], dict(shape=(None, None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """
        Write source and destination of each edge, out (n, edges, 2) int32, -1 behind the last one.
        """

    def sparse_sources(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], begins: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu')], threads: int = 1) -> None:
        """
        Write the sources of the edges to each node of the whole batch, out (begins[-1],) int64.

        Node j of architecture i has the number i * nodes + j; begins (n * nodes + 1,) int64 is the running sum of in_degrees.
        """

    @property
    def n_decisions(self) -> int:
        """Number of decisions d."""

    @property
    def n_nodes(self) -> int:
        """Nodes of all graphs of an architecture."""

    @property
    def n_edges(self) -> int:
        """Most edges of an architecture."""

    @property
    def n_labels(self) -> int:
        """Number of labels."""

class PathEncoding:
    """
    Which words the paths through an architecture's graphs spell.

    A path leads from an input of a graph to its output; its word is the symbols of its nodes. Columns are graph by graph, input by
    input, and for each all words of `shortest` to `longest` symbols, by length, then as numbers with the first symbol most
    significant. Methods raise as those of GraphFamily.
    """

    def __init__(self, family: GraphFamily, shortest: int, longest: int) -> None:
        """
        Prepare the encoding.

        Raises:
            ValueError: lengths are out of order, or there are more than 2^31 columns or 65536 possible paths.
        """

    @overload
    def columns(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint16], dict(shape=(None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """
        Write the columns of an architecture in rising order, each once, out (n, most_paths) uint16 or uint32; the largest number fills the rest.
        """

    @overload
    def columns(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint32], dict(shape=(None, None), order='C', device='cpu')], threads: int = 1) -> None: ...

    def bits(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu')], packed: bool = False, threads: int = 1) -> None:
        """
        Write 0 and 1, out (n, width) uint8; packed: column c is bit c % 8 of byte c // 8, out (n, (width + 7) // 8).
        """

    @property
    def width(self) -> int:
        """Number of columns."""

    @property
    def most_paths(self) -> int:
        """Most paths of an architecture."""

class OneHot:
    """Options as 0 and 1: as many columns a decision as it has options."""

    def __init__(self, option_counts: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> None:
        """Prepare the encoding of (d,) uint8 option counts."""

    def encode(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """
        Write out (n, width) uint8.

        Raises:
            TypeError: an array has another dtype or shape, or is not C-contiguous.
            ValueError: an option index is out of range (row, column and value are named), or threads is less than 1.
        """

    @property
    def width(self) -> int:
        """Number of columns."""

class SlotNumbers:
    """Slot number of each choice block as a 16-bit word, in C order."""

    def __init__(self, option_counts: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], block_decisions: Sequence[Sequence[int]], instruction_set: str = 'auto') -> None:
        """
        Prepare the numbering.

        Raises:
            ValueError: a block reads a decision that does not exist, or has more than 65536 slots.
        """

    def encode(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint16], dict(shape=(None, None), order='C', device='cpu')], threads: int = 1) -> None:
        """
        Write out (n, blocks) uint16.

        Raises:
            TypeError: an array has another dtype or shape, or is not C-contiguous.
            ValueError: an option index is out of range (row, column and value are named), or threads is less than 1.
        """

class LongestPaths:
    """Weight of the heaviest path through the network of choice blocks."""

    def __init__(self, option_counts: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], blocks: Sequence[tuple[Sequence[int], Sequence[int], Sequence[float]]]) -> None:
        """
        Prepare the search.

        Args:
            option_counts: options of each decision, (d,) uint8.
            blocks: for each choice block (decisions, inputs, weights): weights[slot * len(inputs) + i] is the weight of the heaviest
                path from input i, an earlier block, to the block's result; -inf where there is none. A block without inputs has one
                weight a slot.

        Raises:
            ValueError: the parts of a block do not fit together; the block is named.
        """

    def weigh(self, population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu')], threads: int = 1) -> None:
        """
        Write the weight of the heaviest path to the last block's result, out (n,) float64.

        Raises:
            TypeError: an array has another dtype or shape, or is not C-contiguous.
            ValueError: an option index is out of range (row, column and value are named), or threads is less than 1.
        """

def isomorphism_key(labels: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], edges: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order='C', device='cpu', writable=False)]) -> bytes:
    """
    128-bit key of a labelled directed multigraph without order among edges, 16 bytes.

    Equal exactly for isomorphic graphs, but for collisions of the hash.

    Args:
        labels: one a node, (v,) uint64, at most 64.
        edges: rows (source, destination), (e, 2) int32.

    Raises:
        TypeError: an array has another dtype or shape, or is not C-contiguous.
        ValueError: a node does not exist, there are too many, or the graph is too regular.
    """

def topological_order(nodes: int, edges: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.int32], dict(shape=(None,))]:
    """
    Node numbers in an order in which every edge leads to a later node, (v,) int32.

    Of the nodes that could come next, the lowest number does.

    Args:
        nodes: how many, at most 2^24.
        edges: rows (source, destination), (e, 2) int32.

    Raises:
        ValueError: a node does not exist or the graph has a cycle; the node is named.
    """

def schedule(cycles: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], energy: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], layers: Annotated[NDArray[numpy.int32], dict(shape=(None, None, None), order='C', device='cpu', writable=False)], points: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order='C', device='cpu', writable=False)], limit: float, exact_labels: int = 0, threads: int = 1) -> tuple[Annotated[NDArray[numpy.int8], dict(shape=(None, None, None))], Annotated[NDArray[numpy.float64], dict(shape=(None, None, None))], Annotated[NDArray[numpy.float64], dict(shape=(None,))], Annotated[NDArray[numpy.float64], dict(shape=(None,))], Annotated[NDArray[numpy.float64], dict(shape=(None,))], Annotated[NDArray[numpy.float64], dict(shape=(None,))]]:
    """
    Least energy within a limit on the makespan, else least makespan, of networks (n, networks, length) of rows of the costs (u, h) on chips (n, subs) of columns; negative: none. Assignment and start (n, networks, length), makespan, energy, and lower bounds of both (n,).
    """

def non_dominated_sort(objectives: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], violation: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None) -> Annotated[NDArray[numpy.int32], dict(shape=(None,))]:
    """
    Ranks (n,) from 0 of the rows of objectives (n, m), all minimised; feasible rows (violation <= 0) first, infeasible ones by violation alone, NaN last.
    """

def crowding_distance(objectives: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], ranks: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.float64], dict(shape=(None,))]:
    """Crowding distance (n,) of each row within the rows of its own rank."""

def nsga2_survive(objectives: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], violation: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, keep: int) -> tuple[Annotated[NDArray[numpy.int32], dict(shape=(None,))], Annotated[NDArray[numpy.int32], dict(shape=(None,))], Annotated[NDArray[numpy.float64], dict(shape=(None,))]]:
    """
    Indices, ranks and crowding (k,) of the best k = min(keep, n) rows, best first.
    """

def hypervolume(points: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu', writable=False)], reference: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> float:
    """
    Exact volume that points (n, m) dominate below reference (m,), all minimised.
    """

def vary(population: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], ranks: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], crowding: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)], option_counts: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], words: Annotated[NDArray[numpy.uint64], dict(shape=(4), order='C', device='cpu', writable=False)], count: int, crossover_probability: float, mutation_probability: float, crossover: str = 'two-point') -> Annotated[NDArray[numpy.uint8], dict(shape=(None, None))]:
    """
    Children (count, d) by binary tournament, crossover and mutation; words (4,) are the only source of chance.
    """

class RowSet:
    """A set of uint8 rows of one width that remembers their order."""

    def __init__(self, width: int) -> None: ...

    def insert(self, rows: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.bool_], dict(shape=(None,))]:
        """Adds the rows (n, width); True (n,) where a row was not there before."""

    def take_new(self, rows: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], limit: int) -> Annotated[NDArray[numpy.uint8], dict(shape=(None, None))]:
        """
        Adds rows in order until `limit` of them were new; a copy (k, width) of those.
        """

    def find(self, rows: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.int64], dict(shape=(None,))]:
        """
        Position (n,) of each row in the order of arrival, -1 where it is not there.
        """

    def rows(self) -> Annotated[NDArray[numpy.uint8], dict(shape=(None, None))]:
        """A copy of all rows (k, width) in the order of arrival."""

    def __len__(self) -> int: ...

    @property
    def width(self) -> int:
        """Bytes in a row."""

def watch_address() -> int:
    """
    Address of a function, in tvm-ffi's calling convention, that times the calls of a virtual machine whose instrument it is.
    """

def take_call_times(watch: int) -> tuple[list[str], Annotated[NDArray[numpy.int64], dict(shape=(None, 4))]]:
    """
    What this thread has timed for a watch since the last take: names of functions, and for each call, in the order in which they ended, the place of its name, its arguments, thread CPU time and wall time in ns, (n, 4).
    """
