"""Encodings of populations against networkx and against NumPy twins."""

from collections import Counter
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.encoding import LAYER_COSTS, Encoder
from hwnas.errors import SpaceError
from hwnas.graph import count_graph, critical_path
from hwnas.graph.counts import node_macs
from hwnas.spaces import get_space, nasbench101

CELLS = ("nasbench201", "nasbench101", "darts", "cells-digits", "cells-digits-free")
CHAINS = ("mbconv-digits", "resnet9", "unet")
SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


def encoder_of(name):
    return Encoder(nasbench101() if name == "nasbench101" else get_space(name))


ENCODERS = {name: encoder_of(name) for name in (*CELLS, *CHAINS)}


def sample(name, n, seed=0):
    return ENCODERS[name].space.sample(n, np.random.default_rng(seed))


def graphs_of(encoder, population):
    """The graphs of each architecture as one networkx graph."""
    labels, adjacency = encoder.labels(population), encoder.adjacency(population)
    for row, matrix in zip(labels, adjacency, strict=True):
        graph = nx.MultiDiGraph()
        for node, label in enumerate(row):
            graph.add_node(node, label=encoder.label_names[label])
        for node, source in np.argwhere(matrix):
            for _ in range(matrix[node, source]):
                graph.add_edge(int(source), int(node))
        yield graph


@pytest.mark.parametrize("name", ENCODERS)
def test_one_hot_is_the_identity_matrix_by_options(name):
    population = sample(name, 300)

    found = ENCODERS[name].one_hot(population)

    parts = [
        np.eye(int(count), dtype=np.uint8)[population[:, column]]
        for column, count in enumerate(ENCODERS[name].space.option_counts)
    ]
    assert np.array_equal(found, np.concatenate(parts, axis=1))


@pytest.mark.parametrize("name", ["nasbench201", "cells-digits", *CHAINS])
def test_slots_are_those_of_compiled_costs(name):
    encoder, population = ENCODERS[name], sample(name, 300)
    space = encoder.space

    found = encoder.slots(population)

    assert found.dtype == np.uint16
    for block in range(len(space.blocks)):
        wanted = np.zeros(len(population), dtype=np.int64)
        for column in space.columns_of(block):
            wanted = wanted * int(space.option_counts[column]) + population[:, column]
        assert np.array_equal(found[:, block], wanted)


@pytest.mark.parametrize("name", CELLS)
def test_forms_of_paths_agree(name):
    encoder, population = ENCODERS[name], sample(name, 100)
    width = encoder.path_columns()

    columns = encoder.paths(population)
    dense = encoder.paths(population, "dense")
    packed = encoder.paths(population, "packed")

    assert np.array_equal(np.unpackbits(packed, axis=1, bitorder="little")[:, :width], dense)
    for row, bits in zip(columns, dense, strict=True):
        assert np.array_equal(row[row != np.iinfo(row.dtype).max], np.flatnonzero(bits))


def test_paths_have_the_published_number_of_columns():
    """White et al., 2020: 364 and 40; NASLib: 155 and 11,204."""
    assert ENCODERS["nasbench201"].path_columns() == 155
    assert ENCODERS["nasbench101"].path_columns() == 364
    assert ENCODERS["nasbench101"].path_columns(longest=3) == 40
    assert ENCODERS["darts"].path_columns() == 11204


@pytest.mark.parametrize("name", ["nasbench101", "nasbench201"])
def test_paths_are_those_of_networkx(name):
    encoder, population = ENCODERS[name], sample(name, 60)
    operations = [n for n in encoder.label_names if n not in ("input", "output")]
    shortest = 1 if name == "nasbench201" else 0

    dense = encoder.paths(population, "dense")

    for graph, bits in zip(graphs_of(encoder, population), dense, strict=True):
        simple = nx.DiGraph(graph)
        wanted = set()
        for path in nx.all_simple_paths(simple, 0, len(graph) - 1):
            word = [operations.index(graph.nodes[node]["label"]) for node in path[1:-1]]
            number = 0
            for symbol in word:
                number = number * len(operations) + symbol + 1
            wanted.add(number - shortest)
        assert set(np.flatnonzero(bits)) == wanted


def test_all_cells_of_nasbench201_have_paths_of_their_own():
    encoder = ENCODERS["nasbench201"]
    every = np.indices((5,) * 6, dtype=np.uint8).reshape(6, -1).T.copy()

    packed = encoder.paths(every, "packed")

    assert len(np.unique(packed, axis=0)) == 15625


