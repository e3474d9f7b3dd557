"""All designs that a co-search has evaluated, in order, and the best of them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwnas.cosearch.cost_tables import CostTables
from hwnas.cosearch.specs import METRICS
from hwnas.errors import RunError
from hwnas.search import Front, History, State
from hwnas.search.run_tables import HistoryTable
from hwnas.spaces import Population

__all__ = ["OBJECTIVES", "Designs"]

#: What fronts are made of.
OBJECTIVES = ("error", "latency_s", "energy_j", "area_mm2")

_COSTS = ("latency_s", "energy_j", "area_mm2", "latency_cycles")

Floats = npt.NDArray[np.float64]


class Designs:
    """A history with costs, the error of every task, and rewards.

    Columns beside the costs: `error_LABEL` of each task, NaN where no error was asked for, and
    `reward`, NaN where the strategy has none.

    Args:
        tables: Costs of layers on sub-accelerators.
        weights: Of the tasks, shares of 1.
    """

    def __init__(self, tables: CostTables, weights: Sequence[float] | Floats) -> None:
        self._tables = tables
        self._weights = np.asarray(weights, np.float64)
        self._errors = tuple(f"error_{label}" for label in tables.labels)
        self.history = History(
            len(tables.joint.decisions), (*_COSTS, *self._errors, "reward"), OBJECTIVES
        )

    def __len__(self) -> int:
        """How many there are."""
        return len(self.history)

    def add(
        self,
        population: Population,
        costs: Floats,
        errors: Floats,
        violation: Floats,
        *,
        generation: int,
        reward: Floats | None = None,
    ) -> None:
        """Append designs.

        Args:
            population: Canonical rows of the joint space, `(n, d)`.
            costs: `(n, 3)`, columns `METRICS`.
            errors: `(n, tasks)`, NaN where none was asked for.
            violation: `(n,)` of the specs.
            generation: Number of the episode or generation.
            reward: `(n,)`.
        """
        latency_s = costs[:, METRICS.index("latency_cycles")] / self._tables.technology.clock_hz
        energy_j, area_mm2 = costs[:, 1], costs[:, 2]
        given = np.full(len(population), np.nan) if reward is None else reward
        self.history.append(
            population=population,
            objectives=np.stack([errors @ self._weights, latency_s, energy_j, area_mm2], axis=1),
            costs=np.column_stack([latency_s, energy_j, area_mm2, costs[:, 0], errors, given]),
            violation=violation,
            generation=np.full(len(population), generation, np.int32),
        )

    @property
    def population(self) -> Population:
        """Rows of the joint space, `(n, d)`."""
        return self.history.population

    @property
    def costs(self) -> Floats:
        """`(n, 3)`, columns `METRICS`."""
        columns = [_COSTS.index(metric) for metric in METRICS]
        return self.history.costs[:, columns]

    @property
    def errors(self) -> Floats:
        """`(n, tasks)`; NaN where no error was asked for."""
        return self.history.costs[:, len(_COSTS) : len(_COSTS) + len(self._errors)]

    @property
    def weighted_error(self) -> Floats:
        """`(n,)`; NaN where no error was asked for."""
        return self.history.objectives[:, 0]

    def best(self) -> int | None:
        """Index of the least weighted error of those that meet the specs, of ties least energy.

        None if none is known to meet them.
        """
        candidates = np.flatnonzero(
            (self.history.violation <= 0.0) & np.isfinite(self.weighted_error)
        )
        if not len(candidates):
            return None
        order = np.lexsort((self.costs[candidates, 1], self.weighted_error[candidates]))
        return int(candidates[order[0]])

    def front(self) -> Front:
        """The non-dominated designs that meet the specs, by `OBJECTIVES`."""
        return self.history.front()

    def front_columns(self, front: Front) -> dict[str, Floats]:
        """Costs and errors of a front's members, by column name.

        Args:
            front: What `front` returned.
        """
        judged = np.flatnonzero(np.isfinite(self.weighted_error) & (self.history.violation <= 0.0))
        place = {self.population[i].tobytes(): i for i in judged}
        rows = [place[row.tobytes()] for row in front.population]
        names = self.history.metrics[:-1]
        return {name: self.history.costs[rows, i] for i, name in enumerate(names)}

    def table(self) -> HistoryTable:
        """As `history.parquet` keeps it."""
        return HistoryTable.of(self.history)

    def state(self) -> State:
        """All columns."""
        return self.history.state()

    def restore(self, state: State) -> None:
        """Take all columns from a state.

        Raises:
            RunError: A column is missing or does not fit.
        """
        self.history.restore(state)
        counts = self._tables.joint.option_counts
        if (self.population >= counts).any():
            raise RunError("checkpoint holds designs that are not of these spaces; start afresh")
