import math

import numpy as np
import pytest

from hwnas.cosearch import Penalty, Specs
from hwnas.errors import QuantityError

CLOCK_HZ = 1e9


def test_specs_are_read_with_their_units():
    specs = Specs.parse("latency=8e5cycles,energy=2e9nJ, area=4e9um2", CLOCK_HZ)

    assert specs == Specs(8e5, 2.0, 4e3)


def test_a_latency_may_be_a_time():
    assert Specs.parse("latency=0.8ms", 5e8).latency_cycles == pytest.approx(4e5)


def test_what_is_not_asked_for_is_not_limited():
    specs = Specs.parse("energy=1J", CLOCK_HZ)

    assert math.isinf(specs.latency_cycles)
    assert [budget.metric for budget in specs.budgets().limits] == ["energy_j"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot read spec"),
        ("latency", "cannot read spec"),
        ("power=3", "cannot read spec 'power=3'"),
        ("latency=8e5", "has no unit"),
        ("latency=8e5J", "not one of time"),
        ("area=4m2", "not one of area"),
        ("energy=0J", "not a positive"),
        ("energy=-1J", "cannot read"),
        ("energy=1J,energy=2J", "two specs on energy"),
        ("latency=1cycles,latency=1ms", "two specs on latency"),
    ],
)
def test_what_is_no_spec_is_refused(text, said):
    with pytest.raises(QuantityError, match=said):
        Specs.parse(text, CLOCK_HZ)


def test_the_penalty_is_0_if_and_only_if_all_specs_are_met():
    penalty = Penalty(Specs(10.0, 20.0, 30.0), np.array([20.0, 40.0, 60.0]))
    costs = np.array([[10, 20, 30], [1, 1, 1], [10.1, 20, 30], [1, 1, 31]], float)

    found = penalty(costs)

    assert (found[:2] == 0).all()
    assert (found[2:] > 0).all()


def test_the_penalty_is_1_for_each_metric_at_its_bound():
    penalty = Penalty(Specs(10.0, 20.0, 30.0), np.array([20.0, 40.0, 60.0]))

    found = penalty(np.array([[20, 1, 1], [20, 40, 1], [20, 40, 60], [15, 30, 45]], float))

    np.testing.assert_allclose(found, [1, 2, 3, 1.5])


def test_what_cannot_run_counts_as_at_the_bound():
    penalty = Penalty(Specs(10.0, 20.0), np.array([20.0, 40.0, 60.0]))

    assert penalty(np.array([[math.inf, math.inf, 5.0]])).tolist() == [2.0]


def test_bounds_are_above_the_specs_whatever_was_explored():
    specs = Specs(10.0, 20.0, 30.0)
    costs = np.array([[1e3, math.inf, 1.0]] * 20)

    found = Penalty.explored(specs, costs)

    assert found.bounds.tolist() == [1e3, 40.0, 60.0]
