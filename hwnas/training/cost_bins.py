"""The cost axis of a space in equal bins, and architectures drawn from a given bin.

Decisions drawn uniformly make costs that are sums of many independent terms: their histogram is a
bell, and cheap and dear networks are hardly ever trained. Drawing the bin first makes it flat
(Guo et al., Single Path One-Shot, ECCV 2020, released code; Zhang et al., ShiftNAS, ICCV 2023).
"""

import numpy as np
import numpy.typing as npt

from hwnas.costs.compiled import CompiledCosts
from hwnas.costs.counted import count_costs
from hwnas.errors import SpaceError
from hwnas.spaces import Population, SearchSpace

__all__ = ["BINS", "CostBins", "mac_bins"]

BINS = 8  # SPOS's released code has 7 over its range, PreNAS 8 for its smallest space

_TRIES = 500  # rejected draws, as in SPOS's released code
_CHUNK = 50


class CostBins:
    """Equal bins from the cost of the smallest to the cost of the largest architecture.

    Args:
        costs: Compiled costs; the first metric is binned.
        bins: How many bins.

    Raises:
        SpaceError: There is no bin, or the largest architecture costs no more than the smallest.
    """

    def __init__(self, costs: CompiledCosts, bins: int = BINS) -> None:
        self.space = costs.space
        self._costs = costs
        ends = np.array([self.space.smallest().indices, self.space.largest().indices], np.uint8)
        low, high = self.cost(ends)
        metric = costs.metrics[0]
        if bins < 1 or not low < high:
            raise SpaceError(
                f"cannot cut {metric} of {self.space.name} into {bins} bins: the smallest network "
                f"has {low:g}, the largest {high:g}; sample without bins, as `spos` does"
            )
        self.edges: npt.NDArray[np.float64] = np.linspace(low, high, bins + 1)

    def __len__(self) -> int:
        return len(self.edges) - 1

    @property
    def width(self) -> float:
        """Width of a bin, in the metric's unit."""
        return float(self.edges[1] - self.edges[0])

    def cost(self, population: Population) -> npt.NDArray[np.float64]:
        """Cost of each architecture, `(n,)`."""
        return self._costs.cost(population)[:, 0].astype(np.float64)

    def bin_of(self, population: Population) -> npt.NDArray[np.intp]:
        """Bin of each architecture, `(n,)`; the last one holds its upper edge too."""
        place = ((self.cost(population) - self.edges[0]) / self.width).astype(np.intp)
        found: npt.NDArray[np.intp] = np.clip(place, 0, len(self) - 1)
        return found

    def sample(self, index: int, rng: np.random.Generator) -> Population:
        """Draw a row from a bin, `(d,)`: the first uniform draw that falls into it.

        After 500 draws outside of the bin the nearest of them is nudged.

        Args:
            index: Of the bin.
            rng: Source of chance.
        """
        drawn: list[Population] = []
        for _ in range(_TRIES // _CHUNK):
            rows = self.space.sample(_CHUNK, rng)
            hits = np.flatnonzero(self.bin_of(rows) == index)
            if len(hits):
                found: Population = rows[hits[0]]
                return found
            drawn.append(rows)
        every = np.concatenate(drawn)
        return self.nudged(every[np.argmin(self._distance(every, index))], index, rng)

    def nudged(self, row: Population, index: int, rng: np.random.Generator) -> Population:
        """Change one decision at a time until the cost is in a bin, `(d,)`.

        Every change is drawn from those that bring the cost nearer to the middle of the bin. Where
        there is none, as around a bin that holds no architecture, the row so far is the result.

        Args:
            row: `(d,)`, canonical.
            index: Of the bin.
            rng: Source of chance.
        """
        while int(self.bin_of(row[None])[0]) != index:
            rows = self.space.canonicalise(_single_changes(row, self.space))
            near = np.flatnonzero(
                self._distance(rows, index) < float(self._distance(row[None], index)[0])
            )
            if not len(near):
                break
            row = rows[rng.choice(near)]
        return row

    def _distance(self, population: Population, index: int) -> npt.NDArray[np.float64]:
        middle = (self.edges[index] + self.edges[index + 1]) / 2.0
        distance: npt.NDArray[np.float64] = np.abs(self.cost(population) - middle)
        return distance


def mac_bins(space: SearchSpace, bins: int = BINS) -> CostBins:
    """Bins of counted multiply-accumulate operations.

    Raises:
        SpaceError: All architectures have the same number of them.
    """
    return CostBins(count_costs(space, ("macs",)), bins)


def _single_changes(row: Population, space: SearchSpace) -> Population:
    changes = [
        (column, option)
        for column, count in enumerate(space.option_counts)
        for option in range(int(count))
        if option != row[column]
    ]
    rows = np.repeat(row[None], len(changes), axis=0)
    for changed, (column, option) in zip(rows, changes, strict=True):
        changed[column] = option
    return rows
