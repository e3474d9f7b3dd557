"""Energy of a kernel from its operations and bytes, where nothing can be measured."""

from hwnas.graph import GraphCounts
from hwnas.targets import EnergyModel

__all__ = ["modelled_energy_j"]


def modelled_energy_j(counts: GraphCounts, model: EnergyModel) -> float:
    """Energy in J: operations times energy per operation, bytes times energy per byte.

    The constants and their source stand in the target's file. The result ranks kernels of one
    target; it has no static power and is no measurement.
    """
    moved = counts.activation_bytes + counts.weight_bytes
    return model.energy_j_per_mac * counts.macs + model.energy_j_per_byte * moved
