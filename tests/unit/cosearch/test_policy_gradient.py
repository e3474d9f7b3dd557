import numpy as np
import pytest

from hwnas.cosearch.policy_gradient import PolicyGradient, PolicyOptions
from hwnas.errors import RunError

COUNTS = np.array([4, 3], np.uint8)
OPTIONS = PolicyOptions(hidden=8, learning_rate=0.1, entropy_weight=0.02)


def policy(seed=0):
    return PolicyGradient(COUNTS, np.random.default_rng(seed), OPTIONS)


def step(learner, reward=lambda rows: (rows[:, 0] == 2) * 1.0, n=4):
    free = np.ones((n, 2), np.bool_)
    free[1:, 0] = False
    draw = learner.draw(free, np.full(2, -1))
    learner.learn(draw, reward(draw.rows), 1)
    return draw.rows


def test_what_is_rewarded_becomes_probable():
    learner = policy()
    for _ in range(60):
        step(learner, lambda rows: 1.0 * (rows[:, 0] == 2) + 0.5 * (rows[:, 1] == 1))

    rows = np.concatenate([step(learner)[:1] for _ in range(20)])
    assert (rows[:, 0] == 2).mean() > 0.7
    assert (rows[:, 1] == 1).mean() > 0.7


def test_only_the_order_of_rewards_counts():
    one, other = policy(), policy()

    for _ in range(5):
        step(one, lambda rows: 1e-3 * rows[:, 0] + 1e-6 * rows[:, 1])
        step(other, lambda rows: 1e3 * rows[:, 0] + rows[:, 1] - 7.0)

    np.testing.assert_array_equal(one.state()["parameters"], other.state()["parameters"])


def test_rewards_are_remembered_for_a_window_of_episodes():
    learner = PolicyGradient(COUNTS, np.random.default_rng(0), PolicyOptions(hidden=8, window=3))

    for reward in range(5):
        step(learner, lambda rows, reward=reward: np.full(len(rows), float(reward)))

    assert learner.state()["past"].tolist() == [2.0, 3.0, 4.0]


def test_a_constant_reward_teaches_nothing_but_entropy():
    learner = PolicyGradient(
        COUNTS, np.random.default_rng(0), PolicyOptions(hidden=8, entropy_weight=0.0)
    )
    before = learner.state()["parameters"]

    for _ in range(5):
        step(learner, lambda rows: np.ones(len(rows)))

    np.testing.assert_allclose(learner.state()["parameters"], before, atol=1e-3)


def test_a_resumed_policy_goes_on_bit_for_bit():
    unbroken = policy()
    for _ in range(5):
        step(unbroken)
    state = unbroken.state()
    wanted = [step(unbroken) for _ in range(5)]

    resumed = policy(seed=9)
    resumed.restore(state)

    for rows in wanted:
        np.testing.assert_array_equal(step(resumed), rows)
    np.testing.assert_array_equal(resumed.state()["parameters"], unbroken.state()["parameters"])


def test_a_policy_that_has_not_learnt_resumes_too():
    state = policy().state()

    resumed = policy(seed=3)
    resumed.restore(state)

    np.testing.assert_array_equal(step(resumed), step(policy()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"updates": "many"}, "how far"),
        ({"updates": -1}, "how far"),
        ({"past": np.zeros(4)}, "how far"),
        ({"past": np.full(1, np.nan)}, "how far"),
        ({"parameters": np.zeros(3, np.float32)}, "another size"),
        ({"parameters": np.zeros(3)}, "parameters"),
        ({"moment1": None}, "moment1"),
        ({"rng": "{}"}, "random state"),
    ],
)
def test_a_state_of_something_else_is_refused(change, said):
    learner = policy()
    step(learner)

    with pytest.raises(RunError, match=said):
        policy().restore({**learner.state(), **change})
