import numpy as np
import pytest

from hwnas.errors import QuantityError
from hwnas.search import Budget, Budgets

METRICS = ("latency_s", "energy_j")


def test_violations_are_relative_to_their_limits_and_summed():
    budgets = Budgets((Budget("latency_s", 2e-3), Budget("energy_j", 5.0)))

    violation = budgets.violation([[1e-3, 4], [2e-3, 5], [3e-3, 5], [4e-3, 10]], METRICS)

    assert violation == pytest.approx([0, 0, 0.5, 2])


def test_without_budgets_everything_is_feasible():
    assert not Budgets()
    assert Budgets().violation([[np.nan, 1]], METRICS).tolist() == [0]


def test_an_unknown_cost_violates_its_budget_without_end():
    budgets = Budgets((Budget("latency_s", 1.0),))

    assert budgets.violation([[np.nan, 0], [np.inf, 0], [0, np.nan]], METRICS).tolist() == [
        np.inf,
        np.inf,
        0,
    ]


def test_no_architectures_have_no_violations():
    budgets = Budgets((Budget("latency_s", 1.0),))

    assert budgets.violation(np.empty((0, 2)), METRICS).shape == (0,)


@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan, np.inf])
def test_a_limit_that_is_not_positive_and_finite_is_an_error(limit):
    with pytest.raises(QuantityError, match="latency_s"):
        Budget("latency_s", limit)


def test_two_budgets_on_one_metric_are_an_error():
    with pytest.raises(QuantityError, match="two budgets"):
        Budgets((Budget("latency_s", 1), Budget("latency_s", 2)))


def test_a_budget_on_a_cost_that_is_not_there_is_an_error():
    with pytest.raises(QuantityError, match="energy_j"):
        Budgets((Budget("energy_j", 1),)).violation([[1.0]], ("latency_s",))


def test_costs_of_another_width_are_an_error():
    with pytest.raises(QuantityError, match="shape"):
        Budgets().violation([[1.0]], METRICS)
