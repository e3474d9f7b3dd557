import numpy as np
import pytest
import torch

from hwnas.graph import GraphBuilder, shape_of
from hwnas.graph.split import block_of, split_blocks
from hwnas.lowering import random_weights
from hwnas.lowering.torch_module import TorchPlan
from hwnas.spaces import get_space


def run_pieces(pieces, values, weights):
    for piece in pieces:
        given = [values[name] for name in piece.reads]
        own = {name: weights[name] for name in piece.graph.weights}
        values.update(zip(piece.writes, TorchPlan(piece.graph)(given, own), strict=True))
    return values


@pytest.mark.parametrize("name", ["mbconv-digits", "nasbench201", "unet@64"])
def test_the_pieces_of_a_network_compute_what_it_does(name):
    space, rng = get_space(name), np.random.default_rng(0)
    graph = space.network(space.architecture(space.sample(1, rng)[0]))
    weights = {n: torch.from_numpy(w) for n, w in random_weights(graph, rng).items()}
    x = torch.randn(shape_of(graph.inputs[0]))

    found = run_pieces(split_blocks(graph), {graph.inputs[0].name: x}, weights)

    (wanted,) = TorchPlan(graph)([x], weights)
    torch.testing.assert_close(found[graph.outputs[0].name], wanted)


def test_pieces_are_blocks_in_the_order_in_which_they_run():
    space = get_space("mbconv-digits")
    graph = space.network(space.smallest())

    pieces = split_blocks(graph)

    order = [block_of(node.name) for node in graph.nodes]
    assert [piece.block for piece in pieces] == list(dict.fromkeys(order))
    assert sum(len(piece.graph.nodes) for piece in pieces) == len(graph.nodes)
    assert {n for piece in pieces for n in piece.graph.weights} == set(graph.weights)


def test_a_block_that_another_interrupts_gives_two_pieces():
    g = GraphBuilder("woven")
    x = g.input("input", (1, 2, 4, 4))
    with g.scope("one"):
        y = g.relu(x)
    with g.scope("two"):
        z = g.relu6(y)
    with g.scope("one"):
        z = g.add(y, z)
    g.output(z, "output")

    pieces = split_blocks(g.build())

    assert [piece.block for piece in pieces] == ["one", "two", "one"]
    assert len(pieces[2].reads) == 2
    assert pieces[2].writes == ("output",)


@pytest.mark.parametrize(
    ("name", "block"),
    [("a/conv", "a"), ("a.1/b/conv", "a.1"), ("conv", ""), ("/a/conv", ""), ("", ""), (None, "")],
)
def test_a_name_tells_the_block(name, block):
    assert block_of(name) == block
