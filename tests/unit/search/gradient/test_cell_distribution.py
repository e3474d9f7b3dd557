from itertools import combinations, permutations, product

import numpy as np
import pytest
import torch

from hwnas.costs.counted import count_costs
from hwnas.costs.differentiable import DifferentiableCosts
from hwnas.errors import RunError, SpaceError
from hwnas.search.gradient.cell_distribution import (
    CellDistribution,
    CellSlots,
    pair_probabilities,
)
from hwnas.spaces import get_space
from hwnas.supernet.cell_supernet import Edge


def make_distribution(space, seed=0, deviation=1.0, *, with_none=True):
    rng = np.random.default_rng(seed)
    distribution = CellDistribution(space, rng, with_none=with_none)
    shape = tuple(distribution.parameters.shape)
    distribution.restore(torch.from_numpy(rng.normal(0.0, deviation, shape)))
    return distribution


@pytest.mark.parametrize("edges", [2, 3, 5])
def test_pairs_are_two_draws_without_replacement(edges):
    strengths = torch.rand(edges, generator=torch.Generator().manual_seed(0)).double()

    found = pair_probabilities(strengths, temperature=0.5)

    p = strengths.square() / strengths.square().sum()
    wanted = dict.fromkeys(combinations(range(edges), 2), 0.0)
    for i, j in permutations(range(edges), 2):
        wanted[min(i, j), max(i, j)] += float(p[i] * p[j] / (1 - p[i]))
    assert found.tolist() == pytest.approx(list(wanted.values()))
    assert float(found.sum()) == pytest.approx(1.0)


def test_edges_of_strength_zero_are_never_drawn():
    found = pair_probabilities(torch.tensor([0.0, 1.0, 0.0, 1e-3]).double())

    assert found.tolist() == pytest.approx([0.0, 0.0, 0.0, 0.0, 1.0, 0.0])


def test_pairs_stay_probabilities_where_one_edge_has_all_the_strength():
    strengths = torch.tensor([1.0, 1e-9, 1e-10]).double().requires_grad_()

    found = pair_probabilities(strengths)

    assert found.tolist() == pytest.approx([1.0, 1e-4, 0.0], abs=2e-4)
    assert torch.isfinite(torch.autograd.grad(found[0], strengths)[0]).all()


@pytest.mark.parametrize("name", ["tiny", "cells-digits"])
def test_expected_cost_is_the_mean_over_pairs_and_their_operations(name, cell_space):
    space = cell_space if name == "tiny" else get_space(name)
    costs = count_costs(space, ["macs"])
    distribution = make_distribution(space)
    probabilities = distribution.probabilities().detach()
    expected = DifferentiableCosts(costs)

    found = expected.expected_of_slots(distribution.slot_weights(probabilities))

    operations = distribution.operations(probabilities).numpy()
    strengths = distribution.strengths(probabilities)
    slots = distribution.slots
    base = {Edge(owner, node, source): 0 for owner, node in slots.nodes for source in (0, 1)}
    wanted = float(costs.cost(slots.row(base)[None])[0, 0])
    for owner, node in slots.nodes:
        part = slots.edges_of(owner, node)
        others = {edge: kept for edge, kept in base.items() if edge[:2] != (owner, node)}
        pairs = pair_probabilities(strengths[part]).tolist()
        weights, rows = [], [slots.row(base)]
        for (i, j), pair in zip(combinations(range(node), 2), pairs, strict=True):
            for a, b in product(range(slots.operations), repeat=2):
                weights.append(pair * operations[part][i, a] * operations[part][j, b])
                kept = {Edge(owner, node, i): a, Edge(owner, node, j): b}
                rows.append(slots.row(others | kept))
        found_costs = costs.cost(np.array(rows))[:, 0].astype(np.float64)
        assert sum(weights) == pytest.approx(1.0)
        wanted += float(np.dot(weights, found_costs[1:] - found_costs[0]))
    assert float(found[0]) == pytest.approx(wanted, rel=1e-6)


def test_expected_cost_of_a_certain_distribution_is_the_derived_networks(cell_space, cell_costs):
    distribution = make_distribution(cell_space)
    best = np.random.default_rng(0).integers(0, 3, len(distribution.slots.edges))
    logits = torch.zeros_like(distribution.parameters)
    for index, edge in enumerate(distribution.slots.edges):
        is_real = (edge.node, edge.source) != (3, 1)
        logits[index, int(best[index]) if is_real else 3] = 40.0
    distribution.restore(logits)

    weights = distribution.slot_weights(distribution.probabilities().detach())
    found = DifferentiableCosts(cell_costs).expected_of_slots(weights)

    wanted = cell_costs.cost(distribution.derive()[None])[0, 0]
    assert float(found[0]) == pytest.approx(float(wanted), rel=1e-3)


def test_the_derived_network_keeps_the_two_strongest_edges_but_never_none(cell_space):
    distribution = make_distribution(cell_space, deviation=0.0)
    edges = distribution.slots.edges
    logits = torch.zeros_like(distribution.parameters)
    logits[edges.index(Edge("normal", 3, 0))] = torch.tensor([0.0, 3.0, 1.0, 0.0]).double()
    logits[edges.index(Edge("normal", 3, 1))] = torch.tensor([0.0, 0.0, 2.9, 9.0]).double()
    logits[edges.index(Edge("normal", 3, 2))] = torch.tensor([2.0, 0.0, 0.0, 0.0]).double()
    distribution.restore(logits)

    options = cell_space.options(cell_space.architecture(distribution.derive()))

    assert options["normal.node3.inputs"] == (0, 2)
    assert options["normal.node3.first"] == "skip_connect"
    assert options["normal.node3.second"] == "avg_pool_3x3"


@pytest.mark.parametrize("with_none", [True, False])
def test_the_derived_row_is_the_most_preferred_one(cell_space, with_none):
    for seed in range(10):
        distribution = make_distribution(cell_space, seed, with_none=with_none)
        row = distribution.derive()
        preferred = [int(np.argmax(values)) for values in distribution.preference()]

        assert preferred == row.tolist()


def test_masked_candidates_have_no_probability(cell_space):
    distribution = make_distribution(cell_space)
    kept = torch.ones_like(distribution.parameters, dtype=torch.bool)
    kept[2, [0, 3]] = False

    found = distribution.probabilities(kept).detach()

    assert found[2, [0, 3]].tolist() == [0.0, 0.0]
    assert found.sum(1).tolist() == pytest.approx([1.0] * len(found))
    assert torch.equal(found[0], distribution.probabilities()[0].detach())


def test_rows_of_kept_edges_are_read_back(cell_space):
    slots = CellSlots(cell_space)
    kept = {Edge(owner, node, s): s for owner, node in slots.nodes for s in range(node - 2, node)}

    options = cell_space.options(cell_space.architecture(slots.row(kept)))

    assert options["reduction.node3.inputs"] == (1, 2)
    assert options["reduction.node3.first"] == "skip_connect"
    assert options["reduction.node3.second"] == "sep_conv_3x3"
    with pytest.raises(SpaceError, match="needs two edges"):
        slots.row({})


def test_spaces_of_subsets_or_without_cells_are_refused():
    with pytest.raises(SpaceError, match="subset"):
        CellSlots(get_space("cells-digits-free"))
    with pytest.raises(SpaceError, match="not made of cells"):
        CellSlots(get_space("mbconv-digits"))


def test_parameters_of_another_space_are_refused(cell_space):
    with pytest.raises(RunError, match="another space"):
        make_distribution(cell_space).restore(torch.zeros(3, 4))
