"""Costs of every layer of some spaces on every sub-accelerator of a space of chips.

A few hundred distinct layers and some thousand sub-accelerators make a table that is computed once
in a fraction of a second; every design is a gather from it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hwnas.accelerators import (
    AcceleratorPoints,
    Layers,
    Technology,
    dataflow_costs,
    points_of,
    points_of_options,
)
from hwnas.cosearch.layer_programs import LayerProgram, compile_layers
from hwnas.spaces import AcceleratorSpace, JointSpace, Population, SearchSpace

__all__ = ["CostTables", "tabulate_costs"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CostTables:
    """Networks, chips, and what the layers of the ones cost on the others.

    Args:
        joint: Networks' spaces in order, then the chips'.
        programs: One for each network's space.
        hardware: The space of chips.
        technology: Profile of the costs.
        layers: The u distinct layers.
        points: The h sub-accelerators.
        cycles: `(u, h)`, infinite where a sub-accelerator cannot run a layer.
        energy_j: `(u, h)`.
        utilisation: `(u, h)`, of the sub-accelerator's PEs while it runs the layer.
        area_mm2: `(h,)`.
    """

    joint: JointSpace
    programs: tuple[LayerProgram, ...]
    hardware: AcceleratorSpace
    technology: Technology
    layers: Layers
    points: AcceleratorPoints
    cycles: Floats
    energy_j: Floats
    utilisation: Floats
    area_mm2: Floats

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the networks' spaces, with the place in front where one stands twice."""
        return self.joint.labels[:-1]

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits over all costs: a run is resumed against the same ones only."""
        digest = hashlib.sha256(self.layers.table.tobytes())
        for array in (self.cycles, self.energy_j, self.area_mm2):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def layer_numbers(self, population: Population) -> npt.NDArray[np.int32]:
        """Rows of the tables that designs run, `(n, networks, length)`; -1: no layer."""
        parts = self.joint.split(population)[:-1]
        found = [program.layers(p) for program, p in zip(self.programs, parts, strict=True)]
        length = max(numbers.shape[1] for numbers in found)
        padded = np.full((len(population), len(found), length), -1, np.int32)
        for place, numbers in enumerate(found):
            padded[:, place, : numbers.shape[1]] = numbers
        return padded

    def point_numbers(self, population: Population) -> npt.NDArray[np.int32]:
        """Columns of the tables that designs have, `(n, sub-accelerators)`; -1: absent."""
        return points_of(self.hardware, self.joint.split(population)[-1]).astype(np.int32)

    def chip_area_mm2(self, point_numbers: npt.NDArray[np.int32]) -> Floats:
        """Area of chips, `(n,)`: the sum of their sub-accelerators'."""
        area: Floats = np.where(point_numbers >= 0, self.area_mm2[point_numbers], 0.0).sum(axis=1)
        return area


def tabulate_costs(
    spaces: Sequence[SearchSpace], hardware: AcceleratorSpace, technology: Technology
) -> CostTables:
    """Cost all layers of the networks' spaces on all sub-accelerators of the chips' space.

    Raises:
        SpaceError: A layer cannot be mapped, or there is none.
    """
    layers, programs = compile_layers(spaces)
    points = points_of_options(hardware)
    costs = dataflow_costs(layers, points, technology)
    return CostTables(
        JointSpace([*spaces, hardware]),
        programs,
        hardware,
        technology,
        layers,
        points,
        np.ascontiguousarray(costs.cycles),
        np.ascontiguousarray(costs.energy_j),
        costs.utilisation,
        points.area_mm2(technology),
    )
