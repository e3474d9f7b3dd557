import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.profiling import estimate_median


@pytest.mark.parametrize("n", [20, 30, 100, 301])
@pytest.mark.parametrize("draw", ["standard_normal", "exponential", "standard_cauchy"])
def test_the_interval_holds_the_median_19_times_of_20(n, draw):
    rng = np.random.default_rng(n)
    true = math.log(2) if draw == "exponential" else 0.0

    held = []
    for _ in range(2000):
        found = estimate_median(getattr(rng, draw)(size=n))
        held.append(found.low <= true <= found.high)

    assert 0.94 <= np.mean(held) <= 0.99  # order statistics are discrete: a little above 95 %


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=200))
def test_the_parts_of_an_estimate_fit_together(samples):
    found = estimate_median(np.array(samples))

    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(np.median(samples))
    assert found.spread == pytest.approx(
        np.subtract(*np.quantile(samples, (0.75, 0.25))), abs=1e-12
    )
    assert found.repeats == len(samples)
    assert 0 <= found.outliers <= len(samples) // 2


def test_one_sample_is_all_there_is():
    found = estimate_median(np.array([3.0]))

    assert (found.value, found.low, found.high) == (3.0, 3.0, 3.0)
    assert (found.spread, found.repeats, found.outliers) == (0.0, 1, 0)


def test_of_two_samples_the_interval_is_the_range():
    found = estimate_median(np.array([4.0, 2.0]))

    assert (found.value, found.low, found.high) == (3.0, 2.0, 4.0)
    assert found.relative_interval == pytest.approx(1 / 3)


def test_samples_beyond_the_fence_are_counted_and_kept():
    found = estimate_median(np.array([1.0] * 10 + [1.1] * 10 + [50.0, 60.0]))

    assert found.outliers == 2
    assert found.repeats == 22


def test_samples_in_any_order_give_the_same():
    samples = np.random.default_rng(0).random(51)

    assert estimate_median(samples) == estimate_median(np.sort(samples)[::-1])


def test_a_known_part_is_taken_off_without_making_anything_free():
    found = estimate_median(np.array([2.0, 3.0, 4.0]))

    assert (found.less(1.0).value, found.less(1.0).low, found.less(1.0).spread) == (2.0, 1.0, 1.0)
    assert found.less(10.0).value == pytest.approx(3e-3)
    assert found.less(0.0) == found


def test_scaling_keeps_what_is_relative():
    found = estimate_median(np.array([2.0, 3.0, 4.0, 9.0]))
    scaled = found.scaled(7.0)

    assert scaled.value == 7 * found.value
    assert scaled.relative_interval == pytest.approx(found.relative_interval)
    assert scaled.relative_spread == pytest.approx(found.relative_spread)
    assert scaled.repeats == found.repeats


def test_a_median_of_zero_is_never_sure():
    found = estimate_median(np.zeros(5))

    assert found.relative_interval == math.inf
    assert found.relative_spread == math.inf
