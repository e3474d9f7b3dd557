import numpy as np
import pytest

from hwnas.errors import RunError, SpaceError
from hwnas.search import Front, Nsga2, RandomSearch
from hwnas.testing.strategy_conformance import ToySpace

SPACE = (5,) * 12


def sums(population):
    """Two sums of 12 terms each that pull apart, with the true front on a line."""
    low = population.sum(axis=1, dtype=np.float64)
    miss = (population[:, ::2] != population[:, 1::2]).sum(axis=1)
    return np.stack([48 - low + 3 * miss, low + 3 * miss], axis=1)


def run(strategy, generations, violation=None):
    told = []
    for _ in range(generations):
        population = strategy.ask()
        objectives = sums(population)
        excess = np.zeros(len(population)) if violation is None else violation(population)
        strategy.tell(population, objectives, excess)
        told.append((population, objectives, excess))
    return [np.concatenate(column) for column in zip(*told, strict=True)]


def test_it_dominates_more_than_random_search_at_equal_evaluations():
    volumes = {}
    for strategy_class in (Nsga2, RandomSearch):
        rng = np.random.default_rng(0)
        strategy = strategy_class(ToySpace(SPACE), rng=rng, population_size=20)
        found = Front.of(*run(strategy, 30), ("error", "latency_s"))
        volumes[strategy_class] = found.hypervolume((60, 60))

    assert volumes[Nsga2] > 1.2 * volumes[RandomSearch]


def test_the_ends_of_the_front_never_get_worse():
    strategy = Nsga2(ToySpace(SPACE), rng=np.random.default_rng(1), population_size=20)
    run(strategy, 1)

    for _ in range(20):
        before = strategy.objectives.min(axis=0)
        run(strategy, 1)
        assert (strategy.objectives.min(axis=0) <= before).all()


def test_feasible_parents_displace_infeasible_ones():
    strategy = Nsga2(ToySpace(SPACE), rng=np.random.default_rng(2), population_size=10)
    good = np.tile(np.arange(4, dtype=np.uint8)[:, None], (1, 12))
    run(strategy, 1, lambda population: np.full(len(population), 0.5))

    strategy.tell(good, np.full((4, 2), 1e9), np.zeros(4))

    assert len(strategy.population) == 10
    assert {tuple(row) for row in strategy.population[:4]} == {tuple(row) for row in good}


def test_it_moves_towards_a_budget_that_no_first_architecture_meets():
    strategy = Nsga2(ToySpace((7,) * 20), rng=np.random.default_rng(3), population_size=20)

    def excess(population):
        return np.maximum(0.0, population.sum(axis=1) / 10.0 - 1.0)

    *_, violation = run(strategy, 40, excess)

    assert violation[:20].min() > 0
    assert (violation[-20:] <= 0).any()


@pytest.mark.parametrize("crossover", ["uniform", "two-point"])
def test_each_crossover_searches(crossover):
    strategy = Nsga2(
        ToySpace(SPACE), rng=np.random.default_rng(4), population_size=10, crossover=crossover
    )

    population, *_ = run(strategy, 10)

    assert len(np.unique(population, axis=0)) == 100


@pytest.mark.parametrize(
    "arguments",
    [
        {"population_size": 1},
        {"crossover": "three-point"},
        {"crossover_probability": 1.1},
        {"mutation_probability": -0.1},
        {"mutation_probability": float("nan")},
    ],
)
def test_arguments_out_of_range_are_errors(arguments):
    with pytest.raises(SpaceError):
        Nsga2(ToySpace(), rng=np.random.default_rng(0), **arguments)


@pytest.mark.parametrize(
    "told",
    [
        (np.zeros((2, 5), np.uint8), np.zeros((2, 2)), None),
        (np.zeros((2, 6), np.int64), np.zeros((2, 2)), None),
        (np.zeros((2, 6), np.uint8), np.zeros((3, 2)), None),
        (np.zeros((2, 6), np.uint8), np.zeros(2), None),
        (np.zeros((2, 6), np.uint8), np.zeros((2, 2)), np.zeros(3)),
        (np.zeros((2, 6), np.uint8), np.zeros((2, 3)), None),
    ],
)
def test_telling_what_does_not_fit_is_an_error(told):
    strategy = Nsga2(ToySpace(), rng=np.random.default_rng(0))
    strategy.tell(np.ones((1, 6), np.uint8), np.zeros((1, 2)))

    with pytest.raises(SpaceError):
        strategy.tell(*told)


@pytest.mark.parametrize(
    "change",
    [
        {"strategy": "random"},
        {"population_size": 11},
        {"option_counts": np.full(12, 4, np.uint8)},
        {"population": np.full((10, 12), 9, np.uint8)},
        {"population": np.zeros((10, 11), np.uint8)},
        {"explored": "none"},
        {"objectives": np.zeros((3, 2))},
        {"ranks": np.zeros(10)},
        {"rng": "{}"},
        {"rng": 5},
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change):
    strategy = Nsga2(ToySpace(SPACE), rng=np.random.default_rng(5), population_size=10)
    run(strategy, 2)
    state = strategy.state()

    with pytest.raises(RunError):
        strategy.restore(state | change)

    assert all(np.array_equal(value, strategy.state()[name]) for name, value in state.items())
