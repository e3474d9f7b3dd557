import math

import numpy as np
import pytest
import torch

from hwnas.errors import RunError, SpaceError
from hwnas.search.gradient.hardware_loss import (
    HARDWARE_LOSSES,
    AddLinear,
    AugmentedLagrangian,
    HardwareLoss,
    LogCost,
    MulLog,
    make_hardware_loss,
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def _made(name, factor=1.0):
    return make_hardware_loss(
        name, targets=[2e-3 * factor, 5e-3 * factor], largest=[8e-3 * factor, 9e-3 * factor]
    )


@pytest.mark.parametrize("name", HARDWARE_LOSSES)
def test_losses_do_not_depend_on_the_unit(name):
    task = torch.tensor(1.7, dtype=torch.float64)
    cost = _tensor(3e-3, 6e-3)
    values = []
    for factor in (1.0, 1e3, 1e-6):
        loss = _made(name, factor)
        loss.update(2 * cost.numpy() * factor)
        values.append(float(loss(task, factor * cost)))

    assert values == pytest.approx([values[0]] * 3, rel=1e-12)


@pytest.mark.parametrize("name", HARDWARE_LOSSES)
def test_losses_rise_with_every_cost_over_its_target(name):
    loss = _made(name)
    assert isinstance(loss, HardwareLoss)
    task = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    cost = _tensor(3e-3, 6e-3).requires_grad_()

    value = loss(task, cost)
    slopes = torch.autograd.grad(value, [task, cost])

    assert value.shape == ()
    assert float(slopes[0]) > 0
    assert (slopes[1] > 0).all()
    assert torch.autograd.gradcheck(loss, (task, cost))


@pytest.mark.parametrize("name", HARDWARE_LOSSES)
def test_a_single_budget_may_come_as_a_scalar_and_the_type_is_the_tasks(name):
    loss = make_hardware_loss(name, targets=[2e-3], largest=[8e-3])
    task = torch.tensor(1.0)

    scalar = loss(task, torch.tensor(3e-3, dtype=torch.float64))

    assert scalar.dtype == torch.float32
    assert scalar == loss(task, _tensor(3e-3))


def test_log_cost_is_the_formula():
    loss = LogCost((8e-3,), weight=0.5)
    cost = _tensor(2e-3).requires_grad_()

    value = loss(torch.tensor(1.0, dtype=torch.float64), cost)
    value.backward()

    assert value.item() == pytest.approx(1 + 0.5 * math.log(0.25))
    assert cost.grad.item() == pytest.approx(0.5 / 2e-3)


def test_mul_log_is_the_published_form_at_a_target_of_80_ms():
    # a CE (ln E / ln T)^b with E = 100 ms and T = 80 ms
    loss = MulLog((80e-3,), a=0.2, b=0.3)

    value = loss(torch.tensor(1.5, dtype=torch.float64), _tensor(100e-3))

    assert value.item() == pytest.approx(0.2 * 1.5 * (math.log(100) / math.log(80)) ** 0.3)


def test_mul_log_stays_finite_far_below_the_target():
    loss = MulLog((80e-3,))
    cost = _tensor(1e-3).requires_grad_()

    value = loss(torch.tensor(1.5, dtype=torch.float64), cost)
    value.backward()

    assert value.item() == pytest.approx(0.2 * 1.5 * (1 / math.log(80)) ** 0.3)
    assert float(cost.grad) == 0


def test_add_linear_is_the_formula():
    loss = AddLinear((2e-3, 5e-3), weight=0.1)

    value = loss(torch.tensor(1.0, dtype=torch.float64), _tensor(3e-3, 4e-3))

    assert value.item() == pytest.approx(1 + 0.1 * (0.5 - 0.2))


def test_the_lagrangian_is_the_formula():
    loss = AugmentedLagrangian((2e-3,), penalty=4.0, margin=0.0)
    task = torch.tensor(1.0, dtype=torch.float64)
    above, below = _tensor(2e-3 * math.e), _tensor(2e-3 / math.e)

    assert float(loss(task, above)) == pytest.approx(1 + 4.0 / 2)
    assert float(loss(task, below)) == 1
    loss.update(above)  # mu = 4; the excess is new, so rho stays 4
    assert loss.state() == pytest.approx({"multiplier.0": 4, "penalty.0": 4, "excess.0": 1})
    assert float(loss(task, above)) == pytest.approx(1 + (8**2 - 4**2) / 8)
    assert float(loss(task, below)) == pytest.approx(1 - 4**2 / 8)


def test_the_penalty_grows_where_the_excess_stays_and_falls_where_the_budget_is_slack():
    loss = AugmentedLagrangian((1.0, 1.0), growth=2.0, most=4.0)

    def penalties(*costs):
        loss.update(costs)
        return [loss.state()[f"penalty.{i}"] for i in range(2)]

    assert penalties(2.0, 2.0) == [1, 1]
    assert penalties(2.0, 1.5) == [2, 1]  # ln 1.5 < 0.75 ln 2
    assert penalties(2.0, 0.99) == [4, 1]
    assert penalties(2.0, 0.99) == [4, 1]  # the largest one
    assert penalties(0.5, 1.5) == [2, 1]
    multiplier = loss.state()["multiplier.0"]
    assert penalties(0.5, 0.5) == [1, 1]
    assert loss.state()["multiplier.0"] < multiplier
    for _ in range(20):
        loss.update([0.5, 0.5])
    assert loss.state()["multiplier.0"] == loss.state()["multiplier.1"] == 0


class _Toy:
    """Logits drawn to the costliest options; cost is a product form in the probabilities."""

    def __init__(self, seed, budgets=1):
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape):
            return torch.rand(*shape, generator=generator, dtype=torch.float64)

        self.wanted = 2 * uniform(3, 4).cumsum(1)
        self.slots = uniform(budgets, 4, 4, 4).cumsum(1).cumsum(2).cumsum(3) + 0.2
        self.logits = self.wanted.clone().requires_grad_()
        self.largest = self.cost().detach()

    def cost(self):
        """Expected cost of a block of three independent decisions, `(b,)`."""
        p = self.logits.softmax(1)
        return self.slots @ p[2] @ p[1] @ p[0]

    def task(self):
        return ((self.logits - self.wanted) ** 2).sum() / 4

    def minimise(self, loss, epochs, steps):
        optimiser = torch.optim.Adam([self.logits], lr=0.03)
        for _ in range(epochs):
            for _ in range(steps):
                optimiser.zero_grad()
                loss(self.task(), self.cost()).backward()
                optimiser.step()
            loss.update(self.cost().detach().numpy())
        return self.cost().detach()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_the_lagrangian_ends_just_under_the_budget(share):
    toy = _Toy(seed=0)
    target = share * toy.largest

    cost = toy.minimise(AugmentedLagrangian(tuple(target.tolist())), epochs=25, steps=20)

    assert 0.98 <= float(cost / target) <= 1.0


