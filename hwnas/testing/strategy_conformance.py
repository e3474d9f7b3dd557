"""What every search strategy must do, as tests that a plug-in's author inherits.

In a test file of yours, with `pytest` collecting the inherited tests::

    class TestMyStrategy(StrategyConformance):
        @pytest.fixture
        def make_strategy(self):
            return MyStrategy

The fixture gives the class, or any callable that makes a strategy from
`(space, rng=..., population_size=...)`.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.search.checkpoint import State
from hwnas.search.strategy import Floats, Population, PopulationSpace, Strategy

__all__ = ["MakeStrategy", "StrategyConformance", "ToySpace", "toy_objectives"]


class MakeStrategy(Protocol):
    """Makes a strategy."""

    def __call__(
        self, space: PopulationSpace, *, rng: np.random.Generator, population_size: int
    ) -> Strategy:
        """Returns a fresh strategy.

        Args:
            space: Where to search.
            rng: The only source of chance.
            population_size: About how many architectures to ask for at a time.
        """


class ToySpace:
    """A space with a conditional decision: where the first is 0, the last does nothing.

    Args:
        option_counts: Number of options of each decision, `(d,)`.
    """

    def __init__(self, option_counts: tuple[int, ...] = (3, 4, 1, 5, 2, 6)) -> None:
        self.option_counts: Population = np.array(option_counts, np.uint8)

    def __len__(self) -> int:
        """Tells how many canonical architectures there are."""
        counts = [int(count) for count in self.option_counts]
        inner = int(np.prod(counts[1:-1]))
        return inner * ((counts[0] - 1) * counts[-1] + 1)

    def sample(self, n: int, rng: np.random.Generator) -> Population:
        """Returns n uniform rows, not canonical.

        Args:
            n: How many.
            rng: The only source of chance.
        """
        return rng.integers(self.option_counts, size=(n, len(self.option_counts)), dtype=np.uint8)

    def canonicalise(self, population: Population) -> Population:
        """Returns the rows with the last option 0 where it does nothing, in place.

        Args:
            population: `(n, d)`.
        """
        population[population[:, 0] == 0, -1] = 0
        return population


def toy_objectives(population: Population) -> Floats:
    """Returns two objectives `(n, 2)` that cannot both be small.

    Args:
        population: `(n, d)`.
    """
    cost = population.sum(axis=1, dtype=np.float64)
    return np.stack([1.0 / (1.0 + cost) + 0.01 * population[:, 1], cost], axis=1)


class StrategyConformance:
    """The tests; a subclass brings the fixture `make_strategy`."""

    def test_ask_returns_canonical_rows_of_the_space(self, make_strategy: MakeStrategy) -> None:
        """Shape, type and range, over several generations."""
        space = ToySpace()
        strategy = make_strategy(space, rng=np.random.default_rng(0), population_size=8)

        asked = _run(strategy, 5)

        for population in asked:
            assert population.dtype == np.uint8
            assert population.shape[1:] == space.option_counts.shape
            assert (population < space.option_counts).all()
            assert np.array_equal(space.canonicalise(population.copy()), population)

    def test_no_architecture_is_asked_for_twice(self, make_strategy: MakeStrategy) -> None:
        """Neither in one population nor in different ones."""
        strategy = make_strategy(ToySpace(), rng=np.random.default_rng(1), population_size=8)

        asked = np.concatenate(_run(strategy, 12))

        assert len(np.unique(asked, axis=0)) == len(asked)

    def test_what_was_told_is_not_asked_for(self, make_strategy: MakeStrategy) -> None:
        """Architectures from elsewhere count as known."""
        space = ToySpace((2, 3, 2))
        strategy = make_strategy(space, rng=np.random.default_rng(2), population_size=4)
        known = np.array([[0, 0, 0], [1, 1, 1], [1, 2, 0]], np.uint8)

        strategy.tell(known, toy_objectives(known), np.zeros(len(known)))
        asked = np.concatenate(_run(strategy, 40))

        assert len(np.unique(np.concatenate((known, asked)), axis=0)) == len(known) + len(asked)

    def test_a_small_space_is_exhausted_and_then_nothing_is_asked(
        self, make_strategy: MakeStrategy
    ) -> None:
        """Every architecture is asked for once; then the search can stop."""
        space = ToySpace((2, 3, 2))
        strategy = make_strategy(space, rng=np.random.default_rng(3), population_size=5)

        asked = np.concatenate(_run(strategy, 40))

        assert len(asked) == len(space)
        assert strategy.ask().shape == (0, 3)

    def test_a_space_of_one_architecture_is_searched(self, make_strategy: MakeStrategy) -> None:
        """No decision has a choice."""
        strategy = make_strategy(ToySpace((1, 1)), rng=np.random.default_rng(4), population_size=5)

        asked = _run(strategy, 3)

        assert [len(population) for population in asked] == [1]

    def test_the_seed_alone_decides(self, make_strategy: MakeStrategy) -> None:
        """Equal seeds ask for the same, others for something else."""
        runs = [
            np.concatenate(
                _run(
                    make_strategy(ToySpace(), rng=np.random.default_rng(seed), population_size=8),
                    6,
                )
            )
            for seed in (5, 5, 6)
        ]

        assert np.array_equal(runs[0], runs[1])
        assert not np.array_equal(runs[0], runs[2])

    def test_a_restored_strategy_goes_on_in_the_same_way(
        self, make_strategy: MakeStrategy
    ) -> None:
        """The state holds all that matters, the generator included."""
        whole = make_strategy(ToySpace(), rng=np.random.default_rng(7), population_size=8)
        _run(whole, 5)
        state = whole.state()
        rest = _run(whole, 5)

        other = make_strategy(ToySpace(), rng=np.random.default_rng(8), population_size=8)
        other.restore(state)
        again = _run(other, 5)

        assert all(np.array_equal(a, b) for a, b in zip(rest, again, strict=True))
        assert _same(whole.state(), other.state())

    def test_a_state_is_plain_and_does_not_change_later(self, make_strategy: MakeStrategy) -> None:
        """Arrays without objects, numbers and strings; copies, not views."""
        strategy = make_strategy(ToySpace(), rng=np.random.default_rng(9), population_size=8)
        _run(strategy, 4)
        state = strategy.state()
        kept = {
            name: value.copy() if isinstance(value, np.ndarray) else value
            for name, value in state.items()
        }

        _run(strategy, 4)

        assert _same(state, kept)
        for value in state.values():
            assert isinstance(value, np.ndarray | int | float | str)
            assert not isinstance(value, np.ndarray) or value.dtype.kind in "biufU"

    def test_tell_changes_none_of_its_arguments(self, make_strategy: MakeStrategy) -> None:
        """What is told belongs to the caller."""
        strategy = make_strategy(ToySpace(), rng=np.random.default_rng(10), population_size=8)
        population = strategy.ask()
        objectives, violation = toy_objectives(population), np.linspace(-1, 1, len(population))
        kept: list[NDArray[np.generic]] = [
            population.copy(),
            objectives.copy(),
            violation.copy(),
        ]

        strategy.tell(population, objectives, violation)

        assert np.array_equal(population, kept[0])
        assert np.array_equal(objectives, kept[1])
        assert np.array_equal(violation, kept[2])

    def test_infeasible_architectures_without_an_error_are_taken(
        self, make_strategy: MakeStrategy
    ) -> None:
        """Their objectives may be NaN, and all of a population may be infeasible."""
        strategy = make_strategy(ToySpace(), rng=np.random.default_rng(11), population_size=8)

        for _ in range(6):
            population = strategy.ask()
            objectives = toy_objectives(population)
            objectives[:, 0] = np.nan
            strategy.tell(population, objectives, 1.0 + objectives[:, 1])

        assert len(strategy.ask())

    def test_one_objective_and_four_are_taken(self, make_strategy: MakeStrategy) -> None:
        """The number of objectives is the caller's choice."""
        for m in (1, 4):
            strategy = make_strategy(ToySpace(), rng=np.random.default_rng(12), population_size=8)
            for _ in range(5):
                population = strategy.ask()
                objectives = np.tile(toy_objectives(population), 2)[:, :m]
                strategy.tell(population, objectives, np.zeros(len(population)))
            assert len(strategy.ask())


def _run(strategy: Strategy, generations: int) -> list[Population]:
    asked: list[Population] = []
    for _ in range(generations):
        population = strategy.ask()
        if not len(population):
            break
        asked.append(population.copy())
        objectives = toy_objectives(population)
        # Some architectures are over a budget.
        strategy.tell(population, objectives, np.maximum(0.0, objectives[:, 1] - 8.0))
    return asked


def _same(one: State, two: State) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)
