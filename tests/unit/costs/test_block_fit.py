"""Block costs from whole networks: exact sums come back, noise is reported."""

import numpy as np
import pytest

from hwnas.costs.block_fit import fit_blocks
from hwnas.costs.compiled import fragments_by_slot
from hwnas.errors import TableError
from hwnas.graph import count_graph
from hwnas.spaces import get_space


@pytest.fixture(scope="module")
def space():
    return get_space("mbconv-digits")


@pytest.fixture(scope="module")
def truth(space):
    """A cost of every distinct block that operations alone do not tell, in s."""
    rng = np.random.default_rng(0)
    graphs = {f.key: f.graph for row in fragments_by_slot(space) for f in row if not f.is_empty}
    return {
        key: 1e-9 * count_graph(graph).macs * rng.uniform(0.4, 2.5) + 2e-5
        for key, graph in graphs.items()
    }


def latencies(space, costs, population):
    """Sums over blocks by another way than the fit's: one network, one block at a time."""
    totals = []
    for row in population:
        total = 0.0
        for block in range(len(space.blocks)):
            choice = tuple(int(row[column]) for column in space.columns_of(block))
            fragment = space.fragment(block, choice)
            total += 0.0 if fragment.is_empty else costs[fragment.key]
        totals.append(total)
    return np.array(totals)


def fitted(fit):
    return {key: block.value for key, block in fit.blocks.items()}


def test_networks_that_are_sums_are_fitted_and_predicted(space, truth):
    population = space.sample(600, np.random.default_rng(1))
    unseen = space.sample(200, np.random.default_rng(2))

    fit = fit_blocks(space, population, latencies(space, truth, population))

    assert set(fit.blocks) == set(truth)
    assert fit.networks == 600
    assert fit.w10 == fit.left_out_w10 == 1.0
    assert fit.r2 > 0.9999
    predicted = latencies(space, fitted(fit), unseen)
    np.testing.assert_allclose(predicted, latencies(space, truth, unseen), rtol=0.01)


def test_costs_are_positive_and_inside_their_interval(space, truth):
    population = space.sample(60, np.random.default_rng(3))
    noise = np.random.default_rng(4).uniform(0.8, 1.25, len(population))

    fit = fit_blocks(space, population, latencies(space, truth, population) * noise)

    for block in fit.blocks.values():
        assert 0.0 <= block.low <= block.value <= block.high
        assert block.value > 0.0
        assert block.spread > 0.0


def test_noise_shows_in_the_error_and_widens_the_intervals(space, truth):
    population = space.sample(400, np.random.default_rng(5))
    exact = latencies(space, truth, population)
    noise = np.exp(np.random.default_rng(6).normal(0.0, 0.1, len(population)))

    clean, noisy = (fit_blocks(space, population, y) for y in (exact, exact * noise))

    assert clean.left_out_error < 0.01
    assert 0.07 < noisy.left_out_error < 0.15
    assert noisy.left_out_w10 < 0.9
    wider = [noisy.blocks[key].spread > clean.blocks[key].spread for key in truth]
    assert np.mean(wider) > 0.95


def test_a_block_that_no_network_has_is_marked_by_its_count(space, truth):
    smallest = space.smallest().row()
    population = space.sample(200, np.random.default_rng(7))
    never = space.decisions.index(next(d for d in space.decisions if d.name == "stage2.1.kernel"))
    population[:, never] = smallest[never]

    fit = fit_blocks(space, population, latencies(space, truth, population))

    counts = [block.networks for block in fit.blocks.values()]
    assert min(counts) == 0
    assert max(counts) == 200
    assert all(block.value > 0.0 for block in fit.blocks.values())


def test_the_result_does_not_depend_on_units(space, truth):
    population = space.sample(100, np.random.default_rng(8))
    y = latencies(space, truth, population)

    slow, fast = fit_blocks(space, population, 1000.0 * y), fit_blocks(space, population, y)

    assert slow.left_out_error == pytest.approx(fast.left_out_error, rel=1e-6)
    for key, block in fast.blocks.items():
        assert slow.blocks[key].value == pytest.approx(1000.0 * block.value, rel=1e-6)


def test_a_handful_of_networks_is_refused(space, truth):
    population = space.sample(9, np.random.default_rng(9))

    with pytest.raises(TableError, match="9 networks of mbconv-digits do not determine"):
        fit_blocks(space, population, latencies(space, truth, population))
