"""NSGA-II: an elitist genetic algorithm for several objectives and budgets.

Reference: Deb, Pratap, Agarwal, Meyarivan, A Fast and Elitist Multiobjective Genetic Algorithm:
NSGA-II, IEEE TEC 6(2), 2002.
"""

import numpy as np

from hwnas import _core
from hwnas.errors import SpaceError
from hwnas.search.checkpoint import State, generator_state, restore_generator
from hwnas.search.explored import Explored
from hwnas.search.strategy import (
    Floats,
    Population,
    PopulationSpace,
    check_lengths,
    check_restored,
    restored_array,
    restored_rows,
    restored_text,
)
from hwnas.search.told import Told

__all__ = ["Nsga2"]


class Nsga2:
    """Keeps the best of parents and children by front, then by crowding.

    Differs from the paper: decisions are categories, so the crossover is two-point (or uniform)
    and a mutated decision takes any of its other options, in place of simulated binary crossover
    and polynomial mutation; a child that would equal its first parent has one decision changed;
    crowding does not count copies; no architecture is asked for twice, and a child that repeats
    one is replaced by a fresh one, mutated harder with each round. The default probabilities are
    lower than the paper's 0.9 and 1 / d: on the tables of `benchmarks/nsga2.py` and on
    NAS-Bench-201 with measured latencies the fronts were larger at equal evaluations.

    Args:
        space: Where to search.
        rng: The only source of chance.
        population_size: Parents kept, and children per `ask`; at least 2.
        crossover: `uniform` or `two-point`.
        crossover_probability: Chance that a child has two parents, in [0, 1].
        mutation_probability: Chance that a decision changes, in [0, 1]; None is 1 / (2 d).

    Raises:
        SpaceError: If an argument is out of range.
    """

    name = "nsga2"

    def __init__(
        self,
        space: PopulationSpace,
        *,
        rng: np.random.Generator,
        population_size: int = 100,
        crossover: str = "two-point",
        crossover_probability: float = 0.5,
        mutation_probability: float | None = None,
    ) -> None:
        if population_size < 2:
            raise SpaceError(f"population_size is {population_size}; NSGA-II needs at least 2")
        if crossover not in ("uniform", "two-point"):
            raise SpaceError(f"unknown crossover {crossover!r}; available: uniform, two-point")
        width = len(space.option_counts)
        mutation = 0.5 / width if mutation_probability is None else mutation_probability
        for name, value in (("crossover", crossover_probability), ("mutation", mutation)):
            if not 0 <= value <= 1:
                raise SpaceError(f"{name}_probability is {value}; it must be in [0, 1]")
        self._space = space
        self._rng = rng
        self._population_size = population_size
        self._crossover = crossover
        self._crossover_probability = crossover_probability
        self._mutation_probability = mutation
        self._option_counts = np.ascontiguousarray(space.option_counts, dtype=np.uint8)
        self._explored = Explored(space)
        self._told = Told(width)
        self._ranks = np.empty(0, np.int32)
        self._crowding: Floats = np.empty(0)

    @property
    def population(self) -> Population:
        """The surviving parents, `(k, d)`, best first."""
        return self._told.population

    @property
    def objectives(self) -> Floats:
        """The objectives of the surviving parents, `(k, m)`."""
        return self._told.objectives

    def ask(self) -> Population:
        """Returns random architectures at first, then children, `(n, d)`; empty when exhausted."""
        propose = self._children if len(self._told) else None
        return self._explored.novel(self._population_size, self._rng, propose)

    def tell(
        self, population: Population, objectives: Floats, violation: Floats | None = None
    ) -> None:
        """Lets these architectures compete with the parents.

        Args:
            population: `(n, d)`.
            objectives: `(n, m)`, all minimised.
            violation: `(n,)`, 0 or less where feasible; None means that all rows are.

        Raises:
            SpaceError: If a shape does not fit.
        """
        rows = self._told.add(population, objectives, violation)
        if not len(rows):
            return
        self._explored.mark(rows)
        kept, self._ranks, self._crowding = _core.nsga2_survive(
            self._told.objectives, self._told.violation, self._population_size
        )
        self._told.keep(kept)

    def state(self) -> State:
        """Returns all that decides what is asked next."""
        return {
            "strategy": self.name,
            "population_size": self._population_size,
            "option_counts": self._option_counts.copy(),
            "rng": generator_state(self._rng),
            "explored": self._explored.rows(),
            **self._told.state(),
            "ranks": self._ranks.copy(),
            "crowding": self._crowding.copy(),
        }

    def restore(self, state: State) -> None:
        """Goes on from a state.

        Args:
            state: What `state` returned.

        Raises:
            RunError: If it is malformed or of other arguments.
        """
        check_restored(self.name, self._space, self._population_size, state)
        explored = restored_rows(state, "explored", self._option_counts)
        told = Told(len(self._option_counts))
        told.restore(state, self._option_counts)
        columns = {
            "ranks": restored_array(state, "ranks", np.int32, 1),
            "crowding": restored_array(state, "crowding", np.float64, 1),
        }
        check_lengths(len(told), columns)
        restore_generator(self._rng, restored_text(state, "rng"))
        self._explored.reset(explored)
        self._told = told
        self._ranks = columns["ranks"]
        self._crowding = columns["crowding"]

    def _children(self, count: int, attempt: int) -> Population:
        words = self._rng.bit_generator.random_raw(4)
        return _core.vary(
            self._told.population,
            self._ranks,
            self._crowding,
            self._option_counts,
            words,
            count,
            self._crossover_probability,
            min(1.0, self._mutation_probability * 2**attempt),
            self._crossover,
        )
