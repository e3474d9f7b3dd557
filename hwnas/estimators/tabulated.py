"""Errors that stand in a table, as a benchmark publishes them or an exhaustive evaluation."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from hwnas.costs.table import Provenance
from hwnas.errors import TableError
from hwnas.estimators.error_table import read_error_table
from hwnas.estimators.estimator import Errors
from hwnas.estimators.evaluated import Accounted, Evaluated, Values
from hwnas.spaces import Population, SearchSpace

__all__ = ["TabulatedEstimator"]

log = logging.getLogger(__name__)

_FEWEST_ROWS = 20  # from which an interpolation is fitted
_FOLDS = 5


class TabulatedEstimator(Accounted):
    """Error by look-up; where the table has no row, an error or an interpolation marked as one.

    The interpolation is a regression by boosted trees (Friedman, Greedy Function Approximation,
    Annals of Statistics 2001) on option indices, fitted on all rows of the table.

    Args:
        space: The space.
        path: Table of errors, see `hwnas.estimators.error_table`. One of the same space at another
            image side is taken, with a warning.
        interpolate: Whether architectures without a row get an interpolated error.

    Raises:
        TableError: The table cannot be read, or has too few rows to interpolate.
    """

    name = "tabulated"

    def __init__(self, space: SearchSpace, path: Path | str, *, interpolate: bool = False) -> None:
        self._space, self._path, self._interpolate = space, Path(path), interpolate
        self._table = read_error_table(self._path, space)
        self.notes = dict(self._table.notes)
        rows = len(self._table.error)
        if interpolate and rows < _FEWEST_ROWS:
            raise TableError(
                f"{path} has {rows} rows; an interpolation is fitted on at least {_FEWEST_ROWS}"
            )
        named = self.notes.get("space", space.name)
        if named != space.name:
            log.warning("%s was made for %s and is used for %s", path, named, space.name)
        keys = map(bytes, self._table.population)
        self._known = dict(zip(keys, self._table.error.tolist(), strict=True))
        self._evaluated = Evaluated(space, 1, self._evaluate)

    @property
    def provenance(self) -> Provenance:
        """What the table says of itself, `published` if nothing; `modelled` if it interpolates."""
        if self._interpolate:
            return "modelled"
        said = self.notes.get("provenance")
        return next((known for known in get_args(Provenance) if known == said), "published")

    @cached_property
    def interpolation_error(self) -> float:
        """Median absolute difference of an interpolated error from the table's, by 5 folds."""
        order = np.random.default_rng(0).permutation(len(self._table.error))
        rows, errors = self._table.population[order], self._table.error[order]
        fold = np.arange(len(rows)) % _FOLDS
        found = np.empty(len(rows))
        for which in range(_FOLDS):
            out = fold == which
            found[out] = _fitted(rows[~out], errors[~out]).predict(rows[out])
        return float(np.median(np.abs(found - errors)))

    def error(self, population: Population) -> Errors:
        """Error of each architecture, `(n,)`, from 0 to 1.

        Args:
            population: `(n, d)`.

        Raises:
            SpaceError: The population is not of the space.
            TableError: An architecture has no row, and nothing is interpolated.
        """
        return self._evaluated(population)[:, 0]

    def predicted(self, population: Population) -> npt.NDArray[np.bool_]:
        """Which errors are interpolated and stand in no row, `(n,)`.

        Args:
            population: `(n, d)`.

        Raises:
            SpaceError: The population is not of the space.
        """
        rows = self._space.canonicalise(population)
        return np.array([bytes(row) not in self._known for row in rows], dtype=np.bool_)

    @cached_property
    def _model(self) -> Any:
        return _fitted(self._table.population, self._table.error)

    def _evaluate(self, rows: Population) -> Values:
        found = np.array([self._known.get(bytes(row), np.nan) for row in rows])
        missing = np.isnan(found)
        if missing.any() and not self._interpolate:
            first = self._space.architecture(rows[missing][0])
            raise TableError(
                f"{self._path} has no error for {missing.sum()} of {len(rows)} architectures, "
                f"such as {self._space.options(first)}; add their rows, or interpolate"
            )
        if missing.any():
            found[missing] = np.clip(self._model.predict(rows[missing]), 0.0, 1.0)
        values: Values = found[:, None]
        return values


def _fitted(rows: Population, errors: Errors) -> Any:
    from sklearn.ensemble import GradientBoostingRegressor  # slow to import, needed here only

    made = GradientBoostingRegressor(
        n_estimators=300, learning_rate=0.05, max_depth=4, subsample=0.8, random_state=0
    )
    return made.fit(rows, errors)