def test_the_lagrangian_keeps_two_budgets_of_which_the_tighter_binds():
    toy = _Toy(seed=1, budgets=2)
    target = torch.tensor([0.5, 0.95], dtype=torch.float64) * toy.largest

    cost = toy.minimise(AugmentedLagrangian(tuple(target.tolist())), epochs=25, steps=20)

    ratios = (cost / target).tolist()
    assert max(ratios) <= 1.0
    assert max(ratios) >= 0.98


def test_the_lagrangian_leaves_a_search_alone_that_is_under_its_budget():
    toy = _Toy(seed=2)
    target = tuple((1.5 * toy.largest).tolist())

    cost = toy.minimise(AugmentedLagrangian(target), epochs=3, steps=10)

    torch.testing.assert_close(cost, toy.largest)


def test_the_lagrangian_returns_to_the_budget_from_far_under_it():
    toy = _Toy(seed=3)
    target = 0.6 * toy.largest
    loss = AugmentedLagrangian(tuple(target.tolist()))
    loss.restore({"multiplier.0": 60.0, "penalty.0": 100.0, "excess.0": 0.0})
    toy.minimise(_Frozen(loss), epochs=1, steps=80)
    assert (toy.cost() / target).item() < 0.9

    cost = toy.minimise(loss, epochs=30, steps=20)

    assert 0.98 <= float(cost / target) <= 1.0


