import numpy as np
import pytest

from hwnas.errors import SpaceError
from hwnas.search import RegularizedEvolution
from hwnas.testing.strategy_conformance import ToySpace

SPACE = (5,) * 12


def make(seed=0, **arguments):
    return RegularizedEvolution(ToySpace(SPACE), rng=np.random.default_rng(seed), **arguments)


def tell(strategy, population, violation=None):
    objectives = population[:, 1:11].sum(axis=1, dtype=np.float64)[:, None]
    strategy.tell(population, objectives, violation)
    return objectives[:, 0]


def test_the_queue_holds_the_youngest_and_lets_the_best_go():
    strategy = make(population_size=10, batch_size=3)
    best = np.zeros((1, 12), np.uint8)
    tell(strategy, best)
    tell(strategy, strategy.ask())
    assert strategy.population[0].tolist() == best[0].tolist()

    asked = strategy.ask()
    tell(strategy, asked)

    assert len(strategy.population) == 10
    assert np.array_equal(strategy.population[-3:], asked)
    assert best[0].tolist() not in strategy.population.tolist()


def test_a_child_differs_from_a_member_in_one_decision():
    strategy = make(population_size=10, batch_size=1)
    tell(strategy, strategy.ask())

    for _ in range(20):
        child = strategy.ask()
        changes = (strategy.population[:, 1:11] != child[:, 1:11]).sum(axis=1)
        assert changes.min() <= 1
        tell(strategy, child)


def test_a_tournament_of_all_breeds_from_the_best_only():
    strategy = make(population_size=8, tournament_size=500, batch_size=5)
    population = strategy.ask()
    errors = tell(strategy, population)

    children = strategy.ask()

    # Children are made canonical, which can clear the last decision of the parent.
    changes = (children[:, :-1] != population[errors.argmin(), :-1]).sum(axis=1)
    assert changes.max() <= 1


def test_it_finds_a_lower_error_than_its_first_population():
    strategy = make(population_size=20)
    first = tell(strategy, strategy.ask()).min()

    last = min(tell(strategy, strategy.ask()).min() for _ in range(100))

    assert last < first / 2


def test_feasible_members_are_parents_before_better_infeasible_ones():
    strategy = make(population_size=8, tournament_size=500, batch_size=5)
    population = strategy.ask()
    violation = np.arange(8) / 8.0
    violation[5] = -1.0
    violation[0] = np.nan
    objectives = np.stack([np.arange(8.0), np.arange(8.0)], axis=1)
    strategy.tell(population, objectives, violation)

    children = strategy.ask()

    # 0 and 5: one of them is unusable, the other the only feasible one.
    assert (children[:, :-1] != population[5, :-1]).sum(axis=1).max() <= 1


def test_random_weights_reach_both_ends_of_a_front():
    strategy = make(population_size=11, tournament_size=500, batch_size=200)
    population = np.tile(np.arange(11, dtype=np.uint8)[:, None] % 5, (1, 12))
    population[:, 0] = np.arange(11) // 5
    x = np.linspace(0, 1, 11)
    strategy.tell(population, np.stack([x, (1 - np.sqrt(x)) ** 2], axis=1))

    parents = strategy._parents(500)

    assert set(range(1, 10)) <= set(parents.tolist())


@pytest.mark.parametrize("name", ["population_size", "tournament_size", "batch_size"])
def test_arguments_below_one_are_errors(name):
    with pytest.raises(SpaceError):
        make(**{name: 0})


def test_telling_another_number_of_objectives_is_an_error():
    strategy = make(population_size=4)
    population = strategy.ask()
    strategy.tell(population, np.zeros((4, 2)))

    with pytest.raises(SpaceError, match="objectives"):
        strategy.tell(population, np.zeros((4, 1)))
