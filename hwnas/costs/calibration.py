"""From the sum of block costs to the cost of a network.

A plain sum is biased on most runtimes: blocks overlap, share caches, and each dispatch has a
price. `total = a + b * sum + c * kernels`, fitted on a few whole networks of the same target,
removes the bias. Which of the three terms to use is decided by leave-one-out error, so that few
networks do not buy a bad fit.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.errors import TableError

__all__ = ["Calibration", "fit_calibration"]

Floats = npt.NDArray[np.float64]

_MINIMUM_NETWORKS = 4
_FORMS = ((1,), (0, 1), (0, 1, 2))  # columns of (1, sum, kernels) in order of growing freedom
_WORTH = 0.95  # a freer form must lower the leave-one-out error by 5 % to be taken


@dataclass(frozen=True)
class Calibration:
    """Coefficients and how well they hold.

    Args:
        constant: a, in the metric's unit.
        slope: b.
        per_kernel: c, in the metric's unit.
        networks: Networks it was fitted on; 0 for the identity.
        error: Mean relative error on networks left out of the fit; NaN for the identity.
    """

    constant: float = 0.0
    slope: float = 1.0
    per_kernel: float = 0.0
    networks: int = 0
    error: float = float("nan")

    def apply(self, sums: npt.ArrayLike, kernels: npt.ArrayLike) -> Floats:
        """Calibrated totals `(n,)` from sums and kernel counts."""
        scaled = self.slope * np.asarray(sums, dtype=np.float64)
        return self.constant + scaled + self.per_kernel * np.asarray(kernels)


def fit_calibration(sums: Floats, kernels: Floats, totals: Floats) -> Calibration:
    """Fit on measured networks, relative errors weighted equally.

    Args:
        sums: Sum of the block costs of each network, `(n,)`.
        kernels: Number of blocks that do something, `(n,)`.
        totals: Measured cost of each network, `(n,)`, positive.

    Raises:
        TableError: A total is not positive and finite.
    """
    if not (np.isfinite(totals).all() and (totals > 0).all()):
        raise TableError("a measured network has no positive finite cost: measure it again")
    if len(totals) < _MINIMUM_NETWORKS:
        return Calibration()
    design = np.stack([np.ones_like(sums), sums, kernels], axis=1) / totals[:, None]
    best: Calibration | None = None
    for form in _FORMS:
        if len(totals) < len(form) + 2:
            continue
        error = _left_out_error(design[:, form])
        coefficients = np.zeros(3)
        coefficients[list(form)] = _least_squares(design[:, form])
        if coefficients[1] <= 0.0 or (design @ coefficients <= 0.0).any():
            continue
        if best is None or error < _WORTH * best.error:
            a, b, c = (float(x) for x in coefficients)
            best = Calibration(a, b, c, len(totals), error)
    if best is None:
        raise TableError("whole networks get faster as their blocks get slower: measure again")
    return best


def _least_squares(design: Floats) -> Floats:
    solution = np.linalg.lstsq(design, np.ones(len(design)), rcond=None)[0]
    return solution.astype(np.float64, copy=False)


def _left_out_error(design: Floats) -> float:
    errors = []
    for left_out in range(len(design)):
        fitted = _least_squares(np.delete(design, left_out, axis=0))
        errors.append(abs(float(design[left_out] @ fitted) - 1.0))
    return float(np.mean(errors))
