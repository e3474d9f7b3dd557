"""The native costing engine against its twins in `hwnas.testing.oracles.costing`."""

from __future__ import annotations

import itertools
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas import _core
from hwnas.testing.oracles import costing as oracle


def _available_instruction_sets() -> list[str]:
    names = []
    for name in ("scalar", "avx2", "avx512"):
        try:
            _table(instruction_set=name)
        except ValueError:
            continue
        names.append(name)
    return names


def _table(**changes: Any) -> _core.SlotTable:
    arguments: dict[str, Any] = {
        "option_counts": np.array([2, 3], np.uint8),
        "block_decisions": [[0, 1], [1]],
        "block_costs": [np.arange(6.0).reshape(6, 1), np.ones((3, 1))],
        "constant": np.zeros(1),
        "reductions": ["sum"],
    }
    return _core.SlotTable(**{**arguments, **changes})


INSTRUCTION_SETS = _available_instruction_sets()


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    """A random space with costs, and a population of it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    d = draw(st.integers(0, 70))
    m = draw(st.integers(1, 8))
    most_options = draw(st.sampled_from([1, 2, 3, 7, 40, 255]))
    counts = rng.integers(1, most_options, d, endpoint=True).astype(np.uint8)
    blocks: list[list[int]] = []
    for _ in range(draw(st.integers(0, 30))):
        decisions: list[int] = []
        slots = 1
        for decision in rng.permutation(d)[: rng.integers(0, 6)].tolist():
            if slots * int(counts[decision]) <= 3000:
                slots *= int(counts[decision])
                decisions.append(decision)
        blocks.append(decisions)
    lowest = draw(st.sampled_from([0.0, 1e-3, -1.0]))
    scale = draw(st.sampled_from([1e-6, 1.0, 1e9]))

    def sample(rows: int) -> npt.NDArray[np.float64]:
        return scale * rng.uniform(lowest, 1, (rows, m))

    costs = [sample(int(np.prod(counts[decisions], dtype=np.int64))) for decisions in blocks]
    if draw(st.booleans()):
        for table in costs:
            table[rng.integers(len(table)), rng.integers(m)] = np.nan
    n = draw(st.sampled_from([0, 1, 2, 63, 64, 65, 200]))
    return {
        "population": (rng.random((n, d)) * counts).astype(np.uint8),
        "option_counts": counts,
        "block_decisions": blocks,
        "block_costs": costs,
        "constant": sample(1)[0],
        "reductions": [draw(st.sampled_from(["sum", "max"])) for _ in range(m)],
    }


def _cost(table: _core.SlotTable, population: npt.NDArray[np.uint8], threads: int = 1) -> Any:
    out = np.full((len(population), table.n_metrics), -1, np.float32)
    table.cost(population, out, threads=threads)
    return out


@settings(deadline=None, max_examples=200)
@given(space=spaces())
def test_costs_equal_the_float64_definition_on_every_instruction_set(space: Any) -> None:
    population = space.pop("population")
    wanted = oracle.cost(population, **space)
    # Where costs of both signs cancel, no more is promised than float64 rounding of the terms.
    terms = np.abs(space["constant"]) + sum(
        (np.nanmax(np.abs(table), axis=0, initial=0) for table in space["block_costs"]),
        np.zeros_like(space["constant"]),
    )

    results = [
        _cost(_core.SlotTable(**space, instruction_set=name), population)
        for name in INSTRUCTION_SETS
    ]

    for result in results:
        assert result.tobytes() == results[0].tobytes()
    assert np.array_equal(np.isnan(results[0]), np.isnan(wanted))
    error = np.abs(results[0] - wanted)
    assert np.all((error <= 1e-6 * np.abs(wanted) + 1e-12 * terms) | np.isnan(wanted))


@settings(deadline=None, max_examples=100)
@given(space=spaces())
def test_slot_numbers_equal_the_definition(space: Any) -> None:
    population = space.pop("population")
    table = _core.SlotTable(**space)
    out = np.zeros((len(population), table.n_blocks), np.uint32)

    table.slots(population, out)

    wanted = oracle.slots(population, space["option_counts"], space["block_decisions"])
    assert np.array_equal(out, wanted)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_costs_do_not_depend_on_the_thread_count(instruction_set: str, threads: int) -> None:
    rng = np.random.default_rng(0)
    counts = np.full(21, 7, np.uint8)
    table = _table(
        option_counts=counts,
        block_decisions=[[c] for c in range(21)],
        block_costs=[rng.random((7, 2)) for _ in range(21)],
        constant=np.ones(2),
        reductions=["sum", "sum"],
        instruction_set=instruction_set,
    )
    population = rng.integers(0, 7, (50_001, 21), np.uint8)

    alone = _cost(table, population)

    assert np.array_equal(_cost(table, population, threads), alone)


def test_fusing_blocks_takes_fewer_lookups_than_blocks() -> None:
    table = _table(
        option_counts=np.full(21, 7, np.uint8),
        block_decisions=[[c] for c in range(21)],
        block_costs=[np.ones((7, 2))] * 21,
        constant=np.ones(2),
        reductions=["sum", "sum"],
    )

    assert table.n_blocks == 21
    assert table.n_groups < 10
    assert table.table_bytes < 32 * 1024
    assert (table.n_decisions, table.n_metrics) == (21, 2)
    assert table.instruction_set == INSTRUCTION_SETS[-1]


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_an_unmeasured_slot_costs_nan_in_its_metric_only(instruction_set: str) -> None:
    table = _table(
        block_decisions=[[0], [1]],
        block_costs=[np.array([[1, 2, 3], [4, np.nan, np.nan]]), np.ones((3, 3))],
        constant=np.zeros(3),
        reductions=["sum", "sum", "max"],
        instruction_set=instruction_set,
    )

    out = _cost(table, np.array([[0, 0], [1, 2]], np.uint8))

    assert out[0].tolist() == [2, 3, 3]
    assert out[1, 0] == 5
    assert np.isnan(out[1, 1:]).all()


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_a_space_without_blocks_costs_its_constant(instruction_set: str) -> None:
    table = _core.SlotTable(
        np.zeros(0, np.uint8), [], [], np.array([3.0, 4.0]), ["sum", "max"], instruction_set
    )

    assert _cost(table, np.zeros((2, 0), np.uint8)).tolist() == [[3, 4], [3, 4]]
    assert _cost(table, np.zeros((0, 0), np.uint8)).shape == (0, 2)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("row", [0, 40, 99])
@pytest.mark.parametrize("d", [3, 21, 70])
def test_an_option_out_of_range_is_named(instruction_set: str, row: int, d: int) -> None:
    table = _table(
        option_counts=np.full(d, 5, np.uint8),
        block_decisions=[[0]],
        block_costs=[np.ones((5, 1))],
        instruction_set=instruction_set,
    )
    population = np.zeros((100, d), np.uint8)
    population[row, d - 1] = 200

    with pytest.raises(ValueError, match=f"row {row}, column {d - 1}: 200, .* 5 options"):
        _cost(table, population)
    with pytest.raises(ValueError, match=f"row {row}, column {d - 1}: 200, .* 5 options"):
        table.slots(population, np.zeros((100, 1), np.uint32))


@pytest.mark.parametrize(
    ("population", "out"),
    [
        (np.zeros((4, 2), np.int64), np.zeros((4, 1), np.float32)),
        (np.zeros((4, 2), np.uint8), np.zeros((4, 1), np.float64)),
        (np.zeros((4, 3), np.uint8), np.zeros((4, 1), np.float32)),
        (np.zeros((4, 2), np.uint8), np.zeros((4, 2), np.float32)),
        (np.zeros((4, 2), np.uint8), np.zeros((3, 1), np.float32)),
        (np.zeros((4, 4), np.uint8)[:, ::2], np.zeros((4, 1), np.float32)),
        (np.zeros((4, 2), np.uint8), np.zeros((4, 2), np.float32)[:, ::2]),
        (np.zeros(8, np.uint8), np.zeros((4, 1), np.float32)),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(population: Any, out: Any) -> None:
    with pytest.raises(TypeError):
        _table().cost(population, out)


def test_a_read_only_output_is_refused() -> None:
    out = np.zeros((4, 1), np.float32)
    out.setflags(write=False)

    with pytest.raises(TypeError):
        _table().cost(np.zeros((4, 2), np.uint8), out)


def test_a_read_only_population_is_accepted() -> None:
    population = np.zeros((4, 2), np.uint8)
    population.setflags(write=False)

    assert _cost(_table(), population).tolist() == [[1], [1], [1], [1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"option_counts": np.array([2, 0], np.uint8)}, "decision 1 has no option"),
        ({"block_decisions": [[0, 1], [2]]}, "choice block 1 reads decision 2 of 2"),
        ({"block_decisions": [[0, 0], [1]]}, "choice block 0 reads a decision twice"),
        ({"block_decisions": [[0, 1]]}, "block_costs has 2 blocks"),
        ({"block_costs": [np.ones((5, 1)), np.ones((3, 1))]}, "choice block 0 has 6 slots"),
        ({"block_costs": [np.ones((6, 2)), np.ones((3, 1))]}, "block_costs.0. has 2 metrics"),
        ({"constant": np.array([np.inf])}, "infinite"),
        ({"constant": np.array([1e39])}, "float32"),
        ({"constant": np.zeros(0), "reductions": []}, "metrics"),
        ({"constant": np.zeros(9), "reductions": ["sum"] * 9}, "metrics"),
        ({"reductions": ["mean"]}, "unknown reduction 'mean'"),
        ({"reductions": ["sum", "sum"]}, "reductions has 2 entries"),
        ({"instruction_set": "mmx"}, "unknown instruction set 'mmx'"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _table(**changes)


def test_fewer_than_one_thread_is_refused() -> None:
    with pytest.raises(ValueError, match="threads must be at least 1"):
        _cost(_table(), np.zeros((1, 2), np.uint8), threads=0)


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32),
    d=st.integers(0, 60),
    n=st.sampled_from([0, 1, 64, 100]),
    most_options=st.sampled_from([1, 2, 5, 255]),
    chained=st.booleans(),
)
def test_canonicalise_equals_its_definition(
    seed: int, d: int, n: int, most_options: int, chained: bool
) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, most_options, d, endpoint=True).astype(np.uint8)
    first_child = 0 if chained else d // 2
    parents = np.full(d, -1, np.int32)
    for column in range(first_child, d):
        parents[column] = rng.integers(-1, column if chained else first_child)
    active = rng.integers(0, 3, (d, 256)).astype(np.uint8)
    population = (rng.random((n, d)) * counts).astype(np.uint8)
    wanted = oracle.canonicalise(population, parents, active)

    _core.canonicalise(population, counts, parents, active)

    assert np.array_equal(population, wanted)
    _core.canonicalise(population, counts, parents, active)
    assert np.array_equal(population, wanted)


def test_canonicalise_refuses_a_parent_behind_its_child() -> None:
    with pytest.raises(ValueError, match="decision 0 has parent 1"):
        _core.canonicalise(
            np.zeros((1, 2), np.uint8),
            np.full(2, 2, np.uint8),
            np.array([1, -1], np.int32),
            np.ones((2, 256), np.uint8),
        )


def test_canonicalise_names_an_option_out_of_range_and_leaves_its_row() -> None:
    population = np.ones((200, 2), np.uint8)
    population[150] = [0, 9]

    with pytest.raises(ValueError, match="row 150, column 1: 9, the decision has 2 options"):
        _core.canonicalise(
            population,
            np.full(2, 2, np.uint8),
            np.array([-1, 0], np.int32),
            np.zeros((2, 256), np.uint8),
        )

    assert population[150].tolist() == [0, 9]


@pytest.mark.parametrize(
    ("population", "active"),
    [
        (np.zeros((1, 2), np.int8), np.ones((2, 256), np.uint8)),
        (np.zeros((1, 3), np.uint8), np.ones((2, 256), np.uint8)),
        (np.zeros((2, 1), np.uint8).T[:, ::-1], np.ones((2, 256), np.uint8)),
        (np.zeros((1, 2), np.uint8), np.ones((2, 255), np.uint8)),
    ],
)
def test_canonicalise_refuses_other_shapes_and_types(population: Any, active: Any) -> None:
    with pytest.raises(TypeError):
        _core.canonicalise(
            population, np.full(2, 2, np.uint8), np.array([-1, 0], np.int32), active
        )


Graph = tuple[list[bytes], npt.NDArray[np.int32], npt.NDArray[np.int32]]


def _graph(labels: list[bytes], edges: Any, outputs: Any) -> Graph:
    return (
        labels,
        np.array(edges, np.int32).reshape(-1, 3),
        np.array(outputs, np.int32).reshape(-1),
    )


def _random_graph(rng: np.random.Generator, nodes: int, labels: int, outputs: int) -> Graph:
    edges = []
    for node in range(1, nodes):
        slots = rng.permutation(3)[: rng.integers(0, 3)]
        edges += [(rng.integers(node), node, slot) for slot in slots]
    return _graph(
        [b"op%d" % rng.integers(labels) for _ in range(nodes)],
        edges,
        rng.integers(0, nodes, outputs),
    )


def _relabel(rng: np.random.Generator, graph: Graph) -> Graph:
    labels, edges, outputs = graph
    to = rng.permutation(len(labels)).astype(np.int32)
    new_edges = edges.copy()
    new_edges[:, :2] = to[edges[:, :2]]
    return (
        [labels[i] for i in np.argsort(to)],
        rng.permutation(new_edges),
        to[outputs],
    )


def _to_networkx(graph: Graph) -> nx.DiGraph:
    labels, edges, outputs = graph
    network = nx.DiGraph()
    for node, label in enumerate(labels):
        network.add_node(node, label=(label, tuple(np.flatnonzero(outputs == node))))
    for source, destination, slot in edges.tolist():
        if not network.has_edge(source, destination):
            network.add_edge(source, destination, slots=frozenset())
        network.edges[source, destination]["slots"] |= {slot}
    return network


def _is_isomorphic(first: Graph, second: Graph) -> bool:
    return nx.is_isomorphic(
        _to_networkx(first),
        _to_networkx(second),
        node_match=lambda x, y: x["label"] == y["label"],
        edge_match=lambda x, y: x["slots"] == y["slots"],
    )


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 2**32), nodes=st.integers(1, 40), outputs=st.integers(0, 3))
def test_a_key_does_not_depend_on_the_order_of_nodes(seed: int, nodes: int, outputs: int) -> None:
    rng = np.random.default_rng(seed)
    graph = _random_graph(rng, nodes, 2, outputs)

    assert _core.canonical_key(*graph) == _core.canonical_key(*_relabel(rng, graph))


@pytest.mark.parametrize("outputs", [0, 1, 2])
@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5])
def test_keys_are_equal_exactly_for_isomorphic_graphs(nodes: int, outputs: int) -> None:
    rng = np.random.default_rng(nodes)
    graphs = [_random_graph(rng, nodes, 1, outputs) for _ in range(60)]
    keys = [_core.canonical_key(*graph) for graph in graphs]

    equal = 0
    for i, k in itertools.combinations(range(len(graphs)), 2):
        assert (keys[i] == keys[k]) == _is_isomorphic(graphs[i], graphs[k])
        equal += keys[i] == keys[k]

    assert nodes > 4 or equal > 0


@settings(deadline=None, max_examples=300)
@given(seed=st.integers(0, 2**32), nodes=st.integers(2, 12), outputs=st.integers(0, 2))
def test_moving_one_wire_changes_the_key_unless_the_graphs_stay_isomorphic(
    seed: int, nodes: int, outputs: int
) -> None:
    rng = np.random.default_rng(seed)
    graph = _random_graph(rng, nodes, 2, outputs)
    labels, edges, ends = graph
    moved = edges.copy()
    if len(moved):
        row = rng.integers(len(moved))
        moved[row, 0] = rng.integers(moved[row, 1])
    other = (labels, moved, ends)

    same = _core.canonical_key(*graph) == _core.canonical_key(*other)

    assert same == _is_isomorphic(graph, other)


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32), nodes=st.integers(1, 30))
def test_a_key_equals_its_definition(seed: int, nodes: int) -> None:
    rng = np.random.default_rng(seed)
    labels, edges, _ = _random_graph(rng, nodes, 5, 0)
    unused = np.setdiff1d(np.arange(nodes, dtype=np.int32), edges[:, 0])
    outputs = rng.permutation(unused).astype(np.int32)

    key = _core.canonical_key(labels, edges, outputs)

    assert key == oracle.canonical_key(labels, edges, outputs)
    assert len(key) == 16


def test_a_shared_node_and_two_copies_of_it_have_different_keys() -> None:
    shared = _graph([b"x", b"Add"], [(0, 1, 0), (0, 1, 1)], [1])
    copied = _graph([b"x", b"x", b"Add"], [(0, 2, 0), (1, 2, 1)], [2])

    assert _core.canonical_key(*shared) != _core.canonical_key(*copied)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (_graph([b"a", b"b"], [(0, 1, 0), (1, 0, 0)], [1]), "cycle through node [01]"),
        (_graph([b"a"], [(0, 0, 0)], [0]), "cycle through node 0"),
        (_graph([b"a"], [(0, 5, 0)], [0]), "node 5 of 1"),
        (_graph([b"a"], [(-1, 0, 0)], [0]), "node -1 of 1"),
        (_graph([b"a"], [], [1]), "output 0 names node 1 of 1"),
        (_graph([b"a", b"b"], [(0, 1, 0), (0, 1, 0)], [1]), "node 1 has two inputs in slot 0"),
        (_graph([b"a", b"b"], [(0, 1, -2)], [1]), "node 1 has an input in slot -2"),
    ],
)
def test_a_bad_graph_is_refused_by_the_node(graph: Graph, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.canonical_key(*graph)


@pytest.mark.parametrize(
    "edges", [np.zeros((1, 2), np.int32), np.zeros((1, 3), np.int64), np.zeros(3, np.int32)]
)
def test_edges_of_another_shape_or_type_are_refused(edges: Any) -> None:
    with pytest.raises(TypeError):
        _core.canonical_key([b"a"], edges, np.zeros(1, np.int32))
