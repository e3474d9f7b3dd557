"""Encodings of single graphs."""

import networkx as nx
import numpy as np
import onnx_ir as ir
import pytest

from hwnas.errors import LoweringError
from hwnas.graph import Graph, count_graph, encode, kernel_key
from hwnas.graph.counts import node_macs
from hwnas.spaces import get_space


@pytest.fixture(scope="module")
def graph():
    space = get_space("cells-digits")
    return space.network(space.largest())


@pytest.fixture(scope="module")
def oracle(graph):
    encoding = encode(graph)
    found = nx.MultiDiGraph()
    found.add_nodes_from(range(len(encoding.kinds)))
    found.add_edges_from(encoding.edges.tolist())
    return found


def test_the_key_is_that_of_the_kernel(graph):
    assert encode(graph).key == kernel_key(graph)


def test_tensors_are_one_graph_in_three_forms(graph, oracle):
    encoding = encode(graph)
    begins, sources = encoding.sparse

    matrix = nx.to_numpy_array(oracle).T

    assert np.array_equal(encoding.adjacency, matrix)
    assert [sources[begins[v] : begins[v + 1]].size for v in oracle] == [
        degree for _, degree in oracle.in_degree
    ]
    assert encoding.operators.sum() == len(graph.nodes)
    assert encoding.kinds[0] == "input"
    assert encoding.kinds[-1] == "output"


def test_depth_and_critical_path_are_those_of_networkx(graph, oracle):
    encoding = encode(graph)
    weights = [0, *(node_macs(node) for node in graph.nodes), 0]
    steps = [0, *(int(node.op_type != "Constant") for node in graph.nodes), 0]
    for name, weight in (("critical_path_macs", weights), ("depth", steps)):
        for source, node, key in oracle.edges(keys=True):
            oracle.edges[source, node, key]["weight"] = weight[node]

        longest = nx.dag_longest_path_length(nx.DiGraph(oracle))

        assert encoding.costs[name] == longest
    assert encoding.costs["macs"] == count_graph(graph).macs


def test_paths_are_words_of_operator_types():
    space = get_space("mbconv-digits")
    encoding = encode(space.network(space.smallest()), vocabulary=("Conv", "Relu"))

    assert len(encoding.paths(longest=0)) == 0
    with pytest.raises(LoweringError, match="smaller `longest`"):
        encoding.paths(longest=60)


def test_labels_tell_attributes_and_shapes_apart():
    space = get_space("mbconv-digits")
    one, other = space.network(space.smallest()), space.network(space.largest())

    assert encode(one).wl_hash() == encode(space.network(space.smallest())).wl_hash()
    assert encode(one).wl_hash() != encode(other).wl_hash()
    assert encode(one).wl_labels(2).shape == (3, len(encode(one).kinds))
    with pytest.raises(LoweringError, match="iterations"):
        encode(one).wl_hash(65)


def test_operators_in_any_order_have_one_key(graph):
    shuffled = Graph(graph.model.clone())
    nodes = list(shuffled.model.graph)
    shuffled.model.graph.remove(nodes)
    shuffled.model.graph.extend(reversed(nodes))

    assert encode(Graph(shuffled.model)).wl_hash() == encode(graph).wl_hash()


def test_a_cycle_is_named():
    shape, kind = ir.Shape((1,)), ir.TensorType(ir.DataType.FLOAT)
    first = ir.Node("", "Relu", [None], name="first")
    first.outputs[0].shape, first.outputs[0].type = shape, kind
    second = ir.Node("", "Relu", [first.outputs[0]], name="second")
    second.outputs[0].shape, second.outputs[0].type = shape, kind
    first.replace_input_with(0, second.outputs[0])
    model = ir.Model(ir.Graph([], [second.outputs[0]], nodes=[first, second]), ir_version=10)

    with pytest.raises(LoweringError, match=r"cycle through node \d"):
        encode(Graph(model))
