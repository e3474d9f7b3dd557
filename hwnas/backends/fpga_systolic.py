"""FPGAs with the int8 systolic array of `hwnas.fpga` on them.

    latency = cycles / clock

Cycles of the array are a closed form that equals its simulated RTL; what runs beside the array is
assumed (`hwnas.fpga.operators`). The clock is the median over seeds of place and route. The sum of
the two parts is no better than the assumed one, so rows are marked `modelled`.

No open tool reports the power of these chips. Energy is operations and bytes times constants of
the target's file: it ranks kernels, and is marked `modelled` too.
"""

from collections.abc import Mapping

from hwnas.backends.backend import Availability
from hwnas.errors import HwnasError, TargetError
from hwnas.fpga.characterisation import ArraySummary, summarise_array
from hwnas.fpga.operators import graph_cycles
from hwnas.fpga.rtl import RTL_NAME, RTL_VERSION, rtl_hash
from hwnas.graph import Graph, count_graph
from hwnas.graph.counts import BYTES_PER_ELEMENT
from hwnas.targets import FpgaArray, Target

__all__ = ["FpgaSystolicBackend"]


class FpgaSystolicBackend:
    """Backend of targets with an `[fpga]` section."""

    name = "fpga-systolic"
    provenance = "modelled"

    def is_available(self, target: Target) -> Availability:
        """Wherever the array has been characterised; no FPGA is needed."""
        try:
            found = _clocked(target)
        except TargetError as error:
            return Availability(False, str(error), f"hwnas characterize --target {target.name}")
        except HwnasError as error:
            return Availability(False, str(error), "mend or move the table of arrays")
        side = _fpga(target).side
        seeds = "one seed" if found.seeds == 1 else f"median of {found.seeds} seeds"
        return Availability(True, f"{side}x{side} at {found.frequency_hz / 1e6:.1f} MHz, {seeds}")

    def runtime(self, target: Target) -> str:
        """RTL, its hash and the clock: whatever changes latency.

        Raises:
            TargetError: The target has no array, or it has not been characterised.
        """
        found = _clocked(target)
        clock = f"{found.frequency_hz / 1e6:.2f} MHz"
        return f"{RTL_NAME} {RTL_VERSION} {rtl_hash()} at {clock}"

    def kernel_costs(self, graph: Graph, target: Target) -> Mapping[str, float]:
        """Latency by cycles and clock, energy by the target's constants for int8."""
        cycles = graph_cycles(graph, _fpga(target).side)
        counts = count_graph(graph)
        moved = (counts.activation_bytes + counts.weight_bytes) / BYTES_PER_ELEMENT  # int8
        energy = target.energy
        return {
            "latency_s": cycles.total / _clocked(target).frequency_hz,
            "energy_j": energy.energy_j_per_mac * counts.macs + energy.energy_j_per_byte * moved,
        }


def _fpga(target: Target) -> FpgaArray:
    if target.fpga is None:
        raise TargetError(f"target {target.name!r} has no [fpga] section in its file")
    return target.fpga


def _clocked(target: Target) -> ArraySummary:
    fpga = _fpga(target)
    found = summarise_array(fpga)
    if found is None:
        side = f"{fpga.side}x{fpga.side}"
        raise TargetError(
            f"the {side} array has not been placed and routed on {fpga.family} {fpga.device}: "
            f"run `hwnas characterize --target {target.name} --array {side}`"
        )
    return found
