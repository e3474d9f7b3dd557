"""Budgets: upper limits on costs, and by how much a population is over them.

Violations are relative to their limits before they are summed, so that a millisecond and a joule
can be added ([Deb02] VI; estimators compare infeasible architectures by this sum alone).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import QuantityError

__all__ = ["Budget", "Budgets"]


@dataclass(frozen=True)
class Budget:
    """An upper limit on one metric.

    Args:
        metric: Name of the metric with its unit, such as `latency_s`.
        limit: Largest allowed value, in the metric's SI unit; positive and finite.

    Raises:
        QuantityError: If the limit is not positive and finite.
    """

    metric: str
    limit: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.limit) and self.limit > 0):
            raise QuantityError(
                f"budget on {self.metric} is {self.limit}; give a positive, finite limit"
            )


@dataclass(frozen=True)
class Budgets:
    """All budgets of a search; none at all means that everything is feasible.

    Args:
        limits: At most one budget a metric.

    Raises:
        QuantityError: If a metric has two budgets.
    """

    limits: tuple[Budget, ...] = ()

    def __post_init__(self) -> None:
        metrics = [budget.metric for budget in self.limits]
        if len(set(metrics)) != len(metrics):
            raise QuantityError(
                f"a metric has two budgets: {', '.join(metrics)}; keep the tighter"
            )

    def __bool__(self) -> bool:
        """Tells whether there is any budget."""
        return bool(self.limits)

    def violation(self, costs: ArrayLike, metrics: Sequence[str]) -> NDArray[np.float64]:
        """Returns by how much each row exceeds the budgets: sum of max(0, (cost - limit)/limit).

        Args:
            costs: `(n, c)`, in SI units.
            metrics: Names of the c columns.

        Returns:
            `(n,)`, 0 where every budget is met; infinity where a cost with a budget is NaN.

        Raises:
            QuantityError: If the columns do not match the names, or a budget's metric is not among
                them.
        """
        values = np.asarray(costs, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(metrics):
            raise QuantityError(f"costs have shape {values.shape}, expected (n, {len(metrics)})")
        total = np.zeros(len(values))
        for budget in self.limits:
            if budget.metric not in metrics:
                raise QuantityError(
                    f"budget on {budget.metric}, but the costs are {', '.join(metrics)}; "
                    "profile that metric or drop the budget"
                )
            cost = values[:, list(metrics).index(budget.metric)]
            excess = np.maximum(0.0, (cost - budget.limit) / budget.limit)
            total += np.where(np.isnan(cost), np.inf, excess)
        return total
