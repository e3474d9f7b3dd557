"""Keys against networkx.is_isomorphic, classes, and canonical rows."""

from itertools import product

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas import _core
from hwnas.encoding import Encoder, canonical_rows, distinct
from hwnas.errors import SpaceError
from hwnas.spaces import get_space, nasbench101
from hwnas.spaces.nasbench201 import EDGES

SETTINGS = settings(max_examples=200, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def every():
    return np.indices((5,) * 6, dtype=np.uint8).reshape(6, -1).T.copy()


def key_of(graph):
    labels = np.array([graph.nodes[v]["label"] for v in graph], dtype=np.uint64)
    number = {v: i for i, v in enumerate(graph)}
    edges = np.array([(number[a], number[b]) for a, b in graph.edges()], dtype=np.int32).reshape(
        -1, 2
    )
    return _core.isomorphism_key(labels, edges)


@st.composite
def directed_graphs(draw):
    size = draw(st.integers(1, 6))
    graph = nx.MultiDiGraph()
    for v in range(size):
        graph.add_node(v, label=draw(st.integers(0, 1)))
    nodes = st.integers(0, size - 1)
    graph.add_edges_from(draw(st.lists(st.tuples(nodes, nodes), max_size=10)))
    return graph


@given(one=directed_graphs(), other=directed_graphs(), order=st.randoms(use_true_random=False))
@SETTINGS
def test_keys_are_equal_exactly_where_networkx_finds_an_isomorphism(one, other, order):
    places = list(one)
    order.shuffle(places)
    turned = nx.MultiDiGraph()
    turned.add_nodes_from((v, one.nodes[v]) for v in places)
    turned.add_edges_from(one.edges())

    assert key_of(one) == key_of(turned)
    same = nx.is_isomorphic(
        one, other, node_match=lambda a, b: a == b, edge_match=lambda a, b: len(a) == len(b)
    )
    assert (key_of(one) == key_of(other)) == same


@given(size=st.integers(1, 12), data=st.data())
@SETTINGS
def test_the_topological_order_is_that_of_networkx(size, data):
    nodes = st.integers(0, size - 1)
    pairs = data.draw(st.lists(st.tuples(nodes, nodes), max_size=20, unique=True))
    graph = nx.DiGraph()
    graph.add_nodes_from(range(size))
    graph.add_edges_from(pairs)
    edges = np.array(pairs, dtype=np.int32).reshape(-1, 2)

    if nx.is_directed_acyclic_graph(graph):
        wanted = list(nx.lexicographical_topological_sort(graph))
        assert _core.topological_order(size, edges).tolist() == wanted
    else:
        with pytest.raises(ValueError, match="cycle through node") as error:
            _core.topological_order(size, edges)
        named = int(str(error.value).rsplit(" ", 1)[1])
        assert any(named in cycle for cycle in nx.simple_cycles(graph))


def test_regular_graphs_beyond_the_limit_are_refused_and_not_keyed_wrongly():
    with pytest.raises(ValueError, match="at most 64"):
        _core.isomorphism_key(np.zeros(65, np.uint64), np.empty((0, 2), np.int32))


def text_form(cell):
    """The form by which the authors of NAS-Bench-201 count: sums keep their zeros."""
    nodes = ["0"]
    for node in (1, 2, 3):
        terms = []
        for operation, (source, end) in zip(cell, EDGES, strict=True):
            if end == node:
                if operation == 0 or nodes[source] == "#":
                    terms.append("#")
                elif operation == 1:
                    terms.append(nodes[source])
                else:
                    terms.append(f"({nodes[source]})@{operation}")
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def live_graph(cell):
    """What a cell computes: zeros gone, skips contracted, only what reaches the output."""
    sums, operations = [{"input": 1}], {}
    for node in (1, 2, 3):
        terms = {}
        for place, (source, end) in enumerate(EDGES):
            if end != node or cell[place] == 0 or not sums[source]:
                continue
            if cell[place] == 1:
                for term, count in sums[source].items():
                    terms[term] = terms.get(term, 0) + count
            else:
                operations[place] = (cell[place], sums[source])
                terms[place] = 1
        sums.append(terms)
    graph = nx.DiGraph()
    graph.add_node("output", label="output")
    waiting = [("output", sums[3])]
    while waiting:
        node, terms = waiting.pop()
        for term, count in terms.items():
            if term not in graph:
                label = "input" if term == "input" else str(operations[term][0])
                graph.add_node(term, label=label)
                if term != "input":
                    waiting.append((term, operations[term][1]))
            graph.add_edge(term, node, count=count)
    return graph


def test_cells_of_nasbench201_fall_into_the_published_classes_by_the_published_form(every):
    assert len({text_form(cell) for cell in every.tolist()}) == 6466


def test_cells_of_nasbench201_compute_5425_things(every):
    found = distinct(Encoder(get_space("nasbench201")), every)

    assert len(found.rows) == 5425
    assert np.array_equal(found.classes[found.rows], np.arange(5425))


def test_equal_keys_of_cells_are_isomorphisms_of_networkx(every):
    encoder = Encoder(get_space("nasbench201"))
    population = every[np.random.default_rng(0).choice(len(every), 70, replace=False)]
    keys = [bytes(key) for key in encoder.keys(population)]
    graphs = [live_graph(cell) for cell in population.tolist()]

    for (a, one), (b, other) in product(zip(keys, graphs, strict=True), repeat=2):
        same = nx.is_isomorphic(
            one, other, node_match=lambda x, y: x == y, edge_match=lambda x, y: x == y
        )
        assert (a == b) == same


@pytest.mark.parametrize("name", ["nasbench201", "darts", "cells-digits", "nasbench101"])
def test_canonical_rows_are_equal_exactly_where_keys_are(name):
    space = nasbench101() if name == "nasbench101" else get_space(name)
    encoder = Encoder(space)
    rng = np.random.default_rng(1)
    population = space.sample(400, rng)
    near = np.concatenate([space.neighbours(row)[:6] for row in population[:60]])
    population = np.concatenate([population, near])

    rows = canonical_rows(encoder, population)

    assert np.array_equal(canonical_rows(encoder, rows), rows)
    assert np.array_equal(encoder.keys(rows), encoder.keys(population))
    assert len(np.unique(rows, axis=0)) == len(distinct(encoder, population).rows)


def test_renumbered_cells_of_darts_have_one_key():
    """Nodes 2 and 3 read inputs only, in either order."""
    space = get_space("darts")
    row = space.largest().row()
    row[[1, 2]], row[[4, 5]] = (0, 3), (1, 4)
    inputs_only = space.decisions[3].options.index((0, 1))
    row[0], row[3] = 0, inputs_only
    turned = row.copy()
    turned[[1, 2]], turned[[4, 5]] = row[[4, 5]], row[[1, 2]]
    for column in (6, 9):  # the later nodes read both by one operation
        row[column] = turned[column] = space.decisions[column].options.index((2, 3))
        row[column + 1] = turned[column + 1] = row[column + 2] = turned[column + 2] = 5

    keys = Encoder(space).keys(np.stack([row, turned]))

    assert not np.array_equal(row, turned)
    assert np.array_equal(keys[0], keys[1])


def test_spaces_without_a_rule_say_so():
    space = get_space("mbconv-digits")

    with pytest.raises(SpaceError, match="use `distinct`"):
        canonical_rows(Encoder(space), space.sample(1, np.random.default_rng(0)))
