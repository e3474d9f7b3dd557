import numpy as np
import pytest
import torch

from hwnas.errors import SpaceError
from hwnas.spaces.cell_operations import AVERAGE_POOL_3X3, SEPARABLE_3X3, SKIP_CONNECT
from hwnas.spaces.cells import CellLayout, CellSpace, cell_blocks, cell_sequence
from hwnas.supernet.cell_supernet import Edge, MixedCells, one_operation_weights
from hwnas.supernet.elastic import ElasticSupernet

OPERATIONS = (AVERAGE_POOL_3X3, SKIP_CONNECT, SEPARABLE_3X3)


def make_cells(operations=OPERATIONS, edges="pairs"):
    cells = cell_sequence(("normal", "reduction"), width=4, side=8)
    layout = CellLayout(cells, operations, 2, edges=edges, is_shared=edges == "pairs")
    blocks = cell_blocks(layout, channels=1, resolution=8, classes=10, stem_widths=(4,))
    return CellSpace(f"cells-{edges}", layout, blocks)


def mixture_of(space, seed=0):
    return MixedCells(ElasticSupernet(space, torch.Generator().manual_seed(seed)))


def images(seed=0):
    return torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def uniform(mixture):
    return {edge: torch.full((mixture.operations,), 0.5) for edge in mixture.edges}


def kept_edges(space, architecture):
    options = space.options(architecture)
    names = [operation.name for operation in space.layout.operations]
    kept = {}
    for owner in space.layout.owners:
        for node in space.layout.node_numbers:
            of = space.layout.decisions(owner, node)
            for source, which in zip(options[of["inputs"]], ("first", "second"), strict=True):
                kept[Edge(owner, node, source)] = names.index(options[of[which]])
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_weights_of_zero_and_one_give_the_sub_net_of_those_edges(seed):
    space = make_cells()
    mixture = mixture_of(space)
    architecture = space.architecture(space.sample(1, np.random.default_rng(seed))[0])

    weights = one_operation_weights(kept_edges(space, architecture), 3)

    with torch.no_grad():
        wanted = mixture.supernet(images(), architecture)
        assert torch.allclose(mixture(images(), weights), wanted, atol=1e-5)


@pytest.mark.parametrize("nothing", [True, False])
def test_subsets_of_operations_give_the_sub_net_that_keeps_them(nothing):
    space = make_cells((SKIP_CONNECT, SEPARABLE_3X3), "subsets")
    mixture = mixture_of(space)
    rng = np.random.default_rng(0)
    names = ["skip_connect", "sep_conv_3x3"]
    options, weights = {}, {}
    for owner in space.layout.owners:
        for node in space.layout.node_numbers:
            kept = {}
            for source in range(node):
                chosen = (rng.random(2) < 0.5) & (not nothing)
                kept[source] = tuple(n for n, c in zip(names, chosen, strict=True) if c)
                weights[Edge(owner, node, source)] = torch.from_numpy(chosen.astype(np.float32))
            options |= space.layout.options(owner, node, kept)
    architecture = space.from_options(options)

    with torch.no_grad():
        wanted = mixture.supernet(images(), architecture)
        assert torch.allclose(mixture(images(), weights), wanted, atol=1e-5)


def test_an_edge_hands_on_the_weighted_sum_of_its_operations():
    mixture = mixture_of(make_cells())
    (cell,) = mixture.cells_of("reduction")
    edge = Edge("reduction", 2, 1)
    x = torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([0.2, 0.0, -1.5])

    found = mixture.mixed_edge(cell, edge, x, weights)

    parts = [mixture.operation(cell, edge, index, x) for index in range(3)]
    assert torch.allclose(found, 0.2 * parts[0] - 1.5 * parts[2], atol=1e-6)


def test_operations_of_weight_zero_get_no_gradient_at_all():
    mixture = mixture_of(make_cells())
    weights = uniform(mixture)
    edge = Edge("normal", 3, 1)
    weights[edge][2] = 0.0

    loss = mixture(images(), weights).square().mean()

    dropped = mixture.parameters_of(edge, 2)
    kept = mixture.parameters_of(Edge("normal", 3, 0), 2)
    assert dropped
    assert all(
        g is None for g in torch.autograd.grad(loss, dropped, None, True, allow_unused=True)
    )
    assert all(float(g.abs().max()) > 0 for g in torch.autograd.grad(loss, kept))


def test_none_is_a_further_weight_that_changes_nothing():
    mixture = mixture_of(make_cells())
    weights = uniform(mixture)
    with_none = {
        edge: torch.cat([weight, torch.tensor([7.0])]) for edge, weight in weights.items()
    }

    with torch.no_grad():
        assert torch.equal(mixture(images(), with_none), mixture(images(), weights))


def test_the_gradient_of_a_weight_is_that_of_a_difference():
    mixture = mixture_of(make_cells())
    for parameter in mixture.supernet.parameters():
        parameter.data = parameter.data.double()
    weights = {e: w.double().requires_grad_() for e, w in uniform(mixture).items()}
    edge = Edge("normal", 2, 0)

    def loss(shift):
        moved = dict(weights)
        moved[edge] = weights[edge] + shift * torch.tensor([0.0, 0.0, 1.0]).double()
        return mixture(images().double(), moved).square().mean()

    (gradient,) = torch.autograd.grad(loss(0.0), [weights[edge]])
    difference = float((loss(1e-5) - loss(-1e-5)).detach()) / 2e-5
    assert float(gradient[2]) == pytest.approx(difference, rel=1e-5)


def test_edges_that_are_shared_have_weights_in_every_cell():
    cells = cell_sequence(("normal", "normal"), width=4, side=8)
    layout = CellLayout(cells, OPERATIONS, 1)
    blocks = cell_blocks(layout, channels=1, resolution=8, classes=10, stem_widths=(4,))
    mixture = mixture_of(CellSpace("twice", layout, blocks))

    assert mixture.edges == (Edge("normal", 2, 0), Edge("normal", 2, 1))
    stored = mixture.supernet.shared_parameters()
    names = {id(parameter): name for name, parameter in stored.items()}
    found = {names[id(p)] for p in mixture.parameters_of(mixture.edges[0], 2)}
    assert {name.split("/")[0] for name in found} == {"cell0.node2", "cell1.node2"}


def test_a_space_without_cells_is_refused(space):
    with pytest.raises(SpaceError, match="not made of cells"):
        MixedCells(ElasticSupernet(space))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({Edge("normal", 2, 2): torch.ones(3)}, "no edge"),
        ({Edge("normal", 2, 0): torch.ones(5)}, "expected"),
        ({Edge("normal", 2, 0): torch.ones(3, 1)}, "expected"),
    ],
)
def test_weights_of_unknown_edges_or_other_shapes_are_refused(weights, message):
    with pytest.raises(SpaceError, match=message):
        mixture_of(make_cells())(images(), weights)
