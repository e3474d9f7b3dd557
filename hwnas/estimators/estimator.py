"""The contract of estimators: architectures in, an error for each out."""

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hwnas.spaces import Population

__all__ = ["Errors", "Estimator"]

Errors = npt.NDArray[np.float64]


@runtime_checkable
class Estimator(Protocol):
    """Tells how well architectures would do, and what telling it has cost.

    An estimator is deterministic: the same row gets the same number in every call, in any order
    and company. Rows that mean the same architecture are the same row.
    """

    name: str

    @property
    def queries(self) -> int:
        """Distinct architectures that were evaluated so far; a repeated one is free."""

    @property
    def seconds(self) -> float:
        """Wall time spent on them."""

    def error(self, population: Population) -> Errors:
        """Error of each architecture, lower is better, `(n,)`; empty for an empty population.

        Args:
            population: Option indices, `(n, d)`.

        Raises:
            SpaceError: The population is not of the estimator's space.
        """
