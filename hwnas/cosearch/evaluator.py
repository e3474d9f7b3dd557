"""Designs (networks and the chip they run on) to latency, energy and area.

The layers of a design are assigned to the chip's sub-accelerators and put in order by the native
scheduler, which looks for the least energy within the latency spec, or for the least latency where
the spec cannot be met.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas import _core
from hwnas.cosearch.cost_tables import CostTables
from hwnas.cosearch.specs import METRICS, Specs
from hwnas.spaces import Population

__all__ = ["DesignEvaluator", "ScheduledDesign"]

Floats = npt.NDArray[np.float64]

#: Partial schedules that the exact search may keep for a single design; about a second.
EXACT_LABELS = 200_000


@dataclass(frozen=True, eq=False)
class ScheduledDesign:
    """One design with its schedule.

    Args:
        layers: `(networks, length)` rows of the cost tables; -1: no layer.
        points: `(sub-accelerators,)` columns of the cost tables; -1: absent.
        assignment: `(networks, length)` sub-accelerator of each layer; -1: no layer.
        start_cycles: `(networks, length)`; NaN: no layer.
        latency_cycles: Time of the last end.
        energy_j: Of all layers.
        area_mm2: Of the chip.
        latency_bound_cycles: No schedule of this design is shorter.
        energy_bound_j: No schedule of this design within the latency spec takes less energy;
            infinite if there is none.
    """

    layers: npt.NDArray[np.int32]
    points: npt.NDArray[np.int32]
    assignment: npt.NDArray[np.int8]
    start_cycles: Floats
    latency_cycles: float
    energy_j: float
    area_mm2: float
    latency_bound_cycles: float
    energy_bound_j: float


class DesignEvaluator:
    """Costs populations of designs; each distinct one is scheduled once.

    Args:
        tables: Costs of layers on sub-accelerators.
        specs: The latency spec is the limit of schedules.
        threads: Of the scheduler; the result does not depend on it.
    """

    def __init__(self, tables: CostTables, specs: Specs, threads: int = 1) -> None:
        self.tables = tables
        self.specs = specs
        self._threads = threads
        self._rows = _core.RowSet(len(tables.joint.decisions))
        self._costs = np.empty((0, len(METRICS)))

    def __len__(self) -> int:
        """How many distinct designs were scheduled."""
        return len(self._rows)

    def costs(self, population: Population) -> Floats:
        """Latency in cycles, energy in J and area in mm2, `(n, 3)`; infinite where it cannot run.

        Args:
            population: Canonical rows of the joint space, `(n, d)`.
        """
        rows = np.ascontiguousarray(population)
        new = rows[self._rows.insert(rows)]
        if len(new):
            self._add(self._scheduled(new))
        found: Floats = self._costs[self._rows.find(rows)]
        return found

    def violation(self, population: Population) -> Floats:
        """By how much each design breaks the specs, `(n,)`; 0 where it meets them."""
        return self.specs.violation(self.costs(population))

    def schedule(self, row: Population, exact_labels: int = EXACT_LABELS) -> ScheduledDesign:
        """One design's schedule, by exact search where that comes to an end.

        Args:
            row: Canonical row of the joint space, `(d,)`.
            exact_labels: Partial schedules that may be kept; 0 for the heuristic alone, as `costs`
                uses it.
        """
        population = np.ascontiguousarray(row[None])
        layers = self.tables.layer_numbers(population)
        points = self.tables.point_numbers(population)
        assignment, start, makespan, energy, makespan_bound, energy_bound = _core.schedule(
            self.tables.cycles,
            self.tables.energy_j,
            layers,
            points,
            self.specs.latency_cycles,
            exact_labels,
        )
        return ScheduledDesign(
            layers[0],
            points[0],
            assignment[0],
            start[0],
            float(makespan[0]),
            float(energy[0]),
            float(self.tables.chip_area_mm2(points)[0]),
            float(makespan_bound[0]),
            float(energy_bound[0]),
        )

    def _scheduled(self, population: Population) -> Floats:
        points = self.tables.point_numbers(population)
        _, _, makespan, energy, _, _ = _core.schedule(
            self.tables.cycles,
            self.tables.energy_j,
            self.tables.layer_numbers(population),
            points,
            self.specs.latency_cycles,
            threads=self._threads,
        )
        return np.stack([makespan, energy, self.tables.chip_area_mm2(points)], axis=1)

    def _add(self, costs: Floats) -> None:
        # Rows are numbered in the order of arrival; the array doubles, so that many small
        # populations cost no more than one large one.
        count = len(self._rows)
        if count > len(self._costs):
            grown = np.empty((max(2 * len(self._costs), count), len(METRICS)))
            grown[: count - len(costs)] = self._costs[: count - len(costs)]
            self._costs = grown
        self._costs[count - len(costs) : count] = costs
