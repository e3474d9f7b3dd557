import csv
import gzip
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.costs import Calibration, CompiledCosts, Source, count_costs
from hwnas.costs.differentiable import DifferentiableCosts
from hwnas.errors import SpaceError
from hwnas.spaces import ChoiceBlock, Decision, Presence, SearchSpace, available_spaces, get_space

PIXEL1 = Path("published_tables/single_path_nas_pixel1.csv.gz")
PIXEL1_CONSTANT_MS = 19.5999  # stem, head and fixed blocks: the authors' code


def _never(*_, **__):
    raise AssertionError("a space is costed without emitting anything")


def _compiled(space, slots, metrics, constant):
    m = len(metrics)
    return CompiledCosts(
        space,
        Source("0", "random"),
        tuple(metrics),
        ("simulated",) * m,
        (Calibration(),) * m,
        tuple(slots),
        np.asarray(constant, np.float64),
    )


def _random_costs(seed):
    """Stages of random depth, blocks of random decisions, one decision that all blocks read."""
    rng = np.random.default_rng(seed)
    decisions = [Decision("size", tuple(range(rng.integers(1, 4))))]
    blocks = [ChoiceBlock("stem", _never), ChoiceBlock("sized", _never, shaped_by=("size",))]
    for stage in range(rng.integers(1, 3)):
        depth = f"{stage}.depth"
        deepest = int(rng.integers(1, 3))
        decisions.append(Decision(depth, tuple(range(1, deepest + 1))))
        for at in range(1, deepest + 1):
            parts = ("kernel", "expand")[: rng.integers(0, 3)]
            reads = {part: f"{stage}.{at}.{part}" for part in parts}
            decisions += [Decision(d, tuple(range(rng.integers(1, 4)))) for d in reads.values()]
            gate = Presence(depth, at) if at > 1 or rng.random() < 0.3 else None
            shaped_by = ("size",) if rng.random() < 0.5 else ()
            block = ChoiceBlock(f"{stage}.{at}", _never, reads, present=gate, shaped_by=shaped_by)
            blocks.append(block)
    decisions = [d for d in decisions if any(d.name in b.decisions for b in blocks)]
    space = SearchSpace(f"random{seed}", tuple(decisions), tuple(blocks))
    slots = []
    for index, block in enumerate(blocks):
        values = rng.uniform(0.1, 2.0, (len(list(space.slots(index))), 2))
        if block.present is not None:
            gate = next(d for d in decisions if d.name == block.present.decision)
            for slot, choice in enumerate(space.slots(index)):
                if gate.options[choice[0]] < block.present.minimum:
                    values[slot] = 0.0
        slots.append(values)
    return _compiled(space, slots, ("latency_s", "energy_j"), rng.uniform(0, 1, 2))


def _one_hots(space, row):
    return [
        torch.eye(int(k), dtype=torch.float64)[int(o)]
        for k, o in zip(space.option_counts, row, strict=True)
    ]


def _probabilities(space, seed, requires_grad=False):
    rng = np.random.default_rng(seed)
    drawn = [torch.tensor(rng.dirichlet(np.ones(int(k)))) for k in space.option_counts]
    return [p.requires_grad_(requires_grad) for p in drawn]


@pytest.mark.parametrize("name", available_spaces())
def test_a_corner_is_the_cost_of_that_architecture(name):
    compiled = count_costs(get_space(name))
    costs = DifferentiableCosts(compiled)
    population = compiled.space.sample(20, np.random.default_rng(0))

    found = np.stack([costs.expected(_one_hots(costs.space, row)).numpy() for row in population])

    np.testing.assert_allclose(found, compiled.cost(population), rtol=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_the_expectation_is_the_mean_over_all_architectures(seed):
    compiled = _random_costs(seed)
    space = compiled.space
    probabilities = _probabilities(space, seed)
    rows = np.array(list(product(*map(range, space.option_counts))), np.uint8)
    weights = np.prod([p.numpy()[rows[:, i]] for i, p in enumerate(probabilities)], axis=0)

    wanted = weights @ compiled.cost(rows).astype(np.float64)

    found = DifferentiableCosts(compiled).expected(probabilities)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)


