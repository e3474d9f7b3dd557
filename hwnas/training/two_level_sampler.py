"""Sampling of architectures by their cost: first a bin of MACs, then architectures in that bin.

Both distributions come from a table of random architectures, counted once: pi(bin) is the share of
the table in a bin, and pi(architecture | bin) the product over the decisions of the shares of each
option among the table's architectures in that bin. Drawing from the product and keeping what
falls into the bin is much faster than drawing at random until something does.

References:
    Wang et al., AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling,
    CVPR 2021, section 3.

Differs from the paper: decisions that matter only if a block is present are counted only where it
is; the width of a bin is a share of what the space spans, for a space of any size.
"""

import numpy as np
import numpy.typing as npt

from hwnas.costs.counted import count_costs
from hwnas.spaces import Population, SearchSpace

__all__ = ["TwoLevelSampler"]

TABLE_SIZE = 50_000  # architectures: some hundred in all but the outermost bins
BINS = 64
TRIES = 100  # as in the release of AttentiveNAS


class TwoLevelSampler:
    """The two-level sampler.

    Args:
        space: The space.
        rng: Source of the table; not kept.
        table_size: Random architectures in the table, at least one.
        bins: Widths of a bin between the smallest and the largest network.
        tries: Draws until the last one is taken whatever its bin.
    """

    def __init__(
        self,
        space: SearchSpace,
        rng: np.random.Generator,
        *,
        table_size: int = TABLE_SIZE,
        bins: int = BINS,
        tries: int = TRIES,
    ) -> None:
        self._space = space
        self._tries = tries
        self._costs = count_costs(space, ("macs",))
        ends = self._macs(np.stack([space.smallest().row(), space.largest().row()]))
        self.width_macs = float(abs(ends[1] - ends[0])) / bins or 1.0
        """Width of a bin; 1 where all networks do the same work."""
        table = space.sample(table_size, rng)
        self.centres_macs, bin_of_row, rows_of_bin = np.unique(
            self.rounded_macs(table), return_inverse=True, return_counts=True
        )
        """Middle of every bin that the table reached, ascending, `(b,)`."""
        self.shares: npt.NDArray[np.float64] = rows_of_bin / table_size
        """pi(bin), `(b,)`."""
        self.option_shares = [
            self._option_shares(column, table, bin_of_row)
            for column in range(len(space.decisions))
        ]
        """pi(option | bin) of every decision, `(b, options)` each; every row sums to 1."""

    def rounded_macs(self, population: Population) -> npt.NDArray[np.float64]:
        """Centre of the bin of each architecture, `(n,)`."""
        return np.round(self._macs(population) / self.width_macs) * self.width_macs

    def draw_bin(self, rng: np.random.Generator) -> int:
        """Index of a bin, from pi(bin)."""
        return int(rng.choice(len(self.shares), p=self.shares))

    def draw(self, bin_index: int, n: int, rng: np.random.Generator) -> Population:
        """Architectures of a bin, canonical, `(n, d)`; where all tries miss it, the last try.

        Args:
            bin_index: From `draw_bin`.
            n: How many.
            rng: Source of chance; its use does not depend on how many tries were needed.
        """
        tried = np.empty((n * self._tries, len(self._space.decisions)), dtype=np.uint8)
        for column, shares in enumerate(self.option_shares):
            steps = np.cumsum(shares[bin_index])[:-1]
            tried[:, column] = np.searchsorted(steps, rng.random(len(tried)), side="right")
        tried = self._space.canonicalise(tried)
        hits = self.rounded_macs(tried) == self.centres_macs[bin_index]
        hits = hits.reshape(n, self._tries)
        hits[:, -1] = True
        chosen: Population = tried[np.arange(n) * self._tries + hits.argmax(1)]
        return chosen

    def _macs(self, population: Population) -> npt.NDArray[np.float64]:
        return self._costs.cost(population)[:, 0].astype(np.float64)

    def _option_shares(
        self, column: int, table: Population, bin_of_row: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        """Shares of the options where the decision is active; uniform where it never is."""
        options = int(self._space.option_counts[column])
        active = _is_active(self._space, table, column)
        cells = bin_of_row[active] * options + table[active, column]
        counts = np.bincount(cells, minlength=len(self.shares) * options)
        counts = counts.reshape(len(self.shares), options).astype(np.float64)
        counts[counts.sum(1) == 0] = 1.0
        return np.asarray(counts / counts.sum(1, keepdims=True))


def _is_active(space: SearchSpace, population: Population, column: int) -> npt.NDArray[np.bool_]:
    """Whether a decision matters in each architecture, `(n,)`: canonical form keeps its option."""
    last = space.option_counts[column] - np.uint8(1)
    probe = population.copy()
    probe[:, column] = last
    return np.asarray(space.canonicalise(probe)[:, column] == last)
