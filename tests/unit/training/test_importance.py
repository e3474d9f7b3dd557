"""Importance sampling: probabilities, their floor, and the variance they save."""

import numpy as np
import pytest

from hwnas.training.importance import importance, smoothed


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_probabilities_sum_to_one_and_keep_the_uniform_share(share):
    statistic = np.random.default_rng(0).exponential(size=12)
    statistic[3] = 0.0

    found = importance(statistic, share)

    assert found.sum() == pytest.approx(1.0)
    assert (found >= (1.0 - share) / 12 - 1e-12).all()
    assert found[3] == pytest.approx((1.0 - share) / 12)


def test_all_importance_is_proportional_to_the_statistic():
    assert importance(np.array([1.0, 3.0, 4.0]), 1.0) == pytest.approx([0.125, 0.375, 0.5])


def test_what_was_not_seen_counts_as_the_mean_of_the_others():
    assert importance(np.array([1.0, np.nan, 3.0]), 1.0) == pytest.approx([1 / 6, 2 / 6, 3 / 6])


@pytest.mark.parametrize("statistic", [[0.0] * 4, [np.nan] * 4, [np.nan, 0.0, 0.0, 0.0]])
def test_without_any_statistic_the_draw_is_uniform(statistic):
    assert importance(np.array(statistic), 1.0) == pytest.approx([0.25] * 4)


def test_smoothing_starts_with_the_first_value_and_then_takes_means():
    assert smoothed(float("nan"), 2.0) == 2.0
    assert smoothed(2.0, 4.0) == 3.0


def test_weighted_draws_by_norm_have_less_variance_than_uniform_ones():
    rng = np.random.default_rng(0)
    terms = rng.normal(size=(10, 6)) * rng.exponential(size=(10, 1))

    def variance(p):
        estimates = terms / (10 * p[:, None])
        assert p @ estimates == pytest.approx(terms.mean(0))
        return p @ ((estimates - terms.mean(0)) ** 2).sum(1)

    by_norm = importance(np.linalg.norm(terms, axis=1), 1.0)
    assert variance(by_norm) < 0.9 * variance(np.full(10, 0.1))
