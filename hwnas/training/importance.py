"""Importance sampling: what has the larger gradient is drawn more often.

Of all ways to draw one term of a sum, drawing in proportion to the terms' norms has the least
variance (Zhao and Zhang, Stochastic Optimization with Importance Sampling, ICML 2015).
"""

import numpy as np
import numpy.typing as npt

__all__ = ["importance", "smoothed"]

Numbers = npt.NDArray[np.float64]


def importance(statistic: Numbers, share: float) -> Numbers:
    """Probabilities `p = share * s / sum(s) + (1 - share) / k`, `(k,)`.

    What was never looked at (NaN) counts as the mean of the others. Where nothing was looked at,
    or all statistics are 0, the result is uniform.

    Args:
        statistic: `(k,)`, at least 0, or NaN.
        share: Of importance, from 0 to 1; the rest is uniform.
    """
    known = ~np.isnan(statistic)
    filled = np.where(known, statistic, statistic[known].mean() if known.any() else 1.0)
    total = filled.sum()
    uniform = np.full(len(filled), 1.0 / len(filled))
    if total <= 0.0:
        return uniform
    mixed: Numbers = share * filled / total + (1.0 - share) * uniform
    mixed /= mixed.sum()
    return mixed


def smoothed(old: float, new: float) -> float:
    """Mean of old and new; the new one alone where there is no old one (NaN) yet."""
    return new if np.isnan(old) else (old + new) / 2.0
