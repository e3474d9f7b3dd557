"""Dominance, crowding and hypervolume straight from their definitions: slow, short, in NumPy.

The native routines must agree with these. See :mod:`hwnas.search.dominance` for what they promise.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

__all__ = ["crowding_distance", "hypervolume", "non_dominated_sort", "nsga2_survive"]


def non_dominated_sort(
    objectives: NDArray[np.float64], violation: NDArray[np.float64] | None = None
) -> NDArray[np.int32]:
    """Returns ranks `(n,)`: takes away what nothing left dominates, again and again.

    Args:
        objectives: `(n, m)`.
        violation: `(n,)` or None.
    """
    n = len(objectives)
    excess = np.zeros(n) if violation is None else violation
    feasible = excess <= 0
    unusable = np.isnan(excess) | (feasible & np.isnan(objectives).any(axis=1))
    dominates = np.zeros((n, n), bool)
    for a, b in itertools.product(range(n), repeat=2):
        if unusable[a] or unusable[b]:
            dominates[a, b] = unusable[b] and not unusable[a]
        elif feasible[a] and feasible[b]:
            no_worse = (objectives[a] <= objectives[b]).all()
            dominates[a, b] = no_worse and (objectives[a] < objectives[b]).any()
        elif feasible[a] or feasible[b]:
            dominates[a, b] = feasible[a]
        else:
            dominates[a, b] = excess[a] < excess[b]
    ranks = np.full(n, -1, np.int32)
    rank = 0
    while (ranks < 0).any():
        left = ranks < 0
        ranks[left & ~dominates[left].any(axis=0)] = rank
        rank += 1
    return ranks


def crowding_distance(
    objectives: NDArray[np.float64], ranks: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Returns crowding distances `(n,)`, front by front and objective by objective.

    Args:
        objectives: `(n, m)`.
        ranks: `(n,)`.
    """
    distance = np.zeros(len(objectives))
    usable = ~np.isnan(objectives).any(axis=1)
    for rank in np.unique(ranks):
        rows = np.flatnonzero((ranks == rank) & usable)
        _, first = np.unique(objectives[rows], axis=0, return_index=True)
        members = [int(row) for row in rows[first]]
        if len(members) == 1:
            distance[members[0]] = np.inf
        for j in range(objectives.shape[1]):
            members.sort(key=lambda row: (objectives[row, j], *objectives[row]))
            values = objectives[members, j]
            if len(members) < 2 or not values[-1] > values[0]:
                continue
            span = values[-1] - values[0]
            distance[[members[0], members[-1]]] = np.inf
            if np.isfinite(span):
                distance[members[1:-1]] += (values[2:] - values[:-2]) / span
    return distance


def nsga2_survive(
    objectives: NDArray[np.float64], violation: NDArray[np.float64] | None, keep: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Returns indices, ranks and crowding `(k,)` of the best rows, best first.

    Args:
        objectives: `(n, m)`.
        violation: `(n,)` or None.
        keep: How many rows at most.
    """
    ranks = non_dominated_sort(objectives, violation)
    crowding = crowding_distance(objectives, ranks)
    order = np.lexsort((np.arange(len(ranks)), -crowding, ranks))[:keep].astype(np.int32)
    return order, ranks[order], crowding[order]


def hypervolume(points: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Returns the dominated volume: the sum of the grid cells whose lower corner is dominated.

    Args:
        points: `(n, m)`; the work grows as n to the m.
        reference: `(m,)`.
    """
    inside = points[(points < reference).all(axis=1)]
    ticks = [np.unique(np.append(inside[:, j], reference[j])) for j in range(points.shape[1])]
    total = 0.0
    for cell in itertools.product(*(range(len(tick) - 1) for tick in ticks)):
        corner = np.array([tick[i] for tick, i in zip(ticks, cell, strict=True)])
        sides = [tick[i + 1] - tick[i] for tick, i in zip(ticks, cell, strict=True)]
        if (inside <= corner).all(axis=1).any():
            total += float(np.prod(sides))
    return total
