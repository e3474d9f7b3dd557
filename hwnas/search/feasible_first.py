"""A space whose samples meet the budgets, as far as that can be had by sampling."""

from collections.abc import Callable, Sequence

import numpy as np

from hwnas import _core
from hwnas.search.budgets import Budgets
from hwnas.search.strategy import Floats, Population, PopulationSpace

__all__ = ["FeasibleFirst"]

#: Rows drawn and costed at a time, first and at most, and in all per call. Costs are cheap
#: (millions of rows a second), so a budget that one row in 10^5 meets still fills a population.
FIRST_BATCH = 1 << 10
LARGEST_BATCH = 1 << 16
MOST_ROWS = 1 << 20


class FeasibleFirst:
    """Wraps a space: `sample` prefers architectures that meet the budgets.

    Hand it to a strategy in place of the space, so that its first population is feasible where it
    can be. Random batches are costed until enough distinct feasible rows are found; they are used
    in the order drawn, so their distribution is the space's own, given the budgets. If 2^20 draws
    do not yield enough, the rest is filled with the distinct rows of least violation.

    Args:
        space: The space to sample.
        cost: Population `(n, d)` to costs `(n, c)`, cheap.
        metrics: Names of the c costs.
        budgets: The budgets; without any, the space's own samples are returned as they are.
    """

    def __init__(
        self,
        space: PopulationSpace,
        cost: Callable[[Population], Floats],
        metrics: Sequence[str],
        budgets: Budgets,
    ) -> None:
        self._space = space
        self._cost = cost
        self._metrics = tuple(metrics)
        self._budgets = budgets

    @property
    def option_counts(self) -> Population:
        """Number of options of each decision, `(d,)`."""
        return self._space.option_counts

    def canonicalise(self, population: Population) -> Population:
        """Returns the canonical rows `(n, d)`, as the wrapped space has it.

        Args:
            population: `(n, d)`; it may be changed in place.
        """
        return self._space.canonicalise(population)

    def violation(self, population: Population) -> Floats:
        """Returns the violation of the budgets, `(n,)`, 0 where they are met.

        Args:
            population: Canonical rows, `(n, d)`.
        """
        rows = np.ascontiguousarray(population)
        return self._budgets.violation(self._cost(rows), self._metrics)

    def sample(self, n: int, rng: np.random.Generator) -> Population:
        """Returns up to n distinct canonical architectures, feasible ones first, `(n, d)`.

        Args:
            n: How many; fewer are returned only where fewer were drawn.
            rng: The only source of chance.
        """
        if not self._budgets:
            return self._space.sample(n, rng)
        width = len(self.option_counts)
        seen = _core.RowSet(width)
        feasible: list[Population] = []
        rest = np.empty((0, width), np.uint8)
        rest_violation = np.empty(0)
        missing, drawn, batch = n, 0, max(FIRST_BATCH, min(4 * n, LARGEST_BATCH))
        while missing > 0 and drawn < MOST_ROWS:
            rows = np.ascontiguousarray(self._space.canonicalise(self._space.sample(batch, rng)))
            violation = self._budgets.violation(self._cost(rows), self._metrics)
            meets = violation <= 0
            found = np.ascontiguousarray(rows[meets])
            found = found[seen.insert(found)][:missing]
            feasible.append(found)
            missing -= len(found)
            drawn += batch
            batch = min(4 * batch, LARGEST_BATCH)
            if missing:
                rest, rest_violation = _least(
                    np.concatenate((rest, rows[~meets])),
                    np.concatenate((rest_violation, violation[~meets])),
                    missing,
                )
        return np.concatenate((*feasible, rest[:missing]))


def _least(rows: Population, violation: Floats, count: int) -> tuple[Population, Floats]:
    """Returns the `count` distinct rows of least violation; of ties the earlier first."""
    order = np.argsort(violation, kind="stable")
    rows, violation = np.ascontiguousarray(rows[order]), violation[order]
    first = np.flatnonzero(_core.RowSet(rows.shape[1]).insert(rows))[:count]
    return rows[first], violation[first]