@pytest.mark.filterwarnings("ignore:The hashes produced for directed graphs:UserWarning")
@pytest.mark.parametrize("name", ["nasbench201", "darts", "cells-digits-free", "resnet9"])
def test_wl_hashes_part_populations_as_networkx_does(name):
    """The same classes; values of hashes are ours."""
    encoder, population = ENCODERS[name], sample(name, 60)
    population = np.concatenate([population, sample(name, 15)])

    ours = encoder.wl_hash(population, 3)

    theirs = []
    for graph in graphs_of(encoder, population):
        simple = nx.DiGraph(graph)
        for source, node in simple.edges:
            simple.edges[source, node]["count"] = graph.number_of_edges(source, node)
        kind = dict(edge_attr="count") if name == "darts" else {}
        theirs.append(
            nx.weisfeiler_lehman_graph_hash(simple, node_attr="label", iterations=3, **kind)
        )
    assert len(set(zip(ours.tolist(), theirs, strict=True))) == len(set(theirs))
    assert len(set(ours.tolist())) == len(set(theirs))


@pytest.mark.parametrize("name", ["nasbench201", "darts"])
def test_wl_labels_are_equal_where_neighbourhoods_are(name):
    encoder, population = ENCODERS[name], sample(name, 40)
    labels = encoder.wl_labels(population, 3)
    adjacency = encoder.adjacency(population)

    seen = {}
    for row, matrix in zip(labels, adjacency, strict=True):
        for before, after in pairwise(row):
            for node in range(len(before)):
                into = tuple(sorted(Counter(before[matrix[node] > 0].tolist()).items()))
                out = tuple(sorted(Counter(before[matrix[:, node] > 0].tolist()).items()))
                seen.setdefault((int(before[node]), into, out), set()).add(int(after[node]))

    assert all(len(found) == 1 for found in seen.values())
    assert len(set().union(*seen.values())) == len(seen)


def test_wl_histograms_count_labels_by_remainder():
    encoder, population = ENCODERS["darts"], sample("darts", 30)

    found = encoder.wl_histogram(population, 2, buckets=32)

    labels = encoder.wl_labels(population, 2)
    wanted = np.zeros_like(found)
    for i, turn, node in np.ndindex(*labels.shape):
        wanted[i, turn, int(labels[i, turn, node] % np.uint64(32))] += 1
    assert np.array_equal(found, wanted)


def test_the_kernel_of_wl_histograms_is_positive_semidefinite():
    """NAS-BOWL: isomorphic graphs have 1, and without iterations it is the cosine of counts."""
    encoder, population = ENCODERS["nasbench201"], sample("nasbench201", 60)
    labels = encoder.wl_labels(population, 2)
    kernel = np.zeros((60, 60))
    for turn in range(3):
        words, place = np.unique(labels[:, turn], return_inverse=True)
        counts = np.zeros((60, len(words)))
        np.add.at(counts, (np.arange(60)[:, None], place.reshape(60, -1)), 1)
        unit = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        kernel += unit @ unit.T / 3

    assert np.linalg.eigvalsh(kernel).min() > -1e-8
    assert np.allclose(np.diag(kernel), 1)


