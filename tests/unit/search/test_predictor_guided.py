"""Predictor-guided search: learns what adds up, keeps to budgets, and finds more than chance."""

import numpy as np
import pytest

from hwnas.errors import SpaceError
from hwnas.search import Budget, Budgets, FeasibleFirst, PredictorGuided
from hwnas.search.predictor_guided import BudgetedSpace, _predicted

WEIGHTS = np.linspace(1.0, 3.0, 8)


class Space:
    """Eight decisions of four options, every encoding an architecture of its own."""

    option_counts = np.full(8, 4, np.uint8)

    def sample(self, n, rng):
        return rng.integers(4, size=(n, 8)).astype(np.uint8)

    def canonicalise(self, population):
        return population


def cost(rows):
    return (rows * WEIGHTS).sum(axis=1, keepdims=True)


def error(rows):
    """Falls with what a network costs, but for two decisions that matter together."""
    apart = 1.0 - 0.02 * (rows[:, :6] * WEIGHTS[:6]).sum(axis=1)
    return apart + 0.3 * ((rows[:, 6] + rows[:, 7]) % 4 != 2)


def searched(space, seed, evaluations=120):
    strategy = PredictorGuided(space, rng=np.random.default_rng(seed), population_size=10)
    asked = []
    while sum(map(len, asked)) < evaluations:
        rows = strategy.ask()
        strategy.tell(rows, np.column_stack((error(rows), cost(rows))))
        asked.append(rows)
    return asked


def test_it_comes_nearer_to_the_optimum_than_random_search():
    rng = np.random.default_rng(0)
    found = [min(error(np.concatenate(searched(Space(), seed)))) for seed in range(3)]
    chance = [min(error(Space().sample(120, rng))) for _ in range(3)]

    assert np.mean(found) < np.mean(chance) - 0.05


def test_what_a_space_of_budgets_refuses_is_not_asked_for():
    budgets = Budgets((Budget("latency_s", 20.0),))
    space = FeasibleFirst(Space(), cost, ("latency_s",), budgets)

    asked = np.concatenate(searched(space, 1))

    assert isinstance(space, BudgetedSpace)
    assert not isinstance(Space(), BudgetedSpace)
    assert (cost(asked) <= 20.0).all()


def test_a_cost_that_adds_up_is_learnt_and_known_to_be_learnt():
    rng = np.random.default_rng(2)
    columns = rng.integers(2, size=(200, 20)).astype(float)
    target = columns @ rng.standard_normal(20)
    noise = rng.standard_normal(200)

    mean, deviation = _predicted(columns[:150], target[:150], columns[150:], 0)
    _, doubt = _predicted(columns[:150], noise[:150], columns[150:], 0)

    assert np.abs(mean - target[150:]).max() < 0.1 * target.std()
    assert deviation.mean() < 0.1 * target.std()
    assert doubt.mean() > 0.2 * noise.std()


def test_an_objective_that_is_everywhere_the_same_is_no_obstacle():
    strategy = PredictorGuided(Space(), rng=np.random.default_rng(0), population_size=10)
    for _ in range(3):
        rows = strategy.ask()
        strategy.tell(rows, np.column_stack((np.zeros(len(rows)), cost(rows))))

    assert len(strategy.ask()) == 10


def test_too_small_a_population_is_refused():
    with pytest.raises(SpaceError, match="at least 2"):
        PredictorGuided(Space(), rng=np.random.default_rng(0), population_size=1)
