"""The generator of architectures: hard vectors, soft gradients, costs that it learns to meet."""

import numpy as np
import pytest
import torch

from hwnas.costs.counted import count_costs
from hwnas.training.architecture_generator import (
    ArchitectureGenerator,
    CostMiss,
    chosen_rows,
    fit_generator,
)
from hwnas.training.cost_bins import CostBins


@pytest.fixture(scope="module")
def costs(space):
    return count_costs(space, ("macs",))


def make(space, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return ArchitectureGenerator(space.option_counts.tolist(), chance), chance


def wanted_costs(bins, n, seed):
    drawn = torch.rand(n, generator=torch.Generator().manual_seed(seed))
    return drawn * float(bins.edges[-1] - bins.edges[0]) + float(bins.edges[0])


def test_vectors_are_one_hot_and_options_equally_likely_before_training(space):
    model, chance = make(space)

    drawn = model(torch.rand(400, generator=chance), chance)

    for one_hot, count in zip(drawn, space.option_counts, strict=True):
        assert one_hot.shape == (400, count)
        torch.testing.assert_close(one_hot.max(1).values, torch.ones(400))
        torch.testing.assert_close(one_hot.sum(1), torch.ones(400))
        shares = one_hot.detach().mean(0).numpy()
        assert shares == pytest.approx(np.full(count, 1 / count), abs=0.1)


def test_the_miss_is_the_counted_cost_less_the_wanted_one_in_bin_widths(space, costs):
    bins = CostBins(costs)
    model, chance = make(space)
    wanted = wanted_costs(bins, 20, 1)
    miss = CostMiss(costs, bins)

    one_hots = model(miss.share(wanted), chance)

    counted = bins.cost(space.canonicalise(chosen_rows(one_hots)))
    direct = (counted - wanted.numpy()) / bins.width
    assert miss(one_hots, wanted).detach().numpy() == pytest.approx(direct, abs=1e-4)


def test_a_taught_generator_misses_by_less_than_a_bin_and_still_varies(space, costs):
    bins = CostBins(costs, 4)
    miss = CostMiss(costs, bins)
    wanted = wanted_costs(bins, 200, 2)
    misses = []
    for steps in (0, 100):
        model, chance = make(space)
        fit_generator(model, miss, bins, chance, steps)
        with torch.no_grad():
            one_hots = model(miss.share(wanted), chance)
            misses.append(float(miss(one_hots, wanted).abs().mean()))

    assert misses[1] < 0.5 < misses[0]
    rows = space.canonicalise(chosen_rows(one_hots))
    assert len(np.unique(rows, axis=0)) > 10


def test_the_gradient_reaches_the_weights_of_the_first_decision(space, costs):
    bins = CostBins(costs)
    model, chance = make(space)
    miss = CostMiss(costs, bins)
    wanted = wanted_costs(bins, 4, 3)

    miss(model(miss.share(wanted), chance), wanted).square().sum().backward()

    assert float(model.heads.grad[0].abs().sum()) > 0.0


def test_the_generator_draws_from_its_own_source_of_chance_alone(space):
    before = torch.get_rng_state()
    rows = []
    for _ in range(2):
        model, chance = make(space, 5)
        rows.append(chosen_rows(model(torch.full((6,), 0.5), chance)))

    assert (rows[0] == rows[1]).all()
    assert torch.equal(before, torch.get_rng_state())
