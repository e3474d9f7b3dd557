"""How fast populations and graphs become numbers, beside networkx, NumPy and memory.

One thread, thread CPU time, every way in turns on the same architectures, into arrays that are
used again.
An architecture of `darts` is both of its cells. networkx gets graphs that are built already; where
it has no such encoding, the nearest thing it has is timed: adjacency matrices for one-hot rows,
Weisfeiler-Lehman hashes for the key. The NumPy twins work on whole populations.

`bytes_per_s` counts what is read and written; `copy_bytes_per_s` is what `numpy.copyto` reaches in
the same run on arrays too large for caches, so that the distance to the limit shows.

    python benchmarks/encoding.py [--json] [--quick] [--rounds 11]
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import networkx as nx
import numpy as np
from report_format import emit, machine, result

from hwnas import _core
from hwnas.encoding import Encoder
from hwnas.graph import Graph
from hwnas.graph.wiring import Wiring, wiring_of
from hwnas.spaces import Population, get_space

ITERATIONS = 3
REACH = {
    "nb201_onehot_per_s": 50e6,
    "nb201_path_per_s": 10e6,
    "nb201_wl3_per_s": 1.5e6,
    "darts_path_per_s": 1e6,
    "darts_wl3_per_s": 0.4e6,
    "slots_per_s": 100e6,
}
FURTHER = (
    "nb201_path_columns_per_s",
    "nb201_key_per_s",
    "darts_path_packed_per_s",
    "darts_key_per_s",
    "slots_in_cache_per_s",
)
CACHED, TURNS = 1 << 11, 32  # rows that stay in a cache, and runs over them
KEY_NODES = 150
KEY_REACH_US = 50.0
COPY_BYTES = 1 << 26


@dataclass(frozen=True)
class Way:
    """One way of doing one thing.

    Args:
        count: Architectures a run.
        bytes_each: Read and written for each, 0 where that says nothing.
        run: Does it once.
    """

    count: int
    bytes_each: int
    run: Callable[[], object]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--rounds", type=int, default=11, help="interleaved runs of each")
    arguments = parser.parse_args()
    n, few, rounds = (1 << 12, 8, 2) if arguments.quick else (1 << 17, 200, arguments.rounds)
    print(
        f"encoding {n} architectures ({few} for networkx), one thread, by thread CPU time, median "
        f"of {rounds} interleaved runs; {machine()}",
        file=sys.stderr,
    )
    warnings.filterwarnings("ignore", "The hashes produced for directed graphs", UserWarning)
    emit("encoding", compare(n, few, rounds), arguments.json)


def compare(n: int, few: int, rounds: int) -> list[dict[str, object]]:
    """Time every way in turns."""
    ways = {**nasbench201_ways(n, few), **darts_ways(n, few), **slot_ways(n), **key_ways()}
    ways["copy"] = copy_way(n)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way.run()
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.thread_time()
            way.run()
            seconds[name].append((time.thread_time() - begin) / way.count)
    middle = {name: median(spent) for name, spent in seconds.items()}
    copied = ways["copy"].bytes_each / middle["copy"]
    found = []
    for name, reach in REACH.items():
        moved = ways[name].bytes_each / middle[name]
        found.append(
            result(
                name,
                1 / middle[name],
                "1/s",
                reach=reach,
                lowest=1 / max(seconds[name]),
                highest=1 / min(seconds[name]),
                bytes_per_s=moved,
                share_of_copy=moved / copied,
            )
        )
    found.append(
        result(
            "canonical_key_150_nodes_us",
            1e6 * middle["canonical_key"],
            "us",
            better="lower",
            reach=KEY_REACH_US,
        )
    )
    for name, spent in middle.items():
        base, over, peer = name.partition("@")
        if over:
            stem = base.removesuffix("_per_s")
            found.append(result(f"{stem}_over_{peer}", spent / middle[base], "1"))
    found += [result(name, 1 / middle[name], "1/s") for name in FURTHER]
    found.append(result("copy_bytes_per_s", copied, "B/s"))
    return found


def nasbench201_ways(n: int, few: int) -> dict[str, Way]:
    """One-hot, paths, Weisfeiler-Lehman hashes and keys of cells of NAS-Bench-201."""
    encoder = Encoder(get_space("nasbench201"))
    population = encoder.space.sample(n, np.random.default_rng(0))
    some = population[: max(1, n // 16)]
    graphs = graphs_of(encoder, population[:few])
    hot, dense = encoder.one_hot(population), encoder.paths(population, "dense")
    columns, hashes = encoder.paths(population), encoder.wl_hash(population, ITERATIONS)
    keys = encoder.keys(some)
    eye = np.eye(5, dtype=np.uint8)
    return {
        "nb201_onehot_per_s": Way(n, 6 + 30, lambda: encoder.one_hot(population, hot)),
        "nb201_onehot_per_s@numpy": Way(len(some), 0, lambda: eye[some].reshape(len(some), 30)),
        "nb201_onehot_per_s@networkx": Way(
            few, 0, lambda: [nx.to_numpy_array(graph) for graph in graphs]
        ),
        "nb201_path_per_s": Way(n, 6 + 155, lambda: encoder.paths(population, "dense", out=dense)),
        "nb201_path_per_s@numpy": Way(len(some), 0, lambda: numpy_paths(some)),
        "nb201_path_per_s@networkx": Way(few, 0, lambda: [words_of(graph) for graph in graphs]),
        "nb201_path_columns_per_s": Way(n, 6 + 8, lambda: encoder.paths(population, out=columns)),
        "nb201_wl3_per_s": Way(
            n, 6 + 8, lambda: encoder.wl_hash(population, ITERATIONS, out=hashes)
        ),
        "nb201_wl3_per_s@numpy": Way(len(some), 0, lambda: numpy_wl(encoder, some)),
        "nb201_wl3_per_s@networkx": Way(few, 0, lambda: [wl_of(graph) for graph in graphs]),
        "nb201_key_per_s": Way(len(some), 6 + 16, lambda: encoder.keys(some, out=keys)),
    }


def darts_ways(n: int, few: int) -> dict[str, Way]:
    """Paths, Weisfeiler-Lehman hashes and keys of both cells of DARTS."""
    encoder = Encoder(get_space("darts"))
    population = encoder.space.sample(n // 2, np.random.default_rng(1))
    graphs = graphs_of(encoder, population[: max(1, few // 4)])
    some = population[: max(1, n // 64)]
    part = population[: max(1, n // 8)]
    columns, hashes = encoder.paths(population), encoder.wl_hash(population, ITERATIONS)
    packed, keys = encoder.paths(part, "packed"), encoder.keys(some)
    return {
        "darts_path_per_s": Way(
            n // 2, 24 + columns.shape[1] * 2, lambda: encoder.paths(population, out=columns)
        ),
        "darts_path_per_s@networkx": Way(
            len(graphs), 0, lambda: [words_of(graph) for graph in graphs]
        ),
        "darts_path_packed_per_s": Way(
            len(part), 24 + packed.shape[1], lambda: encoder.paths(part, "packed", out=packed)
        ),
        "darts_wl3_per_s": Way(
            n // 2, 24 + 8, lambda: encoder.wl_hash(population, ITERATIONS, out=hashes)
        ),
        "darts_wl3_per_s@networkx": Way(
            len(graphs), 0, lambda: [wl_of(graph) for graph in graphs]
        ),
        "darts_key_per_s": Way(len(some), 24 + 16, lambda: encoder.keys(some, out=keys)),
    }


def slot_ways(n: int) -> dict[str, Way]:
    """Slot numbers of the choice blocks of `ofa-mbv3`, from memory and from a cache."""
    encoder = Encoder(get_space("ofa-mbv3"))
    population = encoder.space.sample(n, np.random.default_rng(2))
    some = population[: max(1, n // 16)]
    slots = encoder.slots(population)
    each = population.shape[1] + 2 * slots.shape[1]
    near, near_slots = population[:CACHED].copy(), slots[:CACHED].copy()

    def in_cache() -> None:
        for _ in range(TURNS):
            encoder.slots(near, near_slots)

    return {
        "slots_in_cache_per_s": Way(TURNS * len(near), each, in_cache),
        "slots_per_s": Way(n, each, lambda: encoder.slots(population, slots)),
        "slots_per_s@numpy": Way(len(some), 0, lambda: numpy_slots(encoder, some)),
    }


def key_ways() -> dict[str, Way]:
    """The key of an ONNX graph of about 150 operators; reading it is not timed."""
    wiring = wiring_of(graph_of(KEY_NODES))
    graph = nx.DiGraph()
    for node, label in enumerate(wiring.labels):
        graph.add_node(node, label=label.decode())
    graph.add_edges_from((source, node) for source, node, _ in wiring.wires.tolist())
    return {
        "canonical_key": Way(100, 0, lambda: [key_of(wiring) for _ in range(100)]),
        "canonical_key@networkx": Way(1, 0, lambda: wl_of(graph)),
    }


def copy_way(n: int) -> Way:
    """A copy of arrays that no cache holds."""
    size = COPY_BYTES if n > 1 << 14 else COPY_BYTES >> 4
    source, target = np.ones(size, dtype=np.uint8), np.empty(size, dtype=np.uint8)
    return Way(1, 2 * size, lambda: np.copyto(target, source))


def graph_of(nodes: int) -> Graph:
    """The network of `proxyless-mobile` that has the nearest number of operators."""
    space = get_space("proxyless-mobile")
    population = space.sample(40, np.random.default_rng(3))
    drawn = [space.network(space.architecture(row)) for row in population]
    return min(drawn, key=lambda graph: abs(len(graph.nodes) - nodes))


def key_of(wiring: Wiring) -> bytes:
    """The key of a graph that has been read."""
    return _core.canonical_key(wiring.labels, wiring.wires, wiring.outputs)


def graphs_of(encoder: Encoder, population: Population) -> list[nx.DiGraph]:
    """Architectures as networkx graphs with labelled nodes."""
    graphs = []
    labels, adjacency = encoder.labels(population), encoder.adjacency(population)
    for row, matrix in zip(labels, adjacency, strict=True):
        graph = nx.DiGraph()
        for node, label in enumerate(row):
            graph.add_node(node, label=encoder.label_names[label])
        graph.add_edges_from((int(source), int(node)) for node, source in np.argwhere(matrix))
        graphs.append(graph)
    return graphs


def words_of(graph: nx.DiGraph) -> set[tuple[str, ...]]:
    """What the paths from inputs to outputs spell."""
    inputs = [node for node in graph if graph.nodes[node]["label"] == "input"]
    outputs = [node for node in graph if graph.nodes[node]["label"] == "output"]
    return {
        tuple(graph.nodes[node]["label"] for node in path)
        for source in inputs
        for path in nx.all_simple_paths(graph, source, outputs)
    }


def wl_of(graph: nx.DiGraph) -> str:
    """The hash of networkx."""
    return nx.weisfeiler_lehman_graph_hash(graph, node_attr="label", iterations=ITERATIONS)


def numpy_paths(population: Population) -> np.ndarray:
    """Paths of NAS-Bench-201 as bytes, `(n, 155)`."""
    a, b, c, d, e, f = population.T.astype(np.intp)
    out = np.zeros((len(population), 155), dtype=np.uint8)
    rows = np.arange(len(population))
    for column in (d, 5 + 5 * a + e, 5 + 5 * b + f, 30 + 25 * a + 5 * c + f):
        out[rows, column] = 1
    return out


def numpy_wl(encoder: Encoder, population: Population) -> np.ndarray:
    """Labels by products with the adjacency matrix, which all cells of NAS-Bench-201 share."""
    names = encoder.labels(population).astype(np.uint64) + np.uint64(1)
    matrix = encoder.adjacency(population[:1])[0].astype(np.uint64)
    label = names * np.uint64(0x9E3779B97F4A7C15)
    total = label.sum(axis=1)
    for _ in range(ITERATIONS):
        label = label + np.uint64(3) * (label @ matrix.T) + np.uint64(5) * (label @ matrix)
        label ^= label >> np.uint64(33)
        label *= np.uint64(0xFF51AFD7ED558CCD)
        total = total * np.uint64(31) + label.sum(axis=1)
    return total


def numpy_slots(encoder: Encoder, population: Population) -> np.ndarray:
    """Slot numbers block by block, `(n, blocks)`."""
    space = get_space(encoder.space.name)
    counts = space.option_counts.astype(np.uint16)
    out = np.empty((len(population), len(space.blocks)), dtype=np.uint16)
    for block in range(len(space.blocks)):
        number = np.zeros(len(population), dtype=np.uint16)
        for column in space.columns_of(block):
            number = number * counts[column] + population[:, column]
        out[:, block] = number
    return out


if __name__ == "__main__":
    main()
