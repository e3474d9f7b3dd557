"""Technology profiles: what arithmetic, buffers and wires take in energy and area.

A profile is a file in `cost_models/technologies/`, or a TOML file given by path. Each constant
stands there with its source. An element is one byte.
"""

import math
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from hwnas.errors import TargetError
from hwnas.toml_files import read_toml

__all__ = ["Area", "Energy", "Technology", "available_technologies", "get_technology"]

SCHEMA = 1
_SUFFIX = ".toml"

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Energy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Energy in J.

    Args:
        mac_j: One multiply-accumulate.
        l1_j_per_byte: Moving a byte into or out of a PE's buffer.
        l2_j_per_byte: The same of the shared buffer.
        dram_j_per_byte: The same of DRAM.
        sram_bytes: Size of buffer that the two refer to; 0 if they hold for every size.
        sram_exponent: They grow with (size / sram_bytes) to this power.
    """

    mac_j: float
    l1_j_per_byte: float
    l2_j_per_byte: float
    dram_j_per_byte: float = 0.0
    sram_bytes: int = 0
    sram_exponent: float = 0.0

    def access_j(self, l1_bytes: Integers, l2_bytes: Integers) -> Floats:
        """Energies `(h, 4)` of a multiply-accumulate and of a byte at L1, L2 and DRAM."""
        rows = np.empty((len(l1_bytes), 4))
        rows[:, 0] = self.mac_j
        rows[:, 1] = self.l1_j_per_byte * self._growth(l1_bytes)
        rows[:, 2] = self.l2_j_per_byte * self._growth(l2_bytes)
        rows[:, 3] = self.dram_j_per_byte
        return rows

    def _growth(self, size_bytes: Integers) -> Floats:
        if not self.sram_bytes:
            return np.ones(len(size_bytes))
        growth: Floats = (size_bytes / self.sram_bytes) ** self.sram_exponent
        return growth


class Area(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Area in square micrometres; buffers come in whole cells.

    Args:
        pe_um2: Arithmetic of one PE.
        l1_cell_bytes: Size of a cell of a PE's buffer.
        l1_cell_um2: Its area.
        l2_cell_bytes: Size of a cell of the shared buffer.
        l2_cell_um2: Its area.
        bus_per_pe_um2: For each PE and each element per cycle.
        bus_um2: For each element per cycle.
        arbiter_per_pe2_um2: Times the square of the PEs.
        arbiter_per_pe_um2: Times the PEs.
        arbiter_um2: Constant.
    """

    pe_um2: float
    l1_cell_bytes: int
    l1_cell_um2: float
    l2_cell_bytes: int
    l2_cell_um2: float
    bus_per_pe_um2: float = 0.0
    bus_um2: float = 0.0
    arbiter_per_pe2_um2: float = 0.0
    arbiter_per_pe_um2: float = 0.0
    arbiter_um2: float = 0.0

    def mm2(
        self, pes: Integers, bandwidth: Integers, l1_bytes: Integers, l2_bytes: Integers
    ) -> Floats:
        """Area of each accelerator, `(h,)` in square millimetres."""
        l1_cells = -(-l1_bytes // self.l1_cell_bytes)
        l2_cells = -(-l2_bytes // self.l2_cell_bytes)
        um2 = (
            pes * (self.pe_um2 + self.l1_cell_um2 * l1_cells)
            + self.l2_cell_um2 * l2_cells
            + bandwidth * (self.bus_per_pe_um2 * pes + self.bus_um2)
            + self.arbiter_per_pe2_um2 * pes.astype(np.float64) ** 2
            + self.arbiter_per_pe_um2 * pes
            + self.arbiter_um2
        )
        area: Floats = 1e-6 * um2
        return area


class Technology(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One profile.

    Args:
        schema: Version of the file format.
        name: Same as the file's.
        description: One line.
        clock_hz: Cycles per second, which turns cycles into seconds.
        reference: Sources of the numbers.
        energy: Energies.
        area: Areas.
    """

    schema: int
    name: str
    description: str
    clock_hz: float
    reference: str
    energy: Energy
    area: Area


def available_technologies() -> tuple[str, ...]:
    """Names of all profiles, sorted."""
    return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in _own_files()))


@lru_cache(maxsize=16)
def get_technology(name: str) -> Technology:
    """Read a profile.

    Args:
        name: A name of `available_technologies()`, or the path of a TOML file.

    Raises:
        TargetError: There is no such profile, or its file is malformed.
    """
    if name.endswith(_SUFFIX):
        path = Path(name)
        if not path.is_file():
            raise TargetError(f"technology file {name!r} does not exist")
        return _decode(path)
    for file in _own_files():
        if file.name == f"{name}{_SUFFIX}":
            return _decode(file)
    known = ", ".join(available_technologies())
    raise TargetError(
        f"unknown technology {name!r}; available: {known}; or give the path of a TOML file"
    )


def _own_files() -> list[Traversable]:
    folder = files("hwnas.data").joinpath("cost_models", "technologies")
    return [file for file in folder.iterdir() if file.name.endswith(_SUFFIX)]


def _decode(file: Traversable) -> Technology:
    found = read_toml(file, Technology, "technology file", SCHEMA)
    _check_numbers(found, file)
    return found


def _check_numbers(found: Technology, file: Traversable) -> None:
    numbers = {
        "clock_hz": found.clock_hz,
        **msgspec.structs.asdict(found.energy),
        **msgspec.structs.asdict(found.area),
    }
    for field, value in numbers.items():
        # The arbiter's constant is the one coefficient of a fit that may be negative.
        low = -math.inf if field == "arbiter_um2" else 0.0
        if not (math.isfinite(value) and value >= low):
            raise TargetError(f"{file}: {field} is {value}, not a finite number from 0")
    for field in ("clock_hz", "l1_cell_bytes", "l2_cell_bytes"):
        if numbers[field] <= 0:
            raise TargetError(f"{file}: {field} is {numbers[field]}, not above 0")
