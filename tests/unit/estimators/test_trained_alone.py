"""Errors of networks trained by themselves: the same each time, kept as soon as they are known."""

from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import DataError, RunError
from hwnas.estimators import trained_alone
from hwnas.estimators.tabulated import TabulatedEstimator
from hwnas.estimators.trained_alone import TrainedAloneEstimator
from hwnas.testing.estimator_conformance import EstimatorConformance
from hwnas.training.options import TrainingOptions

QUICK = TrainingOptions(epochs=1, augmentation=None)
PARTS = ("train", "val", "test")


@pytest.fixture(scope="module")
def few(digits):
    """64 training images and 50 to judge on."""
    return replace(
        digits,
        x_train=digits.x_train[:64],
        y_train=digits.y_train[:64],
        x_val=digits.x_val[:50],
        y_val=digits.y_val[:50],
    )


class TestTrainedAloneEstimator(EstimatorConformance):
    rows = 2

    @pytest.fixture
    def make_estimator(self, space, few):
        return lambda: TrainedAloneEstimator(space, few, QUICK)


@pytest.fixture
def pair(space):
    return np.stack([space.smallest().row(), space.largest().row()])


def test_training_makes_networks_better_than_chance(space, digits):
    options = replace(QUICK, epochs=4, learning_rate=0.1, zero_residual_scale=False)
    estimator = TrainedAloneEstimator(space, digits, options)

    error = estimator.error(space.largest().row()[None])[0]

    assert error < 0.5
    assert estimator.test_error(space.largest()) == pytest.approx(error, abs=0.15)


def test_errors_are_kept_and_not_trained_for_again(space, few, pair, tmp_path, monkeypatch):
    cache = tmp_path / "trained.csv"
    first = TrainedAloneEstimator(space, few, QUICK, cache=cache).error(pair)

    def refuse(*_arguments, **_more):
        raise AssertionError("it is known already")

    monkeypatch.setattr(trained_alone, "train_alone", refuse)
    again = TrainedAloneEstimator(space, few, QUICK, cache=cache).error(pair[::-1])

    np.testing.assert_array_equal(again, first[::-1])
    np.testing.assert_array_equal(TabulatedEstimator(space, cache).error(pair), first)


def test_a_killed_run_keeps_every_network_but_the_one_in_training(
    space, few, pair, tmp_path, monkeypatch
):
    cache, whole = tmp_path / "trained.csv", TrainedAloneEstimator(space, few, QUICK).error(pair)
    train, calls = trained_alone.train_alone, []

    def killed(*arguments, **more):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **more)

    monkeypatch.setattr(trained_alone, "train_alone", killed)
    with pytest.raises(KeyboardInterrupt):
        TrainedAloneEstimator(space, few, QUICK, cache=cache).error(pair)
    resumed = TrainedAloneEstimator(space, few, QUICK, cache=cache).error(pair)

    np.testing.assert_array_equal(resumed, whole)
    assert len(calls) == 3


def test_another_seed_is_another_training_and_needs_another_cache(space, few, pair, tmp_path):
    cache = tmp_path / "trained.csv"
    first = TrainedAloneEstimator(space, few, QUICK, cache=cache).error(pair)
    other = TrainedAloneEstimator(space, few, QUICK, seed=1)

    assert not np.array_equal(other.error(pair), first)
    with pytest.raises(RunError, match="is of seed '0', asked for '1'"):
        TrainedAloneEstimator(space, few, QUICK, seed=1, cache=cache).error(pair)


def test_progress_tells_how_many_are_trained(space, few, pair):
    seen = []

    TrainedAloneEstimator(
        space, few, QUICK, progress=lambda text, share: seen.append((text, share))
    ).error(pair)

    assert seen == [("trained 1 of 2 networks", 0.5), ("trained 2 of 2 networks", 1.0)]


def test_data_that_do_not_fit_are_refused_before_anything_is_trained(space, few):
    small = {f"x_{part}": getattr(few, f"x_{part}")[:, :, :8, :8] for part in PARTS}

    with pytest.raises(DataError, match="choose a space of that image side"):
        TrainedAloneEstimator(space, replace(few, **small))
