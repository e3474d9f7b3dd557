"""Where a score stands among those of random networks."""

import numpy as np
import numpy.typing as npt

__all__ = ["RankShares"]

Scores = npt.NDArray[np.float64]


class RankShares:
    """Share of random networks that a network outdoes, by one score.

    Between two scores that were seen the share is interpolated; beyond the ends it goes on towards
    0 and 1 exponentially, by a factor of e for each standard deviation of the scores, so that a
    higher score always has a higher share.

    Args:
        scores: Of random networks, `(n,)`; those that are not finite count as lowest.
    """

    def __init__(self, scores: Scores) -> None:
        finite = np.sort(scores[np.isfinite(scores)])
        self._values, first = np.unique(finite, return_index=True)
        counts = np.diff([*first, len(finite)])
        below = len(scores) - len(finite) + first
        self._shares = (below + (counts + 1) / 2) / (len(scores) + 1)  # ties share a rank
        deviation = float(finite.std()) if len(finite) else 0.0
        self._deviation = deviation if deviation > 0.0 else 1.0

    def __call__(self, scores: Scores) -> Scores:
        """Shares between 0 and 1, `(n,)`; 0 for a score of minus infinity.

        Args:
            scores: `(n,)`.
        """
        if not len(self._values):
            return np.where(np.isfinite(scores), 0.5, 0.0)
        low, high = self._values[0], self._values[-1]
        shares = np.interp(scores, self._values, self._shares)
        under = self._shares[0] * np.exp(np.minimum(scores - low, 0.0) / self._deviation)
        over = (1.0 - self._shares[-1]) * np.exp(np.minimum(high - scores, 0.0) / self._deviation)
        return np.where(scores < low, under, np.where(scores > high, 1.0 - over, shares))
