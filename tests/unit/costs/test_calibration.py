import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.costs import Calibration, fit_calibration
from hwnas.errors import TableError


def networks(n, a, b, c, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    sums = rng.uniform(1e-3, 5e-3, n)
    kernels = rng.integers(8, 25, n).astype(float)
    totals = a + b * sums + c * kernels
    return sums, kernels, totals * (1 + noise * rng.standard_normal(n))


@settings(deadline=None)
@given(
    a=st.floats(1e-5, 1e-3),
    b=st.floats(0.5, 2.0),
    c=st.floats(5e-6, 1e-4),
    n=st.integers(6, 30),
    seed=st.integers(0, 2**32),
)
def test_known_coefficients_are_recovered(a, b, c, n, seed):
    sums, kernels, totals = networks(n, a, b, c, seed=seed)

    found = fit_calibration(sums, kernels, totals)

    np.testing.assert_allclose(found.apply(sums, kernels), totals, rtol=1e-6)
    assert (found.constant, found.slope, found.per_kernel) == pytest.approx((a, b, c), rel=1e-4)
    assert found.networks == n
    assert found.error < 1e-6


def test_a_pure_slope_needs_no_other_term():
    sums, kernels, totals = networks(16, 0.0, 1.3, 0.0)

    found = fit_calibration(sums, kernels, totals)

    assert (found.constant, found.per_kernel) == (0.0, 0.0)
    assert found.slope == pytest.approx(1.3)


def test_noise_buys_no_terms_that_are_not_there():
    free = 0
    for seed in range(40):
        found = fit_calibration(*networks(16, 0.0, 1.3, 0.0, noise=0.05, seed=seed))
        free += (found.constant, found.per_kernel) != (0.0, 0.0)
        assert found.slope > 0

    assert free <= 12


def test_few_noisy_networks_get_fewer_terms_than_many():
    def terms(n):
        fits = (
            fit_calibration(*networks(n, 2e-4, 1.1, 2e-5, noise=0.03, seed=s)) for s in range(30)
        )
        return sum((f.constant != 0.0) + (f.per_kernel != 0.0) for f in fits)

    assert terms(5) < terms(60)


def test_the_stated_error_is_that_of_networks_left_out():
    sums, kernels, totals = networks(12, 0.0, 1.2, 0.0, noise=0.05, seed=3)
    found = fit_calibration(sums, kernels, totals)
    assert (found.constant, found.per_kernel) == (0.0, 0.0)

    errors = []
    for i in range(12):
        rest = np.arange(12) != i
        ratio = sums[rest] / totals[rest]
        slope = ratio.sum() / (ratio**2).sum()
        errors.append(abs(slope * sums[i] / totals[i] - 1))

    assert found.error == pytest.approx(np.mean(errors))


@pytest.mark.parametrize("n", range(4))
def test_too_few_networks_change_nothing(n):
    found = fit_calibration(*networks(n, 1e-3, 2.0, 1e-5))

    assert found == pytest.approx(Calibration()) or found.networks == 0
    assert found.networks == 0
    assert np.isnan(found.error)
    assert found.apply([1.0, 2.0], [3, 4]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_network_without_a_cost_is_refused(bad):
    sums, kernels, totals = networks(6, 0.0, 1.0, 0.0)
    totals[3] = bad

    with pytest.raises(TableError, match="measure it again"):
        fit_calibration(sums, kernels, totals)


def test_networks_whose_blocks_cost_nothing_cannot_be_calibrated():
    with pytest.raises(TableError, match="measure again"):
        fit_calibration(np.zeros(6), np.ones(6), np.ones(6))


def test_networks_of_one_size_get_a_slope_and_nothing_odd():
    found = fit_calibration(np.full(6, 2.0), np.full(6, 10.0), np.full(6, 3.0))

    assert found.apply([2.0], [10.0]) == pytest.approx([3.0])
    assert found.slope == pytest.approx(1.5)
