"""What an estimator has already evaluated, by canonical row."""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hwnas.spaces import Population, SearchSpace

__all__ = ["Accounted", "Evaluated", "Values"]

Values = npt.NDArray[np.float64]


class Evaluated:
    """Remembers a row of numbers for each canonical architecture, and counts the work.

    Args:
        space: Where the architectures are from.
        columns: Numbers for each architecture.
        evaluate: Distinct canonical rows `(k, d)` to their numbers `(k, columns)`.
    """

    def __init__(
        self, space: SearchSpace, columns: int, evaluate: Callable[[Population], Values]
    ) -> None:
        self._space = space
        self._columns = columns
        self._evaluate = evaluate
        self._known: dict[bytes, Values] = {}
        self.seconds = 0.0

    @property
    def queries(self) -> int:
        """Distinct architectures evaluated."""
        return len(self._known)

    def __call__(self, population: Population) -> Values:
        """Numbers of each architecture, `(n, columns)`; only unknown ones are evaluated.

        Args:
            population: `(n, d)`.

        Raises:
            SpaceError: The population is not of the space.
        """
        begin = time.perf_counter()
        rows = self._space.canonicalise(population)
        keys = [row.tobytes() for row in rows]
        unknown = {key: i for i, key in enumerate(keys) if key not in self._known}
        if unknown:
            found = self._evaluate(rows[list(unknown.values())])
            self._known.update(zip(unknown, found, strict=True))
            self.seconds += time.perf_counter() - begin
        values = [self._known[key] for key in keys]
        return np.array(values, dtype=np.float64).reshape(len(keys), self._columns)


class Accounted:
    """The account of an estimator that keeps what it knows in `_evaluated`."""

    _evaluated: Evaluated

    @property
    def queries(self) -> int:
        """Distinct architectures that were evaluated so far."""
        return self._evaluated.queries

    @property
    def seconds(self) -> float:
        """Wall time spent on them; what was known before took none."""
        return self._evaluated.seconds