def test_inactive_decisions_have_no_influence():
    inactive = 0
    for seed in range(20):
        compiled = _random_costs(seed)
        space = compiled.space
        rng = np.random.default_rng(seed)
        row = space.sample(1, rng)
        probabilities = _one_hots(space, row[0])
        for column, count in enumerate(space.option_counts.tolist()):
            changed = row.copy()
            changed[0, column] = count - 1
            if count > 1 and np.array_equal(space.canonicalise(changed), row):
                if row[0, column] == count - 1:
                    continue  # it was there already: says nothing about its activity
                probabilities[column] = torch.tensor(rng.dirichlet(np.ones(count)))
                probabilities[column].requires_grad_()
                inactive += 1

        found = DifferentiableCosts(compiled).expected(probabilities)

        np.testing.assert_allclose(found.detach().numpy(), compiled.cost(row)[0], rtol=1e-6)
        for p in probabilities:
            if p.requires_grad:
                (slope,) = torch.autograd.grad(found[0], p, retain_graph=True)
                # Equal for all options: a softmax in front of it gets no gradient.
                assert float(slope.max() - slope.min()) <= 1e-12
    assert inactive >= 10


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_exact(seed):
    costs = DifferentiableCosts(_random_costs(seed))
    probabilities = _probabilities(costs.space, seed, requires_grad=True)

    assert torch.autograd.gradcheck(lambda *p: costs.expected(p), probabilities)
    assert torch.autograd.gradgradcheck(lambda *p: costs.expected(p), probabilities)


def test_gradients_at_corners_are_the_costs_of_single_changes():
    # A factor of zero must not hide the slope of the others.
    compiled = count_costs(get_space("mbconv-digits"), ["macs"])
    costs = DifferentiableCosts(compiled)
    space = compiled.space
    row = space.sample(1, np.random.default_rng(3))[0]
    point = [p.requires_grad_() for p in _one_hots(space, row)]

    gradients = torch.autograd.grad(costs.expected(point)[0], point)

    here = compiled.cost(row[None])[0, 0]
    for column, count in enumerate(space.option_counts.tolist()):
        changed = np.repeat(row[None], count, axis=0)
        changed[:, column] = range(count)
        slope = gradients[column].numpy() - gradients[column].numpy()[row[column]]
        np.testing.assert_allclose(slope, compiled.cost(changed)[:, 0] - here, atol=10)


def test_joint_weights_of_independent_decisions_give_the_same_expectation():
    compiled = _random_costs(4)
    space = compiled.space
    costs = DifferentiableCosts(compiled)
    probabilities = _probabilities(space, 0)
    joint = {}
    for block in range(len(space.blocks)):
        weight = torch.ones(1, dtype=torch.float64)
        for column in space.columns_of(block):
            weight = (weight[:, None] * probabilities[column]).reshape(-1)
        joint[block] = weight.requires_grad_()

    found = costs.expected_of_slots(joint)

    torch.testing.assert_close(found, costs.expected(probabilities), rtol=1e-12, atol=0)
    listed = [None if len(w) == 1 else w for w in joint.values()]
    torch.testing.assert_close(costs.expected_of_slots(listed), found, rtol=1e-12, atol=0)
    gradients = torch.autograd.grad(found[1], list(joint.values()))
    for gradient, slots in zip(gradients, compiled.slots, strict=True):
        np.testing.assert_allclose(gradient.numpy(), slots[:, 1], rtol=1e-12)


def test_the_gradient_of_a_softmax_is_p_times_cost_minus_mean():
    # ProxylessNAS: dE/dalpha_i = p_i (F_i - sum p F), for one distribution over a block.
    rng = np.random.default_rng(0)
    space = SearchSpace(
        "one", (Decision("o", tuple(range(7))),), (ChoiceBlock("b", _never, {"o": "o"}),)
    )
    slots = rng.uniform(1, 5, (7, 1))
    costs = DifferentiableCosts(_compiled(space, [slots], ["latency_s"], [0.3]))
    alpha = torch.tensor(rng.normal(size=7), requires_grad=True)

    costs.expected([alpha.softmax(0)])[0].backward()

    p, cost = alpha.softmax(0).detach().numpy(), slots[:, 0]
    np.testing.assert_allclose(alpha.grad.numpy(), p * (cost - p @ cost), rtol=1e-10)


def test_types_of_probabilities_may_be_those_of_training():
    costs = DifferentiableCosts(_random_costs(1))
    probabilities = _probabilities(costs.space, 0)
    exact = costs.expected(probabilities)
    singles = [p.float().requires_grad_() for p in probabilities]

    found = costs.expected(singles)
    found.sum().backward()

    assert found.dtype == torch.float64
    torch.testing.assert_close(found.detach(), exact, rtol=1e-6, atol=0)
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in singles)
    narrow = DifferentiableCosts(_random_costs(1), dtype=torch.float32).expected(probabilities)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), exact, rtol=1e-5, atol=0)


def test_metrics_are_chosen_and_a_maximum_is_refused():
    compiled = _random_costs(2)
    slots = [np.hstack([s, s[:, :1]]) for s in compiled.slots]
    names = ("latency_s", "memory_bytes", "energy_j")
    both = _compiled(compiled.space, slots, names, [0, 0, 0])

    assert DifferentiableCosts(both).metrics == ("latency_s", "energy_j")
    assert DifferentiableCosts(both, ["energy_j"]).expected(
        _probabilities(both.space, 0)
    ).shape == (1,)
    with pytest.raises(SpaceError, match="memory_bytes is a maximum"):
        DifferentiableCosts(both, ["latency_s", "memory_bytes"])
    with pytest.raises(SpaceError, match="no costs of 'area_mm2'; available: latency_s"):
        DifferentiableCosts(both, ["area_mm2"])
    memory = _compiled(compiled.space, [s[:, :1] for s in slots], ["memory_bytes"], [0])
    with pytest.raises(SpaceError, match="no metric that is a sum"):
        DifferentiableCosts(memory)


