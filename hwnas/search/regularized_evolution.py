"""Regularised evolution: a queue of architectures in which the oldest dies, however good it is.

References:
    [Rea19] Real, Aggarwal, Huang, Le, Regularized Evolution for Image Classifier Architecture
    Search, AAAI 2019.
    [Kno06] Knowles, ParEGO, IEEE TEC 10(1), 2006: a new random Chebyshev weighting each time.
"""

import numpy as np

from hwnas.errors import SpaceError
from hwnas.search.checkpoint import State, generator_state, restore_generator
from hwnas.search.explored import Explored
from hwnas.search.strategy import (
    Floats,
    Population,
    PopulationSpace,
    check_restored,
    restored_rows,
    restored_text,
)
from hwnas.search.told import Told

__all__ = ["RegularizedEvolution"]


class RegularizedEvolution:
    """Mutates the best of a random sample of the youngest architectures.

    The queue is filled with random architectures. Then each child is its parent with one decision
    changed, and the parent is the best of `tournament_size` members drawn with replacement. Told
    architectures enter the queue, and the oldest leave it.

    With several objectives each tournament draws weights w, uniform on the simplex, and the best
    has the smallest max_j w_j (f_j - min f_j) / (max f_j - min f_j), min and max being over the
    queue's feasible members [Kno06]. Feasible members win over infeasible ones, and those are
    compared by their violation; a feasible member with a NaN objective loses to all. Of ties the
    first drawn wins.

    Differs from [Rea19]: several objectives and budgets; `batch_size` children are made before the
    first of them is told (1 is the paper); no architecture is asked for twice, and a child that
    repeats one is replaced by a fresh one, with one more decision changed in each round.

    Args:
        space: Where to search.
        rng: The only source of chance.
        population_size: Length of the queue.
        tournament_size: Members drawn for each parent; None is a quarter of the queue.
        batch_size: Children per `ask`; None is a tenth of the queue.

    Raises:
        SpaceError: If an argument is below 1.
    """

    name = "regularized-evolution"

    def __init__(
        self,
        space: PopulationSpace,
        *,
        rng: np.random.Generator,
        population_size: int = 100,
        tournament_size: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        if tournament_size is None:
            tournament_size = max(1, population_size // 4)
        if batch_size is None:
            batch_size = max(1, population_size // 10)
        if min(population_size, tournament_size, batch_size) < 1:
            raise SpaceError("population_size, tournament_size and batch_size must be at least 1")
        self._space = space
        self._rng = rng
        self._population_size = population_size
        self._tournament_size = tournament_size
        self._batch_size = batch_size
        self._option_counts = np.ascontiguousarray(space.option_counts, dtype=np.uint8)
        self._open = np.flatnonzero(self._option_counts > 1)
        self._explored = Explored(space)
        self._told = Told(len(self._option_counts))

    @property
    def population(self) -> Population:
        """The queue, `(k, d)`, oldest first."""
        return self._told.population

    def ask(self) -> Population:
        """Returns random architectures until the queue is full, then children; `(n, d)`.

        Empty when the space is exhausted.
        """
        missing = self._population_size - len(self._told)
        if missing > 0:
            return self._explored.novel(missing, self._rng)
        return self._explored.novel(self._batch_size, self._rng, self._children)

    def tell(
        self, population: Population, objectives: Floats, violation: Floats | None = None
    ) -> None:
        """Puts these architectures at the young end of the queue.

        Args:
            population: `(n, d)`.
            objectives: `(n, m)`, all minimised.
            violation: `(n,)`, 0 or less where feasible; None means that all rows are.

        Raises:
            SpaceError: If a shape does not fit.
        """
        self._explored.mark(self._told.add(population, objectives, violation))
        self._told.keep_latest(self._population_size)

    def state(self) -> State:
        """Returns all that decides what is asked next."""
        return {
            "strategy": self.name,
            "population_size": self._population_size,
            "option_counts": self._option_counts.copy(),
            "rng": generator_state(self._rng),
            "explored": self._explored.rows(),
            **self._told.state(),
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
        restore_generator(self._rng, restored_text(state, "rng"))
        self._explored.reset(explored)
        self._told = told

    def _children(self, count: int, attempt: int) -> Population:
        children: Population = self._told.population[self._parents(count)]
        if not len(self._open):
            return children
        each = np.arange(count)
        for _ in range(1 + attempt):
            decisions = self._open[self._rng.integers(len(self._open), size=count)]
            options = self._option_counts[decisions].astype(np.int64)
            steps = self._rng.integers(1, options)
            children[each, decisions] = (children[each, decisions] + steps) % options
        return children

    def _parents(self, count: int) -> np.ndarray:
        drawn = self._rng.integers(
            len(self._told), size=(count, self._tournament_size), dtype=np.int64
        )
        values, handicap = _normalised(self._told.objectives, self._told.violation)
        weights = _simplex(count, values.shape[1], self._rng)
        scores = (weights[:, None, :] * values[drawn]).max(axis=2) + handicap[drawn]
        return np.asarray(drawn[np.arange(count), scores.argmin(axis=1)])


def _normalised(objectives: Floats, violation: Floats) -> tuple[Floats, Floats]:
    """Returns objectives in [0, 1], 0 where they do not count, and what is added to the scores."""
    feasible = violation <= 0
    usable = feasible & np.isfinite(objectives).all(axis=1)
    values = np.zeros_like(objectives)
    if usable.any():
        counted = objectives[usable]
        span = np.ptp(counted, axis=0)
        values[usable] = (counted - counted.min(axis=0)) / np.where(span > 0, span, 1.0)
    # Feasible scores are at most 1.
    handicap = np.where(usable, 0.0, np.where(feasible, np.inf, 2.0 + violation))
    return values, np.where(np.isnan(handicap), np.inf, handicap)


def _simplex(count: int, m: int, rng: np.random.Generator) -> Floats:
    """Returns points uniform on the simplex, `(count, m)`: the gaps between sorted uniforms."""
    cuts = np.sort(rng.random((count, m - 1)), axis=1)
    return np.diff(cuts, axis=1, prepend=0.0, append=1.0)
