"""A device that is a formula: the smallest complete backend, and the template for new ones.

Latency is a roofline (Williams et al., Roofline, CACM 2009) plus a fixed time per kernel; energy
is linear in operations and bytes.
"""

from collections.abc import Mapping

from hwnas.backends.backend import Availability
from hwnas.errors import TargetError
from hwnas.graph import Graph, count_graph
from hwnas.targets import Target

__all__ = ["SimulatedBackend"]


class SimulatedBackend:
    """Backend of targets that have peak rates and nothing else."""

    name = "simulated"
    provenance = "simulated"

    def is_available(self, target: Target) -> Availability:
        """Always, if the device file has its rates."""
        if target.peak is None:
            return Availability(False, "no [peak] rates", f"add [peak] to {target.name}'s file")
        return Availability(True, "a formula, works everywhere")

    def runtime(self, target: Target) -> str:  # noqa: ARG002 (the contract gives it)
        """The formula has no version of its own."""
        return "roofline 1"

    def kernel_costs(self, graph: Graph, target: Target) -> Mapping[str, float]:
        """Latency by the roofline, energy by the target's constants."""
        if target.peak is None:
            raise TargetError(f"target {target.name!r} has no [peak] rates")
        counts = count_graph(graph)
        moved = counts.activation_bytes + counts.weight_bytes
        busy = max(counts.macs / target.peak.macs_per_s, moved / target.peak.bandwidth_bytes_per_s)
        energy = target.energy
        return {
            "latency_s": target.peak.kernel_overhead_s + busy,
            "energy_j": energy.energy_j_per_mac * counts.macs + energy.energy_j_per_byte * moved,
        }
