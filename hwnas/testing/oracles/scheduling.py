"""Schedules by trying everything, and what makes a schedule one.

Schedules without needless idle time are made by appending layers, each as early as its network and
its sub-accelerator are free: all orders and all assignments of a few layers are few enough.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["best_schedule", "check_schedule"]

T = TypeVar("T")
Floats = npt.NDArray[np.float64]


def best_schedule(
    cycles: Floats, energy: Floats, layers: npt.NDArray[np.int32], limit: float
) -> tuple[float, float, float]:
    """Least energy within the limit, least makespan of all, and least energy at that makespan.

    Args:
        cycles: `(u, k)`, infinite where a sub-accelerator cannot run a layer.
        energy: `(u, k)`.
        layers: `(networks, length)` rows of the costs; negative: no layer.
        limit: Cycles.

    Returns:
        Three numbers; the first is infinite if no schedule keeps the limit, all are if a layer
        runs nowhere.
    """
    chains = [[int(layer) for layer in row if layer >= 0] for row in layers]
    found = list(_schedules(cycles, energy, chains))
    within = min((joules for makespan, joules in found if makespan <= limit), default=np.inf)
    shortest, its_energy = min(found, default=(np.inf, np.inf))
    return within, shortest, its_energy


def _schedules(
    cycles: Floats, energy: Floats, chains: list[list[int]]
) -> Iterator[tuple[float, float]]:
    subs = cycles.shape[1]
    seen: set[tuple[object, ...]] = set()

    def extended(
        place: tuple[int, ...],
        network_free: tuple[float, ...],
        sub_free: tuple[float, ...],
        e: float,
    ) -> Iterator[tuple[float, float]]:
        state = (place, network_free, sub_free, e)
        if state in seen:
            return
        seen.add(state)
        if all(p == len(chain) for p, chain in zip(place, chains, strict=True)):
            yield max(network_free, default=0.0), e
            return
        for c, chain in enumerate(chains):
            if place[c] == len(chain):
                continue
            layer = chain[place[c]]
            for s in range(subs):
                if not np.isfinite(cycles[layer, s]) or not np.isfinite(energy[layer, s]):
                    continue
                end = max(network_free[c], sub_free[s]) + float(cycles[layer, s])
                yield from extended(
                    _with(place, c, place[c] + 1),
                    _with(network_free, c, end),
                    _with(sub_free, s, end),
                    e + float(energy[layer, s]),
                )

    zeros = tuple(0 for _ in chains)
    yield from extended(zeros, tuple(0.0 for _ in chains), tuple(0.0 for _ in range(subs)), 0.0)


def _with(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])


def check_schedule(
    cycles: Floats,
    energy: Floats,
    layers: npt.NDArray[np.int32],
    assignment: npt.NDArray[np.int8],
    start: Floats,
) -> tuple[float, float]:
    """Makespan and energy of a schedule, after making sure that it is one.

    Args:
        cycles: `(u, k)`.
        energy: `(u, k)`.
        layers: `(networks, length)`; negative: no layer.
        assignment: `(networks, length)`; -1 where there is no layer.
        start: `(networks, length)`.

    Raises:
        AssertionError: Layers of a network or on a sub-accelerator overlap or are out of order, or
            something stands where no layer is.
    """
    makespan, total = 0.0, 0.0
    on_sub: dict[int, list[tuple[float, float]]] = {}
    for row, subs, starts in zip(layers, assignment, start, strict=True):
        free = 0.0
        for layer, sub, begin in zip(row, subs, starts, strict=True):
            if layer < 0:
                assert sub == -1
                assert np.isnan(begin)
                continue
            end = float(begin + cycles[layer, sub])
            assert begin >= free, "a layer starts before the one in front of it ends"
            free = end
            on_sub.setdefault(int(sub), []).append((float(begin), end))
            makespan, total = max(makespan, end), total + float(energy[layer, sub])
    for spans in on_sub.values():
        spans.sort()
        for (_, earlier_end), (later, _) in pairwise(spans):
            assert later >= earlier_end, "two layers run on one sub-accelerator at a time"
    return makespan, total
