"""`accelerator`: chips of one or more sub-accelerators that share budgets of PEs and bandwidth.

Each sub-accelerator chooses its dataflow, its number of processing elements (PEs) and its network
bandwidth (Yang et al., Co-Exploration of Neural Architectures and Heterogeneous ASIC Accelerator
Designs Targeting Multiple Tasks, DAC 2020). One without PEs is absent.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from hwnas.errors import SpaceError
from hwnas.spaces.decisions import Decision, DecisionSpace, Option, Population

__all__ = ["DATAFLOWS", "AcceleratorSpace", "accelerator"]

#: Weight-stationary (NVDLA), output-stationary (ShiDianNao), row-stationary (Eyeriss).
DATAFLOWS = ("dla", "shi", "rs")

PES_STEP = 64  # a cluster of the weight-stationary dataflow
PES_BUDGET = 4096
BANDWIDTH_STEP = 8  # elements per cycle; with 8-bit elements at 1 GHz: GB/s
BANDWIDTH_BUDGET = 64
MAX_SUB_ACCELERATORS = 4

_PARTS = 3  # decisions of a sub-accelerator: dataflow, PEs, bandwidth
_REDRAWS = 64  # a draw is within both budgets with a chance of 1/4 for two, 1/600 for four


class AcceleratorSpace(DecisionSpace):
    """Chips within shared budgets.

    In canonical form the chip is within its budgets (a sub-accelerator gets what its predecessors
    left), an absent one has option 0 everywhere, and sub-accelerators are sorted, most PEs first,
    because their order means nothing.

    Args:
        name: Name.
        sub_accelerators: How many there may be.
        dataflows: Names of dataflows.
        pes: Numbers of PEs, ascending from 0.
        bandwidths: Elements per cycle, ascending.
        pes_budget: Most PEs of a chip.
        bandwidth_budget: Most elements per cycle of a chip.
        description: One line for `hwnas spaces`.

    Raises:
        SpaceError: The options do not ascend, or no chip is within the budgets.
    """

    def __init__(
        self,
        name: str,
        sub_accelerators: int,
        dataflows: tuple[str, ...],
        pes: tuple[int, ...],
        bandwidths: tuple[int, ...],
        *,
        pes_budget: int,
        bandwidth_budget: int,
        description: str = "",
    ) -> None:
        options: dict[str, tuple[Option, ...]]
        options = {"dataflow": dataflows, "pes": pes, "bandwidth": bandwidths}
        decisions = tuple(
            Decision(f"sub{index}.{part}", options[part])
            for index in range(1, sub_accelerators + 1)
            for part in options
        )
        super().__init__(name, decisions, description)
        for part, numbers in (("PEs", pes), ("bandwidths", bandwidths)):
            if list(numbers) != sorted(set(numbers)):
                raise SpaceError(f"{part} of space {name!r} do not ascend: {numbers}")
        if pes[0] != 0 or len(pes) < 2 or bandwidths[0] < 1:
            raise SpaceError(
                f"space {name!r} needs PEs from 0 and bandwidths from 1, "
                f"not {pes} and {bandwidths}"
            )
        if pes_budget < pes[1] or bandwidth_budget < bandwidths[0] * sub_accelerators:
            raise SpaceError(
                f"space {name!r}: {pes_budget} PEs and a bandwidth of {bandwidth_budget} do not "
                f"serve {sub_accelerators} sub-accelerators of at least {pes[1]} PEs and "
                f"{bandwidths[0]}"
            )
        self.sub_accelerators = sub_accelerators
        self.dataflows = dataflows
        self.pes = np.array(pes, dtype=np.int64)
        self.bandwidths = np.array(bandwidths, dtype=np.int64)
        self.pes_budget = pes_budget
        self.bandwidth_budget = bandwidth_budget

    def sample(self, n: int, rng: np.random.Generator) -> Population:
        """Draw `n` chips, uniform over those within the budgets (before order is taken away).

        What is still beyond a budget after many draws is cut to it.
        """
        counts, width = self.option_counts, len(self.decisions)
        drawn = rng.integers(0, counts, size=(n, width), dtype=np.uint8)
        for _ in range(_REDRAWS):
            beyond = np.flatnonzero(~self.is_within_budgets(drawn))
            if not len(beyond):
                break
            drawn[beyond] = rng.integers(0, counts, size=(len(beyond), width), dtype=np.uint8)
        return self._canonicalised_in_place(drawn)

    def is_within_budgets(self, population: Population) -> npt.NDArray[np.bool_]:
        """Whether each chip is within both budgets, and has a PE, `(n,)`."""
        parts = self._parts(population)
        pes = self.pes[parts[..., 1]]
        bandwidth = np.where(pes > 0, self.bandwidths[parts[..., 2]], 0)
        used = pes.sum(axis=1)
        within: npt.NDArray[np.bool_] = (
            (used > 0)
            & (used <= self.pes_budget)
            & (bandwidth.sum(axis=1) <= self.bandwidth_budget)
        )
        return within

    @cached_property
    def cardinality(self) -> int:
        """Number of distinct chips (exact)."""
        # Sorted sub-accelerators are multisets: count them by PEs and bandwidth used, one kind
        # after another, so that each multiset is counted once.
        counted = {(0, 0, 0): 1}
        for pes in self.pes[1:].tolist():
            for bandwidth in self.bandwidths.tolist():
                for _ in self.dataflows:
                    grown = dict(counted)
                    for copies in range(1, self.sub_accelerators + 1):
                        for (used, p, b), ways in counted.items():
                            key = (used + copies, p + copies * pes, b + copies * bandwidth)
                            if (
                                key[0] <= self.sub_accelerators
                                and key[1] <= self.pes_budget
                                and key[2] <= self.bandwidth_budget
                            ):
                                grown[key] = grown.get(key, 0) + ways
                    counted = grown
        return sum(ways for (used, _, _), ways in counted.items() if used)

    def _parts(self, population: Population) -> Population:
        return population.reshape(len(population), self.sub_accelerators, _PARTS)

    def _canonicalised_in_place(self, population: Population) -> Population:
        parts = self._parts(population)
        if not len(parts):
            return population
        left_pes = np.full(len(parts), self.pes_budget)
        for sub in range(self.sub_accelerators):
            fits = np.searchsorted(self.pes, left_pes, side="right") - 1
            parts[:, sub, 1] = np.minimum(parts[:, sub, 1], fits)
            left_pes -= self.pes[parts[:, sub, 1]]
        parts[(parts[..., 1] == 0).all(axis=1), 0, 1] = 1  # a chip has a PE
        parts[parts[..., 1] == 0] = 0
        waiting = (parts[..., 1] > 0).sum(axis=1)
        left = np.full(len(parts), self.bandwidth_budget)
        for sub in range(self.sub_accelerators):
            present = parts[:, sub, 1] > 0
            waiting -= present
            spare = left - waiting * self.bandwidths[0]
            fits = np.searchsorted(self.bandwidths, spare, side="right") - 1
            parts[:, sub, 2] = np.where(present, np.minimum(parts[:, sub, 2], fits), 0)
            left -= np.where(present, self.bandwidths[parts[:, sub, 2]], 0)
        order = parts[..., 1].astype(np.int64)
        for part in (0, 2):
            order = order * 256 + parts[..., part]
        by_size = np.argsort(-order, axis=1, kind="stable")
        parts[:] = np.take_along_axis(parts, by_size[..., None], axis=1)
        return population


def accelerator(sub_accelerators: int = 2) -> AcceleratorSpace:
    """The space of NASAIC: 4,096 PEs and 64 elements per cycle, shared.

    Args:
        sub_accelerators: How many a chip may have.

    Raises:
        SpaceError: Fewer than one or more than four.
    """
    if not 1 <= sub_accelerators <= MAX_SUB_ACCELERATORS:
        raise SpaceError(
            f"a chip of {sub_accelerators} sub-accelerators; "
            f"1 to {MAX_SUB_ACCELERATORS} make sense"
        )
    return AcceleratorSpace(
        "accelerator" if sub_accelerators == 2 else f"accelerator@{sub_accelerators}",
        sub_accelerators,
        DATAFLOWS,
        tuple(range(0, PES_BUDGET + 1, PES_STEP)),
        tuple(range(BANDWIDTH_STEP, BANDWIDTH_BUDGET + 1, BANDWIDTH_STEP)),
        pes_budget=PES_BUDGET,
        bandwidth_budget=BANDWIDTH_BUDGET,
        description="chips of sub-accelerators: dataflow, PEs, bandwidth within shared budgets",
    )
