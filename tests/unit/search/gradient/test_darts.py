from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.errors import RunError, SpaceError
from hwnas.search.budgets import Budget, Budgets
from hwnas.search.gradient.darts import Darts, SecondOrderDarts
from hwnas.search.gradient.darts_pt import DartsPt
from hwnas.search.gradient.drop_nas import DropNas
from hwnas.search.gradient.gradient_search import gradient_search
from hwnas.search.gradient.registry import load_gradient_strategy
from hwnas.spaces import get_space
from hwnas.supernet.cell_supernet import Edge
from hwnas.training.checkpoint import load_checkpoint, save_checkpoint
from hwnas.training.loop import DivergenceError
from hwnas.training.options import TrainingOptions
from hwnas.training.recipe import Batch

STRATEGIES = [Darts, SecondOrderDarts, DartsPt, DropNas]


class SelectionAlone(DartsPt):
    SELECTION_SHARE = 1.0


def first_batch(strategy):
    return next(strategy._loop.batches(torch.arange(16), 0))


def weights_of(strategy):
    return [p.detach().clone() for p in strategy.supernet.parameters()]


@pytest.mark.parametrize("made", [Darts, SecondOrderDarts])
def test_an_architecture_step_moves_every_edge_and_no_weight(cell_problem, made):
    strategy = made(cell_problem())
    weights = weights_of(strategy)
    before = strategy.distribution.parameters.detach().clone()

    strategy.architecture_step(first_batch(strategy), 0.1)

    assert all(map(torch.equal, weights, weights_of(strategy)))
    assert ((strategy.distribution.parameters.detach() - before).abs().amax(1) > 0).all()


def test_a_weight_step_has_no_gradient_for_the_architecture(cell_problem):
    strategy = Darts(cell_problem())

    strategy.weight_step(strategy.distribution.probabilities().detach(), first_batch(strategy))

    assert strategy.distribution.parameters.grad is None
    assert all(p.grad is not None for p in strategy.supernet.parameters())


@pytest.mark.parametrize("steps", [0, 2])
def test_the_unrolled_step_is_the_optimisers_own(cell_problem, steps):
    strategy = SecondOrderDarts(cell_problem(momentum=0.9, weight_decay=0.1))
    for group in strategy._optimiser.param_groups:
        group["nesterov"] = False
    batch = first_batch(strategy)
    probabilities = strategy.distribution.probabilities().detach()
    for _ in range(steps):
        strategy.weight_step(probabilities, batch)
        strategy._optimiser.step()

    strategy.weight_step(probabilities, batch)
    before = weights_of(strategy)
    step = strategy._unrolled_step([p.grad for p in strategy.supernet.parameters()])
    strategy._optimiser.step()

    rate = strategy.options.learning_rate
    for start, part, moved in zip(before, step, strategy.supernet.parameters(), strict=True):
        assert torch.allclose(start - rate * part, moved, atol=1e-6)


def test_second_order_differs_from_first_order_unless_the_step_is_zero(cell_problem):
    found = {}
    for rate in (0.0, 0.1):
        strategy = SecondOrderDarts(cell_problem())
        images, labels = strategy._x[:16], strategy._y[:16]

        def loss(strategy=strategy, images=images, labels=labels):
            probabilities = strategy.distribution.probabilities()
            return strategy.with_cost(
                strategy.task_loss(images, labels, probabilities), probabilities
            )

        batch = first_batch(strategy)
        found[rate], _ = strategy.architecture_gradient(loss, batch, rate)
        first, _ = Darts.architecture_gradient(strategy, loss, batch, rate)

        assert torch.allclose(found[rate], first) == (rate == 0.0)


def test_cost_turns_the_search_away_from_slow_operations(cell_problem):
    derived = []
    for weight in (0.0, 50.0):
        problem = cell_problem(weight=weight)
        strategy = Darts(problem)
        for _ in range(12):
            strategy.architecture_step(first_batch(strategy), 0.0)
        derived.append(float(problem.costs.cost(strategy.derive()[None])[0, 0]))

    smallest = float(problem.costs.cost(problem.space.smallest().row()[None])[0, 0])
    assert derived[1] < derived[0]
    assert derived[1] < 1.2 * smallest


def test_the_architecture_travels_as_far_in_any_run(cell_problem):
    short, long = Darts(cell_problem(epochs=25)), Darts(cell_problem(epochs=100))

    travel = [s.architecture_learning_rate() * 4 * s.options.epochs for s in (short, long)]
    assert travel == pytest.approx([6.0, 6.0])
    assert Darts(cell_problem(epochs=1)).architecture_learning_rate() == 0.1


