"""Options of training: learning rates over time, and what is refused at once."""

import numpy as np
import pytest

from hwnas.errors import SpaceError
from hwnas.training.options import TrainingOptions, learning_rate_at


def rates(**options):
    made = TrainingOptions(learning_rate=1.0, **options)
    return np.array([learning_rate_at(made, p) for p in np.linspace(0, 1, 101)])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_learning_rate_rises_then_falls_to_its_final_share(schedule):
    found = rates(schedule=schedule, warmup_share=0.2, final_share=0.05)

    assert np.argmax(found) == 20
    assert max(found) == pytest.approx(1.0)
    assert found[-1] == pytest.approx(0.05)
    assert np.all(np.diff(found[:21]) > 0)
    assert np.all(np.diff(found[20:]) < 0)


def test_the_cosine_is_half_way_down_in_the_middle_and_the_line_everywhere_straight():
    assert rates(warmup_share=0.0, final_share=0.0)[50] == pytest.approx(0.5)
    line = rates(schedule="linear", warmup_share=0.0, final_share=0.2)
    np.testing.assert_allclose(line, np.linspace(1, 0.2, 101))


def test_the_exponential_falls_by_equal_factors_to_a_constant_ending():
    found = rates(schedule="exponential", warmup_share=0.0, final_share=0.05)

    np.testing.assert_allclose(found[1:51] / found[:50], 0.05**0.02)
    np.testing.assert_allclose(found[50:], 0.05)


def test_the_constant_rate_stays_after_its_warm_up():
    found = rates(schedule="constant", warmup_share=0.1)

    assert found[5] == pytest.approx(0.5)
    assert np.all(found[10:] == 1.0)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "exponential"])
def test_a_final_share_of_nothing_ends_at_nothing(schedule):
    assert rates(schedule=schedule, final_share=0.0)[-1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "at least 1 epoch"),
        ({"batch_size": 1}, "batches of at least 2"),
        ({"accumulate": 0}, "cannot be cut into 0 parts"),
        ({"batch_size": 8, "accumulate": 5}, "a batch of 8 cannot be cut into 5 parts"),
    ],
)
def test_options_that_make_no_training_are_refused(options, message):
    with pytest.raises(SpaceError, match=message):
        TrainingOptions(**options)
