"""Ranks, crowding distances and hypervolumes of populations.

Thin wrappers over the native routines: they bring the arrays into shape and turn bad shapes into
:class:`~hwnas.errors.SpaceError`.

References:
    [Deb02] Deb, Pratap, Agarwal, Meyarivan, A Fast and Elitist Multiobjective Genetic Algorithm:
    NSGA-II, IEEE TEC 6(2), 2002.
    [Fon06] Fonseca, Paquete, Lopez-Ibanez, An Improved Dimension-Sweep Algorithm for the
    Hypervolume Indicator, CEC 2006.
    [Whi12] While, Bradstreet, Barone, A Fast Way of Calculating Exact Hypervolumes, IEEE TEC
    16(1), 2012.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas import _core
from hwnas.errors import SpaceError

__all__ = ["crowding_distance", "hypervolume", "is_non_dominated", "non_dominated_sort"]


def non_dominated_sort(
    objectives: ArrayLike, violation: ArrayLike | None = None
) -> NDArray[np.int32]:
    """Returns the rank of each row: 0 for the non-dominated front, then front by front.

    A row dominates another if it is no worse in every objective and better in one. With a
    violation, [Deb02]'s constrained dominance: feasible rows (violation <= 0) come before
    infeasible ones, which are ordered by their violation alone; their objectives are not read.

    Args:
        objectives: `(n, m)`, all minimised.
        violation: `(n,)`, total violation of the budgets; None means that all rows are feasible.

    Returns:
        `(n,)` ranks from 0. Equal rows share a rank, for a row does not dominate its copy.
        Feasible rows with a NaN objective and rows with a NaN violation share one last rank.
        Empty for no rows.

    Raises:
        SpaceError: If the shapes do not fit, or there is no objective.
    """
    values = _matrix(objectives, "objectives")
    return _core.non_dominated_sort(values, _column(violation, len(values)))


def is_non_dominated(
    objectives: ArrayLike, violation: ArrayLike | None = None
) -> NDArray[np.bool_]:
    """Returns which rows are feasible, free of NaN, and dominated by no other such row.

    Args:
        objectives: `(n, m)`, all minimised.
        violation: `(n,)`, total violation of the budgets; None means that all rows are feasible.

    Returns:
        `(n,)`. All copies of a non-dominated row are non-dominated; all False if no row is
        feasible.

    Raises:
        SpaceError: If the shapes do not fit, or there is no objective.
    """
    values = _matrix(objectives, "objectives")
    excess = _column(violation, len(values))
    usable = ~np.isnan(values).any(axis=1)
    if excess is not None:
        usable &= excess <= 0
    return np.asarray(usable & (_core.non_dominated_sort(values, excess) == 0))


def crowding_distance(objectives: ArrayLike, ranks: ArrayLike) -> NDArray[np.float64]:
    """Returns how far apart from its neighbours each row lies on its own front ([Deb02] III-B).

    Per objective, the gap between the two neighbours over the front's range, infinity at both
    ends; summed over objectives. Crowding is taken once, before a front is cut.

    Args:
        objectives: `(n, m)`, all minimised.
        ranks: `(n,)`, as :func:`non_dominated_sort` returns.

    Returns:
        `(n,)`. Of equal rows the first gets the distance and its copies 0. Rows that tie in one
        objective are ordered by all, so the order of the rows does not matter. An objective that
        is constant on a front, or of infinite range there, adds nothing. A row with NaN gets 0.

    Raises:
        SpaceError: If the shapes do not fit.
    """
    values = _matrix(objectives, "objectives")
    places = np.ascontiguousarray(ranks, dtype=np.int32)
    if places.shape != (len(values),):
        raise SpaceError(f"ranks have shape {places.shape}, expected {(len(values),)}")
    return _core.crowding_distance(values, places)


def hypervolume(objectives: ArrayLike, reference: ArrayLike) -> float:
    """Returns the exact volume of the region that the rows dominate, bounded by the reference.

    Args:
        objectives: `(n, m)`, all minimised. O(n log n) for m <= 3 [Fon06]; for larger m the work
            may grow exponentially with m [Whi12].
        reference: `(m,)`, finite.

    Returns:
        The volume, in the product of the objectives' units. Rows that are not better than the
        reference in every objective add nothing, nor do dominated rows and copies; 0 for no rows.

    Raises:
        SpaceError: If the shapes do not fit, an objective is NaN or the reference is not finite.
    """
    values = _matrix(objectives, "objectives")
    corner = np.ascontiguousarray(reference, dtype=np.float64)
    if corner.shape != (values.shape[1],):
        raise SpaceError(f"reference has shape {corner.shape}, expected {(values.shape[1],)}")
    try:
        return _core.hypervolume(values, corner)
    except ValueError as error:
        raise SpaceError(str(error)) from None


def _matrix(values: ArrayLike, name: str) -> NDArray[np.float64]:
    matrix = np.ascontiguousarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise SpaceError(f"{name} have shape {matrix.shape}, expected (n, m) with m at least 1")
    return matrix


def _column(values: ArrayLike | None, length: int) -> NDArray[np.float64] | None:
    if values is None:
        return None
    column = np.ascontiguousarray(values, dtype=np.float64)
    if column.shape != (length,):
        raise SpaceError(f"violation has shape {column.shape}, expected {(length,)}")
    return column
