"""What layers cost on accelerators: cycles, energy, accesses and buffers, by a dataflow model.

The model is MAESTRO's accounting (Kwon et al., MICRO 2019) in closed form: see
`cost_models/native/include/hwnas/dataflow.hpp`. Every number is modelled.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hwnas import _core
from hwnas.accelerators.layers import Layers
from hwnas.accelerators.points import AcceleratorPoints
from hwnas.accelerators.technology import Technology
from hwnas.errors import SpaceError

__all__ = ["DataflowCosts", "DataflowParts", "dataflow_costs", "dataflow_parts"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DataflowCosts:
    """Costs of l layers on h accelerators, infinite where a layer cannot run.

    Args:
        cycles: `(l, h)`.
        energy_j: `(l, h)` in J.
        layers: What was costed.
        points: On which accelerators.
    """

    cycles: Floats
    energy_j: Floats
    layers: Layers
    points: AcceleratorPoints

    @cached_property
    def utilisation(self) -> Floats:
        """Multiply-accumulates over what all PEs could do in those cycles, `(l, h)`.

        0 where a layer has none or cannot run.
        """
        macs = self.layers.macs.astype(np.float64)[:, None]
        share: Floats = macs / (self.cycles * self.points.pes)
        return share


@dataclass(frozen=True, eq=False)
class DataflowParts:
    """What the costs of l layers on h accelerators consist of; -1 where a layer cannot be mapped.

    Each is `(l, h)`, in elements of one byte where not said otherwise.

    Args:
        cycles: Without DRAM, in cycles.
        macs: Multiply-accumulates.
        input_reads: Inputs read from the shared buffer.
        weight_reads: Weights read from it.
        output_writes: Results and partial results written to it.
        l1_accesses: Of the PEs' buffers, by all tensors.
        l2_accesses: Of the shared buffer: operands written once and read, results written; as in
            MAESTRO's energies, that results are read again is left out.
        l1_bytes: What double buffering needs of a PE's buffer.
        l2_bytes: What it needs of the shared one.
        dram_bytes: To and from DRAM.
    """

    cycles: Integers
    macs: Integers
    input_reads: Integers
    weight_reads: Integers
    output_writes: Integers
    l1_accesses: Integers
    l2_accesses: Integers
    l1_bytes: Integers
    l2_bytes: Integers
    dram_bytes: Integers


def dataflow_costs(
    layers: Layers, points: AcceleratorPoints, technology: Technology
) -> DataflowCosts:
    """Cost every layer on every accelerator, in C++.

    Raises:
        SpaceError: A size is out of range (the layer or accelerator is named), or the energy of
            buffers depends on a size that is left open.
    """
    try:
        cycles, energy_j = _core.dataflow_costs(
            layers.table, points.table, points.dram_bandwidth, points.access_j(technology)
        )
    except ValueError as error:
        raise SpaceError(str(error)) from error
    return DataflowCosts(cycles, energy_j, layers, points)


def dataflow_parts(layers: Layers, points: AcceleratorPoints) -> DataflowParts:
    """What the costs consist of.

    Raises:
        SpaceError: A size is out of range; the layer or accelerator is named.
    """
    try:
        parts = _core.dataflow_parts(layers.table, points.table, points.dram_bandwidth)
    except ValueError as error:
        raise SpaceError(str(error)) from error
    return DataflowParts(*(np.ascontiguousarray(part) for part in np.moveaxis(parts, 2, 0)))
