"""The smallest change of one architecture that brings it under all budgets.

A relaxed search ends near its budgets, and rounding it to one network may end above them. Single
decisions are changed greedily, those first that lose the least preference for the cost that they
save, as in the greedy rule for the knapsack problem; then what turned out to be needless is taken
back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.costs import CompiledCosts
from hwnas.errors import SpaceError
from hwnas.search.budgets import Budgets
from hwnas.search.cheapest import cheapest
from hwnas.search.strategy import Floats, Population

__all__ = ["Preference", "repair", "shrink_path"]

#: Value of each option, one `(k,)` array a decision, or of whole rows: `(n, d)` to `(n,)`.
#: More is better; only differences count. Log-probabilities of a searched distribution will do.
Preference = Sequence[npt.ArrayLike] | Callable[[Population], npt.ArrayLike]

_WORST = 1e30  # stands for -inf: an option of probability 0 is the last to be taken


def repair(
    row: npt.ArrayLike,
    costs: CompiledCosts,
    budgets: Budgets,
    preference: Preference,
    rng: np.random.Generator,
) -> Population | None:
    """The nearest architecture by preference that meets all budgets, found greedily.

    Where no single change helps, as with a peak of memory that two blocks share, the way starts
    at the architecture that `cheapest` finds and goes back towards `row`.

    Args:
        row: Option indices `(d,)`.
        costs: Costs of the space.
        budgets: Limits on metrics of `costs`.
        preference: Value of options or of rows.
        rng: Draws the starting rows of `cheapest`; unused where the greedy way succeeds.

    Returns:
        Canonical row `(d,)`: the row itself if it meets the budgets. `None` if nothing is found
        that does.

    Raises:
        SpaceError: The row or the preference does not fit the space.
        QuantityError: A budget's metric is not among the costs.
    """
    task = _Repair(costs, budgets, _values(preference, costs))
    start = costs.space.canonicalise(np.atleast_2d(np.asarray(row)))[0]
    found = task.lowered(start)
    if found is start:
        return start
    if found is None:
        lowest = cheapest(costs.space, task.violation, rng)
        if task.violation(lowest[None])[0] > 0.0:
            return None
        found = lowest
    return task.taken_back(found, start)


def shrink_path(
    row: npt.ArrayLike,
    costs: CompiledCosts,
    budgets: Budgets,
    preference: Preference,
    rng: np.random.Generator,
    share: float = 0.9,
    most: int = 16,
) -> Population:
    """Ever smaller architectures under the budgets, to be measured one after another.

    A prediction may be a few percent low; the first of these whose measured cost is within the
    budget is the one to take.

    Args:
        row: Option indices `(d,)`; it is repaired first.
        costs: Costs of the space.
        budgets: Limits on metrics of `costs`.
        preference: Value of options or of rows.
        rng: For `repair`.
        share: Where to stop, as a share of the budgets: no row is below it in all of them,
            except that the last one may be, where no change ends between.
        most: Largest number of rows.

    Returns:
        Canonical rows `(n, d)` with falling largest cost relative to its budget, the repaired
        row first; `(0, d)` if the row cannot be repaired, one row if there is no budget.

    Raises:
        SpaceError: As for `repair`, or the share is not between 0 and 1.
    """
    if not 0.0 <= share <= 1.0:
        raise SpaceError(f"share of the budgets is {share}; give 0 to 1")
    first = repair(row, costs, budgets, preference, rng)
    if first is None:
        return np.empty((0, len(costs.space.decisions)), np.uint8)
    path = [first]
    task = _Repair(costs, budgets, _values(preference, costs))
    while budgets and len(path) < most and task.usage(path[-1][None])[0] > share:
        smaller = task.smaller(path[-1], share)
        if smaller is None:
            break
        path.append(smaller)
    return np.stack(path)


_Loss = Callable[[Population, Population], Floats]


@dataclass(frozen=True)
class _Repair:
    costs: CompiledCosts
    budgets: Budgets
    loss: _Loss  # of a row `(d,)` and changes of it `(n, d)`: preference lost, `(n,)`

    def violation(self, population: Population) -> Floats:
        return self.budgets.violation(self._costs_of(population), self.costs.metrics)

    def usage(self, population: Population) -> Floats:
        """Largest cost relative to its budget, `(n,)`."""
        columns = [self.costs.metrics.index(budget.metric) for budget in self.budgets.limits]
        limits = np.array([budget.limit for budget in self.budgets.limits])
        usage: Floats = (self._costs_of(population)[:, columns] / limits).max(axis=1)
        return usage

    def lowered(self, row: Population) -> Population | None:
        """The row after the greedy changes; `None` where they end above a budget."""
        over = self.violation(row[None])[0]
        while over > 0.0:
            changes, canonical = self._changes(row)
            found = self.violation(canonical)
            helps = found < over
            if not helps.any():
                return None
            best = _best(self.loss(row, changes[helps]), over - found[helps])
            row, over = canonical[helps][best], found[helps][best]
        return row

    def smaller(self, row: Population, share: float) -> Population | None:
        """The next row with less usage, not below the share if that can be had."""
        usage = self.usage(row[None])[0]
        changes, canonical = self._changes(row)
        found = self.usage(canonical)
        candidates = (found < usage) & (found >= share)
        if not candidates.any():
            candidates = found < usage
        if not candidates.any():
            return None
        saved = usage - np.maximum(found[candidates], share)
        best = _best(self.loss(row, changes[candidates]), saved)
        smaller: Population = canonical[candidates][best]
        return smaller

    def taken_back(self, row: Population, start: Population) -> Population:
        """The row after every change back towards the start that the budgets allow."""
        while True:
            changes, canonical = self._changes(row)
            column = (changes != row).argmax(axis=1)
            option = np.take_along_axis(changes, column[:, None], axis=1)[:, 0].astype(np.int64)
            now, aim = row[column].astype(np.int64), start[column].astype(np.int64)
            nearer = np.abs(option - aim) < np.abs(now - aim)
            active = np.take_along_axis(canonical, column[:, None], axis=1)[:, 0] == option
            changes, canonical = changes[nearer & active], canonical[nearer & active]
            gain = -self.loss(row, changes)
            keeps = (gain >= 0.0) & (self.violation(canonical) <= 0.0)
            if not keeps.any():
                return row
            row = canonical[keeps][int(np.argmax(gain[keeps]))]

    def _changes(self, row: Population) -> tuple[Population, Population]:
        """All changes of one decision, as they are and in canonical form, `(n, d)` each."""
        counts = self.costs.space.option_counts.astype(np.int64)
        columns = np.repeat(np.arange(len(counts)), counts)
        options = np.concatenate([np.arange(count) for count in counts])
        changes = np.repeat(row[None], len(columns), axis=0)
        changes[np.arange(len(columns)), columns] = options
        changes = changes[(changes != row).any(axis=1)]
        return changes, self.costs.space.canonicalise(changes)

    def _costs_of(self, population: Population) -> Floats:
        return self.costs.cost(np.ascontiguousarray(population)).astype(np.float64)


def _best(loss: Floats, saved: Floats) -> int:
    """Least loss for what is saved; of equal ones, what saves most."""
    return int(np.lexsort((-saved, loss / saved))[0])


def _values(preference: Preference, costs: CompiledCosts) -> _Loss:
    """The preference as what is lost by changes of a row.

    Values of options count at the changed decision only: decisions that fall away with an absent
    block are no choice, and log-probabilities of what is no longer chosen would count as a gain.
    """
    space = costs.space
    if callable(preference):

        def by_rows(row: Population, changes: Population) -> Floats:
            population = space.canonicalise(np.concatenate([row[None], changes]))
            values = _finite(preference(population))
            if values.shape != (len(population),):
                raise SpaceError(f"preference of {len(population)} rows has {values.shape}")
            lost: Floats = values[0] - values[1:]
            return lost

        return by_rows

    counts = space.option_counts.astype(np.int64)
    if len(preference) != len(counts):
        raise SpaceError(
            f"preference for {len(preference)} decisions; {space.name} has {len(counts)}"
        )
    table = np.zeros((len(counts), int(counts.max(initial=1))))
    for column, (values, count) in enumerate(zip(preference, counts.tolist(), strict=True)):
        found = _finite(values)
        if found.ndim != 1 or len(found) < count:
            raise SpaceError(
                f"preference for decision {space.decisions[column].name!r}: expected "
                f"({count},), found {found.shape}"
            )
        table[column, :count] = found[:count]
    columns = np.arange(len(counts))

    def by_options(row: Population, changes: Population) -> Floats:
        lost: Floats = (table[columns, row] - table[columns, changes]).sum(axis=1)
        return lost

    return by_options


def _finite(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if np.isnan(array).any():
        raise SpaceError("preference is NaN")
    clipped: Floats = np.clip(array, -_WORST, _WORST)
    return clipped
