"""A median with its interval, spread and outliers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Estimate", "estimate_median", "sum_of_estimates"]

_Z_95 = 1.96  # two-sided 95 % of the normal distribution
_FENCE = 1.5  # Tukey's fence, in spreads beyond the quartiles


@dataclass(frozen=True)
class Estimate:
    """What a set of samples says.

    Args:
        value: Median.
        low: Lower end of its 95 % interval.
        high: Upper end.
        spread: Distance between the quartiles.
        repeats: Number of samples.
        outliers: Samples beyond 1.5 spreads from the quartiles; they stay in the median.
    """

    value: float
    low: float
    high: float
    spread: float
    repeats: int
    outliers: int

    @property
    def relative_interval(self) -> float:
        """Half width of the interval relative to the median."""
        return (self.high - self.low) / (2.0 * self.value) if self.value > 0 else float("inf")

    @property
    def relative_spread(self) -> float:
        """Spread relative to the median."""
        return self.spread / self.value if self.value > 0 else float("inf")

    def less(self, offset: float) -> "Estimate":
        """The estimate with a known part taken off, such as the cost of a dispatch.

        The value stays above a thousandth of what it was: a kernel is never free.
        """
        floor = 1e-3 * self.value
        return Estimate(
            max(self.value - offset, floor),
            max(self.low - offset, floor),
            max(self.high - offset, floor),
            self.spread,
            self.repeats,
            self.outliers,
        )

    def scaled(self, factor: float) -> "Estimate":
        """The estimate with every value multiplied."""
        return Estimate(
            factor * self.value,
            factor * self.low,
            factor * self.high,
            factor * self.spread,
            self.repeats,
            self.outliers,
        )


def estimate_median(samples: npt.NDArray[np.float64]) -> Estimate:
    """Estimate from samples `(n,)`, n at least 1.

    The interval comes from order statistics, with the normal approximation of the binomial; it
    makes no assumption about the distribution. With few samples it is the whole range.
    """
    ordered = np.sort(samples)
    n = len(ordered)
    reach = 0.5 * _Z_95 * np.sqrt(n)
    low = int(max(0, np.floor(0.5 * n - reach)))
    high = int(min(n - 1, np.ceil(0.5 * n + reach)))
    quartiles = np.quantile(ordered, (0.25, 0.5, 0.75))
    lower, middle, upper = (float(q) for q in quartiles)
    spread = upper - lower
    outside = (ordered < lower - _FENCE * spread) | (ordered > upper + _FENCE * spread)
    return Estimate(
        middle, float(ordered[low]), float(ordered[high]), spread, n, int(outside.sum())
    )


def sum_of_estimates(parts: Sequence[Estimate]) -> Estimate:
    """What parts take together, each as often as it is given.

    Intervals and spreads are added up, as if all parts were off in the same direction. No parts
    give 0.
    """
    return Estimate(
        sum(part.value for part in parts),
        sum(part.low for part in parts),
        sum(part.high for part in parts),
        sum(part.spread for part in parts),
        min((part.repeats for part in parts), default=0),
        sum(part.outliers for part in parts),
    )
