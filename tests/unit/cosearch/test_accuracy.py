import numpy as np
import pytest

from hwnas.cosearch import check_weights
from hwnas.errors import QuantityError, RunError


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ((1.0,), "1 weights for 2 spaces"),
        ((0.5, 0.6), "sum to 1.1"),
        ((0.0, 0.0), "sum to 0"),
        ((1.5, -0.5), "must be 0 or more"),
        ((float("nan"), 1.0), "must be 0 or more"),
    ],
)
def test_weights_that_are_no_shares_are_refused(weights, said):
    with pytest.raises(QuantityError, match=said):
        check_weights(weights, 2)


def test_errors_are_weighted_over_the_tasks(make_problem):
    problem, estimators = make_problem()
    rows = problem.joint.sample(6, np.random.default_rng(0))
    parts = problem.joint.split(rows)

    found = problem.errors.weighted(rows)

    wanted = 0.5 * estimators[0].error(parts[0]) + 0.5 * estimators[1].error(parts[1])
    np.testing.assert_allclose(found, wanted)


def test_each_network_is_asked_for_once(make_problem):
    problem, estimators = make_problem()
    rows = problem.joint.sample(30, np.random.default_rng(0))

    problem.errors.errors(rows)
    problem.errors.errors(rows[::-1])

    for estimator, known in zip(estimators, problem.errors.queries, strict=True):
        asked = np.concatenate(estimator.asked)
        assert len(asked) == len(np.unique(asked, axis=0)) == known


def test_what_is_known_is_not_asked_for_after_a_resume(make_problem):
    problem, _ = make_problem()
    rows = problem.joint.sample(10, np.random.default_rng(0))
    wanted = problem.errors.errors(rows)
    resumed, estimators = make_problem()

    resumed.errors.restore(problem.errors.state())

    np.testing.assert_array_equal(resumed.errors.errors(rows), wanted)
    assert not any(estimator.asked for estimator in estimators)


def test_errors_of_other_spaces_are_refused(make_problem):
    problem, _ = make_problem()
    state = problem.errors.state()

    with pytest.raises(RunError, match="rows0"):
        problem.errors.restore({**state, "rows0": np.zeros((1, 2), np.uint8)})