@pytest.mark.parametrize("name", ["nasbench201", "darts", "cells-digits-free", "unet"])
def test_tensors_are_one_graph_in_three_forms(name):
    encoder, population = ENCODERS[name], sample(name, 50)
    v = encoder.nodes

    adjacency, edges = encoder.adjacency(population), encoder.edges(population)
    sparse = encoder.sparse(population)
    operators = encoder.operators(population)

    assert np.array_equal(operators.argmax(axis=2), encoder.labels(population))
    assert (operators.sum(axis=2) == 1).all()
    from_edges, from_sparse = np.zeros_like(adjacency), np.zeros_like(adjacency)
    for i, each in enumerate(edges):
        for source, node in each[each[:, 0] >= 0]:
            from_edges[i, node, source] += 1
    for node in range(50 * v):
        for source in sparse.sources[sparse.begins[node] : sparse.begins[node + 1]]:
            from_sparse[node // v, node % v, source - node // v * v] += 1
    assert np.array_equal(adjacency, from_edges)
    assert np.array_equal(adjacency, from_sparse)
    assert np.array_equal(sparse.labels, encoder.labels(population).ravel())


@pytest.mark.parametrize("name", ["nasbench201", "mbconv-digits", "resnet9", "unet"])
def test_costs_are_those_of_the_network(name):
    encoder, population = ENCODERS[name], sample(name, 5)

    found = encoder.costs(population)

    for row, costs in zip(population, found, strict=True):
        graph = encoder.space.network(encoder.space.architecture(row))
        counts = count_graph(graph)
        wanted = (
            counts.macs,
            counts.params,
            counts.activation_bytes + counts.weight_bytes,
            critical_path(graph, lambda node: node.op_type != "Constant"),
            critical_path(graph, node_macs),
        )
        assert dict(zip(LAYER_COSTS, costs, strict=True)) == pytest.approx(
            dict(zip(LAYER_COSTS, wanted, strict=True)), rel=1e-6
        )


@pytest.mark.parametrize("name", ENCODERS)
def test_threads_do_not_change_a_bit(name):
    encoder, population = ENCODERS[name], sample(name, 5000)

    for method in (encoder.one_hot, encoder.wl_hash, encoder.keys, encoder.labels):
        assert np.array_equal(method(population), method(population, threads=3))


@given(data=st.data())
@SETTINGS
def test_a_later_row_does_not_change_an_earlier_one(data):
    name = data.draw(st.sampled_from(CELLS))
    encoder = ENCODERS[name]
    population = sample(name, data.draw(st.integers(1, 70)), data.draw(st.integers(0, 9)))

    whole = encoder.wl_hash(population), encoder.one_hot(population), encoder.paths(population)

    for i in (0, len(population) - 1):
        row = population[i : i + 1].copy()
        alone = encoder.wl_hash(row), encoder.one_hot(row), encoder.paths(row)
        assert all(np.array_equal(a[i : i + 1], b) for a, b in zip(whole, alone, strict=True))


def test_nothing_is_encoded_of_nothing():
    encoder = ENCODERS["nasbench201"]
    nothing = np.empty((0, 6), dtype=np.uint8)

    assert encoder.one_hot(nothing).shape == (0, 30)
    assert encoder.keys(nothing).shape == (0, 16)
    assert encoder.costs(nothing).shape == (0, 5)
    assert encoder.sparse(nothing).begins.tolist() == [0]


@pytest.mark.parametrize(
    ("population", "message"),
    [
        (np.zeros((2, 6), dtype=np.int64), "type int64"),
        (np.zeros((2, 5), dtype=np.uint8), r"shape \(2, 5\)"),
        (np.zeros((2, 12), dtype=np.uint8)[:, ::2], "C-contiguous"),
        (np.array([[0] * 6, [0, 0, 0, 9, 0, 0]], dtype=np.uint8), "row 1, column 3: 9"),
        ([[0] * 6], "type list"),
    ],
)
def test_wrong_populations_are_refused(population, message):
    encoder = ENCODERS["nasbench201"]

    for method in (encoder.one_hot, encoder.slots, encoder.paths, encoder.wl_hash, encoder.keys):
        with pytest.raises(SpaceError, match=message):
            method(population)


def test_a_wrong_result_array_is_refused():
    encoder, population = ENCODERS["nasbench201"], sample("nasbench201", 4)

    for out in (np.empty((4, 30), np.int8), np.empty((3, 30), np.uint8), np.empty(120, np.uint8)):
        with pytest.raises(TypeError):
            encoder.one_hot(population, out=out)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e, p: e.wl_hash(p, 65), "iterations must be 0 to 64"),
        (lambda e, p: e.wl_labels(p, -1), "-1 iterations"),
        (lambda e, p: e.wl_histogram(p, 1, buckets=0), "0 buckets"),
        (lambda e, p: e.paths(p, "bits"), "unknown form 'bits'"),
        (lambda e, p: e.paths(p, longest=40), "smaller `longest`"),
        (lambda e, p: e.keys(p, threads=0), "threads must be at least 1"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(SpaceError, match=message):
        call(ENCODERS["darts"], sample("darts", 2))


def test_spaces_without_cells_say_what_they_lack():
    with pytest.raises(SpaceError, match="no path encoding"):
        ENCODERS["resnet9"].paths(sample("resnet9", 1))
    with pytest.raises(SpaceError, match="no choice blocks"):
        ENCODERS["nasbench101"].slots(sample("nasbench101", 1))
