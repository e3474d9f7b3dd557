"""Accelerators that are modelled: layers mapped by dataflows onto arrays of processing elements.

Layers run one after another, each on the core of the chip that is fastest for it. Cycles, accesses
and energy come from `hwnas.accelerators`; the clock from the device's file. Nothing is measured.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from hwnas.accelerators import (
    AcceleratorPoints,
    DataflowCosts,
    Layers,
    dataflow_costs,
    dataflow_parts,
    get_technology,
    layers_of,
)
from hwnas.backends.backend import Availability
from hwnas.errors import TargetError
from hwnas.graph import Graph
from hwnas.targets import AcceleratorChip, Target

__all__ = ["AsicDataflowBackend"]


class AsicDataflowBackend:
    """Backend of targets that have an `[accelerator]`."""

    name = "asic-dataflow"
    provenance = "modelled"

    def is_available(self, target: Target) -> Availability:
        """Always, if the device file describes the chip in a known technology."""
        if target.accelerator is None:
            found = "no [accelerator] with its cores"
            return Availability(False, found, f"add [accelerator] to {target.name}'s file")
        try:
            technology = get_technology(target.accelerator.technology)
        except TargetError as error:
            return Availability(False, str(error), f"change technology in {target.name}'s file")
        return Availability(True, f"a model in {technology.name}, works everywhere")

    def runtime(self, target: Target) -> str:
        """Version of the model, and the technology."""
        return f"dataflow model 1, {_chip_of(target).technology}"

    def kernel_costs(self, graph: Graph, target: Target) -> Mapping[str, float]:
        """Latency, cycles and energy of the graph's layers, one after another.

        Raises:
            LoweringError: An operator cannot be mapped.
            TargetError: A layer fits on no core; what it needs is said.
        """
        chip = _chip_of(target)
        layers = layers_of(graph)
        points = _points_of(chip)
        costs = dataflow_costs(layers, points, get_technology(chip.technology))
        _check_mapped(layers, points, costs, target)
        best = costs.cycles.argmin(axis=1)
        rows = np.arange(len(layers))
        cycles = float(costs.cycles[rows, best].sum())
        return {
            "latency_s": cycles / chip.clock_hz,
            "energy_j": float(costs.energy_j[rows, best].sum()),
            "latency_cycles": cycles,
        }


def _chip_of(target: Target) -> AcceleratorChip:
    if target.accelerator is None:
        raise TargetError(f"target {target.name!r} has no [accelerator]")
    return target.accelerator


@lru_cache(maxsize=64)
def _points_of(chip: AcceleratorChip) -> AcceleratorPoints:
    cores = chip.cores
    return AcceleratorPoints.of(
        [core.dataflow for core in cores],
        [core.pes for core in cores],
        [core.bandwidth for core in cores],
        hop_latency=[core.hop_latency for core in cores],
        l1_bytes=[core.l1_bytes for core in cores],
        l2_bytes=[core.l2_bytes for core in cores],
        dram_bandwidth=chip.dram_bandwidth_bytes_per_s / chip.clock_hz,
    )


def _check_mapped(
    layers: Layers, points: AcceleratorPoints, costs: DataflowCosts, target: Target
) -> None:
    lost = np.flatnonzero(np.isinf(costs.cycles).all(axis=1))
    if not len(lost):
        return
    first = int(lost[0])
    parts = dataflow_parts(layers, points)
    needs = [
        f"{l1} and {l2} bytes on core {core}" if l1 >= 0 else f"more PEs than core {core} has"
        for core, (l1, l2) in enumerate(
            zip(parts.l1_bytes[first].tolist(), parts.l2_bytes[first].tolist(), strict=True)
        )
    ]
    raise TargetError(
        f"layer {layers.names[first]!r} does not fit on {target.name!r}: it needs a PE's and a "
        f"shared buffer of {' or '.join(needs)}; {len(lost)} of {len(layers)} layers do not fit"
    )
