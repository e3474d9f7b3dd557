"""Cell spaces against the papers' counts, and the layout against the space made from it."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from hwnas.errors import SpaceError
from hwnas.graph import count_graph, shape_of
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.torch_module import TorchModule
from hwnas.profiling.units import units_of
from hwnas.spaces import get_space
from hwnas.spaces.cells import CellSpace, cell_sequence
from hwnas.supernet.elastic import ElasticSupernet

NAMES = ("cells-digits", "cells-digits-free", "darts")


@pytest.fixture(autouse=True)
def one_thread():
    """Many small operators are slower on several threads, by far so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=NAMES)
def space(request):
    return get_space(request.param)


def block_index(space, name):
    return [block.name for block in space.blocks].index(name)


def onnx_runtime_result(graph, weights, x):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(to_onnx(graph, weights).SerializeToString(), options)
    return session.run(None, {"input": x})[0]


def test_darts_has_the_published_number_of_cells():
    # Liu et al., section 3.2: prod_{k=1..4} (k+1)k/2 * 7^2, about 10^9 a cell, squared for two.
    cell = np.prod([(k + 1) * k // 2 * 7**2 for k in range(1, 5)], dtype=object)

    assert get_space("darts").cardinality == cell**2
    assert 1e9 < cell < 1.1e9


def test_darts_has_the_published_cells():
    layout = get_space("darts").layout

    assert [cell.kind[0] for cell in layout.cells] == list("nnrnnrnn")
    assert [cell.width for cell in layout.cells] == [16, 16, 32, 32, 32, 64, 64, 64]
    assert [cell.side for cell in layout.cells] == [32, 32, 32, 16, 16, 16, 8, 8]
    assert layout.cells[3].input_strides == (2, 1)
    assert len(layout.owners) == 2


def test_networks_agree_between_torch_and_onnx_runtime(space):
    rng = np.random.default_rng(0)
    for row in space.sample(1, rng):
        graph = space.network(space.architecture(row))
        weights = random_weights(graph, rng)
        x = rng.standard_normal(shape_of(graph.inputs[0]), dtype=np.float32)

        expected = onnx_runtime_result(graph, weights, x)

        with torch.no_grad():
            got = TorchModule(graph, weights).eval()(torch.from_numpy(x)).numpy()
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(got / scale, expected / scale, atol=1e-4)


@pytest.mark.parametrize("name", NAMES[:2])
def test_the_supernet_computes_what_the_network_computes(name):
    # A node that passes on a node other than the first must pass on the right one.
    space = get_space(name)
    net = ElasticSupernet(space, torch.Generator().manual_seed(0))
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    rows = space.sample(3, np.random.default_rng(0))
    if name == "cells-digits-free":
        rows[0] = 0
        for column, decision in enumerate(space.decisions):
            if decision.name.endswith(("node2.edge1", "node3.edge2", "node4.edge3")):
                rows[0, column] = 1
    for row in rows:
        architecture = space.architecture(row)
        statistics = net.calibrate(architecture, images)
        graph = space.network(architecture)

        module = TorchModule(graph, net.weights(architecture, statistics)).eval()

        with torch.no_grad():
            torch.testing.assert_close(
                module(images), net.logits(architecture, images, statistics), atol=1e-4, rtol=1e-4
            )


@pytest.mark.parametrize("name", ["cells-digits", "cells-digits-free"])
def test_an_edge_has_the_weight_names_that_the_space_declares(name):
    space = get_space(name)
    layout = space.layout
    for cell in layout.cells:
        node = layout.node_numbers[-1]
        block = block_index(space, layout.block(cell, node))
        declared = {}
        for choice in space.slots(block):
            weights = space.fragment(block, choice).graph.weights
            for key, value in weights.items():
                assert declared.setdefault(key, shape_of(value)) == shape_of(value)
        alone = {
            key: shape_of(value)
            for source in range(node)
            for operation in layout.operations
            for key, value in layout.edge_graph(cell, source, operation).weights.items()
        }

        assert alone == declared


def test_edges_have_the_shapes_of_their_nodes(space):
    layout = space.layout
    for cell in layout.cells:
        for node in layout.node_numbers:
            block = block_index(space, layout.block(cell, node))
            graph = space.fragment(block, (0,) * len(space.columns_of(block))).graph
            assert [shape_of(v) for v in graph.inputs] == [
                layout.shape(cell, source) for source in range(node)
            ]
            assert shape_of(graph.outputs[0]) == layout.shape(cell, node)
        for operation in layout.operations:
            (result,) = layout.edge_graph(cell, 0, operation).outputs
            assert shape_of(result) == layout.shape(cell, 2)


def test_equal_work_has_one_key_whichever_pair_and_node():
    space = get_space("cells-digits")
    layout = space.layout
    cell = layout.cells[0]
    keys = set()
    for node, i, j, first, second in (
        (2, 0, 1, "sep_conv_3x3", "skip_connect"),
        (3, 1, 2, "skip_connect", "sep_conv_3x3"),
        (4, 0, 3, "sep_conv_3x3", "skip_connect"),
    ):
        kept = {i: (first,), j: (second,)}
        chosen = layout.options(layout.owner(cell), node, kept)
        options = space.options(space.smallest()) | chosen
        architecture = space.from_options(options)
        block = block_index(space, layout.block(cell, node))
        choice = tuple(architecture.indices[c] for c in space.columns_of(block))
        keys.add(space.fragment(block, choice).key)

    assert len(keys) == 1


def test_few_kernels_have_to_be_profiled():
    assert len(units_of(get_space("cells-digits"))) < 150


def test_a_separable_convolution_has_its_closed_form():
    layout = get_space("darts").layout
    cell = layout.cells[2]
    c, out = cell.width, cell.side // 2
    macs = {
        operation.name: count_graph(layout.edge_graph(cell, 0, operation)).macs // out**2
        for operation in layout.operations
    }

    assert macs == {
        "max_pool_3x3": 0,
        "avg_pool_3x3": 0,
        "skip_connect": c * c,
        "dil_conv_3x3": c * (9 + c),
        "dil_conv_5x5": c * (25 + c),
        "sep_conv_3x3": 2 * c * (9 + c),
        "sep_conv_5x5": 2 * c * (25 + c),
    }


def test_kept_edges_become_options():
    pairs, subsets = (get_space(name).layout for name in ("cells-digits", "cells-digits-free"))

    assert pairs.options("normal", 3, {2: ("skip_connect",), 0: ("sep_conv_3x3",)}) == {
        "normal.node3.inputs": (0, 2),
        "normal.node3.first": "sep_conv_3x3",
        "normal.node3.second": "skip_connect",
    }
    assert subsets.options("cell1", 2, {1: ("sep_conv_3x3", "skip_connect")}) == {
        "cell1.node2.edge0": (),
        "cell1.node2.edge1": ("skip_connect", "sep_conv_3x3"),
    }


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({0: ("skip_connect",)}, "needs two edges"),
        ({0: ("skip_connect",), 1: ("skip_connect", "sep_conv_3x3")}, "needs two edges"),
        ({0: ("none",), 1: ("skip_connect",)}, "cannot read none"),
        ({0: ("skip_connect",), 2: ("skip_connect",)}, "cannot read node 2"),
    ],
)
def test_edges_that_are_no_pair_are_refused(kept, message):
    with pytest.raises(SpaceError, match=message):
        get_space("cells-digits").layout.options("normal", 2, kept)


def test_a_side_that_cannot_be_halved_is_refused():
    with pytest.raises(SpaceError, match="cannot be halved 2 times"):
        cell_sequence(("reduction", "reduction"), width=16, side=14)
    with pytest.raises(SpaceError, match="choose another image side"):
        get_space("darts@34")


def test_cell_spaces_say_that_they_are(space):
    assert isinstance(space, CellSpace)
    assert {d.name for d in space.decisions} == {
        name
        for owner in space.layout.owners
        for node in space.layout.node_numbers
        for name in space.layout.decisions(owner, node).values()
    }
