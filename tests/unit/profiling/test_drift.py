import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.profiling.drift import HALF_WINDOW, medians_by_item, relative_slowness


def interleaved(rng, kinds, rounds):
    return np.concatenate([rng.permutation(kinds) for _ in range(rounds)]).astype(np.intp)


def recovered(items, values, sessions=None):
    return medians_by_item(items, values / relative_slowness(items, values, sessions))


def slow_wave(n):
    """Up to twice as slow, several times over, with two sudden steps."""
    t = np.linspace(0, 1, n)
    wave = 1 + 0.5 * (1 + np.sin(2 * np.pi * 5 * t)) / 2
    wave[int(0.4 * n) : int(0.6 * n)] *= 1.6
    return wave / np.median(wave)


@pytest.mark.parametrize("seed", range(5))
def test_medians_under_a_drifting_speed_are_recovered(seed):
    rng = np.random.default_rng(seed)
    medians = rng.uniform(1e-5, 1e-2, 40)
    items = interleaved(rng, 40, 150)
    values = medians[items] * slow_wave(len(items)) * (1 + 0.02 * rng.standard_normal(len(items)))

    steady = values / relative_slowness(items, values)

    ratio = medians_by_item(items, steady) / medians
    assert np.abs(ratio / np.median(ratio) - 1).max() < 0.015
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    assert np.std(np.log(values / medians[items])) > 0.15
    assert np.std(np.log(steady / medians[items])) < 0.03


def test_outliers_do_not_move_the_speed():
    rng = np.random.default_rng(0)
    medians = rng.uniform(1, 10, 20)
    items = interleaved(rng, 20, 60)
    values = medians[items] * (1 + 0.01 * rng.standard_normal(len(items)))
    hit = rng.random(len(items)) < 0.05
    values[hit] *= 20

    assert np.abs(recovered(items, values) / medians - 1).max() < 0.01


def test_a_steady_machine_is_left_alone():
    rng = np.random.default_rng(1)
    items = interleaved(rng, 10, 20)
    medians = rng.uniform(1, 2, 10)

    assert relative_slowness(items, medians[items]) == pytest.approx(np.ones(len(items)))


def test_the_spread_that_is_left_is_not_flattered():
    # Pure noise: whatever is divided out may only add to the spread, never take from it.
    rng = np.random.default_rng(2)
    items = interleaved(rng, 30, 200)
    noise = np.exp(0.1 * rng.standard_normal(len(items)))
    medians = rng.uniform(1, 10, 30)

    steady = noise / relative_slowness(items, medians[items] * noise)

    assert np.std(np.log(steady)) >= 0.1 * 0.99
    assert np.std(np.log(steady)) <= 0.1 * np.sqrt(1 + np.pi / 2 / (2 * HALF_WINDOW)) * 1.05


def test_a_sample_has_no_part_in_its_own_factor():
    rng = np.random.default_rng(3)
    items = interleaved(rng, 10, 40)
    values = rng.uniform(1, 2, 10)[items]
    hit = values.copy()
    hit[200] *= 100

    assert relative_slowness(items, hit)[200] == pytest.approx(1, rel=1e-6)


def test_later_sessions_are_brought_to_the_speed_of_the_first():
    rng = np.random.default_rng(4)
    medians = rng.uniform(1, 10, 20)
    items = interleaved(rng, 20, 60)
    sessions = np.repeat([0, 1, 2], len(items) // 3)
    speed = np.array([1.0, 1.7, 0.6])[sessions]
    values = medians[items] * speed * (1 + 0.01 * rng.standard_normal(len(items)))

    slowness = relative_slowness(items, values, sessions)

    assert [np.median(slowness[sessions == s]) for s in range(3)] == pytest.approx(
        [1, 1.7, 0.6], rel=0.01
    )
    assert np.abs(medians_by_item(items, values / slowness) / medians - 1).max() < 0.01


def test_windows_do_not_reach_into_another_session():
    rng = np.random.default_rng(5)
    items = np.tile(np.arange(5), 8).astype(np.intp)
    values = np.ones(40)
    values[20:] = 3.0
    sessions = np.repeat([0, 1], 20)

    slowness = relative_slowness(items, values + 1e-9 * rng.random(40), sessions)

    assert slowness[:20] == pytest.approx(np.ones(20), rel=1e-6)
    assert slowness[20:] == pytest.approx(np.full(20, 3.0), rel=1e-6)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_samples_are_left_alone(n):
    assert relative_slowness(np.zeros(n, np.intp), np.ones(n)).tolist() == [1.0] * n


def test_a_session_of_one_sample_is_left_alone():
    slowness = relative_slowness(
        np.zeros(3, np.intp), np.array([1.0, 1.0, 5.0]), np.array([0, 0, 1])
    )

    assert slowness.tolist() == [1, 1, 1]


@settings(deadline=None)
@given(data=st.lists(st.tuples(st.integers(0, 6), st.floats(1e-9, 1e9)), min_size=1, max_size=60))
def test_medians_by_item_are_numpys(data):
    items = np.array([item for item, _ in data], dtype=np.intp)
    values = np.array([value for _, value in data])

    found = medians_by_item(items, values)

    assert len(found) == items.max() + 1
    for item, median in enumerate(found):
        mine = values[items == item]
        assert np.isnan(median) if not len(mine) else median == pytest.approx(np.median(mine))
