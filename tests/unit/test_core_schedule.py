"""The native scheduler against trying everything, and against what makes a schedule one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas import _core
from hwnas.testing.oracles.scheduling import best_schedule, check_schedule

INF = np.inf


def drawn(rng, networks, length, subs):
    """Costs of small integers, so that ties are common; some layers cannot run somewhere."""
    shape = (networks * length, subs)
    cycles = rng.integers(1, 9, shape).astype(float)
    energy = rng.integers(1, 9, shape).astype(float)
    cycles[:, 1:][rng.random((shape[0], subs - 1)) < 0.15] = INF
    layers = np.arange(networks * length, dtype=np.int32).reshape(networks, length)
    layers[rng.random(layers.shape) < 0.15] = -1
    return cycles, energy, layers


def solved(cycles, energy, layers, limit, exact_labels=0):
    points = np.arange(cycles.shape[1], dtype=np.int32)[None]
    found = _core.schedule(cycles, energy, layers[None], points, limit, exact_labels)
    return [array[0] for array in found]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_exact_schedules_are_the_best_of_all(seed, data):
    rng = np.random.default_rng(seed)
    networks, length = data.draw(st.sampled_from([(1, 1), (1, 5), (2, 1), (2, 2), (2, 3), (3, 2)]))
    cycles, energy, layers = drawn(rng, networks, length, data.draw(st.integers(1, 3)))
    limit = float(rng.integers(4, 30))
    within, shortest, its_energy = best_schedule(cycles, energy, layers, limit)

    assignment, start, makespan, joules, makespan_bound, energy_bound = solved(
        cycles, energy, layers, limit, exact_labels=100_000
    )

    assert check_schedule(cycles, energy, layers, assignment, start) == (makespan, joules)
    if np.isfinite(within):
        assert makespan <= limit
        assert joules == energy_bound == within
    else:
        assert makespan == makespan_bound == shortest
        assert joules >= its_energy
        assert energy_bound == INF


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_bounds_of_the_heuristic_hold(seed):
    rng = np.random.default_rng(seed)
    cycles, energy, layers = drawn(rng, 2, 3, 2)
    limit = float(rng.integers(4, 30))
    within, shortest, _ = best_schedule(cycles, energy, layers, limit)

    assignment, start, makespan, joules, makespan_bound, energy_bound = solved(
        cycles, energy, layers, limit
    )

    assert check_schedule(cycles, energy, layers, assignment, start) == (makespan, joules)
    assert makespan_bound <= shortest <= makespan
    assert energy_bound <= within
    if makespan <= limit:
        assert within <= joules


def test_the_heuristic_is_near_the_bound_on_networks_of_many_layers():
    rng = np.random.default_rng(0)
    scale = rng.lognormal(10, 1, (200, 1))
    cycles = scale * rng.lognormal(0, 0.7, (200, 12))
    energy = scale * (1 + 0.3 * rng.lognormal(0, 0.7, (200, 12)))
    layers = rng.integers(0, 200, (100, 2, 15), dtype=np.int32)
    points = rng.integers(0, 12, (100, 2), dtype=np.int32)

    _, _, makespan, joules, _, bound = _core.schedule(cycles, energy, layers, points, 8e5)

    within = makespan <= 8e5
    assert within.sum() > 50
    assert np.median(1 - bound[within] / joules[within]) < 0.05


def test_a_limit_that_binds_costs_energy():
    cycles = np.array([[10.0, 2.0], [10.0, 2.0]])
    energy = np.array([[1.0, 5.0], [1.0, 5.0]])
    layers = np.array([[0, 1]], dtype=np.int32)

    energies = [solved(cycles, energy, layers, limit)[3] for limit in (20.0, 12.0, 4.0)]

    assert energies == [2.0, 6.0, 10.0]


def test_results_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(1)
    cycles, energy, _ = drawn(rng, 4, 5, 6)
    layers = rng.integers(-1, 20, (50, 2, 6), dtype=np.int32)
    points = rng.integers(-1, 6, (50, 2), dtype=np.int32)

    one, three = (
        _core.schedule(cycles, energy, layers, points, 20.0, 500, threads) for threads in (1, 3)
    )

    for left, right in zip(one, three, strict=True):
        np.testing.assert_array_equal(left, right)


def test_what_runs_nowhere_has_no_schedule():
    layers = np.array([[0]], dtype=np.int32)

    assignment, start, makespan, joules, _, bound = solved(
        np.full((1, 2), INF), np.ones((1, 2)), layers, 5.0
    )

    assert assignment[0, 0] == -1
    assert np.isnan(start[0, 0])
    assert makespan == joules == bound == INF


def test_no_chips_are_no_schedules():
    found = _core.schedule(
        np.ones((1, 1)),
        np.ones((1, 1)),
        np.empty((0, 2, 3), np.int32),
        np.empty((0, 2), np.int32),
        1,
    )

    assert [array.shape for array in found] == [(0, 2, 3), (0, 2, 3), (0,), (0,), (0,), (0,)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"limit": 0.0}, "limit must be positive"),
        ({"limit": np.nan}, "limit must be positive"),
        ({"layers": np.full((1, 1, 1), 2, np.int32)}, "layer 2 is out of range"),
        ({"points": np.full((1, 1), 1, np.int32)}, "point 1 is out of range"),
        ({"points": np.zeros((2, 1), np.int32)}, "points have 2 rows"),
        ({"points": np.zeros((1, 9), np.int32)}, "at most 8"),
        ({"layers": np.zeros((1, 9, 1), np.int32)}, "at most 8"),
        ({"cycles": np.full((2, 1), np.nan)}, "not a number"),
        ({"energy": np.ones((1, 1))}, "different shapes"),
        ({"threads": 0}, "threads must be"),
        ({"exact_labels": 10**9}, "exact_labels"),
    ],
)
def test_bad_arguments_are_refused(change, said):
    arguments = {
        "cycles": np.ones((2, 1)),
        "energy": np.ones((2, 1)),
        "layers": np.zeros((1, 1, 1), np.int32),
        "points": np.zeros((1, 1), np.int32),
        "limit": 1.0,
    }

    with pytest.raises(ValueError, match=said):
        _core.schedule(**{**arguments, **change})
