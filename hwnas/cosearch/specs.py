"""Specs of a design: upper limits on latency, energy and area, and how far a design is from them.

Yang et al. (NASAIC, DAC 2020) write the penalty of a design as

    P = max(L - LS, 0)/(bL - LS) + max(E - ES, 0)/(bE - ES) + max(A - AS, 0)/(bA - AS)

with specs LS, ES, AS and upper bounds bL, bE, bA that are found before the search: it is 0 if and
only if all specs are met, and 1 for each metric that is at its bound.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.errors import QuantityError
from hwnas.quantities import format_metric, parse_metric, parse_quantity
from hwnas.search import Budget, Budgets

__all__ = ["METRICS", "Penalty", "Specs"]

METRICS = ("latency_cycles", "energy_j", "area_mm2")

_NAMES = {"latency": "latency_cycles", "energy": "energy_j", "area": "area_mm2"}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Specs:
    """Upper limits; infinite where nothing is asked.

    Args:
        latency_cycles: Time until all networks have run once.
        energy_j: Energy of that in J.
        area_mm2: Area of the chip.
    """

    latency_cycles: float = math.inf
    energy_j: float = math.inf
    area_mm2: float = math.inf

    def __post_init__(self) -> None:
        for metric, limit in self.limits().items():
            if not limit > 0.0:
                raise QuantityError(f"spec on {metric} is {limit}; give a positive limit")

    @classmethod
    def parse(cls, text: str, clock_hz: float) -> "Specs":
        """Read `latency=8e5cycles,energy=2e9nJ,area=4e9um2`, each at most once, at least one.

        Args:
            text: Parts joined by commas; latency in cycles or as a time.
            clock_hz: Turns a time into cycles.

        Raises:
            QuantityError: An unknown or repeated name, nothing at all, or a quantity that cannot
                be read.
        """
        found: dict[str, float] = {}
        for part in text.split(","):
            name, equals, quantity = (piece.strip() for piece in part.partition("="))
            if name not in _NAMES or not equals:
                raise QuantityError(
                    f"cannot read spec {part.strip()!r}: write latency=8e5cycles, energy=2J or "
                    "area=4mm2, joined by commas"
                )
            metric = _NAMES[name]
            if metric in found:
                raise QuantityError(f"two specs on {name}: keep the tighter")
            if name == "latency" and not quantity.endswith("cycles"):
                found[metric] = parse_quantity(quantity, "time") * clock_hz
            else:
                found[metric] = parse_metric(quantity, metric)
        return cls(**found)

    def limits(self) -> dict[str, float]:
        """Metric to limit, infinite ones included."""
        return {metric: getattr(self, metric) for metric in METRICS}

    def budgets(self) -> Budgets:
        """The same as budgets of a search."""
        finite = [(m, limit) for m, limit in self.limits().items() if math.isfinite(limit)]
        return Budgets(tuple(Budget(metric, limit) for metric, limit in finite))

    def violation(self, costs: Floats) -> Floats:
        """Relative excess summed over the metrics, `(n,)`; 0 where all are met.

        Args:
            costs: `(n, 3)`, columns `METRICS`.
        """
        return self.budgets().violation(costs, METRICS)

    def __str__(self) -> str:
        """All finite limits with units."""
        finite = [(m, limit) for m, limit in self.limits().items() if math.isfinite(limit)]
        return ", ".join(f"{metric} <= {format_metric(limit, metric)}" for metric, limit in finite)


@dataclass(frozen=True, eq=False)
class Penalty:
    """The penalty P of designs.

    Differs from the paper: what is beyond a bound, such as a design on which a layer cannot run,
    counts as at the bound, so that every reward is finite.

    Args:
        specs: LS, ES and AS.
        bounds: bL, bE and bA, `(3,)`, each above its spec.
    """

    specs: Specs
    bounds: Floats

    def __call__(self, costs: Floats) -> Floats:
        """P of each design, `(n,)`, from 0 to the number of specs.

        Args:
            costs: `(n, 3)`, columns `METRICS`; infinite where a design cannot run.
        """
        total = np.zeros(len(costs))
        for column, limit in enumerate(self.specs.limits().values()):
            if math.isfinite(limit):
                share = (costs[:, column] - limit) / (self.bounds[column] - limit)
                total += np.clip(share, 0.0, 1.0)
        return total

    @classmethod
    def explored(cls, specs: Specs, costs: Floats) -> "Penalty":
        """The penalty with bounds from designs of the largest networks on random chips.

        A bound is what 95 of 100 of these designs stay below, and at least twice the spec: the
        very worst chips, of a handful of PEs, would make every other penalty vanish.

        Args:
            specs: The specs.
            costs: `(n, 3)` of those designs.
        """
        bounds = np.empty(len(METRICS))
        for column, limit in enumerate(specs.limits().values()):
            finite = costs[np.isfinite(costs[:, column]), column]
            high = float(np.percentile(finite, 95.0)) if len(finite) else 0.0
            bounds[column] = max(high, 2.0 * limit)
        return cls(specs, bounds)
