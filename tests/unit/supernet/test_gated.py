from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwnas.errors import SpaceError
from hwnas.spaces import ChoiceBlock, Decision, Presence, SearchSpace
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.spaces.mbconv_digits import mbconv_digits
from hwnas.supernet.activation_memory import peak_step_bytes
from hwnas.supernet.gated import (
    BlockGates,
    DepthGates,
    binary_gates,
    check_depth,
    gated_logits,
    mixture,
)
from hwnas.supernet.separate import SeparateSupernet
from hwnas.training.path_gradients import path_gradients

OPERATORS = tuple((kernel, expand) for expand in (3, 6, 2, 4, 5) for kernel in (3, 5, 7))


@pytest.fixture(scope="module")
def depths():
    """Three stages of one to three blocks, and their supernet."""
    space = mbconv_digits(resolution=16)
    return space, SeparateSupernet(space, torch.Generator().manual_seed(0))


def make_operators(candidates):
    """Three blocks with that many candidates each."""
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
        ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3)),
    ]
    decisions = []
    emit = partial(inverted_residual, width=8, kernel=0, expand=0)
    for i in range(3):
        decisions.append(Decision(f"b{i}.operator", OPERATORS[:candidates]))
        blocks.append(ChoiceBlock(f"b{i}", emit, {"operator": f"b{i}.operator"}))
    blocks.append(ChoiceBlock("classifier", partial(classifier, classes=10)))
    return SearchSpace(f"operators-{candidates}", tuple(decisions), tuple(blocks))


def one_hot_gates():
    return torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)


def images(n=8):
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(10, (n,), generator=generator)
    return torch.randn(n, 1, 16, 16, generator=generator), labels


def block_choice(space, block, row):
    return tuple(int(row[column]) for column in space.columns_of(block))


