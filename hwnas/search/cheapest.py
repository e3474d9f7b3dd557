"""The architecture that comes nearest to the budgets, or is cheapest by one metric."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hwnas.search.strategy import PopulationSpace

__all__ = ["cheapest"]

_STARTS = 4096
_KEPT = 32


def cheapest(
    space: PopulationSpace,
    score: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]],
    rng: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Row `(d,)` of a lowest score.

    Coordinate descent from the best of many random rows and from the all-first row: each decision
    in turn takes its best option until nothing improves. Exact where the score is a sum of terms
    of one decision each, as plain latency is; a local optimum otherwise.

    Args:
        space: The space.
        score: Population `(n, d)` to scores `(n,)`, lower is better, cheap.
        rng: Draws the starting rows.
    """
    counts = space.option_counts
    starts = np.concatenate([np.zeros((1, len(counts)), np.uint8), space.sample(_STARTS, rng)])
    starts = space.canonicalise(starts)
    rows = starts[np.argsort(score(starts), kind="stable")[:_KEPT]]
    best = score(rows)
    while True:
        before = best.copy()
        for column, options in enumerate(counts.tolist()):
            for option in range(options):
                tried = rows.copy()
                tried[:, column] = option
                tried = space.canonicalise(tried)
                found = score(tried)
                better = found < best
                rows[better], best[better] = tried[better], found[better]
        if not (best < before).any():
            row: npt.NDArray[np.uint8] = rows[int(np.argmin(best))]
            return row
