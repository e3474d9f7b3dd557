import numpy as np

from hwnas.search import Budget, Budgets, FeasibleFirst, PopulationSpace
from hwnas.testing.strategy_conformance import ToySpace


def latency(population):
    return population.sum(axis=1, dtype=np.float64)[:, None]


def feasible_first(limit, space=None):
    budgets = Budgets((Budget("latency_s", limit),))
    return FeasibleFirst(space or ToySpace(), latency, ("latency_s",), budgets)


def test_a_wrapped_space_is_a_space():
    assert isinstance(feasible_first(1.0), PopulationSpace)


def test_samples_meet_the_budget_where_enough_architectures_do():
    rows = feasible_first(4.0).sample(20, np.random.default_rng(0))

    assert rows.shape == (20, 6)
    assert (latency(rows) <= 4).all()
    assert len(np.unique(rows, axis=0)) == 20


def test_a_rare_feasible_architecture_is_found():
    space = ToySpace((7,) * 6)

    rows = feasible_first(1.0, space).sample(3, np.random.default_rng(0))

    assert (latency(rows) <= 1).all()


def test_the_least_violating_rows_fill_what_cannot_be_met():
    space = ToySpace((2, 2, 2))

    rows = feasible_first(0.5, space).sample(3, np.random.default_rng(0))

    assert rows[0].tolist() == [0, 0, 0]
    assert latency(rows).ravel().tolist() == [0, 1, 1]


def test_without_budgets_samples_are_the_spaces_own():
    wrapped = FeasibleFirst(ToySpace(), latency, ("latency_s",), Budgets())

    rows = wrapped.sample(9, np.random.default_rng(3))

    assert np.array_equal(rows, ToySpace().sample(9, np.random.default_rng(3)))


def test_the_seed_alone_decides():
    one, two = (feasible_first(3.0).sample(9, np.random.default_rng(3)) for _ in range(2))

    assert np.array_equal(one, two)