def test_gates_give_the_gradient_of_the_expectation_for_every_active_candidate():
    costs = torch.tensor([3.0, -1.0, 0.5, 7.0], dtype=torch.float64)
    parameter = torch.tensor([0.3, -0.2, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    wanted = torch.autograd.grad((parameter.softmax(0) * costs).sum(), parameter)[0]

    for active in range(4):
        gates = binary_gates(parameter.softmax(0), active)
        assert gates.tolist() == pytest.approx([float(i == active) for i in range(4)], abs=1e-15)
        found = torch.autograd.grad((gates * costs).sum(), parameter)[0]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)


def test_the_gate_gradient_is_the_product_with_the_output():
    gates = one_hot_gates()
    active, other = torch.randn(2, 3, 4)
    weight = torch.randn(3, 4)

    mixed = mixture(active, gates, lambda: other)

    torch.testing.assert_close(mixed, active, rtol=0, atol=0)
    (found,) = torch.autograd.grad((mixed * weight).sum(), gates)
    wanted = torch.stack([(weight * active).sum(), (weight * other).sum()])
    torch.testing.assert_close(found, wanted.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("active", "other"), [(0, 2), (0, 1), (1, 2), (2, 0), (2, 1), (1, 0)])
def test_gradients_are_those_of_a_network_that_holds_both_paths(depths, active, other):
    space, supernet = depths
    rng = np.random.default_rng(active * 3 + other)
    row, rival = rng.integers(0, space.option_counts, (2, len(space.decisions)))
    stages = [i for i, decision in enumerate(space.decisions) if decision.name.endswith("depth")]
    row[stages], rival[stages] = active, active
    searched = [i for i, block in enumerate(space.blocks) if block.reads]
    block_gates = {i: one_hot_gates() for i in searched}
    depth_gates = {column: one_hot_gates() for column in stages}
    x, labels = images()

    logits = gated_logits(
        supernet,
        x,
        row,
        {i: BlockGates(block_choice(space, i, rival), g) for i, g in block_gates.items()},
        [DepthGates(column, other, gates) for column, gates in depth_gates.items()],
    )
    loss = functional.cross_entropy(logits, labels)
    gates = [*block_gates.values(), *depth_gates.values()]
    found = torch.autograd.grad(loss, gates, allow_unused=True)

    slow = functional.cross_entropy(
        both_paths(space, supernet, x, row, rival, block_gates, depth_gates, other), labels
    )
    wanted = torch.autograd.grad(slow, gates, allow_unused=True)
    plain = supernet(x, space.architecture(row.astype(np.uint8)))
    torch.testing.assert_close(logits, plain, rtol=0, atol=0)
    assert [g is None for g in found] == [g is None for g in wanted]
    assert sum(g is not None for g in found) == 3 * (active + 1) + 3
    for one, two in zip(found, wanted, strict=True):
        if one is not None:
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def both_paths(space, supernet, x, row, rival, block_gates, depth_gates, other):
    """The definition: every mixture computed as a weighted sum, everything in the graph."""

    def run(block, choice, value):
        plan = supernet.block_plan(block, choice)
        if plan.is_empty:
            return value
        return plan([value], supernet.block_weights(block, choice), training=True)[0]

    value, stage_results = x, []
    for index, block in enumerate(space.blocks):
        present = block.present
        before, choice = value, block_choice(space, index, row)
        value = run(index, choice, before)
        is_there = present is None or row[space.columns_of(index)[0]] + 1 >= present.minimum
        if index in block_gates and is_there:
            gates = block_gates[index].float()
            value = gates[0] * value + gates[1] * run(
                index, block_choice(space, index, rival), before
            )
        if not block.reads:
            continue
        stage_results = [*stage_results, value] if index % 3 != 2 else [value]
        if len(stage_results) == 3:  # the stage's last block
            column = space.columns_of(index)[0]
            active = int(row[column])
            second = stage_results[min(other, active)]
            for deeper in range(active + 1, other + 1):
                at = index - 2 + deeper
                choice = (deeper, *block_choice(space, at, row)[1:])
                second = run(at, choice, second)
            gates = depth_gates[column].float()
            value = gates[0] * value + gates[1] * second
    return value


def test_weights_are_constant_and_untouched(depths):
    space, supernet = depths
    row = space.largest().row()
    gates = one_hot_gates()
    other = (*block_choice(space, 2, row)[:-1], 0)
    x, labels = images()
    before = [p.detach().clone() for p in supernet.parameters()]

    logits = gated_logits(supernet, x, row, {2: BlockGates(other, gates)})
    functional.cross_entropy(logits, labels).backward()

    assert gates.grad is not None
    assert all(p.grad is None for p in supernet.parameters())
    assert all(torch.equal(p, b) for p, b in zip(supernet.parameters(), before, strict=True))


def test_memory_is_that_of_one_path_for_any_number_of_candidates():
    x, labels = images(16)

    def loss_of(logits):
        return functional.cross_entropy(logits, labels)

    two, one = [], []
    for candidates in (3, 7, 15):
        space = make_operators(candidates)
        supernet = SeparateSupernet(space, torch.Generator().manual_seed(0))

        def train(operator, space=space, supernet=supernet):
            path = space.architecture([operator] * 3)
            return path_gradients(supernet, [path], x, lambda i, logits, t: loss_of(logits))

        def step(active, other, space=space, supernet=supernet):
            gates = [one_hot_gates() for _ in range(3)]
            blocks = {2 + i: BlockGates((other,), gate) for i, gate in enumerate(gates)}
            row = np.full(3, active, np.uint8)
            return torch.autograd.grad(loss_of(gated_logits(supernet, x, row, blocks)), gates)

        pairs = [(0, candidates - 1), (candidates - 1, 0)]
        ratios = [
            peak_step_bytes(partial(step, *pair))
            / max(peak_step_bytes(partial(train, p)) for p in pair)
            for pair in pairs
        ]
        assert max(ratios) <= 2.3
        two.append(peak_step_bytes(partial(step, 0, 2)))
        one.append(peak_step_bytes(partial(train, 0)))

    assert len(set(two)) == 1
    assert len(set(one)) == 1
    assert two[0] <= 2.3 * one[0]


def test_a_decision_that_is_no_depth_is_refused():
    unit = partial(conv_unit, width=8, kernel=3)

    def make(*blocks, names=("d",)):
        decisions = tuple(Decision(name, (1, 2, 3)) for name in names)
        first = ChoiceBlock("input", partial(network_input, channels=8, resolution=8))
        return SearchSpace("odd", decisions, (first, *blocks))

    chain = make(
        ChoiceBlock("a", unit, present=Presence("d", 2)),
        ChoiceBlock("b", unit, present=Presence("d", 3)),
        ChoiceBlock("c", unit),
    )
    broken = make(
        ChoiceBlock("a", unit, present=Presence("d", 2)),
        ChoiceBlock("c", unit),
        ChoiceBlock("b", unit, present=Presence("d", 3)),
    )
    shapes = make(
        ChoiceBlock("a", unit, present=Presence("d", 2)),
        ChoiceBlock("c", unit, shaped_by=("d",)),
    )

    check_depth(chain, 0)
    with pytest.raises(SpaceError, match=r"'d' gates blocks that are no chain.*proxyless-rl"):
        check_depth(broken, 0)
    with pytest.raises(SpaceError, match=r"'d' shapes block 'c'.*proxyless-rl"):
        check_depth(shapes, 0)