def test_a_slot_without_a_cost_is_refused():
    compiled = _random_costs(2)
    compiled.slots[1][0, 0] = np.nan

    with pytest.raises(SpaceError, match="block 'sized' has a slot without a cost"):
        DifferentiableCosts(compiled)
    assert DifferentiableCosts(compiled, ["energy_j"]).metrics == ("energy_j",)


def test_wrong_shapes_are_named():
    costs = DifferentiableCosts(count_costs(get_space("mbconv-digits")))
    good = _probabilities(costs.space, 0)

    with pytest.raises(SpaceError, match="has 30 decisions, found probabilities of 29"):
        costs.expected(good[:-1])
    with pytest.raises(SpaceError, match=r"'stage1.depth': expected \(3,\), found \(2,\)"):
        costs.expected([torch.ones(2), *good[1:]])
    with pytest.raises(SpaceError, match=r"'stage1.1': expected \(12,\), found none"):
        costs.expected_of_slots({})
    with pytest.raises(SpaceError, match="no block number 99"):
        costs.expected_of_slots({99: torch.ones(1)})


@pytest.fixture
def pixel1():
    """`(20, 2, 2)` ms of the searchable layers by kernel (3, 5) and expansion (3, 6)."""
    root = os.environ.get("HWNAS_PUBLISHED_DATA")
    path = Path(root or Path(__file__).parents[4] / "shared/data") / PIXEL1
    if not path.is_file():
        pytest.skip(f"no {PIXEL1}; set HWNAS_PUBLISHED_DATA")
    table = np.full((22, 4), np.nan)
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            table[int(row["layer"]), int(row["choice"])] = float(row["latency_ms"])
    assert np.isfinite(table).all()
    # Layers 0 and 21 are the fixed first and last blocks; the constant holds them.
    return table[1:21].reshape(20, 2, 2)


@pytest.fixture
def pixel1_costs(pixel1):
    decisions, blocks = [], [ChoiceBlock("fixed", _never)]
    for layer in range(len(pixel1)):
        kernel, expand = f"{layer}.kernel", f"{layer}.expand"
        decisions += [Decision(kernel, (3, 5)), Decision(expand, (3, 6))]
        blocks.append(ChoiceBlock(f"{layer}", _never, {"kernel": kernel, "expand": expand}))
    space = SearchSpace("single-path-pixel1", tuple(decisions), tuple(blocks))
    slots = [np.zeros((1, 1)), *(1e-3 * layer.reshape(4, 1) for layer in pixel1)]
    return _compiled(space, slots, ["latency_s"], [1e-3 * PIXEL1_CONSTANT_MS])


def _product_form_ms(pixel1, d5, d100):
    """Single-Path NAS's own runtime model, every layer kept (d50 = 1)."""
    _, r36, r53, r56 = pixel1.reshape(-1, 4).T
    ratio = r36 / r56
    layers = (r53 + d100 * (r56 - r53)) * (ratio + (1 - ratio) * d5)
    return PIXEL1_CONSTANT_MS + layers.sum()


@pytest.mark.parametrize(
    ("d5", "d100", "published_ms"), [(1, 1, 131.5), (0, 0, 65.7), (1, 0, None), (0, 1, None)]
)
def test_published_corners_of_pixel_1(pixel1, pixel1_costs, d5, d100, published_ms):
    costs = DifferentiableCosts(pixel1_costs)
    row = np.tile([d5, d100], 20)

    exact_ms = 1e3 * float(costs.expected(_one_hots(costs.space, row))[0])
    product_ms = _product_form_ms(pixel1, d5, d100)

    if published_ms is not None:
        assert exact_ms == pytest.approx(published_ms, abs=0.05)
        assert product_ms == pytest.approx(published_ms, abs=0.1)
    if (d5, d100) != (0, 0):
        assert product_ms == pytest.approx(exact_ms, rel=1e-9)


def test_the_papers_product_form_errs_at_the_smallest_operator_only(pixel1):
    # r33 is taken as r53 * r36 / r56: 1.5 % off on average over the layers, -0.06 ms in sum.
    r33, r36, r53, r56 = pixel1.reshape(-1, 4).T
    relative = (r53 * r36 / r56 - r33) / r33

    assert np.abs(relative).mean() == pytest.approx(0.015, abs=5e-4)
    assert np.abs(relative).max() == pytest.approx(0.048, abs=5e-4)
    assert _product_form_ms(pixel1, 0, 0) - PIXEL1_CONSTANT_MS - r33.sum() == pytest.approx(
        -0.06, abs=5e-3
    )
