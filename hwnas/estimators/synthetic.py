"""A cheap stand-in for an error: a fixed score for each option, added up. Not an accuracy."""

from zlib import crc32

import numpy as np

from hwnas.estimators.estimator import Errors
from hwnas.estimators.evaluated import Accounted, Evaluated, Values
from hwnas.spaces import Population, SearchSpace

__all__ = ["SyntheticEstimator"]


class SyntheticEstimator(Accounted):
    """Made-up errors for tests and demonstrations; they say nothing about any real network.

    Every decision adds a penalty that falls from its first option to its last with a little
    fixed noise; penalties are scaled so that errors lie between 0.05 and 0.6. As more work then
    means less error, the trade-off with cost has the usual shape.

    Args:
        space: The space; its name fixes the penalties.
    """

    name = "synthetic"

    def __init__(self, space: SearchSpace) -> None:
        counts = space.option_counts.astype(int)
        rng = np.random.default_rng(crc32(space.name.encode()))
        weights = rng.uniform(0.5, 1.5, len(counts))
        table = np.zeros((len(counts), max(counts, default=1)))
        for decision, count in enumerate(counts):
            ideal = 0.5 ** np.arange(count)
            table[decision, :count] = weights[decision] * (ideal + rng.uniform(0, 0.2, count))
        self._table = table * (0.5 / (1.2 * max(float(weights.sum()), 1e-9)))
        self._columns = np.arange(len(counts))
        self._evaluated = Evaluated(space, 1, self._evaluate)

    def error(self, population: Population) -> Errors:
        """Made-up error, `(n,)`, from 0.05 to 0.6.

        Args:
            population: `(n, d)`.

        Raises:
            SpaceError: The population is not of the space.
        """
        return self._evaluated(population)[:, 0]

    def _evaluate(self, rows: Population) -> Values:
        penalties: Values = self._table[self._columns, rows]
        errors: Values = 0.05 + penalties.sum(axis=1, keepdims=True)
        return errors