@pytest.mark.parametrize("made", STRATEGIES)
def test_an_epoch_lowers_the_loss_and_reports_costs(cell_problem, made):
    strategy = made(cell_problem(epochs=5, learning_rate=0.3, batch_size=32))

    rows = [strategy.epoch(epoch) for epoch in range(3)]

    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["expected_macs"] > 0
    assert 1 / 3 <= rows[-1]["certainty"] <= 1


@pytest.mark.parametrize("made", [*STRATEGIES, SelectionAlone])
def test_a_restored_search_goes_on_bit_for_bit(cell_problem, made, tmp_path):
    unbroken = made(cell_problem(epochs=2, batch_size=32))
    for epoch in range(2):
        unbroken.epoch(epoch)
    broken = made(cell_problem(epochs=2, batch_size=32))
    broken.epoch(0)
    path, problem = tmp_path / "checkpoint.pt", broken.problem
    identity = {"space": "tiny-cells"}
    chance = {"generator": problem.generator, "rng": problem.rng}
    save_checkpoint(path, identity, broken.supernet, [], strategy=broken.state(), **chance)

    resumed = made(cell_problem(epochs=2, batch_size=32, seed=1))
    problem = resumed.problem
    found = load_checkpoint(path, identity)
    resumed.restore(found.parts["strategy"])
    found.load_into(supernet=resumed.supernet, generator=problem.generator, rng=problem.rng)
    resumed.epoch(1)

    assert torch.equal(resumed.distribution.parameters, unbroken.distribution.parameters)
    assert all(map(torch.equal, weights_of(resumed), weights_of(unbroken)))
    assert resumed.derive().tolist() == unbroken.derive().tolist()
    state, wanted = resumed.state(), unbroken.state()
    for name in {"decided", "scores", "is_there"} & set(state):
        assert torch.equal(state[name], wanted[name])


@pytest.mark.parametrize("made", STRATEGIES)
def test_a_damaged_state_is_refused(cell_problem, made):
    strategy = made(cell_problem())
    state = strategy.state()

    with pytest.raises(RunError, match="damaged"):
        strategy.restore({name: state[name] for name in sorted(state)[1:]})
    with pytest.raises(RunError, match="another space"):
        strategy.restore(state | {"architecture": torch.zeros(2, 4)})


@pytest.mark.parametrize("made", STRATEGIES)
def test_the_derived_network_is_the_most_preferred_one(cell_problem, made):
    strategy = made(cell_problem())
    strategy.epoch(0)

    preferred = [int(np.argmax(values)) for values in strategy.preference()]
    assert preferred == strategy.derive().tolist()


@pytest.mark.parametrize("made", STRATEGIES)
def test_a_search_under_a_budget_hands_over_networks_that_keep_it(
    cell_costs, small_digits, made, one_thread
):
    del one_thread
    space = cell_costs.space
    bounds = [
        float(cell_costs.cost(a.row()[None])[0, 0]) for a in (space.smallest(), space.largest())
    ]
    limit = bounds[0] + 0.3 * (bounds[1] - bounds[0])

    found = gradient_search(
        small_digits,
        cell_costs,
        Budgets((Budget("macs", limit),)),
        made.name,
        TrainingOptions(epochs=2, batch_size=16, augmentation=None),
        rng=np.random.default_rng(0),
    )

    assert load_gradient_strategy(made.name) is made
    assert (cell_costs.cost(found.population)[:, 0] <= limit).all()
    network = space.architecture(found.population[0])
    images = torch.from_numpy(small_digits.x_val)
    statistics = found.supernet.calibrate(network, torch.from_numpy(small_digits.x_train))
    assert torch.isfinite(found.supernet.logits(network, images, statistics)).all()


def test_spaces_that_it_cannot_search_are_refused(cell_problem):
    problem = cell_problem()
    for name, message in (("mbconv-digits", "not made of cells"), ("cells-digits-free", "subset")):
        with pytest.raises(SpaceError, match=message):
            Darts(replace(problem, space=get_space(name)))


def test_a_diverged_architecture_step_is_said_so(cell_problem, small_digits):
    x_val = small_digits.x_val.copy()
    problem = cell_problem(dataset=replace(small_digits, x_val=x_val))
    x_val[:] = np.nan

    with pytest.raises(DivergenceError, match="darts diverged in epoch 1"):
        Darts(problem).epoch(0)


def test_images_train_the_weights_that_a_derived_network_inherits(cell_problem):
    strategy = Darts(cell_problem())
    strategy.epoch(0)
    batch = first_batch(strategy)
    assert isinstance(batch, Batch)
    slots = strategy.distribution.slots
    row = slots.row({Edge(o, n, s): 2 for o, n in slots.nodes for s in (0, 1)})

    weights = strategy.supernet.weights(strategy.space.architecture(row))

    stored = strategy.supernet.shared_parameters()
    name = next(name for name in weights if "node2/edge0/sep_conv_3x3" in name)
    assert np.array_equal(weights[name], stored[name].detach().numpy())
