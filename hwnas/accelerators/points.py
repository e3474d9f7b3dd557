"""Accelerators as points: columns of numbers, one row an accelerator, costed all at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hwnas.accelerators.technology import Technology
from hwnas.errors import SpaceError
from hwnas.spaces import AcceleratorSpace, Population

__all__ = [
    "DATAFLOWS",
    "HOP_LATENCY_CYCLES",
    "L1_BYTES",
    "L2_BYTES",
    "AcceleratorPoints",
    "points_of",
    "points_of_options",
]

#: Code of each dataflow in the native library.
DATAFLOWS = ("dla", "shi", "rs")

HOP_LATENCY_CYCLES = 1  # with which MAESTRO reproduces its authors' ResNet-50 cycles

#: Buffer of a PE in a chip of the space `accelerator`: one cell of 64 bytes, as in NASAIC's areas;
#: a row-stationary PE holds a row of 16 filters, for which it has four.
L1_BYTES = {"dla": 64, "shi": 64, "rs": 256}

L2_BYTES = 32 * 1024  # one cell of MAESTRO's area model, as in NASAIC's areas

_COLUMNS = ("pes", "bandwidth", "hop_latency", "l1_bytes", "l2_bytes")


@dataclass(frozen=True, eq=False)
class AcceleratorPoints:
    """Some accelerators; all columns are `(h,)`.

    Args:
        dataflow: Codes, places in `DATAFLOWS`.
        pes: Processing elements, at least 1.
        bandwidth: Elements per cycle between the shared buffer and the PEs, at least 1.
        hop_latency: Cycles that the first element of a transfer takes.
        l1_bytes: Buffer of one PE; 0: as large as a mapping needs.
        l2_bytes: Shared buffer; 0: as large as a mapping needs.
        dram_bandwidth: Bytes per cycle; 0: DRAM is never waited for.

    Raises:
        SpaceError: Columns of different lengths, or a number out of range.
    """

    dataflow: npt.NDArray[np.uint8]
    pes: npt.NDArray[np.int64]
    bandwidth: npt.NDArray[np.int64]
    hop_latency: npt.NDArray[np.int64]
    l1_bytes: npt.NDArray[np.int64]
    l2_bytes: npt.NDArray[np.int64]
    dram_bandwidth: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in (*_COLUMNS, "dram_bandwidth"):
            if getattr(self, name).shape != self.dataflow.shape or self.dataflow.ndim != 1:
                raise SpaceError(f"column {name} of accelerators has another length")
        lowest = {"pes": 1, "bandwidth": 1}
        for name in _COLUMNS:
            wrong = np.flatnonzero(getattr(self, name) < lowest.get(name, 0))
            if len(wrong):
                value = int(getattr(self, name)[wrong[0]])
                raise SpaceError(
                    f"accelerator {int(wrong[0])} has {name} {value}, "
                    f"at least {lowest.get(name, 0)} is needed"
                )

    def __len__(self) -> int:
        """How many there are."""
        return len(self.dataflow)

    @classmethod
    def of(
        cls,
        dataflow: Sequence[str],
        pes: npt.ArrayLike,
        bandwidth: npt.ArrayLike,
        *,
        hop_latency: npt.ArrayLike = HOP_LATENCY_CYCLES,
        l1_bytes: npt.ArrayLike | None = None,
        l2_bytes: npt.ArrayLike = L2_BYTES,
        dram_bandwidth: npt.ArrayLike = 0.0,
    ) -> "AcceleratorPoints":
        """Points from names and numbers; a single number serves all of them.

        Args:
            dataflow: Names.
            pes: Processing elements.
            bandwidth: Elements per cycle.
            hop_latency: Cycles.
            l1_bytes: Buffer of a PE; None: what the space `accelerator` gives each dataflow.
            l2_bytes: Shared buffer.
            dram_bandwidth: Bytes per cycle.

        Raises:
            SpaceError: An unknown dataflow, columns of different lengths, a number out of range.
        """
        unknown = sorted(set(dataflow) - set(DATAFLOWS))
        if unknown:
            raise SpaceError(f"unknown dataflow {unknown[0]!r}; available: {', '.join(DATAFLOWS)}")
        l1 = [L1_BYTES[name] for name in dataflow] if l1_bytes is None else l1_bytes

        def column(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
            array = np.asarray(values, dtype=np.int64)
            return np.full(len(dataflow), array) if array.ndim == 0 else array

        dram = np.asarray(dram_bandwidth, dtype=np.float64)
        return cls(
            np.array([DATAFLOWS.index(name) for name in dataflow], dtype=np.uint8),
            column(pes),
            column(bandwidth),
            column(hop_latency),
            column(l1),
            column(l2_bytes),
            np.full(len(dataflow), dram) if dram.ndim == 0 else dram,
        )

    @cached_property
    def table(self) -> npt.NDArray[np.int64]:
        """The integer columns as the native library takes them, `(h, 6)`."""
        return np.stack(
            [self.dataflow.astype(np.int64), *(getattr(self, name) for name in _COLUMNS)], axis=1
        )

    def access_j(self, technology: Technology) -> npt.NDArray[np.float64]:
        """Energies `(h, 4)` in J of a multiply-accumulate and of a byte at L1, L2 and DRAM.

        Raises:
            SpaceError: They depend on the size of a buffer, and one has none.
        """
        known = self._access_j.get(technology)
        if known is None:
            energy = technology.energy
            if energy.sram_bytes and not (self.l1_bytes.all() and self.l2_bytes.all()):
                raise SpaceError(
                    f"technology {technology.name!r} needs the sizes of all buffers: their energy "
                    "depends on them"
                )
            known = energy.access_j(self.l1_bytes, self.l2_bytes)
            self._access_j[technology] = known
        return known

    @cached_property
    def _access_j(self) -> dict[Technology, npt.NDArray[np.float64]]:
        return {}

    def area_mm2(self, technology: Technology) -> npt.NDArray[np.float64]:
        """Area of each accelerator, `(h,)`."""
        return technology.area.mm2(self.pes, self.bandwidth, self.l1_bytes, self.l2_bytes)


def points_of_options(space: AcceleratorSpace) -> AcceleratorPoints:
    """Every sub-accelerator that a space allows, dataflow first, then PEs, then bandwidth.

    The one at `(dataflow, pes, bandwidth)` options has place
    `(dataflow * (options of pes - 1) + pes - 1) * options of bandwidth + bandwidth`: those without
    PEs are left out.
    """
    pes, bandwidths = space.pes[1:], space.bandwidths
    grid = np.meshgrid(np.arange(len(space.dataflows)), pes, bandwidths, indexing="ij")
    names = [space.dataflows[code] for code in grid[0].ravel()]
    return AcceleratorPoints.of(names, grid[1].ravel(), grid[2].ravel())


def points_of(space: AcceleratorSpace, population: Population) -> npt.NDArray[np.int64]:
    """Places in `points_of_options` of the sub-accelerators of chips, `(n, k)`; -1: absent."""
    parts = population.reshape(len(population), space.sub_accelerators, 3).astype(np.int64)
    dataflow, pes, bandwidth = parts[..., 0], parts[..., 1], parts[..., 2]
    place = (dataflow * (len(space.pes) - 1) + pes - 1) * len(space.bandwidths) + bandwidth
    places: npt.NDArray[np.int64] = np.where(pes > 0, place, -1)
    return places
