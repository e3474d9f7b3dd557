"""Predictor-guided search: a regression on what is known so far says what to evaluate next.

References:
    [Whi21] White, Neiswanger, Savani, BANANAS: Bayesian Optimization with Neural Architectures for
    Neural Architecture Search, AAAI 2021: independent Thompson sampling over mutations.
    [Deb02] Deb, Pratap, Agarwal, Meyarivan, NSGA-II, IEEE TEC 6(2), 2002.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from hwnas import _core
from hwnas.errors import SpaceError
from hwnas.search.checkpoint import State, generator_state, restore_generator
from hwnas.search.dominance import crowding_distance, non_dominated_sort
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

__all__ = ["BudgetedSpace", "PredictorGuided"]

_TREES = 50
_RIDGE = 1.0  # penalty of a linear model on columns of zeros and ones, targets standardised
_FEWEST = 8  # feasible rows from which a model is fitted
_MOST = 4096  # latest rows that a model is fitted on
_PARENTS = 64  # of proposals
_MUTATION = 1.0  # decisions of a child that change, on average
_CROSSOVER = 0.5


@runtime_checkable
class BudgetedSpace(PopulationSpace, Protocol):
    """A space that knows how far architectures are from its budgets, without an evaluation."""

    def violation(self, population: Population) -> Floats:
        """Returns the violation of the budgets, `(n,)`, 0 or less where they are met.

        Args:
            population: Canonical rows, `(n, d)`.
        """


class PredictorGuided:
    """Evaluates those of many proposals that a regression on all evaluations holds to be best.

    The first population is random. Then, each time, a model of each objective is fitted on the
    options of all evaluated architectures, as columns of zeros and ones. Architectures are
    proposed by crossover and mutation of the best so far, and as many at random. Each new one gets
    objectives drawn from the models' normal distribution (independent Thompson sampling [Whi21]).
    Half of those that are asked for have the best rank, then the largest crowding distance
    [Deb02], among each other and the evaluated ones; the other half are the best in the objective
    that the models are least sure of, which is the error. A model is a ridge regression, which is
    exact for costs that add up, and a random forest on what that leaves, whose trees also say how
    sure it is.

    A space that knows its budgets (`BudgetedSpace`) says which proposals meet them. Others ask for
    what is proposed, and are told.

    For dear evaluations, some hundreds to thousands: each `ask` fits models.

    Differs from [Whi21]: several objectives; ridge and forest in place of five neural networks,
    and zeros and ones for options in place of paths, so that it serves any space.

    Args:
        space: Where to search.
        rng: The only source of chance.
        population_size: Architectures per `ask`; at least 2.
        pool: Proposals of each of the two kinds.

    Raises:
        SpaceError: If an argument is out of range.
    """

    name = "predictor-guided"

    def __init__(
        self,
        space: PopulationSpace,
        *,
        rng: np.random.Generator,
        population_size: int = 20,
        pool: int = 500,
    ) -> None:
        if population_size < 2:
            raise SpaceError(f"population_size is {population_size}; it must be at least 2")
        self._space = space
        self._rng = rng
        self._population_size = population_size
        self._pool = max(pool, population_size)
        self._option_counts = np.ascontiguousarray(space.option_counts, dtype=np.uint8)
        width = len(self._option_counts)
        self._mutation = min(1.0, _MUTATION / max(1, width))
        self._explored = Explored(space)
        self._told = Told(width)

    def ask(self) -> Population:
        """Returns random architectures at first, then the most promising; empty when exhausted."""
        usable = self._usable()
        if np.count_nonzero(usable) < _FEWEST:
            return self._explored.novel(self._population_size, self._rng)
        pool = self._explored.unknown(
            np.concatenate((self._children(self._pool), self._space.sample(self._pool, self._rng)))
        )
        if len(pool) <= self._population_size:  # the space is nearly explored
            return self._explored.novel(self._population_size, self._rng)
        chosen = np.ascontiguousarray(pool[self._most_promising(pool, usable)])
        self._explored.mark(chosen)
        return chosen

    def tell(
        self, population: Population, objectives: Floats, violation: Floats | None = None
    ) -> None:
        """Adds these architectures to what the models are fitted on.

        Args:
            population: `(n, d)`.
            objectives: `(n, m)`, all minimised.
            violation: `(n,)`, 0 or less where feasible; None means that all rows are.

        Raises:
            SpaceError: If a shape does not fit.
        """
        self._explored.mark(self._told.add(population, objectives, violation))
        self._told.keep_latest(_MOST)

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

    def _usable(self) -> np.ndarray:
        """Rows that objectives can be learnt from."""
        met = self._told.violation <= 0
        return np.asarray(met & np.isfinite(self._told.objectives).all(axis=1))

    def _children(self, count: int) -> Population:
        kept, ranks, crowding = _core.nsga2_survive(
            self._told.objectives, self._told.violation, _PARENTS
        )
        return _core.vary(
            np.ascontiguousarray(self._told.population[kept]),
            ranks,
            crowding,
            self._option_counts,
            self._rng.bit_generator.random_raw(4),
            count,
            _CROSSOVER,
            self._mutation,
            "two-point",
        )

    def _most_promising(self, pool: Population, usable: np.ndarray) -> np.ndarray:
        """Indices of the proposals to evaluate, `(population_size,)`."""
        known, values = self._told.population[usable], self._told.objectives[usable]
        drawn, doubt = np.empty((len(pool), values.shape[1])), np.empty(values.shape[1])
        x, asked = _columns(known, self._option_counts), _columns(pool, self._option_counts)
        for column, target in enumerate(values.T):
            mean, deviation = _predicted(x, target, asked, int(self._rng.integers(2**31)))
            drawn[:, column] = mean + deviation * self._rng.standard_normal(len(pool))
            doubt[column] = deviation.mean() / (target.std() or 1.0)
        excess = np.zeros(len(pool))
        if isinstance(self._space, BudgetedSpace):
            excess = self._space.violation(pool)
        everything = np.concatenate((drawn, values))
        over = np.concatenate((excess, np.zeros(len(values))))
        ranks = non_dominated_sort(everything, over)
        crowding = crowding_distance(everything, ranks)
        by_rank = np.lexsort((-crowding[: len(pool)], ranks[: len(pool)]))
        by_one = np.lexsort((drawn[:, int(np.argmax(doubt))], np.maximum(excess, 0.0)))
        # In turns, each proposal where it comes first.
        merged = np.stack((by_rank, by_one), axis=1).ravel()
        _, first = np.unique(merged, return_index=True)
        return np.asarray(merged[np.sort(first)[: self._population_size]])


def _columns(rows: Population, option_counts: Population) -> Floats:
    """A column of zeros and ones for each option of each decision, `(n, f)`."""
    starts = np.concatenate(([0], np.cumsum(option_counts.astype(np.int64))))
    found = np.zeros((len(rows), int(starts[-1])))
    np.put_along_axis(found, rows + starts[:-1], 1.0, axis=1)
    return found


def _predicted(x: Floats, target: Floats, asked: Floats, seed: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation of one objective, `(k,)` each.

    Args:
        x: Columns of what is known, `(n, f)`.
        target: Its objective, `(n,)`.
        asked: Columns of what is asked for, `(k, f)`.
        seed: Of the forest.
    """
    from sklearn.ensemble import RandomForestRegressor  # slow to import, needed here only
    from sklearn.linear_model import Ridge

    centre, scale = float(target.mean()), float(target.std()) or 1.0
    y = (target - centre) / scale
    linear = Ridge(alpha=_RIDGE).fit(x, y)
    forest: Any = RandomForestRegressor(_TREES, max_features=1 / 3, random_state=seed)
    forest.fit(x, y - linear.predict(x))
    trees = np.stack([tree.predict(asked) for tree in forest.estimators_])
    mean = linear.predict(asked) + trees.mean(axis=0)
    return centre + scale * mean, scale * trees.std(axis=0)