class _Frozen:
    def __init__(self, loss):
        self.loss = loss

    def __call__(self, task, cost):
        return self.loss(task, cost)

    def update(self, derived_cost):
        pass


def test_a_larger_weight_gives_a_cheaper_result():
    costs = [
        float(_Toy(seed=0).minimise(LogCost((1.0,), weight=weight), epochs=1, steps=60))
        for weight in (0.0, 1.0, 10.0)
    ]

    assert costs == sorted(costs, reverse=True)
    assert costs[0] == pytest.approx(float(_Toy(seed=0).largest))


def test_a_lagrangian_goes_on_from_its_state():
    loss, other = (AugmentedLagrangian((1.0, 2.0)) for _ in range(2))
    loss.update([2.0, 1.0])
    loss.update([1.9, 3.0])

    other.restore(loss.state())

    assert other.state() == loss.state()
    loss.update([1.9, 3.0])
    other.update([1.9, 3.0])
    assert other.state() == loss.state()
    fresh = AugmentedLagrangian((1.0, 2.0))
    fresh.restore(AugmentedLagrangian((1.0, 2.0)).state())  # before the first update
    assert fresh.state()["excess.0"] == np.inf


def test_states_of_other_losses_are_refused():
    state = AugmentedLagrangian((1.0,)).state()

    with pytest.raises(RunError, match="state of another hardware loss"):
        LogCost((1.0,)).restore(state)
    with pytest.raises(RunError, match="state of another hardware loss"):
        AugmentedLagrangian((1.0, 1.0)).restore(state)
    for wrong in ({"penalty.0": 0.0}, {"multiplier.0": -1.0}, {"multiplier.0": float("nan")}):
        with pytest.raises(RunError, match="out of range"):
            AugmentedLagrangian((1.0,)).restore({**state, **wrong})
    LogCost((1.0,)).restore({})


def test_unknown_names_and_options_are_answered_with_those_there_are():
    with pytest.raises(SpaceError, match="available: log, mul-log, add-linear, lagrangian"):
        make_hardware_loss("linear", targets=[1.0])
    with pytest.raises(SpaceError, match=r"'log'.*unexpected keyword argument 'speed'"):
        make_hardware_loss("log", largest=[1.0], speed=3.0)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("log", {"targets": [1.0]}, "largest is"),
        ("mul-log", {"largest": [1.0]}, "targets is"),
        ("add-linear", {"targets": [0.0]}, "give positive costs"),
        ("lagrangian", {"targets": [math.inf]}, "give positive costs"),
        ("log", {"largest": [1.0], "weight": -1.0}, "weight is -1"),
        ("mul-log", {"targets": [1.0], "unit": 2.0}, "more than e"),
        ("lagrangian", {"targets": [1.0], "growth": 1.0}, "growth > 1"),
        ("lagrangian", {"targets": [1.0], "penalty": math.nan}, "0 < penalty"),
    ],
)
def test_numbers_out_of_range_are_refused(name, arguments, message):
    with pytest.raises(SpaceError, match=message):
        make_hardware_loss(name, **arguments)


@pytest.mark.parametrize("name", HARDWARE_LOSSES)
def test_a_wrong_number_of_costs_is_refused(name):
    with pytest.raises(SpaceError, match=r"over 2 costs: expected shape \(2,\), found \(3,\)"):
        _made(name)(torch.tensor(1.0), _tensor(1.0, 1.0, 1.0))


def test_derived_costs_are_checked():
    with pytest.raises(SpaceError, match="expected shape"):
        AugmentedLagrangian((1.0, 1.0)).update([1.0])
    for wrong in (math.nan, 0.0):
        with pytest.raises(SpaceError, match="must be positive"):
            AugmentedLagrangian((1.0,)).update([wrong])
