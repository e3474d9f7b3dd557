"""Energy of blocks, kernels and networks: measured where something counts it."""

import logging
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from hwnas.backends import Executable
from hwnas.costs import Cost, CostTable, Source
from hwnas.graph import Graph, count_graph
from hwnas.profiling.cost_rows import cost_row, modelled_energy_rows, timestamp
from hwnas.profiling.energy_meter import EnergyMeter, NoMeterError, find_meter
from hwnas.profiling.estimate import Estimate
from hwnas.progress import Progress
from hwnas.targets import Target

__all__ = ["EnergyRows"]

log = logging.getLogger(__name__)

_NETWORKS = 20  # for calibration, which has three coefficients


class EnergyRows:
    """Energy rows of one profile.

    Args:
        target: The device.
        source: How rows are marked.
        table: Where measured rows go one by one, so that a stopped profile goes on from them.
        idle_key: Under which the power stands that was taken off.
    """

    def __init__(self, target: Target, source: Source, table: CostTable, idle_key: str) -> None:
        self._target = target
        self._idle_key = idle_key
        self._source = source
        self._table = table

    def rows(
        self,
        graphs: Mapping[str, Graph],
        blocks: Mapping[str, Executable],
        networks: Mapping[str, Executable],
        progress: Progress,
    ) -> list[Cost]:
        """Rows of energy that are still to be written.

        Where the target's counter is missing, energy is modelled, or not known at all if the
        target has no constants for that: then there are no rows, and the log says why.

        Args:
            graphs: Of all blocks and networks by key.
            blocks: Compiled.
            networks: Compiled; some of them are measured.
            progress: Called with a line of text and the share done.
        """
        if self.meter is not None:
            names = list(networks)
            chosen = np.linspace(0, len(names) - 1, min(_NETWORKS, len(names))).round().astype(int)
            self.measure({**blocks, **{names[i]: networks[names[i]] for i in chosen}}, progress)
            return []
        taken = timestamp()
        return [
            row
            for key, graph in graphs.items()
            for row in modelled_energy_rows(
                key, self._source, count_graph(graph), self._target, taken
            )
        ]

    @cached_property
    def meter(self) -> EnergyMeter | None:
        """What counts energy on the target now, None if nothing does."""
        try:
            meter = find_meter(self._target)
        except NoMeterError as error:
            if self._target.energy.source == "nvml":
                log.warning("energy on %s is not known: %s", self._target.name, error)
            return None
        power_w = meter.idle_power_w
        log.info("%s: %.1f W idle, taken off", self._target.name, power_w)
        self._put(self._idle_key, "idle_power_w", Estimate(power_w, power_w, power_w, 0.0, 1, 0))
        return meter

    def measured(self) -> dict[str, Cost]:
        """Rows of measured energy by key, those of earlier profiles included."""
        rows = self._table.lookup(self._source, "energy_j").values()
        return {row.key: row for row in rows if row.provenance == "measured"}

    def measure(self, executables: Mapping[str, Executable], progress: Progress) -> None:
        """Measure and write what has no row yet; nothing where there is no meter.

        Args:
            executables: By key.
            progress: Called with a line of text and the share done.
        """
        if self.meter is None:
            return
        known = self.measured()
        missing = [key for key in executables if key not in known]
        for number, key in enumerate(missing):
            progress(f"measuring energy, {number} of {len(missing)}", number / len(missing))
            self._put(key, "energy_j", self.meter.energy_of(executables[key]))

    def _put(self, key: str, metric: str, estimate: Estimate) -> None:
        row = cost_row(key, self._source, metric, estimate, "measured", timestamp())
        self._table.put([row])
